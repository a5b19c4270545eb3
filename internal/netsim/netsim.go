// Package netsim simulates the path to a peer in memory: its MTU in both directions, what its routers say about it, loss,
// delay, filters and limiters, and a peer that answers echoes and IKE. It stands in for netio's Stack in tests. It
// keeps to the clock of the time package, so that under testing/synctest hours pass in milliseconds, and draws all
// chance from a seed.
//
// It works on probes, not on bytes: it makes no packets, and does not check what is in them.
package netsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// DefaultMTU is the MTU of every link that a Config does not name.
const DefaultMTU = 1500

// grace is for how long the network remembers a probe after its time is over, as netio does.
const grace = time.Second

// A Limit lets packets pass at a rate, as a token bucket.
type Limit struct {
	// Every is the time that one packet costs; 0 means no limit.
	Every time.Duration
	// Burst is how many may pass at once; 0 means 1.
	Burst int
}

// PTBs says what becomes of the "packet too big" messages of the path's routers.
type PTBs struct {
	// Drop makes none arrive: a black hole.
	Drop bool
	// Rewrite, if set, turns the true MTU into the one that the message names.
	Rewrite func(mtu int) int
	// Copies is how many more copies of each arrive.
	Copies int
	// Limit is the rate at which routers send them.
	Limit Limit
}

// Config describes a path. The zero value is a clean one of 1500 bytes without delay, to a peer that answers.
type Config struct {
	// Route is what the host knows about it; an empty Src, Interface or LinkMTU gets a plausible value.
	Route netio.Route
	// MTU is that of the way there, ReverseMTU that of the way back; 0 means DefaultMTU.
	MTU, ReverseMTU int
	// ReverseDrop makes replies above ReverseMTU vanish; else they are fragmented.
	ReverseDrop bool
	// PTB is what becomes of "packet too big".
	PTB PTBs
	// Loss and ReverseLoss are the probabilities that a packet is lost on the way there and back.
	Loss, ReverseLoss float64
	// Bursts, if set, replaces Loss on the way there: it is asked for every packet.
	Bursts func(now time.Time) bool
	// Delay is the round-trip time, Jitter the most that chance adds to it.
	Delay, Jitter time.Duration
	// Duplicates is the probability that a reply comes twice.
	Duplicates float64
	// DropICMP loses everything ICMP: echoes, PTBs, port unreachable.
	DropICMP bool
	// DropFragments loses IP fragments.
	DropFragments bool
	// Echoes and Replies limit echo requests on the way there, and the peer's echo replies.
	Echoes, Replies Limit
	// All limits every packet on the way there.
	All Limit
	// Block, if set, tells which probes are dropped on the way there, by the hop behind BlockBehind others (0: at once).
	Block       func(p *netio.Packet) bool
	BlockBehind int
	// Prohibit makes that hop say so: administratively prohibited.
	Prohibit bool
	// Hops are the routers. The one in front of the small link sends the PTBs; all of them answer when the TTL runs out, unless DropICMP.
	Hops []netip.Addr
	// Narrow is the number of the hop in front of the small link, counted from 1; 0 is the last one.
	Narrow int
	// Exceeded limits the "time exceeded" of each router.
	Exceeded Limit
	// Quiet, if set, tells which routers send no "time exceeded" about a probe.
	Quiet func(hop int, p *netio.Packet) bool
	// RefuseIPsec: the peer answers ESP and AH with protocol unreachable, as a host without IPsec does; else it is silent.
	RefuseIPsec bool
	// Closed, if set, tells on which UDP ports nobody listens: those are refused.
	Closed func(port uint16) bool
	// Respond answers a UDP payload, with nil for silence; nil means Responder().
	Respond func(port uint16, payload []byte) []byte
	// Refuse, if set, makes the local host refuse packets larger than this, as after a change of the link's MTU
	// that the route does not show yet.
	Refuse int
	// Broken, if set, is why no packet can be sent at all.
	Broken error
	// RouteErr, if set, is what Route returns.
	RouteErr error
}

// A Sent is one packet that was put on the wire.
type Sent struct {
	At       time.Duration // since the path was made
	Protocol netio.Protocol
	Port     uint16
	TTL      uint8
	Size     int
	// Fragment is the size of the fragments that it was sent in, 0 if it was sent whole.
	Fragment int
}

// A Path is a simulated path. It implements collectors.Network, for any destination. It may be used concurrently.
type Path struct {
	began time.Time

	mu     sync.Mutex
	cfg    Config
	random *rand.Rand
	sent   []Sent
	// waiting are the UDP probes that are not forgotten yet, by token, the oldest first.
	waiting map[netio.Token][]*flight

	ptbs, echoes, replies, all bucket
	exceeded                   map[int]*bucket // by hop
}

// New makes a path. The same seed draws the same chance.
func New(cfg Config, seed uint64) *Path {
	return &Path{
		began: time.Now(), cfg: cfg, exceeded: make(map[int]*bucket), waiting: make(map[netio.Token][]*flight),
		random: rand.New(rand.NewPCG(seed, 0x6e657473696d)), //nolint:gosec // a simulation
	}
}

// Set changes the path while it is in use.
func (s *Path) Set(change func(*Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.cfg)
}

// Sent returns what was put on the wire so far.
func (s *Path) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// Sizes returns the sizes of what was put on the wire so far, in order.
func (s *Path) Sizes() []int {
	var sizes []int
	for _, p := range s.Sent() {
		sizes = append(sizes, p.Size)
	}
	return sizes
}

// Forget empties what Sent and Sizes return.
func (s *Path) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = nil
}

