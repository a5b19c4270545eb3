package ike

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

const (
	// DefaultInterval is how often a round is made if Options do not say.
	DefaultInterval = 30 * time.Second
	// MinGap is the least time between the beginnings of two rounds, whatever the schedule wants.
	MinGap = 10 * time.Second
	// staleAfter is after how many intervals without a round a result is unknown.
	staleAfter = 3
	// routeAge is how long what this host knows about the way to the peer is believed.
	routeAge = time.Minute
)

// Options shape a Collector. The zero value is usable.
type Options struct {
	// Interval is how often the schedule calls for a round; 0 means DefaultInterval.
	Interval time.Duration
	// Account, if set, is charged with what was put on the wire.
	Account *netio.Account
	// Done, if set, is called when a round has ended: with an empty reason, or with one of the Reason constants if a method
	// could not be measured. It must not block, nor call the Collector's Tick.
	Done func(reason string)
}

// A Collector measures one peer by both methods. Its methods may be called from any goroutine, Tick and Measure from one at a time.
type Collector struct {
	ctx     context.Context
	network collectors.Network
	keys    *ikeprobe.Keyring
	opts    Options

	mu         sync.Mutex
	target     collectors.Target
	generation uint64 // counts targets: answers for an earlier one say nothing about this one
	walks      [2]walk
	active     bool
	started    time.Time     // when the newest round began
	promised   time.Time     // when Tick asked to be called next, if that was for the round under way
	changed    chan struct{} // holds one signal after a round has ended, for Measure
	tunnel     string
	routeUntil time.Time
}

// New returns a Collector for the peer t. ctx ends the waiting for the packet budget inside Tick.
func New(ctx context.Context, network collectors.Network, keys *ikeprobe.Keyring, t collectors.Target, opts Options) *Collector {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	opts.Interval = max(opts.Interval, MinGap)
	c := &Collector{ctx: ctx, network: network, keys: keys, opts: opts, target: t, changed: make(chan struct{}, 1)}
	c.walks[0].method, c.walks[1].method = collectors.IKE, collectors.NATT
	for i := range c.walks {
		c.walks[i].setup(t.IKE)
	}
	return c
}

// Name implements collectors.Measurer.
func (*Collector) Name() string { return "ike" }

// Dialect is what the peer is known to answer by a method, for others that speak IKE to it. It is nil for ICMP, and another one
// after SetTarget was called with other IKESettings.
func (c *Collector) Dialect(m collectors.Method) *ikeprobe.Dialect {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.walk(m); w != nil {
		return w.dialect
	}
	return nil
}

func (c *Collector) walk(m collectors.Method) *walk {
	for i := range c.walks {
		if c.walks[i].method == m {
			return &c.walks[i]
		}
	}
	return nil
}

// SetTarget changes where the peer is and how it is spoken to. It ends the round under way and forgets what was known, but not
// the counters, unless nothing changed.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t == c.target {
		return
	}
	spokenTo := t.IKE != c.target.IKE
	c.target = t
	c.generation++
	c.active, c.promised = false, time.Time{}
	c.tunnel, c.routeUntil = "", time.Time{}
	for i := range c.walks {
		if spokenTo {
			c.walks[i].setup(t.IKE)
		} else {
			c.walks[i].forget()
		}
	}
}

// Tick begins a round or goes on with the one under way. It sends at most one packet, and returns when it wants to be
// called next; the zero time means at the next regular phase.
func (c *Collector) Tick(now time.Time) (next time.Time) { return c.tick(c.ctx, now) }

func (c *Collector) tick(ctx context.Context, now time.Time) time.Time {
	if next, rest := c.resting(now); rest {
		return next
	}
	if reason := c.begin(now); reason != "" {
		c.report(true, reason)
		return time.Time{}
	}
	return c.proceed(ctx, now)
}

// resting tells whether there is nothing to do now, and until when if not until the next regular phase.
func (c *Collector) resting(now time.Time) (next time.Time, rest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		return time.Time{}, false
	}
	promised := c.promised
	c.promised = time.Time{}
	if !promised.IsZero() && !now.Before(promised) {
		// A round wanted this call, and an answer has ended it meanwhile. Any earlier call is somebody's wish for another round.
		return time.Time{}, true
	}
	if earliest := c.started.Add(MinGap); now.Before(earliest) {
		return earliest, true
	}
	return time.Time{}, false
}

