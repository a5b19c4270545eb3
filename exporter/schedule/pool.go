package schedule

import (
	"context"
	"time"
)

// submit makes a task ready, or lets it wait for another task of its peer. It cannot be in both
// queues, nor twice in one: a task is out of the heap until it has ended.
func (s *Scheduler) submit(ctx context.Context, e *entry) {
	if e.peer.busy {
		e.peer.waiting = append(e.peer.waiting, e)
		return
	}
	e.peer.busy = true
	s.enqueue(ctx, e)
}

// enqueue gives a ready task to a new worker, or queues it for the next free one. Workers live as
// long as a task is ready, so if another one may be made, no other task is waiting.
func (s *Scheduler) enqueue(ctx context.Context, e *entry) {
	if s.workers == s.cfg.Workers {
		s.ready[e.rank] = append(s.ready[e.rank], e)
		return
	}
	s.workers++
	s.pool.Go(func() { s.work(ctx, e) })
}

// work runs a task, and then all ready ones.
func (s *Scheduler) work(ctx context.Context, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runTask(ctx, e)
	for e = s.nextReady(); e != nil; e = s.nextReady() {
		s.runTask(ctx, e)
	}
	s.workers--
}

// nextReady takes the first ready task of the first rank that has one; nil if there is none.
func (s *Scheduler) nextReady() (e *entry) {
	for rank, queue := range s.ready {
		if len(queue) > 0 {
			e, queue[0] = queue[0], nil
			s.ready[rank] = queue[1:]
			return e
		}
	}
	clear(s.ready[:])
	return nil
}

// runTask runs a task without the lock and returns it to the heap.
func (s *Scheduler) runTask(ctx context.Context, e *entry) {
	now, looked, more := s.now(), false, false
	if !e.gone && ctx.Err() == nil {
		e.began = s.at(now)
		e.late = e.began.since(e.planned)
		s.lag.note(now, e.late)
		e.active, e.peer.running = true, e.peer.running+1
		if preview := e.preview; preview != nil {
			looked = true
			if more = s.attempt(ctx, e, preview); more {
				e.rank = anotherLook
			} else {
				e.asRound()
			}
		} else if s.attempt(ctx, e, e.run) && !e.gone && ctx.Err() == nil {
			s.attempt(ctx, e, e.run)
		}
		e.active = false
		e.peer.leave()
		now = s.now()
	}
	s.release(ctx, e.peer, now)
	switch {
	case e.gone || ctx.Err() != nil:
	case e.rerun, more:
		if e.rerun {
			e.rerun = false
			e.asRound()
		}
		e.planned = s.at(now)
		s.submit(ctx, e)
	case looked:
		s.arm(e, max(e.opening, s.at(now)), inTime)
		e.expected = e.due.add(e.interval)
		s.wakeFor(e)
	default:
		s.arm(e, s.next(e, now), inTime)
		s.wakeFor(e)
	}
}

// attempt runs a task, or its preview, once, without the lock.
func (s *Scheduler) attempt(parent context.Context, e *entry, run func(ctx context.Context) bool) (again bool) {
	ctx, cancel := context.WithTimeout(parent, e.timeout)
	defer cancel()
	e.cancel = cancel
	s.mu.Unlock()
	again, panicked := s.callTask(ctx, e, run)
	s.mu.Lock()
	e.cancel = nil
	s.ended(e, panicked)
	return again
}

// release makes the next waiting task of a peer ready, behind the tasks of other peers.
func (s *Scheduler) release(ctx context.Context, p *peer, now time.Time) {
	p.busy = false
	for len(p.waiting) > 0 && !p.busy {
		e := p.waiting[0]
		p.waiting = p.waiting[1:]
		if e.gone {
			continue
		}
		p.busy = true
		e.planned = s.at(now)
		s.enqueue(ctx, e)
	}
}
