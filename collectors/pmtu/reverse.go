package pmtu

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// The way back is looked at through echo replies, which are as large as their requests. A host sends them without DF over IPv4:
//
//	reply whole                              the way back carries that size
//	reply in fragments of at most f bytes    it carries f to f+7: fragments carry a multiple of 8 bytes (RFC 791, section 3.1)
//	no reply                                 request or reply lost: which?
//
// For the last case the request is sent in small fragments, which fit the way there whatever its path MTU. Then only the reply is
// large, and a search over its size finds what the way back carries. Where fragments are dropped the small control is lost
// as well, and nothing is said.

// Reverse is what is known about the way back.
type Reverse struct {
	// State is Clean if replies as large as the local link come back whole, Reduced if they come in fragments, BlackHole if larger ones
	// vanish, and otherwise Unknown.
	State State
	// LowerBytes and UpperBytes are the bounds of its path MTU, 0 where there is none: whole IP packets.
	LowerBytes, UpperBytes int
	// Packets is the number of probes of the search for it, Reason why there is no better state.
	Packets int
	Reason  string
	// At is when it was measured.
	At time.Time
}

// Sizes of the fragments in which requests are sent: they pass every link (RFC 791, section 3.1: 576 bytes; RFC 8200, section 5: 1280).
const (
	requestFragment4, requestFragment6 = 548, 1280
	// moreThanOne makes the smallest request one of two fragments.
	moreThanOne = 64
	// reverseSlow bounds the time that a rate-limited peer may take.
	reverseSlow = 10 * time.Second
)

// lookBack finds out about the way back from a round of echoes, or if that does not tell, by a search.
func (c *Collector) lookBack(ctx context.Context, r *Result, route netio.Route) error {
	if r.State == Unreachable || r.Bytes == 0 || route.Tunnel != "" {
		c.mu.Lock()
		c.snapshot.Reverse = Reverse{Reason: "no echo reply came back", At: r.At}
		c.mu.Unlock()
		return nil
	}
	link := min(route.LinkMTU, maxPacket)
	back := Reverse{State: Unknown, LowerBytes: r.Bytes, At: r.At}
	var err error
	switch {
	case r.ReplyShort:
		back = Reverse{Reason: "the peer's echo replies are shorter than the requests", At: r.At}
	case r.ReplyFragment > 0:
		back.fragmented(r.ReplyFragment)
	case r.Bytes >= link:
		back.State = Clean
	default:
		back, err = c.searchBack(ctx, r.Bytes, link)
	}
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		back = Reverse{LowerBytes: r.Bytes, Reason: err.Error(), At: r.At}
	}
	c.mu.Lock()
	c.snapshot.Reverse = back
	c.mu.Unlock()
	return nil
}

// fragmented notes that a reply came in fragments of at most f bytes.
func (b *Reverse) fragmented(f int) {
	const unit = 8
	b.State, b.LowerBytes, b.UpperBytes = Reduced, f, f+unit-1
}

// searchBack searches for the largest reply, when replies of so many bytes are known to come whole.
func (c *Collector) searchBack(ctx context.Context, whole, link int) (Reverse, error) {
	st := &c.reverse
	now := time.Now()
	p := c.prober(collectors.ICMP, st, now)
	p.fragment = requestFragment4
	if c.target.Path.IPv6() {
		p.fragment = requestFragment6
	}
	cfg := Config{
		Control: p.control(), Link: link, Minimum: minimumIPv4, Known: st.known, KnownBytes: st.bytes, RoundTrip: st.roundTrip,
		Hints: []int{whole}, Packets: c.opts.Packets, Slow: reverseSlow, Seed: volley.Mix(c.opts.Seed + c.searches),
	}
	c.searches++
	if now.Sub(st.raised) >= c.opts.Raise {
		cfg.Raise, st.raised = true, now
	}
	s := NewSearch(cfg)
	drops := c.drops()
	if err := p.run(ctx, s); err != nil {
		return Reverse{}, err
	}
	r := p.result(s, time.Since(now))
	if c.drops() != drops {
		st.doubt(&r)
	}
	if r.State.conclusive() {
		st.known, st.bytes, st.roundTrip = r.State, r.Bytes, r.RoundTrip
	}
	back := Reverse{LowerBytes: max(whole, r.Bytes), Packets: r.Packets, Reason: r.Reason, At: r.At}
	switch {
	case r.ReplyShort:
		back = Reverse{Reason: "the peer's echo replies are shorter than the requests", At: r.At}
	case r.State == BlackHole && (r.Bytes < whole || p.onPieces(r.Bytes)):
		// A reply of that size came whole, or the limit is one of whole fragments: what is limited is the request.
		back.Reason = "echo requests in so many fragments are not answered"
	case r.State == BlackHole:
		back.State, back.LowerBytes, back.UpperBytes = BlackHole, r.Bytes, r.Bytes
	case r.ReplyFragment > 0:
		back.fragmented(r.ReplyFragment)
	case r.State == Clean:
		back.State = Clean
	case r.State == Unreachable:
		back.Reason = "echo requests in fragments are not answered"
	}
	return back, nil
}

// onPieces tells whether requests of so many bytes fill their fragments to the last byte, so that one byte more takes another fragment.
func (p *prober) onPieces(size int) bool {
	const unit = 8
	header := p.target.Path.HeaderIP()
	overhead := header
	if p.target.Path.IPv6() {
		overhead += unit // the fragment header
	}
	piece := (p.fragment - overhead) &^ (unit - 1)
	return (size-header)%piece == 0
}
