package pmtu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// ErrNotSent means that the path was not measured by a method because a probe did not leave this host.
var ErrNotSent = errors.New("probe was not sent")

const (
	// maxPacket is the largest IP packet (RFC 791, section 3.1).
	maxPacket = 65535
	// minimumIPv4 and minimumIPv6 are the smallest MTUs that a PTB may name (RFC 1191, section 3; RFC 8201, section 4).
	minimumIPv4, minimumIPv6 = 68, 1280
	// paddedIKE is how much larger than its natural size an IKE control is: enough for the Vendor ID that pads all larger
	// ones, so that a peer that does not answer messages with one is not taken for a black hole.
	paddedIKE = 32
)

// A prober makes and sends the probes of one method to one peer and hears what becomes of them.
type prober struct {
	network collectors.Network
	target  collectors.Target
	method  collectors.Method
	account *netio.Account
	// ike are the messages of the IKE methods.
	ike collectors.IKEProbes
	// fragment, if set, sends echo requests in fragments of so many bytes, to look at the way back.
	fragment int
	// reply is the largest size that was answered, and the largest fragment in which that reply came, 0 if whole.
	reply struct {
		size, fragment int
		short          bool
	}

	began time.Time
	// open are probes that were not reported yet, or were reported as silent.
	open []*flight
	news news

	// fault is the last ICMP error other than a PTB, which explains a silence.
	fault string
}

// A flight is one probe on its way.
type flight struct {
	play *play
	size int
	at   time.Duration
	// reported means that the search was told that it is silent.
	reported bool
}

// news is what answers have brought, until the prober's own goroutine takes it.
type news struct {
	mu    sync.Mutex
	items []item
	wake  chan struct{}
}

// An item is one answer to one flight.
type item struct {
	flight *flight
	answer netio.Answer
}

