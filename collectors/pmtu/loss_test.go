package pmtu

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netsim"
)

// A wrong verdict is one that names another state or size than the truth; to find nothing is
// allowed, but rarely.
func TestLossIsNeverAnMTU(t *testing.T) {
	const runs = 1000
	tests := map[string]struct {
		path  netsim.Config
		state search.State
		bytes int
	}{
		"clean":                 {state: search.Clean, bytes: 1500},
		"black hole 1400":       {path: netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}}, state: search.BlackHole, bytes: 1400},
		"black hole 1437":       {path: netsim.Config{MTU: 1437, PTB: netsim.PTBs{Drop: true}}, state: search.BlackHole, bytes: 1437},
		"PTB":                   {path: netsim.Config{MTU: 1400}, state: search.Reduced, bytes: 1400},
		"PTB, one every second": {path: netsim.Config{MTU: 1400, PTB: netsim.PTBs{Limit: netsim.Limit{Every: time.Second}}}, state: search.Reduced, bytes: 1400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := repeat(t, runs, lossy(tt.path), func(r Result) bool {
				return r.Bytes > tt.bytes || r.State.Conclusive() && (r.State != tt.state || r.Bytes != tt.bytes)
			})
			if s.wrong > 0 {
				t.Errorf("%d of %d are wrong", s.wrong, runs)
			}
			if none := runs - s.states[tt.state]; none*100 > runs*3 {
				t.Errorf("%d of %d are not %s", none, runs, tt.state)
			}
			if most := s.packets[len(s.packets)-1]; most > search.DefaultPackets {
				t.Errorf("a search sent %d packets", most)
			}
		})
	}
}

// A limiter deals out answers by time, not by chance: what it passes must never look like a size.
// Its period is varied so that it falls into step with the search's own spacings.
func TestLimitersAreNeverAnMTU(t *testing.T) {
	periods := []time.Duration{2, 3, 6, 9, 20, 40, 60, 90, 100, 180, 200, 300, 500, 1000, 1100, 1500, 3000}
	limits := map[string]func(*netsim.Config, netsim.Limit){
		"requests": func(c *netsim.Config, l netsim.Limit) { c.Echoes = l },
		"replies":  func(c *netsim.Config, l netsim.Limit) { c.Replies = l },
		"all":      func(c *netsim.Config, l netsim.Limit) { c.All, c.Jitter = l, c.Delay/4 },
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				states, most := make(map[search.State]int), 0
				for _, period := range periods {
					for _, burst := range []int{1, 2, 3, 5, 10, 20} {
						for _, mtu := range []int{1499, 1400, 1333, 700} {
							for _, delay := range []time.Duration{20, 90, 300} {
								cfg := netsim.Config{MTU: mtu, Delay: delay * time.Millisecond, PTB: netsim.PTBs{Drop: true}}
								limit(&cfg, netsim.Limit{Every: period * time.Millisecond, Burst: burst})
								r := searchOnce(t, netsim.New(cfg, 1))
								states[r.State]++
								most = max(most, r.Packets)
								if r.Bytes > mtu || r.State.Conclusive() && (r.State != search.BlackHole || r.Bytes != mtu) {
									t.Errorf("%d ms, burst %d, delay %d ms: got %s %d, want %d", period, burst, delay, r.State, r.Bytes, mtu)
								}
							}
						}
					}
				}
				t.Logf("%v, at most %d packets", states, most)
				if most > search.DefaultPackets {
					t.Errorf("a search sent %d packets", most)
				}
			})
		})
	}
}

// gilbert loses everything for a while, every now and then (Gilbert's model of bursty loss).
type gilbert struct {
	random    *rand.Rand
	bad       bool
	until     time.Time
	good, lot time.Duration // mean lengths of the good and the bad times
}

func (g *gilbert) lost(now time.Time) bool {
	for !now.Before(g.until) {
		if g.until.IsZero() {
			g.until = now
		}
		g.bad = !g.bad
		mean := g.good
		if g.bad {
			mean = g.lot
		}
		g.until = g.until.Add(time.Duration(g.random.ExpFloat64() * float64(mean)))
	}
	return g.bad
}

func TestBurstsOfLossAreNeverAnMTU(t *testing.T) {
	for _, length := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		t.Run(length.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				states := make(map[search.State]int)
				for seed := range uint64(600) {
					share := 0.1 + 0.2*float64(seed%3)
					loss := &gilbert{random: rand.New(rand.NewPCG(seed, 7)), bad: seed%2 == 0, lot: length}
					loss.good = time.Duration(float64(length) * (1 - share) / share)
					mtu := []int{1500, 1400}[seed%2]
					cfg := netsim.Config{MTU: mtu, Delay: 20 * time.Millisecond, PTB: netsim.PTBs{Drop: true}, Bursts: loss.lost}
					r := searchOnce(t, netsim.New(cfg, seed))
					states[r.State]++
					if r.Bytes > mtu || r.State.Conclusive() && r.Bytes != mtu {
						t.Errorf("seed %d: got %s %d, want %d", seed, r.State, r.Bytes, mtu)
					}
				}
				t.Logf("%v", states)
			})
		})
	}
}
