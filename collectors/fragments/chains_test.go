package fragments

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netsim"
)

// longerThan drops messages of more than n fragments.
func longerThan(n int) func(p *netio.Packet) bool {
	return func(p *netio.Packet) bool {
		return p.FragmentSize > 0 && p.WireSize()-netio.HeaderIPv4 > n*(p.FragmentSize-netio.HeaderIPv4)
	}
}

// TestChains: two fragments that pass say nothing about longer chains or another order.
func TestChains(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg             netsim.Config
		long, lastFirst State
		reason          string
	}{
		"all pass":                {netsim.Config{}, Pass, Pass, ""},
		"chains dropped":          {netsim.Config{Block: longerThan(2)}, Dropped, Pass, ""},
		"reverse order dropped":   {netsim.Config{Block: func(p *netio.Packet) bool { return p.LastFirst }}, Pass, Dropped, ""},
		"offsets above 1600":      {netsim.Config{Block: func(p *netio.Packet) bool { return p.WireSize() > 1700 }}, Unknown, Pass, "may refuse messages of 3000 bytes"},
		"responder's own limit":   {netsim.Config{Respond: upTo(1700)}, Unknown, Pass, "may refuse messages of 3000 bytes"},
		"loss of one in five":     {netsim.Config{Loss: 0.1, ReverseLoss: 0.1}, Pass, Pass, ""},
		"chains dropped and loss": {netsim.Config{Block: longerThan(2), Loss: 0.05, ReverseLoss: 0.05}, Dropped, Pass, ""},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %t", name, v6), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := collector(t, netsim.New(tt.cfg, 2))
					c.opts.Seed = 1
					for range 2 {
						got, err := c.Measure(t.Context(), collectorstest.Target(v6))
						if err != nil {
							t.Fatal(err)
						}
						for _, r := range got.Results {
							if r.State != Pass || r.Long != tt.long || r.LastFirst != tt.lastFirst || (r.LongReason == "") != (tt.reason == "") || !strings.Contains(r.LongReason, tt.reason) {
								t.Errorf("%+v", r)
							}
						}
					}
				})
			})
		}
	}
}

// TestChainsAreNotDroppedByChance: loss does not look like a filter of longer chains.
func TestChainsAreNotDroppedByChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(300) {
			c := collector(t, netsim.New(netsim.Config{Loss: 0.2, ReverseLoss: 0.2}, seed))
			c.opts.Seed = seed + 1
			got, err := c.Measure(t.Context(), collectorstest.Target(seed%2 == 0))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got.Results {
				if r.Long == Dropped || r.LastFirst == Dropped {
					t.Errorf("seed %d: %+v", seed, r)
				}
			}
		}
	})
}

// TestChainsInTheLab sends both through a real kernel.
func TestChainsInTheLab(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	r := newRig(t)
	for _, v6 := range []bool{false, true} {
		to := collectorstest.Target(v6)
		to.Path.Dst = r.ServerAddr(v6)
		got, err := collector(t, r.stack).Measure(t.Context(), to)
		for _, one := range got.Results {
			if err != nil || one.Long != Pass || one.LongPieces != 3 || one.LastFirst != Pass {
				t.Errorf("IPv6 %t: %+v, %v", v6, one, err)
			}
		}
	}
}
