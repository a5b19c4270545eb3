package pmtu

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netsim"
)

// collector makes a Collector of these methods on a path.
func collector(t *testing.T, path collectors.Network, methods ...collectors.Method) *Collector {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return New(path, Options{Methods: methods, Keys: keys, Seed: 1})
}

// measure runs one round of a single method.
func measure(t *testing.T, c *Collector, to collectors.Target) Result {
	t.Helper()
	results, err := c.Measure(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if len(results.Results) != 1 {
		t.Fatalf("got %d results, want 1", len(results.Results))
	}
	return results.Results[0]
}

// searchOnce measures a path once by ICMP, starting from nothing.
func searchOnce(t *testing.T, path *netsim.Path) Result {
	t.Helper()
	return measure(t, collector(t, path, collectors.ICMP), collectorstest.Target(false))
}

// statistics are what many searches found and cost.
type statistics struct {
	states  map[search.State]int
	wrong   int
	packets []int
	seconds []float64
}

// repeat runs many searches of paths of one kind with different seeds. wrong reports a verdict that
// must not be.
func repeat(t *testing.T, runs int, cfg netsim.Config, wrong func(Result) bool) statistics {
	t.Helper()
	s := statistics{states: make(map[search.State]int)}
	synctest.Test(t, func(t *testing.T) {
		for seed := range runs {
			r := searchOnce(t, netsim.New(cfg, uint64(seed)))
			s.states[r.State]++
			s.packets = append(s.packets, r.Packets)
			s.seconds = append(s.seconds, r.Duration.Seconds())
			if wrong(r) {
				s.wrong++
				t.Logf("seed %d: %s %d bytes", seed, r.State, r.Bytes)
			}
		}
	})
	slices.Sort(s.packets)
	slices.Sort(s.seconds)
	t.Logf("%d runs: %v, wrong %d; packets median %d, p95 %d, max %d; seconds median %.1f, p95 %.1f, max %.1f", runs, s.states, s.wrong,
		s.packets[runs/2], s.packets[runs*95/100], s.packets[runs-1], s.seconds[runs/2], s.seconds[runs*95/100], s.seconds[runs-1])
	return s
}

// lossy is a path that loses 20 % each way.
func lossy(cfg netsim.Config) netsim.Config {
	cfg.Loss, cfg.ReverseLoss, cfg.Delay, cfg.Jitter = 0.2, 0.2, 20*time.Millisecond, 5*time.Millisecond
	return cfg
}
