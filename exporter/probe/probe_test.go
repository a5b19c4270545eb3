package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/silence"
)

// A source measures whatever it is asked, in some time of a bubble.
type source struct {
	takes  time.Duration
	silent bool

	mu                sync.Mutex
	running, most     int
	measured          []string
	left              []time.Duration // the time that each measurement had
	answered          bool
	addressesOfAllOne bool
}

func (s *source) Find(target, module string) (config.Peer, *check.Outcome, error) {
	if target == "none" {
		return config.Peer{}, nil, errors.New("no such target")
	}
	p := config.Peer{Name: target, Address: target}
	if target == "known" {
		return p, s.outcome(0), nil
	}
	_ = module
	return p, nil, nil
}

func (s *source) Address(_ context.Context, p config.Peer) (netip.Addr, error) {
	if p.Name == "unresolved" {
		return netip.Addr{}, errors.New("cannot resolve it")
	}
	var b [4]byte
	if !s.addressesOfAllOne {
		copy(b[:], p.Name)
	}
	return netip.AddrFrom4(b), nil
}

func (s *source) outcome(took time.Duration) *check.Outcome {
	r := &report.Report{Measured: true, Healthy: !s.silent}
	if s.silent {
		r.Diagnoses = []diagnosis.Held{{Diagnosis: diagnosis.Diagnosis{Name: diagnosis.PeerSilent, Severity: diagnosis.Critical}}}
	}
	return &check.Outcome{Report: r, Complete: true, Took: took}
}

func (s *source) Measure(ctx context.Context, p config.Peer) *check.Outcome {
	began := time.Now()
	deadline, _ := ctx.Deadline()
	s.mu.Lock()
	s.running++
	s.most = max(s.most, s.running)
	s.measured = append(s.measured, p.Name)
	s.left = append(s.left, time.Until(deadline))
	s.mu.Unlock()
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	return s.outcome(time.Since(began))
}

func (s *source) Answered(config.Peer, time.Time) bool { return s.answered }

func (*source) Expose(*check.Outcome, *store.Peer) {}

// handler serves a source with some limits.
func handler(t *testing.T, s *source, l config.Limits) *Handler {
	t.Helper()
	return New(Config{
		Log: slog.New(slog.DiscardHandler), Source: s, Offset: 500 * time.Millisecond, Life: t.Context, Limits: func() config.Limits { return l },
	})
}

func wide() config.Limits { return config.Limits{Probes: 1000, ProbesPerSecond: 1000} }

// ask asks for a target with this many seconds.
func (h *Handler) ask(ctx context.Context, target, seconds string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/probe?target="+target, http.NoBody)
	if seconds != "" {
		r.Header.Set(TimeoutHeader, seconds)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// all asks for all targets at the same time and returns how often each status came.
func (h *Handler) all(t *testing.T, seconds string, targets ...string) map[int]int {
	t.Helper()
	codes := make(chan int, len(targets))
	for _, target := range targets {
		go func() { codes <- h.ask(t.Context(), target, seconds).Code }()
	}
	count := make(map[int]int)
	for range targets {
		count[<-codes]++
	}
	return count
}

func letters(n int) (all []string) {
	for i := range n {
		all = append(all, string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	return all
}

// TestTime: the measurement has the time of the scrape without the offset, or that of a check.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := handler(t, s, wide())
		for _, seconds := range []string{"10", "1.5", "", "3600"} {
			if w := h.ask(t.Context(), "t"+seconds, seconds); w.Code != http.StatusOK {
				t.Errorf("%s: %d %s", seconds, w.Code, w.Body)
			}
		}
		want := []time.Duration{9500 * time.Millisecond, time.Second, 2 * time.Minute, 2*time.Minute - 500*time.Millisecond}
		for i, left := range s.left {
			if left != want[i] {
				t.Errorf("request %d had %v, want %v", i, left, want[i])
			}
		}
	})
}

// TestSharingWithWhoWaits: who asks while a measurement runs gets its result, however long that
// took.
func TestSharingWithWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: shareFor + time.Second}
		h := handler(t, s, wide())
		if codes := h.all(t, "60", "hq", "hq", "hq"); codes[http.StatusOK] != 3 || len(s.measured) != 1 {
			t.Errorf("at the same time: %v, %d measured", codes, len(s.measured))
		}
		if h.ask(t.Context(), "hq", "60"); len(s.measured) != 2 {
			t.Errorf("afterwards: %d measured", len(s.measured))
		}
	})
}

