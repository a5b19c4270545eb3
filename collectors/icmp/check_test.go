package icmp_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
			want:   icmp.Result{State: icmp.Reachable, Sent: 5, Received: 5, Last: 50 * ms, Min: 10 * ms, Avg: 30 * ms, Max: 50 * ms},
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
			want: icmp.Result{State: icmp.Reachable, Sent: 5, Received: 1, Unanswered: 4, Last: ms, Min: ms, Avg: ms, Max: ms},
			took: 4*200*ms + timeout,
		},
		{
			name:   "silent",
			script: func(int) []reply { return nil },
			want:   icmp.Result{State: icmp.Silent, Sent: 5, Unanswered: 5},
			took:   4*200*ms + timeout,
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
		for _, want := range []icmp.State{icmp.Reachable, icmp.Silent} {
			if got, err := c.Measure(t.Context(), target(address)); err != nil || got.State != want || got.Sent != 5 {
				t.Errorf("%+v, %v; want %v of 5", got, err, want)
			}
		}
	})
}

// The state is made by the last three echoes that were sent, in whatever order they were decided.
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
		if _, err := c.Measure(t.Context(), target(address)); err != nil {
			t.Fatal(err)
		}
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
