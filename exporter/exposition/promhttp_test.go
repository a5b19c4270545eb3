package exposition_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/exposition"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/histogram"
)

// ready gathers families that do not change.
type ready []*dto.MetricFamily

func (r ready) Gather() ([]*dto.MetricFamily, error) { return r, nil }

// manyPeers has families that need several parts, values of all sizes, and labels that are escaped.
func manyPeers() *store.Store {
	s := store.New(func() time.Time { return time.Unix(1_800_000_000, 0) })
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"peer", `qu"oted`, "back\\slash", "two\nlines", "größe"}
	kinds := []*histogram.Buckets{{Native: true}, {Classic: []float64{0.5, 1, 2, 10, 1e6, 1e21}}, {Classic: []float64{0.001}, Native: true}}
	wide := collectors.GaugeFamily("ipsec_path_wide", `Help with a \ and "quotes".`)
	for i := range 1300 {
		name := fmt.Sprintf("%s-%04d", names[i%len(names)], i)
		addPeer(s, name, i, kinds[i%len(kinds)])
		p := s.AddPeer("more "+name, nil)
		g, h := p.Series(wide), p.Series(roundTrip)
		values := histogram.New(kinds[i%len(kinds)], time.Unix(1_800_000_000, int64(i)))
		for range r.IntN(30) {
			values.Observe(math.Exp(10*r.NormFloat64() + float64(i%3)))
		}
		v := []float64{0, 1, -1, math.Inf(1), math.NaN(), 1e21, 123456789, 0.1 * float64(i)}[i%8]
		p.Attach(exposer(func(to collectors.Row) {
			to.Set(g, v)
			to.SetHistogram(h, values)
		}))
	}
	return s
}

// headers are what scrapers and people send.
func headers() map[string][]string {
	const all = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," +
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
		"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
	return map[string][]string{
		"nothing":           nil,
		"text":              {"Accept", acceptText},
		"OpenMetrics":       {"Accept", acceptOpenMetrics},
		"OpenMetrics 0.0.1": {"Accept", "application/openmetrics-text;version=0.0.1"},
		"OpenMetrics 2.0":   {"Accept", "application/openmetrics-text;version=2.0.0"},
		"protobuf":          {"Accept", acceptProtobuf},
		"Prometheus 3":      {"Accept", all, "Accept-Encoding", "gzip"},
		"text, escaped":     {"Accept", acceptText + ";escaping=dots"},
		"protobuf, escaped": {"Accept", acceptProtobuf + ";escaping=values"},
		"protobuf as text":  {"Accept", strings.Replace(acceptProtobuf, "delimited", "text", 1)},
		"compact text":      {"Accept", strings.Replace(acceptProtobuf, "delimited", "compact-text", 1)},
		"a browser":         {"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding", "gzip, deflate, br, zstd"},
		"no gzip":           {"Accept", acceptText, "Accept-Encoding", "gzip;q=0, identity"},
		"rather gzip":       {"Accept", acceptText, "Accept-Encoding", "gzip;q=0.5, br;q=0"},
		"nonsense":          {"Accept", ";;;", "Accept-Encoding", "q=,;"},
	}
}

