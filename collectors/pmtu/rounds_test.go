package pmtu

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// A step changes the path, lets a minute pass, measures, and says what must come out.
type step struct {
	change  func(*netsim.Config)
	after   time.Duration
	state   search.State
	bytes   int
	hole    bool
	sizes   []int // exactly, if set
	packets int   // at most, if set
	changes uint64
}

func mtu(bytes int) func(*netsim.Config) { return func(c *netsim.Config) { c.MTU = bytes } }

func hole(bytes int) func(*netsim.Config) {
	return func(c *netsim.Config) { c.MTU, c.PTB.Drop = bytes, true }
}

func dead(c *netsim.Config) { c.Block = func(*netio.Packet) bool { return true } }

// loseNext loses the next n packets of this size.
func loseNext(size, n int) func(*netsim.Config) {
	return func(c *netsim.Config) {
		c.Block = func(p *netio.Packet) bool {
			if p.WireSize() != size || n == 0 {
				return false
			}
			n--
			return true
		}
	}
}

func TestRounds(t *testing.T) {
	tests := map[string][]step{
		"clean stays clean for a packet a round": {
			{state: search.Clean, bytes: 1500, sizes: []int{1500}},
			{state: search.Clean, bytes: 1500, sizes: []int{1500}},
			{change: loseNext(1500, 1), state: search.Clean, bytes: 1500, sizes: []int{1500, 36, 1500}},
		},
		"reduced stays reduced for two": {
			{change: mtu(1400), state: search.Reduced, bytes: 1400, sizes: []int{1500, 1400, 1401}},
			{state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401}},
			{change: loseNext(1401, 1), state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401, 1401}},
			{change: loseNext(1401, 2), state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401, 1401, 1401}},
			{change: loseNext(1400, 1), state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401, 36, 1400}},
		},
		"reduced is raised every ten minutes": {
			{change: mtu(1400), state: search.Reduced, bytes: 1400},
			{after: 9 * time.Minute, state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401}},
			{after: time.Minute, state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401, 1500}},
			{state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401}},
		},
		"black hole stays one for two": {
			{change: hole(1400), state: search.BlackHole, bytes: 1400, hole: true},
			{state: search.BlackHole, bytes: 1400, hole: true, sizes: []int{1400, 1401}},
			{change: loseNext(1400, 1), state: search.BlackHole, bytes: 1400, hole: true, sizes: []int{1400, 1401, 36, 1400}},
		},
		"growth is found at once": {
			{change: hole(1400), state: search.BlackHole, bytes: 1400, hole: true},
			{change: mtu(1500), state: search.Clean, bytes: 1500, sizes: []int{1400, 1401, 1500}, changes: 1},
			{change: mtu(1300), state: search.BlackHole, bytes: 1300, hole: true, changes: 2},
			{change: mtu(1310), state: search.BlackHole, bytes: 1310, hole: true, changes: 3},
		},
		"a black hole that learns to speak": {
			{change: hole(1400), state: search.BlackHole, bytes: 1400, hole: true},
			{change: func(c *netsim.Config) { c.PTB.Drop = false }, state: search.Reduced, bytes: 1400, sizes: []int{1400, 1401}, changes: 1},
		},
		"a reduced path that falls silent": {
			{change: mtu(1400), state: search.Reduced, bytes: 1400},
			{change: hole(1400), state: search.BlackHole, bytes: 1400, hole: true, packets: 30, changes: 1},
			{state: search.BlackHole, bytes: 1400, hole: true, sizes: []int{1400, 1401}, changes: 1},
		},
		"a reduced path that begins to lie": {
			{change: mtu(1400), state: search.Reduced, bytes: 1400},
			{
				change: func(c *netsim.Config) { c.PTB.Rewrite = func(int) int { return 1450 } },
				state:  search.BlackHole, bytes: 1400, hole: true, packets: 30, changes: 1,
			},
		},
		"a PTB limiter is no black hole": {
			{change: mtu(1400), state: search.Reduced, bytes: 1400},
			{
				change: func(c *netsim.Config) { c.PTB.Limit = netsim.Limit{Every: 2 * time.Second} },
				after:  time.Minute, state: search.Reduced, bytes: 1400, packets: 5,
			},
			{after: time.Minute, state: search.Reduced, bytes: 1400, packets: 5},
		},
		"shrinking with a PTB": {
			{state: search.Clean, bytes: 1500},
			{change: mtu(1400), state: search.Reduced, bytes: 1400, sizes: []int{1500, 1400, 1401}, changes: 1},
			{change: mtu(1399), state: search.Reduced, bytes: 1399, packets: 4, changes: 2},
		},
		"a dead peer changes nothing": {
			{change: hole(1400), state: search.BlackHole, bytes: 1400, hole: true},
			{change: dead, state: search.Unreachable, hole: true, packets: 12},
			{state: search.Unreachable, hole: true, packets: 6},
			{change: func(c *netsim.Config) { c.Block = nil }, state: search.BlackHole, bytes: 1400, hole: true, sizes: []int{1400, 1401}},
		},
		"a link that grows": {
			{change: func(c *netsim.Config) { c.Route.LinkMTU, c.MTU = 1400, 9000; c.ReverseMTU = 9000 }, state: search.Clean, bytes: 1400},
			{change: func(c *netsim.Config) { c.Route.LinkMTU = 9000 }, state: search.Clean, bytes: 9000, sizes: []int{9000}, changes: 1},
			{change: func(c *netsim.Config) { c.Route.LinkMTU = 1400 }, state: search.Clean, bytes: 1400, sizes: []int{1400}, changes: 2},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond}, 1)
				c := collector(t, path, collectors.ICMP)
				for i, s := range steps {
					if s.change != nil {
						path.Set(s.change)
					}
					time.Sleep(max(s.after, time.Second))
					path.Forget()
					r := measure(t, c, collectorstest.Target(false))
					if r.State != s.state || r.State.Conclusive() && r.Bytes != s.bytes {
						t.Errorf("step %d: got %s %d, want %s %d (%s)", i, r.State, r.Bytes, s.state, s.bytes, r.Reason)
					}
					if s.sizes != nil {
						if diff := cmp.Diff(s.sizes, path.Sizes()); diff != "" {
							t.Errorf("step %d: sizes (-want +got):\n%s", i, diff)
						}
					}
					if s.packets > 0 && r.Packets > s.packets {
						t.Errorf("step %d: %d packets, want at most %d: %v", i, r.Packets, s.packets, path.Sizes())
					}
					if got := c.Snapshot(); got.BlackHole != s.hole || got.Changes != s.changes {
						t.Errorf("step %d: black hole %t, %d changes; want %t, %d", i, got.BlackHole, got.Changes, s.hole, s.changes)
					}
				}
			})
		})
	}
}

