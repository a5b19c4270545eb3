package schedule

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// ErrStarted means that Run was called twice.
var ErrStarted = errors.New("the schedule is already started")

// Run runs everything that is due until ctx ends. It then cancels the running tasks and returns nil
// once they have ended. It can be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return ErrStarted
	}
	s.started = true
	s.mu.Unlock()
	defer s.pool.Wait()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.wake:
		}
		wait, events := s.step(ctx)
		if events && s.cfg.AfterEvents != nil {
			s.cfg.AfterEvents()
		}
		timer.Reset(wait)
	}
}

// idle is how long the wheel sleeps when the heap is empty. Each addition wakes it.
const idle = time.Hour

// step runs everything that is due and returns the time until the next entry, and whether an event
// has run. Tasks that end put themselves back into the heap and wake the wheel.
func (s *Scheduler) step(ctx context.Context) (wait time.Duration, events bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for e := s.due.first(); e != nil && ctx.Err() == nil; e = s.due.first() {
		if e.due.After(now) {
			now = s.now()
		}
		if e.due.After(now) {
			return max(e.due.Sub(now), s.cfg.Slack), events
		}
		s.due.pop()
		switch {
		case e.why == inTime && now.Sub(e.due) > e.grace():
			s.takeTurn(e, now)
		case e.tick != nil:
			events = true
			s.runEvent(e, now)
			now = e.ended
		default:
			s.submit(ctx, e)
		}
	}
	return idle, events
}

// runEvent runs an event, without the lock, and puts it back into the heap.
func (s *Scheduler) runEvent(e *entry, now time.Time) {
	late := now.Sub(e.planned)
	s.lag.note(now, late)
	if e.why != ownTime {
		e.began, e.late = now, late
	}
	e.active, e.peer.running = true, e.peer.running+1
	s.mu.Unlock()
	next, panicked := s.callEvent(e, now)
	s.mu.Lock()
	e.active = false
	s.ended(e, panicked)
	e.peer.leave()
	switch {
	case e.gone:
	case e.rerun:
		e.rerun = false
		s.arm(e, e.ended, asked)
	case next.After(now):
		if next.After(e.expected) {
			e.expected = next // it is not late: it asked for that time
		}
		s.arm(e, next, ownTime)
	default:
		s.arm(e, e.next(e.ended), inTime)
	}
}

// ended registers the end of a run.
func (s *Scheduler) ended(e *entry, panicked bool) {
	e.ended = s.now()
	e.expected = e.ended.Add(e.interval)
	s.stats.Runs++
	if panicked {
		s.stats.Panics++
	}
}

func (s *Scheduler) callEvent(e *entry, now time.Time) (next time.Time, panicked bool) {
	defer s.catch(e, &panicked)
	return e.tick(now), false
}

func (s *Scheduler) callTask(ctx context.Context, e *entry) (again, panicked bool) {
	defer s.catch(e, &panicked)
	return e.run(ctx), false
}

// catch ends a panic and logs it. It must be deferred itself.
func (s *Scheduler) catch(e *entry, panicked *bool) {
	if v := recover(); v != nil {
		*panicked = true
		s.cfg.Log.Error("measurement panicked", "peer", e.key.Peer, "collector", e.key.Collector,
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
}
