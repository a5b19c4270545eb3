package report

import (
	"fmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// back is what is known about the path from the peer, nil if it was not tested.
func (r *Report) back() *pmtu.Reverse {
	if r.PMTU == nil || r.PMTU.Reverse.At.IsZero() {
		return nil
	}
	return &r.PMTU.Reverse
}

// out is what routers show of the path to the peer, nil if they were not asked.
func (r *Report) out() *pmtu.Forward {
	if r.PMTU == nil || r.PMTU.Forward.At.IsZero() {
		return nil
	}
	return &r.PMTU.Forward
}

// forwardPath is about the sizes that get to the routers before the peer.
func forwardPath(r *Report) []entry {
	f := r.out()
	if f == nil {
		return nil
	}
	e := entry{
		label: "path to the peer", text: words(f.State.String()), row: "path to the peer", cell: words(f.State.String()),
		at:   f.At,
		test: "path to the peer", sent: "large packets whose TTL runs out at a router", received: "unknown",
	}
	if f.LastHopPassed.IsValid() {
		e.received = fmt.Sprintf("time exceeded from %s for %d bytes", f.LastHopPassed, f.LowerBytes)
		e.text += fmt.Sprintf(": %d bytes get to %s", f.LowerBytes, f.LastHopPassed)
	}
	switch f.State {
	case search.Clean:
		e.text += ", the last router before the peer"
		e.shows = "large packets pass to the last router before the peer"
	case search.Reduced:
		e.shows = "the path to the peer carries smaller packets, and its routers report that size"
	case search.BlackHole:
		e.text += fmt.Sprintf(", more than %d do not get behind it", f.UpperBytes)
		e.shows = "large packets vanish on the path to the peer" + between(f.LastHopPassed, f.FirstHopFailed)
	case search.Unknown, search.Unreachable, search.Inconclusive:
		e.text = because(e.text, f.Reason)
		e.shows, e.unknown, e.why = noConclusion(f.Reason), "the path MTU to the peer", f.Reason
	}
	return []entry{e}
}

// placedByRouters reports whether routers show where large packets vanish in one direction.
func (r *Report) placedByRouters() bool {
	return r.PMTU.Forward.FirstHopFailed.IsValid() || r.PMTU.Reverse.FirstHopFailed.IsValid()
}

// direction is about a black hole of which no direction is shown.
func direction(r *Report) []entry {
	if r.PMTU == nil || r.PMTU.Direction() != pmtu.AnyDirection {
		return nil
	}
	return []entry{{
		unknown: "the direction in which large packets vanish",
		why:     "no IKE message, reply in fragments or router shows the one direction alone",
	}}
}

// reversePath is about the sizes that pass from the peer.
func reversePath(r *Report) []entry {
	const what = "the path MTU of the reverse path"
	b := r.back()
	if b == nil {
		return []entry{{unknown: what, why: notTested}}
	}
	e := entry{
		label: "reverse path", text: words(b.State.String()), row: "reverse path", cell: words(b.State.String()),
		at:   b.At,
		test: "reverse path", sent: "small packets that request large replies", received: "unknown",
	}
	if b.ByRouters {
		e.sent = "echoes to routers that receive large packets"
	}
	if s := bounds(b); s != "" {
		e.text += ": " + s
		e.received = s
	}
	switch b.State {
	case search.Clean:
		e.shows = "large packets pass from the peer"
	case search.Reduced:
		e.shows = "the reverse path carries smaller packets, and large replies arrive in fragments"
	case search.BlackHole:
		e.shows = "large replies vanish on the reverse path"
		if where := between(b.FirstHopFailed, b.LastHopPassed); where != "" {
			e.text += "; lost" + where
			e.shows += where
		}
	case search.Unknown, search.Unreachable, search.Inconclusive:
		e.text = because(e.text, b.Reason)
		e.shows, e.unknown, e.why = noConclusion(b.Reason), what, b.Reason
	}
	if by := r.elsewhere(collectors.ICMP); by != "" {
		e.text += ", for replies to echoes by " + by
	}
	return []entry{e}
}

// bounds are the bounds of the reverse path MTU in words, empty if there are none.
func bounds(b *pmtu.Reverse) string {
	switch {
	case b.LowerBytes > 0 && b.UpperBytes > 0:
		return fmt.Sprintf("%d bytes come back, more than %d do not", b.LowerBytes, b.UpperBytes)
	case b.LowerBytes > 0:
		return fmt.Sprintf("%d bytes come back", b.LowerBytes)
	case b.UpperBytes > 0:
		return fmt.Sprintf("more than %d bytes do not come back", b.UpperBytes)
	}
	return ""
}
