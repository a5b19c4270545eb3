package pmtu

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netsim"
)

// A direction is what is to be found out about the reverse path, and between which hops of the lab
// a black hole is (0: not known).
type direction struct {
	state        search.State
	lower, upper int
	// last and first are hop numbers: 4 is the peer.
	last, first int
}

// TestDirectionAndPlace finds out on real sockets through a real kernel which way a fault is on,
// and where.
func TestDirectionAndPlace(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	clean := direction{state: search.Clean, lower: 1500}
	small := direction{state: search.Reduced, lower: 1396, upper: 1403} // the reply comes in fragments
	small6 := direction{state: search.Reduced, lower: 1400, upper: 1407}
	hole := direction{state: search.BlackHole, lower: 1400, upper: 1400}
	at := func(d direction, last, first int) direction { d.last, d.first = last, first; return d }
	for scenario, want := range map[string][2]direction{
		"S0": {clean, clean},
		"S1": {small, small6},
		// An IPv6 router does not fragment the reply: its "packet too big" to the peer is dropped,
		// so the reverse path is a black hole as well.
		"S2":  {at(small, 2, 3), at(hole, 2, 3)},
		"S2b": {at(hole, 2, 3), at(hole, 2, 3)},
		"S3":  {direction{last: 1, first: 4}, direction{last: 1, first: 4}}, // no ICMP at all comes back from behind the first router
		"S4":  {clean, clean},
		"S5":  {direction{last: 1, first: 4}, direction{last: 1, first: 4}},
		"S6":  {small, hole},
		"S6b": {hole, hole},
		"S6c": {at(clean, 2, 3), at(clean, 2, 3)},
		"S6d": {small, small6},
		"S9r": {clean, clean},
		// With fragments dropped as well the reverse path is not known.
		"S2+S4": {direction{lower: 1400, last: 2, first: 3}, direction{lower: 1400, last: 2, first: 3}},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			b := newRig(t)
			if scenario == "S2+S4" {
				b.Apply(t, "S2")
				b.DropFragments(t)
			} else {
				b.Apply(t, scenario)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			for i, v6 := range []bool{false, true} {
				wg.Go(func() { b.verifyDirection(t, v6, want[i]) })
			}
		})
	}
}

func (b *rig) verifyDirection(t *testing.T, v6 bool, want direction) {
	t.Helper()
	c := New(b.stack, Options{Keys: b.keys, Locate: true, Hops: time.Hour})
	results := measureOnce(t, c, b.target(v6))
	s := c.Snapshot()
	back := s.Reverse
	if back.State != want.state || back.LowerBytes != want.lower || back.UpperBytes != want.upper {
		t.Errorf("v6 %t: reverse path %s, %d to %d bytes with %d packets (%s); want %+v", v6, back.State, back.LowerBytes, back.UpperBytes,
			back.Packets, back.Reason, want)
	}
	hop := func(n int) netip.Addr {
		switch n {
		case 0:
			return netip.Addr{}
		case 4:
			return b.ServerAddr(v6)
		}
		return b.HopAddr(n, v6)
	}
	// One method is enough where all find the same size.
	var last, first netip.Addr
	for _, r := range results.Results {
		if r.LastHopPassed.IsValid() || r.FirstHopFailed.IsValid() {
			last, first = r.LastHopPassed, r.FirstHopFailed
		}
	}
	if last != hop(want.last) || first != hop(want.first) {
		t.Errorf("v6 %t: lost after %s, before or at %s; want %+v", v6, last, first, want)
	}
	if s.Distance != 4 || len(s.Hops) != 4 || s.Hops[0] != hop(1) || s.Hops[3] != hop(4) {
		t.Errorf("v6 %t: hops %v, distance %d", v6, s.Hops, s.Distance)
	}
}

// located makes a Collector that looks at the reverse path of a path.
func located(t *testing.T, path collectors.Network) *Collector {
	t.Helper()
	c := collector(t, path)
	c.opts.Locate = true
	return c
}

