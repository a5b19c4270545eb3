package exposition_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/histogram"
)

var update = flag.Bool("update", false, "write the golden pages")

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

var (
	mtu     = collectors.GaugeFamily("ipsec_path_mtu_bytes", "Largest size proven to pass.", "method")
	healthy = collectors.GaugeFamily("ipsec_path_peer_healthy", "1 healthy, 0 not.")
	replies = collectors.CounterFamily("ipsec_path_icmp_replies_total", "Echo replies.")
	info    = collectors.GaugeFamily("ipsec_path_ike_response_info", "What answers.", "method").WithVarying("reply")

	roundTrip = collectors.HistogramFamily("ipsec_path_icmp_round_trip_seconds", "Round trip.")
)

// exposer makes a function an Exposer.
type exposer func(to collectors.Row)

func (e exposer) Expose(to collectors.Row, _ time.Time) { e(to) }

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func logger(to io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }

// addPeer adds the i-th peer, which has every kind of series: gauge, counter, info, histogram, set
// and not set.
func addPeer(s *store.Store, name string, i int, b *histogram.Buckets) {
	p := s.AddPeer(name, map[string]string{"site": "haiti"})
	var mtus [3]collectors.Series
	for m, method := range collectors.Methods() {
		mtus[m] = p.Series(mtu, method.String())
	}
	ok, reply := p.Series(healthy), p.Series(info, "ike")
	p.Attach(exposer(func(to collectors.Row) {
		for m := range min(i, 2) + 1 {
			to.Set(mtus[m], float64(1500-100*m))
		}
		to.SetIf(ok, i != 2, collectors.Bool(i != 0))
		to.SetLabel(reply, "reply", "INVALID_KE_PAYLOAD")
		to.Set(reply, 1)
	}))
	n, hist := p.Series(replies), p.Series(roundTrip)
	h := histogram.New(b, time.Unix(1_800_000_000, 0))
	for k := range 20 {
		h.Observe(0.003 * float64(k*(i+1)))
	}
	p.Attach(exposer(func(to collectors.Row) {
		to.Set(n, 20)
		to.SetHistogram(hist, h)
	}))
}

// exampleRegistry has families before, between and after those of peers.
func exampleRegistry(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	for name, help := range map[string]string{
		"a_first": "Sorted before the store's.", "ipsec_path_schedule_lag_seconds": "How late the schedule runs.",
	} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		if err := reg.Register(g); err != nil {
			t.Fatal(err)
		}
		if name != "a_first" {
			g.Set(0.25)
		}
	}
	return reg
}

// exampleStore has three peers, one of which has a name that is escaped.
func exampleStore() *store.Store {
	s := store.New(time.Now)
	for i, name := range []string{"hq", `of"fi\ce`, "branch"} {
		addPeer(s, name, i, &histogram.Buckets{Classic: []float64{0.01, 0.1, 1}, Native: true})
	}
	return s
}

// An answer is what a handler answered.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// get fetches a page with these header fields.
func get(t *testing.T, h http.Handler, url string, header ...string) answer {
	t.Helper()
	method, url, _ := strings.Cut(url, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

// scrape fetches a page as Prometheus would.
func scrape(t *testing.T, h http.Handler, accept string) (expfmt.Format, []byte) {
	t.Helper()
	r := get(t, h, "GET /metrics", "Accept", accept)
	if r.code != http.StatusOK {
		t.Fatalf("status %d: %s", r.code, r.body)
	}
	return expfmt.ResponseFormat(r.header), r.body
}

// parse reads a page back, family by family.
func parse(t *testing.T, format expfmt.Format, page []byte) []*dto.MetricFamily {
	t.Helper()
	dec := expfmt.NewDecoder(bytes.NewReader(page), format)
	var out []*dto.MetricFamily
	for {
		f := &dto.MetricFamily{}
		switch err := dec.Decode(f); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatalf("parsing back: %v\n%s", err, page)
		}
		out = append(out, f)
	}
}

// families are the families of a store and of a registry, by name.
func families(t *testing.T, s *store.Store, reg prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	page, err := s.Open(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, collectorstest.Families(page)...)
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

func TestPages(t *testing.T) {
	s, reg := exampleStore(), exampleRegistry(t)
	h := exposition.Handler(exposition.Config{Peers: s, Process: reg, Log: silent()})
	full := families(t, s, reg)
	for _, tt := range []struct {
		name, accept, golden string
	}{
		{"text", acceptText, "page.prom"},
		{"openmetrics", acceptOpenMetrics, "page.openmetrics"},
		{"protobuf", acceptProtobuf, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			format, body := scrape(t, h, tt.accept)
			expected := full
			if tt.golden != "" {
				expected = asText(full)
				compareGolden(t, tt.golden, body)
			}
			parsed := parse(t, format, body)
			slices.SortStableFunc(parsed, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
			if diff := cmp.Diff(expected, parsed, protocmp.Transform()); diff != "" {
				t.Errorf("parsed back (-gathered +parsed):\n%s", diff)
			}
		})
	}
}

// asText is what the text formats can say of families: they write the bucket +Inf, and have no
// native ones.
func asText(families []*dto.MetricFamily) []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, len(families))
	for i, f := range families {
		out[i] = proto.CloneOf(f)
		for _, m := range out[i].GetMetric() {
			if h := m.GetHistogram(); h != nil {
				inf := &dto.Bucket{UpperBound: new(math.Inf(1)), CumulativeCount: h.SampleCount}
				m.Histogram = &dto.Histogram{SampleCount: h.SampleCount, SampleSum: h.SampleSum, Bucket: append(h.GetBucket(), inf)}
			}
		}
	}
	return out
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(got)); diff != "" {
		t.Errorf("%s (-golden +got):\n%s", path, diff)
	}
}
