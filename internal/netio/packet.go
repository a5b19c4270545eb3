package netio

import (
	"net/netip"
	"sync/atomic"
	"time"
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
	// ESP and AH are IP protocols 50 and 51 (RFC 4303, RFC 4302); the payload begins with their header.
	ESP
	AH
)

// String names the protocol as in labels.
func (p Protocol) String() string {
	switch p {
	case Echo:
		return "icmp"
	case UDP:
		return "udp"
	case ESP:
		return "esp"
	case AH:
		return "ah"
	}
	return "unknown"
}

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
	// FragmentSize, if set, sends the packet as IP fragments of at most so many bytes each, headers included, whatever the link would
	// carry. It wants a raw socket and no DontFragment.
	FragmentSize int
	// Size is the size of the whole IP packet of an Echo, header included; at least
	// HeaderIP + HeaderEcho + TokenSize. Ignored for others, where the payload decides.
	Size int
	// Token is what the answer repeats. A zero Token of an Echo is replaced by a random one. For others it must stand
	// in the payload where the reply or an error's quote repeats it, at offset TokenOffset.
	Token Token
	// TokenOffset is where the Token stands in a payload and in its reply: 0 for IKE on port 500,
	// 4 behind the non-ESP marker (RFC 3948, section 2.2); 0 for ESP and 4 for AH, whose SPI and sequence number it is.
	TokenOffset int
	// Payload is what follows the UDP header, or the whole ESP or AH packet. Not changed, and not used after Send returns.
	Payload []byte
	// Linger is how much longer than usual the probe is remembered after its time, for answers that take theirs: a reassembly that
	// timed out is reported after 30 to 60 s (RFC 1122, section 3.3.2; RFC 8200, section 4.5).
	Linger time.Duration
	// Account, if set, is charged with what was put on the wire.
	Account *Account
	// Purpose says in a few words what the probe is for, for whoever looks at the evidence later.
	Purpose string
	// OnWire, if set, is shown every IP packet that the kernel took for this probe, as it is on the wire, and then Answer.Wire is set.
	// The bytes are valid only during the call.
	OnWire func(at time.Time, packet []byte)
}

// WireSize is the size of the whole IP packet in bytes, before it is cut into fragments.
func (p *Packet) WireSize() int {
	switch p.Protocol {
	case Echo:
		return p.Size
	case UDP:
		return p.Path.HeaderIP() + HeaderUDP + len(p.Payload)
	case ESP, AH:
	}
	return p.Path.HeaderIP() + len(p.Payload)
}

// leastFragment is the least payload of a fragment: the unit of offsets (RFC 791, section 3.1; RFC 8200, section 4.5).
const leastFragment = 8

// wireBytes is the size of all IP packets that the probe is sent as.
func (p *Packet) wireBytes() int {
	if n := p.fragments(); n > 1 {
		return p.WireSize() - p.Path.HeaderIP() + n*p.overhead()
	}
	return p.WireSize()
}

// overhead is the size of the headers of each fragment.
func (p *Packet) overhead() int {
	if p.Path.IPv6() {
		return HeaderIPv6 + headerFragment6
	}
	return HeaderIPv4
}

// headerFragment6 is the size of an IPv6 fragment header (RFC 8200, section 4.5).
const headerFragment6 = 8

// piece is how many bytes of the packet's payload one fragment carries.
func (p *Packet) piece() int {
	return max(leastFragment, (p.FragmentSize-p.overhead())&^(leastFragment-1))
}

// fragments is how many IP packets the probe is sent as. One that fits into a fragment is sent whole.
func (p *Packet) fragments() int {
	if p.FragmentSize == 0 || p.WireSize() <= p.FragmentSize {
		return 1
	}
	piece := p.piece()
	return (p.WireSize() - p.Path.HeaderIP() + piece - 1) / piece
}

// largest is the size of the largest IP packet that the probe is sent as.
func (p *Packet) largest() int {
	if p.fragments() > 1 {
		return p.FragmentSize
	}
	return p.WireSize()
}

// needsSource tells whether the source address must be known before the packet is built.
func (p *Packet) needsSource() bool {
	if p.Protocol == UDP && (p.DontFragment || p.TTL != 0 || p.FragmentSize != 0) {
		return true
	}
	return p.Path.IPv6() && (p.FragmentSize != 0 || p.Protocol == ESP || p.Protocol == AH)
}

// An Account counts what was put on the wire on behalf of somebody.
type Account struct {
	// Packets and Bytes (whole IP packets) that left for the wire.
	Packets, Bytes atomic.Uint64
}