// A day of rounds on a path with 20 % loss each way: no round may see a change.
func TestLossChangesNothing(t *testing.T) {
	for name, cfg := range map[string]netsim.Config{
		"clean":      {},
		"reduced":    {MTU: 1400},
		"black hole": {MTU: 1400, PTB: netsim.PTBs{Drop: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(lossy(cfg), 5)
				c := collector(t, path, collectors.ICMP)
				packets := 0
				for range 1440 {
					r := measure(t, c, collectorstest.Target(false))
					packets += r.Packets
					path.Forget()
					time.Sleep(time.Minute - r.Duration)
				}
				s := c.Snapshot()
				t.Logf("%.1f packets a round", float64(packets)/1440)
				if s.Changes > 0 || s.BlackHole != (name == "black hole") {
					t.Errorf("%d changes, black hole %t", s.Changes, s.BlackHole)
				}
			})
		})
	}
}

func TestOneMethodDoesNotClearAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Only UDP falls into the hole.
		narrow := func(p *netio.Packet) bool { return p.Protocol == netio.UDP && p.Port == 500 && p.WireSize() > 1400 }
		path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Block: narrow}, 1)
		c := collector(t, path)
		states := func() map[string]search.State {
			t.Helper()
			results, err := c.Measure(t.Context(), collectorstest.Target(false))
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]search.State)
			for _, r := range results.Results {
				got[r.Method.String()] = r.State
			}
			return got
		}
		want := map[string]search.State{"ike": search.BlackHole, "natt": search.Clean, "icmp": search.Clean}
		if diff := cmp.Diff(want, states()); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		path.Set(func(c *netsim.Config) {
			c.Block = func(p *netio.Packet) bool { return p.Protocol == netio.UDP && p.Port == 500 }
		})
		want["ike"] = search.Unreachable
		if diff := cmp.Diff(want, states()); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if s := c.Snapshot(); !s.BlackHole || !s.Known {
			t.Errorf("black hole %t, known %t: an unreachable round must not clear it", s.BlackHole, s.Known)
		}
		path.Set(func(c *netsim.Config) { c.Block = nil })
		want["ike"] = search.Clean
		if diff := cmp.Diff(want, states()); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if s := c.Snapshot(); s.BlackHole {
			t.Error("a larger size passed by the same method, and the black hole is still held")
		}
	})
}