// Route implements collectors.Network.
func (s *Path) Route(path netio.Path) (netio.Route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.RouteErr != nil {
		return netio.Route{}, s.cfg.RouteErr
	}
	r := s.cfg.Route
	if !r.Src.IsValid() {
		r.Src = netip.MustParseAddr("192.0.2.1")
		if path.IPv6() {
			r.Src = netip.MustParseAddr("2001:db8::1")
		}
	}
	if r.Interface == "" {
		r.Interface = "sim0"
	}
	r.LinkMTU = orMTU(r.LinkMTU)
	return r, nil
}

func orMTU(mtu int) int {
	if mtu == 0 {
		return DefaultMTU
	}
	return mtu
}

// ErrNoMessageSize is what the simulated host says to a packet that is too large for its link, as EMSGSIZE.
var ErrNoMessageSize = errors.New("message too long")

// Send implements collectors.Network.
func (s *Path) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	size := p.WireSize()
	s.mu.Lock()
	c := s.cfg
	link := orMTU(c.Route.LinkMTU)
	if c.Refuse > 0 {
		link = min(link, c.Refuse)
	}
	var local *netio.Answer
	switch {
	case ctx.Err() != nil:
		local = &netio.Answer{Outcome: netio.NotSent, Err: ctx.Err()}
	case c.Broken != nil:
		local = &netio.Answer{Outcome: netio.NotSent, Err: c.Broken}
	case p.DontFragment && size > link:
		local = &netio.Answer{Outcome: netio.TooBigLocally, MTU: link, Err: fmt.Errorf("send: %w", ErrNoMessageSize)}
	}
	if local != nil {
		s.mu.Unlock()
		answer(*local)
		return
	}
	now := time.Now()
	s.sent = append(s.sent, Sent{At: now.Sub(s.began), Protocol: p.Protocol, Port: p.Port, TTL: p.TTL, Size: size, Fragment: p.FragmentSize})
	answers := s.cross(&c, p, size, now)
	f := &flight{sent: now, answer: answer}
	forget := timeout + max(timeout, grace) + p.Linger
	if p.Protocol == netio.UDP {
		s.waiting[p.Token] = append(s.waiting[p.Token], f)
		time.AfterFunc(forget, func() { s.forget(p.Token, f) })
	}
	s.mu.Unlock()
	if p.OnWire != nil {
		p.OnWire(now, blank(p, size))
	}
	if p.Account != nil {
		p.Account.Packets.Add(1)
		p.Account.Bytes.Add(uint64(size)) //nolint:gosec // a size is not negative
	}
	// The deadline first: an answer that comes exactly then is late.
	time.AfterFunc(timeout, f.expire)
	for _, a := range answers {
		if a.after < forget {
			time.AfterFunc(a.after, func() { s.owner(p, f, a.answer.Outcome).settle(a.answer) })
		}
	}
}

// owner is the probe that an answer to f is taken for: a UDP reply only repeats the token, so of several probes with the same
// one it is, as in netio, the youngest that waits, or else the youngest whose time is over without an answer, or else the
// youngest of all.
func (s *Path) owner(p *netio.Packet, f *flight, o netio.Outcome) *flight {
	if p.Protocol != netio.UDP || o != netio.Delivered {
		return f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	candidates := s.waiting[p.Token]
	for _, state := range []netio.Outcome{undecided, netio.Silent} {
		for _, other := range slices.Backward(candidates) {
			if other.state() == state {
				return other
			}
		}
	}
	if len(candidates) > 0 {
		return candidates[len(candidates)-1]
	}
	return f
}

func (s *Path) forget(token netio.Token, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.waiting[token], func(other *flight) bool { return other == f })
	if len(left) == 0 {
		delete(s.waiting, token)
		return
	}
	s.waiting[token] = left
}

// A reaction is an answer that will come after some time.
type reaction struct {
	after  time.Duration
	answer netio.Answer
}

// undecided is the state of a probe of which nothing is known yet.
const undecided netio.Outcome = 0

// A flight is one probe under way.
type flight struct {
	sent   time.Time
	answer func(netio.Answer)

	mu      sync.Mutex
	decided netio.Outcome
}

// state is what is known of the probe.
func (f *flight) state() netio.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.decided
}

func (f *flight) expire() {
	f.mu.Lock()
	silent := f.decided == undecided
	if silent {
		f.decided = netio.Silent
	}
	f.mu.Unlock()
	if silent {
		f.answer(netio.Answer{Outcome: netio.Silent, Sent: f.sent})
	}
}

// settle hands over an answer as netio does: the first decides, a second reply is a duplicate, one after the deadline late.
func (f *flight) settle(a netio.Answer) {
	a.Sent, a.Received = f.sent, time.Now()
	a.RoundTrip = a.Received.Sub(f.sent)
	f.mu.Lock()
	switch f.decided {
	case undecided:
	case netio.Silent:
		a.Late = true
	case netio.Delivered:
		a.Duplicate = true
	default:
		f.mu.Unlock()
		return
	}
	tell := !a.Duplicate || a.Outcome == netio.Delivered
	if tell {
		f.decided = a.Outcome
	}
	f.mu.Unlock()
	if tell {
		f.answer(a)
	}
}

// A bucket is the state of a Limit.
type bucket struct {
	tokens float64
	at     time.Time
}

// take tells whether a packet passes now.
func (b *bucket) take(l Limit, now time.Time) bool {
	if l.Every <= 0 {
		return true
	}
	full := float64(max(l.Burst, 1))
	if b.at.IsZero() {
		b.tokens = full
	} else {
		b.tokens = min(full, b.tokens+float64(now.Sub(b.at))/float64(l.Every))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
