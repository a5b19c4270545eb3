package store_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/store"
)

const seriesPerPeer = 40

// benchFamilies are half gauges, half counters, with names and help of ordinary length.
func benchFamilies() []*collectors.Family {
	families := make([]*collectors.Family, seriesPerPeer)
	for i := range families {
		f := &collectors.Family{Help: "Help text of an ordinary length for this metric.", Labels: []string{"family"}}
		if i%2 == 0 {
			f.Name, f.Kind = fmt.Sprintf("ipsec_path_metric_number_%02d_seconds", i), collectors.Gauge
		} else {
			f.Name, f.Kind = fmt.Sprintf("ipsec_path_metric_number_%02d_total", i), collectors.Counter
		}
		families[i] = f
	}
	return families
}

func peerName(i int) string  { return "peer-" + strconv.Itoa(10000+i) }
func value(i, k int) float64 { return float64(i*37+k) * 0.000123 }

func benchStore(peers int) *store.Store {
	s := store.New(time.Now)
	families := benchFamilies()
	for i := range peers {
		p := s.AddPeer(peerName(i), nil)
		own := make([]*collectors.Series, len(families))
		for k, f := range families {
			own[k] = p.Series(f, "ip4")
		}
		ticks := 0
		p.Attach(exposer(func() {
			ticks++
			for k, series := range own {
				series.Set(value(i, k) + float64(ticks)*0.0017)
			}
		}))
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

// ready hands out families that nobody changes: what is left is the encoding, the floor of every gatherer.
type ready []*dto.MetricFamily

func (r ready) Gather() ([]*dto.MetricFamily, func(), error) { return r, func() {}, nil }

// discard counts what is written.
type discard struct {
	header http.Header
	n      int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) Write(b []byte) (int, error) {
	d.n += int64(len(b))
	return len(b), nil
}
func (d *discard) WriteHeader(int) {}

func BenchmarkGather(b *testing.B) {
	for _, peers := range []int{1000, 10000} {
		b.Run(strconv.Itoa(peers), func(b *testing.B) {
			s := benchStore(peers)
			_, first, _ := s.Gather() // lays the page out
			first()
			b.ReportAllocs()
			for b.Loop() {
				families, done, err := s.Gather()
				if err != nil || len(families) != seriesPerPeer {
					b.Fatalf("%d families, %v", len(families), err)
				}
				done()
			}
		})
	}
}

// BenchmarkLayOut is what a page costs after a peer came or went, with or without a stuck reader.
func BenchmarkLayOut(b *testing.B) {
	for _, peers := range []int{1000, 10000} {
		b.Run(strconv.Itoa(peers), func(b *testing.B) {
			s := benchStore(peers)
			b.ReportAllocs()
			_, stuck, _ := s.Gather()
			for b.Loop() {
				s.AddPeer("passing", nil)
				_, next, _ := s.Gather()
				s.RemovePeer("passing")
				stuck()
				stuck = next
			}
		})
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, peers := range []int{1000, 10000} {
		s := benchStore(peers)
		families, done, _ := s.Gather()
		still := prometheus.NewMultiTRegistry(ready(families))
		gatherers := []struct {
			name string
			g    prometheus.TransactionalGatherer
		}{
			{"ready", still},
			{"store", prometheus.NewMultiTRegistry(prometheus.ToTransactionalGatherer(prometheus.NewRegistry()), s)},
			{"const", constGatherer(b, peers)},
		}
		done()
		for _, format := range []struct{ name, accept string }{
			{"text", acceptText}, {"openmetrics", acceptOpenMetrics}, {"protobuf", acceptProtobuf},
		} {
			for _, g := range gatherers {
				b.Run(fmt.Sprintf("%d/%s/%s", peers, format.name, g.name), func(b *testing.B) {
					h := promhttp.HandlerForTransactional(g.g, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true})
					r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
					r.Header.Set("Accept", format.accept)
					h.ServeHTTP(&discard{header: http.Header{}}, r) // lays the page out
					b.ReportAllocs()
					w := &discard{}
					before := cpu(b)
					for b.Loop() {
						w = &discard{header: http.Header{}}
						h.ServeHTTP(w, r)
					}
					b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
					b.ReportMetric(float64(w.n)/1e6, "MB/page")
				})
			}
		}
	}
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

func constGatherer(b *testing.B, peers int) prometheus.TransactionalGatherer {
	b.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(newConstMetrics(peers)); err != nil {
		b.Fatal(err)
	}
	return prometheus.ToTransactionalGatherer(reg)
}
