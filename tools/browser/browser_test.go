package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/tools/browser"
)

// start starts a browser for a test.
func start(t *testing.T) (context.Context, *browser.Browser) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute) // it ends after Close
	t.Cleanup(cancel)
	b, err := browser.Start(ctx, t.TempDir())
	if errors.Is(err, browser.ErrMissing) && os.Getenv("REQUIRE_DAEMONS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, b
}

// TestPlanted: each kind of problem is found, in the view that has it, and a page without a problem
// has none.
func TestPlanted(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"fine":      `<p style="color: #555">grey on white</p><div style="overflow: auto"><div style="width: 3000px">scrolls</div></div>`,
		"wide":      `<p style="width: 500px">wide</p>`,
		"grey":      `<p style="color: #999">grey</p>`,
		"dark":      `<style>@media (prefers-color-scheme: dark) { p { background: #222; color: #333 } }</style><p>dark</p>`,
		"drawing":   `<svg viewBox="0 0 90 20"><text y="15" fill="#eee">pale</text></svg>`,
		"script":    `<script>throw new Error("planted")</script>`,
		"console":   `<script>console.error("planted")</script>`,
		"policy":    `<img src="https://elsewhere.example/x.png" alt="">`,
		"dead link": `<a href="/gone">gone</a> <a href="https://elsewhere.example/">elsewhere</a>`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		body, known := pages[name]
		switch {
		case name == "":
			var links strings.Builder
			for name := range pages {
				fmt.Fprintf(&links, `<p><a href="/%s">%[1]s</a></p>`, name)
			}
			body = links.String()
		case !known:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
		fmt.Fprintf(w, `<!DOCTYPE html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><title>%s</title>%s`, name, body)
	}))
	defer s.Close()
	ctx, b := start(t)
	tour, err := b.Visit(ctx, &browser.Site{Base: s.URL + "/", Views: browser.Views(), Most: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(tour.Pages) != 1+len(pages) {
		t.Errorf("%d pages are opened: %q", len(tour.Pages), tour.Pages)
	}
	missing := []string{
		`/wide \(360 px, (light|dark)\): wider than the screen: 5\d\d px, because of <p> "wide"$`,
		`/grey \(1440 px, light\): contrast 2\.85 of <p> "grey"$`, `/grey \(.*: contrast 2\.85`,
		`/dark \(360 px, dark\): contrast 1\.\d+ of <p> "dark"$`, `/dark \(1440 px, dark\): contrast`,
		`/drawing \(.*\): contrast 1\.\d+ of <text> "pale"$`,
		`/script \(360 px, light\): exception: Uncaught`,
		`/console \(360 px, light\): console.error: .*planted`,
		`/policy \(360 px, light\): console: .*Content Security Policy`,
		`/gone: 404 Not Found$`,
	}
	wants := slices.Clone(missing)
	for _, p := range tour.Problems {
		is := func(want string) bool { return regexp.MustCompile(want).MatchString(p) }
		if !slices.ContainsFunc(wants, is) {
			t.Errorf("a problem that there is not: %s", p)
		}
		missing = slices.DeleteFunc(missing, is)
	}
	if len(missing) > 0 {
		t.Errorf("not found: %q", missing)
	}
}

// TestRefresh: a page that would load itself again stays as it is while it is looked at. A page that
// is not looked at is loaded again meanwhile.
func TestRefresh(t *testing.T) {
	t.Parallel()
	var requests [2]atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			requests[0].Add(1)
		case "/frame":
			requests[1].Add(1)
		}
		fmt.Fprint(w, `<!DOCTYPE html><meta http-equiv="refresh" content="1"><title>refresh</title>`)
	}))
	defer s.Close()
	ctx, b := start(t)
	still, err := b.NewPage(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := still.Open(ctx, s.URL+"/"); err != nil {
		t.Fatal(err)
	}
	other, err := b.NewPage(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	var nothing any
	if err := other.Evaluate(ctx, fmt.Sprintf("location.href = %q, null", s.URL+"/frame"), &nothing); err != nil {
		t.Fatal(err)
	}
	for requests[1].Load() < 3 {
		if ctx.Err() != nil {
			t.Fatal("the other page does not load itself again")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := requests[0].Load(); n != 1 {
		t.Errorf("the page was loaded %d times", n)
	}
}

// TestEnds: a page that cannot be loaded is an error, and so is a browser that has ended.
func TestEnds(t *testing.T) {
	t.Parallel()
	ctx, b := start(t)
	page, err := b.NewPage(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Open(ctx, "http://127.0.0.1:1/"); err == nil {
		t.Error("a page that no server has is open")
	}
	var sum int
	if err := page.Evaluate(ctx, "1 + 1", &sum); err != nil || sum != 2 {
		t.Errorf("1 + 1 = %d, %v", sum, err)
	}
	if err := page.Evaluate(ctx, "nothing.at.all", &sum); err == nil || !strings.Contains(err.Error(), "not defined") {
		t.Errorf("a fault in the expression: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := page.Open(ctx, "about:blank"); err == nil {
		t.Error("a browser that has ended opens a page")
	}
}
