package web_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"ipsec_path_exporter/tools/browser"
)

// TestInBrowser opens the list and the pages of a few peers in Chromium, on a telephone and on a
// desk, light and dark, over TLS, with authentication and below a prefix: no error in the console,
// nothing wider than the screen, no text that is hard to read, and no link that leads nowhere.
func TestInBrowser(t *testing.T) {
	t.Parallel()
	s := full(t)
	site := newSite(t, "/vpn/", "/vpn/metrics")
	site.status, site.day, site.exchanges = s.status, s.day, s.exchanges
	site.status.Peers = nil
	for _, name := range []string{"black-hole-ipv6", "healthy", "negotiation-stuck"} {
		site.peers[name] = s.peers[name]
		site.status.Peers = append(site.status.Peers, s.peers[name])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b, err := browser.Start(ctx, t.TempDir())
	if errors.Is(err, browser.ErrMissing) && os.Getenv("REQUIRE_DAEMONS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	const user, password = "guest", "secret"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		site.ServeHTTP(w, r)
	}))
	defer server.Close()
	header := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
	tour, err := b.Visit(ctx, &browser.Site{Base: server.URL + "/vpn/", Header: header, Views: browser.Views(), Most: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tour.Problems {
		t.Error(p)
	}
	// The list, and of each peer its page and its report.
	if peers := len(site.status.Peers); len(tour.Pages) != 1+2*peers || tour.Links < 5*peers {
		t.Errorf("only %d pages opened and %d links requested: %v", len(tour.Pages), tour.Links, tour.Pages)
	}
}
