package fragments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
	"ipsec_path_exporter/internal/wire/icmp"
)

// Sizes of the messages, in bytes of the whole IP packet.
const (
	// above is how much more than the link carries a large message has.
	above = 100
	// largest is more than responders need to take (RFC 7296, section 2: 3000 octets): on such links only the fitting message is sent.
	largest = 3000
	// fitting is the size of the message that is sent whole and in pieces: every responder takes 1280 octets of IKE (RFC 7296, section 2).
	fitting = 1200
	// piece is the size of its fragments.
	piece = 1000
	// leastRest is the least that the second fragment is to carry.
	leastRest = 64
	// minimum6 is what every IPv6 link carries (RFC 8200, section 5): no router refuses fragments of that size.
	minimum6 = 1280
)

// The pace.
const (
	// spacing is that of messages, politeSpacing where more than one was lost: longer than most limiters want.
	spacing, politeSpacing = 50 * time.Millisecond, 1100 * time.Millisecond
	// firstTimeout is how long answers are waited for while no round trip is known; minTimeout and maxTimeout bound four of them.
	firstTimeout           = time.Second
	minTimeout, maxTimeout = 300 * time.Millisecond, 2 * time.Second
	// linger is how much longer a report is waited for that the rest of a message never came: Linux gives up after 30 s on IPv4 and 60 s
	// on IPv6 (RFC 8200, section 4.5; RFC 1122, section 3.3.2 wants 60 to 120 s).
	linger = 125 * time.Second
)

// Options shape a Collector. Keys and Dialects are needed.
type Options struct {
	// Keys make the initiator SPIs.
	Keys *ikeprobe.Keyring
	// Dialects are shared with whoever finds out which form the peer answers.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Fits, if set, is the largest size that is known to pass by a method, 0 if that is not known: fragments are not to be larger.
	Fits func(m collectors.Method) int
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Seed makes the orders of pairs; 0 draws one.
	Seed uint64
}

// A Collector finds out whether fragments reach one peer.
type Collector struct {
	network collectors.Network
	opts    Options

	measuring sync.Mutex
	target    collectors.Target
	rounds    uint64

	mu         sync.Mutex
	snapshot   Results
	incomplete map[collectors.Method]netip.Addr
	path       netio.Path // that they are about
}

// New makes a Collector.
func New(network collectors.Network, opts Options) *Collector {
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64() //nolint:gosec // an order, not a secret
	}
	return &Collector{network: network, opts: opts, incomplete: make(map[collectors.Method]netip.Addr)}
}

// Name implements collectors.Measurer.
func (*Collector) Name() string { return "fragments" }

// Snapshot returns what is known now.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Results{At: c.snapshot.At, Results: append([]Result(nil), c.snapshot.Results...)}
	return s
}

// methods are those by which fragments are sent.
var methods = [...]collectors.Method{collectors.IKE, collectors.NATT}

// Measure implements collectors.Measurer: one round of both methods, side by side.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	c.rounds++
	route, err := c.network.Route(t.Path)
	if err != nil {
		return Results{}, fmt.Errorf("fragments: %w", err)
	}
	var wg sync.WaitGroup
	var found [len(methods)]Result
	var failures [len(methods)]error
	for i, m := range methods {
		wg.Go(func() { found[i], failures[i] = c.measure(ctx, m, route) })
	}
	wg.Wait()
	var out Results
	for i, m := range methods {
		if failures[i] != nil {
			failures[i] = fmt.Errorf("fragments by %s: %w", m, failures[i])
			continue
		}
		out.Results = append(out.Results, found[i])
	}
	out.At = time.Now()
	c.mu.Lock()
	if len(out.Results) > 0 {
		c.snapshot = out
	}
	c.mu.Unlock()
	return out, errors.Join(failures[:]...)
}

