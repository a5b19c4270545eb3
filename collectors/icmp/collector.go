package icmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/histogram"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

const (
	// DefaultInterval is the time between echoes if Options do not say.
	DefaultInterval = 5 * time.Second
	// DefaultTimeout is how long an echo may take. A slower path is of no use to IKE: its first
	// retransmission is due by then.
	DefaultTimeout = 2 * time.Second
	// remembered is the number of decided echoes that determine the state.
	remembered = 3
	// minEchoes is the number of records before one is reused: a late reply needs its record.
	minEchoes = 4
	// maxEchoes bounds the undecided echoes.
	maxEchoes = 16
	// sampleSize is the number of echoes whose loss is one figure: five minutes by DefaultInterval.
	// 15 of them lost are heavy loss.
	sampleSize = 60
)

// Options shape a Collector. The zero value is usable.
type Options struct {
	// Interval is the time between calls of Tick; 0 means DefaultInterval.
	Interval time.Duration
	// Timeout is how long an echo may take; 0 means DefaultTimeout. It is limited to Interval.
	Timeout time.Duration
	Buckets Buckets
	// Router, if set, knows the tunnels of this host: no echo is sent inside one.
	Router collectors.Router
	// Silence, if set, is the record of addresses that do not answer, which says when they may be
	// asked again.
	Silence *silence.Record
	// Once, if set, is the pace of a peer that is measured once.
	Once *collectors.Once
	// Done, if set, is called after each decided echo with an empty reason, and after each echo
	// that measured nothing with a Reason constant. It must not block or call the Collector's Tick.
	Done func(reason string)
}

// A Collector measures one peer. Its methods are safe for concurrent use, except for Tick and
// Measure: one goroutine at a time may call them.
type Collector struct {
	ctx    context.Context //nolint:containedctx // the lifetime of the peer: sends wait for the packet budget with it
	engine Engine
	opts   Options
	gate   collectors.RouteGate
	rtt    *histogram.Histogram

	mu         sync.Mutex
	target     collectors.Shared[collectors.Target]
	generation uint64 // counts paths: answers for an earlier path say nothing about this one
	echoes     []*echo
	next       int
	pending    int
	changed    chan struct{} // receives a signal after an answer, nil before the first Measure

	// These belong to the peer and survive a change of the path.
	requests, replies, duplicates uint64

	// These belong to the path.
	sequence uint64
	history  [remembered]decision
	tally    tally
	loss     collectors.Sampler
	fault    error // why the newest echo could not be sent
	at       time.Time
	answered time.Time // when the newest reply came, zero while a turn is taken
	// sampled is Loss.Since at the newest decision. If that one showed nothing new, steady is until when
	// it is fresh, in nanoseconds; else 0.
	sampled time.Time
	steady  atomic.Int64
	misses  int // unanswered echoes in a row
	// turn is that of the next echo to a peer that stays silent. gap is the time from the last decided
	// echo to the next one, following the time from there until turn; 0 at full pace.
	turn           time.Time
	gap, following time.Duration
}

// An echo is the record of one echo request. Records are reused to avoid an allocation per echo.
type echo struct {
	c          *Collector
	answer     func(netio.Answer)
	generation uint64
	sequence   uint64
	at         time.Time
	pending    bool
	dropped    bool // this host may have dropped the reply: the echo is not counted
}

// A decision is the outcome of an echo; the zero sequence means that there is none.
type decision struct {
	sequence uint64
	answered bool
	at       time.Time             // of sending
	refusal  *collectors.PathError // nil if none came
}

type tally struct {
	sent, received, duplicates int
	last, min, max, sum        time.Duration
	differences                time.Duration // between successive round trips, all together
}

// New returns a Collector for the peer t. ctx ends the wait of Tick for the packet budget.
func New(ctx context.Context, engine Engine, t collectors.Target, opts Options) *Collector {
	opts.Interval = cmp.Or(max(opts.Interval, 0), DefaultInterval)
	opts.Timeout = min(cmp.Or(max(opts.Timeout, 0), DefaultTimeout), opts.Interval)
	return &Collector{
		ctx: ctx, engine: engine, opts: opts, gate: collectors.RouteGate{Router: opts.Router}, rtt: newHistogram(opts.Buckets),
		target: collectors.Share(t), loss: collectors.Sampler{Size: sampleSize},
	}
}

// SetTarget changes the target. A new path discards the result, but not the counters.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Path != c.target.Get().Path {
		c.forget()
	}
	c.target = collectors.Share(t)
}

// forget discards what is known about the path. The caller holds the lock.
func (c *Collector) forget() {
	c.generation++
	c.gate.Forget()
	c.history = [remembered]decision{}
	c.tally = tally{}
	c.loss.Forget()
	c.fault, c.at, c.answered = nil, time.Time{}, time.Time{}
	c.misses, c.turn, c.gap, c.following = 0, time.Time{}, 0, 0
	c.steady.Store(0)
}

