package pmtu

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
)

// The reverse path is measured through echo replies, which are as large as their requests. A host
// sends them without DF over IPv4:
//
//	reply whole                              the reverse path carries that size
//	reply in fragments of at most f bytes    it carries f to f+7: fragments carry a multiple of
//	                                         8 bytes (RFC 791, section 3.1)
//	no reply                                 request or reply lost: which?
//
// In the last case the request is sent in small fragments, which fit any path to the peer. Then
// only the reply is large, and a search over its size finds what the reverse path carries. Where
// fragments are dropped, the small control is lost as well, and the result is unknown.

const (
	// requestFragment4 and requestFragment6 are the sizes of the fragments of requests. They pass
	// every link (RFC 791, section 3.1: 576 bytes; RFC 8200, section 5: 1280).
	requestFragment4, requestFragment6 = 548, 1280
	// moreThanOne makes the smallest request two fragments.
	moreThanOne = 64
	// reverseSlow bounds the time spent on a rate-limited peer.
	reverseSlow = 10 * time.Second
	// unit is what the data of a fragment is a multiple of.
	unit = 8
)

// lookBack derives the reverse path from a round of echoes, or else searches for it.
func (c *Collector) lookBack(ctx context.Context, out *Results, r *Result, route netio.Route) error {
	link := min(route.LinkMTU, maxPacket)
	back := Reverse{State: search.Unknown, LowerBytes: r.Bytes, At: r.At}
	var err error
	switch {
	case r.State == search.Unreachable || r.Bytes == 0 || route.Tunnel != "":
		back = Reverse{Reason: "no echo reply came back", At: r.At}
	case r.ReplyShort:
		back = Reverse{Reason: "the peer's echo replies are shorter than the requests", At: r.At}
	case r.ReplyFragment > 0:
		back.fragmented(r.ReplyFragment)
	case r.Bytes >= link:
		back.State = search.Clean
	default:
		back, err = c.searchBack(ctx, r.Bytes, link)
	}
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		back = Reverse{LowerBytes: r.Bytes, Reason: err.Error(), At: r.At}
	}
	out.Reverse = back
	return nil
}

// fragmented records that a reply came in fragments of at most f bytes.
func (b *Reverse) fragmented(f int) {
	b.State, b.LowerBytes, b.UpperBytes = search.Reduced, f, f+unit-1
}

// searchBack searches for the largest reply. Replies of whole bytes are known to come whole.
func (c *Collector) searchBack(ctx context.Context, whole, link int) (Reverse, error) {
	st := &c.apart().reverse
	now := time.Now()
	p := c.prober(collectors.ICMP, st, now)
	p.fragment = requestFragment4
	if c.target.Get().Path.IPv6() {
		p.fragment = requestFragment6
	}
	cfg := search.Config{
		Control: p.control(), Link: link, Minimum: minimumIPv4, Known: st.known, KnownBytes: st.bytes, RoundTrip: max(st.roundTrip, c.opts.Once.RoundTrip()),
		Hints: []int{whole}, Packets: c.opts.Packets, Slow: reverseSlow, Seed: c.seed(),
	}
	if now.Sub(st.raised) >= c.opts.Raise {
		cfg.Raise, st.raised = true, now
	}
	s := search.New(cfg)
	drops := c.drops()
	if err := p.run(ctx, s); err != nil {
		return Reverse{}, err
	}
	r := p.result(s, time.Since(now))
	if c.drops() != drops {
		st.retract(&r)
	}
	packets := r.Packets
	if r.State.Conclusive() {
		st.remember(&r)
		st.known, st.bytes, st.roundTrip, st.hole = r.State, r.Bytes, r.RoundTrip, 0
		if r.State == search.BlackHole {
			st.hole, packets = r.Bytes, r.ProvedPackets
		}
	}
	back := Reverse{LowerBytes: max(whole, r.Bytes), Packets: packets, Reason: r.Reason, At: r.At}
	switch {
	case r.ReplyShort:
		back = Reverse{Reason: "the peer's echo replies are shorter than the requests", At: r.At}
	case r.State == search.BlackHole && (r.Bytes < whole || p.onPieces(r.Bytes)):
		// A reply of that size came whole, or the limit is a number of fragments: the request is
		// limited.
		back.Reason = "larger echo requests in fragments are not answered"
	case r.State == search.BlackHole:
		back.State, back.LowerBytes, back.UpperBytes = search.BlackHole, r.Bytes, r.Bytes
	case r.ReplyFragment > 0:
		back.fragmented(r.ReplyFragment)
	case r.State == search.Clean:
		back.State = search.Clean
	case r.State == search.Unreachable:
		back.Reason = "echo requests in fragments are not answered"
	}
	return back, nil
}

// onPieces reports whether a request of this size fills its fragments to the last byte, so that one
// byte more takes another fragment.
func (p *prober) onPieces(size int) bool {
	header := p.target.Path.HeaderIP()
	overhead := header
	if p.target.Path.IPv6() {
		overhead += unit // the fragment header
	}
	piece := (p.fragment - overhead) &^ (unit - 1)
	return (size-header)%piece == 0
}
