package icmp

import (
	"time"

	"ipsec_path_exporter/internal/netio"
)

// onAnswer takes what became of an echo. The record may have been used again since: then only a late or duplicate
// reply can belong to its earlier echo, and it says so.
func (e *echo) onAnswer(a netio.Answer) {
	c := e.c
	c.mu.Lock()
	decided, reason := e.take(&a)
	c.mu.Unlock()
	if decided {
		select {
		case c.changed <- struct{}{}:
		default:
		}
		c.done(reason)
	}
}

// take books an answer and tells whether it ended the echo, and why the echo measured nothing if so. Under the lock.
func (e *echo) take(a *netio.Answer) (decided bool, reason string) {
	c := e.c
	current := e.generation == c.generation
	decided = e.pending && !a.Late && !a.Duplicate
	if decided {
		e.pending = false
		c.pending--
	}
	switch a.Outcome {
	case netio.NotSent, netio.TooBigLocally:
		if decided && current {
			c.fault = a.Err
		}
		if a.Outcome == netio.TooBigLocally {
			return decided, ReasonTooBig
		}
		return decided, ReasonNotSent
	case netio.Delivered:
		if a.Duplicate {
			c.duplicates++
			if current {
				c.tally.duplicates++
			}
			return false, ""
		}
		e.reply(a, decided, current)
	case netio.TooBig, netio.Refused, netio.Unreachable, netio.TimeExceeded:
		if current {
			c.pathError = PathError{Outcome: a.Outcome, Type: a.Type, Code: a.Code, From: a.From}
		}
		e.lost(decided, current)
	case netio.Silent:
		if a.LocalDrops && decided {
			e.dropped = true
			if current {
				c.fault = ErrLocalDrops
			}
			return true, ReasonLocalDrops
		}
		e.lost(decided, current)
	}
	return decided, ""
}

// reply books the first reply to an echo, in time or late.
func (e *echo) reply(a *netio.Answer, decided, current bool) {
	c := e.c
	if decided || e.dropped {
		c.requests++
	}
	e.dropped = false
	c.replies++
	c.rtt.Observe(a.RoundTrip.Seconds())
	if !current {
		return
	}
	c.tally.reply(a.RoundTrip)
	if decided {
		e.decide(true)
		return
	}
	for i := range c.history {
		if c.history[i].sequence == e.sequence {
			c.history[i].answered = true
		}
	}
}

// lost books that an echo got no answer.
func (e *echo) lost(decided, current bool) {
	if !decided {
		return
	}
	e.c.requests++
	if current {
		e.decide(false)
	}
}

// decide enters an echo in the history, in place of the one that was sent longest ago.
func (e *echo) decide(answered bool) {
	c := e.c
	c.tally.sent++
	c.fault = nil
	if e.at.After(c.at) {
		c.at = e.at
	}
	oldest := &c.history[0]
	for i := range c.history {
		if c.history[i].sequence < oldest.sequence {
			oldest = &c.history[i]
		}
	}
	if e.sequence > oldest.sequence {
		*oldest = decision{sequence: e.sequence, answered: answered, at: e.at}
	}
}

// reply books a round trip.
func (t *tally) reply(roundTrip time.Duration) {
	if t.received == 0 || roundTrip < t.min {
		t.min = roundTrip
	}
	t.received++
	t.last = roundTrip
	t.max = max(t.max, roundTrip)
	t.sum += roundTrip
}
