package pmtu

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/netsim"
)

// TestRoundTripOfThreeSeconds: a late answer is proof, also after rounds without any.
func TestRoundTripOfThreeSeconds(t *testing.T) {
	slow := func(cfg netsim.Config) netsim.Config {
		cfg.Delay, cfg.Jitter = 3*time.Second, 100*time.Millisecond
		return cfg
	}
	for name, tt := range map[string]struct {
		path  netsim.Config
		state search.State
		bytes int
	}{
		"clean":      {slow(netsim.Config{}), search.Clean, 1500},
		"reduced":    {slow(netsim.Config{MTU: 1400}), search.Reduced, 1400},
		"black hole": {slow(netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}}), search.BlackHole, 1400},
	} {
		for _, m := range collectors.Methods() {
			t.Run(name+", "+m.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					path := netsim.New(tt.path, 1)
					c := collector(t, path, m)
					for _, answers := range []bool{true, true, false, true} {
						path.Set(func(cfg *netsim.Config) { cfg.Block = func(*netio.Packet) bool { return !answers } })
						want := tt.state
						if !answers {
							want = search.Unreachable
						}
						if r := measure(t, c, collectorstest.Target(false)); r.State != want || answers && r.Bytes != tt.bytes {
							t.Errorf("%s %d, want %s (%s)", r.State, r.Bytes, want, r.Reason)
						}
						time.Sleep(time.Minute)
					}
				})
			})
		}
	}
}

// TestRoundTripOfThreeSecondsInTheLab measures a gateway that takes 3 s to answer.
func TestRoundTripOfThreeSecondsInTheLab(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	b.gateway.Set(responder.Behaviour{Delay: 3 * time.Second})
	c := New(b.stack, Options{Keys: b.keys, Methods: []collectors.Method{collectors.IKE, collectors.NATT}})
	for _, r := range measureOnce(t, c, b.target(true)).Results {
		if r.State != search.Clean || r.Bytes != 1500 {
			t.Errorf("%s: %s %d (%s)", r.Method, r.State, r.Bytes, r.Reason)
		}
	}
}
