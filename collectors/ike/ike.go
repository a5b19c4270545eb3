// Package ike tells whether a peer answers IKE on UDP 500 (method ike), and on UDP 4500 behind the non-ESP marker (method natt).
//
// A Collector measures one peer in rounds. It owns no goroutine and no socket: the schedule calls Tick, which sends at most one
// packet and says when it wants to be called next; answers come back by callback. One probe is outstanding per method, and the
// two methods of a round are half a second apart:
//
//	nothing known:   v2-badke ×2 ─▶ v2-major3 ×2 ─▶ v2-noprop ×2 ─▶ v1-main ×2 ─▶ v1-minor ×2 ─▶ silent
//	one form known:  that form ×3 ─▶ each other form ×1 ─▶ silent
//	                     │                │
//	                     ▼ any reply      ▼ any reply       port unreachable from the peer itself at any point: refused
//	                 responding       responding, and after three such rounds the form that is tried first from now on
//
// Tries of one form are identical bytes, like the retransmissions of an initiator (RFC 7296, section 2.1), so a lost packet costs
// a second and not the verdict. A round that asked every form in vain means silent, nothing less. It takes at most
// 9.5 s, and rounds begin at least 10 s apart whatever the schedule wants: responders limit the rate of their answers (RFC 7296,
// section 2.21.4), and write a line of log for each.
//
// No probe can leave state in the peer; package ikeprobe says why. A COOKIE is an answer, and is not sent back.
package ike

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// State is whether a peer answers by one method. The zero value is Unknown.
type State uint8

// The states.
const (
	// Unknown means that no round has ended, or none lately, or that its probes could not be sent.
	Unknown State = iota
	// Responding means that a reply came.
	Responding
	// Silent means that every form was tried, and neither a reply nor a refusal came.
	Silent
	// Refused means that the peer itself answered with ICMP port unreachable.
	Refused
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Responding:
		return "responding"
	case Silent:
		return "silent"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Why a round could not be made: the reasons that Options.Done is called with.
const (
	// ReasonNotSent means that probes did not leave this host.
	ReasonNotSent = "not_sent"
	// ReasonTunnel means that they would have travelled inside a tunnel of this host.
	ReasonTunnel = "inside_tunnel"
	// ReasonRoute means that this host could not tell how it would send them.
	ReasonRoute = "no_route"
)

// A Result is what is known about one method.
type Result struct {
	State State
	// Reason says why the state is Unknown.
	Reason string
	// At is when the round began that gave the state.
	At time.Time
	// Sent is how many probes that round sent.
	Sent int
	// Port is the peer's UDP port.
	Port uint16
	// Form is what was answered, Version the IKE version of the reply, Reply its name, Detail what else it
	// said. They are those of the last reply and mean something only while Responding.
	Form    ikeprobe.Form
	Version ikeprobe.Version
	Reply   string
	Detail  string
	// RoundTrip is the last one that could be told, 0 if none could: a reply to a probe that was sent more than
	// once may answer any of them (Karn's algorithm; RFC 6298, section 3).
	RoundTrip time.Duration
	// BadKESilent tells that v2-badke got no answer though v2-major3 got one, in the last round that asked both. A responder
	// that answers only what costs it no state may have locked this address out.
	BadKESilent bool
	// Error is the newest ICMP error that came for a probe; its Outcome is 0 if none did.
	Error PathError
}

// A PathError is an ICMP error that came instead of a reply.
type PathError struct {
	// Outcome names its kind.
	Outcome netio.Outcome
	// Type and Code are those of the ICMP message.
	Type, Code uint8
	// From is who sent it.
	From netip.Addr
}

// Results are what is known about both methods.
type Results struct{ IKE, NATT Result }

// Of returns the result of one method; the zero Result for ICMP.
func (r *Results) Of(m collectors.Method) Result {
	switch m {
	case collectors.IKE:
		return r.IKE
	case collectors.NATT:
		return r.NATT
	case collectors.ICMP:
	}
	return Result{}
}
