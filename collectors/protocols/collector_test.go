package protocols

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/netsim"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var routers = []netip.Addr{
	netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3"),
}

func collector(t *testing.T, network collectors.Network) *Collector {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	dialects := make(map[collectors.Method]*ikeprobe.Dialect)
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		dialects[m] = ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK)
	}
	return New(network, Options{Keys: keys, Dialects: dialects, Seed: 1})
}

// A view is what matters of a result.
type view struct {
	State                        State
	LastHop                      int
	Last, FirstMissed, BlockedBy netip.Addr
}

func views(r *Results) map[Protocol]view {
	out := make(map[Protocol]view)
	for _, one := range r.Results {
		out[one.Protocol] = view{one.State, one.LastHop, one.Last, one.FirstMissed, one.BlockedBy}
	}
	return out
}

func same(a, b any) string { return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{})) }

func TestMeasure(t *testing.T) {
	ipsec := func(p *netio.Packet) bool { return p.Protocol == netio.ESP || p.Protocol == netio.AH }
	peer := collectorstest.Target(false).Path.Dst
	arrives := view{State: Passes, LastHop: 4, Last: peer}
	silent := view{State: Unknown, LastHop: 3, Last: routers[2]}
	withIPsec := func(v view) map[Protocol]view {
		return map[Protocol]view{ICMP: arrives, UDP500: arrives, UDP4500: arrives, ESP: v, AH: v, ESPInUDP: silent}
	}
	for name, tt := range map[string]struct {
		cfg  netsim.Config
		want map[Protocol]view
	}{
		"a gateway":       {netsim.Config{}, withIPsec(silent)},
		"a host":          {netsim.Config{RefuseIPsec: true}, withIPsec(arrives)},
		"dropped":         {netsim.Config{Block: ipsec, BlockBehind: 2}, withIPsec(view{State: Blocked, LastHop: 2, Last: routers[1], FirstMissed: routers[2]})},
		"dropped at once": {netsim.Config{Block: ipsec}, withIPsec(view{State: Blocked, FirstMissed: routers[0]})},
		"refused": {
			netsim.Config{Block: ipsec, BlockBehind: 1, Prohibit: true},
			withIPsec(view{State: Blocked, LastHop: 1, Last: routers[0], BlockedBy: routers[1]}),
		},
		"dropped behind the last router": {netsim.Config{Block: ipsec, BlockBehind: 3}, withIPsec(silent)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.cfg.Hops = routers
				// What is no IKE message is not answered.
				tt.cfg.Respond = func(port uint16, payload []byte) []byte {
					if port == 4500 && payload[0] != 0 {
						return nil
					}
					return netsim.Responder()(port, payload)
				}
				got, err := collector(t, netsim.New(tt.cfg, 1)).Measure(t.Context(), collectorstest.Target(false))
				if err != nil {
					t.Fatal(err)
				}
				if diff := same(tt.want, views(&got)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if got.Distance != 4 || !slices.Equal(got.Hops, append(slices.Clone(routers), peer)) {
					t.Errorf("distance %d, hops %v", got.Distance, got.Hops)
				}
			})
		})
	}
}

// TestNothingIsBlockedByChance: 1,000 rounds each over lossy and limited paths.
func TestNothingIsBlockedByChance(t *testing.T) {
	for name, cfg := range map[string]netsim.Config{
		"loss":               {Loss: 0.2, ReverseLoss: 0.2},
		"limits and loss":    {Loss: 0.05, ReverseLoss: 0.05, Exceeded: netsim.Limit{Every: time.Second, Burst: 6}},
		"one error a second": {Exceeded: netsim.Limit{Every: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			states, packets := make(map[State]int), 0
			synctest.Test(t, func(t *testing.T) {
				for seed := range uint64(1000) {
					cfg.Hops, cfg.RefuseIPsec = routers, seed%2 == 0
					c := collector(t, netsim.New(cfg, seed))
					c.opts.Seed = seed
					got, err := c.Measure(t.Context(), collectorstest.Target(seed%3 == 0))
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range got.Results {
						states[r.State]++
						if r.State == Blocked {
							t.Logf("seed %d: %+v", seed, r)
						}
					}
					packets = max(packets, got.Packets)
				}
			})
			t.Logf("%v, at most %d packets", states, packets)
			if states[Blocked] > 0 || packets > maxPackets {
				t.Errorf("%v, at most %d packets", states, packets)
			}
		})
	}
}

