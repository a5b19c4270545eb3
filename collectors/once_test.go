package collectors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestOnceQuiet: who waits for the echo requests goes on when the last is sent, and learns how many
// stayed unanswered.
func TestOnceQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnce()
		if n, err := o.Quiet(t.Context()); n != 0 || err != nil {
			t.Errorf("before the first echo request: %d, %v", n, err)
		}
		o.Echoing()
		began, waited := time.Now(), make(chan time.Duration)
		go func() {
			n, err := o.Quiet(t.Context())
			if n != 5 || err != nil {
				t.Errorf("%d unanswered, %v", n, err)
			}
			waited <- time.Since(began)
		}()
		time.Sleep(time.Second)
		o.Echoed(5)
		o.Echoed(5) // by a measurement that ends twice
		if d := <-waited; d != time.Second {
			t.Errorf("waited %v", d)
		}
		o.Echoing()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := o.Quiet(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while echo requests are sent: %v", err)
		}
	})
}

// TestOnSchedule: a schedule has no Once, and waits for nothing.
func TestOnSchedule(t *testing.T) {
	var o *Once
	o.Echoing()
	o.Answered(time.Second)
	if n, err := o.Quiet(t.Context()); n != 0 || err != nil || o.RoundTrip() != 0 {
		t.Errorf("%d, %v, %v", n, err, o.RoundTrip())
	}
	o.Echoed(1)
}