// retarget forgets what is known about another path.
func (c *Collector) retarget(t collectors.Target) {
	if c.target.Path != t.Path {
		c.mu.Lock()
		c.snapshot = Results{}
		clear(c.incomplete)
		c.path = t.Path
		c.mu.Unlock()
	}
	c.target = t
}

// measure is one round of one method.
func (c *Collector) measure(ctx context.Context, m collectors.Method, route netio.Route) (Result, error) {
	d := c.opts.Dialects[m]
	r := Result{Method: m, At: time.Now()}
	switch {
	case route.Tunnel != "":
		r.Reason = "inside the tunnel: " + route.Tunnel
		return r, nil
	case d == nil || !d.Answered():
		r.Reason, r.Unasked = "no IKE message is known to be answered", true
		return r, nil
	}
	b := &batch{
		c: c, probes: collectors.IKEProbes{Keys: c.opts.Keys, Dialect: d, Form: d.Form(), Method: m, Target: c.target},
		coin: volley.Coin{Seed: volley.Mix(c.opts.Seed + c.rounds*uint64(len(methods)) + uint64(m))},
	}
	sizes, ok := c.sizes(m, b.natural(), route.LinkMTU)
	if !ok {
		r.Reason = "the path carries too little to tell a fragment from a whole message"
		return r, nil
	}
	state, err := c.judge(ctx, b, sizes, &r)
	if errors.Is(err, netio.ErrNoPrivilege) {
		return Result{Method: m, Reason: "fragments need CAP_NET_RAW", At: time.Now()}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if r.State = state; state == Unknown {
		r.Reason = "the same messages were not answered whole either"
		if r.ControlsAnswered > 0 {
			r.Reason = "too many messages were lost to tell"
		}
	}
	r.At = time.Now()
	c.mu.Lock()
	if state == Pass {
		delete(c.incomplete, m)
	}
	r.Incomplete = c.incomplete[m]
	c.mu.Unlock()
	return r, nil
}

// sizes are those of one round.
type sizes struct{ large, largePiece, size, piece int }

// sizes chooses them so that nothing is larger than what is known to pass.
func (c *Collector) sizes(m collectors.Method, natural, link int) (s sizes, ok bool) {
	fits := link
	if c.opts.Fits != nil {
		if known := c.opts.Fits(m); known > 0 {
			fits = min(fits, known)
		}
	}
	s.size = min(fitting, fits)
	s.piece = min(piece, s.size-leastRest)
	// Responders need not take more than 3000 octets of IKE, nor more than 1280 (RFC 7296, section 2).
	s.large, s.largePiece = link+above, fits
	if s.large > largest {
		s.large = 0
	}
	if c.target.Path.IPv6() {
		s.largePiece = min(fits, minimum6)
	}
	return s, s.size >= natural && s.piece >= c.target.Path.HeaderIP()+leastRest
}

// judge sends the large message, and the pairs if that was not answered.
func (c *Collector) judge(ctx context.Context, b *batch, s sizes, r *Result) (State, error) {
	if s.large > 0 {
		r.Large = s.large
		answered, err := b.send(ctx, message{"large", s.large, s.largePiece})
		if err != nil {
			return Unknown, err
		}
		if r.LargeAnswered = answered[0]; r.LargeAnswered {
			return Pass, nil
		}
	}
	r.Size, r.Piece = s.size, s.piece
	runs := 2
	if last := c.Snapshot(); last.Of(b.probes.Method).State == Dropped {
		runs = 1 // no news
	}
	t := trial{pieces: 2}
	for run := 1; ; run++ {
		if err := b.pairs(ctx, s, &t); err != nil {
			return Unknown, err
		}
		r.Sent, r.Answered = r.Sent+t.sent, r.Answered+t.answered
		r.Controls, r.ControlsAnswered = r.Controls+t.controls, r.ControlsAnswered+t.controlsAnswered
		if state := t.judge(); state != Dropped || run == runs {
			return state, nil
		}
		t = t.again()
	}
}

// pairs sends one run of them.
func (b *batch) pairs(ctx context.Context, s sizes, t *trial) error {
	for !t.over() {
		pair := []message{{"fragments", s.size, s.piece}, {"whole", s.size, 0}}
		fragmented := 0
		if b.coin.Heads() {
			pair[0], pair[1], fragmented = pair[1], pair[0], 1
		}
		if b.pace = spacing; t.lost() > 1 {
			b.pace = politeSpacing
			if err := volley.Pause(ctx, b.pace); err != nil {
				return err
			}
		}
		answered, err := b.send(ctx, pair...)
		if err != nil {
			return err
		}
		t.sent, t.controls = t.sent+1, t.controls+1
		if answered[fragmented] {
			t.answered++
		}
		if answered[1-fragmented] {
			t.controlsAnswered++
		}
	}
	return nil
}

// A batch sends the messages of one round of one method.
type batch struct {
	c      *Collector
	probes collectors.IKEProbes
	rtt    time.Duration
	pace   time.Duration
	coin   volley.Coin
}

// A message is one to send: of so many bytes, in fragments of so many unless that is 0. kind tells its token apart from others'.
type message struct {
	kind        string
	size, piece int
}

// natural is the least size of a message of the form, of the whole IP packet. A padded one is a little larger.
func (b *batch) natural() int {
	const padding = 32
	return b.probes.Least() + padding
}

// send sends messages and tells which were answered.
func (b *batch) send(ctx context.Context, messages ...message) ([]bool, error) {
	shots := make([]*volley.Shot, 0, len(messages))
	for _, m := range messages {
		if err := b.probes.Allowed(); err != nil {
			return nil, err
		}
		packet, err := b.packet(m)
		if err != nil {
			return nil, err
		}
		shots = append(shots, &volley.Shot{Packet: packet, Accept: func(a *netio.Answer) bool {
			ok, _ := b.probes.Answers(a, packet.Token)
			return ok
		}})
	}
	timeout := firstTimeout
	if b.rtt > 0 {
		timeout = min(max(4*b.rtt, minTimeout), maxTimeout)
	}
	if err := volley.Fire(ctx, listener{b.c.network, b.c, b.probes.Method}, shots, b.pace, timeout); err != nil {
		return nil, err
	}
	answered := make([]bool, len(shots))
	for i, s := range shots {
		a := s.Answer()
		answered[i] = a.Arrived()
		b.rtt = max(b.rtt, a.RoundTrip)
	}
	return answered, nil
}

// packet makes the packet of a message.
func (b *batch) packet(m message) (*netio.Packet, error) {
	p, err := b.probes.Packet(b.probes.Method.String()+"-"+m.kind, m.size)
	if err != nil {
		return nil, err
	}
	p.FragmentSize, p.Account = m.piece, b.c.opts.Account
	p.Purpose = "IKE message sent whole, without DF: the counterpart of one in fragments"
	if m.piece > 0 {
		p.Linger, p.Purpose = linger, "IKE message in IP fragments: do they arrive?"
	}
	return p, nil
}

// A listener is the network, with an ear for reports that the rest of a message never came: they come long after the round has ended.
type listener struct {
	collectors.Network
	c      *Collector
	method collectors.Method
}

// Send implements volley.Sender.
func (l listener) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	l.Network.Send(ctx, p, timeout, func(a netio.Answer) {
		if p.FragmentSize > 0 && a.Outcome == netio.Unreachable &&
			icmp.ErrorName(p.Path.IPv6(), a.Type, a.Code) == icmp.NameReassemblyTimeout {
			l.c.reported(p.Path, l.method, a.From)
		}
		answer(a)
	})
}

// reported notes who waited in vain for the rest of a message, unless the peer is reached by another path now.
func (c *Collector) reported(path netio.Path, m collectors.Method, from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path == c.path {
		c.incomplete[m] = from
	}
}
