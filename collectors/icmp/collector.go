package icmp

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

const (
	// DefaultInterval is how often a peer is asked if Options do not say.
	DefaultInterval = 5 * time.Second
	// DefaultTimeout is how long an echo may take. Beyond it a path is of no use to IKE, whose first retransmission is due by then.
	DefaultTimeout = 2 * time.Second
	// remembered is how many decided echoes make the state.
	remembered = 3
	// staleAfter is after how many intervals without a decided echo the state is unknown.
	staleAfter = 3
	// routeAge is how long what this host knows about the way to the peer is believed.
	routeAge = time.Minute
	// minEchoes is after how many echoes the record of an earlier one is used again, so that late replies find theirs.
	minEchoes = 4
	// maxEchoes bounds the echoes under way.
	maxEchoes = 16
)

// A Router tells what this host knows about the way to a peer. Every collectors.Network is one.
type Router interface {
	Route(path netio.Path) (netio.Route, error)
}

// Options shape a Collector. The zero value is usable.
type Options struct {
	// Interval is how often Tick is called; 0 means DefaultInterval.
	Interval time.Duration
	// Timeout is how long an echo may take; 0 means DefaultTimeout. It is cut to Interval.
	Timeout time.Duration
	// Buckets are those of the histogram of round trips.
	Buckets Buckets
	// Router, if set, tells about tunnels of this host: an echo inside one would not measure the path.
	Router Router
	// Done, if set, is called after every echo that was decided, with an empty reason, and after every one
	// that could not be sent, with one of the Reason constants. It must not block, nor call the Collector's Tick.
	Done func(reason string)
}

// A Collector measures one peer. Its methods may be called from any goroutine, Tick and Measure from one at a time.
type Collector struct {
	ctx    context.Context
	engine Engine
	opts   Options
	rtt    histogram

	mu         sync.Mutex
	target     collectors.Target
	generation uint64 // counts addresses: answers for an earlier one say nothing about this one
	echoes     []*echo
	next       int
	pending    int
	changed    chan struct{} // holds one signal after an answer, for Measure

	// These belong to the peer and survive a change of its address.
	requests, replies, duplicates uint64

	// These belong to the address.
	sequence   uint64
	history    [remembered]decision
	tally      tally
	fault      error // why the newest echo could not be sent
	pathError  PathError
	at         time.Time
	tunnel     string
	routeUntil time.Time
}

// An echo is the record of one echo request; records are used again, so that an echo costs no garbage.
type echo struct {
	c          *Collector
	answer     func(netio.Answer)
	generation uint64
	sequence   uint64
	at         time.Time
	pending    bool
	dropped    bool // its answer may have been lost on this host: it is not counted
}

// A decision is what became of an echo; a zero sequence means none.
type decision struct {
	sequence uint64
	answered bool
	at       time.Time // of sending
}

type tally struct {
	sent, received, duplicates int
	last, min, max, sum        time.Duration
}

// New returns a Collector for the peer t. ctx ends the waiting for the packet budget inside Tick.
func New(ctx context.Context, engine Engine, t collectors.Target, opts Options) *Collector {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	opts.Timeout = min(opts.Timeout, opts.Interval)
	return &Collector{
		ctx:     ctx,
		engine:  engine,
		opts:    opts,
		rtt:     newHistogram(opts.Buckets),
		target:  t,
		changed: make(chan struct{}, 1),
	}
}

// Name implements collectors.Measurer.
func (*Collector) Name() string { return "icmp" }

// SetTarget changes where the peer is. A new address, source or interface forgets what was known, but not the counters.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Path != c.target.Path {
		c.forget()
	}
	c.target = t
}

// forget drops what is known about the path. Under the lock.
func (c *Collector) forget() {
	c.generation++
	c.history = [remembered]decision{}
	c.tally = tally{}
	c.fault, c.pathError, c.at = nil, PathError{}, time.Time{}
	c.tunnel, c.routeUntil = "", time.Time{}
}

// Tick sends one echo. It returns the zero time: call it again at the next regular phase.
func (c *Collector) Tick(now time.Time) (next time.Time) {
	c.tick(c.ctx, now)
	return time.Time{}
}

func (c *Collector) tick(ctx context.Context, now time.Time) {
	if reason := c.checkRoute(now); reason != "" {
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
	path := c.target.Path
	c.mu.Unlock()
	c.engine.Echo(ctx, path, c.opts.Timeout, e.answer)
}

// checkRoute gives the reason why nothing may be sent now, or an empty one.
func (c *Collector) checkRoute(now time.Time) (reason string) {
	if c.opts.Router == nil {
		return ""
	}
	c.mu.Lock()
	path, generation, fresh, tunnel := c.target.Path, c.generation, now.Before(c.routeUntil), c.tunnel
	c.mu.Unlock()
	var err error
	if !fresh {
		var r netio.Route
		r, err = c.opts.Router.Route(path) // may ask the kernel: not under the lock
		tunnel = r.Tunnel
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case generation != c.generation:
		return ""
	case err != nil:
		c.fault = err
		return ReasonRoute
	case !fresh:
		c.tunnel, c.routeUntil = tunnel, now.Add(routeAge)
	}
	if tunnel == "" {
		return ""
	}
	c.history = [remembered]decision{}
	c.fault = fmt.Errorf("inside the tunnel: %s", tunnel)
	return ReasonTunnel
}

// takeEcho returns a record that no echo under way uses, the one that was used longest ago, or nil. Under the lock.
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

// Result is what is known at the time now.
func (c *Collector) Result(now time.Time) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Result{
		State:      c.state(now),
		At:         c.at,
		Sent:       c.tally.sent,
		Received:   c.tally.received,
		Duplicates: c.tally.duplicates,
		Last:       c.tally.last,
		Min:        c.tally.min,
		Max:        c.tally.max,
		Error:      c.pathError,
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
		r.Avg = c.tally.sum / time.Duration(r.Received)
	}
	switch {
	case c.fault != nil:
		r.Reason = c.fault.Error()
	case r.State == Unknown && c.at.IsZero():
		r.Reason = "no echo was decided yet"
	case r.State == Unknown:
		r.Reason = "no echo was decided for three intervals"
	}
	return r
}

// state is made by the last three decided echoes. Under the lock.
func (c *Collector) state(now time.Time) State {
	if now.Sub(c.at) > staleAfter*c.opts.Interval {
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
