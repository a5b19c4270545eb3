package inside

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

const (
	// maxPacket is the largest IP packet (RFC 791, section 3.1).
	maxPacket = 65535
	// minimumIPv4 and minimumIPv6 are the smallest MTUs that a packet too big may name (RFC 1191,
	// section 3; RFC 8201, section 4).
	minimumIPv4, minimumIPv6 = 68, 1280
	// raiseEvery is how often a reduced inside path MTU is tested for having grown (RFC 8899, section
	// 5.1.1).
	raiseEvery = 10 * time.Minute
)

// A sizer searches the inside path MTU of one target.
type sizer struct {
	network Network
	account *netio.Account
	path    netio.Path
	began   time.Time
	// open are earlier shots that were reported as silent.
	open []sized
}

// sized is a shot of a size.
type sized struct {
	*volley.Shot
	size int
	at   time.Duration
}

func (z *sizer) shot(size int) *volley.Shot {
	return &volley.Shot{Packet: &netio.Packet{
		Path: z.path, Protocol: netio.Echo, Size: size, DontFragment: true, Account: z.account, Purpose: "inside path MTU: does this size pass?",
	}}
}

// least is the smallest size that can be probed.
func (z *sizer) least() int { return z.path.HeaderIP() + netio.HeaderEcho + netio.TokenSize }

// limit returns the largest size that this host sends, which an IPsec policy of its own may limit: the
// kernel refuses larger packets and does not say what it would take. last is the limit of the last
// round, 0 if there was none.
func (z *sizer) limit(ctx context.Context, link, last int) (int, error) {
	low, high := z.least(), link+1 // low leaves, high does not
	for next := link; low+1 < high; next = low + (high-low)/2 {
		if high <= link && last > low && last < high {
			next, last = last, 0 // most probably unchanged
		}
		taken, named, err := z.leaves(ctx, next)
		switch {
		case err != nil:
			return 0, err
		case taken:
			low = next
		case named > low && named < next:
			return named, nil
		default:
			high = next
		}
		if taken && next == link {
			return link, nil
		}
	}
	return low, nil
}

// leaves reports whether a packet of this size leaves this host, and what the host names as its limit
// where it does not, 0 if nothing.
func (z *sizer) leaves(ctx context.Context, size int) (taken bool, named int, err error) {
	shot := z.shot(size)
	const soon = time.Millisecond // whether it left is known at once
	if err := volley.Fire(ctx, z.network, []*volley.Shot{shot}, 0, soon); err != nil {
		return false, 0, err
	}
	a := shot.Answer()
	return a.Outcome != netio.TooBigLocally, a.MTU, nil
}

// run makes the rounds of a search.
func (z *sizer) run(ctx context.Context, s *search.Search) error {
	for {
		r, more := s.Next()
		if !more {
			return nil
		}
		seen, err := z.round(ctx, r)
		if err != nil {
			return err
		}
		s.Observe(time.Since(z.began), seen)
	}
}

func (z *sizer) round(ctx context.Context, r search.Round) (seen []search.Observation, err error) {
	if err := volley.Pause(ctx, r.Delay); err != nil {
		return nil, err
	}
	start := time.Since(z.began)
	shots, all := make([]*volley.Shot, len(r.Sizes)), make([]sized, len(r.Sizes))
	for i, size := range r.Sizes {
		shots[i] = z.shot(size)
		all[i] = sized{shots[i], size, start + time.Duration(i)*r.Spacing}
	}
	if err := volley.Fire(ctx, z.network, shots, r.Spacing, r.Timeout); err != nil {
		return nil, err
	}
	before := z.open
	z.open = nil
	for _, s := range before {
		if o := s.observe(); o.Outcome != search.Silent {
			o.Late = true
			seen = append(seen, o)
		} else {
			z.open = append(z.open, s)
		}
	}
	for _, s := range all {
		o := s.observe()
		if seen = append(seen, o); o.Outcome == search.Silent {
			z.open = append(z.open, s)
		}
	}
	return seen, nil
}

// observe is the outcome of a shot so far. An ICMP error other than a packet too big is no answer.
func (s *sized) observe() search.Observation {
	a := s.Answer()
	o := search.Observation{Size: s.size, At: s.at}
	switch a.Outcome {
	case netio.Delivered, netio.Refused:
		o.Outcome, o.RoundTrip = search.Acked, max(a.RoundTrip, time.Nanosecond)
	case netio.TooBig:
		o.Outcome, o.MTU, o.From = search.TooBig, a.MTU, a.From
	case netio.TooBigLocally:
		o.Outcome, o.MTU = search.TooBigLocally, a.MTU
	case netio.Unreachable, netio.TimeExceeded, netio.Silent, netio.NotSent:
	}
	return o
}
