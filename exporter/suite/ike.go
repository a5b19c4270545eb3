package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
)

// ikeLoad is one message by each of the two IKE methods.
func ikeLoad(s collectors.IKESettings) Load { return Load{2, headers + firstForm(s)} }

func buildIKE(ctx context.Context, c *Collectors, t collectors.Target, d *Deps) part {
	c.ike = ike.New(ctx, d.Network, d.Keys, t, ike.Options{
		Interval: d.Every[IKE], Account: &d.Accounts[IKE], Silence: d.Silence, Done: d.done(IKE),
	})
	c.dialects = map[collectors.Method]*ikeprobe.Dialect{
		collectors.IKE: c.ike.Dialect(collectors.IKE), collectors.NATT: c.ike.Dialect(collectors.NATT),
	}
	p := partOf(func(f *Findings) **ike.Results { return &f.IKE }, c.ike.Results, c.ike.Measure)
	p.tick, p.retarget, p.backoff = c.ike.Tick, c.ike.SetTarget, c.ike.Backoff
	p.expose = func(s collectors.Scope, _ time.Duration) collectors.Exposer {
		return ike.NewExposer(s, c.ike)
	}
	return p
}

// speaks reports whether the peer answers IKE by a method.
func (c *Collectors) speaks(m collectors.Method, now time.Time) bool {
	answers := c.ike.Results(now)
	return answers.Of(m).State == ike.Responding
}
