package icmp_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
)

const address = "203.0.113.10"

var ignoreTimes = cmp.Options{cmpopts.IgnoreFields(icmp.Result{}, "At", "Since"), cmpopts.IgnoreFields(collectors.Sample{}, "Since"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// run ticks a collector n times, one interval apart, and lets the last echo be decided.
func run(c *icmp.Collector, n int) {
	for range n {
		c.Tick(time.Now())
		time.Sleep(interval)
		synctest.Wait()
	}
}

func TestState(t *testing.T) {
	unreachable := reply{10 * time.Millisecond, netio.Answer{
		Outcome: netio.Unreachable, Type: 3, Code: 1, From: netip.MustParseAddr("198.51.100.1"),
	}}
	tests := []struct {
		name   string
		script []reply // one per echo; a zero reply is silence
		twice  bool    // every reply comes twice
		want   icmp.Result
	}{
		{
			name:   "answered",
			script: []reply{delivered(20 * time.Millisecond), delivered(40 * time.Millisecond)},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 2, Received: 2,
				Last: 40 * time.Millisecond, Min: 20 * time.Millisecond, Avg: 30 * time.Millisecond, Max: 40 * time.Millisecond,
				Jitter: 20 * time.Millisecond,
			},
		},
		{
			name:   "two of three lost",
			script: []reply{delivered(time.Millisecond), {}, {}},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 3, Received: 1, Unanswered: 2,
				Last: time.Millisecond, Min: time.Millisecond, Avg: time.Millisecond, Max: time.Millisecond,
			},
		},
		{
			name:   "three lost after an answer",
			script: []reply{delivered(time.Millisecond), {}, {}, {}},
			want: icmp.Result{
				State: icmp.Silent, Sent: 4, Received: 1, Unanswered: 3,
				Last: time.Millisecond, Min: time.Millisecond, Avg: time.Millisecond, Max: time.Millisecond,
			},
		},
		{
			name:   "answered again",
			script: []reply{{}, {}, {}, delivered(time.Millisecond)},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 4, Received: 1, Unanswered: 2,
				Last: time.Millisecond, Min: time.Millisecond, Avg: time.Millisecond, Max: time.Millisecond,
			},
		},
		{
			name:   "duplicates",
			script: []reply{delivered(time.Millisecond)},
			twice:  true,
			want: icmp.Result{
				State: icmp.Reachable, Sent: 1, Received: 1, Duplicates: 1,
				Last: time.Millisecond, Min: time.Millisecond, Avg: time.Millisecond, Max: time.Millisecond,
			},
		},
		{
			name:   "slow is not lost",
			script: []reply{{}, {}, delivered(3 * time.Second)},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 3, Received: 1, Unanswered: 2,
				Last: 3 * time.Second, Min: 3 * time.Second, Avg: 3 * time.Second, Max: 3 * time.Second,
			},
		},
		{
			name:   "slower than the interval",
			script: []reply{{}, delivered(6 * time.Second), {}},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 3, Received: 1, Unanswered: 2,
				Last: 6 * time.Second, Min: 6 * time.Second, Avg: 6 * time.Second, Max: 6 * time.Second,
			},
		},
		{
			name:   "an ICMP error is no answer",
			script: []reply{unreachable},
			want: icmp.Result{
				State: icmp.Silent, Sent: 1, Unanswered: 1,
				Error: collectors.PathError{Outcome: netio.Unreachable, Type: 3, Code: 1, From: netip.MustParseAddr("198.51.100.1"), Count: 1},
			},
		},
		{
			name:   "not sent is no loss",
			script: []reply{delivered(time.Millisecond), {answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("no buffers")}}},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 1, Received: 1, Reason: "no buffers",
				Last: time.Millisecond, Min: time.Millisecond, Avg: time.Millisecond, Max: time.Millisecond,
			},
		},
		{
			name:   "nothing sent",
			script: []reply{{answer: netio.Answer{Outcome: netio.TooBigLocally, Err: errors.New("message too long")}}},
			want:   icmp.Result{Reason: "message too long"},
		},
		{name: "nothing done", want: icmp.Result{Reason: "no echo has been decided yet"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, func(n int) []reply {
					r := tt.script[n]
					switch {
					case r.answer.Outcome == 0:
						return nil
					case tt.twice:
						return []reply{r, r}
					}
					return []reply{r}
				})
				c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Router: n})
				run(c, len(tt.script))
				if diff := cmp.Diff(tt.want, c.Result(time.Now()), ignoreTimes); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestEchoOnTheWire(t *testing.T) {
	for address, size := range map[string]int{"203.0.113.10": 84, "2001:db8::10": 104} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, func(int) []reply { return nil })
			account := &netio.Account{}
			c := icmp.New(t.Context(), icmp.NewShared(n, account), target(address), icmp.Options{})
			if next := c.Tick(time.Now()); !next.IsZero() {
				t.Errorf("Tick wants to be called at %v, not at the next phase", next)
			}
			time.Sleep(interval)
			want := []netio.Packet{{Path: target(address).Path, Protocol: netio.Echo, Size: size, Account: account, Purpose: "echo: does the peer answer?"}}
			same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b *netio.Account) bool { return a == b }), cmpopts.IgnoreFields(netio.Packet{}, "Memory")}
			if diff := cmp.Diff(want, n.sent, same); diff != "" {
				t.Errorf("packets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(int) []reply { return []reply{delivered(time.Millisecond)} })
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval})
		c.Tick(time.Now())
		time.Sleep(3 * interval)
		if got := c.Result(time.Now()).State; got != icmp.Reachable {
			t.Errorf("after three intervals: %v", got)
		}
		time.Sleep(time.Millisecond)
		got := c.Result(time.Now())
		if got.State != icmp.Unknown || got.Reason != "no echo has been decided for three intervals" {
			t.Errorf("after more than three intervals: %v %q", got.State, got.Reason)
		}
	})
}

func TestTargetChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := 20 * time.Millisecond
		n := newNetwork(t, func(int) []reply { return []reply{delivered(slow)} })
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval})
		c.Tick(time.Now())
		c.SetTarget(target("203.0.113.11"))
		time.Sleep(interval)
		got := c.Result(time.Now())
		if got.State != icmp.Unknown || got.Sent != 0 || got.Last != 0 {
			t.Errorf("a reply of the old address says something about the new one: %+v", got)
		}
		c.SetTarget(target("203.0.113.11"))
		run(c, 1)
		c.SetTarget(target("203.0.113.11"))
		if got := c.Result(time.Now()); got.State != icmp.Reachable || got.Sent != 1 {
			t.Errorf("the same address again forgot what was known: %+v", got)
		}
		text := expose(t, c, time.Now)
		wantLines(t, text, `ipsec_path_icmp_requests_total{peer="hq"} 2`, `ipsec_path_icmp_replies_total{peer="hq"} 2`)
	})
}

func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(int) []reply { return []reply{delivered(time.Millisecond)} })
		var reasons []string
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{
			Interval: interval, Router: n, Done: func(reason string) { reasons = append(reasons, reason) },
		})
		run(c, 2)
		if n.routes != 1 {
			t.Errorf("asked for the route %d times in 10 s", n.routes)
		}
		n.route.Tunnel = "device wg0 (wireguard)"
		time.Sleep(time.Minute)
		run(c, 2)
		got := c.Result(time.Now())
		if got.State != icmp.Unknown || got.Reason != "inside the tunnel: device wg0 (wireguard)" {
			t.Errorf("inside a tunnel: %v %q", got.State, got.Reason)
		}
		if len(n.sent) != 2 {
			t.Errorf("%d echoes sent, 2 of them outside the tunnel", len(n.sent))
		}
		n.route, n.err = netio.Route{}, errors.New("network is unreachable")
		time.Sleep(time.Minute)
		run(c, 1)
		if got := c.Result(time.Now()).Reason; got != "network is unreachable" {
			t.Errorf("without a route: %q", got)
		}
		n.err = nil
		run(c, 1)
		if got := c.Result(time.Now()); got.State != icmp.Reachable || got.Reason != "" {
			t.Errorf("with a route again: %v %q", got.State, got.Reason)
		}
		want := []string{"", "", collectors.ReasonTunnel, collectors.ReasonTunnel, collectors.ReasonRoute, ""}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
	})
}