// rig is a provider with a gateway behind it.
func rig(t *testing.T) (*netlab.Provider, *netio.Stack) {
	t.Helper()
	p := netlab.NewProvider(t)
	p.Server.Do(t, func() {
		if _, err := responder.Start(t.Context(), responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	var stack *netio.Stack
	p.Client.Do(t, func() {
		var err error
		if stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { stack.Close() })
	return p, stack
}

// TestScenarios measures on real sockets through a real kernel.
func TestScenarios(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	esp, ah := uint8(50), uint8(51)
	for name, apply := range map[string]func(*netlab.Provider){
		"S0":       func(p *netlab.Provider) { p.Apply(t, "S0") },
		"S3":       func(p *netlab.Provider) { p.Apply(t, "S3") },
		"S11a":     func(p *netlab.Provider) { p.Apply(t, "S11a") },
		"S12":      func(p *netlab.Provider) { p.Apply(t, "S12") },
		"rejected": func(p *netlab.Provider) { p.RejectProtocol(t, esp); p.RejectProtocol(t, ah) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, stack := rig(t)
			apply(p)
			var wg sync.WaitGroup
			defer wg.Wait()
			for _, v6 := range []bool{false, true} {
				wg.Go(func() {
					to := collectorstest.Target(v6)
					to.Path.Dst = p.ServerAddr(v6)
					got, err := collector(t, stack).Measure(t.Context(), to)
					if err != nil {
						t.Error(err)
						return
					}
					verify(t, name, p, v6, &got)
				})
			}
		})
	}
}

func verify(t *testing.T, scenario string, p *netlab.Provider, v6 bool, got *Results) {
	t.Helper()
	hop := func(n int) netip.Addr { return p.HopAddr(n, v6) }
	peer := view{State: Passes, LastHop: 4, Last: p.ServerAddr(v6)}
	want := map[Protocol]view{ICMP: peer, UDP500: peer, UDP4500: peer}
	behind2 := view{State: Blocked, LastHop: 2, Last: hop(2), FirstMissed: hop(3)}
	var ipsec view // nothing to compare: it depends on this kernel whether it knows ESP
	switch scenario {
	case "S3":
		want[ICMP] = view{State: Unknown, LastHop: 1, Last: hop(1)}
		ipsec = want[ICMP]
	case "S11a":
		want[UDP500] = behind2
	case "S12":
		ipsec = behind2
	case "rejected":
		ipsec = view{State: Blocked, LastHop: 2, Last: hop(2), BlockedBy: hop(2)}
	}
	if ipsec != (view{}) {
		want[ESP], want[AH] = ipsec, ipsec
	}
	all := views(got)
	for protocol, v := range want {
		if diff := same(v, all[protocol]); diff != "" {
			t.Errorf("%s v6 %t, %s (-want +got):\n%s%+v", scenario, v6, protocol, diff, got.Of(protocol))
		}
	}
	if scenario == "S0" || scenario == "S11a" {
		for _, protocol := range []Protocol{ESP, AH} {
			if v := all[protocol]; v != peer && v != (view{State: Unknown, LastHop: 3, Last: hop(3)}) {
				t.Errorf("%s v6 %t, %s: %+v", scenario, v6, protocol, v)
			}
		}
	}
}

func TestExposer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Hops: routers, RefuseIPsec: true}, 1)
		c := collector(t, path)
		var s collectorstest.Scope
		e := NewExposer(c, &s, time.Minute)
		exposed := func() map[string]float64 {
			s.Expose(e, time.Now())
			return s.Values()
		}
		if series := exposed(); len(series) > 0 {
			t.Errorf("before the first round: %v", series)
		}
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{
			"protocol_state esp passes": 1, "protocol_state ah passes": 1, "protocol_state esp_udp passes": 1,
			"protocol_last_hop icmp": 4, "protocol_last_hop udp500": 4, "protocol_last_hop udp4500": 4,
			"protocol_last_hop esp": 4, "protocol_last_hop ah": 4, "protocol_last_hop esp_udp": 4,
		}
		if diff := cmp.Diff(want, exposed()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		time.Sleep(3*time.Minute + time.Second)
		if series := exposed(); len(series) > 0 {
			t.Errorf("stale: %v", series)
		}
	})
}
