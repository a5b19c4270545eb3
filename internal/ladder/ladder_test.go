package ladder

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

var (
	peer = netip.MustParseAddr("203.0.113.10")
	hops = []netip.Addr{
		netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"),
		netip.MustParseAddr("198.51.100.3"), netip.MustParseAddr("198.51.100.4"),
	}
)

// echoes and esps are the runners of the tests.
func echoes(size int) Runner {
	return Runner{Name: "icmp", Packet: func(uint8) (*netio.Packet, error) {
		return &netio.Packet{Path: netio.Path{Dst: peer}, Size: size, DontFragment: true}, nil
	}}
}

func esps() Runner {
	return Runner{Name: "esp", Packet: func(ttl uint8) (*netio.Packet, error) {
		p := &netio.Packet{Path: netio.Path{Dst: peer}, Protocol: netio.ESP, Token: netio.Token{0xff, 1, 2, ttl}, Payload: make([]byte, 64)}
		binary.BigEndian.PutUint64(p.Payload, binary.BigEndian.Uint64(p.Token[:]))
		return p, nil
	}}
}

func isESP(p *netio.Packet) bool { return p.Protocol == netio.ESP }

func climb(t *testing.T, cfg netsim.Config, seed uint64, opts Options, runners ...Runner) (r *Result) {
	t.Helper()
	if cfg.Hops == nil {
		cfg.Hops = hops
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		opts.Seed = seed
		if r, err = Run(t.Context(), netsim.New(cfg, seed), runners, opts); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// A view is what matters of a climb.
type view struct {
	Last, Arrived int
	Lost          bool
	FirstMissed   netip.Addr
}

func views(r *Result) map[string]view {
	out := make(map[string]view)
	for i := range r.Climbs {
		c := &r.Climbs[i]
		out[c.Name] = view{c.Last(), c.Arrived(), c.Lost, r.FirstMissed(c)}
	}
	return out
}

func TestRun(t *testing.T) {
	quiet := func(hops ...int) func(int, *netio.Packet) bool {
		return func(hop int, _ *netio.Packet) bool { return slices.Contains(hops, hop) }
	}
	for name, tt := range map[string]struct {
		cfg     netsim.Config
		want    map[string]view
		packets int // at most
	}{
		"a gateway is silent to ESP": {
			cfg:     netsim.Config{},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {4, 0, false, netip.Addr{}}},
			packets: 12,
		},
		"a host refuses ESP": {
			cfg:     netsim.Config{RefuseIPsec: true},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {5, 5, false, netip.Addr{}}},
			packets: 12,
		},
		"ESP is lost behind the second router": {
			cfg:     netsim.Config{Block: isESP, BlockBehind: 2, RefuseIPsec: true},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {2, 0, true, hops[2]}},
			packets: 80,
		},
		"ESP is lost at once": {
			cfg:     netsim.Config{Block: isESP, RefuseIPsec: true},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {0, 0, true, hops[0]}},
			packets: 80,
		},
		"routers behind the loss say nothing": {
			cfg:     netsim.Config{Block: isESP, BlockBehind: 2, Quiet: quiet(3, 4)},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {2, 0, false, netip.Addr{}}},
			packets: 12,
		},
		"a router in the middle says nothing": {
			cfg:     netsim.Config{Block: isESP, BlockBehind: 2, Quiet: quiet(3)},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {2, 0, true, hops[3]}},
			packets: 80,
		},
		"nothing comes back": {
			cfg:     netsim.Config{DropICMP: true},
			want:    map[string]view{"icmp": {}, "esp": {}},
			packets: 12,
		},
		"no router says anything": {
			cfg:     netsim.Config{Quiet: quiet(1, 2, 3, 4)},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {}},
			packets: 12,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := climb(t, tt.cfg, 1, Options{}, echoes(84), esps())
			if diff := cmp.Diff(tt.want, views(r), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if r.Packets > tt.packets {
				t.Errorf("%d packets, want at most %d", r.Packets, tt.packets)
			}
		})
	}
}

