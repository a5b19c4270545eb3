package ike

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

var _ collectors.Measurer[Results] = (*Collector)(nil)

// Measure makes one round and returns when it has ended or ctx ends; a second call waits until
// MinGap is over. It fails only if neither method could be measured; a peer inside a tunnel of this
// host is Unknown. Measure must not be used while a schedule calls Tick.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.SetTarget(t)
	c.gate.Forget()
	c.mu.Lock()
	if c.changed == nil {
		c.changed = make(chan struct{}, 1)
	}
	c.promised = time.Time{}
	if c.silentRounds > 0 {
		c.asked = time.Now() // what confirms a silence is sent after this
	}
	for i := range c.walks {
		c.walks[i].loss = collectors.Sampler{Size: sampleSize}
	}
	c.mu.Unlock()
	select {
	case <-c.changed: // of an earlier round
	default:
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ended := false; !ended; {
		select {
		case <-timer.C:
			next := c.tick(ctx, time.Now(), atOnce)
			timer.Reset(time.Until(next))
			ended = next.IsZero()
		case <-c.changed:
			ended = true
		case <-ctx.Done():
			c.abandon(context.Cause(ctx))
			ended = true
		}
	}
	return c.checked()
}

// atOnce is the turn of a measurement that is made once.
func atOnce(now time.Time) time.Time { return now }

// abandon ends the current round: unfinished methods are Unknown.
func (c *Collector) abandon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.walks {
		if w := &c.walks[i]; w.active || w.fault != nil {
			w.unknown(err)
		}
	}
	c.active = false
}

// checked returns the results, and an error if neither method could be measured and no tunnel is
// the cause.
func (c *Collector) checked() (Results, error) {
	r := c.Results(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	r.IKE.Loss, r.NATT.Loss = c.walks[0].loss.Current, c.walks[1].loss.Current
	fault := c.walks[0].fault
	if fault == nil || errors.Is(fault, collectors.ErrTunnel) || r.IKE.State != Unknown || r.NATT.State != Unknown {
		return r, nil
	}
	return r, fmt.Errorf("ike: %w", fault)
}
