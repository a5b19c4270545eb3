package suite

import (
	"context"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/ike"
)

// fragmentsLoad is one large message in two fragments by each of the two IKE methods.
func fragmentsLoad(collectors.IKESettings) Load { return Load{4, linkMTU / 2} }

func freshFragments(f *Findings, now time.Time, every time.Duration) {
	if f.Fragments == nil {
		return
	}
	if results := only(f.Fragments.Results, func(r *fragments.Result) bool { return collectors.Fresh(r.At, now, every) }); len(results) < len(f.Fragments.Results) {
		s := *f.Fragments
		s.Results = results
		f.Fragments = &s
	}
}

func buildFragments(_ context.Context, c *Collectors, _ collectors.Target, d *Deps) {
	c.fragments = fragments.New(d.Network, fragments.Options{
		Keys: d.Keys, Dialects: c.dialects, Account: &d.Accounts[Fragments], Fits: c.fits, Silence: d.Silence,
	})
}

func operateFragments() operations {
	o := operationsOf(
		func(f *Findings) **fragments.Results { return &f.Fragments },
		func(c *Collectors, _ time.Time) fragments.Results { return c.fragments.Snapshot() },
		func(ctx context.Context, c *Collectors, t collectors.Target) (fragments.Results, error) {
			return c.fragments.Measure(ctx, t)
		},
	)
	o.expose = func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
		return fragments.NewExposer(c.fragments, s, every)
	}
	// Where no IKE message was answered, no fragments were sent, and they could still be dropped.
	o.conclusive = func(c *Collectors, now time.Time) bool {
		answers := c.ike.Results(now)
		return !c.untested(func(m collectors.Method) bool {
			state := answers.Of(m).State
			return state == ike.Responding || state == ike.Unknown && c.enabled.Has(IKE)
		})
	}
	o.waits = func(c *Collectors, now time.Time) bool {
		return c.untested(func(m collectors.Method) bool { return c.speaks(m, now) })
	}
	return o
}

// untested reports whether no fragments were sent by a method that is answered.
func (c *Collectors) untested(answered func(m collectors.Method) bool) bool {
	return slices.ContainsFunc(c.fragments.Snapshot().Results, func(r fragments.Result) bool {
		return r.Unasked && answered(r.Method)
	})
}
