// Package ladder finds out how far several kinds of probes get on the same path, by sending them with rising TTL at the same time. A
// router where the TTL of a probe runs out says so (RFC 792; RFC 4443, section 3.3): then the probe got that far.
//
//	TTL  1      2      3      4
//	     r1 --- r2 --- r3 --- peer
//	A    x      x      x      x        A arrives
//	B    x      x      .      .        B is lost behind r2, before or at r3
//
// That a router does not answer says nothing alone: many never do, most limit their rate, and packets get lost. So B counts as lost only
// where A, sent alternately with it and with the same TTL, is answered by a router behind the last one that answered B, and
// B is not, as often in a row as the loss of A demands. Where A and B meet different routers, nothing is said.
//
// climb.go sends; this file holds what was seen and what follows from it. The package opens no sockets.
package ladder

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// The confirmation of a loss.
const (
	// alpha is the accepted probability that chance alone made one kind of probe look lost.
	alpha = 1e-4
	// DefaultTries is how often at least. A router that answers once a second takes the first of each pair: chance puts the same one there
	// n times in a row once in 2^n. maxTries is where it is no use to go on.
	DefaultTries, maxTries = 17, 34
)

// A Runner is one kind of probe.
type Runner struct {
	// Name tells it apart from others, and is shown.
	Name string
	// Packet makes a probe with a TTL. No two of its tokens are the same.
	Packet func(ttl uint8) (*netio.Packet, error)
	// Accept is that of a volley.Shot.
	Accept func(a *netio.Answer) bool
}

// A Hop is what is known of one kind of probe at one TTL.
type Hop struct {
	// From is who answered, the router or the peer; the zero Addr if nobody did.
	From netip.Addr
	// Arrived means that the peer itself answered.
	Arrived bool
	// Sent and Answered count probes.
	Sent, Answered int
	// RoundTrip is that of the first answer.
	RoundTrip time.Duration
}

// A Climb is how far one kind of probe got.
type Climb struct {
	// Name is that of the Runner.
	Name string
	// Hops are what is known by TTL, the first of them 1.
	Hops []Hop
	// Refused is the answer of a router that refuses this kind of probe (an ICMP destination unreachable); its Outcome is 0 if none did.
	Refused netio.Answer
	// Refusals counts such answers of the same router.
	Refusals int
	// Lost means that another kind of probe, Witness, demonstrably gets further.
	Lost    bool
	Witness string
	// Tries is how often it stayed unanswered where Witness was answered; Answered how often that was, of as many.
	Tries, Answered int
	// Err is why probes of this kind did not leave this host; the others are not disturbed by that.
	Err error
	// Detour means that it meets other routers than the others, so that they cannot be compared.
	Detour bool
}

// Last is the highest TTL at which a router answered, or the least at which the peer did; 0 if none did.
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

// Arrived is the TTL with which it arrives at the peer, 0 if that was not seen.
func (c *Climb) Arrived() int {
	return slices.IndexFunc(c.Hops, func(h Hop) bool { return h.Arrived }) + 1
}

// At is who answered at a TTL; the zero Addr for nobody.
func (c *Climb) At(ttl int) netip.Addr {
	if ttl < 1 || ttl > len(c.Hops) {
		return netip.Addr{}
	}
	return c.Hops[ttl-1].From
}

// answered counts all answers to it.
func (c *Climb) answered() (n int) {
	for i := range c.Hops {
		n += c.Hops[i].Answered
	}
	return n
}

// hop makes room for a TTL.
func (c *Climb) hop(ttl int) *Hop {
	for len(c.Hops) < ttl {
		c.Hops = append(c.Hops, Hop{})
	}
	return &c.Hops[ttl-1]
}

// record takes what became of one probe.
func (c *Climb) record(ttl int, a *netio.Answer) {
	h := c.hop(ttl)
	h.Sent++
	switch a.Outcome {
	case netio.TimeExceeded:
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

// A Result is how far each kind of probe got, in the order of the runners.
type Result struct {
	Climbs []Climb
	// Packets is how many probes were sent.
	Packets int
}

// Distance is the TTL with which the peer was first reached by any of them, 0 if that was not seen.
func (r *Result) Distance() int {
	least := 0
	for i := range r.Climbs {
		if at := r.Climbs[i].Arrived(); at > 0 && (least == 0 || at < least) {
			least = at
		}
	}
	return least
}

// Hops are the routers on the way by their TTL, as the first kind of probe saw them that was answered there; the zero Addr where none was.
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

// FirstMissed is who answered the witness of a lost climb at the lowest TTL behind the last answer to itself.
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

// behind are the TTLs above the last answer to c at which w was answered; by routers only if routers is set.
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

// sameWay tells whether two climbs met the same routers as far as both were answered. One that was never answered has no way of its own.
func sameWay(c, w *Climb) bool {
	for ttl := 1; ttl <= min(len(c.Hops), len(w.Hops)); ttl++ {
		a, b := c.At(ttl), w.At(ttl)
		if a.IsValid() && b.IsValid() && a != b {
			return false
		}
	}
	return true
}

// tries is how often in a row a probe must stay unanswered where so many of as many controls were lost: loss^n is at most alpha.
func tries(lost, controls int) int {
	loss := float64(lost+1) / float64(controls+5)
	if loss >= 1 {
		return math.MaxInt32
	}
	return int(math.Ceil(math.Log(alpha) / math.Log(loss)))
}
