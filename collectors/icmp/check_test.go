package icmp_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
)

func TestMeasure(t *testing.T) {
	broken := errors.New("operation not permitted")
	ms := time.Millisecond
	tests := []struct {
		name   string
		script func(n int) []reply
		tunnel string
		limit  time.Duration
		want   icmp.Result
		err    error
		took   time.Duration
	}{
		{
			name:   "reachable",
			script: func(n int) []reply { return []reply{delivered(time.Duration(10*(n+1)) * ms)} },
			want:   icmp.Result{State: icmp.Reachable, Sent: 5, Received: 5, Last: 50 * ms, Min: 10 * ms, Avg: 30 * ms, Max: 50 * ms, Jitter: 10 * ms, Loss: collectors.Sample{Sent: 5}},
			took:   4*200*ms + 50*ms,
		},
		{
			name: "only the first is answered",
			script: func(n int) []reply {
				if n == 0 {
					return []reply{delivered(ms)}
				}
				return nil
			},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 30, Received: 1, Unanswered: 29, Last: ms, Min: ms, Avg: ms, Max: ms,
				Loss: collectors.Sample{Sent: 30, Lost: 29},
			},
			took: 4*200*ms + timeout + 24*200*ms + timeout,
		},
		{
			name: "the fifth is lost",
			script: func(n int) []reply {
				if n == 4 {
					return nil
				}
				return []reply{delivered(time.Duration(10+n%2) * ms)}
			},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 30, Received: 29, Unanswered: 1, Last: 11 * ms, Min: 10 * ms, Avg: 10517241, Max: 11 * ms,
				Jitter: 27 * ms / 28, Loss: collectors.Sample{Sent: 30, Lost: 1},
			},
			took: 4*200*ms + timeout + 24*200*ms + 11*ms,
		},
		{
			name: "refused is not lost",
			script: func(n int) []reply {
				if n > 0 {
					return []reply{{ms, netio.Answer{Outcome: netio.Unreachable}}}
				}
				return []reply{delivered(ms)}
			},
			want: icmp.Result{
				State: icmp.Reachable, Sent: 5, Received: 1, Unanswered: 4, Last: ms, Min: ms, Avg: ms, Max: ms, Loss: collectors.Sample{Sent: 1},
			},
			took: 4*200*ms + ms,
		},
		{
			name:   "silent",
			script: func(int) []reply { return nil },
			want:   icmp.Result{State: icmp.Silent, Sent: 5, Unanswered: 5, Loss: collectors.Sample{Sent: 5, Lost: 5}},
			took:   4000 * ms,
		},
		{
			name: "round trip of 3 s",
			script: func(int) []reply {
				return []reply{{timeout, netio.Answer{Outcome: netio.Silent}}, delivered(3000 * ms)}
			},
			want: icmp.Result{State: icmp.Reachable, Sent: 5, Received: 5, Last: 3000 * ms, Min: 3000 * ms, Avg: 3000 * ms, Max: 3000 * ms, Loss: collectors.Sample{Sent: 5}},
			took: 4*200*ms + 3000*ms,
		},
		{
			name:   "could not measure",
			script: func(int) []reply { return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: broken}}} },
			want:   icmp.Result{Reason: broken.Error()},
			err:    broken,
			took:   4 * 200 * ms,
		},
		{
			name:   "inside a tunnel",
			tunnel: "policy",
			want:   icmp.Result{Reason: "inside the tunnel: policy"},
			took:   4 * 200 * ms,
		},
		{
			name:   "no time",
			script: func(int) []reply { return nil },
			limit:  100 * ms,
			want:   icmp.Result{Reason: context.DeadlineExceeded.Error()},
			err:    context.DeadlineExceeded,
			took:   100 * ms,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, tt.script)
				n.route.Tunnel = tt.tunnel
				ctx := t.Context()
				if tt.limit > 0 {
					limited, cancel := context.WithTimeout(ctx, tt.limit)
					defer cancel()
					ctx = limited
				}
				c := icmp.New(ctx, icmp.NewShared(n, nil), target(address), icmp.Options{Router: n})
				began := time.Now()
				got, err := c.Measure(ctx, target(address))
				if diff := cmp.Diff(tt.want, got, ignoreTimes); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestMeasureAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			if n < 5 {
				return []reply{delivered(time.Millisecond)}
			}
			return nil
		})
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{})
		for _, want := range []icmp.State{icmp.Reachable, icmp.Silent, icmp.Silent} {
			if got, err := c.Measure(t.Context(), target(address)); err != nil || got.State != want || got.Sent != 5 {
				t.Errorf("%+v, %v; want %v of 5", got, err, want)
			}
		}
	})
}

