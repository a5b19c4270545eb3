package pmtu

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
)

// A black hole to echoes is a lost request or a lost reply: a reply is as large as its request. Where
// no IKE message shows the path to the peer alone, the routers do. Their "time exceeded" is small
// (RFC 1812, section 4.3.2.3: 576 bytes; RFC 4443, section 3.3: 1280), and their echo replies are
// large:
//
//	time exceeded for more than F bytes    the path to the peer carries them up to that router
//	none, but of F bytes from behind it    they are lost in front of the next router that answers F
//	an echo of more than F bytes to a      the path from that router carries them, or not
//	  router that received them
//
// What no router shows stays unknown: the last link before the peer, and everything behind a router
// that does not answer.

const (
	// looks is how often a direction is tested, by different rounds.
	looks = 2
	// climbs is the number of ladders of one test, because loss may hide a router.
	climbs = 2
)

// ways are what routers show about both directions of a black hole to echoes.
type ways struct {
	// bytes and back are what is tested: the size that passes, and what echo replies of the peer
	// show about the reverse path.
	bytes int
	back  search.State
	looks int
	at    time.Time

	forward Forward
	routers Reverse
	// place is where the requests are lost, if they are.
	place place
}

// bothWays adds to a round with a black hole to echoes which direction it is in, and where.
func (c *Collector) bothWays(ctx context.Context, out *Results, route netio.Route) error {
	r := echoHole(out)
	if r == nil || c.placed(r) {
		if c.directions != nil {
			c.directions.ways = ways{}
		}
		return nil
	}
	w := &c.apart().ways
	if w.bytes != r.Bytes || w.back != out.Reverse.State {
		*w = ways{bytes: r.Bytes, back: out.Reverse.State}
	}
	if ctx.Err() == nil && (w.looks < looks || time.Since(w.at) >= c.opts.Raise) {
		w.forward, w.routers, w.place = Forward{}, Reverse{}, place{}
		if err := c.lookBothWays(ctx, out, r, route); err != nil {
			return fmt.Errorf("direction of the black hole: %w", err)
		}
		w.looks, w.at = w.looks+1, time.Now()
	}
	w.apply(out, r)
	return nil
}

// echoHole returns the result of a round that is a black hole to echoes, or nil.
func echoHole(out *Results) *Result {
	i := slices.IndexFunc(out.Results, func(r Result) bool {
		return r.Method == collectors.ICMP && r.State == search.BlackHole
	})
	if i < 0 {
		return nil
	}
	return &out.Results[i]
}

// lookBothWays asks the routers.
func (c *Collector) lookBothWays(ctx context.Context, out *Results, r *Result, route netio.Route) (err error) {
	w, carried := &c.apart().ways, out.Reverse.carries(r.Bytes)
	found, limited, err := c.climbOut(ctx, r, carried)
	if err != nil || found.Climbs[1].Arrived() > 0 { // the path has changed
		return err
	}
	w.place = c.states[collectors.ICMP].place
	switch {
	case ikePasses(c.onWayOf(collectors.ICMP, out.Results), r.Bytes):
	case limited:
		w.forward = Forward{
			State: search.BlackHole, LowerBytes: r.Bytes, UpperBytes: r.Bytes, Packets: found.Packets,
			LastHopPassed: w.place.last, FirstHopFailed: w.place.first,
		}
	default:
		if w.forward, err = c.searchOut(ctx, r, min(route.LinkMTU, maxPacket), found); err != nil {
			return err
		}
	}
	if !carried {
		w.routers, err = c.echoRouters(ctx, r, received(found))
	}
	return err
}

// climbOut sends ladders of the size that passes and of one byte more. limited means that the request
// is what is lost: a router shows it, or larger replies are known to come back. Otherwise the place
// is not that of the request.
func (c *Collector) climbOut(ctx context.Context, r *Result, carried bool) (found *ladder.Result, limited bool, err error) {
	st := c.states[collectors.ICMP]
	for climb := 0; climb < climbs && !limited && !complete(found); climb++ {
		if found, err = c.climb(ctx, r, st, r.Bytes, r.Bytes+1); err != nil {
			return nil, false, err
		}
		limited = carried || st.place.first.IsValid() && st.place.first != c.target.Get().Path.Dst
	}
	if !limited {
		st.place = place{bytes: r.Bytes, at: st.place.at}
	}
	return found, limited, nil
}

