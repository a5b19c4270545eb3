package exposition_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/store"
)

// TestClientIsGone: for a client that has hung up, nothing is gathered or encoded.
func TestClientIsGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	gathered := 0
	all := prometheus.NewRegistry()
	all.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "A."}))
	h := exposition.Handler(exposition.Config{Peers: store.New(time.Now), Log: slog.New(slog.DiscardHandler), Process: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		gathered++
		if gathered == 1 {
			cancel() // it hangs up while the page is made
		}
		return all.Gather()
	})})
	for range 3 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody))
		if w.Body.Len() > 0 {
			t.Errorf("written: %q", w.Body)
		}
	}
	if gathered != 1 {
		t.Errorf("gathered %d times", gathered)
	}
}

// TestTooManyPages: more requests than may be sent at once are refused at once, and the next ones are
// served.
func TestTooManyPages(t *testing.T) {
	t.Parallel()
	all := prometheus.NewRegistry()
	all.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "A."}))
	held, release := make(chan struct{}), make(chan struct{})
	h := exposition.Handler(exposition.Config{Peers: store.New(time.Now), Log: slog.New(slog.DiscardHandler), Process: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		held <- struct{}{}
		<-release
		return all.Gather()
	})})
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		return w.Code
	}
	codes := make(chan int)
	for range exposition.MaxPages {
		go func() { codes <- ask() }()
		<-held
	}
	if code := ask(); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
	close(release)
	for range exposition.MaxPages {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of the others: %d", code)
		}
	}
	go func() { codes <- ask() }()
	<-held
	if code := <-codes; code != http.StatusOK {
		t.Errorf("later: %d", code)
	}
}
