package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/histogram"
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

func (e *exposer) Expose(to collectors.Row, _ time.Time) { (*e)(to) }

func exposing(f func(to collectors.Row)) collectors.Exposer { e := exposer(f); return &e }

// clock is a clock that stands still.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newStore() (*store.Store, *clock) {
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return store.New(c.Now), c
}

// addGauge adds a peer whose one gauge shows *v.
func addGauge(s *store.Store, name string, v *float64) *store.Peer {
	p := s.AddPeer(name, nil)
	g := p.Series(healthy)
	p.Attach(exposing(func(to collectors.Row) { to.Set(g, *v) }))
	return p
}

// lines are the series of families, with the values of gauges and counters and the counts of
// histograms.
func lines(families []*dto.MetricFamily) []string {
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s{%s} %g", strings.TrimPrefix(f.GetName(), "ipsec_path_"), strings.Join(labels, ","),
				m.GetGauge().GetValue()+m.GetCounter().GetValue()+float64(m.GetHistogram().GetSampleCount())))
		}
	}
	return out
}

// open opens a page; the test closes it, or its end does.
func open(t *testing.T, s *store.Store) *store.Page {
	t.Helper()
	p, err := s.Open(t.Context(), nil)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

func read(p *store.Page) []string { return lines(collectorstest.Families(p)) }

// page opens a page, reads it and closes it.
func page(t *testing.T, s *store.Store) []string {
	t.Helper()
	p := open(t, s)
	defer p.Close()
	return read(p)
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestEmpty(t *testing.T) {
	s, _ := newStore()
	want(t, page(t, s))
	p := s.AddPeer("a", nil)
	g := p.Series(healthy)
	want(t, page(t, s)) // no Exposer sets the value
	set := false
	p.Attach(exposing(func(to collectors.Row) { to.SetIf(g, set, 1) }))
	want(t, page(t, s)) // unknown is no series, and a family without series is no family
	set = true
	want(t, page(t, s), "peer_healthy{peer=a} 1")
	set = false
	want(t, page(t, s))
}

func TestOrderAndLabels(t *testing.T) {
	s, _ := newStore()
	for _, name := range []string{"b", "c", "a"} {
		p := s.AddPeer(name, map[string]string{"site": "haiti", "isp": "acme"})
		natt, icmp, ok, n := p.Series(mtu, "natt"), p.Series(mtu, "icmp"), p.Series(healthy), p.Series(replies)
		p.Attach(exposing(func(to collectors.Row) {
			to.Set(natt, 1400)
			to.Set(icmp, 1500)
			to.Set(ok, 1)
			to.Set(n, 7)
		}))
	}
	want(t, page(t, s),
		"icmp_replies_total{isp=acme,peer=a,site=haiti} 7",
		"icmp_replies_total{isp=acme,peer=b,site=haiti} 7",
		"icmp_replies_total{isp=acme,peer=c,site=haiti} 7",
		"mtu_bytes{isp=acme,method=natt,peer=a,site=haiti} 1400",
		"mtu_bytes{isp=acme,method=icmp,peer=a,site=haiti} 1500",
		"mtu_bytes{isp=acme,method=natt,peer=b,site=haiti} 1400",
		"mtu_bytes{isp=acme,method=icmp,peer=b,site=haiti} 1500",
		"mtu_bytes{isp=acme,method=natt,peer=c,site=haiti} 1400",
		"mtu_bytes{isp=acme,method=icmp,peer=c,site=haiti} 1500",
		"peer_healthy{isp=acme,peer=a,site=haiti} 1",
		"peer_healthy{isp=acme,peer=b,site=haiti} 1",
		"peer_healthy{isp=acme,peer=c,site=haiti} 1",
	)
}

// The order is the same where peers have different series, which are in several tables then.
func TestOrderOfPeersWithDifferentSeries(t *testing.T) {
	s, _ := newStore()
	for i, methods := range [][]string{{"natt", "icmp"}, {"icmp"}, {"ike"}, {"natt", "icmp"}, {"icmp", "natt"}} {
		p := s.AddPeer(string(rune('e'-i)), nil)
		for _, m := range methods {
			g := p.Series(mtu, m)
			if m == "natt" { // an Exposer of its own
				p.Attach(exposing(func(to collectors.Row) { to.Set(g, float64(i)) }))
				continue
			}
			ok := p.Series(healthy)
			p.Attach(exposing(func(to collectors.Row) {
				to.Set(g, float64(i))
				to.Set(ok, 1)
			}))
		}
	}
	want(t, page(t, s),
		"mtu_bytes{method=icmp,peer=a} 4", "mtu_bytes{method=natt,peer=a} 4",
		"mtu_bytes{method=natt,peer=b} 3", "mtu_bytes{method=icmp,peer=b} 3",
		"mtu_bytes{method=ike,peer=c} 2",
		"mtu_bytes{method=icmp,peer=d} 1",
		"mtu_bytes{method=natt,peer=e} 0", "mtu_bytes{method=icmp,peer=e} 0",
		"peer_healthy{peer=a} 1", "peer_healthy{peer=b} 1", "peer_healthy{peer=c} 1", "peer_healthy{peer=d} 1", "peer_healthy{peer=e} 1",
	)
}

// A series may have an optional label or not, and may come after the peer's first page.
func TestOptionalLabels(t *testing.T) {
	s, _ := newStore()
	held := collectors.GaugeFamily("ipsec_path_diagnosis", "Held.", "diagnosis").WithOptional("gateway")
	p := s.AddPeer("a", nil)
	first := p.Series(held, "peer_silent")
	p.Attach(exposing(func(to collectors.Row) { to.Set(first, 1) }))
	want(t, page(t, s), "diagnosis{diagnosis=peer_silent,peer=a} 1")
	second := p.Series(held, "no_sa", "hub")
	p.Attach(exposing(func(to collectors.Row) { to.Set(second, 1) }))
	want(t, page(t, s), "diagnosis{diagnosis=peer_silent,peer=a} 1", "diagnosis{diagnosis=no_sa,gateway=hub,peer=a} 1")
}

// A label that is not set on this page is empty, whatever it was on the one before.
func TestVaryingLabels(t *testing.T) {
	s, _ := newStore()
	words := map[string]string{"a": "COOKIE", "b": "COOKIE", "c": "NO_PROPOSAL_CHOSEN"}
	for name := range words {
		p := s.AddPeer(name, nil)
		i := p.Series(info, "ike")
		p.Attach(exposing(func(to collectors.Row) {
			to.Set(i, 1)
			if word := words[name]; word != "" {
				to.SetLabel(i, "reply", word)
			}
		}))
	}
	want(t, page(t, s), "ike_response_info{method=ike,peer=a,reply=COOKIE} 1", "ike_response_info{method=ike,peer=b,reply=COOKIE} 1",
		"ike_response_info{method=ike,peer=c,reply=NO_PROPOSAL_CHOSEN} 1")
	words["a"], words["b"] = "", "\xff"
	want(t, page(t, s), "ike_response_info{method=ike,peer=a,reply=} 1", "ike_response_info{method=ike,peer=b,reply=\uFFFD} 1",
		"ike_response_info{method=ike,peer=c,reply=NO_PROPOSAL_CHOSEN} 1")
}

// The values of varying labels do not pile up: peers that change their addresses leave them behind.
func TestManyVaryingLabels(t *testing.T) {
	s, c := newStore()
	n := 0
	p := s.AddPeer("a", nil)
	i := p.Series(info, "ike")
	p.Attach(exposing(func(to collectors.Row) {
		to.Set(i, 1)
		to.SetLabel(i, "reply", strconv.Itoa(n))
	}))
	old := open(t, s)
	for n = range 10_000 {
		want(t, page(t, s), fmt.Sprintf("ike_response_info{method=ike,peer=a,reply=%d} 1", n))
		c.now = c.now.Add(store.Freshness)
	}
	want(t, read(old), "ike_response_info{method=ike,peer=a,reply=0} 1")
}

func TestRemovedPeerVanishesAndKeptPeerKeepsCounting(t *testing.T) {
	s, _ := newStore()
	one, two := 1.0, 2.0
	removed := addGauge(s, "a", &one)
	addGauge(s, "b", &two)
	want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 2")
	s.RemovePeer("a")
	s.RemovePeer("nobody")
	two = 3
	want(t, page(t, s), "peer_healthy{peer=b} 3")
	n := removed.Series(replies)
	removed.Attach(exposing(func(to collectors.Row) { to.Set(n, 1) })) // a diagnosis that comes late
	want(t, page(t, s), "peer_healthy{peer=b} 3")
	addGauge(s, "a", &one)
	want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 3")
}

func TestOpenPageIsSharedAndNotRewritten(t *testing.T) {
	s, c := newStore()
	v := 1.0
	addGauge(s, "a", &v)
	first := open(t, s)
	v = 2
	c.now = c.now.Add(store.Freshness - 1)
	second := open(t, s)
	want(t, read(second), "peer_healthy{peer=a} 1")
	first.Close()
	first.Close() // twice is once: the second reader still holds the page
	want(t, page(t, s), "peer_healthy{peer=a} 1")
	want(t, read(second), "peer_healthy{peer=a} 1")
	second.Close()
	want(t, page(t, s), "peer_healthy{peer=a} 2")
}

// The time of a page is one for all that it shows.
func TestTimeOfThePage(t *testing.T) {
	s, c := newStore()
	var times []time.Time
	for _, name := range []string{"a", "b"} {
		s.AddPeer(name, nil).Attach(timed(func(now time.Time) { times = append(times, now) }))
	}
	want(t, page(t, s))
	if diff := cmp.Diff([]time.Time{c.now, c.now}, times); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

type timed func(now time.Time)

func (f timed) Expose(_ collectors.Row, now time.Time) { f(now) }

func TestStuckReaderFreezesNoOther(t *testing.T) {
	s, c := newStore()
	v, w := 1.0, 10.0
	addGauge(s, "a", &v)
	addGauge(s, "b", &w)
	stuck := open(t, s)
	for range 2 { // every page gets a stuck reader of its own
		c.now = c.now.Add(store.Freshness)
		v++
		want(t, read(open(t, s)), fmt.Sprintf("peer_healthy{peer=a} %g", v), "peer_healthy{peer=b} 10")
	}
	want(t, read(stuck), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 10")
	v = 9
	want(t, page(t, s), "peer_healthy{peer=a} 3", "peer_healthy{peer=b} 10") // the newest page still has a reader
}

// TestReadersInTheWay: where as many generations are read as there may be, those who read the oldest
// are interrupted, and the next page waits until they have ended.
func TestReadersInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.New(time.Now)
		v := 0.0
		addGauge(s, "a", &v)
		var interrupted []string
		var pages []*store.Page
		for _, name := range []string{"oldest", "older", "newest"} {
			for _, which := range []string{" 1", " 2"} {
				p, err := s.Open(t.Context(), func() { interrupted = append(interrupted, name+which) })
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, p)
			}
			v++
			time.Sleep(store.Freshness)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Open(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a fourth generation is opened, or fails with %v", err)
		}
		if diff := cmp.Diff([]string{"oldest 1", "oldest 2"}, interrupted); diff != "" {
			t.Errorf("interrupted (-want +got):\n%s", diff)
		}
		go func() {
			time.Sleep(time.Second)
			pages[0].Close()
			time.Sleep(time.Second)
			pages[1].Close()
		}()
		began := time.Now()
		want(t, page(t, s), "peer_healthy{peer=a} 3")
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %v, want until the second reader has ended", waited)
		}
		want(t, read(pages[2]), "peer_healthy{peer=a} 1")
		want(t, read(pages[4]), "peer_healthy{peer=a} 2")
	})
}

