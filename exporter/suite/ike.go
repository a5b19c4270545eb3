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

func buildIKE(ctx context.Context, c *Collectors, t collectors.Target, d *Deps) {
	c.ike = ike.New(ctx, d.Network, d.Keys, t, ike.Options{
		Interval: d.Every[IKE], Account: &d.Accounts[IKE], Silence: d.Silence, Once: d.Once, Done: d.done(IKE),
	})
	c.dialects = map[collectors.Method]*ikeprobe.Dialect{
		collectors.IKE: c.ike.Dialect(collectors.IKE), collectors.NATT: c.ike.Dialect(collectors.NATT),
	}
}

func operateIKE() operations {
	o := operationsOf(
		func(f *Findings) **ike.Results { return &f.IKE },
		func(c *Collectors, now time.Time) ike.Results { return c.ike.Results(now) },
		func(ctx context.Context, c *Collectors, t collectors.Target) (ike.Results, error) {
			return c.ike.Measure(ctx, t)
		},
	)
	o.tick = func(c *Collectors, now time.Time) time.Time { return c.ike.Tick(now) }
	o.retarget = func(c *Collectors, t collectors.Target) { c.ike.SetTarget(t) }
	o.backoff = func(c *Collectors) time.Duration { return c.ike.Backoff() }
	o.expose = func(c *Collectors, s collectors.Scope, _ time.Duration) collectors.Exposer {
		return ike.NewExposer(s, c.ike)
	}
	return o
}

// Replies returns the Digest of the newest results of IKE, 0 without IKE.
func (c *Collectors) Replies(now time.Time) uint64 {
	if c.ike == nil {
		return 0
	}
	r := c.ike.Results(now)
	return r.Digest()
}

// speaks reports whether the peer answers IKE by a method.
func (c *Collectors) speaks(m collectors.Method, now time.Time) bool {
	answers := c.ike.Results(now)
	return answers.Of(m).State == ike.Responding
}