// Tick sends one echo, unless a silent peer rests, and returns when it is due again: the zero time
// for the next regular phase.
func (c *Collector) Tick(now time.Time) (next time.Time) {
	next, slow := c.rests(now)
	if !next.IsZero() {
		return next
	}
	c.tick(c.ctx, now)
	if slow {
		return c.nextTurn(now)
	}
	return time.Time{}
}

func (c *Collector) tick(ctx context.Context, now time.Time) {
	if reason := c.blocked(now); reason != "" {
		c.done(reason)
		return
	}
	c.mu.Lock()
	e := c.takeEcho()
	if e == nil {
		c.fault = fmt.Errorf("%d echoes are still undecided", c.pending)
		c.mu.Unlock()
		c.done(ReasonBusy)
		return
	}
	c.sequence++
	c.pending++
	e.generation, e.sequence, e.at, e.pending, e.dropped = c.generation, c.sequence, now, true, false
	path := c.target.Get().Path
	c.mu.Unlock()
	c.engine.Echo(ctx, path, c.opts.Timeout, e.answer)
}

// blocked returns the reason why no echo may be sent now, or an empty string.
func (c *Collector) blocked(now time.Time) (reason string) {
	c.mu.Lock()
	path, generation := c.target.Get().Path, c.generation
	c.mu.Unlock()
	reason, err := c.gate.Check(path, now)
	if err == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return ""
	}
	c.fault = err
	if reason == collectors.ReasonTunnel {
		c.history = [remembered]decision{} // the path is unknown from now on
	}
	return reason
}

// takeEcho returns a record that no undecided echo uses, the oldest first, or nil. The caller holds
// the lock.
func (c *Collector) takeEcho() *echo {
	if len(c.echoes) >= minEchoes {
		c.next = (c.next + 1) % len(c.echoes)
		if e := c.echoes[c.next]; !e.pending {
			return e
		}
		if len(c.echoes) >= maxEchoes {
			return nil
		}
	}
	e := &echo{c: c}
	e.answer = e.onAnswer
	c.echoes = append(c.echoes, e)
	c.next = len(c.echoes) - 1
	return e
}

func (c *Collector) done(reason string) {
	if c.opts.Done != nil {
		c.opts.Done(reason)
	}
}

// Steady reports whether the newest decided echo is fresh and showed nothing new: it and the ones
// before were answered in time, and no sample of loss ended with it.
func (c *Collector) Steady(now time.Time) bool { return now.UnixNano() < c.steady.Load() }

// Result returns what is known at the time now.
func (c *Collector) Result(now time.Time) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally
	r := Result{
		State: c.state(now), At: c.at, Sent: t.sent, Received: t.received, Duplicates: t.duplicates,
		Last: t.last, Min: t.min, Max: t.max, Error: c.refusal(), Loss: c.loss.Last,
	}
	for _, d := range c.history {
		if d.sequence != 0 && !d.answered {
			r.Unanswered++
			if r.Since.IsZero() || d.at.Before(r.Since) {
				r.Since = d.at
			}
		}
	}
	if r.Received > 0 {
		r.Avg = t.sum / time.Duration(r.Received)
	}
	if r.Received > 1 {
		r.Jitter = t.differences / time.Duration(r.Received-1)
	}
	if c.share(&r, now) {
		return r
	}
	switch {
	case c.fault != nil:
		r.Reason = c.fault.Error()
	case r.State == Unknown && c.at.IsZero():
		r.Reason = "no echo has been decided yet"
	case r.State == Unknown:
		r.Reason = "no echo has been decided for three intervals"
	}
	return r
}

// share takes the silence that the echoes of all peers of the address by the same way show together,
// and reports whether there is one. The caller holds the lock.
func (c *Collector) share(r *Result, now time.Time) bool {
	shown := c.opts.Silence.Shown(now, netio.Lane(c.target.Get().Path, netio.Echo, 0))
	if c.fault != nil && !errors.Is(c.fault, silence.ErrBudget) || !shown.After(r.Since) {
		return false
	}
	r.State, r.Since, r.Unanswered = Silent, shown, max(r.Unanswered, remembered)
	if shown.After(r.At) {
		r.At = shown
	}
	return true
}

// refusal returns the newest ICMP error that came for one of the last three echoes, and for how
// many of these it did. The caller holds the lock.
func (c *Collector) refusal() (newest collectors.PathError) {
	var at time.Time
	for _, d := range c.history {
		if e := d.refusal; e != nil && e.From.IsValid() && d.at.After(at) {
			newest, at = *e, d.at
		}
	}
	newest.Count = 0
	for _, d := range c.history {
		if e := d.refusal; e != nil && e.From.IsValid() && e.From == newest.From && e.Type == newest.Type && e.Code == newest.Code {
			newest.Count++
		}
	}
	return newest
}

// state returns the state after the last three decided echoes. The caller holds the lock.
func (c *Collector) state(now time.Time) State {
	if !collectors.Fresh(c.at, now, max(c.opts.Interval, c.gap, c.following)) {
		return Unknown
	}
	s := Unknown
	for _, d := range c.history {
		switch {
		case d.sequence == 0:
		case d.answered:
			return Reachable
		default:
			s = Silent
		}
	}
	return s
}