// TestSharing: an address is measured once in 10 s, whoever asks; a silent one not again before its
// packets no longer count, unless it has answered.
func TestSharing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: 2 * time.Second}
		h := handler(t, s, wide())
		if codes := h.all(t, "30", "hq", "hq", "hq"); codes[http.StatusOK] != 3 || len(s.measured) != 1 {
			t.Errorf("at the same time: %v, %d measured", codes, len(s.measured))
		}
		time.Sleep(shareFor - 3*time.Second)
		if w := h.ask(t.Context(), "hq", "30"); len(s.measured) != 1 || !strings.Contains(w.Body.String(), "\nprobe_age_seconds 9\n") {
			t.Errorf("soon after: %d measured\n%s", len(s.measured), w.Body)
		}
		time.Sleep(2 * time.Second)
		if h.ask(t.Context(), "hq", "30"); len(s.measured) != 2 {
			t.Errorf("later: %d measured", len(s.measured))
		}
		s.silent = true
		time.Sleep(shareFor)
		for range 3 {
			h.ask(t.Context(), "hq", "30")
			time.Sleep(time.Minute)
		}
		if len(s.measured) != 3 {
			t.Errorf("a silent one: %d measured", len(s.measured))
		}
		s.answered = true
		if h.ask(t.Context(), "hq", "30"); len(s.measured) != 4 {
			t.Errorf("after an answer: %d measured", len(s.measured))
		}
		s.answered = false
		time.Sleep(silence.Window)
		if h.ask(t.Context(), "hq", "30"); len(s.measured) != 5 {
			t.Errorf("after the window: %d measured", len(s.measured))
		}
		want := `
# HELP ipsec_path_probe_requests_total Requests of /probe: measured, shared with an earlier request, known from the schedule without asking a silent peer, refused, or client_gone.
# TYPE ipsec_path_probe_requests_total counter
ipsec_path_probe_requests_total{result="client_gone"} 0
ipsec_path_probe_requests_total{result="known"} 0
ipsec_path_probe_requests_total{result="measured"} 5
ipsec_path_probe_requests_total{result="refused"} 0
ipsec_path_probe_requests_total{result="shared"} 5
`
		if err := testutil.CollectAndCompare(h.Requests(), strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

// TestOneAddress: targets of one address follow each other, 10 s apart, and what would have no time
// left is refused.
func TestOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: time.Second, addressesOfAllOne: true}
		h := handler(t, s, wide())
		began := time.Now()
		if codes := h.all(t, "30", "a", "b", "c", "d"); codes[http.StatusOK] != 3 || codes[http.StatusServiceUnavailable] != 1 || s.most != 1 {
			t.Errorf("statuses %v, %d at a time", codes, s.most)
		}
		if took := time.Since(began); len(s.measured) != 3 || took != 2*shareFor+time.Second {
			t.Errorf("%d measured in %v", len(s.measured), took)
		}
		if w := h.ask(t.Context(), "e", "10"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "it is measured at most every 10s") {
			t.Errorf("a scrape of 10 s: %d %s", w.Code, w.Body)
		}
	})
}

