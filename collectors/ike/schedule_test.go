package ike_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// An early request for another round is served ten seconds after the start of the last one.
func TestRoundsAreTenSecondsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		c := newCollector(t, n)
		began := time.Now()
		next := c.Tick(time.Now())
		time.Sleep(time.Until(next))
		c.Tick(time.Now()) // natt
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()

		if next = c.Tick(time.Now()); !next.Equal(began.Add(ike.MinGap)) {
			t.Fatalf("a re-check after 0.6 s is put off until %v after the last round", next.Sub(began))
		}
		time.Sleep(time.Until(next))
		c.Tick(time.Now())
		if diff := cmp.Diff([]time.Duration{0, ike.MinGap}, n.times(collectors.IKE)); diff != "" {
			t.Errorf("rounds (-want +got):\n%s", diff)
		}
	})
}

// A round that an answer ended had asked for one more call. That call does not start a round.
func TestEndedRoundRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		c := newCollector(t, n)
		for range 5 {
			round(c)
		}
		want := []time.Duration{0, interval, 2 * interval, 3 * interval, 4 * interval}
		if diff := cmp.Diff(want, n.times(collectors.IKE)); diff != "" {
			t.Errorf("rounds (-want +got):\n%s", diff)
		}
	})
}

// More calls than requested do not change the plan, and each requested time lies ahead.
func TestTickedTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		c := newCollector(t, n)
		for range 100 * 95 {
			if next := c.Tick(time.Now()); !next.IsZero() && !next.After(time.Now()) {
				t.Fatal("asks for a time that is not ahead")
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := len(n.probes(collectors.IKE, 0)); got != 10 {
			t.Errorf("%d probes by ike in one round", got)
		}
	})
}

// Waiting for the packet budget does not shorten the timeout of a reply.
func TestSendWaitsForBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(s sent, _ int) []reply {
			return []reply{{after: 900 * time.Millisecond, notify: notifyFor(s.Form)}}
		})
		n.block = 3 * time.Second
		c := newCollector(t, n)
		round(c)
		got := c.Results(time.Now())
		if got.IKE.Form != ikeprobe.V2BadKE || got.IKE.RoundTrip != 900*time.Millisecond || len(n.sent) != 2 {
			t.Errorf("%+v with %d probes", got.IKE, len(n.sent))
		}
	})
}

func TestDone(t *testing.T) {
	refuse := func(sent, int) []reply {
		return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("operation not permitted")}}}
	}
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		var reasons []string
		c := ike.New(t.Context(), n, n.keys, target(address), ike.Options{
			Interval: interval, Done: func(reason string) { reasons = append(reasons, reason) },
		})
		round(c)
		n.script = silence
		round(c)
		n.script = refuse
		round(c)
		n.route.Tunnel = "policy"
		time.Sleep(time.Minute)
		asked := len(n.sent)
		round(c)
		r := c.Results(time.Now())
		if r.IKE.State != ike.Unknown || r.NATT.Reason != "inside the tunnel: policy" || len(n.sent) != asked {
			t.Errorf("inside a tunnel: %v, %q, %d probes", r.IKE.State, r.NATT.Reason, len(n.sent)-asked)
		}
		n.route, n.err = netio.Route{}, errors.New("network is unreachable")
		time.Sleep(time.Minute)
		round(c)
		if got := c.Results(time.Now()).IKE.Reason; got != "network is unreachable" {
			t.Errorf("without a route: %q", got)
		}
		want := []string{"", "", collectors.ReasonNotSent, collectors.ReasonTunnel, collectors.ReasonRoute}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
	})
}

func TestRouteIsAskedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		c := newCollector(t, n)
		for range 6 {
			round(c)
		}
		if n.routes != 3 {
			t.Errorf("%d times in three minutes", n.routes)
		}
	})
}

func TestTargetChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2Major3))
		c := newCollector(t, n)
		round(c)
		since := time.Since(n.began)
		c.Tick(time.Now())
		c.SetTarget(target("203.0.113.11"))
		time.Sleep(interval)
		synctest.Wait()
		got := c.Results(time.Now()).IKE
		if got.State != ike.Unknown || got.Reason != "no round has ended yet" || got.RoundTrip != 0 {
			t.Errorf("a reply of the old address says something about the new one: %+v", got)
		}
		round(c)
		want := []ikeprobe.Form{ikeprobe.V2Major3, ikeprobe.V2BadKE, ikeprobe.V2BadKE, ikeprobe.V2Major3}
		if diff := cmp.Diff(want, n.probes(collectors.IKE, since)); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		wantLines(t, expose(t, c), `ipsec_path_ike_requests_total{peer="hq",method="ike"} 7`, // 3 + 1 + 3
			`ipsec_path_ike_responses_total{peer="hq",method="ike"} 3`)

		dialect := c.Dialect(collectors.IKE)
		again := target("203.0.113.11")
		c.SetTarget(again)
		if got := c.Results(time.Now()).IKE.State; got != ike.Responding || c.Dialect(collectors.IKE) != dialect {
			t.Errorf("the same target again: %v", got)
		}
		again.IKE.Version = ikeprobe.V1
		c.SetTarget(again)
		if got := c.Dialect(collectors.IKE).Form(); got != ikeprobe.V1Main {
			t.Errorf("spoken to in version 1: begins with %v", got)
		}
		if c.Dialect(collectors.ICMP) != nil {
			t.Error("ICMP has a dialect")
		}
	})
}

// The new address is not probed earlier than the old one would have been.
func TestTargetChangesWithinTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		c := newCollector(t, n)
		began := time.Now()
		next := c.Tick(time.Now())
		c.SetTarget(target("203.0.113.11"))
		time.Sleep(time.Until(next))
		if next = c.Tick(time.Now()); !next.Equal(began.Add(ike.MinGap)) {
			t.Errorf("asks to be called after %v", next.Sub(began))
		}
	})
}

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		c := newCollector(t, n)
		began := time.Now()
		for i, want := range []time.Duration{500*time.Millisecond + delay, ike.MinGap + 500*time.Millisecond + delay} {
			got, err := c.Measure(t.Context(), target(address))
			if err != nil || got.IKE.State != ike.Responding || got.NATT.State != ike.Responding {
				t.Errorf("measurement %d: %+v, %v", i, got, err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("measurement %d ended after %v, want %v", i, took, want)
			}
		}
		if got := len(n.probes(collectors.IKE, 0)); got != 2 {
			t.Errorf("%d probes by ike", got)
		}
	})
}

func TestMeasureSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		began := time.Now()
		got, err := newCollector(t, n).Measure(t.Context(), target(address))
		if err != nil || got.IKE.State != ike.Silent || got.NATT.State != ike.Silent {
			t.Errorf("%+v, %v", got, err)
		}
		if took := time.Since(began); took != 9500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestMeasureFails(t *testing.T) {
	broken := errors.New("operation not permitted")
	refuse := func(sent, int) []reply { return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: broken}}} }
	tests := []struct {
		name   string
		script func(s sent, n int) []reply
		tunnel string
		limit  time.Duration
		err    error
		reason string
	}{
		{name: "not sent", script: refuse, limit: time.Minute, err: broken, reason: broken.Error()},
		{name: "inside a tunnel", tunnel: "policy", limit: time.Minute, reason: "inside the tunnel: policy"},
		{name: "no time", script: silence, limit: 3 * time.Second, err: errNoTime, reason: errNoTime.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, tt.script)
				n.route.Tunnel = tt.tunnel
				ctx, cancel := contextWithLimit(t, tt.limit)
				defer cancel()
				got, err := newCollector(t, n).Measure(ctx, target(address))
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if got.IKE.State != ike.Unknown || got.NATT.State != ike.Unknown || got.IKE.Reason != tt.reason {
					t.Errorf("%+v", got)
				}
				time.Sleep(interval)
				synctest.Wait()
			})
		})
	}
}

