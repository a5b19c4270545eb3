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
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netsim"
)

// A limit is what is to be found out about one direction: a state, a size, and between which hops
// larger packets are lost (0: not known).
type limit struct {
	state       search.State
	bytes       int
	last, first int
}

func (l limit) compare(t *testing.T, what string, state search.State, bytes int, last, first netip.Addr, hop func(int) netip.Addr) {
	t.Helper()
	if state != l.state || bytes != l.bytes || last != hop(l.last) || first != hop(l.first) {
		t.Errorf("%s: %s %d bytes, after %s, before or at %s; want %+v", what, state, bytes, last, first, l)
	}
}

// routersOf are the hops of simulated paths.
func routersOf(v6 bool) []netip.Addr {
	if v6 {
		return []netip.Addr{netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::1"), netip.MustParseAddr("2001:db8:3::1")}
	}
	return []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}
}

// silentIKE is a peer that ignores IKE.
func silentIKE(uint16, []byte) []byte { return nil }

// limited is a path to a peer that ignores IKE, which drops larger packets without a PTB.
func limited(v6 bool, change func(*netsim.Config)) netsim.Config {
	cfg := netsim.Config{Hops: routersOf(v6), PTB: netsim.PTBs{Drop: true}, ReverseDrop: true, Respond: silentIKE}
	change(&cfg)
	return cfg
}

// TestBothWays: where IKE is silent, the routers show in which direction a size limit is.
func TestBothWays(t *testing.T) {
	quiet := func(int, *netio.Packet) bool { return true }
	hole := func(bytes, last, first int) limit { return limit{search.BlackHole, bytes, last, first} }
	reaches := func(bytes, last int) limit { return limit{search.Clean, bytes, last, 0} }
	for name, tt := range map[string]struct {
		change        func(*netsim.Config)
		forward, back limit
	}{
		"outward": {
			func(c *netsim.Config) { c.MTU, c.Narrow = 1400, 2 },
			hole(1400, 2, 3),
			limit{search.Clean, 1400, 0, 0},
		},
		"return": {
			func(c *netsim.Config) { c.ReverseMTU, c.ReverseNarrow = 1400, 2 },
			reaches(1500, 3), hole(1400, 2, 3),
		},
		"both": {
			func(c *netsim.Config) { c.MTU, c.Narrow, c.ReverseMTU, c.ReverseNarrow = 1400, 2, 1400, 1 },
			hole(1400, 2, 3), hole(1400, 1, 2),
		},
		"both, less on the return path": {
			func(c *netsim.Config) { c.MTU, c.Narrow, c.ReverseMTU, c.ReverseNarrow = 1450, 2, 1400, 1 },
			hole(1450, 2, 3), hole(1400, 1, 2),
		},
		"both, less outward": {
			func(c *netsim.Config) { c.MTU, c.Narrow, c.ReverseMTU = 1400, 3, 1450 },
			hole(1400, 3, 4), hole(1450, 0, 0),
		},
		"outward, fragments are dropped": {
			func(c *netsim.Config) { c.MTU, c.Narrow, c.DropFragments = 1400, 2, true },
			hole(1400, 2, 3),
			limit{search.Unknown, 1400, 2, 0},
		},
		"return, fragments are dropped": {
			func(c *netsim.Config) { c.ReverseMTU, c.ReverseNarrow, c.DropFragments = 1400, 1, true },
			reaches(1500, 3), hole(1400, 1, 2),
		},
		"both, fragments are dropped": {
			func(c *netsim.Config) {
				c.MTU, c.Narrow, c.ReverseMTU, c.ReverseNarrow, c.DropFragments = 1400, 2, 1400, 1, true
			},
			hole(1400, 2, 3), hole(1400, 1, 2),
		},
		"on the last link, fragments are dropped": {
			func(c *netsim.Config) { c.MTU, c.DropFragments = 1400, true },
			reaches(1500, 3),
			limit{search.Unknown, 1400, 3, 0},
		},
		"routers answer no echoes": {
			func(c *netsim.Config) {
				c.ReverseMTU, c.ReverseNarrow, c.DropFragments = 1400, 1, true
				c.Mute = func(int) bool { return true }
			},
			reaches(1500, 3),
			limit{search.Unknown, 1400, 0, 0},
		},
		"the nearest router behind the limit answers no echoes": {
			func(c *netsim.Config) {
				c.ReverseMTU, c.ReverseNarrow, c.DropFragments = 1400, 1, true
				c.Mute = func(hop int) bool { return hop == 2 }
			},
			reaches(1500, 3), hole(1400, 1, 3),
		},
		"routers say nothing": {
			func(c *netsim.Config) { c.ReverseMTU, c.ReverseNarrow, c.Quiet = 1400, 1, quiet },
			limit{search.Unknown, 1400, 0, 0},
			hole(1400, 0, 0),
		},
		"one time exceeded a second": {
			func(c *netsim.Config) {
				c.ReverseMTU, c.ReverseNarrow, c.Exceeded = 1400, 1, netsim.Limit{Every: time.Second}
			},
			reaches(1500, 3), hole(1400, 1, 2),
		},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(name+family(v6), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					target := collectorstest.Target(v6)
					c := located(t, netsim.New(limited(v6, tt.change), 1))
					if _, err := c.Measure(t.Context(), target); err != nil {
						t.Fatal(err)
					}
					hop := func(n int) netip.Addr {
						if n == 0 {
							return netip.Addr{}
						}
						return append(routersOf(v6), target.Path.Dst)[n-1]
					}
					s := c.Snapshot()
					f, b := &s.Forward, &s.Reverse
					tt.forward.compare(t, "path to the peer ("+f.Reason+")", f.State, f.LowerBytes, f.LastHopPassed, f.FirstHopFailed, hop)
					if tt.back.state == search.Clean {
						tt.back.bytes = b.LowerBytes
					}
					tt.back.compare(t, "reverse path ("+b.Reason+")", b.State, b.LowerBytes, b.LastHopPassed, b.FirstHopFailed, hop)
				})
			})
		}
	}
}

