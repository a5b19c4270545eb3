// Package ike measures whether a peer answers IKE on UDP 500 (method ike), and on UDP 4500 behind
// the non-ESP marker (method natt).
//
// A Collector measures one peer in rounds. It owns no goroutine and no socket: the schedule calls
// Tick, which sends at most one packet and returns the time of the next call; answers arrive by
// callback. One probe is outstanding per method, and the two methods of a round are half a second
// apart:
//
//	unknown: v2-badke ×2 ─▶ v2-major3 ×2 ─▶ v2-noprop ×2 ─▶ v1-main ×2 ─▶ v1-minor ×2 ─▶ silent
//	known:   that form ×3 ─▶ each other form ×1 ─▶ silent
//	             │                │
//	             ▼ any reply      ▼ any reply
//	         responding       responding; after three such rounds that form is tried first
//
//	port unreachable from the peer itself at any point: refused
//
// Tries of one form are identical bytes, like the retransmissions of an initiator (RFC 7296,
// section 2.1), so a lost packet costs a second and not the verdict. Silent requires a round in
// which every form was tried. A round takes at most 9.5 s, and rounds start at least 10 s apart:
// responders limit the rate of their answers (RFC 7296, section 2.21.4) and log each of them. A peer
// that stays silent is asked less often; pace.go says how.
//
// No probe leaves state in the peer; package ikeprobe says why. A COOKIE is an answer and is not
// returned.
package ike

import (
	"hash/maphash"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/ikeprobe"
)

// State is whether a peer answers by one method. The zero value is Unknown.
type State uint8

const (
	// Unknown means that no round has ended recently, or that its probes could not be sent.
	Unknown State = iota
	// Responding means that the peer replied.
	Responding
	// Silent means that every form was tried without a reply or refusal.
	Silent
	// Refused means that the peer itself answered with ICMP port unreachable.
	Refused
)

// String returns the state in lower case.
func (s State) String() string { return enum.Name(s, "unknown", "responding", "silent", "refused") }

// Reasons returns all reasons for Options.Done.
func Reasons() []string {
	return []string{
		collectors.ReasonNotSent, collectors.ReasonQueueFull, collectors.ReasonTunnel, collectors.ReasonRoute, collectors.ReasonBudget,
	}
}

// A Result is what is known about one method.
type Result struct {
	State State
	// Reason says why the state is Unknown.
	Reason string
	// At is the start of the round that determined the state.
	At time.Time
	// Sent is the number of probes of that round.
	Sent int
	// Port is the peer's UDP port.
	Port uint16
	// Form is the form of the probe that was last answered; Version, Reply and Detail are the IKE
	// version, the name and further content of the reply. They are valid only while State is
	// Responding.
	Form    ikeprobe.Form
	Version ikeprobe.Version
	Reply   string
	Detail  string
	// RoundTrip is the last unambiguous round trip, or 0: a reply to a probe that was sent more
	// than once may answer any copy (Karn's algorithm; RFC 6298, section 3).
	RoundTrip time.Duration
	// BadKESilent reports that v2-major3 was answered and v2-badke was not, in the last round that
	// tried both. A responder that answers only stateless requests may have locked out this
	// address.
	BadKESilent bool
	// BadKESent is how many v2-badke that round sent; 0 while BadKESilent is false.
	BadKESent int
	// NotSent reports that the state is Unknown because this host did not send the probes.
	NotSent bool
	// Error is the newest ICMP error that came for a probe of that round, or of the current one.
	Error collectors.PathError
	// Loss is how many of the last complete ten requests in the form that is answered were lost, or
	// of all of Measure.
	Loss collectors.Sample
}

// Results are what is known about both methods.
type Results struct{ IKE, NATT Result }

// NotSent reports whether this host did not send the probes of a method.
func (r *Results) NotSent() bool { return r.IKE.NotSent || r.NATT.NotSent }

// digestSeed is of this process: digests are compared with earlier ones of the same.
var digestSeed = maphash.MakeSeed()

// Digest returns a hash of what the results show: it changes with them, and not with when they were
// measured, by how many probes, and with which round trips.
func (r *Results) Digest() uint64 {
	shown := *r
	for _, one := range [...]*Result{&shown.IKE, &shown.NATT} {
		one.At, one.Sent, one.RoundTrip = time.Time{}, 0, 0
	}
	return maphash.Comparable(digestSeed, shown)
}

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
