package exporter

import (
	"time"

	"github.com/prometheus/common/version"

	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/web"
)

// status returns the status page of a program that was started at a time.
func (a *app) status(started time.Time) func() web.Status {
	return func() web.Status {
		s := web.Status{Version: version.Version, Started: started, Degraded: a.tools.Degraded()}
		now := time.Now()
		for _, p := range a.running() {
			s.Peers = append(s.Peers, p.Overview(now))
		}
		return s
	}
}

// peerPages implements web.Peers.
type peerPages struct{ *app }

// Report implements web.Peers.
func (pages peerPages) Report(name string) (*report.Report, bool) {
	p, ok := pages.find(name)
	if !ok {
		return nil, false
	}
	return document(p, time.Now()), true
}

// Exchanges implements web.Peers.
func (pages peerPages) Exchanges(name string) ([]trace.Exchange, bool) {
	p, ok := pages.find(name)
	if !ok {
		return nil, false
	}
	return p.ring.Exchanges(), true
}

// Day implements web.Peers.
func (pages peerPages) Day(name string) (day [lastday.Quarters]lastday.Sample, ok bool) {
	p, ok := pages.find(name)
	if !ok {
		return day, false
	}
	return p.day.Quarters(time.Now()), true
}

// document is the report of what is known about a peer now.
func document(p *peer, now time.Time) *report.Report {
	f := p.Findings(now)
	fresh := f.Fresh(now, p.Config.Intervals)
	r := p.Report(&fresh, now)
	r.Started = fresh.Since(now).UTC().Truncate(time.Second)
	r.Took = now.Sub(r.Started)
	r.Addresses = p.others()
	p.mu.Lock()
	if p.failure != "" {
		r.Errors = append(r.Errors, p.failure)
	}
	p.mu.Unlock()
	if before, ok := p.app.history.Baseline(p.Config.Name); ok {
		r.Baseline = before.Compare(baseline(&fresh))
	}
	r.Changes = p.app.history.Changes(p.Config.Name)
	return r
}

// baseline is what the path is like now.
func baseline(f *suite.Findings) history.Baseline {
	b := history.Baseline{Bytes: make(map[string]int)}
	if f.ICMP != nil {
		b.RoundTrip = f.ICMP.Avg
	}
	if f.PMTU == nil {
		return b
	}
	b.At, b.Hops = f.PMTU.At, f.PMTU.Hops
	for i := range f.PMTU.Results {
		if r := &f.PMTU.Results[i]; r.Bytes > 0 {
			b.Bytes[r.Method.String()] = r.Bytes
		}
	}
	return b
}
