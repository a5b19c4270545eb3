// Package icmp reads ICMPv4 and ICMPv6 echo and error messages, with the packet that an error
// quotes, and writes echo requests. It knows no sockets and keeps no state.
//
// All input may be forged: a caller that uses a quote must compare it with what was sent.
package icmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"ipsec_path_exporter/internal/wire/ip"
)

// HeaderLength is the size of the header of echo and error messages, in bytes (RFC 792; RFC 4443,
// section 2.1).
const HeaderLength = 8

// Types of ICMPv4 (RFC 792).
const (
	V4EchoReply              = 0
	V4DestinationUnreachable = 3
	V4SourceQuench           = 4
	V4Redirect               = 5
	V4Echo                   = 8
	V4TimeExceeded           = 11
	V4ParameterProblem       = 12
)

// Codes of an ICMPv4 destination unreachable (RFC 792; RFC 1122, section 3.2.2.1; RFC 1812, section
// 5.2.7.1).
const (
	V4NetworkUnreachable        = 0
	V4HostUnreachable           = 1
	V4ProtocolUnreachable       = 2
	V4PortUnreachable           = 3
	V4FragmentationNeeded       = 4
	V4SourceRouteFailed         = 5
	V4NetworkUnknown            = 6
	V4HostUnknown               = 7
	V4SourceIsolated            = 8
	V4NetworkProhibited         = 9
	V4HostProhibited            = 10
	V4NetworkUnreachableForTOS  = 11
	V4HostUnreachableForTOS     = 12
	V4CommunicationProhibited   = 13
	V4HostPrecedenceViolation   = 14
	V4PrecedenceCutoffInEffect  = 15
	V4TimeToLiveExceeded        = 0 // of a time exceeded message
	V4ReassemblyTimeoutExceeded = 1 // of a time exceeded message
)

// Types of ICMPv6 (RFC 4443).
const (
	V6DestinationUnreachable = 1
	V6PacketTooBig           = 2
	V6TimeExceeded           = 3
	V6ParameterProblem       = 4
	V6EchoRequest            = 128
	V6EchoReply              = 129
)

// Codes of ICMPv6 errors (RFC 4443, sections 3.1, 3.3 and 3.4; RFC 6550, section 20.18).
const (
	V6NoRoute                    = 0
	V6AdministrativelyProhibited = 1
	V6BeyondScopeOfSource        = 2
	V6AddressUnreachable         = 3
	V6PortUnreachable            = 4
	V6SourceAddressFailedPolicy  = 5
	V6RejectRoute                = 6
	V6SourceRoutingHeaderError   = 7
	V6HopLimitExceeded           = 0 // of a time exceeded message
	V6ReassemblyTimeoutExceeded  = 1 // of a time exceeded message
	V6UnrecognizedNextHeader     = 1 // of a parameter problem
)

const (
	// maxMTU is the largest MTU that is accepted, so that it is an int on every platform.
	maxMTU = 1<<31 - 1
	// The length field that RFC 4884 adds (section 4) counts in words of 4 bytes in ICMPv4 and of 8
	// in ICMPv6.
	lengthUnit4, lengthUnit6 = 4, 8
	// minOriginal is the least that it can say, in bytes (RFC 4884, section 4): shorter originals
	// are padded.
	minOriginal = 128
)

// ErrTruncated means that the message ends inside its header.
var ErrTruncated = errors.New("ICMP message ends inside its header")

// A Message is an ICMP message. Its type decides which fields are set; slices alias the input.
type Message struct {
	Type, Code uint8
	Checksum   uint16 // as it was read
	// ID, Seq and Data are fields of an echo request or reply.
	ID, Seq uint16
	Data    []byte
	// MTU is what a "packet too big" names, 0 if it names none (as routers older than RFC 1191 do).
	MTU int
	// Quote is the packet that an error is about.
	Quote Quote
}

// A Quote is the beginning of a packet inside an ICMP error about it.
type Quote struct {
	Src, Dst netip.Addr
	// Protocol is its upper layer (behind IPv6 extension headers).
	Protocol uint8
	// IPID is the identification of an IPv4 packet.
	IPID uint16
	// TotalLength is the size of the whole IP packet as sent, in bytes, header included.
	TotalLength int
	// TTL is the remaining TTL or hop limit when the packet reached the sender of the error.
	TTL uint8
	// Fragmented reports that the packet was only a fragment.
	Fragmented bool
	// Transport is the quoted part of the upper layer, starting at its header; nil for a later
	// fragment, which does not hold that header.
	Transport []byte
}

