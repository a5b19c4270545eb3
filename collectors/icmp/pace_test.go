package icmp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/silence"
)

// TestSilentPeerIsAskedLess: twelve unanswered echoes keep the interval, then there is one in each
// turn; silence stays known, and an answer brings the interval back.
func TestSilentPeerIsAskedLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := silence.New()
		path := netsim.New(netsim.Config{Silence: record, DropICMP: true}, 1)
		c := icmp.New(t.Context(), icmp.NewShared(path, nil), target("203.0.113.10"), icmp.Options{Interval: interval, Silence: record})
		echoes := func(length time.Duration) int {
			path.Forget()
			end := time.Now().Add(length)
			for time.Now().Before(end) {
				next := c.Tick(time.Now())
				if next.IsZero() {
					next = time.Now().Add(interval)
				}
				time.Sleep(time.Until(next))
				synctest.Wait()
			}
			return len(path.Sent())
		}
		if n := echoes(12 * interval); n != 12 || c.Backoff() != 0 {
			t.Errorf("%d echoes at first, a pause of %v", n, c.Backoff())
		}
		for range 20 {
			if n := echoes(time.Minute); n != 4 || c.Backoff() != silence.Pace {
				t.Fatalf("%d echoes in a minute, a pause of %v", n, c.Backoff())
			}
			if r := c.Result(time.Now()); r.State != icmp.Silent {
				t.Fatalf("%v: %s", r.State, r.Reason)
			}
		}
		path.Set(func(c *netsim.Config) { c.DropICMP = false })
		echoes(time.Minute)
		if n := echoes(time.Minute); n != 12 || c.Backoff() != 0 || c.Result(time.Now()).State != icmp.Reachable {
			t.Errorf("%d echoes a minute after the first answer, a pause of %v", n, c.Backoff())
		}
	})
}

// TestBudgetIsNoLoss: an echo that the budget refuses was not sent.
func TestBudgetIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := silence.New()
		lane := netio.Lane(target("203.0.113.10").Path, netio.UDP, 500)
		for range silence.Burst {
			_, _ = record.Admit(lane, time.Now(), silence.Probe{Packets: 1, Plain: true})
		}
		path := netsim.New(netsim.Config{Silence: record}, 1)
		c := icmp.New(t.Context(), icmp.NewShared(path, nil), target("203.0.113.10"), icmp.Options{Silence: record})
		if r, err := c.Measure(t.Context(), target("203.0.113.10")); err == nil || r.State != icmp.Unknown || r.Sent != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		c.Tick(time.Now()) // in its turn
		time.Sleep(time.Second)
		if r := c.Result(time.Now()); r.State != icmp.Reachable {
			t.Errorf("%+v", r)
		}
	})
}
