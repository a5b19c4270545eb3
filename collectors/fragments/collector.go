package fragments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/volley"
	"ipsec_path_exporter/internal/wire/icmp"
)

// Sizes of the messages, in bytes of the whole IP packet.
const (
	// above is by how much a large message exceeds the link.
	above = 100
	// largest is the most that every responder takes (RFC 7296, section 2: 3000 octets): a large
	// message that exceeds it is not sent.
	largest = 3000
	// fitting is the size of the message that is sent whole and in fragments: every responder takes
	// 1280 octets of IKE (RFC 7296, section 2).
	fitting = 1200
	// piece is the size of its fragments.
	piece = 1000
	// leastRest is the least that the second fragment carries.
	leastRest = 64
	// minimum6 is what every IPv6 link carries (RFC 8200, section 5).
	minimum6 = 1280
)

// The pace.
const (
	spacing = 50 * time.Millisecond
	// leastPatience leaves a peer time to reassemble a message.
	leastPatience = 300 * time.Millisecond
	// linger is how much longer to wait for a report that the rest of a message never came. Linux
	// gives up after 30 s on IPv4 and 60 s on IPv6; RFC 1122, section 3.3.2, wants 60 to 120 s, and
	// RFC 8200, section 4.5, 60 s.
	linger = 125 * time.Second
)

// Options shape a Collector. Keys and Dialects are needed.
type Options struct {
	// Keys make the initiator SPIs.
	Keys *ikeprobe.Keyring
	// Dialects are shared with the collector that finds out which form the peer answers.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Fits, if set, returns the largest size known to pass by a method, 0 if none is known.
	Fits func(m collectors.Method) int
	// Silence, if set, is the record of addresses that do not answer.
	Silence *silence.Record
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Seed makes the order within pairs; 0 draws one.
	Seed uint64
}

// A Collector finds out whether fragments reach one peer.
type Collector struct {
	network collectors.Network
	opts    Options

	measuring sync.Mutex
	rounds    uint64

	// mu guards the rest, which is about the path of the target. That changes only at the beginning of
	// a round, so a round reads it without mu.
	mu         sync.Mutex
	target     collectors.Shared[collectors.Target]
	snapshot   Results
	incomplete map[collectors.Method]netip.Addr
}

// New returns a Collector.
func New(network collectors.Network, opts Options) *Collector {
	opts.Seed = cmp.Or(opts.Seed, rand.Uint64()) //nolint:gosec // an order, not a secret
	return &Collector{network: network, opts: opts, incomplete: make(map[collectors.Method]netip.Addr)}
}

// Snapshot returns what is known now.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Results{At: c.snapshot.At, Results: slices.Clone(c.snapshot.Results)}
}

var methods = [...]collectors.Method{collectors.IKE, collectors.NATT}

// Measure implements collectors.Measurer: one round of both methods, side by side.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	c.rounds++
	var routes [len(methods)]netio.Route
	var failures [len(methods)]error
	for i, m := range methods {
		routes[i], failures[i] = c.network.Route(t.PathOf(m))
	}
	if failures[0] != nil && failures[1] != nil {
		return Results{}, fmt.Errorf("fragments: %w", failures[0])
	}
	var wg sync.WaitGroup
	var found [len(methods)]Result
	for i, m := range methods {
		if failures[i] == nil {
			wg.Go(func() { found[i], failures[i] = c.measure(ctx, m, routes[i]) })
		}
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

func (c *Collector) retarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.target.Get().Path != t.Path {
		c.snapshot = Results{}
		clear(c.incomplete)
	}
	c.target = collectors.Share(t)
}

