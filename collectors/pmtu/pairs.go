package pmtu

import "ipsec_path_exporter/internal/volley"

// A pairRun is one run of matched pairs: lower is known to fit, lower+1 is what is tested.
//
// Two explanations other than an MTU must be ruled out. Independent loss takes n misses in a row (evidence.pairs). A limiter
// does not lose independently: it passes one packet in so many, and a fixed order of the halves may keep step with it.
// (Strict alternation falls for every second packet; the Thue-Morse sequence for every third, by Newman's phenomenon.)
// So the order within each pair is drawn by a hash. That makes n misses convincing under a permutation test as well,
// which assumes nothing but that order: the probability that all answers of a lossy run fall to lower is below 1 %.
type pairRun struct {
	lower int
	// seed makes the order, step is the place in it.
	seed, step uint64
	// sent and acked count probes of lower, upper those of lower+1, all of which failed.
	sent, acked, upper int
	// runs counts completed runs of this boundary.
	runs int
}

// moved returns a run for another boundary.
func (r *pairRun) moved(lower int) pairRun {
	return pairRun{lower: lower, seed: r.seed, step: (r.step + 1) &^ 1}
}

// again begins another run at the same boundary, which shares nothing with this one.
func (r *pairRun) again() {
	*r = pairRun{lower: r.lower, seed: r.seed, step: (r.step + 1) &^ 1, runs: r.runs + 1}
}

// next returns the sizes of the pairs to send now.
func (r *pairRun) next(e *evidence) []int {
	n := min(max(e.pairs(r.loss())-r.upper, 1), maxPairs)
	sizes := make([]int, 0, 2*n)
	for range 2 * n {
		sizes = append(sizes, r.half())
	}
	return sizes
}

// half returns the next half of a pair.
func (r *pairRun) half() int {
	upperFirst := volley.Mix(r.seed+r.step/2)&1 == 0
	first := r.step%2 == 0
	r.step++
	if first == upperFirst {
		return r.lower + 1
	}
	return r.lower
}

// add counts what became of the halves.
func (r *pairRun) add(seen []Observation) {
	for _, o := range seen {
		switch {
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

// loss is the share of lower's probes of this run that were lost.
func (r *pairRun) loss() float64 {
	if r.sent == 0 {
		return 0
	}
	return float64(r.sent-r.acked) / float64(r.sent)
}

// complete tells whether lower+1 failed often enough, under conditions under which lower was acked.
func (r *pairRun) complete(e *evidence) bool {
	return r.lower > 0 && r.lower == e.proven && r.acked >= 2 && r.upper >= e.pairs(r.loss())
}

// stalled tells whether lower stopped passing, or too little passes to say anything.
func (r *pairRun) stalled() bool {
	return r.sent >= 6 && r.acked == 0 || r.upper >= 2*maxPairs
}
