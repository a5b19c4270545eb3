package icmp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/silence"
)

const (
	// checkEchoes is the number of echoes that Measure sends while none is lost.
	checkEchoes = 5
	// lossyEchoes is how many it sends if some were lost: 40 % lost in each direction are then taken
	// for heavy loss 9,998 times in 10,000, 20 % two times in three.
	lossyEchoes = 30
	// slowEchoes is how many it sends after heavy loss, so slowly that a rate limit lets them pass.
	slowEchoes = 20
	// checkGap is the time between these echoes: a burst would measure a rate limit, not the path.
	checkGap = 200 * time.Millisecond
	// neighborWait is when Linux has given up on a neighbor: three requests, a second apart
	// (arp(7), mcast_solicit).
	neighborWait = 3500 * time.Millisecond
	// slowest is the longest round trip that Measure waits for.
	slowest = 4 * time.Second
	// shortTrips is how many times over the timeout of an echo is longer than a short round trip: where
	// other requests to the peer show one, no reply is under way after the timeout, and this host sends.
	shortTrips = 4
)

var _ collectors.Measurer[Result] = (*Collector)(nil)

// Measure sends five echoes, 200 ms apart, and 25 more if some of these were lost. It returns when
// all are decided or ctx ends, and waits longer for late answers where none came in time. A further
// Measure after heavy loss sends 20, 1.1 s apart.
//
// It fails only if no echo could be sent; a peer inside a tunnel of this host is Unknown. Measure
// must not be used while a schedule calls Tick.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Result, error) {
	c.mu.Lock()
	if c.changed == nil {
		c.changed = make(chan struct{}, 1)
	}
	c.target, c.engine = collectors.Share(t), soon(c.engine)
	lossy := c.tally.received > 0 && c.loss.Current.Heavy()
	c.forget()
	c.mu.Unlock()

	c.opts.Once.Echoing()
	defer func() {
		c.echoed()
		c.opts.Once.Decided()
	}()
	began := time.Now()
	if lossy {
		c.volley(ctx, began, slowEchoes, matched.PolitePause)
		return c.checked(ctx, began)
	}
	c.volley(ctx, began, checkEchoes, checkGap)
	if ctx.Err() == nil && c.losesSome() {
		c.opts.Once.Echoing() // again, if all were slow
		c.volley(ctx, began, lossyEchoes-checkEchoes, checkGap)
	}
	return c.checked(ctx, began)
}

// echoed says that no more echoes follow, and how many have stayed unanswered if all have.
func (c *Collector) echoed() {
	c.mu.Lock()
	unanswered := c.tally.sent + c.pending
	if c.tally.received > 0 {
		unanswered = 0
	}
	c.mu.Unlock()
	c.opts.Once.Echoed(unanswered)
}

// quietSoon says so when the echoes that were sent have had the time for an answer and none came:
// other collectors need not wait for late answers.
func (c *Collector) quietSoon() (stop func() bool) {
	if c.opts.Once == nil {
		return func() bool { return false }
	}
	return time.AfterFunc(matched.Patience(c.opts.Once.RoundTrip(), matched.LeastPatience), func() {
		c.mu.Lock()
		answered := c.tally.received > 0
		c.mu.Unlock()
		if !answered {
			c.echoed()
		}
	}).Stop
}

// losesSome reports whether some echoes were lost and others answered.
func (c *Collector) losesSome() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loss.Current.Lost > 0 && c.tally.received > 0 && c.fault == nil
}

// volley sends n echoes and waits until they are decided. began is when Measure did.
func (c *Collector) volley(ctx context.Context, began time.Time, n int, gap time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for range n {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		c.tick(ctx, time.Now())
		timer.Reset(gap)
	}
	last := time.Now()
	defer c.quietSoon()()
	timer.Reset(time.Until(began.Add(neighborWait)))
	for c.underWay(began) {
		select {
		case <-c.changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	c.awaitLate(ctx, began, last)
}

// awaitLate waits for answers that are slower than the timeout, where every answer so far is. last is
// when the last echo was sent.
func (c *Collector) awaitLate(ctx context.Context, began, last time.Time) {
	for {
		c.mu.Lock()
		t, refused := c.tally, c.refusal().From.IsValid()
		c.mu.Unlock()
		end := began.Add(slowest)
		switch {
		case t.received > 0:
			end = last.Add(slowest)
		case c.shortTrip():
			return
		}
		if refused || t.received == t.sent || t.received > 0 && t.min < c.opts.Timeout {
			return
		}
		late, cancel := context.WithDeadline(ctx, end)
		select {
		case <-c.changed:
			cancel()
		case <-late.Done():
			cancel()
			return
		}
	}
}

// underWay reports whether echoes are undecided or, while nothing has come back, may still turn out
// not to have been sent.
func (c *Collector) underWay(began time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	nothing := c.tally.received == 0 && c.fault == nil && !c.refusal().From.IsValid()
	return c.pending > 0 || nothing && time.Since(began) < neighborWait && !c.shortTrip()
}

// shortTrip reports whether other requests have shown that the peer is reached, and soon.
func (c *Collector) shortTrip() bool {
	rtt := c.opts.Once.RoundTrip()
	return rtt > 0 && shortTrips*rtt <= c.opts.Timeout
}

// checked returns the result of all echoes of one Measure.
func (c *Collector) checked(ctx context.Context, began time.Time) (Result, error) {
	r := c.Result(time.Now())
	if r.Sent > 0 {
		r.Unanswered, r.Since = r.Sent-r.Received, began
	}
	c.mu.Lock()
	fault := c.fault
	r.Loss = c.loss.Current
	c.mu.Unlock()
	switch {
	case errors.Is(fault, collectors.ErrTunnel):
		r.State = Unknown
		return r, nil
	case r.Received > 0:
		r.State, r.Reason = Reachable, ""
		return r, nil
	case r.Sent > 0 && fault == nil:
		r.State, r.Reason = Silent, ""
		return r, nil
	case r.State == Silent && errors.Is(fault, silence.ErrBudget):
		return r, nil // by the echoes of other peers
	case fault == nil:
		fault = context.Cause(ctx)
	}
	r.State, r.Reason = Unknown, fault.Error()
	return r, fmt.Errorf("icmp: %w", fault)
}
