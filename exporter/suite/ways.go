package suite

import (
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
)

// OneWay returns the findings without those of methods whose probes leave this host by another way
// than IKE, and without protocols that did. They are about another path.
func (f *Findings) OneWay(apart []collectors.Method) Findings {
	out := *f
	elsewhere := func(m collectors.Method) bool { return slices.Contains(apart, m) }
	if elsewhere(collectors.ICMP) {
		out.ICMP = nil
	}
	if f.IKE != nil && elsewhere(collectors.NATT) {
		out.IKE = &ike.Results{IKE: f.IKE.IKE}
	}
	if f.PMTU != nil && len(apart) > 0 {
		s := *f.PMTU
		s.Results = slices.DeleteFunc(slices.Clone(s.Results), func(r pmtu.Result) bool { return elsewhere(r.Method) })
		if elsewhere(collectors.ICMP) {
			s.Reverse, s.Forward = pmtu.Reverse{}, pmtu.Forward{}
		}
		out.PMTU = &s
	}
	if f.Fragments != nil && len(apart) > 0 {
		r := *f.Fragments
		r.Results = slices.DeleteFunc(slices.Clone(r.Results), func(r fragments.Result) bool { return elsewhere(r.Method) })
		out.Fragments = &r
	}
	if f.Flows != nil && len(apart) > 0 {
		r := *f.Flows
		r.Results = slices.DeleteFunc(slices.Clone(r.Results), func(r flows.Result) bool { return elsewhere(r.Method) })
		out.Flows = &r
	}
	if f.Protocols != nil {
		r := *f.Protocols
		r.Results = slices.DeleteFunc(slices.Clone(r.Results), func(r protocols.Result) bool { return r.Way != "" })
		out.Protocols = &r
	}
	return out
}