// TestMeasureHeavyLoss: after heavy loss, a second Measure tries slowly whether a rate limit was the
// cause.
func TestMeasureHeavyLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			if n < 30 && n%3 > 0 {
				return nil
			}
			return []reply{delivered(time.Millisecond)}
		})
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{})
		for _, want := range []struct {
			lost int
			took time.Duration
		}{{20, 4*200*time.Millisecond + 24*200*time.Millisecond + 2*timeout}, {0, 19*1100*time.Millisecond + time.Millisecond}, {0, 801 * time.Millisecond}} {
			began := time.Now()
			got, err := c.Measure(t.Context(), target(address))
			if took := time.Since(began); err != nil || got.Loss.Lost != want.lost || took != want.took {
				t.Errorf("%+v, %v, took %v; want %d lost, %v", got.Loss, err, took, want.lost, want.took)
			}
			if !got.Loss.Since.Equal(began) {
				t.Errorf("sample since %v, want %v", got.Loss.Since, began)
			}
		}
	})
}

// TestLossOfASchedule: the loss of 60 echoes is known once they are decided, and late answers
// correct it.
func TestLossOfASchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			switch {
			case n%4 == 0:
				return nil
			case n == 61:
				return []reply{{timeout, netio.Answer{Outcome: netio.Silent}}, delivered(timeout + time.Second)}
			}
			return []reply{delivered(time.Millisecond)}
		})
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval})
		began := time.Now()
		run(c, 59)
		if got := c.Result(time.Now()).Loss; got.Sent != 0 {
			t.Errorf("after 59 echoes: %+v", got)
		}
		run(c, 60)
		if got, want := c.Result(time.Now()).Loss, (collectors.Sample{Sent: 60, Lost: 15, Since: began}); got != want || !got.Heavy() {
			t.Errorf("after 119 echoes: %+v, want %+v", got, want)
		}
		run(c, 1)
		if got, want := c.Result(time.Now()).Loss, (collectors.Sample{Sent: 60, Lost: 15, Since: began.Add(60 * interval)}); got != want {
			t.Errorf("after 120 echoes: %+v, want %+v", got, want)
		}
		c.SetTarget(target("203.0.113.11"))
		if got := c.Result(time.Now()).Loss; got.Sent != 0 {
			t.Errorf("of another address: %+v", got)
		}
	})
}

// TestRouteLookedUpAgain: Measure and a target that changes and changes back look at the route of
// now, not at the one of a minute ago.
func TestRouteLookedUpAgain(t *testing.T) {
	other := target("203.0.113.11")
	for name, again := range map[string]func(t *testing.T, c *icmp.Collector){
		"measure": func(t *testing.T, c *icmp.Collector) {
			t.Helper()
			if _, err := c.Measure(t.Context(), target(address)); err != nil {
				t.Error(err)
			}
		},
		"target": func(_ *testing.T, c *icmp.Collector) {
			c.SetTarget(other)
			c.SetTarget(target(address))
			c.Tick(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, func(int) []reply { return []reply{delivered(time.Millisecond)} })
				c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Router: n})
				c.Tick(time.Now())
				n.route.Tunnel = "policy"
				again(t, c)
				synctest.Wait()
				if got := c.Result(time.Now()); got.State != icmp.Unknown || got.Reason != "inside the tunnel: policy" {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// The last three echoes sent determine the state, in any order of decision.
func TestDecidedOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			switch n {
			case 2:
				return []reply{delivered(time.Millisecond)}
			case 3, 4:
				return []reply{{time.Millisecond, netio.Answer{Outcome: netio.Unreachable}}}
			}
			return nil // decided last
		})
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{})
		for range 5 {
			c.Tick(time.Now())
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(timeout)
		synctest.Wait()
		if got := c.Result(time.Now()); got.State != icmp.Reachable || got.Sent != 5 {
			t.Errorf("%+v", got)
		}
	})
}

func TestStates(t *testing.T) {
	got := []string{icmp.Unknown.String(), icmp.Reachable.String(), icmp.Silent.String()}
	if diff := cmp.Diff([]string{"unknown", "reachable", "silent"}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}
