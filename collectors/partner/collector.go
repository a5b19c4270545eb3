package partner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/volley"
	"ipsec_path_exporter/internal/wire/stamp"
)

const (
	// Packets is the number of requests of a round, gap the time between two.
	Packets = 10
	gap     = 20 * time.Millisecond
	// patience is how long a reply may take.
	patience = time.Second
	// standstill is how much too late a wait ends when the program has stood still.
	standstill = 100 * time.Millisecond
	// meetings is how often a partner is asked for its token in one round.
	meetings = 3
)

// Options shape a Collector.
type Options struct {
	// Addr is the address of the partner; if it is not valid, that of the peer. Port is its UDP
	// port.
	Addr netip.Addr
	Port uint16
	// Keys returns the keys of the partner as they are now; nil means unauthenticated mode.
	Keys func() (session.Keys, error)
	// DSCP is that of one request and reply in ten, at most 63.
	DSCP uint8
	Hub  *Hub
	// Clock, if set, returns what is known of the clock of this host.
	Clock func() (largest time.Duration, synchronized bool)
	// Router, if set, knows the way to the partner.
	Router collectors.Router
	// Account, if set, is charged with what is sent.
	Account *netio.Account
}

// A Collector measures with one partner.
type Collector struct {
	opts Options

	measuring sync.Mutex

	mu      sync.Mutex
	current collectors.Shared[collectors.Target] // that the rest is about
	sender  *session.Sender                      // nil until the first round
	round   round
	result  Result
	sizes   sizes
}

// A round is what has come back since it began.
type round struct {
	// sender is that of the Collector when the round began.
	sender         *session.Sender
	sent, received int
	// dropped means that this host may have lost replies.
	dropped bool
	// arrived gets a value when something has come back.
	arrived chan struct{}
	// seen are the meanings of the packets.
	seen [session.Busy + 1]bool
	// replies are those to requests of this round, by number, that had one.
	replies map[uint32]reply
	marked  map[uint32]bool
}

type reply struct {
	session.Receipt
	tos uint8
}

// errNone means that the peer has no partner.
var errNone = errors.New("partner: none is configured")

// New returns a Collector.
func New(opts Options) *Collector { return &Collector{opts: opts} }

// Result returns the newest result, which is not changed afterwards.
func (c *Collector) Result() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// SetTarget discards the results of another path.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Get().Path != t.Path {
		c.current, c.result, c.sender, c.sizes = collectors.Share(t), Result{}, nil, sizes{}
	}
}

// path returns the path of the requests.
func (c *Collector) path(t collectors.Target) netio.Path {
	p := t.Path.For(netio.UDP, c.opts.Port)
	if c.opts.Addr.IsValid() {
		p.Dst = c.opts.Addr
	}
	return p
}

// Measure implements collectors.Measurer.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Result, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	if c.opts.Hub == nil {
		return Result{}, errNone
	}
	c.SetTarget(t)
	path := c.path(t)
	out := Result{To: netip.AddrPortFrom(path.Dst, c.opts.Port)}
	link := 0
	if c.opts.Router != nil {
		var err error
		if path, link, err = withSource(path, c.opts.Router); err != nil {
			return Result{}, fmt.Errorf("partner: %w", err)
		}
	}
	if err := c.prepare(); err != nil {
		out.State, out.Reason = NoKey, NoKey.reason()
		c.publish(t, out)
		return out, fmt.Errorf("partner: %w", err)
	}
	endpoint, err := c.opts.Hub.use()
	if err != nil {
		return Result{}, fmt.Errorf("partner: %w", err)
	}
	defer c.opts.Hub.listen(out.To, c.receive, c.dropped)()
	if err := c.exchange(ctx, endpoint, path); err != nil {
		return Result{}, fmt.Errorf("partner: %w", err)
	}
	if err := c.measureSizes(ctx, endpoint, path, link); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return Result{}, fmt.Errorf("partner: path MTU: %w", err)
	}
	c.conclude(&out)
	c.publish(t, out)
	return out, nil
}

// prepare begins a round with the keys as they are now.
func (c *Collector) prepare() error {
	var keys session.Keys
	if c.opts.Keys != nil {
		var err error
		if keys, err = c.opts.Keys(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sender == nil {
		c.sender = session.NewSender(keys, uint16(1+rand.IntN(1<<16-1)), time.Now()) //nolint:gosec // a name, not a secret
	}
	c.sender.SetKeys(keys)
	c.round = round{sender: c.sender, arrived: make(chan struct{}, 1), replies: make(map[uint32]reply), marked: make(map[uint32]bool)}
	return nil
}

// exchange sends the requests of a round and waits for the replies.
func (c *Collector) exchange(ctx context.Context, e Endpoint, path netio.Path) error {
	for tries := 0; !c.established(); tries++ {
		if tries == meetings {
			return nil // the state says why
		}
		if err := c.send(ctx, e, path, 0); err != nil {
			return err
		}
		if err := c.await(ctx, c.established); err != nil {
			return err
		}
	}
	for i := range Packets {
		if i > 0 {
			if err := volley.Pause(ctx, gap); err != nil {
				return err
			}
		}
		var mark uint8
		if i == Packets/2 {
			mark = c.opts.DSCP
		}
		if err := c.send(ctx, e, path, mark); err != nil {
			return err
		}
	}
	return c.await(ctx, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.round.replies) == Packets
	})
}

func (c *Collector) established() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.round.sender.Established()
}

