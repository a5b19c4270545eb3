package exporter

import (
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/ikeprobe"
)

// build makes the peer's collectors. It is the one place that lists them all. Those that are not configured exist too, idle:
// the others ask them what they know, which then is nothing.
func (p *peer) build() {
	a, every := p.app, p.cfg.Intervals
	p.icmp = icmp.New(p.ctx, a.echoes, p.target, icmp.Options{
		Interval: every.ICMP, Buckets: a.buckets, Router: a.stack, Done: p.icmpDone,
	})
	p.ike = ike.New(p.ctx, a.stack, a.keys, p.target, ike.Options{
		Interval: every.IKE, Account: a.accounts[collectorIKE], Done: p.ikeDone,
	})
	p.pmtu = pmtu.New(a.stack, pmtu.Options{
		Methods: a.methods(), Raise: every.PMTURaise, Keys: a.keys,
		Dialects: map[collectors.Method]*ikeprobe.Dialect{
			collectors.IKE:  p.ike.Dialect(collectors.IKE),
			collectors.NATT: p.ike.Dialect(collectors.NATT),
		},
		Walk: !p.cfg.Collectors.Has(config.IKE), Account: a.accounts[collectorPMTU], Done: a.costs.Add,
	})
}

// methods are those by which this process can measure a path MTU.
func (a *app) methods() []collectors.Method {
	if a.rawSockets() {
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
	}
	p.judge(time.Now())
}

// searchable tells whether a method answers now that did not answer the last path MTU search.
func (p *peer) searchable() bool {
	answers := p.ike.Results(time.Now())
	for _, r := range p.pmtu.Snapshot().Results {
		if r.State == pmtu.Unreachable && answers.Of(r.Method).State == ike.Responding {
			return true
		}
	}
	return false
}
