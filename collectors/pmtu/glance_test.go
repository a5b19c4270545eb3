package pmtu

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// TestGlance: one packet shows the path MTU of a clean path. On any other path nothing is known after
// the first look, the second one finds the path MTU of an IKE port, and the first round finds what
// it would have found without.
func TestGlance(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.1")
	for name, tt := range map[string]struct {
		path    netsim.Config
		glimpse bool
		want    search.State
		// ike is what the second look finds.
		ike search.State
	}{
		"clean":            {netsim.Config{}, true, search.Clean, search.Unknown},
		"packet too big":   {netsim.Config{MTU: 1400}, false, search.Reduced, search.Reduced},
		"black hole":       {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}}, false, search.BlackHole, search.BlackHole},
		"no echo":          {netsim.Config{DropICMP: true}, false, search.Unreachable, search.Clean},
		"nothing answered": {netsim.Config{Block: func(*netio.Packet) bool { return true }}, false, search.Unreachable, search.Unknown},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.path.Hops, tt.path.Delay = []netip.Addr{router}, 20*time.Millisecond
					sent, block := 0, tt.path.Block
					path := tt.path
					path.Block = func(p *netio.Packet) bool { sent++; return block != nil && block(p) }
					c := collector(t, netsim.New(path, 1))
					more, err := c.Glance(t.Context(), collectorstest.Target(v6))
					if err != nil || more == tt.glimpse {
						t.Fatalf("more: %t, %v", more, err)
					}
					s := c.Snapshot()
					if got := len(s.Results) == 1 && s.Results[0].State == search.Clean && s.Results[0].Bytes == 1500 && s.Results[0].Packets == 1 && s.Known; got != tt.glimpse || !got && (len(s.Results) > 0 || s.Known) {
						t.Errorf("after a glance: %+v", s)
					}
					if sent != 1 {
						t.Errorf("%d packets", sent)
					}
					if more {
						more, err = c.Glance(t.Context(), collectorstest.Target(v6))
						seen := search.Unknown
						if results := c.Snapshot().Results; len(results) == 1 && results[0].Method == collectors.IKE {
							seen = results[0].State
						}
						if more || err != nil || seen != tt.ike {
							t.Errorf("after the second look: %s, want %s; more: %t, %v", seen, tt.ike, more, err)
						}
					}
					all, err := c.Measure(t.Context(), collectorstest.Target(v6))
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range all.Results {
						if r.Method == collectors.ICMP && r.State != tt.want {
							t.Errorf("after the first round: %s (%s)", r.State, r.Reason)
						}
					}
					before := c.Snapshot().Results
					sent = 0
					if more, err := c.Glance(t.Context(), collectorstest.Target(v6)); more || err != nil || sent > 0 || len(c.Snapshot().Results) != len(before) {
						t.Errorf("a glance after a round: %v, %d packets", err, sent)
					}
				})
			})
		}
	}
}
