package protocols

import (
	"testing"
	"testing/synctest"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// apart is a host whose policy routing sends UDP by another interface than the rest.
type apart struct{ *netsim.Path }

func (a apart) Route(path netio.Path) (netio.Route, error) {
	r, err := a.Path.Route(path)
	if path.Traffic.Protocol == netio.UDP {
		r.Interface = "sim1"
	}
	return r, err
}

// TestOnlyOneWayIsCompared: UDP is dropped on its way, which says nothing about a filter: what gets
// further takes another one.
func TestOnlyOneWayIsCompared(t *testing.T) {
	t.Parallel()
	dropped := func(p *netio.Packet) bool { return p.Protocol == netio.UDP }
	for name, tt := range map[string]struct {
		differ  bool
		blocked bool
		way     string // of ICMP
	}{
		"one way":  {false, true, ""},
		"two ways": {true, false, "sim0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(netsim.Config{Hops: routers, Block: dropped, BlockBehind: 1}, 1)
				c := collector(t, path)
				if tt.differ {
					c = collector(t, apart{path})
				}
				found, err := c.Measure(t.Context(), collectorstest.Target(false))
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range []Protocol{UDP500, UDP4500, ESPInUDP} {
					if r := found.Of(p); (r.State == Blocked) != tt.blocked || r.Way != "" {
						t.Errorf("%s: %+v", p, r)
					}
				}
				r := found.Of(ICMP)
				if r.State != Passes || r.Way != tt.way || r.Way != "" && r.Distance != len(routers)+1 {
					t.Errorf("ICMP: %+v", r)
				}
			})
		})
	}
}
