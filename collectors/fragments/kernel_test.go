package fragments

import (
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// manyAtOnce is how many tests run side by side: they wait most of the time.
const manyAtOnce = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", manyAtOnce); err != nil {
		panic(err)
	}
	netlab.Main(m)
}

// rig is a provider with a gateway behind it and sockets in front of it.
type rig struct {
	*netlab.Provider
	stack *netio.Stack
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{Provider: netlab.NewProvider(t)}
	r.Server.Do(t, func() {
		if _, err := responder.Start(t.Context(), responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	r.Client.Do(t, func() {
		var err error
		if r.stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { r.stack.Close() })
	return r
}

// TestScenarios measures on real sockets through a real kernel.
func TestScenarios(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	for _, tt := range []struct {
		scenario string
		want     State
		fits     int
	}{
		{"S0", Pass, 1500},
		{"S1", Pass, 1400},
		{"S2", Pass, 1400},
		{"S2b", Pass, 1400},
		{"S2b", Pass, 0}, // nothing is known of the path MTU yet
		{"S3", Pass, 1400},
		{"S4", Dropped, 1500},
		{"S5", Dropped, 1400},
		{"S6", Pass, 1500},
		{"S6b", Pass, 1500},
		{"S13b", Pass, 1500},
	} {
		t.Run(fmt.Sprintf("%s, fits %d", tt.scenario, tt.fits), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Apply(t, tt.scenario)
			var wg sync.WaitGroup
			defer wg.Wait()
			for _, v6 := range []bool{false, true} {
				wg.Go(func() { r.verify(t, v6, tt.fits, tt.want) })
			}
		})
	}
}

func (r *rig) verify(t *testing.T, v6 bool, fits int, want State) {
	t.Helper()
	c := collector(t, r.stack)
	c.opts.Fits = func(collectors.Method) int { return fits }
	to := collectorstest.Target(v6)
	to.Path.Dst = r.ServerAddr(v6)
	got, err := c.Measure(t.Context(), to)
	if err != nil || len(got.Results) != 2 {
		t.Errorf("IPv6 %t: %d results, %v", v6, len(got.Results), err)
	}
	for _, one := range got.Results {
		if one.State != want || one.Incomplete.IsValid() {
			t.Errorf("IPv6 %t: %+v", v6, one)
		}
	}
}

// TestUnprivileged: without raw sockets nothing can be sent in fragments of a chosen size, and the
// result reports that.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	r := newRig(t)
	r.Client.Do(t, func() {
		stack, err := netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler), Unprivileged: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stack.Close() })
		r.stack = stack
	})
	to := collectorstest.Target(false)
	to.Path.Dst = r.ServerAddr(false)
	got, err := collector(t, r.stack).Measure(t.Context(), to)
	if one := got.Of(collectors.IKE); err != nil || one.State != Unknown || one.Reason != "fragments need CAP_NET_RAW" {
		t.Errorf("%+v, %v", one, err)
	}
}
