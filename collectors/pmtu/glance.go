package pmtu

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// glancePatience is how long a first look waits: others wait for their own meanwhile. A peer that
// is slower than that is measured a little later.
const glancePatience = 300 * time.Millisecond

// Glance looks at a path before its first round, for which thousands of peers wait. The first look
// asks by one echo request whether a packet of the link's size passes. Without an answer nothing
// is known, nothing changes, and there is more to do: the second look is the search of one IKE
// port, because a black hole to its requests is on the way to the peer, and needs no measurement
// of the reverse path. There is none after a round.
func (c *Collector) Glance(ctx context.Context, t collectors.Target) (more bool, err error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	c.mu.Lock()
	begun := len(c.known.results) > 0
	c.mu.Unlock()
	if begun {
		return false, nil
	}
	defer func() { c.routes = nil }()
	if _, err := c.lookUpRoutes(); err != nil {
		return false, err
	}
	if !c.glanced {
		c.glanced = true
		return c.glance(ctx)
	}
	return false, c.proveEarly(ctx)
}

// glance is the first look.
func (c *Collector) glance(ctx context.Context) (more bool, err error) {
	route, ok := c.routes[collectors.ICMP]
	if _, mute := c.answersNothing(collectors.ICMP, time.Now()); !ok || mute || route.Tunnel != "" {
		return false, nil
	}
	st, start := &methodState{}, time.Now()
	s, p := c.begin(collectors.ICMP, st, route, start)
	round, ok := s.Next()
	if !ok {
		return true, nil
	}
	round.Timeout = min(round.Timeout, glancePatience)
	if err := p.observe(ctx, s, round); err != nil {
		return false, fmt.Errorf("first look at the path MTU: %w", err)
	}
	r := p.result(s, time.Since(start))
	if r.State != search.Clean {
		return true, nil
	}
	c.trust(collectors.ICMP, st, &r, min(route.LinkMTU, maxPacket))
	c.states[collectors.ICMP] = st
	c.learn(st, &r)
	if c.opts.Done != nil {
		c.opts.Done(r)
	}
	out := Results{Results: []Result{r}, LinkBytes: route.LinkMTU, CachedBytes: route.CachedMTU}
	out.BlackHole, out.Known = c.holds()
	c.publish(&out)
	return false, nil
}

// proveEarly is the second look. The path MTU of the first IKE port that finds one is the first
// result; the first round compares it with that of the other methods.
func (c *Collector) proveEarly(ctx context.Context) error {
	for _, m := range collectors.IKEMethods() {
		route, ok := c.routes[m]
		if _, silent := c.answersNothing(m, time.Now()); !ok || silent || route.Tunnel != "" {
			continue
		}
		r, err := c.measure(ctx, m, route, nil)
		if err != nil {
			return fmt.Errorf("second look at the path MTU, by %s: %w", m, err)
		}
		if r.Bytes == 0 {
			continue
		}
		out := Results{Results: []Result{r}, LinkBytes: route.LinkMTU, CachedBytes: route.CachedMTU}
		out.BlackHole, out.Known = c.holds()
		c.publish(&out)
		return nil
	}
	return nil
}
