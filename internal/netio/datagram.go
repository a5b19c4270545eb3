package netio

import (
	"net/netip"
	"time"
)

// A Datagram is what an Endpoint received. It is valid during the call that hands it over.
type Datagram struct {
	Payload []byte
	// From is the sender, To the address of this host that it sent to.
	From netip.AddrPort
	To   netip.Addr
	// At is when the kernel received it, zero if it did not say.
	At time.Time
	// TTL is the TTL or hop limit with which it arrived, TOS the octet with DSCP and ECN.
	TTL, TOS uint8
	// Drops is how many datagrams to the same socket a full buffer of this host has lost before this one
	// (SO_RXQ_OVFL).
	Drops uint32
}

// An Outgoing datagram is what an Endpoint sends.
type Outgoing struct {
	// Path says where it goes and how it leaves. An IPv4 datagram with DontFragment needs its source
	// address.
	Path Path
	Port uint16
	// TOS is the octet with DSCP and ECN.
	TOS uint8
	// DontFragment sets DF on IPv4. Pieces lets this host cut an IPv6 datagram that its link does not
	// carry; IPv4 datagrams without DF are cut anyway.
	DontFragment, Pieces bool
	Payload              []byte
}