// plain returns a body without its encoding.
func plain(t *testing.T, r answer) []byte {
	t.Helper()
	if r.header.Get("Content-Encoding") != "gzip" {
		return r.body
	}
	z, err := gzip.NewReader(bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSameAsPromhttp: whatever is asked for, the answer is that of promhttp for the same families.
func TestSameAsPromhttp(t *testing.T) {
	peers, process := manyPeers(), exampleRegistry(t)
	ours := exposition.Handler(exposition.Config{Peers: peers, Process: process, Log: silent()})
	theirs := promhttp.HandlerFor(ready(families(t, peers, process)), promhttp.HandlerOpts{EnableOpenMetrics: true})
	for name, header := range headers() {
		for _, query := range []string{"", "?name[]=ipsec_path_wide&name[]=a_first&name[]=none"} {
			t.Run(name+query, func(t *testing.T) {
				got, want := get(t, ours, "GET /metrics"+query, header...), get(t, theirs, "GET /metrics"+query, header...)
				for _, field := range []string{"Content-Type", "Content-Encoding"} {
					if g, w := got.header.Get(field), want.header.Get(field); g != w && len(query) == 0 {
						t.Errorf("%s: %q, want %q", field, g, w)
					}
				}
				if g, w := vary(got), vary(want); !slices.Equal(g, w) {
					t.Errorf("Vary: %q, want %q", g, w)
				}
				g, w := plain(t, got), plain(t, want)
				if name == "protobuf as text" || name == "compact text" {
					g, w = unspaced(g), unspaced(w)
				}
				if got.code != want.code || !bytes.Equal(g, w) {
					t.Errorf("status %d, want %d; %d bytes, want %d; %s", got.code, want.code, len(g), len(w), firstDifference(g, w))
				}
			})
		}
	}
}

func vary(r answer) []string { return slices.Sorted(slices.Values(r.header.Values("Vary"))) }

// unspaced leaves out spaces: the text form of protobuf has them at random, so that nobody parses it.
func unspaced(b []byte) []byte { return bytes.ReplaceAll(b, []byte(" "), nil) }

func firstDifference(got, want []byte) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	part := func(b []byte) []byte { return b[max(0, at-80):min(len(b), at+80)] }
	return fmt.Sprintf("got %q, want %q", part(got), part(want))
}

// TestHead: HEAD has the header of GET and no content.
func TestHead(t *testing.T) {
	h := exposition.Handler(exposition.Config{Peers: exampleStore(), Process: exampleRegistry(t), Log: silent()})
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf} {
		head, whole := get(t, h, "HEAD /metrics", "Accept", accept), get(t, h, "GET /metrics", "Accept", accept)
		if head.code != http.StatusOK || len(head.body) > 0 {
			t.Errorf("status %d, body %q", head.code, head.body)
		}
		if diff := cmp.Diff(whole.header, head.header); diff != "" {
			t.Errorf("header (-GET +HEAD):\n%s", diff)
		}
	}
}

// broken is a collector that fails.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "Broken.", nil, nil), errors.New("out of order"))
}

// failing gathers families and an error.
type failing struct {
	ready
	err error
}

func (f failing) Gather() ([]*dto.MetricFamily, error) { return f.ready, f.err }

// TestErrors: what cannot be gathered is logged, and the rest is served; if that is nothing, the error
// is.
func TestErrors(t *testing.T) {
	for name, peers := range map[string]*store.Store{"some metrics": exampleStore(), "no metrics": store.New(time.Now)} {
		t.Run(name, func(t *testing.T) {
			logged := &exportertest.Page{}
			reg := prometheus.NewRegistry()
			if err := reg.Register(broken{}); err != nil {
				t.Fatal(err)
			}
			ours := exposition.Handler(exposition.Config{Peers: peers, Process: reg, Log: logger(logged)})
			_, gathering := reg.Gather()
			all := failing{families(t, peers, prometheus.NewRegistry()), gathering}
			theirs := promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
			got, want := get(t, ours, "GET /metrics", "Accept", acceptText), get(t, theirs, "GET /metrics", "Accept", acceptText)
			if got.code != want.code || !bytes.Equal(got.body, want.body) {
				t.Errorf("status %d, want %d; body\n%s\nwant\n%s", got.code, want.code, got.body, want.body)
			}
			if logged.Count("level=ERROR") != 1 || logged.Count("out of order") != 1 {
				t.Errorf("log:\n%s", logged)
			}
		})
	}
}

// TestGzip: a page is compressed to a fraction, and no small one is.
func TestGzip(t *testing.T) {
	h := exposition.Handler(exposition.Config{Peers: manyPeers(), Process: prometheus.NewRegistry(), Log: silent()})
	whole, small := get(t, h, "GET /metrics"), get(t, h, "GET /metrics", "Accept-Encoding", "gzip")
	if small.header.Get("Content-Encoding") != "gzip" || !bytes.Equal(plain(t, small), whole.body) {
		t.Errorf("header %v, or another content", small.header)
	}
	if len(small.body) > len(whole.body)/5 {
		t.Errorf("%d bytes of %d", len(small.body), len(whole.body))
	}
}
