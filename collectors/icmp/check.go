package icmp

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

const (
	// checkEchoes is how many echoes Measure sends.
	checkEchoes = 5
	// checkGap is how far apart they are: a burst would measure a rate limit instead of the path.
	checkGap = 200 * time.Millisecond
)

var _ collectors.Measurer[Result] = (*Collector)(nil)

// Measure asks a peer once: five echoes, 200 ms apart. It returns when the last of them is decided or ctx ends, and fails only if no
// echo could be sent; a peer inside a tunnel of this host is Unknown. Not to be used while Tick is called by a schedule.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Result, error) {
	c.mu.Lock()
	c.target = t
	c.forget()
	c.mu.Unlock()

	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for range checkEchoes {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return c.checked(ctx, began)
		}
		c.tick(ctx, time.Now())
		timer.Reset(checkGap)
	}
	for c.underWay() {
		select {
		case <-c.changed:
		case <-ctx.Done():
			return c.checked(ctx, began)
		}
	}
	return c.checked(ctx, began)
}

func (c *Collector) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending > 0
}

// checked is the verdict over all echoes of one Measure.
func (c *Collector) checked(ctx context.Context, began time.Time) (Result, error) {
	r := c.Result(time.Now())
	r.Unanswered, r.Since = r.Sent-r.Received, began
	c.mu.Lock()
	fault, tunnel := c.fault, c.tunnel
	c.mu.Unlock()
	switch {
	case tunnel != "":
		r.State = Unknown
		return r, nil
	case r.Received > 0:
		r.State, r.Reason = Reachable, ""
		return r, nil
	case r.Sent > 0:
		r.State, r.Reason = Silent, ""
		return r, nil
	case fault == nil:
		fault = context.Cause(ctx)
	}
	r.State, r.Reason = Unknown, fault.Error()
	return r, fmt.Errorf("icmp: %w", fault)
}
