package capture

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// A Report is everything that was found in one capture or in two of the same traffic.
type Report struct {
	// Faults reports that there is at least one.
	Faults bool `json:"faults"`
	// Findings are the conclusions of all captures and of their comparison, faults first.
	Findings   []Finding   `json:"findings"`
	Comparison *Comparison `json:"comparison,omitempty"` // nil with one capture
	Captures   []*Analysis `json:"captures"`
}

// NewReport draws the conclusions of one capture, or of two, which it compares.
func NewReport(captures ...*Analysis) *Report {
	r := &Report{Captures: captures, Findings: []Finding{}}
	if len(captures) == 2 {
		r.Comparison = Compare(captures[0], captures[1])
		for _, f := range r.Comparison.Findings {
			r.add(f, "")
		}
	}
	for _, a := range captures {
		for _, f := range a.Findings {
			where := ""
			if len(captures) > 1 {
				where = a.Name + ": "
			}
			r.add(f, where)
		}
	}
	slices.SortStableFunc(r.Findings, func(f, g Finding) int { return rank(f) - rank(g) })
	r.Faults = len(r.Findings) > 0 && r.Findings[0].Fault
	return r
}

func rank(f Finding) int {
	if f.Fault {
		return 0
	}
	return 1
}

// add adds a conclusion. What is already known to be so gets one more piece of evidence.
func (r *Report) add(f Finding, where string) {
	for i := range r.Findings {
		g := &r.Findings[i]
		if g.Name == f.Name && g.Src == f.Src && g.Dst == f.Dst && g.Fault == f.Fault && f.Src.IsValid() {
			g.Evidence = append(append(g.Evidence, where+f.Summary), prefixed(where, f.Evidence)...)
			if g.Advice == "" {
				g.Advice = f.Advice
			}
			return
		}
	}
	f.Summary = where + f.Summary
	f.Evidence = prefixed(where, f.Evidence)
	r.Findings = append(r.Findings, f)
}

func prefixed(where string, lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, where+l)
	}
	return out
}

// Problems returns what could not be read of the captures, and which show no VPN.
func (r *Report) Problems() []string {
	var all []string
	for _, a := range r.Captures {
		switch why := a.empty(); {
		case a.Damage != "":
			all = append(all, fmt.Sprintf("%s: damaged: %s", a.Name, a.Damage))
		case why != "":
			all = append(all, fmt.Sprintf("%s: no VPN packet found: %s", a.Name, why))
		}
	}
	return all
}

// WriteJSON prints the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
