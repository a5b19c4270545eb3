package pmtu

import (
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// manyAtOnce is how many tests run side by side: they wait most of the time. Fuzzing does not.
const manyAtOnce = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" {
		if err := flag.Set("test.parallel", manyAtOnce); err != nil {
			panic(err)
		}
	}
	netlab.Main(m)
}

// rig is a provider with a gateway behind it and sockets in front of it.
type rig struct {
	*netlab.Provider
	stack   *netio.Stack
	gateway *responder.Responder
	keys    *ikeprobe.Keyring
}

func newRig(t *testing.T) *rig {
	t.Helper()
	netlab.Need(t)
	b := &rig{Provider: netlab.NewProvider(t)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	b.Server.Do(t, func() {
		var err error
		if b.gateway, err = responder.Start(ctx, responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	b.Client.Do(t, func() {
		var err error
		if b.stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { b.stack.Close() })
	var err error
	if b.keys, err = ikeprobe.NewKeyring(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *rig) collector() *Collector { return New(b.stack, Options{Keys: b.keys}) }

func (b *rig) target(v6 bool) collectors.Target {
	return collectors.Target{
		Peer: "peer", Path: netio.Path{Dst: b.ServerAddr(v6)}, IKE: collectors.IKESettings{Port: 500, NATTPort: 4500},
	}
}

func measureOnce(t *testing.T, c *Collector, target collectors.Target) Results {
	t.Helper()
	r, err := c.Measure(t.Context(), target)
	if err != nil {
		t.Errorf("%s: %v", target.Path.Dst, err)
	}
	return r
}

// slack is how many packets more than promised a search may cost here: none, except under the race
// detector, which slows this process down so much that answers are read after the search has given
// up waiting for them. There only the cap holds.
func slack() int {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return search.DefaultPackets
	}
	return 0
}

// A fact is what a method is to say of a scenario.
type fact struct {
	state search.State
	bytes int
	// packets is the most that it may cost, 0 for the cap of a search.
	packets int
}

const (
	pathMTU = 1400
	// mostPTB and mostHole are the most packets that a search may take.
	mostPTB, mostHole = 3, 60
)

var (
	clean       = fact{search.Clean, 1500, 1}
	cleanLossy  = fact{search.Clean, 1500, 0}
	reduced     = fact{search.Reduced, pathMTU, mostPTB}
	reducedHard = fact{search.Reduced, pathMTU, mostHole} // the PTB is of little help
	gap         = fact{search.BlackHole, pathMTU, mostHole}
	unreachable = fact{state: search.Unreachable}
)

// affords reports whether a search may cost this many packets.
func (f fact) affords(packets int) bool {
	return packets <= search.DefaultPackets && (f.packets == 0 || packets <= f.packets+slack())
}

// An expectation is the line of a scenario in the truth table: one fact each for echo, IKE and
// NAT-T.
type expectation struct {
	scenario string
	v4, v6   [3]fact
	// doubt allows a method to end without a verdict, where chance may take too many packets; a
	// wrong one is never allowed.
	doubt bool
	// limited means that ICMP is limited. That no PTB came says nothing then, unless it is compared with
	// other ICMP, as the exporter does (hear.go).
	limited bool
}

func all(f fact) [3]fact { return [3]fact{f, f, f} }

func truth() []expectation {
	same := func(scenario string, f [3]fact) expectation { return expectation{scenario: scenario, v4: f, v6: f} }
	none := [3]fact{} // the family does not exist on links this small
	reverse := [3]fact{gap, clean, clean}
	return []expectation{
		same("S0", all(clean)),
		same("S1", all(reduced)),
		same("S2", all(gap)),
		same("S2b", all(gap)),
		same("S3", [3]fact{unreachable, gap, gap}),
		same("S4", all(clean)),
		same("S5", [3]fact{unreachable, gap, gap}),
		{scenario: "S6", v4: all(clean), v6: reverse}, // an IPv6 router does not fragment the echo reply
		same("S6b", reverse),
		same("S6c", all(gap)),
		same("S7a", all(reducedHard)),
		same("S7b", all(reducedHard)),
		same("S7c", all(gap)),
		{scenario: "S8-5", v4: all(cleanLossy), v6: all(cleanLossy), doubt: true},
		{scenario: "S8-20", v4: all(cleanLossy), v6: all(cleanLossy), doubt: true},
		{scenario: "S8m-20", v4: all(fact{search.BlackHole, pathMTU, 0}), v6: all(fact{search.BlackHole, pathMTU, 0}), doubt: true},
		{scenario: "S9", v4: all(fact{search.Reduced, pathMTU, 0}), v6: all(fact{search.Reduced, pathMTU, 0}), limited: true},
		same("S9r", all(clean)),
		same("S11a", [3]fact{clean, unreachable, clean}),
		same("S11b", [3]fact{clean, clean, unreachable}),
		same("S12", all(clean)),
		same("S13", all(fact{search.Clean, 9000, 1})),
		same("S13b", all(fact{search.Reduced, 1500, mostPTB})),
		same("S14a", all(fact{search.Reduced, 1280, mostPTB})),
		{scenario: "S14b", v4: all(fact{search.Reduced, 576, mostPTB}), v6: none},
		{scenario: "S14c", v4: all(fact{search.BlackHole, 576, mostHole}), v6: none},
	}
}

// TestTruthTable measures every scenario on real sockets through a real kernel, and looks at the
// cache afterwards.
func TestTruthTable(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	for _, e := range truth() {
		t.Run(e.scenario, func(t *testing.T) {
			t.Parallel()
			b := newRig(t)
			b.Apply(t, e.scenario)
			var wg sync.WaitGroup
			for _, v6 := range []bool{false, true} {
				want := e.v4
				if v6 {
					want = e.v6
				}
				if want == [3]fact{} {
					continue
				}
				wg.Go(func() { b.verify(t, v6, want, &e) })
			}
			wg.Wait()
		})
	}
}

func (b *rig) verify(t *testing.T, v6 bool, want [3]fact, e *expectation) {
	t.Helper()
	before := b.stack.Stats()
	c := b.collector()
	c.opts.Locate = e.limited
	start := time.Now()
	got := measureOnce(t, c, b.target(v6))
	t.Logf("v6 %t in %v", v6, time.Since(start).Round(time.Millisecond))
	for _, r := range got.Results {
		t.Logf("  %s: %s %d of %d, %d packets in %v, loss %.2f, PTB %d/%d %s", r.Method, r.State, r.Bytes, r.LinkBytes, r.Packets,
			r.Duration.Round(time.Millisecond), r.Loss, r.PTBReceived, r.PTBRejected, r.Reason)
		f := want[r.Method]
		if e.doubt && (r.State == search.Inconclusive || r.State == search.Unreachable) {
			continue
		}
		if r.State != f.state || r.Bytes != f.bytes {
			t.Errorf("v6 %t %s: %s %d, want %s %d", v6, r.Method, r.State, r.Bytes, f.state, f.bytes)
		}
		if !f.affords(r.Packets) {
			t.Errorf("v6 %t %s: %d packets, want at most %d", v6, r.Method, r.Packets, f.packets)
		}
	}
	if len(got.Results) != len(collectors.Methods()) {
		t.Errorf("v6 %t: %d results", v6, len(got.Results))
	}
	time.Sleep(200 * time.Millisecond) // the kernel makes its entry, and netio removes it
	if m := b.Client.CachedMTU(t, b.ServerAddr(v6)); m != got.LinkBytes {
		t.Errorf("v6 %t: this host's kernel now caches a path MTU of %d", v6, m)
	}
	for socket, n := range b.stack.Stats().Drops {
		if n != before.Drops[socket] {
			t.Errorf("%s dropped %d answers", socket, n-before.Drops[socket])
		}
	}
}

// TestFlap is scenario S10: what the kernel learned while the path was small must not outlive that.
func TestFlap(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	for _, v6 := range []bool{false, true} {
		b.Reset(t)
		c := b.collector()
		for _, step := range []struct {
			scenario string
			want     fact
		}{{"S0", clean}, {"S1", fact{search.Reduced, pathMTU, 0}}, {"S0", fact{search.Clean, 1500, 3}}, {"S2", gap}, {"S2", fact{search.BlackHole, pathMTU, 3}}, {"S0", fact{search.Clean, 1500, 0}}} {
			b.Apply(t, step.scenario)
			for _, r := range measureOnce(t, c, b.target(v6)).Results {
				if r.State != step.want.state || r.Bytes != step.want.bytes || !step.want.affords(r.Packets) {
					t.Errorf("v6 %t %s %s: %s %d with %d packets, want %+v", v6, step.scenario, r.Method, r.State, r.Bytes, r.Packets, step.want)
				}
			}
		}
	}
}

// TestForgedFlood is scenario S7d: PTBs from a host that does not see our probes change nothing.
func TestForgedFlood(t *testing.T) {
	b := newRig(t)
	for _, v6 := range []bool{false, true} {
		done := make(chan struct{})
		var flood sync.WaitGroup
		flood.Go(func() {
			for id := uint16(1); ; id++ {
				select {
				case <-done:
					return
				default:
				}
				b.ForgePTB(t, netlab.Forgery{From: b.R1, MTU: 600, Count: 20, Quote: netlab.EchoPacket(b.ClientAddr(v6), b.ServerAddr(v6), false, id, id, 1500)})
				b.ForgePTB(t, netlab.Forgery{From: b.R1, MTU: 1300, Count: 20, Quote: netlab.UDPPacket(
					netip.AddrPortFrom(b.ClientAddr(v6), 500), netip.AddrPortFrom(b.ServerAddr(v6), 500), 1500)})
			}
		})
		for _, scenario := range []string{"S0", "S2"} {
			want := clean
			if scenario == "S2" {
				b.SetMTU(t, pathMTU)
				b.DropPTB(t)
				want = fact{search.BlackHole, pathMTU, mostHole}
			}
			for _, r := range measureOnce(t, b.collector(), b.target(v6)).Results {
				if r.State != want.state || r.Bytes != want.bytes {
					t.Errorf("v6 %t %s %s: %s %d, want %+v", v6, scenario, r.Method, r.State, r.Bytes, want)
				}
			}
		}
		close(done)
		flood.Wait()
		b.Reset(t)
	}
	if n := b.stack.Stats().Rejected[netio.RejectUnknownProbe]; n == 0 {
		t.Error("no forgery was counted")
	}
}

// TestEqualCostPaths is scenario S15: a path MTU belongs to a flow, so the methods may rightly
// disagree.
func TestEqualCostPaths(t *testing.T) {
	t.Parallel()
	for scenario, small := range map[string]search.State{"S15": search.Reduced, "S15b": search.BlackHole} {
		b := newRig(t)
		b.Apply(t, scenario)
		for _, v6 := range []bool{false, true} {
			for _, r := range measureOnce(t, b.collector(), b.target(v6)).Results {
				onSmall := r.State == small && r.Bytes == pathMTU
				onLarge := r.State == search.Clean && r.Bytes == 1500
				if r.Method == collectors.ICMP && !onSmall || !onSmall && !onLarge {
					t.Errorf("%s v6 %t %s: %s %d", scenario, v6, r.Method, r.State, r.Bytes)
				}
			}
		}
	}
}

// TestUnprivilegedSearch: without raw sockets IKE still finds the path MTU, by a UDP socket and its
// error queue.
func TestUnprivilegedSearch(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	var stack *netio.Stack
	b.Client.Do(t, func() {
		var err error
		if stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler), Unprivileged: true}); err != nil {
			t.Fatal(err)
		}
	})
	defer stack.Close()
	methods := []collectors.Method{collectors.IKE, collectors.NATT}
	for _, step := range []struct {
		scenario string
		want     fact
	}{{"S0", clean}, {"S1", reduced}, {"S3", gap}} {
		b.Apply(t, step.scenario)
		for _, v6 := range []bool{false, true} {
			c := New(stack, Options{Keys: b.keys, Methods: methods})
			for _, r := range measureOnce(t, c, b.target(v6)).Results {
				if !slices.Contains(methods, r.Method) || r.State != step.want.state || r.Bytes != step.want.bytes || !step.want.affords(r.Packets) {
					t.Errorf("v6 %t %s %s: %s %d with %d packets, want %+v", v6, step.scenario, r.Method, r.State, r.Bytes, r.Packets, step.want)
				}
			}
		}
	}
}