func family(v6 bool) string {
	if v6 {
		return " v6"
	}
	return " v4"
}

// TestNoFalseWay: loss and rate limits make no direction look limited that is not.
func TestNoFalseWay(t *testing.T) {
	outward := func(c *netsim.Config) { c.MTU, c.Narrow = 1400, 2 }
	back := func(c *netsim.Config) { c.ReverseMTU, c.ReverseNarrow = 1400, 1 }
	lastLink := func(c *netsim.Config) { c.MTU = 1400 }
	for name, tt := range map[string]struct {
		change        func(*netsim.Config)
		forward, back bool // whether a limit is there
	}{"outward": {outward, true, false}, "return": {back, false, true}, "the last link": {lastLink, false, false}} {
		for circumstance, worsen := range map[string]func(*netsim.Config){
			"loss":   func(c *netsim.Config) { c.Loss, c.ReverseLoss = 0.2, 0.2 },
			"limits": func(c *netsim.Config) { c.Exceeded, c.Loss = netsim.Limit{Every: time.Second, Burst: 6}, 0.05 },
		} {
			t.Run(name+", "+circumstance, func(t *testing.T) {
				forward, reverse := map[search.State]int{}, map[search.State]int{}
				synctest.Test(t, func(t *testing.T) {
					for seed := range uint64(200) {
						cfg := limited(false, tt.change)
						worsen(&cfg)
						cfg.DropFragments = true
						c := located(t, netsim.New(cfg, seed))
						c.opts.Methods = []collectors.Method{collectors.ICMP}
						if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
							t.Fatal(err)
						}
						s := c.Snapshot()
						forward[s.Forward.State]++
						reverse[s.Reverse.State]++
					}
				})
				t.Logf("path to the peer %v, reverse path %v", forward, reverse)
				if !tt.forward && forward[search.BlackHole] > 0 || !tt.back && reverse[search.BlackHole] > 0 {
					t.Errorf("path to the peer %v, reverse path %v", forward, reverse)
				}
				if tt.forward && forward[search.BlackHole] < 100 || tt.back && reverse[search.BlackHole] < 100 {
					t.Errorf("rarely found: path to the peer %v, reverse path %v", forward, reverse)
				}
			})
		}
	}
}