// TestRouteLookedUpAgain: Measure and a target that changes and changes back look at the route of
// now, not at the one of a minute ago.
func TestRouteLookedUpAgain(t *testing.T) {
	for name, change := range map[string]func(c *ike.Collector){
		"measure": func(*ike.Collector) {},
		"target": func(c *ike.Collector) {
			c.SetTarget(target("203.0.113.11"))
			c.SetTarget(target(address))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, func(sent, int) []reply { return []reply{{after: delay, notify: invalidKE}} })
				c := newCollector(t, n)
				if got, err := c.Measure(t.Context(), target(address)); err != nil || got.IKE.State != ike.Responding {
					t.Fatalf("%+v, %v", got, err)
				}
				n.route.Tunnel = "policy"
				change(c)
				if got, err := c.Measure(t.Context(), target(address)); err != nil || got.IKE.Reason != "inside the tunnel: policy" {
					t.Errorf("%+v, %v", got, err)
				}
				time.Sleep(interval)
				synctest.Wait()
			})
		})
	}
}

// Results from before the end of the context are kept.
func TestMeasureHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(s sent, _ int) []reply {
			if s.Method == collectors.IKE {
				return []reply{{after: delay, notify: invalidKE}}
			}
			return nil
		})
		ctx, cancel := contextWithLimit(t, 3*time.Second)
		defer cancel()
		got, err := newCollector(t, n).Measure(ctx, target(address))
		if err != nil || got.IKE.State != ike.Responding || got.NATT.State != ike.Unknown || got.NATT.Reason != errNoTime.Error() {
			t.Errorf("%+v, %v", got, err)
		}
		time.Sleep(interval)
		synctest.Wait()
	})
}

func TestStates(t *testing.T) {
	got := []string{ike.Unknown.String(), ike.Responding.String(), ike.Silent.String(), ike.Refused.String()}
	if want := "unknown responding silent refused"; strings.Join(got, " ") != want {
		t.Errorf("states %v", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2Major3))
		c := newCollector(t, n)
		s := collectorstest.OfPeer()
		e := ike.NewExposer(s, c)
		other := target(address)
		other.IKE.Version = ikeprobe.V2
		var all sync.WaitGroup
		for _, f := range []func(i int){
			func(int) { c.Tick(time.Now()) },
			func(i int) { c.SetTarget([]collectors.Target{target(address), target("203.0.113.11"), other}[i/100%3]) },
			func(int) { c.Results(time.Now()) },
			func(int) { c.Dialect(collectors.IKE).Form() },
			func(int) { s.Expose(e, time.Now()) },
		} {
			all.Go(func() {
				for i := range 1000 {
					f(i)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		c.SetTarget(target(address))
		time.Sleep(ike.MinGap)
		round(c)
		if got := c.Results(time.Now()); got.IKE.State != ike.Responding || got.NATT.State != ike.Responding {
			t.Errorf("ike %v, natt %v", got.IKE.State, got.NATT.State)
		}
	})
}

// A peer that has answered v2-badke and then answers only stateless requests may have locked out
// this address. Every round tries both forms, so that the end of the lockout is seen.
func TestLockoutIsSeenToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locked := false
		var mu sync.Mutex
		set := func(v bool) { mu.Lock(); locked = v; mu.Unlock() }
		n := newNetwork(t, func(s sent, _ int) []reply {
			mu.Lock()
			defer mu.Unlock()
			if locked && s.Form != ikeprobe.V2Major3 {
				return nil
			}
			return []reply{{after: time.Millisecond, notify: notifyFor(s.Form)}}
		})
		c := newCollector(t, n)
		check := func(when string, form ikeprobe.Form, badKESilent bool, badKESent int) {
			t.Helper()
			round(c)
			r := c.Results(time.Now()).IKE
			if r.State != ike.Responding || r.Form != form || r.BadKESilent != badKESilent || r.BadKESent != badKESent {
				t.Errorf("%s: %v to %v, v2-badke silent: %t of %d", when, r.State, r.Form, r.BadKESilent, r.BadKESent)
			}
		}
		check("at first", ikeprobe.V2BadKE, false, 0)
		set(true)
		for range 10 {
			check("locked out", ikeprobe.V2Major3, true, 3)
		}
		set(false)
		check("let in again", ikeprobe.V2BadKE, false, 0)
	})
}
