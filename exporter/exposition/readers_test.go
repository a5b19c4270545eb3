package exposition_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/histogram"
)

// measured is a peer's results behind its own lock, as every collector keeps them.
type measured struct {
	mu   sync.Mutex
	runs uint64
	h    *histogram.Histogram
}

func newMeasured() *measured {
	return &measured{h: histogram.New(&histogram.Buckets{Classic: []float64{1}, Native: true}, time.Now())}
}

func (m *measured) run() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs++
	m.h.Observe(float64(m.runs))
}

// addMeasured adds a peer whose gauge, counter, histogram and label always show the same number.
func addMeasured(s *store.Store, name string, m *measured) {
	p := s.AddPeer(name, map[string]string{"site": "haiti"})
	g, c, h, i := p.Series(healthy), p.Series(replies), p.Series(roundTrip), p.Series(info, "ike")
	p.Attach(exposer(func(to collectors.Row) {
		m.mu.Lock()
		defer m.mu.Unlock()
		to.Set(g, float64(m.runs))
		to.Set(c, float64(m.runs))
		to.SetHistogram(h, m.h)
		to.Set(i, float64(m.runs))
		to.SetLabel(i, "reply", strconv.FormatUint(m.runs, 10))
	}))
}

// consistent reports what a page says of a peer at different moments.
func consistent(families []*dto.MetricFamily) error {
	seen := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var peer, reply string
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "peer":
					peer = l.GetValue()
				case "reply":
					reply = l.GetValue()
				}
			}
			if reply != "" && reply != strconv.FormatFloat(v, 'f', -1, 64) {
				return fmt.Errorf("%s: label %s beside value %g", peer, reply, v)
			}
			if old, ok := seen[peer]; ok && old != v {
				return fmt.Errorf("%s of %s is %g, another of its series %g", f.GetName(), peer, v, old)
			}
			seen[peer] = v
		}
	}
	return nil
}

// slowly lets others run between the writes of a page.
type slowly struct{ *httptest.ResponseRecorder }

func (s slowly) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += 512 {
		runtime.Gosched()
		s.ResponseRecorder.Write(b[i:min(len(b), i+512)])
	}
	return len(b), nil
}

// Readers of every format, quick and slow ones, peers that come and go, and measurements at once: the
// race detector watches, and every page must be of one moment.
func TestEverythingAtOnce(t *testing.T) {
	var ticks atomic.Int64
	s := store.New(func() time.Time { return time.Unix(ticks.Add(1), 0) }) // so pages grow too old all the time
	h := exposition.Handler(exposition.Config{Peers: s, Process: prometheus.NewRegistry(), Log: silent()})
	peers := make([]*measured, 30)
	for i := range peers {
		peers[i] = newMeasured()
		addMeasured(s, "kept"+strconv.Itoa(i), peers[i])
	}
	const rounds = 100
	var readers, writers sync.WaitGroup
	ended := make(chan struct{})
	until := func(step func(i int)) {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
				step(i)
			}
		}
	}
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf} {
		for _, slow := range []bool{false, true} {
			readers.Go(func() {
				for range rounds {
					w := httptest.NewRecorder()
					r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
					r.Header.Set("Accept", accept)
					if slow {
						h.ServeHTTP(slowly{w}, r)
					} else {
						h.ServeHTTP(w, r)
					}
					if w.Code != http.StatusOK || !bytes.Contains(w.Body.Bytes(), []byte("kept29")) {
						t.Errorf("page as %s: status %d\n%s", accept, w.Code, w.Body)
					}
					if accept == acceptProtobuf {
						if err := consistent(parse(t, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", w.Body.Bytes())); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	writers.Go(func() {
		until(func(i int) {
			name := "passing" + strconv.Itoa(i%7)
			addMeasured(s, name, peers[0])
			runtime.Gosched()
			s.RemovePeer(name)
		})
	})
	writers.Go(func() { until(func(i int) { peers[i%len(peers)].run() }) })
	readers.Wait()
	close(ended)
	writers.Wait()
	_, page := scrape(t, h, acceptText)
	if got := bytes.Count(page, []byte(`ipsec_path_icmp_replies_total{`)); got != len(peers) {
		t.Errorf("%d peers are left, want %d", got, len(peers))
	}
}

// A client that stops reading holds its page open. Others are served and peers come and go
// meanwhile, and what the slow client reads in the end is its own page.
func TestSlowClient(t *testing.T) {
	s := store.New(time.Now)
	h := exposition.Handler(exposition.Config{Peers: s, Process: prometheus.NewRegistry(), Log: silent()})
	value := 1.0
	add := func(name string) {
		p := s.AddPeer(name, nil)
		g := p.Series(healthy)
		p.Attach(exposer(func(to collectors.Row) { to.Set(g, value) }))
	}
	add("a")
	pr, pw := io.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer pw.Close()
		r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
		r.Header.Set("Accept", acceptText)
		h.ServeHTTP(&pipeWriter{header: http.Header{}, w: pw}, r)
	}()
	first := make([]byte, 1)
	if _, err := io.ReadFull(pr, first); err != nil { // its page is open from here on
		t.Fatal(err)
	}
	page := func() string {
		_, b := scrape(t, h, acceptText)
		_, samples, _ := strings.Cut(string(b), "gauge\n")
		return samples
	}
	value = 2
	add("b")
	if got, want := page(), "ipsec_path_peer_healthy{peer=\"a\"} 2\nipsec_path_peer_healthy{peer=\"b\"} 2\n"; got != want {
		t.Errorf("page\n%s\nwant\n%s", got, want)
	}
	s.RemovePeer("a")
	value = 3
	if got, want := page(), "ipsec_path_peer_healthy{peer=\"b\"} 3\n"; got != want {
		t.Errorf("page\n%s\nwant\n%s", got, want)
	}
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

// TestClientsThatDoNotRead: clients that ask for pages and read none of them, each at another time,
// keep no other client from its page. Those that came first are cut off.
func TestClientsThatDoNotRead(t *testing.T) {
	var now atomic.Int64
	s := store.New(func() time.Time { return time.Unix(now.Load(), 0) })
	logged := &exportertest.Page{}
	for i := range 20_000 { // more than the buffers of a connection hold
		addMeasured(s, "peer"+strconv.Itoa(i), newMeasured())
	}
	server := httptest.NewServer(exposition.Handler(exposition.Config{Peers: s, Process: prometheus.NewRegistry(), Log: logger(logged)}))
	defer server.Close()
	var stuck []*bufio.Reader
	for range 4 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		r := bufio.NewReader(conn)
		if _, err := r.ReadString('\n'); err != nil { // its page is open from here on
			t.Fatal(err)
		}
		stuck = append(stuck, r)
		now.Add(int64(store.Freshness / time.Second))
	}
	response, err := server.Client().Do(request(t.Context(), server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil || bytes.Count(b, []byte("ipsec_path_peer_healthy{")) != 20_000 {
		t.Errorf("status %s, %d bytes, %v", response.Status, len(b), err)
	}
	for i, r := range stuck {
		err := rest(t, r)
		if cut := i < 2; cut != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("client %d: %v, want cut off %t", i, err, cut)
		}
	}
	exportertest.Eventually(t, time.Minute, "a line for each client that was cut off", func() bool {
		return logged.Count("sending metrics failed") == 2
	})
}

// rest reads the rest of a response, after its first line.
func rest(t *testing.T, r io.Reader) error {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), r)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func request(ctx context.Context, url string) *http.Request {
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	r.Header.Set("Accept", acceptText)
	return r
}