// carries reports whether replies of more than bytes are known to come back.
func (b *Reverse) carries(bytes int) bool {
	return b.State == search.Clean || b.State == search.Reduced || b.State == search.BlackHole && b.LowerBytes > bytes
}

// ikePasses reports whether IKE messages of more than bytes arrive.
func ikePasses(results []Result, bytes int) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return r.Method != collectors.ICMP && r.Bytes > bytes })
}

// complete reports whether the larger probes of a ladder reached the last router before the peer.
func complete(found *ladder.Result) bool {
	return found != nil && found.Distance() > 1 && lastRouter(&found.Climbs[1]) == found.Distance()-1
}

// lastRouter returns the highest TTL at which a router answered.
func lastRouter(c *ladder.Climb) int {
	for ttl, h := range slices.Backward(c.Hops) {
		if h.From.IsValid() && !h.Arrived {
			return ttl + 1
		}
	}
	return 0
}

// searchOut searches for the largest packet that gets to the last router that answered the larger
// probes of a ladder.
func (c *Collector) searchOut(ctx context.Context, r *Result, link int, found *ladder.Result) (Forward, error) {
	reach := lastRouter(&found.Climbs[1])
	if reach == 0 {
		return Forward{LowerBytes: r.Bytes, Reason: "no router answers larger packets with time exceeded"}, nil
	}
	result, err := c.searchTo(ctx, r, link, uint8(reach))
	if err != nil {
		return Forward{}, err
	}
	out := Forward{
		LowerBytes: max(r.Bytes+1, result.Bytes), LastHopPassed: found.Climbs[1].At(reach), Packets: found.Packets + result.Packets,
	}
	switch {
	case result.State == search.Clean && complete(found):
		out.State = result.State
	case result.State == search.Clean:
		out.Reason = fmt.Sprintf("the routers behind %s do not answer larger packets with time exceeded", out.LastHopPassed)
	case result.State.Conclusive() && result.Bytes > r.Bytes:
		out.State, out.UpperBytes = result.State, result.Bytes
	default:
		out.Reason = fmt.Sprintf("%s does not report enough packets whose TTL has run out", out.LastHopPassed)
	}
	if out.State != search.BlackHole {
		return out, nil
	}
	_, err = c.climb(ctx, r, &c.apart().forward, out.LowerBytes, out.LowerBytes+1)
	if at := &c.apart().forward.place; at.found() {
		out.LastHopPassed, out.FirstHopFailed = at.last, at.first
	}
	return out, err
}

// searchTo searches for the largest packet that gets to the router at a TTL.
func (c *Collector) searchTo(ctx context.Context, r *Result, link int, ttl uint8) (Result, error) {
	st, now := &c.apart().forward, time.Now()
	p := c.prober(collectors.ICMP, st, now)
	p.ttl = ttl
	cfg := search.Config{
		Control: p.control(), Link: link, Minimum: minimumIPv4, Known: st.known, KnownBytes: st.bytes, RoundTrip: r.RoundTrip,
		Hints: []int{r.Bytes + 1}, Packets: c.opts.Packets, Slow: reverseSlow, Raise: true, Seed: c.seed(),
	}
	if c.target.Get().Path.IPv6() {
		cfg.Minimum = minimumIPv6
	}
	s, drops := search.New(cfg), c.drops()
	if err := p.run(ctx, s); err != nil {
		return Result{}, err
	}
	found := p.result(s, time.Since(now))
	if c.drops() != drops {
		st.retract(&found)
	}
	if err := c.hear(ctx, p, st, &found); err != nil {
		return Result{}, err
	}
	if found.State.Conclusive() {
		st.known, st.bytes = found.State, found.Bytes
	}
	return found, nil
}

// apply adds what the routers show to a round.
func (w *ways) apply(out *Results, r *Result) {
	if w.forward != (Forward{}) {
		out.Forward = w.forward
		out.Forward.At = r.At
	}
	r.LastHopPassed, r.FirstHopFailed = w.place.last, w.place.first
	back, routers := &out.Reverse, &w.routers
	back.LastHopPassed, back.FirstHopFailed = routers.LastHopPassed, routers.FirstHopFailed
	switch {
	case back.State != search.Unknown:
	case routers.State == search.BlackHole:
		back.State, back.LowerBytes, back.UpperBytes, back.Reason = routers.State, routers.LowerBytes, routers.UpperBytes, ""
		back.Packets, back.ByRouters = back.Packets+routers.Packets, true
	case routers.Reason != "":
		back.Reason += "; " + routers.Reason
	}
}
