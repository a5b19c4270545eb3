// Package icmp tells whether a peer answers ICMP echo requests, and how fast.
//
// A Collector measures one peer. It owns no goroutine and no socket: the schedule calls Tick, which sends one echo, and the
// answer comes back by callback.
//
//	Tick ──▶ Engine.Echo ──▶ under way ──reply───────────▶ answered ─┐
//	              │              │                                   ├─▶ the last three decided: reachable, or silent
//	              │              └─timeout, ICMP error──▶ lost ──────┘
//	              │                                         └─late reply─▶ answered after all
//	              └─did not leave this host──▶ an error of the measurement, never loss
//
// An echo is decided when it is answered, when an ICMP error came for it, or when its timeout is over: 2 s, or the interval if
// that is shorter. Requests are counted when they are decided, so that echoes under way never look like loss. A reply
// later than the timeout corrects the decision: slow is not lost.
//
// Two Engines send echoes: Shared, on the one raw socket that serves all peers, and PingSockets for
// processes without CAP_NET_RAW. The package does not look for the path MTU, and no echo of it sets DF.
package icmp

import (
	"errors"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// State is whether a peer answers echo requests. The zero value is Unknown.
type State uint8

// The states.
const (
	// Unknown means that no echo has been decided, or none lately.
	Unknown State = iota
	// Reachable means that at least one of the last three decided echoes was answered; after Measure, one of all.
	Reachable
	// Silent means that none was.
	Silent
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Reachable:
		return "reachable"
	case Silent:
		return "silent"
	}
	return "unknown"
}

// Why a measurement could not be made: the reasons that Options.Done is called with.
const (
	// ReasonNotSent means that the echo did not leave this host.
	ReasonNotSent = "not_sent"
	// ReasonTooBig means that this host refused to send a packet as large as an echo.
	ReasonTooBig = "too_big_locally"
	// ReasonTunnel means that the echo would have travelled inside a tunnel of this host.
	ReasonTunnel = "inside_tunnel"
	// ReasonRoute means that this host could not tell how it would send the echo.
	ReasonRoute = "no_route"
	// ReasonLocalDrops means that this host lost answers meanwhile, so that silence says nothing about the path.
	ReasonLocalDrops = "local_drops"
	// ReasonBusy means that too many earlier echoes are still undecided.
	ReasonBusy = "busy"
)

// ErrLocalDrops is why an echo measured nothing where this host lost answers meanwhile.
var ErrLocalDrops = errors.New("this host lost answers because a socket's buffer was full")

// A Result is what is known about a peer since its address was set, or since Measure began.
type Result struct {
	State State
	// Reason says why the state is Unknown, or why the newest echo could not be sent.
	Reason string
	// At is when the newest decided echo was sent.
	At time.Time
	// Sent and Received count decided echoes and their answers, Duplicates the further copies of answers.
	Sent, Received, Duplicates int
	// Unanswered is how many of the echoes that make the state were not answered: of the last three, or of all after Measure.
	Unanswered int
	// Since is when the oldest of those was sent.
	Since time.Time
	// Last, Min, Avg and Max are round trips; 0 if nothing was received.
	Last, Min, Avg, Max time.Duration
	// Error is the newest ICMP error that came for one of the echoes; its Outcome is 0 if none did.
	Error PathError
}

// A PathError is an ICMP error that came instead of an answer.
type PathError struct {
	// Outcome names its kind.
	Outcome netio.Outcome
	// Type and Code are those of the ICMP message.
	Type, Code uint8
	// From is who sent it.
	From netip.Addr
}
