package schedule

import (
	"time"

	"ipsec_path_exporter/collectors"
)

// Stats counts the work of a Scheduler.
type Stats struct {
	// Runs counts runs of events and tasks, Panics the runs that panicked, and Deferred the rounds
	// that were so late that they had to queue.
	Runs, Panics, Deferred uint64
	// Keys is the number of scheduled keys; Running of their tasks run, Waiting want a worker.
	Keys, Running, Waiting int
}

// Stats returns the counts.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	for _, p := range s.peers {
		st.Keys += len(p.entries)
	}
	st.Running = s.workers
	for _, queue := range s.ready {
		st.Waiting += len(queue)
	}
	return st
}

// LastRun returns when a run of a key last ended, the zero time if none has.
func (s *Scheduler) LastRun(key Key) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(key); e != nil && e.ran {
		return s.time(e.ended)
	}
	return time.Time{}
}

// Overdue returns how many keys of a peer are so late that their results are no longer shown.
func (s *Scheduler) Overdue(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		return 0
	}
	count, now := 0, s.at(s.now())
	for _, e := range p.entries {
		if now.since(e.expected) > collectors.FreshIntervals*e.interval {
			count++
		}
	}
	return count
}

// Lag returns how late the schedule runs: the largest lateness within the last minute or two, or of
// what is late now. A task that waits for another task of its own peer is not late.
func (s *Scheduler) Lag() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	late := s.lag.largest(now)
	if e := s.due.first(); e != nil {
		late = max(late, s.at(now).since(e.planned))
	}
	for _, queue := range s.ready {
		if len(queue) > 0 {
			late = max(late, s.at(now).since(queue[0].planned))
		}
	}
	return late
}

// lagWindow is the least time for which a lateness is remembered.
const lagWindow = time.Minute

// lag remembers the largest lateness of this window and of the one before it.
type lag struct {
	since             time.Time
	current, previous time.Duration
}

func (l *lag) note(now time.Time, late time.Duration) {
	l.advance(now)
	l.current = max(l.current, late)
}

func (l *lag) largest(now time.Time) time.Duration {
	l.advance(now)
	return max(l.current, l.previous)
}

func (l *lag) advance(now time.Time) {
	switch passed := now.Sub(l.since); {
	case passed < lagWindow:
	case passed < 2*lagWindow:
		l.since, l.current, l.previous = now, 0, l.current
	default:
		l.since, l.current, l.previous = now, 0, 0
	}
}
