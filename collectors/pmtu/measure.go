package pmtu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// ErrNotSent means that a method did not measure because a probe did not leave this host.
var ErrNotSent = errors.New("probe was not sent")

const (
	// maxPacket is the largest IP packet (RFC 791, section 3.1).
	maxPacket = 65535
	// minimumIPv4 and minimumIPv6 are the smallest MTUs that a PTB may name (RFC 1191, section 3;
	// RFC 8201, section 4).
	minimumIPv4, minimumIPv6 = 68, 1280
	// paddedIKE is how much larger than its natural size an IKE control is: enough for the Vendor
	// ID that pads all larger probes. So a peer that does not answer messages with a Vendor ID is
	// not taken for a black hole.
	paddedIKE = 32
)

// A prober sends the probes of one method to one peer and collects their outcomes.
type prober struct {
	network collectors.Network
	target  collectors.Target
	method  collectors.Method
	account *netio.Account
	ike     collectors.IKEProbes
	// fragment, if set, is the size of the fragments of requests, to measure the reverse path.
	fragment int
	// ttl, if set, is the TTL of probes that a router is to answer with time exceeded.
	ttl uint8
	// doubt, if set, is told of the first missing answer.
	doubt *doubt
	// reply is the largest size answered, and the largest fragment of that reply, 0 if it came
	// whole.
	reply struct {
		size, fragment int
		short          bool
	}

	began time.Time
	open  []*flight
	inbox inbox

	// fault is the last ICMP error other than a PTB, which explains a silence.
	fault string
}

// A flight is one probe without an answer.
type flight struct {
	batch *batch
	size  int
	at    time.Duration
	// reported means as silent.
	reported bool
}

// inbox holds answers until the prober's own goroutine takes them.
type inbox struct {
	mu    sync.Mutex
	items []item
	wake  chan struct{}
}

type item struct {
	flight *flight
	answer netio.Answer
	// inexact is set for a netio.Hint.
	inexact bool
}

func (in *inbox) add(it item) {
	it.answer.Payload = nil
	in.mu.Lock()
	in.items = append(in.items, it)
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) take() []item {
	in.mu.Lock()
	defer in.mu.Unlock()
	items := in.items
	in.items = nil
	return items
}

// control returns the smallest size that the method can probe, in bytes of the whole packet.
func (p *prober) control() int {
	header := p.target.Path.HeaderIP()
	if p.fragment > 0 {
		return p.fragment + moreThanOne
	}
	if p.method == collectors.ICMP {
		return header + netio.HeaderEcho + netio.TokenSize
	}
	return p.ike.Least() + paddedIKE
}

// packet returns a probe of this size. Roles give probes of one size different initiator SPIs.
func (p *prober) packet(size int, role string) (*netio.Packet, error) {
	packet := &netio.Packet{Path: p.target.Path, Protocol: netio.Echo, Size: size}
	if p.method != collectors.ICMP {
		var err error
		if packet, err = p.ike.Packet(role, size); err != nil {
			return nil, err
		}
	}
	packet.DontFragment, packet.Account, packet.Purpose = true, p.account, "path MTU by "+p.method.String()+": does this size pass?"
	if p.fragment > 0 {
		packet.DontFragment, packet.FragmentSize, packet.Purpose = false, p.fragment, "reverse path: does a reply of this size come?"
	}
	if p.ttl > 0 {
		packet.TTL, packet.Purpose = p.ttl, "path to the peer: does this size get to the router at this TTL?"
	}
	return packet, nil
}

// reached reports whether an answer proves that a probe got to where it is to go.
func (p *prober) reached(a *netio.Answer) bool {
	return a.Arrived() || p.ttl > 0 && a.Outcome == netio.TimeExceeded
}

func (p *prober) run(ctx context.Context, s *search.Search) error {
	for {
		r, ok := s.Next()
		if !ok {
			return nil
		}
		if err := p.observe(ctx, s, r); err != nil {
			return err
		}
	}
}

// observe makes a round of a search.
func (p *prober) observe(ctx context.Context, s *search.Search, r search.Round) error {
	seen, unsent, err := p.round(ctx, r)
	if err != nil {
		return err
	}
	s.Unsent(unsent)
	s.Observe(time.Since(p.began), seen)
	return nil
}

// A batch is one round.
type batch struct {
	round search.Round
	// open counts its probes without an answer; seen are the outcomes of any probe.
	open int
	seen []search.Observation
	// ended means that the round's Until was met.
	ended  bool
	maxRTT time.Duration
	err    error
}

// round sends a round and waits until every probe is answered or has timed out. It returns the
// outcomes of its probes, late answers to earlier ones, and how many probes were not sent because
// the round ended early.
func (p *prober) round(ctx context.Context, r search.Round) (seen []search.Observation, unsent int, err error) {
	b := &batch{round: r}
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	if r.Delay > 0 {
		p.wait(ctx, b, timer, func() bool { return false })
	}
	sent := 0
	for ; sent < len(r.Sizes) && b.err == nil && !b.ended; sent++ {
		if sent > 0 && r.Spacing > 0 {
			timer.Reset(r.Spacing)
			p.wait(ctx, b, timer, func() bool { return b.ended })
			if b.ended || b.err != nil {
				break
			}
		}
		p.send(ctx, b, r.Sizes[sent])
	}
	last := time.Now()
	done := func() bool { return b.open == 0 || b.ended }
	for b.err == nil && !done() {
		left := time.Until(last.Add(b.patience()))
		if left <= 0 {
			break
		}
		timer.Reset(left)
		answered := b.maxRTT
		p.wait(ctx, b, timer, func() bool { return done() || b.maxRTT != answered })
	}
	if b.err != nil {
		return nil, 0, b.err
	}
	if !b.ended {
		p.giveUp(b)
	}
	return b.seen, len(r.Sizes) - sent, nil
}