// What disproves a black hole, and what does not.
func TestBlackHoleMemory(t *testing.T) {
	tests := []struct {
		state search.State
		bytes int
		holds bool
	}{
		{search.Unreachable, 0, true},
		{search.Inconclusive, 0, true},
		{search.Inconclusive, 1400, true},
		{search.Inconclusive, 1401, false},
		{search.BlackHole, 1400, true},
		{search.BlackHole, 1300, true},
		{search.BlackHole, 1450, true},
		{search.Reduced, 1300, false},
		{search.Clean, 1300, false}, // the link shrank: nothing that this host can send vanishes
		{search.Clean, 1500, false},
	}
	for _, tt := range tests {
		c := New(netsim.New(netsim.Config{}, 1), Options{})
		st := &methodState{}
		c.states[collectors.ICMP] = st
		c.learn(st, &Result{State: search.BlackHole, Bytes: 1400})
		c.learn(st, &Result{State: tt.state, Bytes: tt.bytes})
		if holds, known := c.holds(); holds != tt.holds || !known {
			t.Errorf("after %s %d: held %t, known %t, want %t", tt.state, tt.bytes, holds, known, tt.holds)
		}
	}
}

// A peer that answers no IKE message with a Vendor ID must not look like a tiny path MTU.
func TestPeersThatDislikePadding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		natural := ikeprobe.Size(ikeprobe.V2BadKE, ikeprobe.PSK, false)
		path := netsim.New(netsim.Config{Respond: func(port uint16, payload []byte) []byte {
			if len(payload) > natural {
				return nil
			}
			return netsim.Responder()(port, payload)
		}}, 1)
		if r := measure(t, collector(t, path, collectors.IKE), collectorstest.Target(false)); r.State != search.Unreachable {
			t.Errorf("got %s %d, want unreachable", r.State, r.Bytes)
		}
	})
}

// Probes under way when a round ends early are neither lost nor counted twice.
func TestEarlyEndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := netsim.Config{MTU: 1437, Delay: 300 * time.Millisecond, PTB: netsim.PTBs{Drop: true}}
		loseNext(1400, 1)(&cfg)
		path := netsim.New(cfg, 1)
		r := measure(t, collector(t, path, collectors.ICMP), collectorstest.Target(false))
		if r.State != search.BlackHole || r.Bytes != 1437 || r.Packets != len(path.Sent()) {
			t.Errorf("got %s %d with %d of %d packets", r.State, r.Bytes, r.Packets, len(path.Sent()))
		}
		if lost := r.Loss * float64(r.LossSamples); lost > 1.01 {
			t.Errorf("%.0f probes counted as lost, one was", lost)
		}
	})
}

func TestMethodsHintToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1437, Delay: 20 * time.Millisecond, PTB: netsim.PTBs{Drop: true}}, 1)
		results, err := collector(t, path).Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		for i, most := range []int{60, 25, 25} {
			if r := results.Results[i]; r.State != search.BlackHole || r.Bytes != 1437 || r.Packets > most {
				t.Errorf("%s: %s %d with %d packets, want a black hole of 1437 with at most %d", r.Method, r.State, r.Bytes, r.Packets, most)
			}
		}
	})
}

func TestAnotherAddressIsAnotherPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, Delay: 20 * time.Millisecond}, 1)
		c := collector(t, path, collectors.ICMP)
		to := collectorstest.Target(false)
		measure(t, c, to)
		path.Set(mtu(1300))
		measure(t, c, to)
		before := c.Snapshot()
		to.Path.Dst = netip.MustParseAddr("203.0.113.11")
		path.Set(dead)
		path.Forget()
		r := measure(t, c, to)
		after := c.Snapshot()
		if got := path.Sizes()[0]; got != 1500 {
			t.Errorf("first size %d, want that of the link", got)
		}
		if r.State != search.Unreachable || after.Known {
			t.Errorf("got %s, known %t: what was known belongs to the old address", r.State, after.Known)
		}
		if before.Changes != 1 || after.Changes != 1 || after.PTBs != before.PTBs {
			t.Errorf("counters went from %d, %d to %d, %d", before.Changes, before.PTBs, after.Changes, after.PTBs)
		}
	})
}

func TestSlowSearchIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{
			MTU: 1437, Delay: 20 * time.Millisecond, PTB: netsim.PTBs{Drop: true}, Echoes: netsim.Limit{Every: time.Second},
		}, 1)
		keys, err := ikeprobe.NewKeyring()
		if err != nil {
			t.Fatal(err)
		}
		c := New(path, Options{Methods: []collectors.Method{collectors.ICMP}, Keys: keys, Slow: 15 * time.Second, Seed: 1})
		rounds := 0
		var r Result
		for r.State != search.BlackHole && rounds < 5 {
			rounds++
			r = measure(t, c, collectorstest.Target(false))
			if r.State == search.Inconclusive && (r.Bytes == 0 || r.Bytes > 1437 || !strings.Contains(r.Reason, "at least")) {
				t.Errorf("round %d: lower bound %d (%s)", rounds, r.Bytes, r.Reason)
			}
			if r.State == search.Inconclusive && r.Duration > 25*time.Second {
				t.Errorf("round %d took %s", rounds, r.Duration)
			}
			time.Sleep(30 * time.Second)
		}
		if r.State != search.BlackHole || r.Bytes != 1437 || rounds < 2 {
			t.Errorf("got %s %d after %d rounds, want a black hole of 1437 after several", r.State, r.Bytes, rounds)
		}
	})
}

func TestDialect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Respond: netsim.Responder(1)}, 1)
		dialect := ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK)
		keys, err := ikeprobe.NewKeyring()
		if err != nil {
			t.Fatal(err)
		}
		c := New(path, Options{
			Methods: []collectors.Method{collectors.IKE}, Keys: keys,
			Dialects: map[collectors.Method]*ikeprobe.Dialect{collectors.IKE: dialect},
		})
		if r := measure(t, c, collectorstest.Target(false)); r.State != search.Unreachable || r.Form != ikeprobe.V2BadKE.String() {
			t.Errorf("got %s with %s, want unreachable with the form that is not answered", r.State, r.Form)
		}
		if dialect.Answered() || dialect.Form() != ikeprobe.V2BadKE {
			t.Error("a search must not walk the ladder")
		}
		for dialect.Form() != ikeprobe.V1Main {
			dialect.Advance()
		}
		if r := measure(t, c, collectorstest.Target(false)); r.State != search.Clean || r.Form != ikeprobe.V1Main.String() {
			t.Errorf("got %s with %s, want clean with the form that is answered", r.State, r.Form)
		}
		if !dialect.Answered() {
			t.Error("the answer was not confirmed")
		}
	})
}

