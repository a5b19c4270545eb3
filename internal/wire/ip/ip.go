// Package ip reads and writes IPv4, IPv6 and UDP headers and their checksums. It keeps no state.
//
// All parsers accept packets that were cut short, because an ICMP error quotes only the beginning
// of a packet (RFC 792: IP header and 8 bytes). Slices that they return point into their argument.
package ip

import "errors"

// Sizes of headers, in bytes.
const (
	// HeaderLengthIPv4 is the size of an IPv4 header without options (RFC 791, section 3.1).
	HeaderLengthIPv4 = 20
	// HeaderLengthIPv6 is the size of the fixed IPv6 header (RFC 8200, section 3).
	HeaderLengthIPv6 = 40
	// HeaderLengthUDP is the size of a UDP header (RFC 768).
	HeaderLengthUDP = 8
)

// Protocol numbers as assigned by IANA; the IPv6 extension headers share their space (RFC 8200,
// section 4.1).
const (
	ProtocolHopByHop           = 0
	ProtocolICMP               = 1
	ProtocolIPv4               = 4
	ProtocolTCP                = 6
	ProtocolUDP                = 17
	ProtocolIPv6               = 41
	ProtocolRouting            = 43
	ProtocolFragment           = 44
	ProtocolGRE                = 47
	ProtocolESP                = 50
	ProtocolAH                 = 51
	ProtocolICMPv6             = 58
	ProtocolNoNextHeader       = 59
	ProtocolDestinationOptions = 60
)

// What can be wrong with a packet.
var (
	// ErrTruncated means that the bytes end before the header does.
	ErrTruncated = errors.New("packet ends inside a header")
	// ErrMalformed means that a header contradicts itself.
	ErrMalformed = errors.New("malformed header")
	// ErrVersion means that the packet is of another IP version.
	ErrVersion = errors.New("wrong IP version")
)