// TestNoFalseReverse: neither loss nor limits make a healthy reverse path look like a black hole,
// for any path to the peer.
func TestNoFalseReverse(t *testing.T) {
	for name, cfg := range map[string]netsim.Config{
		"loss":                        {Loss: 0.2, ReverseLoss: 0.2},
		"loss and a black hole":       {Loss: 0.2, ReverseLoss: 0.2, MTU: 1400, PTB: netsim.PTBs{Drop: true}},
		"two replies a second":        {MTU: 1400, PTB: netsim.PTBs{Drop: true}, Replies: netsim.Limit{Every: 500 * time.Millisecond}},
		"one reply a second":          {MTU: 1400, PTB: netsim.PTBs{Drop: true}, Replies: netsim.Limit{Every: time.Second, Burst: 5}},
		"one request a second":        {MTU: 1400, PTB: netsim.PTBs{Drop: true}, Echoes: netsim.Limit{Every: time.Second, Burst: 5}},
		"reduced, and a limit":        {MTU: 1400, Replies: netsim.Limit{Every: 500 * time.Millisecond}, PTB: netsim.PTBs{Limit: netsim.Limit{Every: time.Second}}},
		"a reverse path in fragments": {Loss: 0.1, ReverseLoss: 0.1, MTU: 1400, PTB: netsim.PTBs{Drop: true}, ReverseMTU: 1400},
		"fragments do not survive":    {DropFragments: true, MTU: 1400, PTB: netsim.PTBs{Drop: true}, Loss: 0.1, ReverseLoss: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			states := make(map[search.State]int)
			synctest.Test(t, func(t *testing.T) {
				for seed := range uint64(1000) {
					c := located(t, netsim.New(cfg, seed))
					c.opts.Methods = []collectors.Method{collectors.ICMP}
					if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
						t.Fatal(err)
					}
					states[c.Snapshot().Reverse.State]++
				}
			})
			t.Log(states)
			if states[search.BlackHole] > 0 {
				t.Errorf("%v", states)
			}
		})
	}
}

// TestReverseIsFoundInSpiteOfLoss: and where larger replies vanish, it is found, to the byte.
func TestReverseIsFoundInSpiteOfLoss(t *testing.T) {
	found := 0
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(300) {
			c := located(t, netsim.New(netsim.Config{ReverseMTU: 1437, ReverseDrop: true, Loss: 0.1, ReverseLoss: 0.1}, seed))
			c.opts.Methods = []collectors.Method{collectors.ICMP}
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
			switch back := c.Snapshot().Reverse; {
			case back.State == search.BlackHole && back.LowerBytes == 1437:
				found++
			case back.State != search.Unknown:
				t.Errorf("seed %d: %+v", seed, back)
			}
		}
	})
	if found < 270 {
		t.Errorf("found %d of 300", found)
	}
}

// TestPlaceIsRemembered: a black hole is located once, not every minute, and again when it moves.
func TestPlaceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hops := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}
		path := netsim.New(netsim.Config{MTU: 1400, Narrow: 2, Hops: hops, PTB: netsim.PTBs{Drop: true}}, 1)
		c := located(t, path)
		c.opts.Methods = []collectors.Method{collectors.IKE}
		ladders := func() (n int) {
			for _, s := range path.Sent() {
				if s.TTL > 0 {
					n++
				}
			}
			path.Forget()
			return n
		}
		round := func(wantLast, wantFirst netip.Addr) {
			t.Helper()
			r := measure(t, c, collectorstest.Target(false))
			if r.LastHopPassed != wantLast || r.FirstHopFailed != wantFirst {
				t.Errorf("lost after %s, before or at %s", r.LastHopPassed, r.FirstHopFailed)
			}
			time.Sleep(time.Minute)
		}
		round(hops[1], hops[2])
		if n := ladders(); n == 0 || n > 80 {
			t.Errorf("the first round sent %d probes with a TTL", n)
		}
		for range 20 {
			round(hops[1], hops[2])
		}
		if n := ladders(); n != 0 {
			t.Errorf("%d probes with a TTL in 20 more rounds", n)
		}
		path.Set(func(c *netsim.Config) { c.MTU, c.Narrow = 1380, 1 })
		round(hops[0], hops[1])
	})
}

var _ collectors.Network = (*netio.Stack)(nil)
