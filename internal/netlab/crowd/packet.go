package crowd

import (
	"encoding/binary"
	"net/netip"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// A packet is an IP packet of either family.
type packet struct {
	src, dst netip.Addr
	v6       bool
	ttl      uint8
	protocol uint8
	// dontFragment means that routers may not cut it: DF, and always with IPv6.
	dontFragment bool
	// fragment means that it is one of several; more follow, it begins at offset, and all have id.
	fragment, more bool
	offset         int
	id             uint32
	// whole is the packet, payload what follows its IP headers.
	whole, payload []byte
}

// parse reads an IP packet that is complete.
func parse(b []byte) (packet, bool) {
	if len(b) > 0 && b[0]>>4 == 6 {
		h, payload, err := ip.ParseIPv6(b)
		if err != nil || ip.HeaderLengthIPv6+h.PayloadLength > len(b) {
			return packet{}, false
		}
		return packet{
			src: h.Src, dst: h.Dst, v6: true, ttl: h.HopLimit, protocol: h.Protocol, dontFragment: true,
			fragment: h.Fragment, more: h.MoreFragments, offset: h.FragmentOffset, id: h.FragmentID,
			whole: b[:ip.HeaderLengthIPv6+h.PayloadLength], payload: payload,
		}, true
	}
	h, payload, err := ip.ParseIPv4(b)
	if err != nil || h.TotalLength > len(b) {
		return packet{}, false
	}
	return packet{
		src: h.Src, dst: h.Dst, ttl: h.TTL, protocol: h.Protocol, dontFragment: h.DontFragment,
		fragment: h.MoreFragments || h.FragmentOffset > 0, more: h.MoreFragments, offset: h.FragmentOffset, id: uint32(h.ID),
		whole: b[:h.TotalLength], payload: payload,
	}, true
}

// A header is what the IP header of a packet of the simulation says.
type header struct {
	src, dst netip.Addr
	protocol uint8
	ttl      uint8
}

// initialTTL is the TTL with which routers and peers send.
const initialTTL = 64

// append appends the IP header of a packet with this number of bytes behind it.
func (h *header) append(dst []byte, payload int) []byte {
	if h.src.Is6() {
		out := ip.IPv6{PayloadLength: payload, HopLimit: h.ttl, NextHeader: h.protocol, Src: h.src, Dst: h.dst}
		return out.Append(dst)
	}
	out := ip.IPv4{TotalLength: ip.HeaderLengthIPv4 + payload, TTL: h.ttl, Protocol: h.protocol, Src: h.src, Dst: h.dst}
	return out.Append(dst)
}

// An icmpError is the kind of an ICMP error. The numbers differ by family.
type icmpError struct{ type4, code4, type6, code6 uint8 }

var (
	timeExceeded    = icmpError{icmp.V4TimeExceeded, icmp.V4TimeToLiveExceeded, icmp.V6TimeExceeded, icmp.V6HopLimitExceeded}
	tooBig          = icmpError{icmp.V4DestinationUnreachable, icmp.V4FragmentationNeeded, icmp.V6PacketTooBig, 0}
	hostUnreachable = icmpError{icmp.V4DestinationUnreachable, icmp.V4HostUnreachable, icmp.V6DestinationUnreachable, icmp.V6AddressUnreachable}
	portUnreachable = icmpError{icmp.V4DestinationUnreachable, icmp.V4PortUnreachable, icmp.V6DestinationUnreachable, icmp.V6PortUnreachable}
	prohibited      = icmpError{
		icmp.V4DestinationUnreachable, icmp.V4CommunicationProhibited, icmp.V6DestinationUnreachable, icmp.V6AdministrativelyProhibited,
	}
)

// Sizes of ICMP errors with the quoted packet, as of a Linux router: RFC 1812, section 4.3.2.3; RFC
// 4443, section 2.4.
const largestError4, largestError6 = 576, 1280

// appendError appends an ICMP error about p, with the MTU of a "packet too big".
func appendError(dst []byte, p *packet, from netip.Addr, e icmpError, mtu int) []byte {
	h := header{src: from, dst: p.src, protocol: ip.ProtocolICMP, ttl: initialTTL}
	kind, code, most := e.type4, e.code4, largestError4-ip.HeaderLengthIPv4-icmp.HeaderLength
	if p.v6 {
		h.protocol = ip.ProtocolICMPv6
		kind, code, most = e.type6, e.code6, largestError6-ip.HeaderLengthIPv6-icmp.HeaderLength
	}
	quote := p.whole[:min(len(p.whole), most)]
	dst = h.append(dst, icmp.HeaderLength+len(quote))
	start := len(dst)
	dst = append(dst, kind, code, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(mtu)) // RFC 1191, section 4; RFC 4443, section 3.2
	dst = append(dst, quote...)
	message := dst[start:]
	if p.v6 {
		binary.BigEndian.PutUint16(message[2:], ip.PseudoChecksum(h.src, h.dst, ip.ProtocolICMPv6, message))
	} else {
		binary.BigEndian.PutUint16(message[2:], ip.Checksum(message))
	}
	return dst
}

// echoRequest reports whether p is an ICMP echo request.
func (p *packet) echoRequest() bool {
	if len(p.payload) < icmp.HeaderLength {
		return false
	}
	if p.v6 {
		return p.protocol == ip.ProtocolICMPv6 && p.payload[0] == icmp.V6EchoRequest
	}
	return p.protocol == ip.ProtocolICMP && p.payload[0] == icmp.V4Echo
}

// appendReply appends the reply to an echo request.
func appendReply(dst []byte, p *packet) []byte {
	h := header{src: p.dst, dst: p.src, protocol: p.protocol, ttl: initialTTL}
	dst = h.append(dst, len(p.payload))
	start := len(dst)
	dst = append(dst, p.payload...)
	reply := dst[start:]
	// The sum of the reply differs by its type alone (RFC 1624, equation 3).
	change := uint32(icmp.V4Echo-icmp.V4EchoReply) << 8
	reply[0] = icmp.V4EchoReply
	if p.v6 {
		change = 0xffff - uint32(icmp.V6EchoReply-icmp.V6EchoRequest)<<8
		reply[0] = icmp.V6EchoReply
	}
	sum := uint32(binary.BigEndian.Uint16(reply[2:])) + change
	binary.BigEndian.PutUint16(reply[2:], uint16(sum>>16+sum&0xffff))
	return dst
}
