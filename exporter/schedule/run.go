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
		if e.due > s.at(now) {
			now = s.now()
		}
		late := s.at(now).since(e.due)
		if late < 0 {
			return max(-late, s.cfg.Slack), events
		}
		s.due.pop()
		switch {
		case e.why == inTime && late > e.grace():
			s.takeTurn(e, now)
		case e.tick != nil:
			events = true
			now = s.runEvent(e, now)
		default:
			s.submit(ctx, e)
		}
	}
	return idle, events
}

// runEvent runs an event, without the lock, and puts it back into the heap. It returns when the
// event has ended.
func (s *Scheduler) runEvent(e *entry, now time.Time) (ended time.Time) {
	began := s.at(now)
	late := began.since(e.planned)
	s.lag.note(now, late)
	if e.why != ownTime {
		e.began, e.late = began, late
	}
	e.active, e.peer.running = true, e.peer.running+1
	s.mu.Unlock()
	next, panicked := s.callEvent(e, now)
	s.mu.Lock()
	e.active = false
	ended = s.ended(e, panicked)
	e.peer.leave()
	switch {
	case e.gone:
	case e.rerun:
		e.rerun = false
		s.arm(e, e.ended, asked)
	case next.After(now):
		at := s.at(next)
		e.expected = max(e.expected, at) // it is not late: it asked for that time
		s.arm(e, at, ownTime)
	default:
		s.arm(e, s.next(e, ended), inTime)
	}
	return ended
}

// ended registers the end of a run, and returns when it was.
func (s *Scheduler) ended(e *entry, panicked bool) time.Time {
	now := s.now()
	e.ended, e.ran = s.at(now), true
	e.expected = e.ended.add(e.interval)
	s.stats.Runs++
	if panicked {
		s.stats.Panics++
	}
	return now
}

func (s *Scheduler) callEvent(e *entry, now time.Time) (next time.Time, panicked bool) {
	defer s.catch(e, &panicked)
	return e.tick(now), false
}

func (s *Scheduler) callTask(ctx context.Context, e *entry, run func(ctx context.Context) bool) (again, panicked bool) {
	defer s.catch(e, &panicked)
	return run(ctx), false
}

// catch ends a panic and logs it. It must be deferred itself.
func (s *Scheduler) catch(e *entry, panicked *bool) {
	if v := recover(); v != nil {
		*panicked = true
		s.cfg.Log.Error("measurement panicked", "peer", e.peer.name, "collector", e.collector,
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
}
