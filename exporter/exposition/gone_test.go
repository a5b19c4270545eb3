package exposition_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
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

// TestTooManyPages: more requests than may be sent at once wait, are refused after a while, and are
// served where others end in time.
func TestTooManyPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := exposition.Handler(exposition.Config{Peers: store.New(time.Now), Log: slog.New(slog.DiscardHandler), Process: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			<-release
			return nil, nil
		})})
		codes := make(chan int, exposition.MaxPages+1)
		ask := func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
			codes <- w.Code
		}
		for range exposition.MaxPages {
			go ask()
		}
		synctest.Wait()
		if ask(); <-codes != http.StatusServiceUnavailable { // time passes while all wait
			t.Error("one too many is not refused")
		}
		go ask()
		synctest.Wait()
		close(release)
		for range exposition.MaxPages + 1 {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("one that has waited: %d", code)
			}
		}
	})
}

// stuck is a client that does not read: a write to it ends with its deadline.
type stuck struct {
	http.ResponseWriter
	cut chan struct{}
}

func (s stuck) Write([]byte) (int, error) {
	<-s.cut
	return 0, os.ErrDeadlineExceeded
}

func (s stuck) SetWriteDeadline(time.Time) error {
	close(s.cut)
	return nil
}

// TestClientsThatHoldEveryTurn: clients that have every turn and do not read delay another one, and do
// not keep it from its page. One of them is cut off for it.
func TestClientsThatHoldEveryTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := store.New(func() time.Time { return began }) // all read one page, so none is in the way of another
		addMeasured(s, "a", newMeasured())
		h := exposition.Handler(exposition.Config{Peers: s, Log: slog.New(slog.DiscardHandler), Process: prometheus.NewRegistry()})
		held := make([]stuck, exposition.MaxPages)
		for i := range held {
			held[i] = stuck{httptest.NewRecorder(), make(chan struct{})}
			go h.ServeHTTP(held[i], httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		if took := time.Since(began); w.Code != http.StatusOK || took > 6*time.Second {
			t.Errorf("status %d after %v", w.Code, took)
		}
		cut := 0
		for _, client := range held {
			select {
			case <-client.cut:
				cut++
			default:
				close(client.cut)
			}
		}
		if cut != 1 {
			t.Errorf("%d clients were cut off, want 1", cut)
		}
	})
}
