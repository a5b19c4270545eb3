package partner

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/volley"
)

// The path MTU of each direction alone: a large request gets a small reply, a small request a large
// reply, with DF. So one direction cannot hide the other, and no ICMP error is needed.
//
//	there: request of F or F+1 bytes ──▶, reply of the least size ◀──
//	back:  request of the least size ──▶, reply of F or F+1 bytes ◀──
//
// Probes have a session of their own: a packet that is lost because it is large is no loss of the
// path.

const (
	// mtuEvery is how often the path MTU is looked at.
	mtuEvery = time.Minute
	// mtuLimit is how long a look may take. A search that needs more begins again in the next
	// round.
	mtuLimit = 20 * time.Second
	// leastSize is the least IP packet that is tried: every path carries it (RFC 791, section 3.1,
	// and RFC 8200, section 5, demand more than it has), and any size above can be made.
	leastSize = 400
	// minimum4 and minimum6 are the least path MTUs (RFC 1191, section 3; RFC 8201, section 4).
	minimum4, minimum6 = 68, 1280
)

// An MTU is the path MTU of one direction.
type MTU struct {
	// State is search.Clean if packets as large as the link of this host, or of the partner, pass;
	// search.BlackHole if smaller ones do: whether routers report their limit is not known here.
	State search.State
	// Bytes is the largest IP packet that passes, if the state is conclusive, or the largest that
	// is proven to. LinkBytes is the most that could be tried.
	Bytes, LinkBytes int
	Packets          int
	// Reason is why there is no better state.
	Reason string
	At     time.Time
}

// Known reports whether Bytes is the path MTU.
func (m *MTU) Known() bool { return m.State.Conclusive() }

// A sizing is the probes of one look at the path MTU.
type sizing struct {
	c        *Collector
	endpoint Endpoint
	path     netio.Path
	header   int // IP and UDP
	back     bool
	began    time.Time

	mu      sync.Mutex
	sender  *session.Sender
	replies map[uint32]session.Receipt
	slowest time.Duration // of the round trips
	arrived chan struct{}
}

