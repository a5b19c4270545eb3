package suite

import (
	"context"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/netio"
)

// protocolsLoad is a ladder of six protocols over ten hops.
func protocolsLoad(s collectors.IKESettings) Load {
	const kinds, hops = 6, 10
	return Load{kinds * hops, headers + firstForm(s)/2}
}

func freshProtocols(f *Findings, now time.Time, every time.Duration) {
	if f.Protocols != nil && (f.Protocols.Reason != "" || !collectors.Fresh(f.Protocols.At, now, every)) {
		f.Protocols = nil
	}
}

func buildProtocols(_ context.Context, c *Collectors, _ collectors.Target, d *Deps) {
	o := protocols.Options{Keys: d.Keys, Dialects: c.dialects, Account: &d.Accounts[Protocols], Silence: d.Silence, Once: d.Once}
	if link, ok := d.Router.(interface {
		Overhear(dst netip.Addr) (stop func() netio.Overheard)
	}); ok {
		o.Overhear = link.Overhear
	}
	c.protocols = protocols.New(d.Network, o)
}

func operateProtocols() operations {
	o := operationsOf(
		func(f *Findings) **protocols.Results { return &f.Protocols },
		func(c *Collectors, _ time.Time) protocols.Results { return c.protocols.Snapshot() },
		func(ctx context.Context, c *Collectors, t collectors.Target) (protocols.Results, error) {
			return c.protocols.Measure(ctx, t)
		},
	)
	o.retarget = func(c *Collectors, t collectors.Target) { c.protocols.SetTarget(t) }
	o.read = func(c *Collectors, f *Findings, _ time.Time) {
		if s := c.protocols.Snapshot(); c.enabled.Has(Protocols) || !s.At.IsZero() {
			f.Protocols = &s
		}
	}
	o.expose = func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
		return protocols.NewExposer(c.protocols, s, every)
	}
	return o
}
