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

func buildFlows(_ context.Context, c *Collectors, t collectors.Target, d *Deps) part {
	c.flows = flows.New(d.Network, flows.Options{
		Keys: d.Keys, Dialects: c.dialects, Account: &d.Accounts[Flows], Hole: c.hole, Silence: d.Silence,
	})
	c.flows.SetTarget(t)
	p := partOf(
		func(f *Findings) **flows.Results { return &f.Flows },
		func(time.Time) flows.Results { return c.flows.Snapshot() }, c.flows.Measure,
	)
	p.retarget = c.flows.SetTarget
	p.expose = func(s collectors.Scope, every time.Duration) collectors.Exposer {
		return flows.NewExposer(c.flows, s, every)
	}
	return p
}

// hole is the least size that vanishes by a method, 0 if there is no black hole.
func (c *Collectors) hole(m collectors.Method) int {
	for _, r := range c.pmtu.Snapshot().Results {
		if r.Method == m && r.State == search.BlackHole {
			return r.Bytes + 1
		}
	}
	return 0
}
