// Package netsim simulates the path to a peer in memory: the MTU in both directions, ICMP errors of
// routers, loss, delay, filters and rate limits, and a peer that answers echo and IKE. It replaces
// netio's Stack in tests. It uses the clock of the time package, so that under testing/synctest
// hours pass in milliseconds, and draws all random values from a seed.
//
// It works on probes, not on bytes: it builds no packets and does not check their content.
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
	"ipsec_path_exporter/internal/silence"
)

// DefaultMTU is the MTU of every link that a Config does not name.
const DefaultMTU = 1500

// grace is the time for which the network remembers a probe after its deadline, like netio.
const grace = 5 * time.Second

// A Limit lets packets pass at a rate, as a token bucket.
type Limit struct {
	// Every is the interval per packet; 0 means no limit.
	Every time.Duration
	// Burst is the number of packets that pass without delay; 0 means 1.
	Burst int
}

// PTBs describes the "packet too big" messages of the path's routers.
type PTBs struct {
	// Drop drops all of them: a black hole.
	Drop bool
	// Rewrite, if set, maps the true MTU to the MTU in the message.
	Rewrite func(mtu int) int
	// Copies is the number of additional copies of each message.
	Copies int
	// Limit is the rate at which routers send them.
	Limit Limit
	// Inexact makes them quote no probe exactly, like a router that quotes 8 bytes of a packet whose
	// identifiers a NAT has rewritten.
	Inexact bool
	// Forged, if set, is the size that forged messages name, two for every probe, also where Drop
	// is set. They quote no probe exactly.
	Forged int
}

// Config describes a path. The zero value is a clean path of 1500 bytes without delay to a peer
// that answers.
type Config struct {
	// Route is the host's route; an empty Src, Interface or LinkMTU gets a default.
	Route netio.Route
	// MTU is the path MTU to the peer, ReverseMTU the path MTU back; 0 means DefaultMTU.
	MTU, ReverseMTU int
	// ReverseDrop drops replies above ReverseMTU; otherwise they are fragmented.
	ReverseDrop bool
	// ReverseNarrow is the number of the hop behind the link of ReverseMTU, as the replies go; 0 is
	// the last hop, so that only replies of the peer cross the link.
	ReverseNarrow int
	// ClearDF makes the router before the small link cut IPv4 packets with DF in pieces.
	ClearDF bool
	// PTB describes the "packet too big" messages.
	PTB PTBs
	// Loss and ReverseLoss are the loss probabilities of the path to the peer and the reverse path.
	Loss, ReverseLoss float64
	// Bursts, if set, replaces Loss towards the peer: it is called for every packet.
	Bursts func(now time.Time) bool
	// Delay is the round-trip time, Jitter the maximum random addition.
	Delay, Jitter time.Duration
	// Duplicates is the probability that a reply is duplicated.
	Duplicates float64
	// DropICMP drops all ICMP: echo, PTBs, port unreachable.
	DropICMP bool
	// DropFragments drops IP fragments.
	DropFragments bool
	// Echoes and Replies limit echo requests towards the peer, and the peer's echo replies.
	Echoes, Replies Limit
	// ICMP limits all ICMP towards the host. Other hosts use it up too: they get one packet every
	// Others on average.
	ICMP   Limit
	Others time.Duration
	// All limits all packets towards the peer.
	All Limit
	// Block, if set, reports which probes are dropped towards the peer, at the hop after
	// BlockBehind others (0: the first).
	Block       func(p *netio.Packet) bool
	BlockBehind int
	// Prohibit makes that hop answer administratively prohibited.
	Prohibit bool
	// Hops are the routers. The router before the small link sends the PTBs; all of them send time
	// exceeded, unless DropICMP is set.
	Hops []netip.Addr
	// Narrow is the number of the hop before the small link, counted from 1; 0 is the last hop.
	Narrow int
	// Exceeded limits the "time exceeded" of each router.
	Exceeded Limit
	// Quiet, if set, reports which routers send no "time exceeded" about a probe.
	Quiet func(hop int, p *netio.Packet) bool
	// Mute, if set, reports which routers answer no echo to their own address.
	Mute func(hop int) bool
	// RefuseIPsec makes the peer answer ESP and AH with protocol unreachable, like a host without
	// IPsec; otherwise it is silent.
	RefuseIPsec bool
	// Closed, if set, reports which UDP ports of the peer are closed.
	Closed func(port uint16) bool
	// Respond answers a UDP payload, with nil for silence; nil means Responder().
	Respond func(port uint16, payload []byte) []byte
	// Refuse, if set, makes the local host refuse packets above this size, as after a change of the
	// link's MTU that the route does not show yet.
	Refuse int
	// Broken, if set, is the error of every send.
	Broken error
	// RouteErr, if set, is what Route returns.
	RouteErr error
	// Silence, if set, is the record of addresses that do not answer, by which probes are withheld.
	Silence *silence.Record
}