// undecided is an Engine that breaks its promise.
type undecided struct{ echoes int }

func (u *undecided) Echo(context.Context, netio.Path, time.Duration, func(netio.Answer)) { u.echoes++ }

func TestEchoesUnderWayAreBounded(t *testing.T) {
	engine := &undecided{}
	busy := 0
	c := icmp.New(t.Context(), engine, target(address), icmp.Options{Done: func(reason string) {
		if reason == icmp.ReasonBusy {
			busy++
		}
	}})
	for range 20 {
		c.Tick(time.Now())
	}
	if engine.echoes != 16 || busy != 4 {
		t.Errorf("%d echoes sent and %d refused, want 16 and 4", engine.echoes, busy)
	}
}

func TestTimeoutIsCutToTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(int) []reply { return nil })
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: time.Second})
		c.Tick(time.Now())
		time.Sleep(time.Second)
		synctest.Wait()
		if got := c.Result(time.Now()).State; got != icmp.Silent {
			t.Errorf("one interval of silence: %v", got)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(int) []reply { return []reply{delivered(5 * time.Millisecond), delivered(6 * time.Millisecond)} })
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval, Router: n})
		s := collectorstest.OfPeer()
		e := icmp.NewExposer(s, c)
		var all sync.WaitGroup
		for _, f := range []func(i int){
			func(int) { c.Tick(time.Now()) },
			func(i int) { c.SetTarget(target([]string{address, "203.0.113.11"}[i/10%2])) },
			func(int) { c.Result(time.Now()) },
			func(int) { s.Expose(e, time.Now()) },
		} {
			all.Go(func() {
				for i := range 100 {
					f(i)
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Wait()
		time.Sleep(interval)
		synctest.Wait()
		s.Expose(e, time.Now())
		wantLines(t, text(t, s), `ipsec_path_icmp_requests_total{peer="hq"} 100`,
			`ipsec_path_icmp_replies_total{peer="hq"} 100`, `ipsec_path_icmp_duplicates_total{peer="hq"} 100`)
	})
}

// TestLocalDropsAreNotLoss: if this host dropped replies, an unanswered echo measured nothing.
func TestLocalDropsAreNotLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := reply{timeout - time.Nanosecond, netio.Answer{Outcome: netio.Silent, LocalDrops: true}}
		n := newNetwork(t, func(n int) []reply {
			switch n {
			case 0:
				return []reply{delivered(time.Millisecond)}
			case 1:
				return []reply{dropped, delivered(timeout + time.Second)}
			}
			return []reply{dropped}
		})
		reasons := map[string]int{}
		var mu sync.Mutex
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target("192.0.2.1"), icmp.Options{Interval: interval, Done: func(reason string) {
			mu.Lock()
			defer mu.Unlock()
			reasons[reason]++
		}})
		for range 3 {
			c.Tick(time.Now())
			time.Sleep(interval)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(map[string]int{"": 1, collectors.ReasonLocalDrops: 2}, reasons); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
		r := c.Result(time.Now())
		if r.State != icmp.Reachable || r.Sent != 1 || r.Reason != collectors.ErrLocalDrops.Error() {
			t.Errorf("result %+v", r)
		}
		s := collectorstest.OfPeer()
		s.Expose(icmp.NewExposer(s, c), time.Now())
		for _, f := range s.Gather() {
			if v := f.Metric[0].Counter.GetValue(); f.GetName() == "ipsec_path_icmp_requests_total" && v != 2 || f.GetName() == "ipsec_path_icmp_replies_total" && v != 2 {
				t.Errorf("%s is %v, want 2: the late reply shows that its echo arrived", f.GetName(), v)
			}
		}
	})
}
