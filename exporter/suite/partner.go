package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/internal/session"
)

func partnerLoad(collectors.IKESettings) Load {
	return Load{partner.Packets, headers + session.LeastPayload}
}

func freshPartner(f *Findings, now time.Time, every time.Duration) {
	if f.Partner != nil && !collectors.Fresh(f.Partner.At, now, every) {
		f.Partner = nil
	}
}

func buildPartner(_ context.Context, c *Collectors, t collectors.Target, d *Deps) {
	o := d.Partner
	o.Router, o.Account = d.Router, &d.Accounts[Partner]
	c.partner = partner.New(o)
	c.partner.SetTarget(t)
}

func operatePartner() operations {
	o := operationsOf(
		func(f *Findings) **partner.Result { return &f.Partner },
		func(c *Collectors, _ time.Time) partner.Result { return c.partner.Result() },
		func(ctx context.Context, c *Collectors, t collectors.Target) (partner.Result, error) {
			return c.partner.Measure(ctx, t)
		},
	)
	o.retarget = func(c *Collectors, t collectors.Target) { c.partner.SetTarget(t) }
	o.expose = func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
		return partner.NewExposer(c.partner, s, every)
	}
	return o
}
