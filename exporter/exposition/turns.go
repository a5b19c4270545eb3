package exposition

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// MaxPages bounds how many pages are sent at once, because each takes some memory. Further requests
// wait for a while. Then the page that has been sent for longest is broken off for one of them, if
// its client reads slowly; otherwise the request is refused.
const MaxPages = 256

const (
	// turnTime is how long a request waits: with what it takes to send a page, less than the usual
	// timeout of a scraper. A page that has been sent for as long may be broken off.
	turnTime = 5 * time.Second
	// cutTime is how long a page that is broken off may take to end.
	cutTime = time.Second
)

// errTurns means that a request got no turn.
var errTurns = errors.New("too many pages are sent at once")

// turns bound the pages that are sent at once.
type turns struct {
	taken chan struct{} // has a value for each page

	mu      sync.Mutex
	sending []turn // the oldest first, without those that were broken off
}

// A turn is a page that is being sent.
type turn struct {
	brake *brake
	began time.Time
}

// take waits for a turn, which ends with leave. Its error is errTurns, or that of the context.
func (t *turns) take(ctx context.Context, b *brake) error {
	wait := time.NewTimer(turnTime)
	defer wait.Stop()
	for last := false; ; last = true {
		select {
		case t.taken <- struct{}{}:
			t.mu.Lock()
			t.sending = append(t.sending, turn{b, time.Now()})
			t.mu.Unlock()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-wait.C:
			if last || !t.breakOff() {
				return errTurns
			}
			wait.Reset(cutTime)
		}
	}
}

// breakOff breaks off the oldest page, and reports whether there is one that is old enough.
func (t *turns) breakOff() bool {
	t.mu.Lock()
	if len(t.sending) == 0 || time.Since(t.sending[0].began) < turnTime {
		t.mu.Unlock()
		return false
	}
	oldest := t.sending[0].brake
	t.sending = slices.Delete(t.sending, 0, 1)
	t.mu.Unlock()
	oldest.pull()
	return true
}

// leave ends a turn.
func (t *turns) leave(b *brake) {
	t.mu.Lock()
	t.sending = slices.DeleteFunc(t.sending, func(one turn) bool { return one.brake == b })
	t.mu.Unlock()
	<-t.taken
}
