package exporter

import (
	"fmt"
	"time"

	"github.com/prometheus/common/version"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/report"
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
	s := web.Peer{Name: p.cfg.Name, Address: p.cfg.Address + " (not resolved)", Health: "unknown"}
	if addr := p.current().Path.Dst; addr.IsValid() {
		s.Address = addr.String()
	}
	if healthy, known := p.verdict.tracker.Healthy(); known && healthy {
		s.Health = "healthy"
	} else if known {
		s.Health = "faulty"
	}
	for _, d := range p.verdict.tracker.Held() {
		s.Diagnoses = append(s.Diagnoses, web.Diagnosis{
			Name: d.Name, Summary: d.Summary, Since: d.Since, Gateway: d.Gateway, Flapping: d.Flapping, Evidence: d.Evidence,
		})
	}
	if p.cfg.Collectors.Has(config.ICMP) {
		s.ICMP = echoText(p.icmp.Result(now))
	}
	if p.cfg.Collectors.Has(config.IKE) {
		results := p.ike.Results(now)
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			r := results.Of(m)
			one := report.OfIKE(m, &r)
			s.IKE = append(s.IKE, fmt.Sprintf("UDP %d %s", one.Port, one.Text()))
		}
	}
	if p.cfg.Collectors.Has(config.PMTU) {
		results := p.pmtu.Snapshot().Results
		for i := range results {
			one := report.OfMTU(&results[i])
			s.MTU = append(s.MTU, one.Method+": "+one.Text())
		}
	}
	return s
}

func echoText(r icmp.Result) string {
	s := r.State.String()
	if r.State == icmp.Unknown && r.Reason != "" {
		s += ": " + r.Reason
	}
	if r.Last > 0 {
		s += fmt.Sprintf(", %.1f ms", float64(r.Last)/float64(time.Millisecond))
	}
	return s
}
