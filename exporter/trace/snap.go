package trace

import "ipsec_path_exporter/internal/wire/ip"

const (
	// snapLength covers the longest headers: an ICMPv6 error that quotes an IKE message behind a
	// non-ESP marker. Two IPv6 headers, a fragment header, ICMP, UDP, marker and IKE header (RFC
	// 8200, 4443, 768, 3948, 7296) take 136 bytes.
	snapLength = 40 + 8 + 40 + 8 + 8 + 4 + 28
	// echoLength is the ICMP header of an echo and the token behind it.
	echoLength = 8 + 8
)

// The ICMP types of echoes (RFC 792; RFC 4443, sections 4.1 and 4.2).
const (
	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
)

// snap returns the part of an IP packet that is kept.
func snap(packet []byte) []byte {
	n := snapLength
	if end := echoEnd(packet); end > 0 {
		n = min(n, end) // a reply may have any number of extension headers
	}
	return packet[:min(n, len(packet))]
}

// echoEnd returns the offset behind the token of an echo, or 0 if the packet is not an echo.
func echoEnd(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	var rest []byte
	var echo bool
	switch packet[0] >> 4 {
	case 4:
		h, payload, err := ip.ParseIPv4(packet)
		if err != nil || h.Protocol != ip.ProtocolICMP || h.FragmentOffset != 0 || len(payload) == 0 {
			return 0
		}
		rest, echo = payload, payload[0] == echoReply4 || payload[0] == echoRequest4
	case 6:
		h, payload, err := ip.ParseIPv6(packet)
		if err != nil || h.Protocol != ip.ProtocolICMPv6 || h.FragmentOffset != 0 || len(payload) == 0 {
			return 0
		}
		rest, echo = payload, payload[0] == echoReply6 || payload[0] == echoRequest6
	}
	if !echo {
		return 0
	}
	return len(packet) - len(rest) + echoLength
}