// await waits until a condition holds, at most as long as a reply may take. Where the program stood still
// meanwhile, replies have come that are not read yet, and it waits again.
func (c *Collector) await(ctx context.Context, holds func() bool) error {
	began, limit := time.Now(), time.NewTimer(patience)
	defer limit.Stop()
	c.mu.Lock()
	arrived := c.round.arrived
	c.mu.Unlock()
	for !holds() {
		select {
		case <-arrived:
		case <-limit.C:
			if time.Since(began) < patience+standstill {
				return nil
			}
			began = time.Now()
			limit.Reset(patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// send sends one request with a DSCP.
func (c *Collector) send(ctx context.Context, e Endpoint, path netio.Path, dscp uint8) error {
	var clock session.Clock
	if c.opts.Clock != nil {
		clock.Error, clock.Synchronized = c.opts.Clock()
	}
	c.mu.Lock()
	payload, number := c.round.sender.Next(session.Request{DSCP: dscp}, clock, time.Now())
	if c.round.sender.Established() {
		c.round.sent++
	}
	if dscp != 0 {
		c.round.marked[number] = true
	}
	c.mu.Unlock()
	return e.Send(ctx, &netio.Outgoing{Path: path, Port: c.opts.Port, TOS: dscp << 2, Payload: payload}, c.opts.Account)
}

// receive takes what comes from the partner.
func (c *Collector) receive(d *netio.Datagram) {
	at := d.At
	if at.IsZero() {
		at = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.round.sender.Receive(d.Payload, at)
	c.round.seen[r.Meaning] = true
	if r.Meaning == session.Answered && r.Matched {
		c.round.received++
		c.round.replies[r.Number] = reply{r, d.TOS}
	}
	select {
	case c.round.arrived <- struct{}{}:
	default: // it is known already
	}
}

// dropped notes that this host may have lost replies.
func (c *Collector) dropped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round.dropped = true
}

// conclude makes the result of a round.
func (c *Collector) conclude(out *Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sender := c.round.sender
	if c.round.dropped {
		sender.Abandon() // what was lost here is no loss of the path
	}
	sender.Settle()
	out.At = time.Now()
	out.Mode, out.Sent, out.Received = sender.Mode(), c.round.sent, c.round.received
	out.Counts, out.OneWay = sender.Counts(), sender.OneWay() || c.result.OneWay && sender.Mode() == stamp.Authenticated
	if c.round.received == 0 {
		sender.Abandon()
	}
	out.State = c.round.state()
	out.Reason = out.State.reason()
	c.round.measure(out, c.opts.DSCP)
	out.There.MTU, out.Back.MTU = c.sizes.there, c.sizes.back
	if collectors.Fresh(c.sizes.fragmentsAt, out.At, fragmentsEvery) {
		out.There.Fragments, out.Back.Fragments = c.sizes.fragmentsThere, c.sizes.fragmentsBack
	}
}

// state returns what the packets of a round show of the partner. An answer counts for more than a
// refusal, which may be an old packet that comes late.
func (r *round) state() State {
	answered := r.received > 0
	for _, m := range []session.Meaning{session.WrongKey, session.Skewed, session.OtherVersion, session.Busy} {
		if r.seen[m] && !answered {
			return of(m)
		}
	}
	switch {
	case r.seen[session.Superseded]:
		return Superseded
	case answered && r.seen[session.Restarted]:
		return Restarted
	case answered:
		return Up
	}
	return Silent
}

// measure fills in what the replies of a round show.
func (r *round) measure(out *Result, dscp uint8) {
	var before *reply
	var pairs int
	var clocks bool
	var total, there, back time.Duration
	ordered := slices.SortedFunc(maps.Values(r.replies), func(a, b reply) int { return cmp.Compare(a.Number, b.Number) })
	for i := range ordered {
		one := &ordered[i]
		total, there, back = total+one.RoundTrip, there+one.There, back+one.Back
		clocks = one.Synchronized && (clocks || i == 0)
		if before != nil {
			pairs++
			out.There.Variation += (one.There - before.There).Abs()
			out.Back.Variation += (one.Back - before.Back).Abs()
		}
		before = one
		if r.marked[one.Number] {
			out.There.Marked, out.There.Sent, out.There.DSCP = one.Marked, dscp, one.DSCP
			out.Back.Marked, out.Back.Sent, out.Back.DSCP = one.Marked, dscp, one.tos>>2
		}
		out.There.ECN, out.Back.ECN = out.There.ECN|one.ECN, out.Back.ECN|one.tos&3
	}
	if len(ordered) == 0 {
		return
	}
	n := time.Duration(len(ordered))
	out.RoundTrip = total / n
	for _, d := range []struct {
		of  *Direction
		sum time.Duration
	}{{&out.There, there}, {&out.Back, back}} {
		if pairs > 0 {
			d.of.Variation, d.of.Varies = d.of.Variation/time.Duration(pairs), true
		}
		d.of.Delay, d.of.Error = d.sum/n, before.Error
		d.of.DelayKnown = clocks && d.of.Delay >= 0 // or a clock is wrong about itself
	}
	if !out.There.DelayKnown || !out.Back.DelayKnown {
		out.There.forgetDelay()
		out.Back.forgetDelay()
	}
}

func (d *Direction) forgetDelay() { d.Delay, d.Error, d.DelayKnown = 0, 0, false }

// publish keeps a result, unless the target has changed meanwhile.
func (c *Collector) publish(t collectors.Target, r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Get().Path != t.Path {
		return
	}
	if r.State == NoKey {
		r.At, r.Counts, r.OneWay = time.Now(), c.result.Counts, c.result.OneWay
	}
	c.result = r
}