// measureSizes looks at the path MTU and at fragments in both directions, if it is time to.
func (c *Collector) measureSizes(ctx context.Context, e Endpoint, path netio.Path, link int) error {
	c.mu.Lock()
	known, up := c.sizes, c.round.received > 0
	c.mu.Unlock()
	now := time.Now()
	mtu, pieces := now.Sub(known.there.At) >= mtuEvery, now.Sub(known.fragmentsAt) >= fragmentsEvery
	if !up || c.opts.Keys == nil || link < leastSize || !mtu && !pieces {
		return nil
	}
	keys, err := c.opts.Keys()
	if err != nil {
		return err
	}
	s := &sizing{
		c: c, endpoint: e, path: path, header: path.HeaderIP() + netio.HeaderUDP, began: time.Now(),
		replies: make(map[uint32]session.Receipt), arrived: make(chan struct{}, 1),
	}
	defer c.listen(s, keys)()
	if pieces {
		known.fragmentsThere, known.fragmentsBack, err = s.measureFragments(ctx, link)
		known.fragmentsAt = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, mtuLimit)
	defer cancel()
	for i, last := range []*MTU{&known.there, &known.back} {
		if s.back = i == 1; mtu && err == nil {
			err = s.search(ctx, last, min(link, session.MaxPacket+s.header))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sender == c.round.sender { // or the target has changed
		c.sizes = known
	}
	return err
}

// sizes are what is known of the sizes that pass each direction.
type sizes struct {
	there, back                   MTU
	fragmentsThere, fragmentsBack FragmentState
	fragmentsAt                   time.Time
}

// search looks for the path MTU of one direction, from what was known of it.
func (s *sizing) search(ctx context.Context, last *MTU, link int) error {
	least := minimum4
	if s.path.IPv6() {
		least = minimum6
	}
	m := search.New(search.Config{
		Control: leastSize, Link: link, Minimum: least, Known: last.State, KnownBytes: last.Bytes,
		Raise: true, Seed: rand.Uint64(), //nolint:gosec // an order, not a secret
	})
	for {
		r, more := m.Next()
		if !more {
			break
		}
		seen, err := s.round(ctx, &r)
		if err != nil {
			return err
		}
		m.Unsent(len(r.Sizes) - len(seen))
		m.Observe(time.Since(s.began), seen)
	}
	v := m.Verdict()
	*last = MTU{State: v.State, Bytes: v.Bytes, LinkBytes: v.Link, Packets: v.Packets, Reason: v.Reason, At: time.Now()}
	return nil
}

// meet makes the session known to the partner, if it is not.
func (s *sizing) meet(ctx context.Context) error {
	for range meetings {
		if s.established() {
			return nil
		}
		if _, err := s.send(ctx, session.Request{}, false); err != nil {
			return err
		}
		if err := s.await(ctx, patience, s.established); err != nil {
			return err
		}
	}
	return nil
}

func (s *sizing) established() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sender.Established()
}

// round sends the probes of one round and collects their outcomes. A probe that finds the partner
// gone is silent.
func (s *sizing) round(ctx context.Context, r *search.Round) (seen []search.Observation, err error) {
	if err := volley.Pause(ctx, r.Delay); err != nil {
		return nil, err
	}
	if err := s.meet(ctx); err != nil {
		return nil, err
	}
	numbers := make([]uint32, 0, len(r.Sizes))
	for i, size := range r.Sizes {
		if i > 0 {
			if err := volley.Pause(ctx, r.Spacing); err != nil {
				return nil, err
			}
		}
		if r.Until > 0 && s.passed(numbers, r.Sizes, r.Until) {
			break
		}
		want := session.Request{Size: size - s.header, ReplySize: session.LeastPayload}
		if s.back {
			want = session.Request{ReplySize: size - s.header}
		}
		at := time.Since(s.began)
		n, err := s.send(ctx, want, true)
		if err != nil {
			return nil, err
		}
		numbers, seen = append(numbers, n), append(seen, search.Observation{Size: size, At: at})
	}
	err = s.await(ctx, r.Timeout, func() bool {
		return s.answered(numbers) || r.Until > 0 && s.passed(numbers, r.Sizes, r.Until)
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range numbers {
		got, ok := s.replies[n]
		switch {
		case !ok:
		case s.back && got.Short: // the link of the partner carries less
			seen[i].Outcome, seen[i].MTU = search.TooBigLocally, got.Size+s.header
		default:
			seen[i].Outcome, seen[i].RoundTrip = search.Acked, got.RoundTrip
		}
	}
	return seen, nil
}

// answered reports whether all of these requests were.
func (s *sizing) answered(numbers []uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range numbers {
		if _, ok := s.replies[n]; !ok {
			return false
		}
	}
	return true
}

// passed reports whether a probe of at least a size was answered.
func (s *sizing) passed(numbers []uint32, sizes []int, least int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range numbers {
		if _, ok := s.replies[n]; ok && sizes[i] >= least {
			return true
		}
	}
	return false
}

// send sends one request, with DF if it is a probe.
func (s *sizing) send(ctx context.Context, want session.Request, whole bool) (number uint32, err error) {
	s.mu.Lock()
	payload, number := s.sender.Next(want, session.Clock{}, time.Now())
	delete(s.replies, number) // of an earlier run
	s.mu.Unlock()
	o := &netio.Outgoing{Path: s.path, Port: s.c.opts.Port, DontFragment: whole && s.path.Src.IsValid(), Pieces: !whole, Payload: payload}
	return number, s.endpoint.Send(ctx, o, s.c.opts.Account)
}

// receive takes what comes from the partner.
func (s *sizing) receive(d *netio.Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.sender.Receive(d.Payload, cmp.Or(d.At, time.Now())); r.Meaning == session.Answered && r.Matched {
		s.replies[r.Number], s.slowest = r, max(s.slowest, r.RoundTrip)
	}
	select {
	case s.arrived <- struct{}{}:
	default: // it is known already
	}
}

// await waits until a condition holds, at most for a time.
func (s *sizing) await(ctx context.Context, most time.Duration, holds func() bool) error {
	limit := time.NewTimer(most)
	defer limit.Stop()
	for !holds() {
		select {
		case <-s.arrived:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// withSource returns a path with its source address, and the MTU of its link.
func withSource(path netio.Path, r collectors.Router) (out netio.Path, link int, err error) {
	route, err := r.Route(path)
	if err == nil {
		err = collectors.CheckRoute(route)
	}
	if err == nil && !path.Src.IsValid() {
		path.Src = route.Src
	}
	return path, route.LinkMTU, err
}
