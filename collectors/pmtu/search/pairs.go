package search

import "ipsec_path_exporter/internal/matched"

// The confirmation of a boundary by matched pairs.
const (
	// minPairs is the least number of pairs of a run, maxPairs the most that are sent at once:
	// enough for a loss of a half. A run that is not convincing after twice as many never will be.
	minPairs, maxPairs = 3, 14
)

// rule says how many pairs show that loss alone does not explain a boundary, for each run.
func rule() matched.Rule {
	return matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Least: minPairs}
}

// A pairRun is one run of matched pairs: lower is known to fit, lower+1 is tested.
//
// Two explanations other than an MTU must be ruled out. Independent loss is what the rule is for. A
// limiter does not lose independently: it passes one packet of every few, and a fixed order of the
// halves may keep step with it. (Strict alternation fails for every second packet; the Thue-Morse
// sequence for every third, by Newman's phenomenon.) So a hash draws the order within each pair.
// That makes a run convincing under a permutation test as well, which assumes nothing but that
// order: the probability that all answers of a lossy run fall to lower is below 1 %.
type pairRun struct {
	lower int
	// seed makes the order, step counts halves.
	seed, step uint64
	// sent and acked count probes of lower, upper counts failed probes of lower+1.
	sent, acked, upper int
	// runs counts completed runs at this boundary.
	runs int
}

// pairs returns the run at the proven size.
func (s *Search) pairs() *pairRun {
	if s.run.lower != s.ev.proven {
		s.run = s.run.moved(s.ev.proven)
	}
	return &s.run
}

func (r *pairRun) moved(lower int) pairRun {
	return pairRun{lower: lower, seed: r.seed, step: (r.step + 1) &^ 1}
}

// again starts another run at the same boundary, which shares no evidence with this one.
func (r *pairRun) again() {
	runs := r.runs + 1
	*r = r.moved(r.lower)
	r.runs = runs
}

func (r *pairRun) next(e *evidence) []int {
	n := min(max(r.wanted(e)-r.upper, 1), maxPairs)
	sizes := make([]int, 0, 2*n)
	for range 2 * n {
		sizes = append(sizes, r.half())
	}
	return sizes
}

func (r *pairRun) half() int {
	upperFirst := matched.Heads(r.seed, r.step/2)
	first := r.step%2 == 0
	r.step++
	if first == upperFirst {
		return r.lower + 1
	}
	return r.lower
}

func (r *pairRun) add(seen []Observation) {
	for _, o := range seen {
		switch {
		case o.Inexact:
		case o.Size == r.lower && o.Outcome == Acked:
			if !o.Late {
				r.sent++
			}
			r.acked = min(r.acked+1, r.sent)
		case o.Late || o.Outcome == TooBigLocally:
		case o.Size == r.lower:
			r.sent++
		case o.Size == r.lower+1 && o.Outcome != Acked:
			r.upper++
		}
	}
}

// loss returns the loss to reckon with: that of all controls, or that of this run if it is larger.
func (r *pairRun) loss(e *evidence) float64 {
	loss := rule().Loss(e.loss())
	if r.sent > 0 {
		loss = max(loss, float64(r.sent-r.acked)/float64(r.sent))
	}
	return loss
}

func (r *pairRun) wanted(e *evidence) int { return rule().Pairs(r.loss(e)) }

// complete reports whether the run shows that lower is the boundary.
func (r *pairRun) complete(e *evidence) bool {
	return r.lower > 0 && r.lower == e.proven && rule().Convincing(r.upper, r.acked, r.loss(e))
}

// stalled reports whether lower stopped passing, or too little passes to show anything.
func (r *pairRun) stalled() bool {
	return r.sent >= 6 && r.acked == 0 || r.upper >= 2*maxPairs
}
