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

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/shard"
)

// What Prometheus may ask for.
const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// A lab is a provider with a gateway behind it, where the program runs in the client's place.
type lab struct {
	*exportertest.Lab
	// open is in place of what reads gateways, if it is set.
	open func(*config.Gateway) (gateways.Source, error)
	// storage is the directory of the history, empty for one in memory.
	storage string
	// shard are the peers that are measured, all of them if it is zero.
	shard shard.Shard
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	return &lab{Lab: exportertest.New(tb)}
}

// app is the program in the client's place. It lives as long as the test.
func (l *lab) app(tb testing.TB, cfg *config.Config, log *slog.Logger, unprivileged bool) *app {
	tb.Helper()
	tools := l.Instruments(tb, cfg, log, unprivileged)
	var a *app
	l.Client.Do(tb, func() {
		var err error
		if a, err = newApp(tools, cfg, icmp.BothBuckets, l.storage, log); err != nil {
			tb.Fatal(err)
		}
	})
	tb.Cleanup(a.close)
	return a
}

// A service is the program while it serves, without its listener.
type service struct {
	*app
	ctx     context.Context
	logged  *exportertest.Page
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

func (l *lab) serveAs(t *testing.T, text string, unprivileged bool, r resolve.Resolver) *service {
	t.Helper()
	s := &service{logged: &exportertest.Page{}, file: exportertest.ConfigFile(t, text)}
	base, err := config.ReadAny(s.file, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.logged, nil))
	s.reload = newReloader(log, l.shard)
	s.reload.options = ServeOptions{ConfigFile: s.file}
	cfg, err := s.reload.first(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	s.app = l.app(t, cfg, log, unprivileged)
	s.resolver, s.shard, s.files = r, l.shard, s.reload.files
	if l.open != nil {
		s.readers.Open = l.open
	}
	s.start(t, cfg)
	return s
}

// start does what Serve does, except for listening.
func (s *service) start(tb testing.TB, cfg *config.Config) {
	tb.Helper()
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(tb.Context())
	done := make(chan error, 2)
	go func() { done <- s.schedule.Run(s.ctx) }()
	s.apply(s.ctx, cfg)
	s.app.metrics.loaded(true)
	s.metrics = s.metricsHandler()
	s.reload.app, s.reload.life = s.app, s.ctx
	go func() { done <- s.reload.followFiles(s.ctx) }()
	tb.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				tb.Error(err)
			}
		}
	})
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

// is reports whether a series has a value.
func (s *service) is(tb testing.TB, series string, want float64) bool {
	tb.Helper()
	v, ok := s.scrape(tb).value(series)
	return ok && v == want
}

// await waits until a series has a value.
func (s *service) await(tb testing.TB, limit time.Duration, series string, want float64) time.Duration {
	tb.Helper()
	return exportertest.Eventually(tb, limit, series, func() bool { return s.is(tb, series, want) })
}

// soon is when everything was measured at least once: the longest of the quick intervals, and the
// time for a search, also under the race detector on a busy machine.
const soon = time.Minute

// awaitMeasured waits until everything about a peer was measured at least once, and by all three
// methods.
func (s *service) awaitMeasured(tb testing.TB, peer string) {
	tb.Helper()
	exportertest.Eventually(tb, soon, "the first rounds of "+peer, func() bool {
		all := strings.Join(s.scrape(tb).of(peer), "\n")
		return strings.Contains(all, "peer_healthy{") && strings.Contains(all, "icmp_reachable{") &&
			strings.Count(all, "ike_responding{") == 2 && strings.Count(all, "mtu_state{") == 3
	})
}

// awaitSearch waits until a path MTU search is under way.
func (s *service) awaitSearch(tb testing.TB) {
	tb.Helper()
	exportertest.Eventually(tb, soon, "a search", func() bool { return s.schedule.Stats().Running > 0 })
}
