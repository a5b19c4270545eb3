// Package flows finds out whether what one flow meets on the path to a peer is true of the path. A
// flow is what a load balancer or a NAT keeps together: addresses, protocol and ports, or the
// identifier of echoes. The other collectors measure with one flow for each method, so a NAT
// mapping that died, or one dead link among equal-cost ones, looks like a filter to them.
//
// A round sends the same probe by the flow in use and by fresh ones, of which the path can know
// nothing:
//
//	every flow is answered                            ─▶ even
//	only the flow in use is not                       ─▶ stuck
//	some are answered, others are not                 ─▶ split: k of n flows are lost
//	none is answered                                  ─▶ silent: it is the path, or the peer
//	large packets vanish in the flow in use, and not  ─▶ split by size
//	  in all fresh ones
//
// Silence of one flow among others that are answered rests on matched pairs (internal/matched): the
// flow and one that is answered are asked alternately, as often as the measured loss demands. Where
// no flow is answered, IKE is asked from the ports 500 and 4500 too: some peers accept no others.
package flows

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/netio"
)

// InUse is the number of flows with which a peer is measured, one at a time. The others are fresh.
const InUse = 4

// fresh is the number of fresh flows. A comparison begins at another one than the last, so that a
// mapping of the last comparison, made before a fault, is not taken for a fresh one.
const fresh = netio.Flows - InUse

// Next returns the flow that takes the place of a stuck one. Rest ends a mapping: a flow is used
// again only after all others were.
func Next(f netio.Flow) netio.Flow { return (f + 1) % InUse }

// State says what the flows of one method have in common. The zero value means that it is not known.
type State uint8

// The states.
const (
	Unknown State = iota
	// Even means that every flow is answered.
	Even
	// Stuck means that only the flow in use is not answered.
	Stuck
	// Split means that some flows are answered and others are not, in use or fresh.
	Split
	// Silent means that no flow is answered.
	Silent
)

// String returns the state in lower case.
func (s State) String() string { return enum.Name(s, "unknown", "even", "stuck", "split", "silent") }

// A Result is what one round found by one method.
type Result struct {
	Method collectors.Method
	State  State
	// Reason says why the state is Unknown.
	Reason string
	// Bytes is the size of the probes, as whole IP packets, where only their size is what is lost;
	// otherwise 0.
	Bytes int
	// Tested is the number of flows, the one in use included, Lost how many of them are lost.
	Tested, Lost int
	// Own reports whether the flow in use was answered.
	Own bool
	// Fixed reports that IKE is answered from the source ports 500 and 4500, and from no other;
	// FixedTried that this was tried.
	Fixed, FixedTried bool
	// Loss is the share of lost probes among the probes by flows that are answered, Packets the
	// number of all probes.
	Loss    float64
	Packets int
}

// Results are the results of one round.
type Results struct {
	// Results have one of each method that was tested, and for a method with a black hole another
	// one with Bytes.
	Results []Result
	// Path is what was measured, with the flow that was in use.
	Path netio.Path
	// Reason says why nothing was measured.
	Reason string
	At     time.Time
}

// Of returns the result of a method; the zero Result if there is none.
func (r *Results) Of(m collectors.Method) Result { return r.find(m, false) }

// Large returns the result of the probes by a method that vanish for their size; the zero Result if
// there is none.
func (r *Results) Large(m collectors.Method) Result { return r.find(m, true) }

func (r *Results) find(m collectors.Method, large bool) Result {
	i := slices.IndexFunc(r.Results, func(one Result) bool { return one.Method == m && (one.Bytes > 0) == large })
	if i < 0 {
		return Result{Method: m}
	}
	return r.Results[i]
}

// State is the state of all methods together: of their states the first of split, stuck, even and
// silent.
func (r *Results) State() State {
	for _, s := range [...]State{Split, Stuck, Even, Silent} {
		if slices.ContainsFunc(r.Results, func(one Result) bool { return one.State == s && (one.Bytes == 0 || s == Split) }) {
			return s
		}
	}
	return Unknown
}

// Answered reports whether any flow was answered, other than the one in use.
func (r *Result) Answered() bool {
	switch r.State {
	case Even, Stuck, Split:
		return true
	case Unknown, Silent:
	}
	return r.Fixed
}
