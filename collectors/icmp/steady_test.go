package icmp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netsim"
)

// TestSteady: echoes that are answered like those before show nothing new, until one is lost, a sample
// of loss ends, or the newest is too old.
func TestSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{}, 1)
		c := icmp.New(t.Context(), icmp.NewShared(path, nil), target("203.0.113.10"), icmp.Options{Interval: interval})
		echo := func() bool {
			c.Tick(time.Now())
			time.Sleep(interval)
			return c.Steady(time.Now())
		}
		for i, want := range []bool{false, false, false, true, true} { // three make a state
			if got := echo(); got != want {
				t.Errorf("after %d echoes: steady %v", i+1, got)
			}
		}
		unsteady := 0
		for range 60 {
			if !echo() {
				unsteady++
			}
		}
		if unsteady != 1 {
			t.Errorf("%d echoes of 60 show something new, want the one that ends a sample", unsteady)
		}
		path.Set(func(c *netsim.Config) { c.DropICMP = true })
		if echo() {
			t.Error("a lost echo shows nothing new")
		}
		path.Set(func(c *netsim.Config) { c.DropICMP = false })
		for range 4 {
			echo()
		}
		if !c.Steady(time.Now()) || c.Steady(time.Now().Add(3*interval)) {
			t.Error("not steady again, or for too long")
		}
	})
}
