package pmtu

import (
	"fmt"
	"slices"
	"time"
)

// maxResumes bounds how often a search that ran out of time is resumed.
const maxResumes = 3

// slowMode is the state of a search that sends one probe per politePause, because faster ones were not answered.
type slowMode struct {
	on bool
	// began is when it was entered or resumed.
	began time.Duration
	// doubt is the size of the last probe, if it was silent and no control has shown yet that this means something.
	doubt int
	// sent and lost count controls.
	sent, lost int
	// tried are hints that were tried in this mode.
	tried []int
}

// enterSlow goes on one probe at a time. Acks stay proof, silences are forgotten.
func (s *Search) enterSlow() {
	s.slow = slowMode{on: true, began: s.now}
	s.run = s.run.moved(0)
	proven := s.ev.proven
	refused := slices.DeleteFunc(slices.Clone(s.ev.tallies), func(t tally) bool { return t.size <= proven || t.refused == 0 })
	s.ev.restart(proven)
	for _, t := range refused {
		s.ev.tallies = append(s.ev.tallies, tally{size: t.size, sent: t.refused, refused: t.refused})
	}
}

// planSlow chooses the next single probe.
func (s *Search) planSlow() Round {
	s.kind = slowly
	return Round{Sizes: []int{s.slowSize()}, Delay: politePause, Timeout: Patience(s.ev.maxRTT)}
}

// slowSize is a control after a silence, else a hint, else the link's MTU, else the middle of the bracket.
func (s *Search) slowSize() int {
	e := &s.ev
	ceiling := e.ceiling()
	if s.slow.doubt != 0 {
		return max(e.proven, s.cfg.Control)
	}
	if ceiling == e.proven+1 {
		if s.run.lower != e.proven {
			s.run = s.run.moved(e.proven)
		}
		return s.run.half()
	}
	if slices.Contains(s.slow.tried, e.proven) && !e.tried(e.proven+1) {
		return e.proven + 1
	}
	for _, h := range append(s.expected(), e.link) {
		if h > e.proven && h < ceiling && !slices.Contains(s.slow.tried, h) {
			s.slow.tried = append(s.slow.tried, h)
			return h
		}
	}
	if near := between(e.proven, ceiling); len(near) > 0 {
		return near[len(near)/2]
	}
	return (e.proven + ceiling) / 2
}

// note says what a lone probe means: a silence counts once a control right after it was answered.
func (m *slowMode) note(s *Search, seen []Observation) {
	boundary := s.run.lower > 0 && s.run.lower == s.ev.proven
	for _, o := range seen {
		switch {
		case o.Late:
		case m.doubt != 0:
			m.sent++
			if o.Outcome == Silent {
				// The control is silent as well: neither says anything.
				m.lost++
				s.ev.at(m.doubt).missed = 0
			}
			m.doubt = 0
		case o.Outcome == Silent && o.Size > s.ev.proven && !boundary:
			m.doubt = o.Size
		}
	}
	if boundary {
		s.run.add(seen)
	}
}

// judgeSlow ends a slow search that gets nowhere.
func (s *Search) judgeSlow() {
	m := &s.slow
	switch {
	case m.sent >= 10 && m.lost*10 > m.sent*7:
		s.finish(Inconclusive, "most probes are lost, also one at a time")
	case s.now-m.began >= s.cfg.Slow:
		s.finish(Inconclusive, fmt.Sprintf("answers are rate limited: at least %d bytes", s.ev.proven))
		s.verdict.Resumable = s.resumes < maxResumes
	}
}

// Resume goes on with a search that ran out of time in slow mode, with new budgets. Time goes on meanwhile.
func (s *Search) Resume(now time.Duration) bool {
	if !s.verdict.Resumable {
		return false
	}
	s.resumes++
	s.verdict = Verdict{}
	s.packets, s.rounds = 0, 0
	s.now = max(s.now, now)
	s.slow.began = s.now
	s.ev.received, s.ev.rejected = 0, [rejections]int{}
	return true
}
