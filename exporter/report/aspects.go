package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// aspects are what a report says about each kind of result, in the order in which they are shown. A
// new collector has a line here and a file of its own.
func aspects() []func(r *Report) []entry {
	return []func(r *Report) []entry{
		otherAddresses, ways, echo, ikeReplies, fragmented, partnered, pathMTUs, holePlace, direction, compared, reach, forwardPath, reversePath,
		tunnelSettings, insideTunnel, gatewayTables,
	}
}

// An entry is what a report says about one result. Groups of fields that are empty are left out.
type entry struct {
	// label and text are the line of the summary.
	label, text string
	// A row of the table of probes: what was tested, sent and received, and what that shows.
	test, sent, received, shows string
	// at is when the result was measured, from since on if that is set.
	at, since time.Time
	// row and cell are the place in the comparison of several ways.
	row, cell string
	// unknown is what the result could not show, why the reason.
	unknown, why string
}

// entries are all entries of the report.
func (r *Report) entries() (all []entry) {
	for _, of := range aspects() {
		all = append(all, of(r)...)
	}
	return all
}

// probes is the table of what was sent and received.
func (r *Report) probes() [][]string {
	table := [][]string{{"Test", "Time", "Sent", "Received", "Conclusion"}}
	for _, e := range r.entries() {
		if e.test != "" {
			table = append(table, []string{e.test, e.time(), e.sent, e.received, e.shows})
		}
	}
	return table
}

// time is when the result was measured in words, empty if that is not known.
func (e *entry) time() string {
	switch {
	case e.at.IsZero():
		return ""
	case e.since.IsZero() || !e.since.Before(e.at.Truncate(time.Second)):
		return diagnosis.Clock(e.at)
	}
	return diagnosis.Clock(e.since) + " to " + diagnosis.Clock(e.at)
}

// notTested is why something is unknown that no measurement was made for.
const notTested = "not tested"

// Unknown is something that could not be found out, and why.
type Unknown struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// unknowns are what the results do not show, none where nothing was measured.
func (r *Report) unknowns() (out []Unknown) {
	if !r.Address.IsValid() {
		return nil
	}
	for _, e := range r.entries() {
		if e.unknown != "" && !slices.ContainsFunc(out, func(u Unknown) bool { return u.What == e.unknown }) {
			out = append(out, Unknown{What: e.unknown, Why: reason(e.why)})
		}
	}
	return out
}

// reason is never empty.
func reason(s string) string { return cmp.Or(s, "no reason is known") }

// noConclusion is the conclusion from a result that is unknown.
func noConclusion(why string) string { return "none: " + untrusted.Line(reason(why)) }

// because appends a reason, if there is one, in one line.
func because(s, why string) string {
	if why == "" {
		return s
	}
	return s + ": " + strings.ReplaceAll(why, "\n", "; ")
}

// words is a label value in prose.
func words(label string) string { return strings.ReplaceAll(label, "_", " ") }

// milliseconds is a round trip with a comma before it, empty for 0.
func milliseconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f ms", d.Seconds()*1e3)
}

// icmpError is an ICMP error with its sender, empty without a sender.
func icmpError(e *collectors.PathError) string {
	if !e.From.IsValid() {
		return ""
	}
	return fmt.Sprintf("; ICMP %s from %s", words(e.Name()), e.From)
}
