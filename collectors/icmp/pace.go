package icmp

import (
	"time"

	"ipsec_path_exporter/internal/netio"
)

// A peer that stays silent is asked less often: the first fullPace echoes without an answer keep
// the interval, further ones wait for their turn, which all peers of the address share. The first
// answer ends that.

// fullPace is the number of unanswered echoes in a row that keep the interval: two verdicts need
// three each, and fresh flows and a round of IKE come between them.
const fullPace = 12

// rests returns when the next echo may be sent to a silent peer, the zero time if now. slow means
// that the echo waited for its turn.
func (c *Collector) rests(now time.Time) (until time.Time, slow bool) {
	c.mu.Lock()
	path, answered := c.target.Get().Path, c.answered
	c.mu.Unlock()
	if now.Sub(answered) < DefaultTimeout {
		return time.Time{}, false // the usual case, without a look at what others know
	}
	lane := netio.Lane(path, netio.Echo, 0)
	st := c.opts.Silence.Standing(lane, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	// Others are answered by the same way, or the address answers again by any.
	others := now.Sub(st.Answered) < DefaultTimeout || now.Sub(st.Woke) < DefaultTimeout
	if st.Left > 0 && (max(c.misses, st.Unanswered) < fullPace || others) {
		c.turn = time.Time{}
		// Peers of one address share the pace once it has gone silent.
		if at := st.Asked.Add(c.opts.Interval * 9 / 10); st.Unanswered >= remembered && at.After(now) && !others {
			return at, false
		}
		return time.Time{}, false
	}
	for {
		if c.turn.IsZero() {
			c.turn = c.opts.Silence.Turn(path.Dst, now, now)
			c.gap = max(c.gap, c.turn.Sub(c.at))
		}
		if c.turn.After(now) {
			return c.turn, true
		}
		c.turn = time.Time{}
		if c.opts.Silence.Take(lane, now) {
			return time.Time{}, true
		}
	}
}

// nextTurn reserves the turn of the echo after the one that was sent now.
func (c *Collector) nextTurn(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = c.opts.Silence.Turn(c.target.Get().Path.Dst, now, now.Add(c.opts.Interval))
	c.following = c.turn.Sub(now)
	return c.turn
}

// Backoff returns the time between the last echo to a peer that stays silent and the next one, 0
// at full pace.
func (c *Collector) Backoff() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.gap, c.following)
}
