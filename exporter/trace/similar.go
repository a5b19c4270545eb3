package trace

import (
	"encoding/binary"
	"net/netip"

	"ipsec_path_exporter/internal/wire/ip"
)

// The packets of different peers are made similar before they are stored: what follows from other
// fields of the exchange becomes zero.
//
//	header checksum of IPv4      ^ the right one
//	address of the peer          ^ the destination of the probe
//	what a reply repeats         ^ the same bytes of the request
//	what an ICMP error quotes    ^ the request
//
// Doing the same in reverse order restores the packet.

// Offsets and sizes in bytes. Packets with IP options stay as they are.
const (
	header4, header6     = 20, 40
	checksum4            = 10
	source4, source6     = 12, 8
	protocol4, protocol6 = 9, 6
	// echoRepeats and udpRepeats are where replies begin to repeat requests: the identifier, sequence
	// number and token of an echo; the non-ESP marker and the initiator SPI of IKE.
	echoRepeats, udpRepeats, repeated = 4, 8, 12
	errorQuote                        = 8 // RFC 792; RFC 4443, section 2.1
)

// flatten makes a packet to or from a peer similar to the packets of other peers.
func flatten(b []byte, peer netip.Addr, inbound bool) {
	toggleChecksum(b)
	toggleAddress(b, peer, inbound)
}

// restore is the inverse of flatten.
func restore(b []byte, peer netip.Addr, inbound bool) {
	toggleAddress(b, peer, inbound)
	toggleChecksum(b)
}

// headerSize returns the size of the IP header, 0 if the bytes do not begin with a whole one without
// options.
func headerSize(b []byte) int {
	switch {
	case len(b) >= header4 && b[0] == 4<<4|header4/4:
		return header4
	case len(b) >= header6 && b[0]>>4 == 6:
		return header6
	}
	return 0
}

func toggleChecksum(b []byte) {
	if headerSize(b) != header4 {
		return
	}
	field := b[checksum4 : checksum4+2]
	have := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, 0)
	binary.BigEndian.PutUint16(field, have^ip.Checksum(b[:header4]))
}

func toggleAddress(b []byte, peer netip.Addr, inbound bool) {
	switch header := headerSize(b); {
	case header == header4 && peer.Is4():
		address := peer.As4()
		toggle(b[source4:header4], address[:], inbound)
	case header == header6 && peer.Is6():
		address := peer.As16()
		toggle(b[source6:header6], address[:], inbound)
	}
}

// toggle changes the source of inbound packets and the destination of others.
func toggle(addresses, peer []byte, inbound bool) {
	if !inbound {
		addresses = addresses[len(peer):]
	}
	xor(addresses, peer)
}

// toggleRepeats changes what an answer has from the request, which is as it was on the wire.
func toggleRepeats(answer, request []byte) {
	size, before := headerSize(answer), headerSize(request)
	if size == 0 || before == 0 {
		return
	}
	protocol := answer[protocol4]
	if size == header6 {
		protocol = answer[protocol6]
	}
	switch data := answer[size:]; {
	case protocol == ip.ProtocolUDP:
		xor(head(tail(data, udpRepeats), repeated), tail(request, before+udpRepeats))
	case protocol != ip.ProtocolICMP && protocol != ip.ProtocolICMPv6 || len(data) == 0:
	case data[0] == echoReply4 || data[0] == echoReply6:
		xor(head(tail(data, echoRepeats), repeated), tail(request, before+echoRepeats))
	default:
		xor(tail(data, errorQuote), request)
	}
}

// xor changes as much of dst as there is of both.
func xor(dst, src []byte) {
	for i := range min(len(dst), len(src)) {
		dst[i] ^= src[i]
	}
}

// head and tail return the bytes before and behind an offset, as far as there are any.
func head(b []byte, n int) []byte { return b[:min(n, len(b))] }

func tail(b []byte, from int) []byte { return b[min(from, len(b)):] }
