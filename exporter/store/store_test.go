package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/store"
)

var (
	mtu = &collectors.Family{
		Name: "ipsec_path_mtu_bytes", Help: "Largest size proven to pass.", Kind: collectors.Gauge, Labels: []string{"method"},
	}
	healthy = &collectors.Family{Name: "ipsec_path_peer_healthy", Help: "1 healthy, 0 not.", Kind: collectors.Gauge}
	replies = &collectors.Family{Name: "ipsec_path_icmp_replies_total", Help: "Echo replies.", Kind: collectors.Counter}
	info    = &collectors.Family{
		Name: "ipsec_path_ike_response_info", Help: "What answers.", Kind: collectors.Gauge, Labels: []string{"method", "reply"},
	}
	roundTrip = &collectors.Family{
		Name: "ipsec_path_icmp_round_trip_seconds", Help: "Round trip.", Kind: collectors.Histogram,
	}
)

// exposer makes a function an Exposer.
type exposer func()

func (e exposer) Expose() { e() }

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
	p.Attach(exposer(func() { g.Set(*v) }))
	return p
}

// lines are the gauges and counters of families, as they stand now.
func lines(families []*dto.MetricFamily) []string {
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s{%s} %g", strings.TrimPrefix(f.GetName(), "ipsec_path_"), strings.Join(labels, ","),
				m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	return out
}

// gather gathers and leaves the page open.
func gather(t *testing.T, s *store.Store) (families []*dto.MetricFamily, done func()) {
	t.Helper()
	families, done, err := s.Gather()
	if err != nil {
		t.Fatalf("Gather: %v", err)
	}
	return families, done
}

