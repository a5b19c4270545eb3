package pmtu

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/volley"
)

// A search does not ask a peer that others find silent: its packets would show the same, and too
// many of them keep a ban alive (package silence).
//
//	IKE was never answered, another collector asks     unreachable, nothing is sent
//	the last packets of the kind were not answered     likewise
//	the same, and no other collector asks              a search with one control
//	echo was never answered yet                        likewise
//	some were not answered                             a search with few controls

// askAgain is how long no packet of the kind was sent until a search of a silent peer asks itself.
const askAgain = 2 * time.Minute

// turn is how long a round waits after a search without any answer: what was sent then counts as not
// answered.
const turn = 4 * time.Second

// postponed returns the earlier result of a method while the peer may just have gone silent: the packets
// of a search would be missed where the silence has to be shown. before has the results of the round. By
// the next round that silence is known, or it was none: a peer that drops echo requests is asked by them
// again and again between the messages of IKE that it answers.
func (c *Collector) postponed(ctx context.Context, m collectors.Method, st *methodState, before []Result) (r Result, ok bool) {
	last := st.postponed
	st.postponed = false
	earlier := c.known.of(m)
	if earlier == nil || c.opts.Silence == nil || last {
		return Result{}, false
	}
	if r = earlier.result(); r.Unasked {
		return Result{}, false
	}
	if n := len(before); n > 0 && before[n-1].State == search.Unreachable && volley.Pause(ctx, turn) != nil {
		return Result{}, false
	}
	now := time.Now()
	if c.opts.Silence.Spoke(c.lane(m), now) || c.opts.Silence.Standing(c.lane(m), now).Mute {
		return Result{}, false
	}
	st.postponed = true
	return r, true
}

// lane is how the silence of packets by a method is counted.
func (c *Collector) lane(m collectors.Method) silence.Lane {
	if m == collectors.ICMP {
		return netio.Lane(c.target.Get().Path, netio.Echo, 0)
	}
	return netio.Lane(c.target.Get().Path, netio.UDP, c.target.Get().IKE.UDPPort(m))
}

// answersNothing returns a result without a search where the peer is known not to answer.
func (c *Collector) answersNothing(m collectors.Method, now time.Time) (r Result, ok bool) {
	st := c.opts.Silence.Standing(c.lane(m), now)
	if m != collectors.ICMP { // the ports are asked alternately
		for _, other := range collectors.IKEMethods() {
			if at := c.opts.Silence.Standing(c.lane(other), now).Asked; at.After(st.Asked) {
				st.Asked = at
			}
		}
	}
	r = Result{Method: m, State: search.Unreachable, At: now}
	switch {
	case m != collectors.ICMP && !c.opts.Walk && st.Answered.IsZero():
		r.Unasked, r.Reason = true, "not searched: no IKE message was answered yet"
	case st.Mute && now.Sub(st.Asked) < askAgain:
		r.At, r.Reason = st.Asked, "not searched: small packets are not answered"
	default:
		return Result{}, false
	}
	return r, true
}

// withheld is the result of a search that would have sent too much to a peer that does not answer.
func (c *Collector) withheld(p *prober, s *search.Search, err error, start time.Time) Result {
	r := p.result(s, time.Since(start))
	r.State, r.Reason = search.Inconclusive, err.Error()
	return r
}

// controls returns how many control rounds a search may send before the path is unreachable, 0 for
// the usual number.
func (c *Collector) controls(m collectors.Method, st *methodState, now time.Time) int {
	switch standing := c.opts.Silence.Standing(c.lane(m), now); {
	case standing.Mute, standing.Answered.IsZero():
		return 1
	case st.unreachable, standing.Unanswered > 0:
		return unreachableControls
	}
	return 0
}