// begin starts a round unless one is under way or there is a reason not to.
func (c *Collector) begin(now time.Time) (reason string) {
	if c.underWay() {
		return ""
	}
	reason, err := c.checkRoute(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = now
	for i := range c.walks {
		w := &c.walks[i]
		w.begin(now, now.Add(time.Duration(i)*stagger))
		switch {
		case err != nil:
			w.unknown(err)
		case len(w.ladder) == 0:
			w.unknown(errAccepted)
		}
	}
	c.active = err == nil
	return reason
}

func (c *Collector) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// checkRoute gives the reason why nothing may be sent now.
func (c *Collector) checkRoute(now time.Time) (reason string, err error) {
	c.mu.Lock()
	path, generation, fresh, tunnel := c.target.Path, c.generation, now.Before(c.routeUntil), c.tunnel
	c.mu.Unlock()
	if !fresh {
		r, err := c.network.Route(path) // may ask the kernel: not under the lock
		if err != nil {
			return ReasonRoute, err
		}
		tunnel = r.Tunnel
		c.mu.Lock()
		if generation == c.generation {
			c.tunnel, c.routeUntil = tunnel, now.Add(routeAge)
		}
		c.mu.Unlock()
	}
	if tunnel != "" {
		return ReasonTunnel, fmt.Errorf("inside the tunnel: %s", tunnel)
	}
	return "", nil
}

// proceed sends what is due and returns when something is due next.
func (c *Collector) proceed(ctx context.Context, now time.Time) time.Time {
	c.mu.Lock()
	packet, p, wait := c.prepare(now)
	ended, reason := c.close()
	next := c.next(now)
	c.mu.Unlock()
	c.report(ended, reason)
	if packet == nil {
		return next
	}
	began := time.Now()
	c.network.Send(ctx, packet, wait, p.onAnswer)
	blocked := time.Since(began) // for the packet budget

	c.mu.Lock()
	p.booked(now.Add(blocked + wait))
	ended, reason = c.close()
	next = c.next(now)
	c.mu.Unlock()
	c.report(ended, reason)
	return next
}

// prepare makes the packet that is due, if one is, and ends the rounds that have nothing more to send. Under the lock.
func (c *Collector) prepare(now time.Time) (*netio.Packet, *probe, time.Duration) {
	for {
		w := c.earliest()
		if w == nil || w.due.After(now) {
			return nil, nil, 0
		}
		f, wait, ok := w.plan(w.step)
		if !ok {
			w.exhausted()
			continue
		}
		w.step++
		if !w.dialect.Allows(f) {
			continue // dropped since the round began
		}
		if err := w.build(f, c.keys, c.target.Identity()); err != nil {
			w.kept(err)
			continue
		}
		w.sent[f]++
		packet := &netio.Packet{
			Path:        c.target.Path,
			Protocol:    netio.UDP,
			Port:        w.port,
			Token:       w.spi,
			TokenOffset: w.method.Marker(),
			Payload:     w.message,
			Account:     c.opts.Account,
			Purpose:     "is IKE answered on this port?",
		}
		return packet, &probe{c: c, w: w, generation: c.generation, number: w.number, form: f, spi: w.spi, marker: w.marker()}, wait
	}
}

// earliest is the walk under way that is due first, or nil. Under the lock.
func (c *Collector) earliest() *walk {
	var first *walk
	for i := range c.walks {
		if w := &c.walks[i]; c.active && w.active && (first == nil || w.due.Before(first.due)) {
			first = w
		}
	}
	return first
}

// next is when Tick wants to be called: a time after now, or the zero time if no round is under way. Under the lock.
func (c *Collector) next(now time.Time) time.Time {
	w := c.earliest()
	switch {
	case w == nil:
		c.promised = time.Time{}
	case w.due.After(now):
		c.promised = w.due
	default:
		c.promised = now.Add(time.Millisecond)
	}
	return c.promised
}

// close ends the round if both methods have, and tells why one of them could not be measured. Under the lock.
func (c *Collector) close() (ended bool, reason string) {
	if !c.active || c.walks[0].active || c.walks[1].active {
		return false, ""
	}
	c.active = false
	select {
	case c.changed <- struct{}{}:
	default:
	}
	for i := range c.walks {
		if c.walks[i].result.State == Unknown {
			reason = ReasonNotSent
		}
	}
	return true, reason
}

func (c *Collector) report(ended bool, reason string) {
	if ended && c.opts.Done != nil {
		c.opts.Done(reason)
	}
}

// Results are what is known at the time now.
func (c *Collector) Results(now time.Time) Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Results{IKE: c.walks[0].snapshot(now, c.maxAge()), NATT: c.walks[1].snapshot(now, c.maxAge())}
}

func (c *Collector) maxAge() time.Duration { return staleAfter * c.opts.Interval }
