package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana shows headers without rows, or a message about a time field, where a table of several queries
// or a timeline has nothing to show. So those queries bring a row or span of their own then.

// Values of that row.
const (
	nothingHere = "-1"
	notKnown    = "-2"
)

// A fallback is what a panel says that would be empty.
type fallback struct {
	// label becomes the name of the row.
	label string
	// known selects series whose existence makes nothing a fact. Without it, nothing is always unknown.
	known string
	// none and unknown are the texts.
	none, unknown string
	// others selects series that bring rows by another query.
	others string
}

// orSay adds the row to a query.
func (f fallback) orSay(expr string) string {
	all := []string{"(" + expr + ")"}
	row := func(value, text string) string {
		named := fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, value, f.label, text)
		if f.others != "" {
			named = "(" + named + " unless on () " + f.others + ")"
		}
		return named
	}
	if f.known != "" {
		all = append(all, row(fmt.Sprintf("%s + 0 * count(%s)", nothingHere, f.known), f.none))
	}
	return strings.Join(append(all, row("vector("+notKnown+")", f.unknown)), " or on () ")
}

// states are the texts of the values.
func (f fallback) states() []state {
	all := []state{{notKnown, f.unknown, unknown}}
	if f.known != "" {
		all = append(all, state{nothingHere, f.none, good})
	}
	return all
}

// withFallback completes the fallback by what the panel says already, and adds it to the first query.
func (p panel) withFallback(label string) panel {
	f := fallback{label: label, known: p.known, none: p.noValue, unknown: p.unknown, others: p.others}
	if f.unknown == "" {
		f.unknown = "unknown"
		if p.known == "" {
			f.unknown = p.noValue
		}
	}
	p.queries[0].expr = f.orSay(p.queries[0].expr)
	p.fallback = &f
	return p
}

// missing maps a value that is not there.
func missing(text string, index int) dashboard.ValueMapping {
	m := dashboard.NewSpecialValueMap()
	m.Options.Match = dashboard.SpecialValueMatchNullAndNan
	m.Options.Result = dashboard.ValueMappingResult{Text: &text, Color: new(unknown), Index: new(int32(index))}
	return dashboard.ValueMapping{SpecialValueMap: m}
}
