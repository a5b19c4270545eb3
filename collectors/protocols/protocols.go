// Package protocols finds out how far each protocol that a VPN needs gets on the path to a peer:
// ICMP, UDP 500, UDP 4500, ESP (IP protocol 50), AH (51), and ESP in UDP 4500. Ports are not
// protocols: a firewall that permits UDP port 50 does not permit ESP.
//
// All are sent at the same time with rising TTL (internal/ladder), ESP and AH under an unused SPI:
//
//	the peer itself answers: an echo or IKE reply,     ─▶ passes
//	  protocol or port unreachable (RFC 792)
//	a router reports twice that it prohibits the       ─▶ blocked, by that router
//	  protocol, or that it cannot deliver it while
//	  another protocol arrives
//	another protocol is answered by routers behind     ─▶ blocked, behind the last router that
//	  the last one that answered this one, on the         answered
//	  same path
//	anything else                                      ─▶ unknown: a gateway does not answer ESP
//	                                                      for which it has no SA
//
// Answers of every router up to the peer do not prove that the peer is reached, and its silence
// proves nothing. Peers may log each ESP or AH packet, so serve measures this only if it is
// configured.
package protocols

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
)

// Protocol is a protocol that a VPN needs.
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

// State says whether a protocol passes. The zero value means that it is not known.
type State uint8

// The states.
const (
	Unknown State = iota
	// Passes means that the peer itself answered.
	Passes
	// Blocked means that a router or firewall on the path demonstrably drops or refuses it.
	Blocked
)

// String returns the state's label value.
func (s State) String() string { return enum.Name(s, "unknown", "passes", "blocked") }

// A Result is how far one protocol gets.
type Result struct {
	Protocol Protocol
	State    State
	// Reason is the evidence for the state.
	Reason string
	// Way is how its packets leave this host, if they leave by another way than IKE. Then it is
	// compared only with protocols that take the same way.
	Way string
	// Distance is the TTL with which the peer was reached on such a way, 0 if it was not.
	Distance int
	// LastHop is the highest TTL at which it was answered, 0 if never; Last is who answered.
	LastHop int
	Last    netip.Addr
	// FirstMissed is the next router behind Last, which answered Witness but not this protocol. It
	// is set if the state is Blocked.
	FirstMissed netip.Addr
	// BlockedBy is the router, or the peer, that refuses the protocol, Error is its ICMP error.
	BlockedBy netip.Addr
	Error     string
	// Witness is the protocol that gets further, WitnessHop the highest TTL at which it was
	// answered.
	Witness    Protocol
	WitnessHop int
	// Tries is the number of pairs in which it stayed unanswered, Answered the number of them in
	// which Witness was answered.
	Tries, Answered int
}

// Results are the results of one round.
type Results struct {
	Results []Result
	// Hops are the routers on the path by TTL, from 1, and the peer; zero where none answered.
	Hops []netip.Addr
	// Distance is the TTL with which the peer was reached, 0 if it was not.
	Distance int
	Packets  int
	// Overheard are the answers that reached this host, and how many of them a socket got.
	Overheard netio.Overheard
	// Reason is why there are no results; empty otherwise.
	Reason string
	At     time.Time
}

// Of returns the result of a protocol; its state is Unknown if there is none.
func (r *Results) Of(p Protocol) Result {
	one, _ := r.of(p)
	return one
}

func (r *Results) of(p Protocol) (one Result, measured bool) {
	if i := slices.IndexFunc(r.Results, func(one Result) bool { return one.Protocol == p }); i >= 0 {
		return r.Results[i], true
	}
	return Result{Protocol: p, Reason: "not measured"}, false
}

func judge(found *ladder.Result, p Protocol, v6 bool) Result {
	c := found.Of(string(p))
	r := Result{Protocol: p, LastHop: c.Last(), Tries: c.Tries, Answered: c.Answered}
	r.Last = c.At(r.LastHop)
	refusal := icmp.ErrorName(v6, c.Refused.Type, c.Refused.Code)
	switch {
	case c.Err != nil:
		r.Reason = "this host does not send it: " + c.Err.Error()
	case c.Arrived() > 0:
		r.State, r.Reason = Passes, "the peer itself answers"
	case c.Refusals >= 2 && (refusal == icmp.NameProhibited || found.Distance() > 0):
		// Any other error, while another protocol arrives, is a filter that does not call itself one.
		r.State, r.BlockedBy, r.Error = Blocked, c.Refused.From, refusal
		r.Reason = "an ICMP error (" + refusal + ") refuses the protocol"
	case c.Lost:
		w := found.Of(c.Witness)
		r.State, r.Witness, r.WitnessHop, r.FirstMissed = Blocked, Protocol(c.Witness), w.Last(), found.FirstMissed(c)
		r.Reason = "another protocol gets further on the same path"
	case c.Detour:
		r.Reason = "it takes another path than the other protocols"
	case r.LastHop > 0 && found.Distance() > 0 && r.LastHop >= found.Distance()-1:
		r.Reason = "every router up to the peer is reached; whether the silent peer receives it is not known"
	case r.LastHop == 0:
		r.Reason = "no router answers it with ICMP time exceeded, so nothing shows how far it gets"
	default:
		r.Reason = fmt.Sprintf("no router beyond hop %d sends ICMP time exceeded, so nothing shows how far it gets", r.LastHop)
	}
	return r
}
