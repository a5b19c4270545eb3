package pmtu

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// Glance asks by one echo request whether a packet of the link's size passes. An answer is the first
// result of a path, long before the first round where thousands of peers wait for theirs.
// Without one, nothing is known, and nothing changes. It does nothing after a round.
func (c *Collector) Glance(ctx context.Context, t collectors.Target) error {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	c.mu.Lock()
	begun := len(c.known.results) > 0
	c.mu.Unlock()
	if begun || !slices.Contains(c.opts.Methods, collectors.ICMP) {
		return nil
	}
	defer func() { c.routes = nil }()
	if _, err := c.lookUpRoutes(); err != nil {
		return err
	}
	route, ok := c.routes[collectors.ICMP]
	if _, mute := c.answersNothing(collectors.ICMP, time.Now()); !ok || mute || route.Tunnel != "" {
		return nil
	}
	st, start := &methodState{}, time.Now()
	s, p := c.begin(collectors.ICMP, st, route, start)
	if _, err := p.step(ctx, s); err != nil {
		return fmt.Errorf("first look at the path MTU: %w", err)
	}
	r := p.result(s, time.Since(start))
	if r.State != search.Clean {
		return nil
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
	return nil
}
