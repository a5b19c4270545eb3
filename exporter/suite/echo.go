package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
)

func echoLoad(collectors.IKESettings) Load { return Load{1, headers + icmp.EchoData} }

func buildICMP(ctx context.Context, c *Collectors, t collectors.Target, d *Deps) part {
	c.icmp = icmp.New(ctx, d.Echoes, t, icmp.Options{
		Interval: d.Every[ICMP], Buckets: d.Buckets, Router: d.Router, Silence: d.Silence, Done: d.done(ICMP),
	})
	p := partOf(func(f *Findings) **icmp.Result { return &f.ICMP }, c.icmp.Result, c.icmp.Measure)
	p.tick, p.retarget, p.backoff = c.icmp.Tick, c.icmp.SetTarget, c.icmp.Backoff
	p.expose = func(s collectors.Scope, _ time.Duration) collectors.Exposer {
		return icmp.NewExposer(s, c.icmp)
	}
	return p
}
