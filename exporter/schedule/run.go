package schedule

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// ErrStarted means that Run was called twice.
var ErrStarted = errors.New("the schedule was already started")

// Run runs everything that is due until ctx ends. It then cancels the running tasks and returns nil once they have ended.
// It can be called once.
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
		timer.Reset(s.step(ctx))
	}
}

// idle is how long the wheel sleeps when nothing is in the heap. Whatever is added wakes it.
const idle = time.Hour

// step runs everything that is due, and returns how long there is nothing more to do. Tasks that end put themselves back
// into the heap and wake the wheel.
func (s *Scheduler) step(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil && len(s.due) > 0 {
		e, now := s.due[0], s.now()
		if e.due.After(now) {
			return max(e.due.Sub(now), s.cfg.Slack)
		}
		heap.Pop(&s.due)
		switch {
		case e.why == inTime && now.Sub(e.due) > e.grace():
			s.takeTurn(e, now)
		case e.tick != nil:
			s.runEvent(e, now)
		default:
			s.submit(ctx, e)
		}
	}
	return idle
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
		s.arm(e, next, ownTime)
	default:
		s.arm(e, e.next(e.ended), inTime)
	}
}

// ended notes that a run is over.
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

// catch ends a panic, and logs it. It must be deferred itself.
func (s *Scheduler) catch(e *entry, panicked *bool) {
	if v := recover(); v != nil {
		*panicked = true
		s.cfg.Log.Error("measurement panicked", "peer", e.key.Peer, "collector", e.key.Collector,
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
}