// TestWhereABlackHoleIs: sizes that differ by one byte, one of which passes.
func TestWhereABlackHoleIs(t *testing.T) {
	small, large := echoes(1400), echoes(1401)
	small.Name, large.Name = "passes", "fails"
	for name, tt := range map[string]struct {
		cfg  netsim.Config
		want view
	}{
		"behind the second router": {netsim.Config{MTU: 1400, Narrow: 2, PTB: netsim.PTBs{Drop: true}}, view{2, 0, true, hops[2]}},
		"behind the last router":   {netsim.Config{MTU: 1400, Narrow: 4, PTB: netsim.PTBs{Drop: true}}, view{4, 0, true, peer}},
		"no router says anything": {netsim.Config{
			MTU: 1400, Narrow: 2, PTB: netsim.PTBs{Drop: true}, Quiet: func(int, *netio.Packet) bool { return true },
		}, view{0, 0, true, peer}},
	} {
		t.Run(name, func(t *testing.T) {
			r := climb(t, tt.cfg, 1, Options{Arrivals: true}, small, large)
			if diff := cmp.Diff(tt.want, views(r)["fails"], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if r.Distance() != 5 {
				t.Errorf("distance %d", r.Distance())
			}
		})
	}
}

// TestNothingIsLostByChance: neither loss nor limits of routers make a probe look lost that passes.
func TestNothingIsLostByChance(t *testing.T) {
	runs := uint64(500)
	for name, cfg := range map[string]netsim.Config{
		"loss of 20 % each way": {Loss: 0.2, ReverseLoss: 0.2, RefuseIPsec: true},
		"loss, silent gateway":  {Loss: 0.2, ReverseLoss: 0.2},
		"one error a second":    {Exceeded: netsim.Limit{Every: time.Second}},
		"one in two seconds":    {Exceeded: netsim.Limit{Every: 2 * time.Second, Burst: 2}},
		"six at first, then one a second, and loss": {
			Exceeded: netsim.Limit{Every: time.Second, Burst: 6}, Loss: 0.05, ReverseLoss: 0.05,
		},
	} {
		t.Run(name, func(t *testing.T) {
			lost := 0
			for seed := range runs {
				cfg.Delay = time.Duration(1+seed%40) * time.Millisecond
				r := climb(t, cfg, seed, Options{}, echoes(84), esps())
				if r.Packets > defaultPackets {
					t.Errorf("seed %d: %d packets", seed, r.Packets)
				}
				for i := range r.Climbs {
					if r.Climbs[i].Lost {
						lost++
						t.Logf("seed %d: %+v", seed, r.Climbs[i])
					}
				}
			}
			if lost > 0 {
				t.Errorf("%d of %d runs", lost, runs)
			}
		})
	}
}

// TestLossIsFoundInSpiteOfChance: what is really lost is found by most runs, and never placed
// further away than it is.
func TestLossIsFoundInSpiteOfChance(t *testing.T) {
	found := 0
	const runs = 200
	for seed := range uint64(runs) {
		r := climb(t, netsim.Config{Block: isESP, BlockBehind: 2, Loss: 0.1, ReverseLoss: 0.1}, seed, Options{}, echoes(84), esps())
		c := r.Of("esp")
		if c.Last() > 2 {
			t.Errorf("seed %d: ESP gets to hop %d", seed, c.Last())
		}
		if c.Lost {
			found++
		}
	}
	if found < runs*9/10 {
		t.Errorf("found in %d of %d runs", found, runs)
	}
}

// TestCut: a router behind a link whose near end clears DF quotes a fragment.
func TestCut(t *testing.T) {
	r := climb(t, netsim.Config{MTU: 1400, ClearDF: true, Narrow: 2}, 1, Options{}, echoes(1500))
	if ttl, bytes := r.Climbs[0].Cut(); ttl != 3 || bytes != 1396 {
		t.Errorf("cut to %d bytes at TTL %d", bytes, ttl)
	}
	r = climb(t, netsim.Config{Narrow: 2}, 1, Options{}, echoes(1500))
	if ttl, bytes := r.Climbs[0].Cut(); ttl != 0 || bytes != 0 {
		t.Errorf("clean path: cut to %d bytes at TTL %d", bytes, ttl)
	}
}
