package ciscoasa

import "ipsec_path_exporter/collectors/gateways"

// unread is what a parser did not understand.
type unread struct {
	lines  []string // that are not about an SA
	sas    []string // that may be about an SA
	doubts int      // SAs that the output counts or implies and does not show
}

func (u *unread) unparsed() int { return len(u.lines) + len(u.sas) }

// take adds what a parser did not understand to the table.
func (r *result) take(u *unread) {
	clean := r.clean
	if clean == nil {
		clean = func(line string) string { return line }
	}
	for _, line := range u.sas {
		r.table.SkipSA(clean(line), gateways.Identity{})
	}
	for _, line := range u.lines {
		r.table.Skip(clean(line))
	}
	r.table.Doubts = append(r.table.Doubts, make([]gateways.Identity, u.doubts)...)
}