// TestWaysAreRemembered: routers are asked in two rounds, and again only if the black hole changes.
func TestWaysAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(limited(false, func(c *netsim.Config) { c.ReverseMTU, c.ReverseNarrow = 1400, 2 }), 1)
		c := located(t, path)
		c.opts.Methods = []collectors.Method{collectors.ICMP}
		round := func() (ladders int) {
			t.Helper()
			path.Forget()
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
			for _, s := range path.Sent() {
				if s.TTL > 0 {
					ladders++
				}
			}
			if f := c.Snapshot().Forward; f.State != search.Clean {
				t.Errorf("path to the peer: %+v", f)
			}
			time.Sleep(time.Minute)
			return ladders
		}
		for i := range looks {
			if n := round(); n == 0 || n > 100 {
				t.Errorf("round %d: %d probes with a TTL", i, n)
			}
		}
		for i := range 5 {
			if n := round(); n != 0 {
				t.Errorf("round %d: %d probes with a TTL", looks+i, n)
			}
		}
		path.Set(func(c *netsim.Config) { c.ReverseMTU = 1380 })
		if n := round(); n == 0 {
			t.Error("no routers were asked after a change")
		}
		path.Set(func(c *netsim.Config) { c.ReverseMTU = 0 })
		if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
			t.Fatal(err)
		}
		if s := c.Snapshot(); s.Forward != (Forward{}) || s.Reverse.State != search.Clean {
			t.Errorf("after the end: %+v, %+v", s.Forward, s.Reverse)
		}
	})
}

// TestBothWaysThroughAKernel: the same through a real kernel.
func TestBothWaysThroughAKernel(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	hole := func(last, first int) limit { return limit{search.BlackHole, 1400, last, first} }
	reaches := limit{search.Clean, 1500, 3, 0}
	for scenario, want := range map[string]struct {
		forward, back limit
		fragments     bool // are dropped
	}{
		"S6c":                    {hole(2, 3), limit{state: search.Clean, bytes: 1500}, false},
		"S6b":                    {reaches, hole(3, 0), false},
		"S2b":                    {hole(2, 3), hole(2, 0), false},
		"S6c, fragments dropped": {hole(2, 3), limit{search.Unknown, 1400, 2, 0}, true},
		"S2b, fragments dropped": {hole(2, 3), limit{search.Unknown, 1400, 2, 0}, true},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			b := newRig(t)
			b.Apply(t, scenario[:3])
			b.DropUDPPort(t, 500)
			b.DropUDPPort(t, 4500)
			if want.fragments {
				b.DropFragments(t)
			}
			for _, v6 := range []bool{false, true} {
				c := New(b.stack, Options{Keys: b.keys, Locate: true, Hops: time.Hour, Silence: b.stack.Silence()})
				if _, err := c.Measure(t.Context(), b.target(v6)); err != nil {
					t.Fatal(err)
				}
				hop := func(n int) netip.Addr {
					if n == 0 {
						return netip.Addr{}
					}
					return b.HopAddr(n, v6)
				}
				s := c.Snapshot()
				f, r := &s.Forward, &s.Reverse
				want.forward.compare(t, "path to the peer ("+f.Reason+")", f.State, f.LowerBytes, f.LastHopPassed, f.FirstHopFailed, hop)
				want.back.compare(t, "reverse path ("+r.Reason+")", r.State, r.LowerBytes, r.LastHopPassed, r.FirstHopFailed, hop)
			}
		})
	}
}
