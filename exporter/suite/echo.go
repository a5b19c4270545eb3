package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
)

func echoLoad(collectors.IKESettings) Load { return Load{1, headers + icmp.EchoData} }

func buildICMP(ctx context.Context, c *Collectors, t collectors.Target, d *Deps) {
	c.icmp = icmp.New(ctx, d.Echoes, t, icmp.Options{
		Interval: d.Every[ICMP], Buckets: d.Buckets, Router: d.Router, Silence: d.Silence, Once: d.Once, Done: d.done(ICMP),
	})
}

func operateICMP() operations {
	o := operationsOf(
		func(f *Findings) **icmp.Result { return &f.ICMP },
		func(c *Collectors, now time.Time) icmp.Result { return c.icmp.Result(now) },
		func(ctx context.Context, c *Collectors, t collectors.Target) (icmp.Result, error) {
			return c.icmp.Measure(ctx, t)
		},
	)
	o.tick = func(c *Collectors, now time.Time) time.Time { return c.icmp.Tick(now) }
	o.retarget = func(c *Collectors, t collectors.Target) { c.icmp.SetTarget(t) }
	o.backoff = func(c *Collectors) time.Duration { return c.icmp.Backoff() }
	o.expose = func(c *Collectors, s collectors.Scope, _ time.Duration) collectors.Exposer {
		return icmp.NewExposer(s, c.icmp)
	}
	return o
}
