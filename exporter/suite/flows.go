package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// flowsLoad is a message by four flows to each IKE port. Echoes are smaller and fewer.
func flowsLoad(s collectors.IKESettings) Load { return Load{11, headers + firstForm(s)} }

func freshFlows(f *Findings, now time.Time, every time.Duration) {
	if f.Flows != nil && (f.Flows.Reason != "" || !collectors.Fresh(f.Flows.At, now, every)) {
		f.Flows = &flows.Results{} // not nil: verdicts wait for the next comparison
	}
}

func buildFlows(_ context.Context, c *Collectors, t collectors.Target, d *Deps) {
	c.flows = flows.New(d.Network, flows.Options{
		Keys: d.Keys, Dialects: c.dialects, Account: &d.Accounts[Flows], Hole: c.hole, Silence: d.Silence, Once: d.Once,
	})
	c.flows.SetTarget(t)
}

func operateFlows() operations {
	o := operationsOf(
		func(f *Findings) **flows.Results { return &f.Flows },
		func(c *Collectors, _ time.Time) flows.Results { return c.flows.Snapshot() },
		func(ctx context.Context, c *Collectors, t collectors.Target) (flows.Results, error) {
			return c.flows.Measure(ctx, t)
		},
	)
	o.retarget = func(c *Collectors, t collectors.Target) { c.flows.SetTarget(t) }
	o.expose = func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
		return flows.NewExposer(c.flows, s, every)
	}
	return o
}

// CompleteFlows asks by fresh flows about black holes that were found since the flows were compared. The
// function that it returns puts the results into findings.
func (c *Collectors) CompleteFlows(ctx context.Context, t collectors.Target) (keep func(*Findings), err error) {
	r, err := c.flows.Complete(ctx, t)
	return func(f *Findings) {
		if err == nil && !r.At.IsZero() {
			f.Flows = &r
		}
	}, err
}

// hole is the least size that vanishes by a method, 0 if there is no black hole.
func (c *Collectors) hole(m collectors.Method) int {
	if c.pmtu == nil {
		return 0
	}
	for _, r := range c.pmtu.Snapshot().Results {
		if r.Method == m && r.State == search.BlackHole {
			return r.Bytes + 1
		}
	}
	return 0
}
