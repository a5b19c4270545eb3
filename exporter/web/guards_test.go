package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/web"
)

// TestReloadIsRefused: without the flag no client may reload, and with it no page of another site.
func TestReloadIsRefused(t *testing.T) {
	reloads := 0
	ask := func(lifecycle bool, header http.Header) *httptest.ResponseRecorder {
		h, err := web.Handler(web.Config{
			TelemetryPath: "/metrics", Metrics: http.NotFoundHandler(), Lifecycle: lifecycle,
			Reload: func(context.Context) error { reloads++; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://exporter.example/-/reload", http.NoBody)
		r.Header = header
		h.ServeHTTP(w, r)
		return w
	}
	if w := ask(false, nil); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "--web.enable-lifecycle") {
		t.Errorf("not enabled: %d %s", w.Code, w.Body)
	}
	for _, foreign := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Origin": {"https://evil.example"}}} {
		if w := ask(true, foreign); w.Code != http.StatusForbidden {
			t.Errorf("%v: %d %s", foreign, w.Code, w.Body)
		}
	}
	if reloads > 0 {
		t.Errorf("%d reloads", reloads)
	}
	for _, own := range []http.Header{{}, {"Sec-Fetch-Site": {"same-origin"}}, {"Origin": {"http://exporter.example"}}} {
		if w := ask(true, own); w.Code != http.StatusOK {
			t.Errorf("%v: %d %s", own, w.Code, w.Body)
		}
	}
	if reloads != 3 {
		t.Errorf("%d reloads of 3", reloads)
	}
}

// TestGuards: browsers keep to the types of answers, and show no page inside another site's.
func TestGuards(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, page := range []string{"/", "/metrics", "/-/healthy", "/nowhere"} {
		h := s.ask(t, http.MethodGet, page).Header()
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", page, h)
		}
	}
	if policy := s.ask(t, http.MethodGet, "/").Header().Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy %q", policy)
	}
}