func (n *news) add(f *flight, a netio.Answer) {
	a.Payload = nil
	n.mu.Lock()
	n.items = append(n.items, item{f, a})
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() []item {
	n.mu.Lock()
	defer n.mu.Unlock()
	items := n.items
	n.items = nil
	return items
}

// control is the smallest size that the method can probe, in bytes of the whole packet.
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

// packet makes a probe of exactly this size.
func (p *prober) packet(size int) (*netio.Packet, error) { return p.build(size, p.method.String()) }

// build makes a probe of exactly this size. role tells its initiator SPI apart from those of the same size.
func (p *prober) build(size int, role string) (*netio.Packet, error) {
	packet := &netio.Packet{Path: p.target.Path, Protocol: netio.Echo, Size: size}
	if p.method != collectors.ICMP {
		var err error
		if packet, err = p.ike.Packet(role, size); err != nil {
			return nil, err
		}
	}
	packet.DontFragment, packet.Account, packet.Purpose = true, p.account, "path MTU by "+p.method.String()+": does this size pass?"
	if p.fragment > 0 {
		packet.DontFragment, packet.FragmentSize, packet.Purpose = false, p.fragment, "way back: does a reply of this size come?"
	}
	return packet, nil
}

// run drives a search to its end.
func (p *prober) run(ctx context.Context, s *Search) error {
	for {
		r, ok := s.Next()
		if !ok {
			return nil
		}
		seen, unsent, err := p.play(ctx, r)
		if err != nil {
			return err
		}
		s.Unsent(unsent)
		s.Observe(time.Since(p.began), seen)
	}
}

// A play is one round while it is played.
type play struct {
	round Round
	// open are its probes without an answer, seen what became of any probe.
	open int
	seen []Observation
	// hit means that the round's Until was met.
	hit    bool
	maxRTT time.Duration
	err    error
}

// play sends a round and waits until every probe is answered, or its time is over. It returns what became of its
// probes, and late news of earlier ones, and how many probes were not sent because the round ended early.
func (p *prober) play(ctx context.Context, r Round) (seen []Observation, unsent int, err error) {
	pl := &play{round: r}
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	if r.Delay > 0 {
		p.wait(ctx, pl, timer, func() bool { return false })
	}
	sent := 0
	for ; sent < len(r.Sizes) && pl.err == nil && !pl.hit; sent++ {
		if sent > 0 && r.Spacing > 0 {
			timer.Reset(r.Spacing)
			p.wait(ctx, pl, timer, func() bool { return pl.hit })
			if pl.hit || pl.err != nil {
				break
			}
		}
		p.send(ctx, pl, r.Sizes[sent])
	}
	last := time.Now()
	done := func() bool { return pl.open == 0 || pl.hit }
	for pl.err == nil && !done() {
		left := time.Until(last.Add(pl.patience()))
		if left <= 0 {
			break
		}
		timer.Reset(left)
		answered := pl.maxRTT
		p.wait(ctx, pl, timer, func() bool { return done() || pl.maxRTT != answered })
	}
	if pl.err != nil {
		return nil, 0, pl.err
	}
	if !pl.hit {
		p.giveUp(pl)
	}
	return pl.seen, len(r.Sizes) - sent, nil
}

// patience is how long to wait after the last probe: an answer to this round shortens what was guessed before it.
func (pl *play) patience() time.Duration {
	if pl.maxRTT == 0 {
		return pl.round.Timeout
	}
	return min(pl.round.Timeout, Patience(pl.maxRTT))
}

// allowed gives the reason why no more probes of the form may be sent, by whomever the peer was found to accept it.
func (p *prober) allowed() error {
	if p.method == collectors.ICMP {
		return nil
	}
	return p.ike.Allowed()
}

// send sends one probe.
func (p *prober) send(ctx context.Context, pl *play, size int) {
	if pl.err = p.allowed(); pl.err != nil {
		return
	}
	packet, err := p.packet(size)
	if err != nil {
		pl.err = fmt.Errorf("%w: %w", ErrNotSent, err)
		return
	}
	f := &flight{play: pl, size: size, at: time.Since(p.began)}
	p.open = append(p.open, f)
	pl.open++
	// The round's timeout is enough: an answer that comes late is told all the same.
	p.network.Send(ctx, packet, pl.round.Timeout, func(a netio.Answer) {
		if p.counts(packet, &a) {
			p.news.add(f, a)
		}
	})
}

// counts tells whether an answer is worth telling. What came back from an IKE port must be an IKE message, and not
// the probe itself that something on the path sent back.
func (p *prober) counts(packet *netio.Packet, a *netio.Answer) bool {
	if a.Outcome == netio.Silent {
		return false
	}
	if p.method == collectors.ICMP || a.Outcome != netio.Delivered {
		return true
	}
	return p.understood(a, packet.Token)
}

// understood tells whether a reply is an IKE message, and notes what it means for the form.
func (p *prober) understood(a *netio.Answer, token netio.Token) bool {
	ok, accepted := p.ike.Answers(a, token)
	if ok && !accepted {
		p.ike.Dialect.Confirm(p.ike.Form)
	}
	return ok
}

// wait takes news until stop, an error, or the timer's end.
func (p *prober) wait(ctx context.Context, pl *play, timer *time.Timer, stop func() bool) {
	for {
		for _, it := range p.news.take() {
			p.hear(pl, it)
		}
		if stop() || pl.err != nil {
			return
		}
		select {
		case <-p.news.wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			pl.err = context.Cause(ctx)
			return
		}
	}
}

// hear takes one answer. The first that decides a flight is the one that counts.
func (p *prober) hear(pl *play, it item) {
	if pl.err = cmp.Or(pl.err, p.allowed()); pl.err != nil {
		return
	}
	i := slices.Index(p.open, it.flight)
	if i < 0 {
		return
	}
	f, a := it.flight, &it.answer
	o := Observation{Size: f.size, At: f.at, Late: f.reported}
	switch a.Outcome {
	case netio.Delivered, netio.Refused:
		o.Outcome, o.RoundTrip = Acked, max(a.RoundTrip, time.Nanosecond)
		p.replied(f.size, a)
	case netio.TooBig:
		o.Outcome, o.MTU, o.From = TooBig, a.MTU, a.From
	case netio.TooBigLocally:
		o.Outcome, o.MTU = TooBigLocally, a.MTU
	case netio.Unreachable, netio.TimeExceeded:
		p.fault = fmt.Sprintf("%s answered with ICMP %s", a.From, icmp.ErrorName(a.From.Is6(), a.Type, a.Code))
	case netio.NotSent:
		pl.err = fmt.Errorf("%w: %w", ErrNotSent, a.Err)
		return
	case netio.Silent:
		return
	}
	p.open = slices.Delete(p.open, i, i+1)
	if f.play == pl {
		pl.open--
	}
	if o.Outcome == Silent && f.reported {
		return
	}
	pl.seen = append(pl.seen, o)
	if o.Outcome == Acked {
		pl.maxRTT = max(pl.maxRTT, o.RoundTrip)
	}
	if pl.round.Until > 0 && f.size >= pl.round.Until && o.Outcome != Silent {
		pl.hit = true
	}
}

// replied notes in what fragments the reply to a probe came.
func (p *prober) replied(size int, a *netio.Answer) {
	if size > p.reply.size || size == p.reply.size && a.FragmentSize > p.reply.fragment {
		p.reply.size, p.reply.fragment, p.reply.short = size, a.FragmentSize, a.Short
	}
}

// giveUp reports the round's probes that were not answered as silent. They stay open for late answers, as do those of
// rounds that ended early, of which nothing is known yet.
func (p *prober) giveUp(pl *play) {
	for _, f := range p.open {
		if f.play == pl {
			f.reported = true
			pl.seen = append(pl.seen, Observation{Size: f.size, At: f.at})
		}
	}
}

// A Result is what one round found out by one method.
type Result struct {
	Method collectors.Method
	State  State
	// Bytes is the path MTU of a conclusive state, or else the most that was proven to pass; LinkBytes is the
	// most that could be tried.
	Bytes, LinkBytes int
	// Packets and Duration are what the round cost.
	Packets  int
	Duration time.Duration
	// PTBReceived counts valid PTBs, PTBRejected those of them that were of no use, by reason in Rejected.
	PTBReceived, PTBRejected int
	Rejected                 [rejections]int
	// PTBFrom and PTBMTU are the sender and the content of the last PTB for more than Bytes, if any.
	PTBFrom netip.Addr
	PTBMTU  int
	// Loss is the share of lost probes among those that fit, LossSamples their number.
	Loss        float64
	LossSamples int
	// RoundTrip is the longest one seen.
	RoundTrip time.Duration
	// ReplyFragment is the size of the largest fragment in which the reply to the largest echo came, 0 if it came whole.
	ReplyFragment int
	// ReplyShort means that this reply carried less than its request did.
	ReplyShort bool
	// LastHopPassed and FirstHopFailed are the routers between which larger packets vanish; the zero Addr where that is not known.
	LastHopPassed, FirstHopFailed netip.Addr
	// Form is the IKE form that was used, empty for ICMP.
	Form string
	// Reason says why there is no better state; empty for conclusive ones.
	Reason string
	// At is when the round ended.
	At time.Time
}

// result makes the result of a search that ended.
func (p *prober) result(s *Search, took time.Duration) Result {
	v := s.Verdict()
	r := Result{
		Method: p.method, State: v.State, Bytes: v.Bytes, LinkBytes: v.Link, Packets: v.Packets, Duration: took,
		PTBReceived: v.PTBs, PTBRejected: v.RejectedTotal(), Rejected: v.Rejected, PTBFrom: v.PTB.From, PTBMTU: v.PTB.MTU,
		Loss: v.Loss, LossSamples: v.Samples, RoundTrip: v.RoundTrip, Reason: v.Reason, At: time.Now(),
	}
	if p.method != collectors.ICMP {
		r.Form = p.ike.Form.String()
	} else if p.reply.size == v.Bytes {
		r.ReplyFragment, r.ReplyShort = p.reply.fragment, p.reply.short
	}
	if v.State == Unreachable && p.fault != "" {
		r.Reason += ": " + p.fault
	}
	return r
}
