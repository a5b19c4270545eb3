package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// A Comparison is the same measurement via several ways: the data of texts/comparison.md.tmpl.
type Comparison struct {
	// Groups are ways with the same outcome: first without a fault, then with one, then the others.
	Groups []Group
	// Faulty and Incomplete report whether a way has a fault, or could not be measured completely.
	Faulty, Incomplete bool
	// Blamed are the ways that have a fault while another way to the same address has none.
	// PeerSuspect reports whether the peer may treat a source address differently.
	Blamed      string
	PeerSuspect bool
	// Shared reports whether all ways have the same fault.
	Shared bool
	// Sizes are the path MTUs where they differ and no way has a fault.
	Sizes string
	// SameInterface and OtherAddress are pairs of ways that are not what they seem.
	SameInterface, OtherAddress []Pair
}

// A Group is ways with the same outcome.
type Group struct{ Ways, Outcome string }

// A Pair is two ways.
type Pair struct{ First, Second *document }

// byPath reports whether a diagnosis can only be about the path, not about the source address.
func byPath(name string) bool {
	switch name {
	case diagnosis.PMTUBlackHole, diagnosis.PMTUBlackHoleReverse, diagnosis.FragmentsDropped, diagnosis.ESPBlocked, diagnosis.AHBlocked:
		return true
	}
	return false
}

// Way names the way of a report.
func (d *document) Way() string { return cmp.Or(untrusted.Line(d.Via), "the default route") }

// Clean reports whether everything was measured and no fault was found.
func (d *document) Clean() bool {
	return len(d.Diagnoses) == 0 && d.Healthy && len(d.Errors) == 0
}

// Shorts are the diagnoses in a few words each.
func (d *document) Shorts() string {
	all := make([]string, len(d.Advice))
	for i := range d.Advice {
		all[i] = d.Advice[i].Short
	}
	return and(all)
}

// and joins words as in a sentence.
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// compare renders what the same measurement via several ways shows.
func compare(ways []*document) (string, error) {
	var clean, faulty, rest []*document
	for _, d := range ways {
		switch {
		case len(d.Diagnoses) > 0:
			faulty = append(faulty, d)
		case d.Clean():
			clean = append(clean, d)
		default:
			rest = append(rest, d)
		}
	}
	groups, err := group(slices.Concat(clean, faulty, rest))
	if err != nil {
		return "", err
	}
	c := Comparison{Groups: groups, Faulty: len(faulty) > 0, Incomplete: len(rest) > 0}
	c.Shared = len(faulty) == len(ways) && len(groups) == 1
	oneAddress := !slices.ContainsFunc(ways, func(d *document) bool { return d.Address != ways[0].Address })
	if len(clean) > 0 && len(faulty) > 0 && oneAddress {
		c.Blamed = and(names(faulty))
		c.PeerSuspect = slices.ContainsFunc(faulty, func(d *document) bool {
			return !slices.ContainsFunc(d.Diagnoses, func(held diagnosis.Held) bool { return byPath(held.Name) })
		})
	}
	if len(faulty) == 0 {
		c.Sizes = sizes(ways)
	}
	for i, second := range ways {
		for _, first := range ways[:i] {
			if first.Interface != "" && first.Interface == second.Interface {
				c.SameInterface = append(c.SameInterface, Pair{first, second})
			}
			if first.Address.IsValid() && second.Address.IsValid() && first.Address != second.Address {
				c.OtherAddress = append(c.OtherAddress, Pair{first, second})
			}
		}
	}
	text, err := render("comparison", &c)
	return paragraph(text), err
}

// group puts ways with the same outcome together.
func group(ways []*document) (groups []Group, err error) {
	members := make(map[string][]string)
	var outcomes []string
	for _, d := range ways {
		text, err := render("outcome", d)
		if err != nil {
			return nil, err
		}
		text = paragraph(text)
		if members[text] == nil {
			outcomes = append(outcomes, text)
		}
		members[text] = append(members[text], d.Way())
	}
	for _, o := range outcomes {
		groups = append(groups, Group{and(members[o]), o})
	}
	return groups, nil
}

func names(ways []*document) []string {
	out := make([]string, len(ways))
	for i, d := range ways {
		out[i] = d.Way()
	}
	return out
}

// sizes are the path MTUs via the ways, empty where they are equal or one is unknown.
func sizes(ways []*document) string {
	parts := make([]string, len(ways))
	differ := false
	for i, d := range ways {
		size := d.PathMTU()
		if size == 0 {
			return ""
		}
		differ = differ || size != ways[0].PathMTU()
		parts[i] = fmt.Sprintf("%d bytes via %s", size, d.Way())
	}
	if !differ {
		return ""
	}
	return and(parts)
}

// sideBySide is the same measurement via several ways as a table.
func sideBySide(ways []*document) [][]string {
	table := [][]string{append([]string{""}, names(ways)...)}
	row := func(label string, cell func(d *document) string) {
		cells := []string{label}
		for _, d := range ways {
			cells = append(cells, cell(d))
		}
		if slices.ContainsFunc(cells[1:], func(c string) bool { return c != "" }) {
			for i := range cells[1:] {
				cells[i+1] = cmp.Or(cells[i+1], "-")
			}
			table = append(table, cells)
		}
	}
	row("result", (*document).outcome)
	row("from", func(d *document) string {
		if d.Interface == "" || !d.Source.IsValid() {
			return address(d.Source)
		}
		return d.Source.String() + " by " + untrusted.Line(d.Interface)
	})
	for _, of := range aspects() {
		var labels []string
		cells := make([]map[string][]string, len(ways))
		for i, d := range ways {
			cells[i] = make(map[string][]string)
			for _, e := range of(d.Report) {
				if e.row != "" && !slices.Contains(labels, e.row) {
					labels = append(labels, e.row)
				}
				cells[i][e.row] = append(cells[i][e.row], e.cell)
			}
		}
		for _, label := range labels {
			row(label, func(d *document) string { return strings.Join(cells[slices.Index(ways, d)][label], ", ") })
		}
	}
	return table
}

// outcome is the result in the words of the table.
func (d *document) outcome() string {
	if len(d.Diagnoses) == 0 && d.Healthy {
		return "no fault found"
	}
	return d.result()
}
