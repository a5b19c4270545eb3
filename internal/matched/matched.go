// Package matched holds the statistics of matched pairs: how often one kind of probe must stay
// unanswered, while a control sent next to it is answered, before loss no longer explains it.
//
// A pair is a tested probe and its control, which differ in one property only: one byte of size,
// fragments or none, the protocol. The two hypotheses are
//
//	H0  the property does not matter: each packet of either half is lost independently, with the
//	    probability p of this path
//	H1  the path drops packets with the property: tested probes are never answered
//
// Under H0, n tested probes in a row stay unanswered with the probability q^n, where q = p for a
// probe of one packet, and q = 1-(1-p)^k for a probe that needs all of its k packets. So H0 is
// rejected when q^n <= alpha: n = log(alpha) / log(q), rounded up. One answer refutes H1 at once.
//
// p is not known. The controls measure it, with a prior: (lost + a) / (sent + b), as if a of b more
// controls had been lost before the first was sent (pseudo-counts of a beta distribution). The
// prior keeps a few lucky controls from being taken for a path without loss: with 1 of 5, the first
// estimate is 20 %.
// Because the estimate changes during a run, the actual probability can exceed alpha: by up to 7
// times at a loss of 40 % in the tests. Users that report a change ask for a second run.
//
// Loss need not be independent: a rate limiter answers the first packet of each pair and drops the
// second. Two things guard against that. The order within each pair is drawn by a hash (Heads), so
// that a limiter cannot keep step with it, and the tested probe then comes second n times in a row
// with the probability 2^-n. And a rule has a least number of pairs, however little is lost, which
// bounds that probability.
//
// The package is pure: no clock, no socket, and no randomness other than a seed given to it.
package matched

import (
	"math"
	"time"
)

// A Rule says when a run of pairs is convincing.
type Rule struct {
	// Alpha is the accepted probability that loss alone explains a run.
	Alpha float64
	// PriorLost and PriorSent are the pseudo-counts of the prior.
	PriorLost, PriorSent int
	Packets              int // of a tested probe; 0 means 1
	Least                int // number of pairs
}

// leastAnswers is how many controls must be answered at least: a single answer may be an accident.
const leastAnswers = 2

// Loss estimates the probability, under H0, that a tested probe is lost.
func (r Rule) Loss(lost, sent int) float64 {
	loss := float64(lost+r.PriorLost) / float64(sent+r.PriorSent)
	if r.Packets > 1 {
		loss = 1 - math.Pow(1-loss, float64(r.Packets))
	}
	return loss
}

// Pairs returns how many tested probes in a row must stay unanswered at this loss.
func (r Rule) Pairs(loss float64) int {
	if loss >= 1 {
		return math.MaxInt32
	}
	return max(int(math.Ceil(math.Log(r.Alpha)/math.Log(loss))), r.Least)
}

// Convincing reports whether a run shows that the property matters: missed tested probes stayed
// unanswered in a row, and answered controls did not.
func (r Rule) Convincing(missed, answered int, loss float64) bool {
	return answered >= leastAnswers && missed >= r.Pairs(loss)
}

// Heads reports the nth toss of a coin. The same seed gives the same tosses.
func Heads(seed, n uint64) bool { return Mix(seed+n)&1 == 0 }

// Mix is the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the
// input changes half of the bits of the output.
func Mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// The pace of pairs.
const (
	// PolitePause is longer than the pause that common limits on ICMP errors and echo replies want
	// (Cisco IOS: 500 ms, Linux: 1 s). Probes are this far apart once some were lost.
	PolitePause = 1100 * time.Millisecond
	// LeastPatience is the usual lower bound of Patience.
	LeastPatience = 200 * time.Millisecond

	firstPatience, mostPatience = time.Second, 2 * time.Second
	// slowest is the most that Patience returns.
	slowest = 5 * time.Second
)

// Patience returns how long to wait for an answer when the longest round trip so far was rtt: four
// round trips, at least least and at most 2 s, or 1 s while no round trip is known. A round trip of
// more than 2 s gets a quarter more than itself, up to 5 s.
func Patience(rtt, least time.Duration) time.Duration {
	if rtt <= 0 {
		return firstPatience
	}
	return max(min(max(4*rtt, least), mostPatience), min(rtt+rtt/4, slowest))
}
