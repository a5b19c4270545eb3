package subject

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/suite"
)

// Outline returns a report on the peer without results.
func (s *Subject) Outline() *report.Report {
	r := Unresolved(s.Config)
	if t := s.Target(); t.Path.Dst.IsValid() {
		r.Address = t.Path.Dst
		if route, err := s.deps.Stack.Route(t.PathOf(collectors.IKE)); err == nil && route.Src.IsValid() {
			r.Source, r.Interface = route.Src, route.Interface
		}
		r.Ways = s.ways(t)
	}
	return r
}

// Unresolved returns a report on a peer whose address is not known.
func Unresolved(p *config.Peer) *report.Report {
	return &report.Report{Peer: p.Name, Labels: p.Labels, Host: p.Address, Via: Via(p)}
}

// Report returns what findings show about the peer. The caller adds when they were made, and the
// history.
func (s *Subject) Report(f *suite.Findings, now time.Time) *report.Report {
	r := s.Outline()
	r.Findings = *f
	r.Diagnoses = s.Tracker.Held()
	r.Healthy, r.Measured = s.Tracker.Healthy()
	r.Tunnel = s.Tunnel(f, now)
	s.tables(r)
	return r
}

// OtherAddresses returns the addresses of a peer's name without the measured one, with what is
// known of those that were tried.
func OtherAddresses(all []resolve.Address, tried []diagnosis.Other, measured netip.Addr) (out []report.Address) {
	for _, a := range all {
		if a.Addr == measured {
			continue
		}
		one := report.Address{Address: a.Addr, State: report.Untried}
		i := slices.IndexFunc(tried, func(o diagnosis.Other) bool { return o.Address == a.Addr })
		switch {
		case a.Err != nil:
			one.State, one.Reason = report.Unroutable, a.Err.Error()
		case i < 0:
		case tried[i].State == diagnosis.Holds:
			one.State = report.Answers
		case tried[i].State == diagnosis.Absent:
			one.State = report.Silent
		default:
			one.State, one.Reason = report.TriedUnknown, tried[i].Reason
		}
		out = append(out, one)
	}
	return out
}

// Overview returns a report for a list of many peers: of each collector the newest result, unless
// it is too old. It looks up no route and no gateway.
func (s *Subject) Overview(now time.Time) *report.Report {
	r := Unresolved(s.Config)
	r.Address = s.Target().Path.Dst
	r.Findings, r.Diagnoses = s.Findings(now).Fresh(now, s.Config.Intervals), s.Tracker.Held()
	r.Healthy, r.Measured = s.Tracker.Healthy()
	r.Tunnel = s.Tunnel(&r.Findings, now)
	return r
}

// tables adds what the SA tables of gateways show about the peer, and which of them could not be
// read.
func (s *Subject) tables(r *report.Report) {
	for _, g := range s.deps.Gateways() {
		shown, ok := g.About(s.Config.Name)
		if kind := g.Type(); kind != "" && (ok || slices.Contains(s.Config.Gateways, g.Name())) && !slices.Contains(r.GatewayTypes, kind) {
			r.GatewayTypes = append(r.GatewayTypes, kind)
		}
		switch {
		case ok && shown.Up:
			r.Gateways = append(r.Gateways, shown)
		case ok && shown.Err != nil:
			r.Errors = append(r.Errors, fmt.Sprintf("gateway %s: %v", shown.Gateway, shown.Err))
		case ok:
			r.Errors = append(r.Errors, fmt.Sprintf("gateway %s: the last reading, of %s, is too old", shown.Gateway, diagnosis.Clock(shown.At)))
		}
	}
}

// Family names the address family of a target.
func Family(t collectors.Target) string {
	if t.Path.IPv6() {
		return config.FamilyIP6.String()
	}
	return config.FamilyIP4.String()
}

// Via is the way out that is configured for a peer, empty where routing chooses.
func Via(p *config.Peer) string {
	var parts []string
	if p.SourceAddress.IsValid() {
		parts = append(parts, p.SourceAddress.String())
	}
	if p.Interface != "" {
		parts = append(parts, p.Interface)
	}
	return strings.Join(parts, "%")
}
