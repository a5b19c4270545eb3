// Package partner measures the path to another exporter, or to a foreign STAMP reflector, in each
// direction: what is lost, reordered and duplicated on the way there and back, how much the delay
// varies, and which DSCP arrives. An exporter at the other end proves its results with a key
// (internal/session).
//
//	a round: 10 requests, 20 ms apart ──▶ the partner counts, and answers each
//	                                  ◀── its counters and times, the DSCP as received
//	  some replies  ─▶ up: results
//	  replies that are no results ─▶ a state of the partner: wrong key, skewed clock, other version …
//	  nothing       ─▶ silent: nothing is known of the path
//
// What is wrong with the partner itself, or that it is silent, says nothing about the path: then
// the other collectors alone judge it. Requests are UDP datagrams to the port that is configured,
// and carry no data. One in ten has another DSCP than 0, to see whether it arrives (RFC 2474,
// section 4.1: a network that does not know a DSCP forwards the packet as if it had the default
// one).
package partner

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/wire/stamp"
)

// State is what is known of the partner. The zero value means that nothing is.
type State uint8

// The states.
const (
	Unknown State = iota
	// Up means that it answers.
	Up
	// Restarted means that it began to count again in the newest round, and answers.
	Restarted
	// Silent means that nothing came back: the partner or the path does not answer.
	Silent
	// WrongKey means that it answers with another key.
	WrongKey
	// ClockSkewed means that its clock and that of this host differ by more than five minutes.
	ClockSkewed
	// OtherVersion means that it speaks another version, or STAMP alone.
	OtherVersion
	// Superseded means that another exporter measured in the place of this one, which began again.
	Superseded
	// Busy means that it has too many sessions with this address.
	Busy
	// NoKey means that this host cannot read the key.
	NoKey
)

// String returns the state's label value.
func (s State) String() string {
	return enum.Name(s, "unknown", "up", "restarted", "silent", "wrong_key", "clock_skewed", "other_version", "superseded", "busy", "no_key")
}

// States returns all states that a result may have.
func States() []State {
	return []State{Up, Restarted, Silent, WrongKey, ClockSkewed, OtherVersion, Superseded, Busy, NoKey}
}

// of returns the state that a packet shows.
func of(m session.Meaning) State {
	switch m {
	case session.Answered:
		return Up
	case session.Restarted:
		return Restarted
	case session.WrongKey:
		return WrongKey
	case session.Skewed:
		return ClockSkewed
	case session.OtherVersion:
		return OtherVersion
	case session.Superseded:
		return Superseded
	case session.Busy:
		return Busy
	case session.Foreign, session.Established:
	}
	return Unknown
}

// A Direction is what a round shows of the way there, or back.
type Direction struct {
	// Variation is the mean difference between the delays of successive packets (RFC 3393); it
	// needs no common clock, but two packets. Varies means that it is known.
	Variation time.Duration
	Varies    bool
	// Delay is the mean delay, if DelayKnown: both clocks are synchronized. It may be wrong by
	// Error.
	Delay, Error time.Duration
	DelayKnown   bool
	// DSCP is what arrived of the DSCP Sent; both are at most 63. Marked means that they are known.
	Marked     bool
	Sent, DSCP uint8
	// ECN is what arrived in the ECN field of a packet that was sent with 0.
	ECN uint8
	// MTU is the path MTU of this direction alone.
	MTU MTU
	// Fragments says whether IP fragments pass.
	Fragments FragmentState
}

// A Result is what one round shows, and what was counted since the partner is known.
type Result struct {
	State State
	// Reason is why the state is not Up, for people.
	Reason string
	// To is where the requests went, Mode how.
	To   netip.AddrPort
	Mode stamp.Mode
	// Sent and Received are the requests and replies of the round.
	Sent, Received int
	// RoundTrip is the mean time on the way there and back, without the time at the partner.
	RoundTrip   time.Duration
	There, Back Direction
	// Counts are those of all rounds; OneWay means that losses have a direction.
	Counts session.Counts
	OneWay bool
	At     time.Time
}

// Up reports whether the partner was measured with.
func (r *Result) Up() bool { return r.Received > 0 }

// reason says in words what a state means.
func (s State) reason() string {
	switch s {
	case Restarted:
		return "the partner has restarted: counting begins again"
	case Silent:
		return "nothing comes back from the partner: it does not run, does not have this address as a partner, or the path drops its port"
	case WrongKey:
		return "the partner has another key (compare the key files of both ends)"
	case ClockSkewed:
		return "the clocks of the partner and of this host differ by more than five minutes"
	case OtherVersion:
		return "the partner speaks another version, or is no exporter"
	case Superseded:
		return "another exporter measures from the address of this one"
	case Busy:
		return "the partner has too many sessions with the address of this host"
	case NoKey:
		return "this host cannot read the key of the partner"
	case Unknown, Up:
	}
	return ""
}
