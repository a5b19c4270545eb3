package exporter

import (
	"context"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/ikeprobe"
)

// routersEvery is how often the routers on the way to a peer are looked up, for later comparison.
const routersEvery = time.Hour

// build makes the peer's collectors. It is the one place that lists them all. Those that are not configured exist too, idle:
// the others ask them what they know, which then is nothing.
func (p *peer) build() {
	a, every := p.app, p.cfg.Intervals
	p.icmp = icmp.New(p.ctx, a.engine(p.network), p.target, icmp.Options{
		Interval: every.ICMP, Buckets: a.buckets, Router: a.stack, Done: p.icmpDone,
	})
	p.ike = ike.New(p.ctx, p.network, a.keys, p.target, ike.Options{
		Interval: every.IKE, Account: a.accounts[collectorIKE], Done: p.ikeDone,
	})
	dialects := map[collectors.Method]*ikeprobe.Dialect{
		collectors.IKE:  p.ike.Dialect(collectors.IKE),
		collectors.NATT: p.ike.Dialect(collectors.NATT),
	}
	p.pmtu = pmtu.New(p.network, pmtu.Options{
		Methods: p.methods(), Raise: every.PMTURaise, Keys: a.keys, Dialects: dialects,
		Walk: !p.cfg.Collectors.Has(config.IKE), Account: a.accounts[collectorPMTU], Done: a.costs.Add,
		Locate: !p.isControl, Hops: routersEvery,
	})
	p.fragments = fragments.New(p.network, fragments.Options{
		Keys: a.keys, Dialects: dialects, Account: a.accounts[collectorFragments], Fits: p.fits,
	})
	p.protocols = protocols.New(p.network, protocols.Options{
		Keys: a.keys, Dialects: dialects, Account: a.accounts[collectorProtocols],
	})
	p.tasks = []task{
		{config.PMTU, every.PMTU, discard(p.pmtu)},
		{config.Fragments, every.Fragments, discard(p.fragments)},
		{config.Protocols, every.Protocols, discard(p.protocols)},
	}
}

// A task is a collector that blocks while it measures.
type task struct {
	collector config.Collector
	every     time.Duration
	measure   func(ctx context.Context, t collectors.Target) error
}

// discard measures for the error alone: a collector keeps what it found.
func discard[R any](m collectors.Measurer[R]) func(context.Context, collectors.Target) error {
	return func(ctx context.Context, t collectors.Target) error {
		_, err := m.Measure(ctx, t)
		return err
	}
}

// fits is the largest size that is known to reach the peer by a method, 0 if that is not known.
func (p *peer) fits(m collectors.Method) int {
	results := p.pmtu.Snapshot().Results
	for i := range results {
		if r := &results[i]; r.Method == m {
			return r.Bytes
		}
	}
	return 0
}

// methods are those by which this process can measure the path MTU to the peer.
func (p *peer) methods() []collectors.Method {
	switch {
	case p.isControl:
		return []collectors.Method{collectors.ICMP}
	case p.app.rawSockets():
		return collectors.Methods()
	}
	return []collectors.Method{collectors.IKE, collectors.NATT}
}

// expose makes the peer's series, those of its configured collectors only.
func (p *peer) expose() {
	p.series.Attach(newPeerExposer(p))
	if p.cfg.Collectors.Has(config.ICMP) {
		p.series.Attach(icmp.NewExposer(p.series, p.icmp, time.Now))
	}
	if p.cfg.Collectors.Has(config.IKE) {
		p.series.Attach(ike.NewExposer(p.series, p.ike, time.Now))
	}
	if p.cfg.Collectors.Has(config.PMTU) {
		p.series.Attach(pmtu.NewExposer(p.pmtu, p.series, p.cfg.Intervals.PMTU, time.Now))
		p.series.Attach(newTunnelExposer(p))
	}
	if p.cfg.Collectors.Has(config.Fragments) {
		p.series.Attach(fragments.NewExposer(p.fragments, p.series, p.cfg.Intervals.Fragments, time.Now))
	}
	if p.cfg.Collectors.Has(config.Protocols) {
		p.series.Attach(protocols.NewExposer(p.protocols, p.series, p.cfg.Intervals.Protocols, time.Now))
	}
	p.diagnoses = diagnosis.NewMetrics(p.series, &p.verdict.tracker)
	p.series.Attach(p.diagnoses)
}

// icmpDone is called after every echo.
func (p *peer) icmpDone(reason string) {
	p.measured(config.ICMP, reason)
	if now := time.Now(); p.verdict.turned(p.icmp.Result(now).State) || p.verdict.tracker.Doubting() {
		p.judge(now)
	}
}

// ikeDone is called after every round of IKE probes. What was learned there about the form that the peer
// answers lets a path MTU search begin that had nobody to talk to.
func (p *peer) ikeDone(reason string) {
	p.measured(config.IKE, reason)
	if p.searchable() {
		p.app.schedule.Now(p.key(collectorPMTU))
		p.app.schedule.Now(p.key(collectorFragments))
	}
	p.judge(time.Now())
}

// searchable tells whether a method answers now that did not answer the last path MTU search, or the last fragments.
func (p *peer) searchable() bool {
	answers := p.ike.Results(time.Now())
	speaks := func(m collectors.Method) bool { return answers.Of(m).State == ike.Responding }
	searched, fragmented := p.pmtu.Snapshot(), p.fragments.Snapshot()
	return slices.ContainsFunc(searched.Results, func(r pmtu.Result) bool { return r.State == pmtu.Unreachable && speaks(r.Method) }) ||
		slices.ContainsFunc(fragmented.Results, func(r fragments.Result) bool { return r.Unasked && speaks(r.Method) })
}