func TestPeersComeAndGoUnderAReader(t *testing.T) {
	s, _ := newStore()
	v, w, x := 1.0, 2.0, 3.0
	addGauge(s, "a", &v)
	addGauge(s, "b", &w)
	stuck := open(t, s)
	v, w = 11, 12
	s.RemovePeer("b")
	want(t, page(t, s), "peer_healthy{peer=a} 11")
	addGauge(s, "c", &x)
	want(t, page(t, s), "peer_healthy{peer=a} 11", "peer_healthy{peer=c} 3")
	want(t, read(stuck), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 2")
	stuck.Close()
	v = 21
	want(t, page(t, s), "peer_healthy{peer=a} 21", "peer_healthy{peer=c} 3")
}

// A page that is read keeps its labels and histograms too.
func TestPageKeepsLabelsAndHistograms(t *testing.T) {
	s, c := newStore()
	p := s.AddPeer("a", nil)
	reply, hist, n := p.Series(info, "ike"), p.Series(roundTrip), p.Series(replies)
	word, h := "COOKIE", histogram.New(&histogram.Buckets{Native: true}, c.now)
	h.Observe(0.02)
	count := 1.0
	p.Attach(exposing(func(to collectors.Row) {
		to.Set(reply, 1)
		to.SetLabel(reply, "reply", word)
		to.SetHistogram(hist, h)
		to.Set(n, count)
	}))
	old := open(t, s)
	before := collectorstest.Families(old)
	word, count = "NO_PROPOSAL_CHOSEN", 2
	h.Observe(0.2)
	c.now = c.now.Add(store.Freshness)
	want(t, page(t, s), "icmp_replies_total{peer=a} 2", "icmp_round_trip_seconds{peer=a} 2",
		"ike_response_info{method=ike,peer=a,reply=NO_PROPOSAL_CHOSEN} 1")
	want(t, read(old), "icmp_replies_total{peer=a} 1", "icmp_round_trip_seconds{peer=a} 1",
		"ike_response_info{method=ike,peer=a,reply=COOKIE} 1")
	after := collectorstest.Families(old)
	if len(before) != 3 || !proto.Equal(before[1], after[1]) {
		t.Errorf("the histogram of a page changed from %v to %v", before, after)
	}
}
