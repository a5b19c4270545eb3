package search

import (
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/internal/matched"
)

// maxResumes bounds how often a search that ran out of time is resumed.
const maxResumes = 3

// slowMode is the state of a search that sends one probe per PolitePause.
type slowMode struct {
	on    bool
	began time.Duration // when it was entered or resumed
	// pending is the size of the last probe if that was silent and awaits the outcome of a control.
	pending int
	// sent and lost count controls.
	sent, lost int
	// tried are the hints that were tried in this mode.
	tried []int
}

// enterSlow continues one probe at a time. Acks and refusals stay, silences are forgotten.
func (s *Search) enterSlow() {
	s.slow = slowMode{on: true, began: s.now}
	s.run = s.run.moved(0)
	e := &s.ev
	e.tallies = slices.DeleteFunc(e.tallies, func(t tally) bool { return t.size <= e.proven || t.refused == 0 })
	for i, t := range e.tallies {
		e.tallies[i] = tally{size: t.size, sent: t.refused, refused: t.refused}
	}
}

func (s *Search) planSlow() Round {
	s.kind = slowly
	return Round{Sizes: []int{s.slowSize()}, Delay: matched.PolitePause, Timeout: s.patience()}
}

// slowSize returns a control after a silence, else a hint, the link's MTU, or a middle size.
func (s *Search) slowSize() int {
	e := &s.ev
	ceiling := e.ceiling()
	if s.slow.pending != 0 {
		return max(e.proven, s.cfg.Control)
	}
	if ceiling == e.proven+1 {
		return s.pairs().half()
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

// note takes the outcome of a single probe. A silence counts once the next control was answered.
func (m *slowMode) note(s *Search, seen []Observation) {
	boundary := s.run.lower > 0 && s.run.lower == s.ev.proven
	for _, o := range seen {
		switch {
		case o.Late, o.Inexact:
		case m.pending != 0:
			m.sent++
			if o.Outcome == Silent {
				// The control is silent as well: neither shows anything.
				m.lost++
				s.ev.at(m.pending).missed = 0
			}
			m.pending = 0
		case o.Outcome == Silent && o.Size > s.ev.proven && !boundary:
			m.pending = o.Size
		}
	}
	if boundary {
		s.run.add(seen)
	}
}

func (s *Search) judgeSlow() {
	m := &s.slow
	switch {
	case tooLossy(m.lost, m.sent):
		s.finish(Inconclusive, "most probes are lost, even when sent one at a time")
	case s.now-m.began >= s.cfg.Slow:
		s.finish(Inconclusive, fmt.Sprintf("answers are rate limited: path MTU is at least %d bytes", s.ev.proven))
		s.verdict.Resumable = s.resumes < maxResumes
	}
}

// Resume continues a search that ran out of time, with new budgets, and reports whether it did.
func (s *Search) Resume(now time.Duration) bool {
	if !s.verdict.Resumable {
		return false
	}
	s.resumes++
	s.verdict = Verdict{}
	s.packets, s.rounds = 0, 0
	s.now = max(s.now, now)
	s.slow.began = s.now
	s.ev.received, s.ev.rejected, s.ev.inexact = 0, Rejected{}, nil
	return true
}