// page gathers, renders and closes.
func page(t *testing.T, s *store.Store) []string {
	t.Helper()
	families, done := gather(t, s)
	defer done()
	return lines(families)
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
	g.Set(1)
	want(t, page(t, s)) // no Exposer: nobody answers for the value
	set := false
	p.Attach(exposer(func() {
		g.Clear()
		if set {
			g.Set(1)
		}
	}))
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
		p.Attach(exposer(func() { natt.Set(1400); icmp.Set(1500); ok.SetBool(true); n.Set(7) }))
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

// A series may have an optional label or not, and may come after the peer's first page.
func TestOptionalLabels(t *testing.T) {
	s, _ := newStore()
	held := &collectors.Family{Name: "ipsec_path_diagnosis", Labels: []string{"diagnosis"}, Optional: []string{"gateway"}}
	p := s.AddPeer("a", nil)
	first := p.Series(held, "peer_silent")
	p.Attach(exposer(func() { first.Set(1) }))
	want(t, page(t, s), "diagnosis{diagnosis=peer_silent,peer=a} 1")
	second := p.Series(held, "no_sa", "hub")
	p.Attach(exposer(func() { second.Set(1) }))
	want(t, page(t, s), "diagnosis{diagnosis=peer_silent,peer=a} 1", "diagnosis{diagnosis=no_sa,gateway=hub,peer=a} 1")
}

func TestRemovedPeerVanishesAndKeptPeerKeepsCounting(t *testing.T) {
	s, _ := newStore()
	one, two := 1.0, 2.0
	addGauge(s, "a", &one)
	addGauge(s, "b", &two)
	want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 2")
	s.RemovePeer("a")
	s.RemovePeer("nobody")
	two = 3
	want(t, page(t, s), "peer_healthy{peer=b} 3")
	addGauge(s, "a", &one)
	want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 3")
}

func TestOpenPageIsSharedAndNotRewritten(t *testing.T) {
	s, c := newStore()
	v := 1.0
	addGauge(s, "a", &v)
	first, firstDone := gather(t, s)
	v = 2
	c.now = c.now.Add(store.Freshness - 1)
	second, secondDone := gather(t, s)
	want(t, lines(second), "peer_healthy{peer=a} 1")
	if first[0] != second[0] {
		t.Error("the second reader of an open page got another one")
	}
	firstDone()
	firstDone() // twice is once: the second reader still holds the page
	want(t, page(t, s), "peer_healthy{peer=a} 1")
	secondDone()
	want(t, page(t, s), "peer_healthy{peer=a} 2")
	want(t, lines(first), "peer_healthy{peer=a} 2") // the same metric, updated in place
}

func TestStuckReaderFreezesNobody(t *testing.T) {
	s, c := newStore()
	v, w := 1.0, 10.0
	addGauge(s, "a", &v)
	addGauge(s, "b", &w)
	stuck, done := gather(t, s)
	for range 3 { // every page gets a stuck reader of its own
		c.now = c.now.Add(store.Freshness)
		v++
		families, later := gather(t, s)
		defer later()
		want(t, lines(families), fmt.Sprintf("peer_healthy{peer=a} %g", v), "peer_healthy{peer=b} 10")
	}
	want(t, lines(stuck), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 10")
	done()
	v = 9
	want(t, page(t, s), "peer_healthy{peer=a} 4", "peer_healthy{peer=b} 10") // the newest page still has a reader
}

func TestPeersComeAndGoUnderAReader(t *testing.T) {
	s, _ := newStore()
	v, w, x := 1.0, 2.0, 3.0
	addGauge(s, "a", &v)
	addGauge(s, "b", &w)
	stuck, done := gather(t, s)
	v, w = 11, 12
	s.RemovePeer("b")
	want(t, page(t, s), "peer_healthy{peer=a} 11")
	addGauge(s, "c", &x)
	want(t, page(t, s), "peer_healthy{peer=a} 11", "peer_healthy{peer=c} 3")
	want(t, lines(stuck), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 2")
	done()
	want(t, lines(stuck), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 2")
	v = 21
	want(t, page(t, s), "peer_healthy{peer=a} 21", "peer_healthy{peer=c} 3")
}

// A page that is left keeps its labels and histograms too, and the collectors' pointers stay good.
func TestLeftPageKeepsLabelsAndHistograms(t *testing.T) {
	s, c := newStore()
	p := s.AddPeer("a", nil)
	reply, hist, n := p.Series(info, "ike", ""), p.Series(roundTrip), p.Series(replies)
	word, count := "COOKIE", uint64(1)
	p.Attach(exposer(func() {
		reply.SetLabel("reply", word)
		reply.Set(1)
		hist.SetHistogram(&dto.Histogram{SampleCount: &count})
		n.Set(float64(count))
	}))
	counts := func(families []*dto.MetricFamily) uint64 {
		return families[1].GetMetric()[0].GetHistogram().GetSampleCount()
	}
	old, done := gather(t, s)
	defer done()
	word = "NO_PROPOSAL_CHOSEN"
	two := uint64(2)
	p.Attach(exposer(func() { hist.SetHistogram(&dto.Histogram{SampleCount: &two}) }))
	c.now = c.now.Add(store.Freshness)
	fresh, freshDone := gather(t, s)
	defer freshDone()
	want(t, lines(old), "icmp_replies_total{peer=a} 1", "icmp_round_trip_seconds{peer=a} 0",
		"ike_response_info{method=ike,peer=a,reply=COOKIE} 1")
	want(t, lines(fresh), "icmp_replies_total{peer=a} 1", "icmp_round_trip_seconds{peer=a} 0",
		"ike_response_info{method=ike,peer=a,reply=NO_PROPOSAL_CHOSEN} 1")
	if got := counts(old); got != 1 {
		t.Errorf("the left page's histogram counts %d, want 1", got)
	}
	if got := counts(fresh); got != 2 {
		t.Errorf("the fresh page's histogram counts %d, want 2", got)
	}
}

// An Exposer may set only what changed: the rest keeps its value, wherever its metric goes.
func TestUnchangedValuesStay(t *testing.T) {
	s, _ := newStore()
	p := s.AddPeer("a", nil)
	g, n, h := p.Series(healthy), p.Series(replies), p.Series(roundTrip)
	var once sync.Once
	p.Attach(exposer(func() {
		once.Do(func() {
			g.Set(1)
			n.Set(7)
			h.SetHistogram(&dto.Histogram{SampleCount: new(uint64(3))})
		})
	}))
	for range 3 {
		families, done := gather(t, s)
		defer done() // every page is left to its reader
		want(t, lines(families), "icmp_replies_total{peer=a} 7", "icmp_round_trip_seconds{peer=a} 0", "peer_healthy{peer=a} 1")
		if got := families[1].GetMetric()[0].GetHistogram().GetSampleCount(); got != 3 {
			t.Errorf("the histogram counts %d, want 3", got)
		}
		s.AddPeer("empty", nil)
		s.RemovePeer("empty")
	}
}

func TestPanicOfAnExposerCostsItsSeriesOnly(t *testing.T) {
	s, _ := newStore()
	var reported []store.Panic
	s.OnPanic(func(p store.Panic) {
		reported = append(reported, p)
		s.Panics() // no lock is held
	})
	one := 1.0
	p := s.AddPeer("a", nil)
	broken, sound := p.Series(replies), false
	p.Attach(exposer(func() {
		broken.Set(1)
		if !sound {
			panic("no results")
		}
	}))
	g := p.Series(healthy)
	p.Attach(exposer(func() { g.Set(1) }))
	addGauge(s, "b", &one)
	for range 2 {
		want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 1")
	}
	if len(reported) != 1 || reported[0].Peer != "a" || reported[0].Value != "no results" ||
		reported[0].Exposer != "store_test.exposer" || !strings.Contains(reported[0].Stack, "store_test.go") {
		t.Errorf("reported %+v, want the panic of peer a once", reported)
	}
	if got := s.Panics(); got != 2 {
		t.Errorf("%d panics are counted, want 2", got)
	}
	sound = true
	want(t, page(t, s), "icmp_replies_total{peer=a} 1", "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 1")
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	s, _ := newStore()
	p := s.AddPeer("a\xff", nil)
	g := p.Series(mtu, "\xfe")
	p.Attach(exposer(func() { g.Set(1) }))
	want(t, page(t, s), "mtu_bytes{method=\uFFFD,peer=a\uFFFD} 1")
}

func TestProgrammingErrorsPanic(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		do            func(s *store.Store)
	}{
		{"peer twice", `store: peer "a" is added twice`, func(s *store.Store) { s.AddPeer("a", nil) }},
		{"label peer", `store: peer "b" has the label peer twice`, func(s *store.Store) {
			s.AddPeer("b", map[string]string{"peer": "x"})
		}},
		{"label of the family", `store: ipsec_path_mtu_bytes of peer "b" has the label method twice`, func(s *store.Store) {
			s.AddPeer("b", map[string]string{"method": "x"}).Series(mtu, "icmp")
		}},
		{"series twice", `store: ipsec_path_mtu_bytes of peer "b" with the values ["icmp"] is made twice`, func(s *store.Store) {
			p := s.AddPeer("b", nil)
			p.Series(mtu, "icmp")
			p.Series(mtu, "ike")
			p.Series(mtu, "icmp")
		}},
		{
			"series twice, the first attached", `store: ipsec_path_peer_healthy of peer "b" with the values [] is made twice`,
			func(s *store.Store) {
				v := 1.0
				addGauge(s, "b", &v).Series(healthy)
			},
		},
		{"values", `store: ipsec_path_mtu_bytes has the labels ["method"], but was given the values []`, func(s *store.Store) {
			s.AddPeer("b", nil).Series(mtu)
		}},
		{"too many values", `store: ipsec_path_mtu_bytes has the labels ["method"], but was given the values ["icmp" "hub"]`, func(s *store.Store) {
			s.AddPeer("b", nil).Series(mtu, "icmp", "hub")
		}},
		{"family twice", "store: two families are named ipsec_path_mtu_bytes", func(s *store.Store) {
			p := s.AddPeer("b", nil)
			p.Series(mtu, "icmp")
			other := *mtu
			p.Series(&other, "ike")
		}},
		{"counter's name", "store: counter ipsec_path_changes does not end in _total, as OpenMetrics demands", func(s *store.Store) {
			s.AddPeer("b", nil).Series(&collectors.Family{Name: "ipsec_path_changes", Kind: collectors.Counter})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore()
			one := 1.0
			addGauge(s, "a", &one)
			func() {
				defer func() {
					if got := recover(); got != tt.message {
						t.Errorf("panic %v, want %s", got, tt.message)
					}
				}()
				tt.do(s)
			}()
			s.RemovePeer("b") // the lock is free
			want(t, page(t, s), "peer_healthy{peer=a} 1")
		})
	}
}
