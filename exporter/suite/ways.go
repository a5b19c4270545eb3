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
		s.Results = only(s.Results, func(r *pmtu.Result) bool { return !elsewhere(r.Method) })
		if elsewhere(collectors.ICMP) {
			s.Reverse, s.Forward = pmtu.Reverse{}, pmtu.Forward{}
		}
		out.PMTU = &s
	}
	if f.Fragments != nil && len(apart) > 0 {
		r := *f.Fragments
		r.Results = only(r.Results, func(r *fragments.Result) bool { return !elsewhere(r.Method) })
		out.Fragments = &r
	}
	if f.Flows != nil && len(apart) > 0 {
		r := *f.Flows
		r.Results = only(r.Results, func(r *flows.Result) bool { return !elsewhere(r.Method) })
		out.Flows = &r
	}
	if f.Protocols != nil {
		r := *f.Protocols
		r.Results = only(r.Results, func(r *protocols.Result) bool { return r.Way == "" })
		out.Protocols = &r
	}
	return out
}

// only returns the results that pass a test: the same slice where all do, which is most of the
// time.
func only[R any](all []R, passes func(r *R) bool) []R {
	for i := range all {
		if passes(&all[i]) {
			continue
		}
		kept := slices.Clone(all[:i])
		for j := range all[i+1:] {
			if r := &all[i+1+j]; passes(r) {
				kept = append(kept, *r)
			}
		}
		return kept
	}
	return all
}
