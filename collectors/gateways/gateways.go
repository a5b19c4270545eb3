// Package gateways reads the IKE and IPsec security associations (SAs) of VPN gateways, and turns
// them into counts, counters and facts per peer.
//
//	Source.Read -> Table -> NewReading -> Reading -> Accumulator -> metrics.go
//	(one per type) (all SAs) (Attribution) (per peer)    `-> History, for diagnoses
//
// A Source reads one type of device: it knows the transport and the meaning of its states. From the Table on,
// the code is the same for all types and pure. A Poller reads one gateway on its interval, so a
// device that hangs delays neither another device nor a scrape, which shows the last reading and
// does no I/O.
//
// SPIs, addresses and identities of SAs serve to recognise and attribute SAs. Only the remote
// address can become a label value, and only if PollerConfig.UnmatchedEach is set.
//
// The package measures no path and draws no conclusions.
package gateways

import (
	"cmp"
	"context"
	"net/netip"
	"strconv"
	"time"

	"ipsec_path_exporter/internal/enum"
)

// A Source reads the SA table of one gateway. One goroutine at a time uses it, except for Close and
// Watch.
type Source interface {
	// Read reads the whole table once. It ends with its context, keeps what can be kept open for
	// the next Read, and sends one command at a time. An error means that the table is not known; a
	// Table is never half of it. Errors name no secrets: they are logged and shown. After a
	// panic in it, which is one reading that failed, Read can be called again.
	Read(ctx context.Context) (Table, error)
	// Close ends what Read has kept open, also a Read that is running. Nothing is read after it.
	Close() error
}

// A Watcher is a Source that also receives events when tunnels come and go.
type Watcher interface {
	Source
	// Watch calls changed for each event, in order and from one goroutine, until the context ends
	// or the connection breaks. The Poller calls it again after a pause.
	Watch(ctx context.Context, changed func(Event)) error
}

// An Event reports that a child SA came up or went away. Of a rekey or a reauthentication that makes
// the new before it breaks the old, the new one is reported before the old: a tunnel is down only
// when none of its children is left.
type Event struct {
	Peer Identity
	// Key is the Key of the child SA, as the next Read shows it.
	Key string
	Up  bool
	// When is the time of the event, or of its arrival.
	When time.Time
}

// Info identifies a gateway. Both are label values.
type Info struct {
	Type    string // of the configuration: cisco_asa, strongswan
	Version string // of the software, "" if unknown
}

// A Table is everything that one reading found at a gateway.
type Table struct {
	Info     Info
	IKE      []IKESA
	Children []ChildSA
	// Flows are counters of traffic outside any child, such as counters of a session. They are
	// added to the counters of children: a source reports each byte and packet in one place only.
	Flows []Flow
	// Counters are the device's own counters that concern the path.
	Counters []DeviceCounter
	// Sessions counts active sessions by the device's kinds of them, nil if it has none.
	Sessions map[string]int
	// NoIKE reports that the gateway knows child SAs only, so it cannot say whether a tunnel is up.
	NoIKE bool
	// Unparsed counts the lines of output that no rule matches. FirstUnparsed is the first of them,
	// without secrets.
	Unparsed      int
	FirstUnparsed string
	// Doubts has an entry for each SA that was not understood: what is known of its other end, the
	// zero Identity if nothing is. A peer that it may concern is not reported as down.
	Doubts []Identity
}

// A DeviceCounter is one of the gateway's own counters. Counters of one kind are added up.
type DeviceCounter struct {
	// Kind is its label value: pmtu_received, fragment_reassembly_failed.
	Kind string
	// Key distinguishes counters of one kind, for instance by interface. It is not exposed.
	Key   string
	Value uint64
}

// A Flow is counters of the traffic with one peer.
type Flow struct {
	// Key identifies what is counted. It is not exposed.
	Key     string
	Peer    Identity
	In, Out Traffic
	// Lost and Errors are as in ChildSA.
	Lost   Count
	Errors Errors
}

// Identity is what a gateway shows about the other end of an SA. Each field may be empty.
type Identity struct {
	// Address is the remote address. It is not valid where the device shows a name instead.
	Address netip.Addr
	// Name is shown by the device instead of an address, or is its name for the tunnel.
	Name string
	// ID is the remote IKE identity, Username the name in XAUTH or EAP, Group the tunnel group.
	ID, Username, Group string
}

// String returns the address, or else the best name, for logs and tables.
func (i Identity) String() string {
	if i.Address.IsValid() {
		return i.Address.String()
	}
	return cmp.Or(i.Name, i.ID, i.Username, i.Group, "unknown")
}

// An IKESA is one IKE SA, or an attempt to establish one.
type IKESA struct {
	// Key distinguishes the SAs of one gateway: cookies, SPIs or an index. It is not exposed.
	Key  string
	Peer Identity
	// Version is 1 or 2, 0 if unknown.
	Version int
	State   IKEState
	// VendorState is the device's name of the state, in the case that the vendor documents.
	VendorState string
	// Doing is the current step in the device's own words, where the device reports it in addition
	// to the state. It is shown to users only.
	Doing string
	// Initiator reports whether this gateway started the SA, as far as the device shows it.
	Initiator bool
	// Rekey reports whether the SA replaces another one that the device still keeps.
	Rekey bool
	// Established is the time since when the SA is established, zero if unknown or not.
	Established time.Time
	// Fragmentation reports whether IKE fragmentation (RFC 7383, or the vendor's) is in use.
	Fragmentation Answer
}

// A ChildSA is one pair of ESP or AH SAs, or what a device counts as one.
type ChildSA struct {
	// Key distinguishes the children of one gateway. It is not exposed.
	Key  string
	Peer Identity
	// Name is the name of the child in the configuration, "" if it has none.
	Name  string
	State ChildState
	// VendorState is the device's name of the state, "" if it has none.
	VendorState string
	// CounterKey identifies what In and Out count, if that is not Key. It must change where the
	// counters restart at 0, and only there. It is not exposed.
	CounterKey string
	In, Out    Traffic
	// Lost is the number of packets that the other end numbered and that did not arrive here. It
	// never shrinks while the counters do not restart.
	Lost Count
	// Errors are the packets that arrived and were not accepted.
	Errors Errors
	// PathMTU is the gateway's own path MTU, 0 if unknown; Overhead is in bytes per packet.
	PathMTU, Overhead int
	// NATT reports whether the child is encapsulated in UDP.
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

// Pointer returns the value for JSON, nil while it is unknown.
func (c Count) Pointer() *uint64 {
	if !c.Known {
		return nil
	}
	return &c.Value
}

// ParseCount reads a decimal number. Any other text is an unknown count.
func ParseCount(s string) Count {
	v, err := strconv.ParseUint(s, 10, 64)
	return Count{Value: v, Known: err == nil}
}

// A PathMTU returns the kernel's path MTU between an address of this host and a peer, 0 if unknown.
type PathMTU func(local, remote netip.Addr) int

// Of returns the path MTU, 0 also where p is nil.
func (p PathMTU) Of(local, remote netip.Addr) int {
	if p == nil {
		return 0
	}
	return p(local, remote)
}

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
	return enum.Name(a, "unknown", "yes", "no")
}
