package pmtu

import (
	"net/netip"
	"time"
)

// State is what a search found out about a path.
type State uint8

// The states of a path. The zero value means that nothing was found out yet.
const (
	Unknown State = iota
	// Clean means that the local link's MTU crosses the path.
	Clean
	// Reduced means that less than the link's MTU passes, and that a valid PTB says so to those who listen.
	Reduced
	// BlackHole means that less than the link's MTU passes and that larger packets vanish without a usable PTB.
	BlackHole
	// Unreachable means that not even a small packet was answered. It says nothing about the MTU.
	Unreachable
	// Inconclusive means that the search ended without a proof of both sides of the boundary.
	Inconclusive
)

// States returns the states that a search can end in, in the order in which they are shown.
func States() []State { return []State{Clean, Reduced, BlackHole, Unreachable, Inconclusive} }

// String is the state's label value.
func (s State) String() string {
	switch s {
	case Clean:
		return "clean"
	case Reduced:
		return "reduced"
	case BlackHole:
		return "black_hole"
	case Unreachable:
		return "unreachable"
	case Inconclusive:
		return "inconclusive"
	case Unknown:
	}
	return "unknown"
}

// conclusive tells whether the state names the size of the path.
func (s State) conclusive() bool { return s == Clean || s == Reduced || s == BlackHole }

// Rejection says why a valid PTB was of no use.
type Rejection uint8

// The reasons for which a PTB is of no use to the search. It is evidence all the same.
const (
	// NoSize means that it named no size (0), as routers older than RFC 1191 do.
	NoSize Rejection = iota
	// BelowMinimum means that it named less than any link of its family carries.
	BelowMinimum
	// NotSmaller means that it named at least the size of the packet that it refused.
	NotSmaller
	// NoProgress means that it named a size already proven to be too small or already known not to pass.
	NoProgress
	rejections
)

// String is the reason's label value.
func (r Rejection) String() string {
	switch r {
	case NoSize:
		return "no_size"
	case BelowMinimum:
		return "below_minimum"
	case NotSmaller:
		return "not_smaller"
	case NoProgress:
		return "no_progress"
	case rejections:
	}
	return "unknown"
}

// Rejections returns all reasons in the order in which they are shown.
func Rejections() []Rejection { return []Rejection{NoSize, BelowMinimum, NotSmaller, NoProgress} }

// PTB is what the last valid "packet too big" of a search said.
type PTB struct {
	// From is the router that sent it.
	From netip.Addr
	// MTU is the size that it named, 0 if it named none.
	MTU int
}

// A Verdict is the result of a search.
type Verdict struct {
	State State
	// Bytes is the largest size that was acknowledged: the path MTU of a Clean, Reduced or BlackHole path, a
	// proven lower bound of an Inconclusive one, 0 if nothing was acknowledged.
	Bytes int
	// Link is the most that could be tried.
	Link int
	// Reason says in words why there is no better verdict; empty for conclusive ones.
	Reason string
	// Packets is the number of probes that were spent.
	Packets int
	// PTBs counts the valid PTBs received, Rejected those of them that were of no use.
	PTBs     int
	Rejected [rejections]int
	// PTB is the last valid one that refused more than Bytes.
	PTB PTB
	// Loss is the share of probes of sizes that fit that were not answered; Samples says of how many.
	Loss    float64
	Samples int
	// RoundTrip is the longest one seen.
	RoundTrip time.Duration
	// Resumable means that the search ran out of time, not of means: Resume may go on with it.
	Resumable bool
}

// RejectedTotal is the number of PTBs that were of no use.
func (v *Verdict) RejectedTotal() int {
	n := 0
	for _, k := range v.Rejected {
		n += k
	}
	return n
}
