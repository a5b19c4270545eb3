// Package fragments finds out whether IP fragments of IKE messages arrive. Many providers drop
// them, and then a negotiation stops where its messages become larger than the path.
//
// It sends IKE messages that leave no state at the peer (internal/ikeprobe), in IP fragments and
// whole:
//
//	large:    more than the link carries, in fragments as an IKE daemon would send them
//	          answered ------------------------------------------------------> pass
//	not answered: the peer may refuse that size, or fragments vanish
//	pairs:    1200 bytes in fragments of 1000, and 1200 bytes whole, alternately
//	          a fragmented one answered -------------------------------------> pass
//	          n in a row not answered while whole ones are, twice if news ---> dropped
//	          whole ones are not answered either -----------------------------> unknown
//
// Where two fragments pass, longer chains and fragments in reverse order are tested (chains.go).
//
// n makes it improbable (1e-5) that loss alone explains it: see internal/matched.
//
// A host that waits for the rest of a message may report half a minute later that it did not come
// (ICMP reassembly time exceeded); the report is kept as evidence. The package does not look at the
// fragments that the peer sends.
package fragments

import (
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/matched"
)

// State says whether fragments arrive.
type State uint8

// The states. The zero value means that it is not known.
const (
	Unknown State = iota
	// Pass means that a message in fragments was answered.
	Pass
	// Dropped means that none was, while the same message was answered whole.
	Dropped
)

// String returns the state in lower case.
func (s State) String() string { return enum.Name(s, "unknown", "pass", "dropped") }

// A Result is the outcome of one round by one method. Sizes are of whole IP packets in bytes,
// before they are fragmented.
type Result struct {
	Method collectors.Method
	State  State
	// Reason says why the state is Unknown.
	Reason string
	// Unasked means that nothing was sent, because no IKE message was known to be answered.
	Unasked bool
	// Large is the size of the message that is larger than the link, 0 if none was sent;
	// LargeAnswered means that it was answered.
	Large         int
	LargeAnswered bool
	// Size is that of the message sent both ways, Piece that of its fragments; 0 if not sent.
	Size, Piece int
	// Sent and Answered count that message in fragments, Controls and ControlsAnswered whole.
	Sent, Answered, Controls, ControlsAnswered int
	// Long is the outcome of a message of LongSize bytes in LongPieces fragments, of a result that
	// is Pass. LongReason says why it is not Pass.
	Long                 State
	LongSize, LongPieces int
	LongReason           string
	// LastFirst is the outcome of messages whose fragments are sent in reverse order.
	LastFirst State
	// Incomplete is the address that reported of an earlier message that the rest of its fragments
	// never came; the zero Addr if none did.
	Incomplete netip.Addr
	At         time.Time
}

// add adds the pairs of a run.
func (r *Result) add(t *trial) {
	r.Sent, r.Answered = r.Sent+t.sent, r.Answered+t.answered
	r.Controls, r.ControlsAnswered = r.Controls+t.controls, r.ControlsAnswered+t.controlsAnswered
}

// Results are the results of both methods.
type Results struct {
	Results []Result
	At      time.Time
}

// Of returns the result of a method; its state is Unknown if there is none.
func (r *Results) Of(m collectors.Method) Result {
	if i := slices.IndexFunc(r.Results, func(one Result) bool { return one.Method == m }); i >= 0 {
		return r.Results[i]
	}
	return Result{Method: m, Reason: "not measured"}
}

const (
	// pieces is the number of fragments of a message in a pair.
	pieces = 2
	// maxPairs is the number of pairs after which a run is given up.
	maxPairs = 30
	// minControls is the number of controls after which a run is given up if none was answered.
	minControls = 5
)

// rule says how many pairs show that fragments are dropped. Behind a limiter that answers one of
// each pair, chance makes it the whole message once in 2^n: two runs of the least number make that
// improbable too.
func rule() matched.Rule {
	return matched.Rule{Alpha: 1e-5, PriorLost: 2, PriorSent: 6, Packets: pieces, Least: 9}
}

// A trial counts the pairs of one run.
type trial struct {
	sent, answered, controls, controlsAnswered int
	// lostBefore and controlsBefore count whole messages of earlier runs, for the estimate of loss.
	lostBefore, controlsBefore int
}

// loss is the estimated probability that a fragmented message is lost by chance.
func (t *trial) loss() float64 { return rule().Loss(t.lost(), t.controlsBefore+t.controls) }

// lost is the number of whole messages that were lost, including messages of earlier runs.
func (t *trial) lost() int { return t.lostBefore + t.controls - t.controlsAnswered }

// again returns the next run, which shares nothing with this one but the estimate of loss.
func (t *trial) again() trial {
	return trial{lostBefore: t.lost(), controlsBefore: t.controlsBefore + t.controls}
}

// judge returns what the pairs show so far, Unknown while they show nothing.
func (t *trial) judge() State {
	switch {
	case t.answered > 0:
		return Pass
	case rule().Convincing(t.sent, t.controlsAnswered, t.loss()):
		return Dropped
	}
	return Unknown
}

// over reports whether more pairs would show nothing new.
func (t *trial) over() bool {
	return t.judge() != Unknown || t.sent >= maxPairs || t.controls >= minControls && t.controlsAnswered == 0
}
