package pmtu

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
)

// A ladder shows where a black hole is: probes of the size that passes and of one byte more, with
// rising TTL. The routers in front of the black hole answer both, the routers behind it only the
// smaller one.

const (
	// locatePackets is the most that one ladder may send, wayPackets that of a ladder of echoes.
	locatePackets, wayPackets = 100, 200
	// locateTries is the least number of pairs. That the larger probe does not arrive is known: the
	// question is only how far it gets.
	locateTries = 9
)

// A place is where packets of more than bytes vanish.
type place struct {
	bytes int
	// last is the last router that answered the larger probe, first the next router that answered
	// the smaller one only; the zero Addr for none.
	last, first netip.Addr
	at          time.Time
}

func (p *place) found() bool { return p.last.IsValid() || p.first.IsValid() }

// lookCloser adds the reverse path to a result of echoes, and its place to a black hole of IKE. For
// echoes see bothWays.
func (c *Collector) lookCloser(ctx context.Context, out *Results, route netio.Route) error {
	r := &out.Results[len(out.Results)-1]
	if !c.opts.Locate {
		return nil
	}
	if r.Method == collectors.ICMP {
		if err := c.lookBack(ctx, out, r, route); err != nil {
			return fmt.Errorf("reverse path: %w", err)
		}
	}
	c.forgetPlace(r)
	if r.State != search.BlackHole || r.Method == collectors.ICMP {
		return nil
	}
	return c.locate(ctx, r)
}

// forgetPlace forgets the place of a black hole that is none any more: the next one may be elsewhere.
func (c *Collector) forgetPlace(r *Result) {
	if r.State.Conclusive() && r.State != search.BlackHole {
		c.states[r.Method].place = place{}
	}
}

// locate finds the place of a black hole to IKE.
func (c *Collector) locate(ctx context.Context, r *Result) error {
	if c.placed(r) {
		return nil // by another method: one ladder is enough
	}
	st := c.states[r.Method]
	if st.place.bytes != r.Bytes || !st.place.found() && time.Since(st.place.at) >= c.opts.Raise {
		if _, err := c.climb(ctx, r, st, r.Bytes, r.Bytes+1); err != nil {
			return fmt.Errorf("place of the black hole: %w", err)
		}
	}
	r.LastHopPassed, r.FirstHopFailed = st.place.last, st.place.first
	return nil
}

// placed reports whether another method knows where packets of this size vanish.
func (c *Collector) placed(r *Result) bool {
	for _, m := range collectors.Methods() {
		if st := c.states[m]; st != nil && m != r.Method && c.together(m, r.Method) && st.known == search.BlackHole && st.place.bytes == r.Bytes && st.place.found() {
			return true
		}
	}
	return false
}

func (c *Collector) lookUpHops(ctx context.Context, out *Results) error {
	every := c.opts.Hops
	if c.cut.ttl > 0 {
		every = min(every, c.opts.Raise)
	}
	c.mu.Lock()
	due := c.opts.Hops > 0 && time.Since(c.known.hopsAt) >= every
	c.mu.Unlock()
	// Echoes disturb the peer least.
	at := slices.IndexFunc(out.Results, func(r Result) bool {
		return r.Method == collectors.ICMP && r.State.Conclusive() && c.together(r.Method, c.opts.Methods[0])
	})
	if at < 0 {
		at = slices.IndexFunc(out.Results, func(r Result) bool { return r.State.Conclusive() })
	}
	if !due || at < 0 {
		return nil
	}
	r := &out.Results[at]
	largest := c.states[r.Method].bytes // regardless of the pieces in which it arrives
	if _, err := c.climb(ctx, r, c.states[r.Method], largest); err != nil {
		return fmt.Errorf("routers on the path: %w", err)
	}
	return c.lookAtPieces(ctx, out)
}

// climb sends a ladder of probes of these sizes by the method of a result, and keeps the routers
// and, of two sizes, where the second is lost.
func (c *Collector) climb(ctx context.Context, r *Result, st *methodState, sizes ...int) (*ladder.Result, error) {
	p := c.prober(r.Method, st, time.Now())
	runners := make([]ladder.Runner, 0, len(sizes))
	for _, size := range sizes {
		runners = append(runners, p.runner(size))
	}
	tries, packets := locateTries, locatePackets
	if r.Method == collectors.ICMP { // that the larger probe is what is lost is not known either
		tries, packets = ladder.DefaultTries, wayPackets
	}
	found, err := ladder.Run(ctx, c.network, runners, ladder.Options{
		Arrivals: true, Tries: tries, Packets: packets, Seed: c.seed(),
		Patience: c.opts.Once.Patience(), AtOnce: c.opts.Once.Pairs(),
	})
	if err != nil {
		return nil, err
	}
	if ttl, _ := found.Climbs[0].Cut(); len(sizes) == 1 {
		c.cut = cut{ttl: ttl, from: found.Climbs[0].At(ttl), by: r.Method}
	} else {
		st.place = place{bytes: sizes[0], at: time.Now()}
		if fails := &found.Climbs[1]; fails.Lost {
			st.place.last, st.place.first = fails.At(fails.Last()), found.FirstMissed(fails)
		}
	}
	c.mu.Lock()
	c.known.hops, c.known.distance, c.known.hopsAt = found.Hops(), found.Distance(), time.Now()
	c.mu.Unlock()
	return found, nil
}

func (p *prober) runner(size int) ladder.Runner {
	return ladder.Runner{
		Name: strconv.Itoa(size),
		Packet: func(ttl uint8) (*netio.Packet, error) {
			if err := p.allowed(); err != nil {
				return nil, err
			}
			// The TTL is in the token, so that an ICMP error identifies the probe.
			packet, err := p.packet(size, p.method.String()+"-ttl-"+strconv.Itoa(int(ttl)))
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
