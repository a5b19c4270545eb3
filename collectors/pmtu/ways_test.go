package pmtu

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// apart is a host whose policy routing sends UDP by another interface than echoes.
type apart struct{ *netsim.Path }

func (a apart) Route(path netio.Path) (netio.Route, error) {
	r, err := a.Path.Route(path)
	if path.Traffic.Protocol == netio.UDP {
		r.Interface = "sim1"
	}
	return r, err
}

// TestEchoesOfAnotherWaySayNothing: echoes that pass by another way do not show that a limit to IKE is
// no link's, and their controls do not show that its packets too big would arrive.
func TestEchoesOfAnotherWaySayNothing(t *testing.T) {
	t.Parallel()
	hops := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}
	for name, tt := range map[string]struct {
		path   netsim.Config
		states [3]search.State
		reason string
	}{
		"lost between routers": {
			netsim.Config{Block: largerThan(1400, 500, 4500), BlockBehind: 1},
			[3]search.State{search.Clean, search.BlackHole, search.BlackHole},
			"",
		},
		"lost at the peer": {
			netsim.Config{Respond: answersUpTo(1280)},
			[3]search.State{search.Clean, search.Inconclusive, search.Inconclusive},
			"echoes leave by another way and cannot show it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.path.Hops, tt.path.Delay = hops, 20*time.Millisecond
				c := collector(t, apart{netsim.New(tt.path, 1)})
				c.opts.Locate = true
				if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
					t.Fatal(err)
				}
				for _, r := range c.Snapshot().Results {
					if r.State != tt.states[r.Method] || r.Note != "" || len(r.LargerBy) > 0 {
						t.Errorf("%s: %s %d (%s) %q, larger by %v", r.Method, r.State, r.Bytes, r.Reason, r.Note, r.LargerBy)
					}
					if r.Method != collectors.ICMP && !strings.Contains(r.Reason, tt.reason) {
						t.Errorf("%s: reason %q", r.Method, r.Reason)
					}
				}
				s := c.Snapshot()
				if want := map[bool]Direction{true: ToPeer, false: NoDirection}[tt.states[1] == search.BlackHole]; s.Direction() != want || !s.EchoApart {
					t.Errorf("direction %s, echoes apart %t", s.Direction(), s.EchoApart)
				}
				for m, st := range c.states {
					if st != nil && st.heard.times > 0 {
						t.Errorf("%s: packets too big were compared with echoes of another way", collectors.Method(m))
					}
				}
			})
		})
	}
}
