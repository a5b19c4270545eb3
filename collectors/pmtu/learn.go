package pmtu

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// learn keeps what a result shows for the next rounds.
//
// A black hole is held until the same method disproves it, by a larger size that passes or by a
// usable PTB (Reduced). A result that is not conclusive changes nothing.
func (c *Collector) learn(st *methodState, r *Result) {
	st.unreachable = r.State == search.Unreachable
	if d := c.opts.Dialects[r.Method]; c.opts.Walk && d != nil && st.unreachable && !d.Answered() {
		d.Advance()
	}
	c.mu.Lock()
	c.known.ptbs += uint64(r.PTBReceived)
	changed := r.State.Conclusive() && st.known != search.Unknown && (st.known != r.State || st.bytes != r.Bytes)
	if changed {
		c.known.changes++
	}
	c.mu.Unlock()
	st.remember(r)
	switch {
	case r.State == search.BlackHole:
		st.hole = r.Bytes
	case r.State == search.Reduced, r.State == search.Clean, r.State != search.Unreachable && r.Bytes > st.hole:
		st.hole = 0
	}
	if !r.State.Conclusive() {
		return
	}
	if changed || st.known == search.Unknown {
		st.raised = r.At
	}
	if r.State == search.Reduced {
		st.sendsPTBs, st.reported = true, c.rounds
	}
	st.known, st.bytes, st.roundTrip = r.State, r.Bytes, r.RoundTrip
}

// remember keeps which router reported the limit last, and adds to a black hole what found it and
// which router reported the limit before. Call it before the hole is kept.
func (st *methodState) remember(r *Result) {
	switch {
	case r.State == search.Clean:
		st.spoke = nil // there was nothing to report
	case r.State == search.Reduced && r.PTBFrom.IsValid():
		st.spoke = &spoken{r.PTBFrom, r.PTBMTU, r.At}
	case r.State == search.BlackHole:
		if st.proof == nil || st.hole != r.Bytes {
			st.proof = &proof{r.Packets, r.At}
		}
		r.ProvedPackets, r.ProvedAt = st.proof.packets, st.proof.at
		if st.spoke != nil && r.PTBReceived == 0 {
			r.SpokeFrom, r.SpokeMTU, r.SpokeUntil = st.spoke.from, st.spoke.mtu, st.spoke.until
		}
	}
}

// holds reports whether any method holds a black hole, and whether any method has a verdict.
func (c *Collector) holds() (blackHole, known bool) {
	for _, st := range c.states {
		if st != nil {
			blackHole = blackHole || st.hole > 0
			known = known || st.known != search.Unknown
		}
	}
	return blackHole, known
}

// publish makes the results of a round the newest ones.
func (c *Collector) publish(out *Results) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.known
	results := make([]kept, 0, len(c.opts.Methods))
	for _, m := range collectors.Methods() {
		var r Result
		if i := slices.IndexFunc(out.Results, func(r Result) bool { return r.Method == m }); i >= 0 {
			r = out.Results[i]
		} else if earlier := k.of(m); earlier != nil {
			r = earlier.result()
		} else {
			continue
		}
		c.inOnePiece(&r)
		results = append(results, keep(&r))
	}
	k.echoApart = !c.together(collectors.ICMP, c.opts.Methods[0])
	k.results, k.linkBytes, k.cachedBytes = results, out.LinkBytes, out.CachedBytes
	k.blackHole, k.known = out.BlackHole, out.Known
	if !out.Reverse.At.IsZero() {
		back := out.Reverse
		k.reverse, k.forward = &back, nil
		if out.Forward != (Forward{}) {
			on := out.Forward
			k.forward = &on
		}
	}
	if len(out.Results) > 0 {
		k.at = time.Now()
	}
}