func (c *Collector) measure(ctx context.Context, m collectors.Method, route netio.Route) (Result, error) {
	d := c.opts.Dialects[m]
	r := Result{Method: m, At: time.Now()}
	if route.Tunnel != "" {
		r.Reason = collectors.CheckRoute(route).Error()
		return r, nil
	}
	if d == nil || !d.Answered() {
		r.Reason, r.Unasked = "no IKE message is known to be answered", true
		return r, nil
	}
	if st := c.opts.Silence.Standing(netio.Lane(c.target.Get().Path, netio.UDP, c.target.Get().IKE.UDPPort(m)), r.At); st.Mute {
		r.Reason, r.Unasked = fmt.Sprintf("the last %d IKE messages were not answered", st.Unanswered), true
		return r, nil
	}
	b := &batch{
		c: c, probes: collectors.IKEProbes{Keys: c.opts.Keys, Dialect: d, Form: d.Form(), Method: m, Target: c.target.Get()},
		seed: matched.Mix(c.opts.Seed + c.rounds*uint64(len(methods)) + uint64(m)),
	}
	sizes, ok := c.sizes(m, b.natural(), route.LinkMTU)
	if !ok {
		r.Reason = "path MTU is too small for a test message in two fragments"
		return r, nil
	}
	state, err := c.judge(ctx, b, sizes, &r)
	if errors.Is(err, netio.ErrNoPrivilege) {
		return Result{Method: m, Reason: "fragments need CAP_NET_RAW", At: time.Now()}, nil
	}
	if errors.Is(err, netio.ErrApart) {
		return Result{Method: m, Large: r.Large, Reason: err.Error(), At: time.Now()}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if state == Pass {
		if err := c.chains(ctx, b, sizes, &r); err != nil {
			return Result{}, err
		}
	}
	if r.State = state; state == Unknown {
		r.Reason = "the same messages sent whole were not answered either"
		if r.ControlsAnswered > 0 {
			r.Reason = fmt.Sprintf("too much loss: %d of %d messages sent whole were answered", r.ControlsAnswered, r.Controls)
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

type sizes struct{ large, largePiece, size, piece int }

// sizes returns sizes of which nothing on the wire is larger than what is known to pass.
func (c *Collector) sizes(m collectors.Method, natural, link int) (s sizes, ok bool) {
	fits := link
	if c.opts.Fits != nil {
		if known := c.opts.Fits(m); known > 0 {
			fits = min(fits, known)
		}
	}
	s.size = min(fitting, fits)
	s.piece = min(piece, s.size-leastRest)
	s.large, s.largePiece = link+above, fits
	if s.large > largest {
		s.large = 0
	}
	if c.target.Get().Path.IPv6() {
		s.largePiece = min(fits, minimum6)
	}
	return s, s.size >= natural && s.piece >= c.target.Get().Path.HeaderIP()+leastRest
}

// judge sends the large message, and the pairs if it was not answered.
func (c *Collector) judge(ctx context.Context, b *batch, s sizes, r *Result) (State, error) {
	if s.large > 0 {
		r.Large = s.large
		answered, err := b.send(ctx, message{kind: "large", size: s.large, piece: s.largePiece})
		if err != nil {
			return Unknown, err
		}
		if r.LargeAnswered = answered[0]; r.LargeAnswered {
			return Pass, nil
		}
	}
	r.Size, r.Piece = s.size, s.piece
	last := c.Snapshot()
	before := last.Of(b.probes.Method)
	return b.compare(ctx, message{kind: "fragments", size: s.size, piece: s.piece}, message{kind: "whole", size: s.size}, before.State, r.add)
}

// compare sends pairs of a tested message and a control until they show whether tested messages are
// dropped, in two runs if that is news. It calls count, if set, with the counts of each run.
func (b *batch) compare(ctx context.Context, tested, control message, before State, count func(t *trial)) (State, error) {
	var t trial
	for run := 1; ; run++ {
		if err := b.pairs(ctx, tested, control, &t); err != nil {
			return Unknown, err
		}
		if count != nil {
			count(&t)
		}
		if state := t.judge(); state != Dropped || run == 2 || before == Dropped {
			return state, nil
		}
		t = t.again()
	}
}

func (b *batch) pairs(ctx context.Context, tested, control message, t *trial) error {
	for !t.over() {
		pair := []message{tested, control}
		fragmented := 0
		b.drawn++
		if matched.Heads(b.seed, b.drawn) {
			pair[0], pair[1], fragmented = pair[1], pair[0], 1
		}
		if b.pace = spacing; t.lost() > 1 {
			b.pace = matched.PolitePause
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
	// seed makes the order within pairs, drawn is their number.
	seed, drawn uint64
}

// A message is one to send: size bytes, in fragments of piece bytes unless that is 0. kind makes
// its token differ from the others.
type message struct {
	kind        string
	size, piece int
	// lastFirst sends the fragments in reverse order.
	lastFirst bool
}

// natural returns the least size of a padded message of the form, as a whole IP packet.
func (b *batch) natural() int {
	const padding = 32
	return b.probes.Least() + padding
}

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
		token := packet.Token // see volley.Shot
		shots = append(shots, &volley.Shot{Packet: packet, Accept: func(a *netio.Answer) bool {
			ok, _ := b.probes.Answers(a, token)
			return ok
		}})
	}
	to := listener{b.c.network, b.c, b.probes.Method}
	if err := volley.Fire(ctx, to, shots, b.pace, matched.Patience(b.rtt, leastPatience)); err != nil {
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

func (b *batch) packet(m message) (*netio.Packet, error) {
	p, err := b.probes.Packet(b.probes.Method.String()+"-"+m.kind, m.size)
	if err != nil {
		return nil, err
	}
	p.FragmentSize, p.LastFirst, p.Account = m.piece, m.lastFirst, b.c.opts.Account
	p.Purpose = "IKE message sent whole, without DF: the control of one in fragments"
	if m.piece > 0 {
		p.Linger, p.Purpose = linger, "IKE message in IP fragments: do they arrive?"
	}
	return p, nil
}

// A listener is the network that also records reports that the rest of a message never came. They
// come long after the round has ended.
type listener struct {
	collectors.Network
	c      *Collector
	method collectors.Method
}

// Send implements volley.Sender.
func (l listener) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if p.FragmentSize == 0 {
		l.Network.Send(ctx, p, timeout, answer)
		return
	}
	path := p.Path // the answer may be kept for minutes, and the packet is large
	l.Network.Send(ctx, p, timeout, func(a netio.Answer) {
		if a.Outcome == netio.Unreachable && icmp.ErrorName(path.IPv6(), a.Type, a.Code) == icmp.NameReassemblyTimeout {
			l.c.reported(path, l.method, a.From)
		}
		answer(a)
	})
}

// reported records the address that did not get the rest of a message sent on this path.
func (c *Collector) reported(path netio.Path, m collectors.Method, from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path == c.target.Get().Path {
		c.incomplete[m] = from
	}
}
