package exporter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"ipsec_path_exporter/exporter/config"
)

// What Prometheus may ask for.
const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// A service is the program while it serves, without its listener.
type service struct {
	*app
	ctx     context.Context
	logged  *page
	metrics http.Handler
	reload  *reloader
	file    string
}

// quick are the shortest intervals that a file may ask for.
const quick = "modules: {default: {intervals: {icmp: 200ms, ike: 10s, pmtu: 10s, pmtu_raise: 10s}}}\n"

// serve measures what a configuration file names, from the client's place.
func (l *lab) serve(t *testing.T, text string) *service {
	t.Helper()
	return l.serveAs(t, text, false, nil)
}

func (l *lab) serveAs(t *testing.T, text string, unprivileged bool, r resolver) *service {
	t.Helper()
	s := &service{logged: &page{}, file: configFile(t, text)}
	cfg, err := config.Load(s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.app = l.app(t, cfg, slog.New(slog.NewTextHandler(s.logged, nil)), unprivileged)
	s.resolver = r
	if l.open != nil {
		s.readers.open = l.open
	}
	s.start(t, cfg)
	return s
}

// start does what Serve does, except for listening.
func (s *service) start(tb testing.TB, cfg *config.Config) {
	tb.Helper()
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- s.schedule.Run(s.ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("schedule: %v", err)
		}
	})
	s.apply(s.ctx, cfg)
	s.app.metrics.loaded(true)
	s.metrics = s.metricsHandler()
	s.reload = &reloader{app: s.app, options: ServeOptions{ConfigFile: s.file}, life: s.ctx, turn: make(chan struct{}, 1), discovery: newDiscovery(s.log), base: cfg, cfg: cfg}
}

// configure writes the file and reloads it.
func (s *service) configure(t *testing.T, text string) error {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.reload.reload(t.Context())
}

// A scrape is one page, by the name of the family.
type scrape map[string]*dto.MetricFamily

func (s *service) scrape(tb testing.TB) scrape {
	tb.Helper()
	return s.scrapeAs(tb, acceptText)
}

// scrapeAs fetches and parses a page.
func (s *service) scrapeAs(tb testing.TB, accept string) scrape {
	tb.Helper()
	format, body := fetch(tb, s.metrics, accept)
	if format.FormatType() == expfmt.TypeOpenMetrics {
		tb.Fatal("expfmt has no decoder for OpenMetrics")
	}
	out := make(scrape)
	for d := expfmt.NewDecoder(bytes.NewReader(body), format); ; {
		f := &dto.MetricFamily{}
		if err := d.Decode(f); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			tb.Fatalf("%v in:\n%s", err, body)
		}
		out[f.GetName()] = f
	}
}

func fetch(tb testing.TB, h http.Handler, accept string) (expfmt.Format, []byte) {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return expfmt.ResponseFormat(w.Header()), w.Body.Bytes()
}

// series is how a series is written in the text form, without its value.
func seriesName(family string, m *dto.Metric) string {
	labels := make([]string, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
	}
	slices.Sort(labels)
	return strings.TrimPrefix(family, namespace+"_") + "{" + strings.Join(labels, ",") + "}"
}

// of are the series of a peer, sorted.
func (s scrape) of(peer string) []string {
	var out []string
	for name, f := range s {
		for _, m := range f.GetMetric() {
			if slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "peer" && l.GetValue() == peer }) {
				out = append(out, seriesName(name, m))
			}
		}
	}
	slices.Sort(out)
	return out
}

// value is that of a series as seriesName writes it; ok is false if there is none.
func (s scrape) value(series string) (v float64, ok bool) {
	name, _, _ := strings.Cut(series, "{")
	for _, m := range s[namespace+"_"+name].GetMetric() {
		if seriesName(name, m) == series {
			switch {
			case m.Gauge != nil:
				return m.GetGauge().GetValue(), true
			case m.Counter != nil:
				return m.GetCounter().GetValue(), true
			}
			return float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// is tells whether a series has a value.
func (s *service) is(tb testing.TB, series string, want float64) bool {
	tb.Helper()
	v, ok := s.scrape(tb).value(series)
	return ok && v == want
}

// await waits until a series has a value.
func (s *service) await(tb testing.TB, limit time.Duration, series string, want float64) time.Duration {
	tb.Helper()
	return eventually(tb, limit, series, func() bool { return s.is(tb, series, want) })
}

// soon is when everything was measured at least once: the longest of the quick intervals, and the time for a search, also under the race
// detector on a busy machine.
const soon = time.Minute

// awaitMeasured waits until everything about a peer was measured at least once, and by all three methods.
func (s *service) awaitMeasured(tb testing.TB, peer string) {
	tb.Helper()
	eventually(tb, soon, "the first rounds of "+peer, func() bool {
		all := strings.Join(s.scrape(tb).of(peer), "\n")
		return strings.Contains(all, "peer_healthy{") && strings.Contains(all, "icmp_reachable{") &&
			strings.Count(all, "ike_responding{") == 2 && strings.Count(all, "mtu_state{") == 3
	})
}

// awaitSearch waits until a path MTU search is under way.
func (s *service) awaitSearch(tb testing.TB) {
	tb.Helper()
	eventually(tb, soon, "a search", func() bool { return s.schedule.Stats().Running > 0 })
}
