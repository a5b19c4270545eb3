package suite

import (
	"context"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// routersEvery is how often the routers on the path to a peer are looked up, for later comparison.
const routersEvery = time.Hour

// pmtuLoad is one packet of the link's size by each of the three methods.
func pmtuLoad(collectors.IKESettings) Load { return Load{3, linkMTU} }

func freshPMTU(f *Findings, now time.Time, every time.Duration) {
	if f.PMTU == nil {
		return
	}
	results := only(f.PMTU.Results, func(r *pmtu.Result) bool { return collectors.Fresh(r.At, now, every) })
	reverse, forward := collectors.Fresh(f.PMTU.Reverse.At, now, every), collectors.Fresh(f.PMTU.Forward.At, now, every)
	hops := len(f.PMTU.Hops) == 0 && f.PMTU.Distance == 0 || collectors.Fresh(f.PMTU.HopsAt, now, routersEvery)
	if hops && len(results) == len(f.PMTU.Results) && (reverse || f.PMTU.Reverse == pmtu.Reverse{}) && (forward || f.PMTU.Forward == pmtu.Forward{}) {
		return
	}
	s := *f.PMTU
	if s.Results = results; !reverse {
		s.Reverse = pmtu.Reverse{}
	}
	if !forward {
		s.Forward = pmtu.Forward{}
	}
	if !hops {
		s.Hops, s.Distance = nil, 0
	}
	f.PMTU = &s
}

func buildPMTU(_ context.Context, c *Collectors, _ collectors.Target, d *Deps) {
	c.pmtu = pmtu.New(d.Network, pmtu.Options{
		Methods: d.Methods, Raise: d.Raise, Keys: d.Keys, Dialects: c.dialects,
		Walk: !d.Enabled.Has(IKE), Account: &d.Accounts[PMTU], Done: d.Searched,
		Locate: d.Locate, Hops: routersEvery, Silence: d.Silence, Once: d.Once,
	})
}

func operatePMTU() operations {
	return operations{
		measure: func(ctx context.Context, c *Collectors, t collectors.Target) (func(*Findings), error) {
			_, err := c.pmtu.Measure(ctx, t)
			return func(f *Findings) {
				s := c.pmtu.Snapshot() // also of a round that failed: the methods that could be measured are in it
				addCosts(&s, f.PMTU)
				f.PMTU = &s
			}, err
		},
		preview: func(ctx context.Context, c *Collectors, t collectors.Target) (more bool, err error) {
			return c.pmtu.Glance(ctx, t)
		},
		read: func(c *Collectors, f *Findings, _ time.Time) { s := c.pmtu.Snapshot(); f.PMTU = &s },
		expose: func(c *Collectors, s collectors.Scope, every time.Duration) collectors.Exposer {
			return pmtu.NewExposer(c.pmtu, s, every)
		},
		conclusive: func(c *Collectors, now time.Time) bool {
			s, answers := c.pmtu.Snapshot(), c.ike.Results(now)
			return s.Known && !slices.ContainsFunc(s.Results, func(r pmtu.Result) bool {
				state := answers.Of(r.Method).State
				return r.Unasked && (state == ike.Unknown || state == ike.Responding) // it is asked soon
			})
		},
		waits: func(c *Collectors, now time.Time) bool {
			return slices.ContainsFunc(c.pmtu.Snapshot().Results, func(r pmtu.Result) bool {
				return r.State == search.Unreachable && c.speaks(r.Method, now)
			})
		},
	}
}

// PathMTUs appends the newest result of each method, for scrapes, which must not allocate.
func (c *Collectors) PathMTUs(to []pmtu.Result) []pmtu.Result {
	if c.pmtu == nil {
		return to
	}
	return c.pmtu.AppendResults(to)
}

// addCosts adds the costs of earlier rounds: a boundary that is confirmed in a few packets was
// found by more.
func addCosts(s, earlier *pmtu.Snapshot) {
	if earlier == nil {
		return
	}
	for i := range s.Results {
		r := &s.Results[i]
		for j := range earlier.Results {
			if before := &earlier.Results[j]; before.Method == r.Method && before.At.Before(r.At) {
				r.Packets += before.Packets
				r.Duration += before.Duration
				r.PTBReceived += before.PTBReceived
				r.PTBRejected += before.PTBRejected
			}
		}
	}
}

// fits is the largest size that is known to reach the peer by a method, 0 if that is not known.
func (c *Collectors) fits(m collectors.Method) int {
	if c.pmtu == nil {
		return 0
	}
	for _, r := range c.pmtu.Snapshot().Results {
		if r.Method == m {
			return r.Bytes
		}
	}
	return 0
}
