package icmp

import (
	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// onAnswer takes the answer to an echo. If the record was reused since, only late and duplicate
// replies, which are marked so, can belong to the earlier echo.
func (e *echo) onAnswer(a netio.Answer) {
	c := e.c
	c.mu.Lock()
	decided, reason := e.take(&a)
	changed := c.changed
	c.mu.Unlock()
	if decided || a.Late {
		select {
		case changed <- struct{}{}: // not if it is nil
		default:
		}
	}
	if decided {
		c.done(reason)
	}
}

// take records an answer and reports whether it decided the echo. reason says why a decided echo
// measured nothing. The caller holds the lock.
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
		} else if d := e.decision(current); d != nil && !d.answered {
			*d = decision{} // this host reports late that it did not deliver the echo
			c.tally.sent--
			c.loss.NotSent(e.at)
			c.fault = a.Err
		}
		if a.Outcome == netio.TooBigLocally {
			return decided, ReasonTooBig
		}
		return decided, collectors.NotSent(a.Err)
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
		e.lost(decided, current)
		if d := e.decision(current); d != nil && !d.answered {
			if d.refusal == nil {
				d.refusal = &collectors.PathError{}
			}
			d.refusal.Note(a)
			if !decided {
				c.loss.NotSent(e.at) // it was refused, not lost
			}
		}
	case netio.Silent:
		if a.LocalDrops && decided {
			e.dropped = true
			if current {
				c.fault = collectors.ErrLocalDrops
			}
			return true, collectors.ReasonLocalDrops
		}
		e.lost(decided, current)
		if decided && current {
			c.loss.Add(e.at, true)
		}
	}
	return decided, ""
}

// reply records the first reply to an echo, in time or late.
func (e *echo) reply(a *netio.Answer, decided, current bool) {
	c := e.c
	if decided || e.dropped {
		c.requests++
	}
	e.dropped = false
	c.replies++
	c.opts.Once.Answered(a.RoundTrip)
	c.rtt.Observe(a.RoundTrip.Seconds())
	if !current {
		return
	}
	t := &c.tally
	if t.received == 0 || a.RoundTrip < t.min {
		t.min = a.RoundTrip
	}
	if t.received > 0 {
		t.differences += max(a.RoundTrip-t.last, t.last-a.RoundTrip)
	}
	t.received++
	t.last, t.max, t.sum = a.RoundTrip, max(t.max, a.RoundTrip), t.sum+a.RoundTrip
	if decided {
		c.loss.Add(e.at, false)
		e.decide(true)
		if c.turn.IsZero() {
			c.answered = a.Received
		}
		return
	}
	if d := e.decision(current); d != nil {
		d.answered = true
		c.misses = 0
	}
	c.loss.Answered(e.at)
}

// decision returns what was decided about the echo, nil if that is not remembered.
func (e *echo) decision(current bool) *decision {
	for i := range e.c.history {
		if d := &e.c.history[i]; current && d.sequence == e.sequence {
			return d
		}
	}
	return nil
}

func (e *echo) lost(decided, current bool) {
	if !decided {
		return
	}
	e.c.requests++
	if current {
		e.decide(false)
	}
}

// decide puts a decided echo into the history in place of the oldest echo there.
func (e *echo) decide(answered bool) {
	c := e.c
	c.tally.sent++
	c.fault = nil
	if c.misses++; answered {
		c.misses = 0
	}
	if c.gap = c.following; c.turn.IsZero() {
		c.gap, c.following = 0, 0
	}
	if e.at.After(c.at) {
		c.at = e.at
	}
	oldest := &c.history[0]
	for i := range c.history {
		if c.history[i].sequence < oldest.sequence {
			oldest = &c.history[i]
		}
	}
	recent := e.at.Sub(oldest.at) <= (remembered+1)*c.opts.Interval
	if e.sequence > oldest.sequence {
		*oldest = decision{sequence: e.sequence, answered: answered, at: e.at}
	}
	steady := recent && c.loss.Last.Since.Equal(c.sampled)
	for i := range c.history {
		steady = steady && c.history[i].answered
	}
	c.sampled = c.loss.Last.Since
	until := int64(0)
	if steady {
		until = e.at.Add(collectors.FreshIntervals * c.opts.Interval).UnixNano()
	}
	c.steady.Store(until)
}