// What merely sends probes back has not passed them on.
func TestReflectionIsNoAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Respond: func(_ uint16, payload []byte) []byte { return payload }}, 1)
		if r := measure(t, collector(t, path, collectors.IKE), collectorstest.Target(false)); r.State != search.Unreachable {
			t.Errorf("got %s, want unreachable", r.State)
		}
	})
}

func TestInsideATunnelNothingIsSent(t *testing.T) {
	path := netsim.New(netsim.Config{Route: netio.Route{Tunnel: "device wg0 (wireguard)"}}, 1)
	r := measure(t, collector(t, path, collectors.ICMP), collectorstest.Target(false))
	if r.State != search.Inconclusive || r.Reason != "inside the tunnel: device wg0 (wireguard)" || len(path.Sent()) > 0 {
		t.Errorf("got %s (%s) and %d packets", r.State, r.Reason, len(path.Sent()))
	}
}

func TestErrors(t *testing.T) {
	boom := errors.New("no such device")
	t.Run("route", func(t *testing.T) {
		c := collector(t, netsim.New(netsim.Config{RouteErr: boom}, 1), collectors.ICMP)
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); !errors.Is(err, boom) {
			t.Errorf("got %v, want %v", err, boom)
		}
	})
	t.Run("not sent", func(t *testing.T) {
		c := collector(t, netsim.New(netsim.Config{Broken: boom}, 1))
		results, err := c.Measure(t.Context(), collectorstest.Target(false))
		if !errors.Is(err, boom) || !errors.Is(err, ErrNotSent) || len(results.Results) != 0 {
			t.Errorf("got %v with %d results, want %v and none", err, len(results.Results), boom)
		}
		if s := c.Snapshot(); s.Known || !s.At.IsZero() {
			t.Errorf("a round that measured nothing left %+v", s)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := collector(t, netsim.New(netsim.Config{DropICMP: true}, 1), collectors.ICMP)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			start := time.Now()
			if _, err := c.Measure(ctx, collectorstest.Target(false)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			if took := time.Since(start); took != 1500*time.Millisecond {
				t.Errorf("took %s, want to stop at once", took)
			}
		})
	})
}

// A probe that a round has given up must not take the reply from one of the same size in the next
// round.
func TestRoundsCloseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, Delay: 5 * time.Millisecond, PTB: netsim.PTBs{Drop: true}}, 1)
		c := collector(t, path, collectors.IKE)
		measure(t, c, collectorstest.Target(false))
		measure(t, c, collectorstest.Target(false))
		path.Set(mtu(1500))
		if r := measure(t, c, collectorstest.Target(false)); r.State != search.Clean {
			t.Errorf("got %s %d, want clean", r.State, r.Bytes)
		}
	})
}

// TestOutOfTime: what was found before the time was over counts; the methods behind it are not
// measured.
func TestOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(p *netio.Packet) bool { return p.Protocol == netio.UDP && p.Port == 4500 }
		path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Block: silent}, 1)
		c := collector(t, path)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := c.Measure(ctx, collectorstest.Target(false)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		s := c.Snapshot()
		if len(s.Results) != 2 || s.Results[0].State != search.Clean || s.Results[1].State != search.Clean || s.Results[1].Method != collectors.IKE || !s.Known || s.At.IsZero() {
			t.Errorf("got %+v, want the clean results of echo and IKE", s)
		}
		r, err := c.Measure(t.Context(), collectorstest.Target(false))
		if err != nil || len(r.Results) != 3 || r.Results[0].Method != collectors.NATT {
			t.Errorf("the next round: %+v, %v; want NAT-T to have its turn first", r.Results, err)
		}
		if r, err = c.Measure(t.Context(), collectorstest.Target(false)); err != nil || r.Results[0].Method != collectors.ICMP {
			t.Errorf("the round after it: %+v, %v; want the usual order", r.Results, err)
		}
	})
}
