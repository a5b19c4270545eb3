package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/netio"
)

// A ladder is the sizes that one search tried, the largest first.
type ladder struct {
	Carrier string
	// Text is the result in words.
	Text  string
	Rungs []rung
	At    time.Time
}

// A rung is one size and what happened to the packets of it.
type rung struct {
	Bytes                    int
	Passed, Vanished, TooBig int
	// Boundary means that the rung is the largest size that passes.
	Boundary bool
}

// maxRungs is how many sizes a ladder shows: the largest, the smallest, and the ones at the
// boundary.
const maxRungs = 8

// maxMarks is how many marks a rung draws for packets of one result.
const maxMarks = 12

// Marks are the classes of the drawn marks.
func (g *rung) Marks() (marks []string) {
	marks = append(marks, slices.Repeat([]string{"passed"}, min(g.Passed, maxMarks))...)
	marks = append(marks, slices.Repeat([]string{"vanished"}, min(g.Vanished, maxMarks))...)
	return append(marks, slices.Repeat([]string{"reported"}, min(g.TooBig, maxMarks))...)
}

// markWidth is the width of a mark.
const markWidth = 12

// Width is the width of all marks.
func (g *rung) Width() int { return max(1, len(g.Marks())) * markWidth }

// Text is the rung in words.
func (g *rung) Text() string {
	var parts []string
	for _, one := range []struct {
		n    int
		word string
	}{{g.Passed, "passed"}, {g.Vanished, "vanished"}, {g.TooBig, "reported as too big"}} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.word))
		}
	}
	return strings.Join(parts, ", ")
}

// ladders returns what each search tried, as far as the probes are kept.
func ladders(r *report.Report, kept []trace.Exchange) (out []ladder) {
	if r.PMTU == nil {
		return nil
	}
	for i := range r.PMTU.Results {
		s := &r.PMTU.Results[i]
		if !tunnelmtu.Conclusive(s) {
			continue
		}
		l := ladder{Carrier: carrier(r, s.Method), Text: ladderText(s), At: s.At}
		l.Rungs = rungs(s, tries(s, kept))
		out = append(out, l)
	}
	return out
}

// ladderText is the result of a search in words.
func ladderText(s *pmtu.Result) string {
	switch s.State {
	case search.Clean:
		return fmt.Sprintf("%d bytes pass, the largest that this host can send", s.Bytes)
	case search.Reduced:
		return fmt.Sprintf("%d bytes pass, and routers report it", s.Bytes)
	case search.BlackHole:
		return fmt.Sprintf("%d bytes pass, %d vanish%s", s.Bytes, s.Bytes+1, vanish(s.LastHopPassed, s.FirstHopFailed))
	case search.Unknown, search.Unreachable, search.Inconclusive:
	}
	return ""
}

// tries are the kept probes of a search that show the same as its result, the newest first: those
// of an earlier path are left out.
func tries(s *pmtu.Result, kept []trace.Exchange) (out []trace.Exchange) {
	purpose := "path MTU by " + s.Method.String() + ":"
	all := rounds(slices.Collect(func(yield func(trace.Exchange) bool) {
		for i := range kept {
			if strings.HasPrefix(kept[i].Purpose, purpose) && kept[i].TTL == 0 && !yield(kept[i]) {
				return
			}
		}
	}))
	for _, round := range slices.Backward(all) {
		passed := make(map[int]int)
		for i := range round {
			if result(&round[i]) == passes {
				passed[round[i].Size]++
			}
		}
		contradicts := func(e trace.Exchange) bool {
			return passed[e.Size] > 0 && e.Size > s.Bytes || passed[e.Size] == 0 && e.Size <= s.Bytes && result(&e) == vanishes
		}
		if slices.ContainsFunc(round, contradicts) {
			break
		}
		out = append(out, round...)
	}
	return out
}

// rungs counts probes by size. The sizes at the boundary are there also where no probe is kept.
func rungs(s *pmtu.Result, tried []trace.Exchange) []rung {
	bySize := map[int]*rung{s.Bytes: {Bytes: s.Bytes, Passed: 1, Boundary: true}}
	if s.State != search.Clean {
		bySize[s.Bytes+1] = &rung{Bytes: s.Bytes + 1}
		if s.State == search.BlackHole {
			bySize[s.Bytes+1].Vanished = 1
		}
	}
	seen := make(map[int]bool)
	for i := range tried {
		e := &tried[i]
		g := bySize[e.Size]
		if g == nil || !seen[e.Size] {
			g = &rung{Bytes: e.Size, Boundary: e.Size == s.Bytes}
			bySize[e.Size], seen[e.Size] = g, true
		}
		switch result(e) {
		case passes:
			g.Passed++
		case vanishes:
			g.Vanished++
		case reported:
			g.TooBig++
		case notSent, waiting:
		}
	}
	var out []rung
	for _, g := range bySize {
		if g.Passed+g.Vanished+g.TooBig > 0 {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b rung) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return fewer(out)
}

// fewer leaves out the sizes that are farthest from the boundary, but neither the largest nor the
// smallest.
func fewer(all []rung) []rung {
	at := slices.IndexFunc(all, func(g rung) bool { return g.Boundary })
	for len(all) > maxRungs {
		drop := 1
		if at < len(all)-1-at {
			drop = len(all) - 2
		} else {
			at--
		}
		all = slices.Delete(all, drop, drop+1)
	}
	return all
}

// An outcome is the result of one probe in one word.
type outcome string

// The outcomes.
const (
	passes   outcome = "answered"
	vanishes outcome = "no answer"
	reported outcome = "too big"
	notSent  outcome = "not sent"
	waiting  outcome = "without a result yet"
)

// result is the outcome of a probe. An ICMP error other than "packet too big" is an answer of a
// router.
func result(e *trace.Exchange) outcome {
	if len(e.Answers) == 0 {
		return waiting
	}
	switch e.Answers[0].Outcome {
	case netio.Silent:
		if e.Answers[0].LocalDrops {
			return notSent
		}
		return vanishes
	case netio.TooBig:
		return reported
	case netio.NotSent, netio.TooBigLocally:
		return notSent
	case netio.Delivered, netio.Refused, netio.Unreachable, netio.TimeExceeded:
	}
	return passes
}
