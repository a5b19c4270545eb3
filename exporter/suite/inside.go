package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/inside"
)

// insideLoad is the echo requests to one target, and a short search for its path MTU.
func insideLoad(collectors.IKESettings) Load { return Load{20, linkMTU / 2} }

// Named returns the collectors that a configuration names. Inside is not among them: it runs where
// it has targets.
func Named() (all []Collector) {
	for _, c := range All() {
		if c != Inside {
			all = append(all, c)
		}
	}
	return all
}

func freshInside(f *Findings, now time.Time, every time.Duration) {
	if f.Inside == nil {
		return
	}
	if results := only(f.Inside.Results, func(r *inside.Result) bool { return collectors.Fresh(r.At, now, every) }); len(results) < len(f.Inside.Results) {
		f.Inside = &inside.Results{At: f.Inside.At, Results: results}
	}
}

func buildInside(_ context.Context, c *Collectors, _ collectors.Target, d *Deps) {
	c.inside = inside.New(inside.Options{Open: d.OpenInside, Targets: d.Inside, Account: &d.Accounts[Inside]})
}

func operateInside() operations {
	o := operationsOf(
		func(f *Findings) **inside.Results { return &f.Inside },
		func(c *Collectors, _ time.Time) inside.Results { return c.inside.Snapshot() },
		func(ctx context.Context, c *Collectors, t collectors.Target) (inside.Results, error) {
			return c.inside.Measure(ctx, t)
		},
	)
	o.expose = func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
		return inside.NewExposer(c.inside, s, every)
	}
	return o
}
