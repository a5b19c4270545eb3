// Package gateways reads the IKE and IPsec security associations (SAs) of VPN gateways, whoever made them, and turns them
// into counts, counters and facts per peer.
//
//	Source.Read -> Table -> NewReading -> Reading -> Accumulator -> metrics.go
//	(one per type) (all SAs) (Attribution) (per peer)    `-> History, for diagnoses
//
// A Source knows one type of device: how to reach it, and what its words mean. Everything from the Table on is the same for
// all types and pure. A Poller reads one gateway on its interval: a device that hangs delays neither another one nor a scrape,
// which shows the last reading and does no I/O.
//
// SPIs, addresses and identities of SAs are used to recognise and to attribute them; the only one that can get into a label is
// the remote address, where somebody asked for that (PollerConfig.UnmatchedEach).
//
// The package measures no path, and draws no conclusions: it hands facts to those who do.
package gateways

import (
	"context"
	"net/netip"
	"time"
)

// A Source reads the SA table of one gateway. It is used by one goroutine at a time, except for Close and Watch.
type Source interface {
	// Read reads the whole table once. It ends with its context, keeps what can be kept open for the next Read, and sends one
	// command at a time. An error means that the table is not known; a Table is never one half of it.
	// Errors name no secrets: they are logged and shown. After a panic in it, which is one reading that failed, Read can be called again.
	Read(ctx context.Context) (Table, error)
	// Close ends what Read has kept open, also a Read that is running. Nothing is read after it.
	Close() error
}

// A Watcher is a Source that also hears from its gateway when tunnels come and go between two readings.
type Watcher interface {
	Source
	// Watch calls changed for each event, in order and from one goroutine, until the context ends or the connection breaks.
	// The Poller calls it again after a pause.
	Watch(ctx context.Context, changed func(Event)) error
}

// An Event says that a child SA came up or went away. Of a rekey or a reauthentication that makes the new before it breaks the
// old, the new one is reported before the old: a tunnel is down only when none of its children is left.
type Event struct {
	Peer Identity
	// Key is the Key of the child SA, as the next Read shows it.
	Key string
	Up  bool
	// When it happened, or was heard of.
	When time.Time
}

// Info says what a gateway is. Both are label values.
type Info struct {
	// Type is the type of the configuration: cisco_asa, strongswan.
	Type string
	// Version is the software's version, "" if unknown.
	Version string
}

// A Table is everything that one reading found at a gateway.
type Table struct {
	Info     Info
	IKE      []IKESA
	Children []ChildSA
	// Flows are counters of traffic that belong to no child, such as those of a session. They are added to those of children:
	// a source shows each byte and each packet in one place only.
	Flows []Flow
	// Counters are the device's own, those that tell about the path.
	Counters []DeviceCounter
	// Sessions counts active sessions by the device's kinds of them, nil if it has none.
	Sessions map[string]int
	// NoIKE says that the gateway knows child SAs only (Linux XFRM): then nobody can tell whether a tunnel is up.
	NoIKE bool
	// Unparsed counts lines of output that no rule knew.
	Unparsed int
}

// A DeviceCounter is one of the gateway's own counters. Several of one kind, with different keys, are added up.
type DeviceCounter struct {
	// Kind is its label value: pmtu_received, fragment_reassembly_failed.
	Kind string
	// Key tells those of one kind apart, such as the interface. It is not exposed.
	Key   string
	Value uint64
}

// A Flow is counters of the traffic with one peer.
type Flow struct {
	// Key says what the counters belong to. It is not exposed.
	Key     string
	Peer    Identity
	In, Out Traffic
}

// Identity is what a gateway shows about the other end of an SA. Any of it may be missing.
type Identity struct {
	// Address is the remote address. It is not valid where the device shows a name instead.
	Address netip.Addr
	// Name is what the device shows in place of an address, or what its configuration calls the tunnel.
	Name string
	// ID is the remote IKE identity, Username the one of XAUTH or EAP, Group the tunnel group or profile.
	ID, Username, Group string
}

// String is for logs and for those who look: the address if there is one.
func (i Identity) String() string {
	if i.Address.IsValid() {
		return i.Address.String()
	}
	for _, s := range []string{i.Name, i.ID, i.Username, i.Group} {
		if s != "" {
			return s
		}
	}
	return "unknown"
}

// An IKESA is one IKE SA, or the attempt to make one.
type IKESA struct {
	// Key tells the SAs of one gateway apart, where it can: cookies, SPIs, or the device's index. It is not exposed.
	Key  string
	Peer Identity
	// Version is 1 or 2, 0 if unknown.
	Version int
	State   IKEState
	// VendorState is the device's own word, in the case that the vendor documents.
	VendorState string
	// Doing is what it is at, in the device's own words, where the device tells that besides its state. It is for those who look.
	Doing string
	// Initiator is true where this gateway started it, as far as the device says so.
	Initiator bool
	// Rekey is true for the second SA that a device keeps beside the first one while it renews it.
	Rekey bool
	// Established is since when it is, zero if unknown or not.
	Established time.Time
	// Fragmentation is whether IKE fragmentation (RFC 7383, or the vendor's) is in use.
	Fragmentation Answer
}

// A ChildSA is one pair of ESP or AH SAs, or what a device counts as one, such as the entry of a crypto map.
type ChildSA struct {
	// Key tells the children of one gateway apart. It is not exposed.
	Key  string
	Peer Identity
	// Name is what the configuration calls it, if anything.
	Name  string
	State ChildState
	// VendorState is the device's own word, if it has one.
	VendorState string
	// CounterKey says what In and Out belong to, if that is not Key: where counters go on over a rekey it must stay the same
	// over a rekey, and where they start again it must not. It is not exposed.
	CounterKey string
	In, Out    Traffic
	// PathMTU is the path MTU that the gateway believes, 0 if unknown; Overhead what it adds to a packet.
	PathMTU, Overhead int
	// NATT is whether it is encapsulated in UDP.
	NATT Answer
}

// Traffic is what passed through an SA in one direction.
type Traffic struct {
	Packets, Bytes Count
}

// A Count is the value of a counter. The zero value is unknown, which is not 0.
type Count struct {
	Value uint64
	Known bool
}

// Counted is a count that is known.
func Counted(v uint64) Count { return Count{Value: v, Known: true} }

// Answer is yes, no, or unknown.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	Yes
	No
)

// AnswerOf is yes or no.
func AnswerOf(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// String names the answer.
func (a Answer) String() string {
	switch a {
	case Unknown:
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}
