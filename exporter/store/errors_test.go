package store_test

import (
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/histogram"
)

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
	p.Attach(exposing(func(to collectors.Row) {
		to.Set(broken, 1)
		if !sound {
			panic("no results")
		}
	}))
	g := p.Series(healthy)
	p.Attach(exposing(func(to collectors.Row) { to.Set(g, 1) }))
	addGauge(s, "b", &one)
	for range 2 {
		want(t, page(t, s), "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 1")
	}
	if len(reported) != 1 || reported[0].Peer != "a" || reported[0].Value != "no results" ||
		reported[0].Exposer != "*store_test.exposer" || !strings.Contains(reported[0].Stack, "errors_test.go") {
		t.Errorf("reported %+v, want the panic of peer a once", reported)
	}
	if got := s.Panics(); got != 2 {
		t.Errorf("%d panics are counted, want 2", got)
	}
	sound = true
	want(t, page(t, s), "icmp_replies_total{peer=a} 1", "peer_healthy{peer=a} 1", "peer_healthy{peer=b} 1")
}

// TestMisuseByAnExposer: what an Exposer must not do is reported as its panic, and no series shows a
// value of another.
func TestMisuseByAnExposer(t *testing.T) {
	h := histogram.New(&histogram.Buckets{Native: true}, time.Unix(0, 0))
	for name, misuse := range map[string]func(to collectors.Row, ok collectors.Series){
		"a series that is none":            func(to collectors.Row, _ collectors.Series) { to.Set(0, 1) },
		"a series of another":              func(to collectors.Row, ok collectors.Series) { to.Set(ok+1, 1) },
		"a label that does not vary":       func(to collectors.Row, ok collectors.Series) { to.SetLabel(ok, "peer", "b") },
		"a histogram for a gauge":          func(to collectors.Row, ok collectors.Series) { to.SetHistogram(ok, h) },
		"a label of a series that is none": func(to collectors.Row, _ collectors.Series) { to.SetLabel(0, "reply", "") },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore()
			one := 1.0
			p := s.AddPeer("a", nil)
			ok := p.Series(healthy)
			p.Attach(exposing(func(to collectors.Row) { misuse(to, ok) }))
			addGauge(s, "b", &one)
			want(t, page(t, s), "peer_healthy{peer=b} 1")
			if got := s.Panics(); got != 1 {
				t.Errorf("%d panics, want 1", got)
			}
		})
	}
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	s, _ := newStore()
	p := s.AddPeer("a\xff", nil)
	g := p.Series(mtu, "\xfe")
	p.Attach(exposing(func(to collectors.Row) { to.Set(g, 1) }))
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
		{"varying label of the family", `store: ipsec_path_ike_response_info of peer "b" has the label reply twice`, func(s *store.Store) {
			s.AddPeer("b", map[string]string{"reply": "x"}).Series(info, "ike")
		}},
		{"label twice in the family", `store: ipsec_path_odd of peer "b" has the label method twice`, func(s *store.Store) {
			s.AddPeer("b", nil).Series(collectors.GaugeFamily("ipsec_path_odd", "Odd.", "method").WithVarying("method"), "ike")
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
			s.AddPeer("b", nil).Series(collectors.CounterFamily("ipsec_path_changes", "Changes."))
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
