package browser

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A Site is a web site to look at.
type Site struct {
	// Base is the address of its first page; pages below it belong to the site.
	Base string
	// Header is sent with each request, for example Authorization.
	Header http.Header
	// Views are how each page is looked at.
	Views []View
	// Most is the number of pages of one path with different queries that are opened.
	Most int
}

// A Tour is what was found on a site.
type Tour struct {
	// Pages are the pages that were opened, Links the number of addresses that were requested.
	Pages []string
	Links int
	// Problems name their page and view.
	Problems []string
}

// A tourist follows the links of a site.
type tourist struct {
	*Site
	Tour

	page   *Page
	client *http.Client
	// queue are addresses that are known, in the order in which they were found.
	queue  []string
	opened map[string]int
}

// Visit opens every page of the site that its links lead to, in every view, and requests each other
// address below Base.
func (b *Browser) Visit(ctx context.Context, s *Site) (*Tour, error) {
	page, err := b.NewPage(ctx, s.Header)
	if err != nil {
		return nil, err
	}
	t := &tourist{
		Site: s, page: page, queue: []string{s.Base}, opened: make(map[string]int),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, //nolint:gosec // as the browser
	}
	defer t.client.CloseIdleConnections()
	for len(t.queue) > t.Links { // each page may add some
		t.Links++
		if err := t.visit(ctx, t.queue[t.Links-1]); err != nil {
			return nil, err
		}
	}
	return &t.Tour, nil
}

// visit requests an address and, if it is a page, looks at it.
func (t *tourist) visit(ctx context.Context, address string) error {
	kind, err := t.request(ctx, address)
	if err != nil {
		t.Problems = append(t.Problems, err.Error())
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if t.opened[u.Path]++; !strings.HasPrefix(kind, "text/html") || t.opened[u.Path] > t.Most {
		return nil
	}
	if err := t.page.Open(ctx, address); err != nil {
		return err
	}
	t.Pages = append(t.Pages, address)
	for _, v := range t.Views {
		found, err := t.page.Inspect(ctx, v)
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		for _, p := range found.Problems {
			t.Problems = append(t.Problems, fmt.Sprintf("%s (%s): %s", address, v, p))
		}
		for _, link := range found.Links {
			link, _, _ = strings.Cut(link, "#")
			if strings.HasPrefix(link, t.Base) && !slices.Contains(t.queue, link) {
				t.queue = append(t.queue, link)
			}
		}
	}
	return nil
}

// request returns the content type of an address; the error says that it is not to be had.
func (t *tourist) request(ctx context.Context, address string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	r.Header = t.Header.Clone()
	answer, err := t.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", address, answer.Status)
	}
	return answer.Header.Get("Content-Type"), nil
}

// Views returns a telephone and a desk, each light and dark.
func Views() []View {
	const phone, phoneHeight, desk, deskHeight = 360, 740, 1440, 900
	return []View{
		{Width: phone, Height: phoneHeight},
		{Width: phone, Height: phoneHeight, Dark: true},
		{Width: desk, Height: deskHeight},
		{Width: desk, Height: deskHeight, Dark: true},
	}
}
