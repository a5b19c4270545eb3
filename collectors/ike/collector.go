package ike

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

const (
	// DefaultInterval is the time between rounds if Options do not say.
	DefaultInterval = 30 * time.Second
	// MinGap is the least time from the start of a round to the start of the next one.
	MinGap = 10 * time.Second
	// confirmGap is that time where a silent round is confirmed of a peer that answers nothing at all: by
	// then echo requests and fresh flows have shown the silence too, and are to be confirmed with it.
	confirmGap = 2 * MinGap
)

// Options shape a Collector. The zero value is usable.
type Options struct {
	// Interval is the time between rounds; 0 means DefaultInterval.
	Interval time.Duration
	// Account, if set, is charged with what was put on the wire.
	Account *netio.Account
	// Silence, if set, is the record of addresses that do not answer, which says when they may be
	// asked again.
	Silence *silence.Record
	// Once, if set, is the pace of a peer that is measured once.
	Once *collectors.Once
	// Done, if set, is called when a round has ended, with an empty reason or, if a method could
	// not be measured, with one of Reasons. It must not block or call the Collector's Tick.
	Done func(reason string)
}

// A Collector measures one peer by both methods. Its methods are safe for concurrent use, except
// for Tick and Measure: one goroutine at a time may call them.
type Collector struct {
	ctx     context.Context //nolint:containedctx // the lifetime of the peer: sends wait for the packet budget with it
	network collectors.Network
	keys    *ikeprobe.Keyring
	opts    Options
	gate    collectors.RouteGate

	mu         sync.Mutex
	target     collectors.Shared[collectors.Target]
	generation uint64 // counts targets: answers for an earlier target say nothing about this one
	walks      [2]walk
	active     bool
	started    time.Time     // start of the newest round
	promised   time.Time     // next call that Tick asked for to continue a round
	changed    chan struct{} // receives a signal after a round, nil before the first Measure

	// crawl is the stretched round, nil if rounds are not stretched; crawled is when its newest probe
	// was sent, gap the time from there to the next one.
	crawl   *crawl
	crawled time.Time
	asked   time.Time // when the newest probe was sent, in whatever round
	gap     time.Duration
	// starved means that a round was ended because the address had been sent too much.
	starved bool
	// silentRounds is the number of silent rounds in a row, since silentSince.
	silentRounds int
	silentSince  time.Time
	// reserved is when the next round may begin, zero if that is not known; spread is the time
	// between rounds where other peers of the address delay them.
	reserved time.Time
	spread   time.Duration
}

// New returns a Collector for the peer t. ctx ends the wait of Tick for the packet budget.
func New(ctx context.Context, network collectors.Network, keys *ikeprobe.Keyring, t collectors.Target, opts Options) *Collector {
	opts.Interval = max(cmp.Or(max(opts.Interval, 0), DefaultInterval), MinGap)
	c := &Collector{
		ctx: ctx, network: network, keys: keys, opts: opts, gate: collectors.RouteGate{Router: network},
		target: collectors.Share(t),
	}
	c.walks[0].method, c.walks[1].method = collectors.IKE, collectors.NATT
	for i := range c.walks {
		c.walks[i].setup(t.IKE)
	}
	return c
}

// Dialect returns what the peer is known to answer by a method, for other collectors that send IKE
// messages. It is nil for ICMP. SetTarget with other IKESettings makes a new Dialect.
func (c *Collector) Dialect(m collectors.Method) *ikeprobe.Dialect {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.walks {
		if c.walks[i].method == m {
			return c.walks[i].dialect
		}
	}
	return nil
}

// SetTarget changes the target. A different target ends the current round and discards the results,
// but not the counters.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t == c.target.Get() {
		return
	}
	changed := t.IKE != c.target.Get().IKE
	c.target = collectors.Share(t)
	c.generation++
	c.gate.Forget()
	c.active, c.promised = false, time.Time{}
	c.endCrawl()
	c.starved, c.silentRounds, c.reserved, c.gap, c.spread = false, 0, time.Time{}, 0, 0
	for i := range c.walks {
		if changed {
			c.walks[i].setup(t.IKE)
		} else {
			c.walks[i].forget()
		}
	}
}

// Tick starts a round or continues the current one. It sends at most one packet and returns the
// time of the next call; the zero time means the next regular phase.
func (c *Collector) Tick(now time.Time) (next time.Time) {
	if next, ok := c.crawls(c.ctx, now); ok {
		return next
	}
	return c.tick(c.ctx, now, c.turn)
}

// tick continues a round, or begins one at the time that turn returns.
func (c *Collector) tick(ctx context.Context, now time.Time, turn func(now time.Time) time.Time) time.Time {
	if next, rest := c.resting(now); rest {
		return next
	}
	if at := turn(now); at.After(now) {
		return at
	}
	if reason := c.begin(now); reason != "" {
		c.report(true, reason)
		return time.Time{}
	}
	return c.proceed(ctx, now)
}

// resting reports whether there is nothing to do now, and returns the time of the next call.
func (c *Collector) resting(now time.Time) (next time.Time, rest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		return time.Time{}, false
	}
	promised := c.promised
	c.promised = time.Time{}
	if !promised.IsZero() && !now.Before(promised) {
		// The call was meant for a round that an answer has ended; an earlier one asks for another.
		return time.Time{}, true
	}
	earliest := c.started.Add(c.minGap())
	if !c.opts.Silence.Spoke(netio.Lane(c.target.Get().Path, netio.Echo, 0), now) {
		switch {
		case c.silentRounds == 1:
			earliest = c.started.Add(confirmGap)
		case c.othersAsk(now):
			earliest = now.Add(time.Second)
		}
	}
	if now.Before(earliest) {
		return earliest, true
	}
	return time.Time{}, false
}