// ParseIPv4 reads an ICMPv4 message. The checksum is not verified (see ValidIPv4). If the quote of
// an error cannot be read, the rest of the message is returned along with the error.
func ParseIPv4(b []byte) (Message, error) {
	m, err := parseHeader(b)
	if err != nil {
		return m, err
	}
	switch m.Type {
	case V4Echo, V4EchoReply:
		m.echo(b)
	case V4DestinationUnreachable, V4TimeExceeded, V4ParameterProblem:
		if m.Type == V4DestinationUnreachable && m.Code == V4FragmentationNeeded {
			m.MTU = int(binary.BigEndian.Uint16(b[6:])) // RFC 1191, section 4
		}
		err = m.Quote.parseIPv4(original(b[HeaderLength:], int(b[5])*lengthUnit4))
	case V4SourceQuench, V4Redirect:
		err = m.Quote.parseIPv4(b[HeaderLength:])
	}
	return m, err
}

// ParseIPv6 reads an ICMPv6 message as ParseIPv4 does. The kernel verifies the checksum before it
// hands over a message (RFC 3542, section 3.1).
func ParseIPv6(b []byte) (Message, error) {
	m, err := parseHeader(b)
	if err != nil {
		return m, err
	}
	switch m.Type {
	case V6EchoRequest, V6EchoReply:
		m.echo(b)
	case V6DestinationUnreachable, V6TimeExceeded:
		err = m.Quote.parseIPv6(original(b[HeaderLength:], int(b[4])*lengthUnit6))
	case V6PacketTooBig:
		m.MTU = int(min(binary.BigEndian.Uint32(b[4:]), maxMTU)) // RFC 4443, section 3.2
		err = m.Quote.parseIPv6(b[HeaderLength:])
	case V6ParameterProblem:
		err = m.Quote.parseIPv6(b[HeaderLength:])
	}
	return m, err
}

func parseHeader(b []byte) (Message, error) {
	if len(b) < HeaderLength {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrTruncated, len(b))
	}
	return Message{Type: b[0], Code: b[1], Checksum: binary.BigEndian.Uint16(b[2:])}, nil
}

func (m *Message) echo(b []byte) {
	m.ID = binary.BigEndian.Uint16(b[4:])
	m.Seq = binary.BigEndian.Uint16(b[6:])
	m.Data = b[HeaderLength:]
}

// original cuts off the extensions (such as MPLS labels) that follow the original datagram where
// the length field says so (RFC 4884, section 4). Length 0 is a message without them; any other
// impossible length is a left-over in a field that was unused before.
func original(b []byte, length int) []byte {
	if length < minOriginal || length > len(b) {
		return b
	}
	return b[:length]
}

func (q *Quote) parseIPv4(b []byte) error {
	h, rest, err := ip.ParseIPv4(b)
	if err != nil {
		return fmt.Errorf("quoted packet: %w", err)
	}
	*q = Quote{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, IPID: h.ID, TotalLength: h.TotalLength, TTL: h.TTL}
	q.part(h.MoreFragments, h.FragmentOffset, rest)
	return nil
}

func (q *Quote) parseIPv6(b []byte) error {
	h, rest, err := ip.ParseIPv6(b)
	if err != nil {
		return fmt.Errorf("quoted packet: %w", err)
	}
	*q = Quote{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, TotalLength: ip.HeaderLengthIPv6 + h.PayloadLength, TTL: h.HopLimit}
	q.part(h.MoreFragments, h.FragmentOffset, rest)
	return nil
}

// part takes what follows the IP headers of the quoted packet.
func (q *Quote) part(more bool, offset int, rest []byte) {
	q.Fragmented = more || offset > 0
	if offset == 0 {
		q.Transport = rest
	}
}

// ValidIPv4 reports whether the checksum of a whole ICMPv4 message is right (RFC 792).
func ValidIPv4(b []byte) bool { return len(b) >= HeaderLength && ip.Checksum(b) == 0 }

// AppendEcho4 appends an ICMPv4 echo request with its checksum (RFC 792).
func AppendEcho4(dst []byte, id, seq uint16, data []byte) []byte {
	start := len(dst)
	dst = appendEcho(dst, V4Echo, id, seq, data)
	binary.BigEndian.PutUint16(dst[start+2:], ip.Checksum(dst[start:]))
	return dst
}

// AppendEcho6 appends an ICMPv6 echo request with its checksum, which covers the addresses (RFC
// 4443, sections 2.3 and 4.1).
func AppendEcho6(dst []byte, from, to netip.Addr, id, seq uint16, data []byte) []byte {
	start := len(dst)
	dst = appendEcho(dst, V6EchoRequest, id, seq, data)
	binary.BigEndian.PutUint16(dst[start+2:], ip.PseudoChecksum(from, to, ip.ProtocolICMPv6, dst[start:]))
	return dst
}

func appendEcho(dst []byte, typ uint8, id, seq uint16, data []byte) []byte {
	dst = append(dst, typ, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, seq)
	return append(dst, data...)
}
