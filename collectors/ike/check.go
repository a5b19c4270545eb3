package ike

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

var _ collectors.Measurer[Results] = (*Collector)(nil)

// Measure makes one round and returns when it has ended or ctx ends; a second call waits until MinGap is over. It fails
// only if neither method could be measured; a peer inside a tunnel of this host is Unknown. Not to be used while Tick is called
// by a schedule.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.SetTarget(t)
	c.mu.Lock()
	c.promised = time.Time{}
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
			next := c.tick(ctx, time.Now())
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

// abandon ends the round under way without a verdict on what has not ended.
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

// checked gives the results, and an error if neither method could be measured though the peer is not inside a tunnel.
func (c *Collector) checked() (Results, error) {
	r := c.Results(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	fault := c.walks[0].fault
	if fault == nil || c.tunnel != "" || r.IKE.State != Unknown || r.NATT.State != Unknown {
		return r, nil
	}
	return r, fmt.Errorf("ike: %w", fault)
}