// A Sent is one packet on the wire.
type Sent struct {
	At       time.Duration // since the path was made
	Protocol netio.Protocol
	Port     uint16
	TTL      uint8
	Size     int
	// Fragment is the size of its fragments, 0 if it was not fragmented.
	Fragment int
}

// A Path is a simulated path to any destination. An address of Hops is that router, any other one the
// peer. It implements collectors.Network and is safe for
// concurrent use.
type Path struct {
	began time.Time

	mu     sync.Mutex
	cfg    Config
	random *rand.Rand
	sent   []Sent
	// waiting holds the UDP probes that are still tracked, by token, the oldest first.
	waiting map[netio.Token][]*flight

	ptbs, echoes, replies, all, icmp bucket
	exceeded                         map[int]*bucket // by hop
}

// New creates a path. The same seed gives the same random values.
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

// Sent returns the packets on the wire so far.
func (s *Path) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// Sizes returns the sizes of the packets on the wire so far, in order.
func (s *Path) Sizes() []int {
	var sizes []int
	for _, p := range s.Sent() {
		sizes = append(sizes, p.Size)
	}
	return sizes
}

// Forget clears the results of Sent and Sizes.
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

// ErrNoMessageSize is the simulated host's error for a packet that is too large for its link, like
// EMSGSIZE.
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
	if c.Silence != nil {
		charge, err := netio.Enter(c.Silence, p, now)
		if err != nil {
			s.mu.Unlock()
			answer(netio.Answer{Outcome: netio.NotSent, Err: err})
			return
		}
		inner := answer
		answer = func(a netio.Answer) {
			netio.Learn(c.Silence, charge, p.Path.Dst, &a, time.Now())
			inner(a)
		}
	}
	s.sent = append(s.sent, Sent{At: now.Sub(s.began), Protocol: p.Protocol, Port: p.Port, TTL: p.TTL, Size: size, Fragment: p.FragmentSize})
	answers := append(s.cross(&c, p, size, now), forged(&c, p)...)
	f := &flight{sent: now, answer: answer}
	forget := timeout + grace + p.Linger
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
		p.Account.Bytes.Add(uint64(size))
	}
	// The deadline comes first: an answer at exactly that time is late.
	time.AfterFunc(timeout, f.expire)
	for _, a := range answers {
		if a.after < forget {
			time.AfterFunc(a.after, func() { s.deliver(p, f, a) })
		}
	}
}

func (s *Path) deliver(p *netio.Packet, f *flight, r reaction) {
	if !r.inexact {
		s.owner(p, f, r.answer.Outcome).settle(r.answer)
	} else if p.Hint != nil {
		p.Hint(netio.Hint{From: r.answer.From, MTU: r.answer.MTU})
	}
}

// owner returns the probe that an answer to f is matched to. A UDP reply repeats only the token.
// Among several probes with the same token it is, as in netio, the youngest that waits, else the
// youngest past its deadline without an answer, else the youngest.
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

// A reaction is an answer after some time.
type reaction struct {
	after  time.Duration
	answer netio.Answer
	// inexact means that an ICMP error does not quote the probe exactly.
	inexact bool
}

const undecided netio.Outcome = 0

// A flight is one probe in flight.
type flight struct {
	sent   time.Time
	answer func(netio.Answer)

	mu      sync.Mutex
	decided netio.Outcome
}

// state is the outcome of the probe.
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

// settle delivers an answer like netio: the first answer decides, a second reply is a duplicate, a
// reply after the deadline is late.
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

// take reports whether a packet passes now.
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
