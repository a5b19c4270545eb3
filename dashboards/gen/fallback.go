package main

import (
	"cmp"
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

// noneKnown is the text of graphs and bars without data: they do not distinguish none from unknown.
const noneKnown = "none known"

// Without faults of the known paths, all is well only if every exporter is scraped and every gateway read.
const (
	notScraped = "unknown: an exporter is not scraped"
	notRead    = "unknown"
)

// allHealthKnown selects the health of paths with the labels, if every exporter is scraped.
func allHealthKnown(labels string, more ...string) string {
	return sel("peer_healthy", labels, more...) + " unless on () up{" + process + "} == 0"
}

// allGatewaysRead selects the gateways, if every one of them is read.
func allGatewaysRead(labels string) string {
	up := sel("gateway_up", labels)
	return up + " unless on () (" + up + " == 0 or up{" + process + "} == 0)"
}

// A fallback is what a panel says that would be empty.
type fallback struct {
	// label becomes the name of the row. Without it, the value says everything.
	label string
	// whole is set where the name has to say everything, because no text takes its place.
	whole bool
	// known selects series whose existence makes nothing a fact. Without it, nothing is always unknown.
	known string
	// none and unknown are the texts.
	none, unknown string
	colour        string
	// others selects series that bring rows by another query.
	others string
}

// orSay adds the row to a query.
func (f fallback) orSay(expr string) string {
	all := []string{"(" + expr + ")"}
	row := func(value, text string) string {
		named := value
		if f.label != "" {
			named = fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, value, f.label, f.name(text))
		}
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

// name is the name of a row with a text.
func (f fallback) name(text string) string {
	if f.whole {
		return text
	}
	short, _, _ := strings.Cut(text, ":")
	return short
}

// states are the texts of the values.
func (f fallback) states() []state {
	all := []state{{notKnown, f.unknown, unknown}}
	if f.known != "" {
		all = append(all, state{nothingHere, f.none, f.colour})
	}
	return all
}

// withFallback completes the fallback by what the panel says already, and adds it to the first query.
func (p panel) withFallback(label string, whole bool) panel {
	f := fallback{label: label, whole: whole, known: p.known, none: p.noValue, unknown: p.unknown, others: p.others, colour: cmp.Or(p.noneColour, good)}
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
