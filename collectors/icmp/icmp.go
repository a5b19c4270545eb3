// Package icmp measures whether a peer answers ICMP echo requests, and the round trip time.
//
// A Collector measures one peer. It owns no goroutine and no socket: the schedule calls Tick, which
// sends one echo, and the answer arrives by callback.
//
//	Tick ──▶ Engine.Echo ──▶ undecided ──reply──────────▶ answered ─┐
//	              │              │                                  ├─▶ last three: the state
//	              │              └─timeout, ICMP error─▶ lost ──────┘
//	              │                                       └─late reply─▶ answered after all
//	              └─not sent by this host──▶ an error of the measurement, never loss
//
// An echo is decided when it is answered, when an ICMP error arrives for it, or after its timeout:
// 2 s, or the interval if that is shorter. Requests are counted when they are decided, so that
// undecided echoes never look like loss. A reply after the timeout corrects the decision: a slow
// reply is not a lost one.
//
// Two Engines send echoes: Shared on the raw socket of all peers, and PingSockets in a process
// without CAP_NET_RAW. The package does not measure the path MTU, and its echoes do not set DF.
package icmp

import (
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/enum"
)

// State is whether a peer answers echo requests. The zero value is Unknown.
type State uint8

const (
	// Unknown means that no echo has been decided recently.
	Unknown State = iota
	// Reachable means that at least one of the last three decided echoes was answered, or one of
	// all echoes of Measure.
	Reachable
	// Silent means that none of these echoes was answered.
	Silent
)

// String returns the state in lower case.
func (s State) String() string { return enum.Name(s, "unknown", "reachable", "silent") }

// Reasons for Options.Done, in addition to the reasons of package collectors.
const (
	// ReasonTooBig means that this host refused to send a packet as large as an echo.
	ReasonTooBig = "too_big_locally"
	// ReasonBusy means that too many earlier echoes are undecided.
	ReasonBusy = "busy"
)

// Reasons returns all reasons for Options.Done.
func Reasons() []string {
	return []string{
		collectors.ReasonNotSent, collectors.ReasonQueueFull, ReasonTooBig, collectors.ReasonTunnel, collectors.ReasonRoute,
		ReasonBusy, collectors.ReasonLocalDrops, collectors.ReasonBudget,
	}
}

// A Result is what is known about a peer since its path was set or since Measure began.
type Result struct {
	State State
	// Reason says why the state is Unknown, or why the newest echo could not be sent.
	Reason string
	// At is when the newest decided echo was sent.
	At time.Time
	// Sent and Received count decided echoes and their replies, Duplicates further copies.
	Sent, Received, Duplicates int
	// Unanswered is the number of unanswered echoes among the last three, or among all of Measure.
	Unanswered int
	// Since is when the oldest unanswered one of these was sent, or when Measure began.
	Since time.Time
	// Last, Min, Avg and Max are round trips; 0 if nothing was received.
	Last, Min, Avg, Max time.Duration
	// Jitter is the mean difference between the round trips of successive replies, 0 for fewer than
	// two.
	Jitter time.Duration
	// Loss is how many of the last complete 60 echoes were lost, or of all of Measure.
	Loss collectors.Sample
	// Error is the newest ICMP error that came for one of the last three echoes.
	Error collectors.PathError
}
