package store_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/exporter/store"
)

// measured is a peer's results behind its own lock, as every collector keeps them.
type measured struct {
	mu   sync.Mutex
	runs uint64
}

func (m *measured) run() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs++
}

// addMeasured adds a peer whose gauge, counter and histogram always show the same number.
func addMeasured(s *store.Store, name string, m *measured) {
	p := s.AddPeer(name, map[string]string{"site": "haiti"})
	g, c, h, i := p.Series(healthy), p.Series(replies), p.Series(roundTrip), p.Series(info, "ike", "")
	p.Attach(exposer(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		g.Set(float64(m.runs))
		c.Set(float64(m.runs))
		n := m.runs
		h.SetHistogram(&dto.Histogram{SampleCount: &n})
		i.SetLabel("reply", strconv.FormatUint(n, 10))
		i.Set(float64(m.runs))
	}))
}

// consistent tells whether everything a page says of each peer is from the same moment.
func consistent(t *testing.T, families []*dto.MetricFamily) {
	t.Helper()
	seen := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var peer string
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "peer":
					peer = l.GetValue()
				case "reply":
					if l.GetValue() != strconv.FormatFloat(v, 'f', -1, 64) {
						t.Errorf("%s: label %s beside value %g", peer, l.GetValue(), v)
					}
				}
			}
			if old, ok := seen[peer]; ok && old != v {
				t.Errorf("%s of %s is %g, another of its series %g", f.GetName(), peer, v, old)
			}
			seen[peer] = v
		}
	}
}

// Readers of every format, a direct reader that takes its time, peers that come and go, and measurements at once: the
// race detector watches, and every page must be consistent.
func TestEverythingAtOnce(t *testing.T) {
	var ticks atomic.Int64
	s := store.New(func() time.Time { return time.Unix(ticks.Add(1), 0) }) // so pages grow too old all the time
	h := handler(s, prometheus.NewRegistry())
	peers := make([]*measured, 20)
	for i := range peers {
		peers[i] = &measured{}
		addMeasured(s, "kept"+strconv.Itoa(i), peers[i])
	}
	const rounds = 150
	var wg sync.WaitGroup
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf} {
		wg.Go(func() {
			for range rounds {
				if format, body := scrape(t, h, accept); !bytes.Contains(body, []byte(replies.Help)) {
					t.Errorf("page as %s:\n%s", format, body)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range rounds {
				families, done := gather(t, s)
				consistent(t, families)
				consistent(t, families)
				done()
			}
		})
	}
	wg.Go(func() {
		for i := range rounds {
			name := "passing" + strconv.Itoa(i%7)
			addMeasured(s, name, peers[0])
			s.RemovePeer(name)
		}
	})
	wg.Go(func() {
		for i := range rounds * len(peers) {
			peers[i%len(peers)].run()
		}
	})
	wg.Wait()
	families, done := gather(t, s)
	defer done()
	consistent(t, families)
	if got := len(lines(families)); got != 4*len(peers) {
		t.Errorf("%d series are left, want %d", got, 4*len(peers))
	}
}

// A client that stops reading holds its page open. Others are served and peers come and go meanwhile, and what the slow
// client reads in the end is its own page.
func TestSlowClient(t *testing.T) {
	s, _ := newStore()
	v := 1.0
	addGauge(s, "a", &v)
	pr, pw := io.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer pw.Close()
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", acceptText)
		handler(s, prometheus.NewRegistry()).ServeHTTP(&pipeWriter{header: http.Header{}, w: pw}, r)
	}()
	first := make([]byte, 1)
	if _, err := io.ReadFull(pr, first); err != nil { // its page is open from here on
		t.Fatal(err)
	}
	v = 2
	addGauge(s, "b", &v)
	want(t, page(t, s), "peer_healthy{peer=a} 2", "peer_healthy{peer=b} 2")
	s.RemovePeer("a")
	v = 3
	want(t, page(t, s), "peer_healthy{peer=b} 3")
	rest, err := io.ReadAll(pr)
	if err != nil {
		t.Fatal(err)
	}
	<-served
	if got := string(first) + string(rest); !strings.HasSuffix(got, "ipsec_path_peer_healthy{peer=\"a\"} 1\n") || strings.Contains(got, `"b"`) {
		t.Errorf("the slow client read\n%s", got)
	}
}

// pipeWriter answers into a pipe, so that the handler writes only as fast as the test reads.
type pipeWriter struct {
	header http.Header
	w      io.Writer
}

func (p *pipeWriter) Header() http.Header         { return p.header }
func (p *pipeWriter) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p *pipeWriter) WriteHeader(int)             {}
