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

// TestOnceOutcome: who waits for what became of the echo requests is told of late answers.
func TestOnceOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnce()
		for _, answered := range []bool{true, false} {
			o.Echoing()
			o.Echoed(5) // no more are sent, and none was answered yet
			began, want := time.Now(), 5
			if answered {
				want = 0
			}
			time.AfterFunc(2*time.Second, func() {
				o.Echoed(want)
				o.Decided()
				o.Decided() // by a measurement that ends twice
			})
			if n, err := o.Quiet(t.Context()); n != 5 || err != nil || time.Since(began) > 0 {
				t.Errorf("at once: %d unanswered, %v, after %v", n, err, time.Since(began))
			}
			if n, err := o.Outcome(t.Context()); n != want || err != nil || time.Since(began) != 2*time.Second {
				t.Errorf("answered %t: %d unanswered, %v, after %v", answered, n, err, time.Since(began))
			}
			if n, err := o.Outcome(t.Context()); n != want || err != nil {
				t.Errorf("afterwards: %d unanswered, %v", n, err)
			}
		}
		o.Echoing()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := o.Outcome(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while answers are awaited: %v", err)
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
	o.Decided()
	if n, err := o.Outcome(t.Context()); n != 0 || err != nil {
		t.Errorf("outcome %d, %v", n, err)
	}
}
