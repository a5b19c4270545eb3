package store_test

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/store"
)

const (
	benchPeers    = 10_000
	seriesPerPeer = 40
)

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// benchFamilies are half gauges, half counters, with names and help of ordinary length.
func benchFamilies() []*collectors.Family {
	families := make([]*collectors.Family, seriesPerPeer)
	for i := range families {
		name, help := fmt.Sprintf("ipsec_path_metric_number_%02d", i), "Help text of an ordinary length for this metric."
		if i%2 == 0 {
			families[i] = collectors.GaugeFamily(name+"_seconds", help, "family")
		} else {
			families[i] = collectors.CounterFamily(name+"_total", help, "family")
		}
	}
	return families
}

func peerName(i int) string  { return "peer-" + strconv.Itoa(10000+i) }
func value(i, k int) float64 { return float64(i*37+k) * 0.000123 }

// measured is an Exposer whose values change from page to page.
type measured struct {
	peer, ticks int
	series      [seriesPerPeer]collectors.Series
}

func (m *measured) Expose(to collectors.Row, _ time.Time) {
	m.ticks++
	for k, series := range m.series {
		to.Set(series, value(m.peer, k)+float64(m.ticks)*0.0017)
	}
}

func benchStore(peers int) *store.Store {
	s := store.New(time.Now)
	families := benchFamilies()
	for i := range peers {
		p, m := s.AddPeer(peerName(i), nil), &measured{peer: i}
		for k, f := range families {
			m.series[k] = p.Series(f, "ip4")
		}
		p.Attach(m)
	}
	return s
}

// constMetrics is the same page in the way most exporters make it.
type constMetrics struct {
	peers []string
	descs []*prometheus.Desc
	kinds []prometheus.ValueType
}

func newConstMetrics(peers int) *constMetrics {
	c := &constMetrics{}
	for i := range peers {
		c.peers = append(c.peers, peerName(i))
	}
	for _, f := range benchFamilies() {
		kind := prometheus.GaugeValue
		if f.Kind == collectors.Counter {
			kind = prometheus.CounterValue
		}
		c.kinds = append(c.kinds, kind)
		c.descs = append(c.descs, prometheus.NewDesc(f.Name, f.Help, []string{"peer", "family"}, nil))
	}
	return c
}

func (c *constMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

func (c *constMetrics) Collect(ch chan<- prometheus.Metric) {
	for i, p := range c.peers {
		for k, d := range c.descs {
			ch <- prometheus.MustNewConstMetric(d, c.kinds[k], value(i, k), p, "ip4")
		}
	}
}

// whole copies the families of a page, whose metrics are then adjacent.
func whole(b *testing.B, s *store.Store) (families []*dto.MetricFamily) {
	b.Helper()
	page, err := s.Open(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer page.Close()
	for i := range page.Len() {
		for f := range page.Parts(i, math.MaxInt) {
			families = append(families, proto.CloneOf(f))
		}
	}
	return families
}

// discard counts what is written, and calls watch now and then.
type discard struct {
	header http.Header
	n      int64
	watch  func()
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) Write(b []byte) (int, error) {
	d.n += int64(len(b))
	if d.watch != nil {
		d.watch()
	}
	return len(b), nil
}
func (d *discard) WriteHeader(int) {}

// A way is one way of making a page.
type way struct {
	name string
	page func(w *discard)
	cpu  time.Duration
}

// ways returns ours, encoding families that are ready, and const metrics in a registry.
func ways(b *testing.B, s *store.Store, accept, encoding string) []*way {
	b.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", encoding)
	ours := exposition.Handler(exposition.Config{Peers: s, Process: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	registry := prometheus.NewRegistry()
	registry.MustRegister(newConstMetrics(benchPeers))
	constant := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	ready := whole(b, s)
	format := expfmt.NegotiateAccept(request.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	return []*way{
		{name: "ours", page: func(w *discard) { ours.ServeHTTP(w, request) }},
		{name: "ready", page: func(w *discard) {
			enc := expfmt.NewEncoder(w, format)
			for _, f := range ready {
				if err := enc.Encode(f); err != nil {
					b.Fatal(err)
				}
			}
		}},
		{name: "const", page: func(w *discard) { constant.ServeHTTP(w, request) }},
	}
}

// BenchmarkScrape compares pages of 10,000 peers with 40 series each, in turns. The ratios are of CPU
// time; extra-MB is by how much the heap grows while a page is sent, garbage included. Families that
// are ready are encoded without gzip.
func BenchmarkScrape(b *testing.B) {
	for _, format := range []struct{ name, accept, encoding string }{
		{"text", acceptText, "identity"},
		{"openmetrics", acceptOpenMetrics, "identity"},
		{"protobuf", acceptProtobuf, "identity"},
		{"text+gzip", acceptText, "gzip"},
		{"protobuf+gzip", acceptProtobuf, "gzip"},
	} {
		b.Run(format.name, func(b *testing.B) {
			all := ways(b, benchStore(benchPeers), format.accept, format.encoding)
			for _, w := range all { // the first page makes what later ones use again
				w.page(&discard{header: http.Header{}})
			}
			extra, allocs := growth(all[0]), allocations(all[0])
			for b.Loop() {
				for _, w := range all {
					runtime.GC() // what another way left behind is not this one's
					before := cpu(b)
					w.page(&discard{header: http.Header{}})
					w.cpu += cpu(b) - before
				}
			}
			if format.encoding == "identity" {
				b.ReportMetric(float64(all[0].cpu)/float64(all[1].cpu), "of-ready")
			}
			b.ReportMetric(float64(all[0].cpu)/float64(all[2].cpu), "of-const")
			b.ReportMetric(all[0].cpu.Seconds()*1000/float64(b.N), "cpu-ms/scrape")
			b.ReportMetric(allocs, "allocs/scrape")
			b.ReportMetric(extra, "extra-MB")
		})
	}
}

// BenchmarkPeers is the time to add 10,000 peers with their series, and to remove them again.
func BenchmarkPeers(b *testing.B) {
	for b.Loop() {
		s := benchStore(benchPeers)
		for i := range benchPeers {
			s.RemovePeer(peerName(i))
		}
	}
}

// BenchmarkFill is what it takes to fill a page: as it was before, and after a peer came or went.
func BenchmarkFill(b *testing.B) {
	for _, change := range []bool{false, true} {
		b.Run(fmt.Sprintf("change=%t", change), func(b *testing.B) {
			s := benchStore(benchPeers)
			b.ReportAllocs()
			for b.Loop() {
				if change {
					s.AddPeer("passing", nil)
				}
				page, err := s.Open(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				page.Close()
				s.RemovePeer("passing")
			}
		})
	}
}

// growth returns by how many MB the heap grows while a page is sent.
func growth(w *way) float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	most := before
	w.page(&discard{header: http.Header{}, watch: func() { most = max(most, heap()) }})
	return float64(most-before) / 1e6
}

func allocations(w *way) float64 {
	return testing.AllocsPerRun(1, func() { w.page(&discard{header: http.Header{}}) })
}

// cpu is the CPU time of the process, the garbage collector's included.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
