package pmtu

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// Where a black hole is, a ladder tells: probes of the size that passes and of one byte more, with rising TTL. The larger one is answered by
// the routers in front of the black hole, the smaller one also by those behind it.

const (
	// locatePackets is the most that one ladder may send.
	locatePackets = 100
	// locateTries is how often the larger probe must stay unanswered. That it does not arrive is known: the question is only how far it gets.
	locateTries = 9
)

// A place is where packets of more than so many bytes vanish.
type place struct {
	bytes int
	// last is the last router that answered the larger probe, first the next that answered the smaller one only; the zero Addr for none.
	last, first netip.Addr
	// at is when it was looked for.
	at time.Time
}

// lookCloser finds out more about the newest result of a round before anybody draws conclusions from it: of echoes, about the way back; of a
// black hole, where it is.
func (c *Collector) lookCloser(ctx context.Context, out *Results, route netio.Route) error {
	r := &out.Results[len(out.Results)-1]
	if !c.opts.Locate {
		return nil
	}
	if r.Method == collectors.ICMP {
		if err := c.lookBack(ctx, r, route); err != nil {
			return fmt.Errorf("way back: %w", err)
		}
	}
	if r.State.conclusive() && r.State != BlackHole {
		c.states[r.Method].place = place{} // the next one may be elsewhere
	}
	if r.State != BlackHole || r.Method == collectors.ICMP && c.maybeReverse(out, r.Bytes) {
		return nil
	}
	if c.placed(r) {
		return nil // by another method: that is where to look, and one search for it is enough
	}
	st := c.states[r.Method]
	unknown := !st.place.last.IsValid() && !st.place.first.IsValid()
	if st.place.bytes != r.Bytes || unknown && time.Since(st.place.at) >= c.opts.Raise {
		if err := c.climb(ctx, r, st, r.Bytes, r.Bytes+1); err != nil {
			return fmt.Errorf("place of the black hole: %w", err)
		}
	}
	r.LastHopPassed, r.FirstHopFailed = st.place.last, st.place.first
	return nil
}

// placed tells whether it is known by another method where packets of this size vanish.
func (c *Collector) placed(r *Result) bool {
	for m, st := range c.states {
		if m != r.Method && st.known == BlackHole && st.place.bytes == r.Bytes && (st.place.last.IsValid() || st.place.first.IsValid()) {
			return true
		}
	}
	return false
}

// lookUpHops finds out now and then which routers are on the way.
func (c *Collector) lookUpHops(ctx context.Context, out *Results) error {
	c.mu.Lock()
	due := c.opts.Hops > 0 && time.Since(c.snapshot.HopsAt) >= c.opts.Hops
	c.mu.Unlock()
	// Echoes are least trouble for the peer.
	at := slices.IndexFunc(out.Results, func(r Result) bool { return r.Method == collectors.ICMP && r.State.conclusive() })
	if at < 0 {
		at = slices.IndexFunc(out.Results, func(r Result) bool { return r.State.conclusive() })
	}
	if !due || at < 0 {
		return nil
	}
	r := &out.Results[at]
	if err := c.climb(ctx, r, c.states[r.Method], r.Bytes); err != nil {
		return fmt.Errorf("routers on the way: %w", err)
	}
	return nil
}

// maybeReverse tells whether the replies to echoes of more than so many bytes may be what vanishes.
func (c *Collector) maybeReverse(out *Results, bytes int) bool {
	for i := range out.Results {
		if r := &out.Results[i]; r.Method != collectors.ICMP && r.State.conclusive() && r.Bytes > bytes {
			return true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	back := &c.snapshot.Reverse
	return back.State == BlackHole && back.LowerBytes <= bytes
}

// climb sends a ladder of probes of these sizes by the method of a result, and keeps what it shows: of two sizes, where the second is lost.
func (c *Collector) climb(ctx context.Context, r *Result, st *methodState, sizes ...int) error {
	p := c.prober(r.Method, st, time.Now())
	runners := make([]ladder.Runner, 0, len(sizes))
	for _, size := range sizes {
		runners = append(runners, p.runner(size))
	}
	c.searches++
	found, err := ladder.Run(ctx, c.network, runners, ladder.Options{
		Arrivals: true, Tries: locateTries, Packets: locatePackets, Seed: volley.Mix(c.opts.Seed + c.searches),
	})
	if err != nil {
		return err
	}
	if len(sizes) > 1 {
		st.place = place{bytes: sizes[0], at: time.Now()}
		if fails := &found.Climbs[1]; fails.Lost {
			st.place.last, st.place.first = fails.At(fails.Last()), found.FirstMissed(fails)
		}
	}
	c.mu.Lock()
	c.snapshot.Hops, c.snapshot.Distance, c.snapshot.HopsAt = found.Hops(), found.Distance(), time.Now()
	c.mu.Unlock()
	return nil
}

// runner is one of a ladder: probes of so many bytes.
func (p *prober) runner(size int) ladder.Runner {
	return ladder.Runner{
		Name: strconv.Itoa(size),
		Packet: func(ttl uint8) (*netio.Packet, error) {
			if err := p.allowed(); err != nil {
				return nil, err
			}
			// The TTL is in the token, so that an error says which probe it is about.
			packet, err := p.build(size, p.method.String()+"-ttl-"+strconv.Itoa(int(ttl)))
			if err == nil {
				packet.Purpose = "where do larger packets vanish? (rising TTL)"
			}
			return packet, err
		},
		Accept: func(a *netio.Answer) bool {
			return p.method == collectors.ICMP || p.understood(a, netio.Token(a.Payload[p.method.Marker():]))
		},
	}
}
