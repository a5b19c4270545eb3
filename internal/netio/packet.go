package netio

import (
	"net/netip"
	"sync/atomic"
)

// Sizes that the probes of this package are made of, in bytes.
const (
	// HeaderIPv4 is the size of an IPv4 header without options (RFC 791, section 3.1).
	HeaderIPv4 = 20
	// HeaderIPv6 is the size of an IPv6 header without extension headers (RFC 8200, section 3).
	HeaderIPv6 = 40
	// HeaderUDP is the size of a UDP header (RFC 768).
	HeaderUDP = 8
	// HeaderEcho is the size of the ICMP header of an echo request (RFC 792; RFC 4443, section 4.1).
	HeaderEcho = 8
	// TokenSize is the size of the unguessable token that every probe carries and every reply repeats.
	TokenSize = 8
)

// A Token is the secret by which an answer proves that its sender has seen the probe. An echo carries it at
// the start of its data, an IKE message as its initiator SPI. An off-path attacker does not know it.
type Token [TokenSize]byte

// A Path names where packets go and how they leave this host.
type Path struct {
	// Dst is the address of the peer, without a zone.
	Dst netip.Addr
	// Src is the source address; the zero Addr lets routing choose.
	Src netip.Addr
	// Interface is the network interface or VRF device to leave by; empty lets routing choose.
	Interface string
}

// String names the destination, and the configured way there.
func (p Path) String() string {
	s := p.Dst.String()
	if p.Src.IsValid() {
		s += " from " + p.Src.String()
	}
	if p.Interface != "" {
		s += " by " + p.Interface
	}
	return s
}

// IPv6 tells whether the path is an IPv6 one.
func (p Path) IPv6() bool { return p.Dst.Is6() && !p.Dst.Is4In6() }

// HeaderIP is the size of the IP header of a probe on this path, in bytes.
func (p Path) HeaderIP() int {
	if p.IPv6() {
		return HeaderIPv6
	}
	return HeaderIPv4
}

// Protocol is what a probe is made of.
type Protocol uint8

// The kinds of probes.
const (
	// Echo is an ICMP echo request (RFC 792; RFC 4443, section 4.1).
	Echo Protocol = iota
	// UDP is a datagram with a payload of the caller's, usually an IKE message.
	UDP
)

// A Packet is one probe to send.
type Packet struct {
	Path     Path
	Protocol Protocol
	// Port is the UDP destination port.
	Port uint16
	// TTL is the hop limit; 0 means 64.
	TTL uint8
	// DontFragment sets DF on IPv4 and forbids fragmentation by this host on both families.
	DontFragment bool
	// Size is the size of the whole IP packet of an Echo, header included; at least
	// HeaderIP + HeaderEcho + TokenSize. Ignored for UDP, where the payload decides.
	Size int
	// Token is what the answer repeats. A zero Token of an Echo is replaced by a random one. For UDP it must stand
	// in the payload where the reply repeats it, at offset TokenOffset.
	Token Token
	// TokenOffset is where the Token stands in a UDP payload and in its reply: 0 for IKE on port 500,
	// 4 behind the non-ESP marker (RFC 3948, section 2.2).
	TokenOffset int
	// Payload is the UDP payload. Not changed, and not used after Send returns.
	Payload []byte
	// Account, if set, is charged with what was put on the wire.
	Account *Account
}

// WireSize is the size of the whole IP packet in bytes.
func (p *Packet) WireSize() int {
	if p.Protocol == Echo {
		return p.Size
	}
	return p.Path.HeaderIP() + HeaderUDP + len(p.Payload)
}

// An Account counts what was put on the wire on behalf of somebody.
type Account struct {
	// Packets and Bytes (whole IP packets) that left for the wire.
	Packets, Bytes atomic.Uint64
}
