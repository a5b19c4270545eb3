// Package ladder finds out how far several kinds of probes get on the same path. It sends them at
// the same time with rising TTL. A router where the TTL of a probe expires reports that (RFC 792;
// RFC 4443, section 3.3), which proves that the probe reached the router.
//
//	TTL  1      2      3      4
//	     r1 --- r2 --- r3 --- peer
//	A    x      x      x      x        A arrives
//	B    x      x      .      .        B is lost behind r2, before or at r3
//
// A missing answer alone proves nothing: many routers never answer, most limit their rate, and
// packets get lost. So B counts as lost only where a matched pair shows it: A, sent alternately
// with B and with the same TTL, is answered by a router behind the last one that answered B, and B
// is not, in as many pairs in a row as the loss of A demands (package matched). Where A and B meet
// different routers, they are not compared.
//
// climb.go sends; this file holds the answers and the conclusions. The package opens no sockets.
package ladder

import (
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
)

const (
	// DefaultTries is the least number of pairs that show a loss. A router that answers one packet
	// a second answers the first of each pair: chance puts one probe first n times once in 2^n.
	DefaultTries = 17
	// maxTries is the number of pairs after which a duel is given up.
	maxTries = 34
)

// rule says how many pairs show that a kind of probe is lost.
func rule(least int) matched.Rule {
	return matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Least: least}
}

// A Runner is one kind of probe.
type Runner struct {
	Name string // unique, and shown
	// Packet returns a probe with a TTL. No two of its tokens are the same.
	Packet func(ttl uint8) (*netio.Packet, error)
	// Accept is that of a volley.Shot.
	Accept func(a *netio.Answer) bool
	// Mute means that the peer is known not to answer this kind of probe: a sparing climb sends it no
	// further than to the last router before the peer.
	Mute bool
}

// A Hop is what is known of one kind of probe at one TTL.
type Hop struct {
	// From is the router or peer that answered; the zero Addr if none did.
	From netip.Addr
	// Arrived means that the peer itself answered.
	Arrived        bool
	Sent, Answered int           // probes
	RoundTrip      time.Duration // of the first answer
	// Cut is the size of the first fragment in which a probe came here, 0 if none came in fragments.
	Cut int
}

// A Climb is how far one kind of probe got.
type Climb struct {
	Name string
	// Hops are sorted by TTL, from 1.
	Hops []Hop
	// Refused is the ICMP destination unreachable by which a router refused this kind of probe, if
	// any; Refusals counts such answers of the same router.
	Refused  netio.Answer
	Refusals int
	// Lost means that another kind of probe, Witness, demonstrably gets further.
	Lost    bool
	Witness string
	// Tries is the number of pairs in which it stayed unanswered, Answered the number of them in
	// which Witness was answered.
	Tries, Answered int
	// Err is why probes of this kind did not leave this host.
	Err error
	// Detour means that this kind meets other routers, so that it is not compared.
	Detour bool
}

// Last returns the highest TTL that a router answered, or the least that the peer did; 0 if none.
func (c *Climb) Last() int {
	if at := c.Arrived(); at > 0 {
		return at
	}
	for ttl := len(c.Hops); ttl > 0; ttl-- {
		if c.Hops[ttl-1].From.IsValid() {
			return ttl
		}
	}
	return 0
}

// Arrived returns the TTL with which the peer was reached, 0 if it was not.
func (c *Climb) Arrived() int {
	return slices.IndexFunc(c.Hops, func(h Hop) bool { return h.Arrived }) + 1
}

// At returns the address that answered at a TTL; the zero Addr if none did.
func (c *Climb) At(ttl int) netip.Addr {
	if ttl < 1 || ttl > len(c.Hops) {
		return netip.Addr{}
	}
	return c.Hops[ttl-1].From
}

// Cut returns the lowest TTL at which probes came in fragments and the size of the first fragment
// there, 0 if none did.
func (c *Climb) Cut() (ttl, bytes int) {
	at := slices.IndexFunc(c.Hops, func(h Hop) bool { return h.Cut > 0 })
	if at < 0 {
		return 0, 0
	}
	return at + 1, c.Hops[at].Cut
}

func (c *Climb) answered() (n int) {
	for i := range c.Hops {
		n += c.Hops[i].Answered
	}
	return n
}

func (c *Climb) record(ttl int, a *netio.Answer) {
	for len(c.Hops) < ttl {
		c.Hops = append(c.Hops, Hop{})
	}
	h := &c.Hops[ttl-1]
	h.Sent++
	switch a.Outcome {
	case netio.TimeExceeded:
		h.Cut = max(h.Cut, a.Cut)
	case netio.Delivered, netio.Refused:
		h.Arrived = true
	case netio.Unreachable:
		if c.Refused.From != a.From || c.Refused.Type != a.Type || c.Refused.Code != a.Code {
			c.Refusals = 0
		}
		c.Refused = *a
		c.Refusals++
		return
	case netio.TooBig, netio.TooBigLocally, netio.Silent, netio.NotSent:
		return
	}
	h.Answered++
	if !h.From.IsValid() {
		h.From, h.RoundTrip = a.From, a.RoundTrip
	}
}

// A Result is how far each kind of probe got.
type Result struct {
	// Climbs are in the order of the runners.
	Climbs  []Climb
	Packets int
}

// Distance returns the least TTL with which any kind of probe reached the peer, 0 if none did.
func (r *Result) Distance() int {
	least := 0
	for i := range r.Climbs {
		if at := r.Climbs[i].Arrived(); at > 0 && (least == 0 || at < least) {
			least = at
		}
	}
	return least
}

// Hops returns the routers on the path by TTL, the zero Addr where no kind of probe was answered.
func (r *Result) Hops() []netip.Addr {
	last := 0
	for i := range r.Climbs {
		last = max(last, r.Climbs[i].Last())
	}
	if d := r.Distance(); d > 0 {
		last = min(last, d)
	}
	hops := make([]netip.Addr, last)
	for ttl := range hops {
		for i := range r.Climbs {
			if hops[ttl] = r.Climbs[i].At(ttl + 1); hops[ttl].IsValid() {
				break
			}
		}
	}
	return hops
}

// Of returns the climb of a runner, or nil.
func (r *Result) Of(name string) *Climb {
	i := slices.IndexFunc(r.Climbs, func(c Climb) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Climbs[i]
}

// FirstMissed returns the address that answered the witness of a lost climb at the lowest TTL
// behind the last answer to the climb itself.
func (r *Result) FirstMissed(c *Climb) netip.Addr {
	if w := r.Of(c.Witness); c.Lost && w != nil {
		for ttl := c.Last() + 1; ttl <= len(w.Hops); ttl++ {
			if from := w.At(ttl); from.IsValid() {
				return from
			}
		}
	}
	return netip.Addr{}
}

// behind returns the TTLs above the last answer to c at which w was answered, by routers only if
// set.
func behind(c, w *Climb, routers bool) (ttls []int) {
	for ttl := c.Last() + 1; ttl <= len(w.Hops); ttl++ {
		h := &w.Hops[ttl-1]
		if h.From.IsValid() && (!h.Arrived || !routers) {
			ttls = append(ttls, ttl)
		}
		if h.Arrived {
			break
		}
	}
	return ttls
}

// sameWay reports whether no TTL shows two climbs at different routers.
func sameWay(c, w *Climb) bool {
	for ttl := 1; ttl <= min(len(c.Hops), len(w.Hops)); ttl++ {
		a, b := c.At(ttl), w.At(ttl)
		if a.IsValid() && b.IsValid() && a != b {
			return false
		}
	}
	return true
}
