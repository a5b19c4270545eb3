package pmtu

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/volley"
)

// sharedICMP is a 1400-byte link whose router reports it, behind a limit on ICMP of one packet a
// second of which other hosts use most.
func sharedICMP() netsim.Config {
	return netsim.Config{
		MTU: 1400, Delay: 20 * time.Millisecond, ICMP: netsim.Limit{Every: time.Second}, Others: 250 * time.Millisecond,
	}
}

// TestSharedLimitIsNoBlackHole: where most ICMP is lost to a limit that other hosts share, silence
// of PTBs is no verdict.
func TestSharedLimitIsNoBlackHole(t *testing.T) {
	states := make(map[search.State]int)
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(300) {
			c := collector(t, netsim.New(sharedICMP(), seed), collectors.IKE, collectors.NATT)
			c.opts.Locate, c.opts.Seed = true, seed+1
			for range 4 {
				got, err := c.Measure(t.Context(), collectorstest.Target(seed%2 == 0))
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range got.Results {
					states[r.State]++
					if r.State == search.Reduced && r.Bytes != 1400 {
						t.Errorf("seed %d: %s %d", seed, r.State, r.Bytes)
					}
				}
				time.Sleep(time.Minute)
			}
		}
	})
	t.Logf("%v", states)
	if states[search.BlackHole] > 0 || states[search.Clean] > 0 || states[search.Reduced] < states[search.Inconclusive]*10 {
		t.Errorf("%v", states)
	}
}

// TestSilenceStaysABlackHole: where PTBs do not come although other ICMP does, or no ICMP comes at
// all, the verdict stands, and costs few more packets.
func TestSilenceStaysABlackHole(t *testing.T) {
	hole := netsim.PTBs{Drop: true}
	for name, tt := range map[string]struct {
		path  netsim.Config
		extra time.Duration
	}{
		"echoes are answered": {netsim.Config{MTU: 1400, PTB: hole}, 5 * time.Second},
		"no ICMP at all":      {netsim.Config{MTU: 1400, DropICMP: true}, 12 * time.Second},
		"loss":                {netsim.Config{MTU: 1400, PTB: hole, Loss: 0.1, ReverseLoss: 0.1}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.path.Delay = 20 * time.Millisecond
				c := collector(t, netsim.New(tt.path, 1), collectors.IKE)
				c.opts.Locate = true
				for range 4 {
					began := time.Now()
					r := measure(t, c, collectorstest.Target(false))
					if took := time.Since(began); r.State != search.BlackHole || r.Bytes != 1400 || took > r.Duration+tt.extra {
						t.Errorf("%s %d in %s (%s)", r.State, r.Bytes, took, r.Reason)
					}
				}
				if n := c.states[collectors.IKE].heard.times; n != hearings {
					t.Errorf("tested %d times", n)
				}
			})
		})
	}
}

// TestPTBsOfAnotherMethod: a router that reports the limit to echoes but not to IKE hides it from
// IKE, which PTBs for echoes show.
func TestPTBsOfAnotherMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, Delay: 20 * time.Millisecond, PTB: netsim.PTBs{Limit: netsim.Limit{Every: 5 * time.Second}}}, 1)
		c := collector(t, path, collectors.ICMP, collectors.IKE)
		c.opts.Locate = true
		for range 3 {
			got, err := c.Measure(t.Context(), collectorstest.Target(false))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got.Results {
				if r.State == search.BlackHole {
					t.Errorf("%s: %s %d", r.Method, r.State, r.Bytes)
				}
			}
			time.Sleep(10 * time.Second)
		}
	})
}

// TestHearingEndsWithItsContext: a round that is cancelled reports that, not a verdict.
func TestHearingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c := collector(t, netsim.New(netsim.Config{MTU: 1400, DropICMP: true, Delay: 20 * time.Millisecond}, 1), collectors.IKE)
		c.opts.Locate = true
		got, err := c.Measure(ctx, collectorstest.Target(false))
		if err == nil || slices.ContainsFunc(got.Results, func(r Result) bool { return r.State.Conclusive() }) {
			t.Errorf("%+v, %v", got.Results, err)
		}
	})
}

// TestSharedLimitInTheLab is scenario S9 while another program sends four echoes a second.
func TestSharedLimitInTheLab(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	b.Apply(t, "S9")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for volley.Pause(ctx, 250*time.Millisecond) == nil {
			b.stack.Send(ctx, &netio.Packet{Path: b.target(false).Path, Size: 64}, time.Second, func(netio.Answer) {})
		}
	}()
	if err := volley.Pause(ctx, 3*time.Second); err != nil { // the limit's first burst is used up
		t.Fatal(err)
	}
	c := New(b.stack, Options{Keys: b.keys, Methods: []collectors.Method{collectors.IKE}, Locate: true})
	for range 2 {
		for _, r := range measureOnce(t, c, b.target(false)).Results {
			if r.State != search.Reduced && r.State != search.Inconclusive || r.State == search.Reduced && r.Bytes != pathMTU {
				t.Errorf("%s: %s %d (%s)", r.Method, r.State, r.Bytes, r.Reason)
			}
		}
	}
}

// TestICMPComesBack: after a time without any ICMP, echoes are answered again and PTBs are not.
func TestICMPComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, Delay: 20 * time.Millisecond, DropICMP: true}, 1)
		c := collector(t, path, collectors.IKE)
		c.opts.Locate = true
		for _, drop := range []bool{true, false} {
			path.Set(func(cfg *netsim.Config) { cfg.DropICMP, cfg.PTB.Drop = drop, true })
			if r := measure(t, c, collectorstest.Target(false)); r.State != search.BlackHole || (c.unanswered > 0) != drop {
				t.Errorf("%s %d (%s), %d echoes unanswered", r.State, r.Bytes, r.Reason, c.unanswered)
			}
		}
	})
}
