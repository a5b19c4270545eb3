package search

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/enum"
)

// State is what a search found out about a path.
type State uint8

// The states of a path. The zero value means that nothing was found out yet.
const (
	Unknown State = iota
	// Clean means that the local link's MTU crosses the path.
	Clean
	// Reduced means that less than the link's MTU passes, and that a valid PTB reports it.
	Reduced
	// BlackHole means that less than the link's MTU passes, and that larger packets vanish without
	// a usable PTB.
	BlackHole
	// Unreachable means that not even a small packet was answered. It says nothing about the MTU.
	Unreachable
	// Inconclusive means that the search ended without a proof of both sides of the boundary.
	Inconclusive
)

// String returns the state's label value.
func (s State) String() string {
	return enum.Name(s, "unknown", "clean", "reduced", "black_hole", "unreachable", "inconclusive")
}

// Conclusive reports whether the path MTU is known in this state.
func (s State) Conclusive() bool { return s == Clean || s == Reduced || s == BlackHole }

// Rejection is a reason for which a valid PTB is of no use. It is evidence all the same.
type Rejection uint8

// The reasons for which a PTB is of no use.
const (
	// NoSize means that it named no size (0), as routers older than RFC 1191 do.
	NoSize Rejection = iota
	// BelowMinimum means that it named less than any link of its family carries.
	BelowMinimum
	// NotSmaller means that it named at least the size of the packet that it refused.
	NotSmaller
	// NoProgress means that it named a size below the proven one, or one that failed.
	NoProgress
	rejections
)

// String returns the reason's label value.
func (r Rejection) String() string {
	return enum.Name(r, "no_size", "below_minimum", "not_smaller", "no_progress")
}

// Rejections returns all reasons in the order in which they are shown.
func Rejections() []Rejection { return []Rejection{NoSize, BelowMinimum, NotSmaller, NoProgress} }

// Rejected counts PTBs of no use by Rejection.
type Rejected [rejections]int

// Total returns the number of PTBs of no use.
func (r *Rejected) Total() (n int) {
	for _, k := range r {
		n += k
	}
	return n
}

// PTB is a valid ICMP "packet too big": its sender and the size that it named, 0 for none.
type PTB struct {
	From netip.Addr
	MTU  int
}

// A Verdict is the result of a search.
type Verdict struct {
	State State
	// Bytes is the largest size that was acked: the path MTU of a Clean, Reduced or BlackHole path,
	// a proven lower bound of an Inconclusive one, 0 if nothing was acked.
	Bytes int
	// Link is the largest size that could be tried.
	Link int
	// Reason is why there is no better verdict; empty for conclusive ones.
	Reason  string
	Packets int
	// PTBs counts the valid PTBs received, Rejected the PTBs of no use among them.
	PTBs     int
	Rejected Rejected
	// PTB is the last valid one that refused more than Bytes.
	PTB PTB
	// Inexact counts the PTBs that quote no probe exactly, InexactPTB is the last of them.
	Inexact    int
	InexactPTB PTB
	// Loss is the share of unanswered probes among the probes of sizes that fit, Samples their
	// number.
	Loss      float64
	Samples   int
	RoundTrip time.Duration
	// Resumable means that the search ran out of time only: Resume may go on with it.
	Resumable bool
}
