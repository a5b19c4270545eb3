package subject

import (
	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
)

// ways returns how the probes of each method leave this host, that of IKE first, if policy routing
// sends them by different ways; none if all take the same. It asks the kernel only where routes
// depend on what is sent, and there at most every few seconds.
func (s *Subject) ways(t collectors.Target) []report.Way {
	if !t.Path.Dst.IsValid() || !s.Config.Collectors.Has(suite.IKE) {
		return nil
	}
	first, err := s.deps.Stack.Route(t.PathOf(collectors.IKE))
	if err != nil {
		return nil
	}
	all, apart := []report.Way{{Method: collectors.IKE, By: first.Way()}}, false
	for _, m := range []collectors.Method{collectors.NATT, collectors.ICMP} {
		route, err := s.deps.Stack.Route(t.PathOf(m))
		if err != nil {
			continue
		}
		other := !route.SameWay(&first)
		apart = apart || other
		all = append(all, report.Way{Method: m, By: route.Way(), Apart: other})
	}
	if !apart {
		return nil
	}
	return all
}

// apart returns the methods whose probes take another way than IKE.
func apart(ways []report.Way) (methods []collectors.Method) {
	for _, w := range ways {
		if w.Apart {
			methods = append(methods, w.Method)
		}
	}
	return methods
}
