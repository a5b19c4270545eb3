package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// protocolsNotPorts is the sentence that rules for VPNs go wrong without.
const protocolsNotPorts = "UDP 500 and UDP 4500 are ports. ESP and AH are not: they are IP protocols of their own, 50 and 51, beside TCP (6) and UDP (17). " +
	"A rule that permits \"port 50\" permits something else."

// words are the sections for the provider's engineer and for the one who writes to him.
func (r *Report) words() []section {
	sections := []section{r.measured()}
	if len(r.Diagnoses) > 0 {
		sections = append(sections, r.faults(), r.ask())
	}
	if r.Address != "" {
		sections = append(sections, r.byHand())
	}
	if len(r.Diagnoses) > 0 && r.Address != "" {
		sections = append(sections, r.cisco())
	}
	if len(r.Advice) > 0 {
		sections = append(sections, r.meanwhile())
	}
	if r.History != nil {
		s := section{title: "Before"}
		s.items(foreignAll(slices.Concat(r.History.Baseline, r.History.Changes))...)
		sections = append(sections, s)
	}
	return append(sections, r.limits())
}

func foreignAll(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = foreign(l)
	}
	return out
}

// measured is what was sent, what came back, and what that shows.
func (r *Report) measured() section {
	s := section{title: "What was sent, what came back"}
	from := r.sender()
	if r.Interface != "" {
		from += " (interface `" + foreign(r.Interface) + "`)"
	}
	if r.Address == "" {
		s.say("Nothing was sent.")
		return s
	}
	s.say("From %s to %s, begun %s, over %.0f seconds. All sizes are those of IP packets, header included.", from, r.Address, r.Started.UTC().Format(time.RFC3339), r.Seconds)
	table := [][]string{{"test", "sent", "came back", "shows"}}
	for _, f := range r.findings() {
		table = append(table, []string{f.test, f.sent, f.back, f.shows})
	}
	if len(table) > 1 {
		s.blocks = append(s.blocks, block{table: table})
	}
	if len(r.Hops) > 0 {
		hops := make([]string, len(r.Hops))
		for i, h := range r.Hops {
			hops[i] = fmt.Sprintf("%d %s", h.TTL, h.Address)
			if h.Address == "" {
				hops[i] = fmt.Sprintf("%d silent", h.TTL)
			}
		}
		s.say("Routers on the way as they called themselves: %s.", strings.Join(hops, ", "))
	}
	return s
}

// faults are the diagnoses, with what the provider has to know, and the measurements.
func (r *Report) faults() section {
	s := section{title: "What that shows"}
	for _, d := range r.Diagnoses {
		text := foreign(d.Summary)
		for _, a := range r.Advice {
			if a.Diagnosis == d.Name {
				text = a.Provider
			}
		}
		s.say("`%s`: %s", d.Name, text)
		s.items(foreignAll(d.Evidence)...)
	}
	if r.Comparison != "" {
		s.say("%s", r.Comparison)
	}
	return s
}

// ask is what to ask the provider for.
func (r *Report) ask() section {
	s := section{title: "What we ask"}
	s.items(r.advices(func(a *Advice) []string { return a.Ask })...)
	s.say("%s", protocolsNotPorts)
	s.say("How to see that it is done:")
	s.items(r.advices(func(a *Advice) []string { return a.Confirm })...)
	return s
}

// advices are the sentences of all advice, each once.
func (r *Report) advices(of func(*Advice) []string) (out []string) {
	seen := make(map[string]bool)
	for i := range r.Advice {
		for _, line := range of(&r.Advice[i]) {
			if !seen[line] {
				out = append(out, line)
			}
			seen[line] = true
		}
	}
	return out
}

func (r *Report) byHand() section {
	s := section{title: "The same by hand"}
	s.commands(r.reproduce()...)
	return s
}

func (r *Report) meanwhile() section {
	s := section{title: "Meanwhile, at our end"}
	s.items(r.advices(func(a *Advice) []string { return a.Meanwhile })...)
	return s
}

// limits is what the report does not show.
func (r *Report) limits() section {
	var lines []string
	for _, u := range r.Unknown {
		lines = append(lines, fmt.Sprintf("Not known: %s (%s).", foreign(u.What), foreign(u.Why)))
	}
	for _, e := range r.Errors {
		lines = append(lines, "Not measured: "+foreign(e)+".")
	}
	if r.Address != "" {
		lines = append(lines, r.caveats()...)
	}
	s := section{title: "What this does not show"}
	s.items(lines...)
	return s
}
