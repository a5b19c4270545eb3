// Package suite is the one place that lists every collector: its name, how often it runs, how it is
// made, and where its newest result is found.
//
//	specs ──▶ names, default intervals (package config, labels, schedule keys)
//	  │
//	  └─New──▶ Collectors of one peer ──Findings──▶ diagnosis, report, pages
//
// A new collector has a constant, a line of specs and a field of Findings here, and a file beside
// this one that builds it. The package neither schedules nor judges.
package suite

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
)

// A Collector is one aspect of the path that is measured.
type Collector uint8

// The collectors.
const (
	ICMP Collector = iota
	IKE
	PMTU
	Fragments
	Protocols
	Flows
	Inside
	Partner
	count
)

// A Spec is what is fixed about one collector.
type Spec struct {
	// Name stands in configuration files, labels and schedule keys, Title in progress messages.
	Name, Title string
	// Every is the default interval, Least the shortest that can be configured.
	Every, Least time.Duration
	// Talks means that shorter intervals may make a gateway lock out the real peer at this address.
	Talks bool
	// Optional collectors do not run unless they are configured.
	Optional bool
	// Reasons are the label values for why a measurement could not be made, nil where errors of
	// Measure say why.
	Reasons []string
	// Load is what one round sends while the path is healthy.
	Load func(s collectors.IKESettings) Load

	build func(ctx context.Context, c *Collectors, t collectors.Target, d *Deps)
	operations
	// fresh drops the results that are too old; nil where the collector does that itself.
	fresh func(f *Findings, now time.Time, every time.Duration)
}

// A Load is a number of packets and their mean size in bytes, IP header included.
type Load struct{ Packets, Bytes int }

// specs has a line for each collector. They are built in this order: the first ones learn how the
// peer is spoken to, the later ones use it.
var specs = [count]Spec{
	ICMP:      {"icmp", "ICMP echo", 5 * time.Second, 100 * time.Millisecond, false, false, icmp.Reasons(), echoLoad, buildICMP, operateICMP(), nil},
	IKE:       {"ike", "IKE", 30 * time.Second, 10 * time.Second, true, false, ike.Reasons(), ikeLoad, buildIKE, operateIKE(), nil},
	PMTU:      {"pmtu", "path MTU", time.Minute, 10 * time.Second, true, false, nil, pmtuLoad, buildPMTU, operatePMTU(), freshPMTU},
	Fragments: {"fragments", "fragments", 5 * time.Minute, time.Minute, false, false, nil, fragmentsLoad, buildFragments, operateFragments(), freshFragments},
	Protocols: {"protocols", "protocols and routers", 15 * time.Minute, time.Minute, false, true, nil, protocolsLoad, buildProtocols, operateProtocols(), freshProtocols},
	Inside:    {"inside", "inside the tunnel", time.Minute, 10 * time.Second, false, true, nil, insideLoad, buildInside, operateInside(), freshInside},
	Flows:     {"flows", "flows", 15 * time.Minute, 5 * time.Minute, true, false, nil, flowsLoad, buildFlows, operateFlows(), freshFlows},
	Partner:   {"partner", "partner", 30 * time.Second, 5 * time.Second, false, true, nil, partnerLoad, buildPartner, operatePartner(), freshPartner},
}

// Findings are the newest results of the collectors of one peer, as they were found; nil where a
// collector does not run.
type Findings struct {
	ICMP      *icmp.Result
	IKE       *ike.Results
	PMTU      *pmtu.Snapshot
	Fragments *fragments.Results
	Protocols *protocols.Results
	Flows     *flows.Results
	Inside    *inside.Results
	Partner   *partner.Result
}

// Fresh returns the findings without results that are older than three intervals, and without
// rounds that found nothing out.
func (f *Findings) Fresh(now time.Time, every Intervals) Findings {
	out := *f
	for c, spec := range specs {
		if spec.fresh != nil {
			spec.fresh(&out, now, every[c])
		}
	}
	return out
}

// Since is when the oldest of the results was measured, now if there is none.
func (f *Findings) Since(now time.Time) time.Time {
	var all []time.Time
	if f.ICMP != nil {
		all = append(all, f.ICMP.At)
	}
	if f.IKE != nil {
		all = append(all, f.IKE.IKE.At, f.IKE.NATT.At)
	}
	if f.PMTU != nil {
		all = append(all, f.PMTU.At)
	}
	if f.Fragments != nil {
		all = append(all, f.Fragments.At)
	}
	if f.Protocols != nil {
		all = append(all, f.Protocols.At)
	}
	if f.Flows != nil {
		all = append(all, f.Flows.At)
	}
	if f.Inside != nil {
		all = append(all, f.Inside.At)
	}
	if f.Partner != nil {
		all = append(all, f.Partner.At)
	}
	oldest := now
	for _, at := range all {
		if !at.IsZero() && at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// String is the collector's name.
func (c Collector) String() string {
	if c < count {
		return specs[c].Name
	}
	return "unknown"
}

// Spec returns what is fixed about the collector.
func (c Collector) Spec() Spec { return specs[c] }

// All returns all collectors in their usual order.
func All() []Collector {
	all := make([]Collector, count)
	for i := range all {
		all[i] = Collector(i)
	}
	return all
}