// TestConcurrency: no more measurements run at the same time than are allowed, and no request waits
// until no time is left.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: 3 * time.Second}
		l := config.Limits{Probes: 4, ProbesPerSecond: 1000}
		h := handler(t, s, l)
		codes := h.all(t, "10.5", letters(20)...) // 5 s to get a slot, 3 s each
		if s.most != l.Probes || codes[http.StatusOK] != 8 || codes[http.StatusServiceUnavailable] != 12 {
			t.Errorf("%d at the same time, statuses %v", s.most, codes)
		}
		for _, left := range s.left {
			if left < 5*time.Second {
				t.Errorf("a measurement had %v", left)
			}
		}
	})
}

// TestRate: no more measurements begin in a second than are allowed; the client is told when to
// come again.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		l := config.Limits{Probes: 1000, ProbesPerSecond: 5}
		h := handler(t, s, l)
		codes := h.all(t, "10.5", letters(100)...) // 5 at once, 5 in each of 5 s
		if codes[http.StatusOK] != 30 || codes[http.StatusTooManyRequests] != 70 {
			t.Errorf("statuses %v", codes)
		}
		w := h.ask(t.Context(), "next", "1.5")
		if w.Code != http.StatusOK && w.Header().Get("Retry-After") != "1" {
			t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
	})
}

// TestEnds: a client that leaves, and the end of the program, end a measurement, whose result
// nobody else gets.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: time.Minute}
		life, end := context.WithCancel(t.Context())
		h := handler(t, s, wide())
		h.Life = func() context.Context { return life }
		ctx, leave := context.WithCancel(t.Context())
		began := time.Now()
		answers := make(chan *httptest.ResponseRecorder, 2)
		go func() { answers <- h.ask(ctx, "hq", "") }()
		synctest.Wait()
		leave()
		if w := <-answers; time.Since(began) > 0 || w.Body.Len() > 0 {
			t.Errorf("%v after the client has left: %s", time.Since(began), w.Body)
		}
		time.Sleep(shareFor)
		go func() { answers <- h.ask(t.Context(), "hq", "") }()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.measured) != 2 {
			t.Errorf("%d measured: the result of another client is shared", len(s.measured))
		}
		end()
		if w := <-answers; w.Code != http.StatusServiceUnavailable || w.Body.String() != "the program ends\n" {
			t.Errorf("at the end: %d %s", w.Code, w.Body)
		}
	})
}

// TestAnswers: what is known is answered without measuring; what fails says why.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{silent: true}
		h := handler(t, s, wide())
		if w := h.ask(t.Context(), "known", "5"); !strings.Contains(w.Body.String(), "\nprobe_success 0\n") || len(s.measured) != 0 {
			t.Errorf("known: %s", w.Body)
		}
		for target, want := range map[string]int{"none": http.StatusBadRequest, "unresolved": http.StatusServiceUnavailable, "": http.StatusBadRequest} {
			if w := h.ask(t.Context(), target, "5"); w.Code != want || w.Body.Len() == 0 {
				t.Errorf("%q: %d %s", target, w.Code, w.Body)
			}
		}
	})
}

// TestForgets: addresses that are not asked for any more take no memory.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := handler(t, s, wide())
		h.all(t, "10", letters(100)...)
		s.silent = true
		h.all(t, "10", "silent")
		time.Sleep(2 * shareFor)
		h.all(t, "10", "last")
		if n := len(h.gate.turns); n != 2 {
			t.Errorf("%d addresses are remembered, want the silent one and the last", n)
		}
		time.Sleep(silence.Window)
		h.all(t, "10", "last")
		if n := len(h.gate.turns); n != 1 {
			t.Errorf("%d addresses are remembered, want the last", n)
		}
	})
}

// TestDocument: the page for operators has the bounds that hold.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		fmt.Sprintf("An address is measured once in %.0f s.", shareFor.Seconds()),
		fmt.Sprintf("is shared for up to %.0f minutes, unless it answers", silence.Window.Minutes()),
		fmt.Sprintf("or after %s minutes without this header", map[time.Duration]string{2 * time.Minute: "two"}[longest]),
		"`" + TimeoutHeader + "`",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/scaling.md lacks: %s", want)
		}
	}
}
