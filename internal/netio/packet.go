package netio

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/internal/enum"
)

// Sizes that the probes of this package are made of, in bytes.
const (
	// HeaderIPv4 is the size of an IPv4 header without options (RFC 791, section 3.1).
	HeaderIPv4 = 20
	// HeaderIPv6 is the size of an IPv6 header without extension headers (RFC 8200, section 3).
	HeaderIPv6 = 40
	// HeaderUDP is the size of a UDP header (RFC 768).
	HeaderUDP = 8
	// HeaderEcho is the size of an echo request's ICMP header (RFC 792; RFC 4443, section 4.1).
	HeaderEcho = 8
	// TokenSize is the size of the random token that every probe carries and every reply repeats.
	TokenSize = 8
)

// The source ports of IKE (RFC 7296, section 2.23).
const (
	SourcePortIKE  = 500
	SourcePortNATT = 4500
)

// A Token is the secret by which an answer proves that its sender has seen the probe: the start of
// an echo's data, the initiator SPI of an IKE message. An off-path attacker does not know it.
type Token [TokenSize]byte

// A Flow numbers a source port of UDP probes and an identifier of echoes. Equal-cost paths and the
// mappings of a NAT are chosen by such fields: what one flow meets, another may not. Flow 0 keeps
// its port and identifier as long as the Stack is open. Another flow gets new ones each time that
// it is used after a rest of some minutes.
type Flow uint8

// Flows is the number of flows.
const Flows = 32

// A Path names where packets go and how they leave this host.
type Path struct {
	// Dst is the address of the peer, without a zone.
	Dst netip.Addr
	// Src is the source address; the zero Addr lets routing choose.
	Src netip.Addr
	// Interface is the network interface or VRF device to leave by; empty lets routing choose.
	Interface string
	// Flow chooses the UDP source port and the ICMP identifier.
	Flow Flow
	// Mark is the firewall mark of the packets (socket(7), SO_MARK); 0 is none.
	Mark uint32
	// Traffic is what goes there: policy routing may send IKE by another way than echoes. A Packet
	// needs none in its Path, it says itself what it is.
	Traffic Traffic
}

// Traffic is a kind of packets that policy routing may know apart. The zero value is echoes.
type Traffic struct {
	Protocol Protocol
	// Port is the UDP destination port.
	Port uint16
}

// For returns the path as packets of this protocol, and UDP port, take it.
func (p Path) For(protocol Protocol, port uint16) Path {
	p.Traffic = Traffic{protocol, port}
	return p
}

// String names the destination, and the configured interface, source and mark.
func (p Path) String() string {
	s := p.Dst.String()
	if p.Src.IsValid() {
		s += " from " + p.Src.String()
	}
	if p.Interface != "" {
		s += " by " + p.Interface
	}
	if p.Mark != 0 {
		s += fmt.Sprintf(" with mark %#x", p.Mark)
	}
	return s
}

// IPv6 reports whether the path is an IPv6 one.
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
	// ESP and AH are IP protocols 50 and 51; the payload starts with their header.
	ESP
	AH
)

// String names the protocol as in labels.
func (p Protocol) String() string { return enum.Name(p, "icmp", "udp", "esp", "ah") }

// A Packet is one probe to send.
type Packet struct {
	Path     Path
	Protocol Protocol
	// Port is the UDP destination port.
	Port uint16
	// SourcePort is SourcePortIKE or SourcePortNATT for a datagram that has to leave from there; 0
	// means the port of the flow. It needs a raw socket.
	SourcePort uint16
	// TTL is the hop limit; 0 means 64.
	TTL uint8
	// DontFragment sets DF on IPv4 and forbids fragmentation by this host on both families.
	DontFragment bool
	// FragmentSize, if set, sends the packet as IP fragments of at most that many bytes, headers
	// included, regardless of the link's MTU. It needs a raw socket and excludes DontFragment.
	FragmentSize int
	// LastFirst sends the fragments in reverse order.
	LastFirst bool
	// Size is the size of the whole IP packet of an Echo, at least HeaderIP + HeaderEcho +
	// TokenSize. For others the payload decides.
	Size int
	// Token is what the answer repeats. A zero Token of an Echo is replaced by a random one. For
	// other protocols the payload must contain it at offset TokenOffset, where the reply or an
	// error's quote repeats it.
	Token Token
	// TokenOffset is the offset of the Token in a payload and in its reply: 0 for IKE on port 500,
	// 4 behind the non-ESP marker (RFC 3948, section 2.2); 0 for ESP, 4 for AH (SPI and sequence
	// number).
	TokenOffset int
	// Payload is what follows the UDP header, or the whole ESP or AH packet. It is not changed, and
	// not used after Send returns.
	Payload []byte
	// Linger extends the time for which the probe is remembered after its deadline, for answers
	// that take longer: a reassembly timeout is reported after 30 to 60 s (RFC 1122, section 3.3.2;
	// RFC 8200, section 4.5).
	Linger time.Duration
	// Account, if set, counts the packets and bytes sent.
	Account *Account
	// Memory, if set, belongs to the sender's packets of this kind by this path.
	Memory *Memory
	// Purpose describes the probe in a few words for readers of the evidence.
	Purpose string
	// Deferred lets an echo request wait for the next call of Stack.Flush, some milliseconds at
	// most, so that many leave by one system call. Other packets leave at once. Nobody waits for
	// the answer: it may be read some 20 ms after the kernel has received it.
	Deferred bool
	// Hint, if set, is called with a "packet too big" that may be about this probe but does not
	// quote it exactly, at most maxHints times. It may be forged: it decides nothing.
	Hint func(Hint)
	// Recorder, if set, keeps an echo request in one piece as evidence.
	Recorder Recorder
	// OnWire, if set, is called with every IP packet that the kernel accepted for this probe, as on
	// the wire, and Answer.Wire is set. The bytes are valid only during the call.
	OnWire func(at time.Time, packet []byte)
}

// WireSize is the size of the whole IP packet in bytes, before it is cut into fragments.
func (p *Packet) WireSize() int {
	if p.Protocol == Echo {
		return p.Size
	}
	size := p.Path.HeaderIP() + len(p.Payload)
	if p.Protocol == UDP {
		size += HeaderUDP
	}
	return size
}

// path is the path with what the packet is.
func (p *Packet) path() Path { return p.Path.For(p.Protocol, p.Port) }

// observed reports whether the answer is wanted as it was on the wire.
func (p *Packet) observed() bool { return p.OnWire != nil || p.Recorder != nil }

// leastFragment is the unit of fragment offsets (RFC 791, section 3.1; RFC 8200, section 4.5).
const leastFragment = 8

// wireBytes is the size of all IP packets that the probe is sent as.
func (p *Packet) wireBytes() int {
	if n := p.fragments(); n > 1 {
		return p.WireSize() - p.Path.HeaderIP() + n*p.overhead()
	}
	return p.WireSize()
}

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

// fragments returns how many IP packets the probe needs.
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

// needsSource reports whether the source address must be known before the packet is built.
func (p *Packet) needsSource() bool {
	if p.Protocol == UDP && (p.SourcePort != 0 || p.DontFragment || p.TTL != 0 || p.FragmentSize != 0) {
		return true
	}
	return p.Path.IPv6() && (p.FragmentSize != 0 || p.Protocol == ESP || p.Protocol == AH)
}

// An Account counts the packets, and the bytes of whole IP packets, that were sent for one owner.
type Account struct{ Packets, Bytes atomic.Uint64 }
