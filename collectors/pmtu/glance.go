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
// result of a path, long before the first round where that waits for those of thousands of peers.
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
	r, err := c.glance(ctx, s, p)
	if err != nil || r.State != search.Clean {
		return err
	}
	r.Duration = time.Since(start)
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

// glance sends the first packets of a search, and returns what they show.
func (c *Collector) glance(ctx context.Context, s *search.Search, p *prober) (Result, error) {
	round, ok := s.Next()
	if !ok {
		return Result{}, nil
	}
	seen, unsent, err := p.round(ctx, round)
	if err != nil {
		return Result{}, fmt.Errorf("first look at the path MTU: %w", err)
	}
	s.Unsent(unsent)
	s.Observe(time.Since(p.began), seen)
	return p.result(s, 0), nil
}
