package exporter

import (
	"fmt"
	"time"

	"github.com/prometheus/common/version"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/web"
)

// status is what the status page shows, for a program that started then.
func (a *app) status(started time.Time) func() web.Status {
	return func() web.Status {
		s := web.Status{Version: version.Version, Started: started, Degraded: a.degraded()}
		for _, p := range a.running() {
			s.Peers = append(s.Peers, p.status(time.Now()))
		}
		return s
	}
}

func (p *peer) status(now time.Time) web.Peer {
	s := web.Peer{Name: p.cfg.Name, Address: address(p.current().Path.Dst), Health: "unknown"}
	if s.Address == "" {
		s.Address = p.cfg.Address + " (not resolved)"
	}
	if healthy, known := p.verdict.tracker.Healthy(); known && healthy {
		s.Health = "healthy"
	} else if known {
		s.Health = "faulty"
	}
	for _, d := range p.verdict.tracker.Held() {
		s.Diagnoses = append(s.Diagnoses, web.Diagnosis{Name: d.Name, Summary: d.Summary, Since: d.Since})
	}
	if p.cfg.Collectors.Has(config.ICMP) {
		s.ICMP = echoText(p.icmp.Result(now))
	}
	if p.cfg.Collectors.Has(config.IKE) {
		results := p.ike.Results(now)
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			r := results.Of(m)
			one := reportOfIKE(m, &r)
			s.IKE = append(s.IKE, fmt.Sprintf("UDP %d %s", one.Port, one.text()))
		}
	}
	if p.cfg.Collectors.Has(config.PMTU) {
		results := p.pmtu.Snapshot().Results
		for i := range results {
			one := reportOfMTU(&results[i])
			s.MTU = append(s.MTU, one.Method+": "+one.text())
		}
	}
	return s
}

func echoText(r icmp.Result) string {
	s := because(r.State.String(), "")
	if r.State == icmp.Unknown {
		s = because(s, r.Reason)
	}
	if r.Last > 0 {
		s += fmt.Sprintf(", %.1f ms", float64(r.Last)/float64(time.Millisecond))
	}
	return s
}
