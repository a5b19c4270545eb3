package schedule

import "time"

// Stats counts what a Scheduler did.
type Stats struct {
	// Runs of events and tasks, Panics among them, and rounds that were so late that they had to take their turn.
	Runs, Panics, Deferred uint64
	// Keys are scheduled; of their tasks, Running run now and Waiting wait for a worker.
	Keys, Running, Waiting int
}

// Stats returns what the Scheduler did until now.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	for _, p := range s.peers {
		st.Keys += len(p.entries)
	}
	st.Running, st.Waiting = s.workers, len(s.ready)
	return st
}

// LastRun is when a key last ended a run; the zero time if it never did.
func (s *Scheduler) LastRun(key Key) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(key); e != nil {
		return e.ended
	}
	return time.Time{}
}

// overdueIntervals is how many intervals late a key must be to be overdue: by then its results are no longer shown.
const overdueIntervals = 3

// Overdue is how many keys of a peer are more than three intervals late: not started, or not ended.
func (s *Scheduler) Overdue(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		return 0
	}
	count, now := 0, s.now()
	for _, e := range p.entries {
		if now.Sub(e.expected) > overdueIntervals*e.interval {
			count++
		}
	}
	return count
}

// Lag is how late the schedule runs: the largest lateness within the last minute or two, or of what is late right now. A
// task that waits for another one of its own peer is not late.
func (s *Scheduler) Lag() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	late := s.lag.largest(now)
	if len(s.due) > 0 {
		late = max(late, now.Sub(s.due[0].planned))
	}
	if len(s.ready) > 0 {
		late = max(late, now.Sub(s.ready[0].planned))
	}
	return late
}

// lagWindow is how long a lateness is remembered, at least.
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
