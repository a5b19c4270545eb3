package store_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/store"
)

var update = flag.Bool("update", false, "write the golden pages")

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// handler joins the store with a registry as the exporter does.
func handler(s *store.Store, reg *prometheus.Registry) http.Handler {
	joined := prometheus.NewMultiTRegistry(prometheus.ToTransactionalGatherer(reg), s)
	return promhttp.HandlerForTransactional(joined, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true})
}

// scrape fetches a page as Prometheus would.
func scrape(t *testing.T, h http.Handler, accept string) (expfmt.Format, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return expfmt.ResponseFormat(w.Header()), w.Body.Bytes()
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

// exampleStore has every kind of series: gauge, counter, info, classic and native histogram, set and not set.
func exampleStore(t *testing.T) (*store.Store, *prometheus.Registry) {
	t.Helper()
	s, _ := newStore()
	for i, name := range []string{"hq", `of"fi\ce`, "branch"} {
		p := s.AddPeer(name, map[string]string{"site": "haiti"})
		var mtus [3]*collectors.Series
		for m, method := range collectors.Methods() {
			mtus[m] = p.Series(mtu, method.String())
		}
		ok, reply := p.Series(healthy), p.Series(info, "ike", "")
		p.Attach(exposer(func() {
			for m := range i + 1 {
				mtus[m].Set(float64(1500 - 100*m))
			}
			ok.SetBool(i != 0)
			if i == 2 {
				ok.Clear()
			}
			reply.SetLabel("reply", "INVALID_KE_PAYLOAD")
			reply.Set(1)
		}))
		n, hist := p.Series(replies), p.Series(roundTrip)
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "round_trip_seconds", Help: "Round trip.", Buckets: []float64{0.01, 0.1, 1}, NativeHistogramBucketFactor: 1.1,
		})
		for k := range 20 {
			h.Observe(0.003 * float64(k*(i+1)))
		}
		p.Attach(exposer(func() {
			n.Set(20)
			var m dto.Metric
			if err := h.Write(&m); err != nil {
				t.Errorf("writing the histogram: %v", err)
			}
			m.Histogram.CreatedTimestamp = nil // differs from run to run
			hist.SetHistogram(m.GetHistogram())
		}))
	}
	reg := prometheus.NewRegistry()
	lag := prometheus.NewGauge(prometheus.GaugeOpts{Name: "ipsec_path_schedule_lag_seconds", Help: "How late the schedule runs."})
	up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "a_first", Help: "Sorted before the store's."})
	for _, c := range []prometheus.Collector{lag, up} {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	lag.Set(0.25)
	return s, reg
}

func TestPages(t *testing.T) {
	s, reg := exampleStore(t)
	h := handler(s, reg)
	own, done := gather(t, s)
	defer done()
	fromRegistry, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	full := append(append(fromRegistry[:1:1], own...), fromRegistry[1:]...) // by name

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

// asText is what the text formats can say of families: they write the bucket +Inf, and have no native ones.
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
