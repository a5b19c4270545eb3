package icmp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
)

// TestOnceSilent: where other requests have shown a short round trip, silence needs no more than the
// timeout of the last echo. Who waits for the echoes goes on before that: none follows.
func TestOnceSilent(t *testing.T) {
	const sending = 4 * 200 * time.Millisecond
	for name, tt := range map[string]struct {
		roundTrip, quiet, took time.Duration
	}{
		"nothing else is answered": {0, sending + time.Second, 4 * time.Second},
		"a short round trip":       {time.Millisecond, sending + 200*time.Millisecond, sending + timeout},
		"a long one":               {time.Second, sending + 2*time.Second, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, func(int) []reply { return nil })
				once := collectors.NewOnce()
				once.Answered(tt.roundTrip)
				once.Echoing()
				c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Once: once})
				began, quiet := time.Now(), make(chan time.Duration, 1)
				go func() {
					if unanswered, err := once.Quiet(t.Context()); unanswered != 5 || err != nil {
						t.Errorf("%d unanswered, %v", unanswered, err)
					}
					quiet <- time.Since(began)
				}()
				got, err := c.Measure(t.Context(), target(address))
				if took := time.Since(began); err != nil || got.State != icmp.Silent || got.Sent != 5 || took != tt.took {
					t.Errorf("%v of %d, %v, after %v; want silent after %v", got.State, got.Sent, err, took, tt.took)
				}
				if at := <-quiet; at != tt.quiet {
					t.Errorf("quiet after %v, want %v", at, tt.quiet)
				}
			})
		})
	}
}

// TestOnceLossy: where some echoes are lost, more follow, and others wait for the last.
func TestOnceLossy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			if n == 1 {
				return nil
			}
			return []reply{delivered(time.Millisecond)}
		})
		once := collectors.NewOnce()
		once.Echoing()
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Once: once})
		sent := make(chan int, 1)
		go func() {
			if unanswered, err := once.Quiet(t.Context()); unanswered != 0 || err != nil {
				t.Errorf("%d unanswered, %v", unanswered, err)
			}
			sent <- c.Result(time.Now()).Sent
		}()
		if _, err := c.Measure(t.Context(), target(address)); err != nil {
			t.Error(err)
		}
		if n := <-sent; n != 30 {
			t.Errorf("quiet after %d echoes, want 30", n)
		}
	})
}
