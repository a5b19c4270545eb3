package web

import (
	"cmp"
	"slices"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
)

// A level is what a peer is in one word: the severity of its worst diagnosis, as alerts and reports
// have it, or healthy, or unknown.
type level string

// The levels besides the severities. Unknown is neither a fault nor health.
const (
	healthy level = "healthy"
	unknown level = "unknown"
)

// levels are all levels, the worst first.
var levels = [...]level{level(diagnosis.Critical), level(diagnosis.Warning), level(diagnosis.Info), unknown, healthy}

// rank is the place of a level among all, 0 for the worst.
func (l level) rank() int { return slices.Index(levels[:], l) }

// Fault reports whether a diagnosis holds.
func (l level) Fault() bool { return l != unknown && l != healthy }

// levelOf returns the level of a peer.
func levelOf(r *report.Report) level {
	switch worst := r.Worst(); {
	case worst != "":
		return level(worst)
	case r.Healthy && r.Measured:
		return healthy
	}
	return unknown
}

// worstFirst returns diagnoses by severity. Among equals a fault of this end comes first, because
// it explains the others; the rest keep the order of the rules.
func worstFirst(all []diagnosis.Held) []diagnosis.Held {
	if len(all) < 2 {
		return all
	}
	vantage := func(h *diagnosis.Held) int {
		if h.Name == diagnosis.VantageSuspect {
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b diagnosis.Held) int {
		return cmp.Or(cmp.Compare(level(a.Severity).rank(), level(b.Severity).rank()), cmp.Compare(vantage(&a), vantage(&b)))
	})
}

// providerLabel is the label that names the provider of a peer, for alerts and boards too.
const providerLabel = "isp"

// provider returns the name of the peer's provider, empty if none is configured.
func provider(r *report.Report) string { return r.Labels[providerLabel] }
