// Package protocols finds out which of the protocols that a VPN needs get how far on the way to a peer: ICMP, UDP 500, UDP 4500, ESP (IP
// protocol 50), AH (51), and ESP in UDP 4500. Ports are not protocols: who permits UDP 50 has not permitted ESP.
//
// All are sent at the same time with rising TTL (internal/ladder), ESP and AH under an SPI that nobody uses:
//
//	the peer itself answers: an echo or IKE reply,     ─▶ passes
//	  protocol or port unreachable (RFC 792)
//	a router says that it refuses the protocol,         ─▶ blocked, by that router
//	  twice (administratively prohibited)
//	another protocol is answered by routers behind      ─▶ blocked, behind the last router that answered
//	  the last one that answered this one, by the same way
//	anything else                                       ─▶ unknown: a gateway is silent to ESP that it has no SA for
//
// It is no proof of passage that routers answer up to the peer, and silence of the peer proves nothing. Peers may write a line of log for
// each ESP or AH packet, so serve does this only if it is asked to.
package protocols

import (
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// Protocol is one that a VPN needs.
type Protocol string

// The protocols.
const (
	ICMP    Protocol = "icmp"
	UDP500  Protocol = "udp500"
	UDP4500 Protocol = "udp4500"
	ESP     Protocol = "esp"
	AH      Protocol = "ah"
	// ESPInUDP is ESP behind a UDP header to port 4500 (RFC 3948, section 2.1).
	ESPInUDP Protocol = "esp_udp"
)

// All returns the protocols in the order in which they are shown.
func All() []Protocol { return []Protocol{ICMP, UDP500, UDP4500, ESP, AH, ESPInUDP} }

// State is what is known about a protocol.
type State uint8

// The states.
const (
	// Unknown means that it is not known whether the protocol passes.
	Unknown State = iota
	// Passes means that the peer itself answered.
	Passes
	// Blocked means that something on the way drops or refuses it, as far as that can be shown.
	Blocked
)

// String is the state's label value.
func (s State) String() string {
	switch s {
	case Unknown:
	case Passes:
		return "passes"
	case Blocked:
		return "blocked"
	}
	return "unknown"
}

// A Result is how far one protocol gets.
type Result struct {
	Protocol Protocol
	State    State
	// Reason says in words what the state rests on.
	Reason string
	// LastHop is the highest TTL at which it was answered, 0 if it never was; Last who answered.
	LastHop int
	Last    netip.Addr
	// FirstMissed is the next router behind Last, that answered Witness but not this protocol; where the state is Blocked.
	FirstMissed netip.Addr
	// BlockedBy is the router that said that it refuses the protocol, Error what it said.
	BlockedBy netip.Addr
	Error     string
	// Witness is the protocol that gets further, WitnessHop how far.
	Witness    Protocol
	WitnessHop int
	// Tries is how often this protocol stayed unanswered where Witness was answered, and Answered how often that was, of as many.
	Tries, Answered int
}

// Results are those of one round.
type Results struct {
	Results []Result
	// Hops are the routers by their TTL, the first of them 1; the last is the peer if it was reached. The zero Addr is one that did not answer.
	Hops []netip.Addr
	// Distance is the TTL with which the peer was reached, 0 if that is not known.
	Distance int
	// Packets is the number of probes.
	Packets int
	// Reason says why nothing is known; empty otherwise.
	Reason string
	At     time.Time
}

// Of returns the result of a protocol; its state is Unknown if there is none.
func (r *Results) Of(p Protocol) Result {
	i := slices.IndexFunc(r.Results, func(one Result) bool { return one.Protocol == p })
	if i < 0 {
		return Result{Protocol: p, Reason: "not measured"}
	}
	return r.Results[i]
}

// measured tells whether there is a result of a protocol.
func (r *Results) measured(p Protocol) bool {
	return slices.ContainsFunc(r.Results, func(one Result) bool { return one.Protocol == p })
}

// judge says what a climb means.
func judge(found *ladder.Result, p Protocol, v6 bool) Result {
	c := found.Of(string(p))
	if c == nil {
		return Result{Protocol: p, Reason: "not measured"}
	}
	r := Result{Protocol: p, LastHop: c.Last(), Tries: c.Tries, Answered: c.Answered}
	r.Last = c.At(r.LastHop)
	switch {
	case c.Err != nil:
		r.Reason = "this host does not send it: " + c.Err.Error()
	case c.Arrived() > 0:
		r.State, r.Reason = Passes, "the peer itself answers"
	case c.Refusals >= 2 && prohibited(&c.Refused, v6):
		r.State, r.BlockedBy, r.Error = Blocked, c.Refused.From, icmp.ErrorName(v6, c.Refused.Type, c.Refused.Code)
		r.Reason = "a router says that it refuses the protocol"
	case c.Lost:
		w := found.Of(c.Witness)
		r.State, r.Witness, r.WitnessHop, r.FirstMissed = Blocked, Protocol(c.Witness), w.Last(), found.FirstMissed(c)
		r.Reason = "another protocol gets further by the same way"
	case c.Detour:
		r.Reason = "it takes another way than the other protocols"
	case r.LastHop > 0 && found.Distance() > 0 && r.LastHop >= found.Distance()-1:
		r.Reason = "every router up to the peer is reached, and the peer is silent: that proves nothing"
	default:
		r.Reason = "nobody behind the last answer reports packets whose TTL has run out, so nothing shows how far it gets"
	}
	return r
}

// prohibited tells whether an ICMP error says that somebody does not want the packet.
func prohibited(a *netio.Answer, v6 bool) bool {
	return icmp.ErrorName(v6, a.Type, a.Code) == icmp.NameProhibited
}