// minGap is the least time from the start of a round to the start of the next one.
func (c *Collector) minGap() time.Duration {
	if c.opts.Once != nil {
		return c.opts.Once.IKEGap
	}
	return MinGap
}

// begin starts a round if none is active, and returns the reason if it cannot.
func (c *Collector) begin(now time.Time) (reason string) {
	c.mu.Lock()
	active, path := c.active, c.target.Get().PathOf(collectors.IKE)
	c.mu.Unlock()
	if active {
		return ""
	}
	reason, err := c.gate.Check(path, now)
	st, echo := c.standing(now), c.opts.Silence.Standing(netio.Lane(path, netio.Echo, 0), now)
	c.mu.Lock()
	defer c.mu.Unlock()
	others := c.othersShow(now)
	c.started = now
	dead := echo.Mute && now.Sub(echo.Answered) < silence.Window // it died just now
	again := c.opts.Silence != nil && c.silentRounds > 0
	brief, alone := st.Mute || dead || again, dead || again
	for i := range c.walks {
		w := &c.walks[i]
		w.begin(now, now.Add(time.Duration(i)*stagger), brief, alone)
		switch {
		case err != nil:
			w.unknown(err)
		case len(w.ladder) == 0:
			w.unknown(errAccepted)
		case others:
			w.adopt(c.shown(now))
		}
	}
	c.active = err == nil
	return reason
}

// proceed sends the probe that is due and returns the time of the next call.
func (c *Collector) proceed(ctx context.Context, now time.Time) time.Time {
	c.mu.Lock()
	c.shorten(now)
	packet, p, wait := c.prepare(now)
	ended, reason := c.close()
	next := c.next(now)
	c.mu.Unlock()
	c.report(ended, reason)
	if packet == nil {
		return next
	}
	began := time.Now()
	c.mu.Lock()
	c.asked = now
	c.mu.Unlock()
	c.network.Send(ctx, packet, wait, p.onAnswer)
	blocked := time.Since(began) // for the packet budget

	c.mu.Lock()
	if errors.Is(p.unsent, silence.ErrBudget) {
		c.starve(now)
		ended, reason = true, collectors.ReasonBudget
	} else {
		p.sent(now.Add(blocked + wait))
		ended, reason = c.close()
	}
	next = c.next(now)
	c.mu.Unlock()
	c.report(ended, reason)
	return next
}

// prepare makes the packet that is due, or returns nil, and ends the walks whose plan is finished.
// The caller holds the lock.
func (c *Collector) prepare(now time.Time) (*netio.Packet, *probe, time.Duration) {
	for {
		w := c.earliest()
		if w == nil || w.due.After(now) {
			return nil, nil, 0
		}
		f, wait, ok := w.plan(w.step)
		if c.opts.Once != nil && !w.known {
			wait = min(wait, c.opts.Once.IKEWait)
		}
		if !ok {
			w.exhausted()
			continue
		}
		w.step++
		if !w.dialect.Allows(f) {
			continue // dropped since the round began
		}
		if packet, p := c.dispatch(w, f); packet != nil {
			return packet, p, wait
		}
	}
}

// dispatch makes the packet of a form and the record for its answer, nil if that fails. The caller
// holds the lock.
func (c *Collector) dispatch(w *walk, f ikeprobe.Form) (*netio.Packet, *probe) {
	packet, err := w.build(f, c.keys, c.target.Get())
	if err != nil {
		w.notSent(err)
		return nil, nil
	}
	w.sent[f]++
	packet.Account, packet.Purpose = c.opts.Account, collectors.PurposeIKE
	return &packet, &probe{c: c, w: w, generation: c.generation, number: w.number, form: f, token: packet.Token}
}

// earliest returns the active walk that is due first, or nil. The caller holds the lock.
func (c *Collector) earliest() *walk {
	var first *walk
	for i := range c.walks {
		if w := &c.walks[i]; c.active && w.active && (first == nil || w.due.Before(first.due)) {
			first = w
		}
	}
	return first
}

// next returns the time of the next call of Tick: a time after now, or the zero time if no round is
// active. The caller holds the lock.
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

// close ends the round after both walks, and returns the reason if a method could not be measured.
// The caller holds the lock.
func (c *Collector) close() (ended bool, reason string) {
	if !c.active || c.walks[0].active || c.walks[1].active {
		return false, ""
	}
	c.active, c.gap = false, 0
	select {
	case c.changed <- struct{}{}: // not if it is nil
	default:
	}
	for i := range c.walks {
		if c.walks[i].result.State == Unknown {
			reason = collectors.NotSent(c.walks[i].fault)
		}
	}
	c.silentOn()
	return true, reason
}

func (c *Collector) report(ended bool, reason string) {
	if ended && c.opts.Done != nil {
		c.opts.Done(reason)
	}
}

// Results returns what is known at the time now.
func (c *Collector) Results(now time.Time) Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Results{IKE: c.snapshot(0, now), NATT: c.snapshot(1, now)}
}
