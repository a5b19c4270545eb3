// Package fragments finds out whether IP fragments of IKE messages arrive: many providers drop them, and then a negotiation stops where its
// messages become larger than the path.
//
// It sends IKE messages that leave no state with the peer (internal/ikeprobe), in IP fragments and whole:
//
//	large:    more than the link carries, in fragments as an IKE daemon would send them
//	          answered ------------------------------------------------------------> pass
//	not answered: the peer may refuse that size, or fragments vanish
//	pairs:    1200 bytes in fragments of 1000, and 1200 bytes whole, alternately
//	          a fragmented one answered -------------------------------------------> pass (large messages are refused or lost)
//	          n in a row not answered while whole ones are, twice if that is news ---> dropped
//	          whole ones are not answered either -----------------------------------> unknown
//
// n makes it improbable (1e-5) that loss alone did it: a message in two fragments is lost twice as often as one.
//
// Where somebody waits in vain for the rest of a message, it may say so half a minute later (ICMP reassembly time exceeded): that is
// kept as evidence. The package does not look at the fragments that the peer sends.
package fragments

import (
	"math"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
)

// State is what was found out.
type State uint8

// The states. The zero value means that it is not known.
const (
	Unknown State = iota
	// Pass means that a message in fragments was answered.
	Pass
	// Dropped means that none was, while the same message was answered whole.
	Dropped
)

// String names the state as reports do.
func (s State) String() string {
	switch s {
	case Unknown:
	case Pass:
		return "pass"
	case Dropped:
		return "dropped"
	}
	return "unknown"
}

// A Result is what one round found out by one method. Sizes are those of whole IP packets in bytes, before they are cut.
type Result struct {
	Method collectors.Method
	State  State
	// Reason says why the state is Unknown.
	Reason string
	// Unasked means that nothing was sent, because no IKE message was known to be answered.
	Unasked bool
	// Large is the size of the message that is larger than the link, 0 if none was sent; LargeAnswered whether it was answered.
	Large         int
	LargeAnswered bool
	// Size is that of the message that was sent both ways, and Piece that of its fragments; 0 if that was not needed.
	Size, Piece int
	// Sent and Answered count it in fragments, Controls and ControlsAnswered whole.
	Sent, Answered, Controls, ControlsAnswered int
	// Incomplete is who reported of an earlier message that the rest of its fragments never came; the zero Addr if nobody did.
	Incomplete netip.Addr
	// At is when the round ended.
	At time.Time
}

// Results are those of both methods.
type Results struct {
	Results []Result
	At      time.Time
}

// Of returns the result of a method; its state is Unknown if there is none.
func (r *Results) Of(m collectors.Method) Result {
	for _, one := range r.Results {
		if one.Method == m {
			return one
		}
	}
	return Result{Method: m, Reason: "not measured"}
}

// The confirmation by pairs.
const (
	// alpha is the accepted probability that loss alone made fragments look dropped.
	alpha = 1e-5
	// minPairs and maxPairs bound how many fragmented messages must stay unanswered in a row. Behind a limiter that takes the second of each
	// pair, chance puts them all there once in 2^n: two runs of the least make that improbable too.
	minPairs, maxPairs = 9, 30
)

// A trial counts the pairs of one run.
type trial struct {
	pieces                                     int // in how many fragments a message travels
	sent, answered, controls, controlsAnswered int
	// lostBefore and controlsBefore are whole messages of earlier runs: they tell about loss.
	lostBefore, controlsBefore int
}

// wanted is how many fragmented messages must have stayed unanswered: (their loss)^n is at most alpha. Each of their fragments is lost as
// often as a whole message.
func (t *trial) wanted() int {
	loss := float64(t.lost()+2) / float64(t.controlsBefore+t.controls+6)
	loss = 1 - math.Pow(1-loss, float64(t.pieces))
	return max(int(math.Ceil(math.Log(alpha)/math.Log(loss))), minPairs)
}

// lost is how many whole messages were lost, those of earlier runs included.
func (t *trial) lost() int { return t.lostBefore + t.controls - t.controlsAnswered }

// again is the next run, which shares nothing with this one but what is known of loss.
func (t *trial) again() trial {
	return trial{
		pieces: t.pieces, lostBefore: t.lost(), controlsBefore: t.controlsBefore + t.controls,
	}
}

// judge tells what the pairs say so far; Unknown while they say nothing.
func (t *trial) judge() State {
	switch {
	case t.answered > 0:
		return Pass
	case t.sent >= t.wanted() && t.controlsAnswered >= 2:
		return Dropped
	}
	return Unknown
}

// over tells whether more pairs would be of no use.
func (t *trial) over() bool {
	return t.judge() != Unknown || t.sent >= maxPairs || t.controls >= 5 && t.controlsAnswered == 0
}
