package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
)

// A group is all kept probes with one purpose, in rounds, the newest round first.
type group struct {
	Purpose string
	Rounds  []round
	Probes  int
	// Omitted is how many older rounds are not on the page.
	Omitted int
	// Proof means that the probes show a diagnosis that holds.
	Proof bool
	rank  int
}

// A round is probes that were sent shortly after one another.
type round struct {
	At time.Time
	// Text counts the outcomes.
	Text string
	// Probes are the shown ones, Omitted is how many are not on the page.
	Probes  []trace.Exchange
	Omitted int
}

const (
	// roundGap separates rounds: more time than between probes of one.
	roundGap = 3 * time.Second
	// shownRounds and shownProbes bound the page. The JSON form and the capture have everything.
	shownRounds, shownProbes = 3, 40
)

// rounds divides probes in the order of time.
func rounds(all []trace.Exchange) (out [][]trace.Exchange) {
	for i := range all {
		if n := len(out); n > 0 && all[i].Sent.Sub(out[n-1][len(out[n-1])-1].Sent) < roundGap {
			out[n-1] = append(out[n-1], all[i])
			continue
		}
		out = append(out, []trace.Exchange{all[i]})
	}
	return out
}

// collectorOf names the collector that sends probes with a purpose.
func collectorOf(purpose string) suite.Collector {
	switch {
	case purpose == collectors.PurposeEcho:
		return suite.ICMP
	case purpose == collectors.PurposeIKE:
		return suite.IKE
	case strings.HasPrefix(purpose, "IKE message"):
		return suite.Fragments
	case strings.HasPrefix(purpose, "how far does"):
		return suite.Protocols
	case strings.HasPrefix(purpose, "is another flow"):
		return suite.Flows
	}
	return suite.PMTU
}

// lost reports whether nothing came back for a probe. An ICMP error is an answer: routers send them
// for probes whose TTL they exhaust.
func lost(e trace.Exchange) bool { return result(&e) == vanishes }

// climbs reports whether probes with a rising TTL are of a protocol that a diagnosis says is
// blocked, or of any where this host drops the answers.
func climbs(purpose string, held []string) bool {
	return slices.ContainsFunc(held, func(name string) bool {
		p, blocked := strings.CutSuffix(name, "_blocked")
		return name == diagnosis.LocalFilter || blocked && strings.HasPrefix(purpose, "how far does "+p+" get")
	})
}

// evidence groups kept probes: the ones that show a diagnosis first, then other searches, and
// routine last.
func evidence(r *report.Report, kept []trace.Exchange) []group {
	var held []string
	for i := range r.Diagnoses {
		held = append(held, r.Diagnoses[i].Name)
	}
	shows := diagnosis.Confirming(held)
	by := make(map[string][]trace.Exchange)
	for i := range kept {
		by[kept[i].Purpose] = append(by[kept[i].Purpose], kept[i])
	}
	groups := make([]group, 0, len(by))
	for purpose, all := range by {
		g := group{Purpose: purpose, Probes: len(all)}
		c := collectorOf(purpose)
		faults := slices.ContainsFunc(all, func(e trace.Exchange) bool { return lost(e) })
		g.Proof = faults && shows.Has(c) && (c != suite.Protocols || climbs(purpose, held))
		g.rank = rankOf(c, g.Proof, faults)
		for _, one := range slices.Backward(rounds(all)) {
			if len(g.Rounds) == shownRounds {
				g.Omitted++
				continue
			}
			g.Rounds = append(g.Rounds, newRound(one))
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(sizesFirst(a.Purpose), sizesFirst(b.Purpose)), strings.Compare(a.Purpose, b.Purpose))
	})
	return groups
}

// rankOf puts proof before other searches, and routine last.
func rankOf(c suite.Collector, proof, faults bool) int {
	switch {
	case proof:
		return 0
	case c == suite.ICMP:
		return 4
	case c == suite.IKE:
		return 3
	case faults:
		return 1
	}
	return 2
}

// sizesFirst puts searches for a size before what locates or prepares them.
func sizesFirst(purpose string) int {
	if strings.HasPrefix(purpose, "path MTU by") {
		return 0
	}
	return 1
}

// newRound counts the outcomes of a round.
func newRound(all []trace.Exchange) round {
	counts := make(map[outcome]int)
	for i := range all {
		counts[result(&all[i])]++
	}
	var parts []string
	for _, o := range []outcome{passes, vanishes, reported, notSent, waiting} {
		if counts[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[o], o))
		}
	}
	r := round{At: all[0].Sent, Text: strings.Join(parts, ", "), Probes: all}
	if len(all) > shownProbes {
		r.Probes, r.Omitted = all[len(all)-shownProbes:], len(all)-shownProbes
	}
	return r
}
