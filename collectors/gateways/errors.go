package gateways

import "ipsec_path_exporter/internal/enum"

// An ErrorKind is a reason for which an SA does not accept a packet that has arrived.
type ErrorKind uint8

// The kinds of errors. A gateway that does not distinguish them counts a packet as Replay instead of
// Duplicate or Late. Receive is a gateway's own sum, which may include the others.
const (
	// Receive is any error while a packet is received.
	Receive ErrorKind = iota
	// Replay is a packet that is a duplicate or older than the replay window (RFC 4303, section
	// 3.4.3).
	Replay
	// Duplicate is a packet whose sequence number was received before.
	Duplicate
	// Late is a packet that is older than the replay window.
	Late
	// Integrity is a packet whose integrity check fails: wrong keys, or a change in transit.
	Integrity
	errorKinds
)

// ErrorKinds are all kinds.
func ErrorKinds() []ErrorKind { return []ErrorKind{Receive, Replay, Duplicate, Late, Integrity} }

// String is the label value.
func (k ErrorKind) String() string {
	return enum.Name(k, "receive", "replay", "duplicate", "late", "integrity")
}

// Errors are counters by ErrorKind.
type Errors [errorKinds]Count
