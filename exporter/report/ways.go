package report

import (
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/untrusted"
)

// A Way is how the probes of a method leave this host.
type Way struct {
	Method collectors.Method
	// By names the interface and the next router.
	By string
	// Apart means that it is another way than that of IKE.
	Apart bool
}

// ways is about policy routing that sends the methods by different ways.
func ways(r *Report) []entry {
	if len(r.Ways) == 0 {
		return nil
	}
	parts, others := make([]string, 0, len(r.Ways)), make([]string, 0, len(r.Ways))
	for _, w := range r.Ways {
		parts = append(parts, w.Method.String()+" by "+untrusted.Line(w.By))
		if w.Apart {
			others = append(others, w.Method.String())
		}
	}
	text := "probes and IKE leave by different ways (policy routing): " + strings.Join(parts, ", ") +
		"; results of " + strings.Join(others, " and ") + " are about another path and support no diagnosis"
	return []entry{{label: "ways", text: text}}
}

// elsewhere is how the probes of a method leave, empty if they take the way of IKE.
func (r *Report) elsewhere(m collectors.Method) string {
	for _, w := range r.Ways {
		if w.Method == m && w.Apart {
			return untrusted.Line(w.By)
		}
	}
	return ""
}
