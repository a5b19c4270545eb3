package exporter

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
)

// describe writes into a report what was found about the peer, as far as it is measured at all, and what follows from it.
func (p *peer) describe(r *report.Report, t collectors.Target, f *findings, tracker *diagnosis.Tracker, now time.Time) {
	has := p.cfg.Collectors.Has
	r.Diagnoses = report.OfDiagnoses(tracker.Held())
	r.Healthy, r.Measured = tracker.Healthy()
	if f.icmp != nil && has(config.ICMP) {
		r.ICMP = report.OfICMP(f.icmp)
	}
	if f.ike != nil && has(config.IKE) {
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			one := f.ike.Of(m)
			r.IKE = append(r.IKE, report.OfIKE(m, &one))
			if f.fragments != nil && has(config.Fragments) {
				pieces := f.fragments.Of(m)
				r.IKE[len(r.IKE)-1].Fragmented(&pieces)
			}
		}
	}
	if f.pmtu != nil && has(config.PMTU) {
		for i := range f.pmtu.Results {
			r.MTU = append(r.MTU, report.OfMTU(&f.pmtu.Results[i]))
		}
		if !f.pmtu.Reverse.At.IsZero() {
			r.Reverse = report.OfReverse(&f.pmtu.Reverse)
		}
		r.Hops = report.OfHops(f.pmtu.Hops)
		if tunnel, ok := recommend(&p.cfg, t, *f.pmtu, f.gateways, now); ok {
			r.Tunnel = &tunnel
		}
	}
	p.tables(r)
	if f.protocols != nil && has(config.Protocols) {
		r.Protocols = report.OfProtocols(f.protocols)
		if len(f.protocols.Hops) >= len(r.Hops) {
			r.Hops = report.OfHops(f.protocols.Hops) // of more kinds of packets
		}
		if f.protocols.Reason != "" {
			r.Unknown = append(r.Unknown, report.Unknown{What: "how far the protocols get", Why: f.protocols.Reason})
		}
	}
}

// tables writes down what the SA tables of gateways show about the peer, and which of them could not be read.
func (p *peer) tables(r *report.Report) {
	for _, g := range p.app.readers.pollers() {
		s, ok := g.About(p.cfg.Name)
		switch {
		case ok && s.Up:
			r.Gateways = append(r.Gateways, report.OfGateway(&s))
		case ok && s.Err != nil:
			r.Errors = append(r.Errors, fmt.Sprintf("gateway %s: %v", s.Gateway, s.Err))
		case ok:
			r.Errors = append(r.Errors, fmt.Sprintf("gateway %s: the last reading, of %s, is too old", s.Gateway, s.At.UTC().Format(time.RFC3339)))
		}
	}
}