// patience is how long to wait after the last probe: an answer shortens the round's timeout.
func (b *batch) patience() time.Duration {
	if b.maxRTT == 0 {
		return b.round.Timeout
	}
	return min(b.round.Timeout, matched.Patience(b.maxRTT, matched.LeastPatience))
}

// allowed returns the reason why no more probes of the form may be sent: the peer accepted it, as
// this or another collector found.
func (p *prober) allowed() error {
	if p.method == collectors.ICMP {
		return nil
	}
	return p.ike.Allowed()
}

func (p *prober) send(ctx context.Context, b *batch, size int) {
	if b.err = p.allowed(); b.err != nil {
		return
	}
	packet, err := p.packet(size, p.method.String())
	if err != nil {
		b.err = fmt.Errorf("%w: %w", ErrNotSent, err)
		return
	}
	f := &flight{batch: b, size: size, at: time.Since(p.began)}
	p.open = append(p.open, f)
	b.open++
	// The round's timeout is enough: a late answer is reported all the same.
	packet.Hint = func(h netio.Hint) {
		p.inbox.add(item{f, netio.Answer{Outcome: netio.TooBig, From: h.From, MTU: h.MTU}, true})
	}
	token := packet.Token // the answer may be kept for minutes, and the packet is large
	p.network.Send(ctx, packet, b.round.Timeout, func(a netio.Answer) {
		if p.counts(token, &a) {
			p.inbox.add(item{flight: f, answer: a})
		}
	})
}

// counts reports whether an answer is evidence: an IKE port must answer with an IKE message.
func (p *prober) counts(token netio.Token, a *netio.Answer) bool {
	if a.Outcome == netio.Silent {
		return false
	}
	return p.method == collectors.ICMP || a.Outcome != netio.Delivered || p.understood(a, token)
}

// understood reports whether a reply is an IKE message, and records what it means for the form.
func (p *prober) understood(a *netio.Answer, token netio.Token) bool {
	ok, accepted := p.ike.Answers(a, token)
	if ok && !accepted {
		p.ike.Dialect.Confirm(p.ike.Form)
	}
	return ok
}

// wait takes answers until stop, an error, or the timer's end.
func (p *prober) wait(ctx context.Context, b *batch, timer *time.Timer, stop func() bool) {
	for {
		for _, it := range p.inbox.take() {
			p.take(b, it)
		}
		if stop() || b.err != nil {
			return
		}
		select {
		case <-p.inbox.wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			b.err = context.Cause(ctx)
			return
		}
	}
}

// take records one answer. The first answer that decides a flight counts.
func (p *prober) take(b *batch, it item) {
	if b.err = cmp.Or(b.err, p.allowed()); b.err != nil {
		return
	}
	i := slices.Index(p.open, it.flight)
	f, a := it.flight, &it.answer
	if i >= 0 && it.inexact {
		b.seen = append(b.seen, search.Observation{
			Size: f.size, At: f.at, Outcome: search.TooBig, MTU: a.MTU, From: a.From, Late: f.reported, Inexact: true,
		})
	}
	if i < 0 || it.inexact {
		return
	}
	o := search.Observation{Size: f.size, At: f.at, Late: f.reported}
	switch {
	case p.reached(a):
		o.Outcome, o.RoundTrip = search.Acked, max(a.RoundTrip, time.Nanosecond)
		p.replied(f.size, a)
	case a.Outcome == netio.TooBig:
		o.Outcome, o.MTU, o.From = search.TooBig, a.MTU, a.From
	case a.Outcome == netio.TooBigLocally:
		o.Outcome, o.MTU = search.TooBigLocally, a.MTU
	case a.Outcome == netio.Unreachable || a.Outcome == netio.TimeExceeded:
		p.fault = fmt.Sprintf("%s answered with ICMP %s", a.From, icmp.ErrorName(a.From.Is6(), a.Type, a.Code))
	case a.Outcome == netio.NotSent:
		b.err = fmt.Errorf("%w: %w", ErrNotSent, a.Err)
		return
	case a.Outcome == netio.Silent:
		return
	}
	p.open = slices.Delete(p.open, i, i+1)
	if f.batch == b {
		b.open--
	}
	if o.Outcome == search.Silent && f.reported {
		return
	}
	b.seen = append(b.seen, o)
	if o.Outcome == search.Acked {
		b.maxRTT = max(b.maxRTT, o.RoundTrip)
	}
	if b.round.Until > 0 && f.size >= b.round.Until && o.Outcome != search.Silent {
		b.ended = true
	}
}

func (p *prober) replied(size int, a *netio.Answer) {
	if size > p.reply.size || size == p.reply.size && a.FragmentSize > p.reply.fragment {
		p.reply.size, p.reply.fragment, p.reply.short = size, a.FragmentSize, a.Short
	}
}

// giveUp reports the unanswered probes of a round as silent. They stay open for late answers, and
// so do the probes of a round that ended early, which have no outcome yet.
func (p *prober) giveUp(b *batch) {
	for _, f := range p.open {
		if f.batch == b {
			f.reported = true
			b.seen = append(b.seen, search.Observation{Size: f.size, At: f.at})
			p.doubt.settle(false)
		}
	}
}
