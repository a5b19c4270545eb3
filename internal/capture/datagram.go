package capture

import (
	"hash/fnv"
	"slices"

	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// A kind is what a datagram is to a VPN.
type kind uint8

// The kinds, in the order in which they are printed.
const (
	kindIKE       kind = iota // ISAKMP on UDP 500
	kindNATT                  // IKE behind the non-ESP marker on UDP 4500
	kindESP                   // IP protocol 50
	kindESPinUDP              // ESP on UDP 4500
	kindAH                    // IP protocol 51
	kindKeepalive             // NAT keepalive on UDP 4500
	kindOther                 // on UDP 500 or 4500, and none of these
	kindFragment              // of a datagram whose beginning is not there
	kindICMP                  // an ICMP error about any of these
	kinds
	kindNone = kinds // nothing to do with a VPN
)

// String names the kind for people.
func (k kind) String() string {
	names := [...]string{
		kindIKE: "IKE on UDP 500", kindNATT: "IKE on UDP 4500", kindESP: "ESP", kindESPinUDP: "ESP in UDP", kindAH: "AH",
		kindKeepalive: "NAT keepalive", kindOther: "other on UDP 500 or 4500", kindFragment: "fragment", kindICMP: "ICMP error", kindNone: "other",
	}
	return names[k]
}

// A class is one of the kinds of which a capture holds few, or of those of which it holds many.
type class uint8

const (
	signalling class = iota
	traffic
	classes
)

// maxRecords is how many datagrams are kept for a comparison. Traffic must not leave too little room for signalling.
func (c class) maxRecords() int {
	if c == traffic {
		return 200_000
	}
	return 100_000
}

// class tells traffic from signalling.
func (k kind) class() class {
	if k.isESP() || k == kindAH || k == kindKeepalive {
		return traffic
	}
	return signalling
}

// isIKE tells whether it is an IKE message, on whatever port.
func (k kind) isIKE() bool { return k == kindIKE || k == kindNATT }

// isESP tells whether it is an ESP packet, in UDP or not.
func (k kind) isESP() bool { return k == kindESP || k == kindESPinUDP }

// Ports of IKE (RFC 7296, section 2; RFC 3947, section 4).
const (
	portIKE  = 500
	portNATT = 4500
)

// contentLength is how much of an IKE message tells it from all others: the header, the header of a payload and the beginning of a public value
// or initialization vector.
const contentLength = ike.HeaderLength + 16

// headLength is how much of the beginning of a fragmented datagram is kept: enough for the payloads of any first IKE message.
const headLength = 2048

// A datagram is a packet as it was sent, put together from its fragments as far as they were captured.
type datagram struct {
	// packet is the first that was captured of it.
	packet
	kind kind
	// sport and dport are those of UDP.
	sport, dport uint16
	// content tells it from all others wherever it is seen, whatever a NAT does: a hash of the beginning of an IKE message, or of SPI and sequence number.
	// It is 0 where there is no such thing.
	content uint64
	// spi and seq are those of ESP and AH.
	spi, seq uint32
	// header is the IKE header.
	header ike.Header
	isIKE  bool
	// message is what it is to its negotiation.
	message *message
	// have is what was seen of the payload; total is its size, 0 where the end was not seen.
	have  spans
	total int
	// expected is the size of the payload that its UDP header names.
	expected int
	// first and later count its fragments, largest is the size of its largest packet.
	first, later, largest int
	// missing tells that a part of it never came.
	missing bool
}

// whole tells that no part of it is missing.
func (d *datagram) whole() bool { return d.total > 0 && d.have.covers(d.total) }

// classify tells what begins with head. ports are known even where a datagram was cut short right behind them.
func (d *datagram) classify(head []byte) {
	d.kind = kindNone
	switch d.protocol {
	case ip.ProtocolESP:
		d.kind = kindESP
		d.esp(head)
	case ip.ProtocolAH:
		d.kind = kindAH
		if h, _, err := ipsec.ParseAH(head); err == nil {
			d.spi, d.seq = h.SPI, h.Seq
			d.content = digest(d.protocol, head[4:ipsec.HeaderLengthAH])
		}
	case ip.ProtocolUDP:
		d.udp(head)
	}
}

func (d *datagram) esp(b []byte) {
	if h, _, err := ipsec.ParseESP(b); err == nil {
		d.spi, d.seq = h.SPI, h.Seq
		d.content = digest(ip.ProtocolESP, b[:ipsec.HeaderLengthESP])
	}
}

func (d *datagram) udp(head []byte) {
	h, payload, err := ip.ParseUDP(head)
	if err != nil {
		return
	}
	d.sport, d.dport, d.expected = h.Src, h.Dst, h.Length
	switch {
	case h.Dst == portNATT || h.Src == portNATT && h.Dst != portIKE:
		d.natt(payload, h.Length-ip.HeaderLengthUDP)
	case h.Dst == portIKE || h.Src == portIKE:
		d.kind = kindOther
		if d.ike(payload) || len(payload) < ike.HeaderLength && h.Length >= ip.HeaderLengthUDP+ike.HeaderLength {
			d.kind = kindIKE // or nothing else would have been cut off
		}
	}
}

// natt tells what a datagram on UDP 4500 holds. size is that of the payload, of which less may have been captured.
func (d *datagram) natt(payload []byte, size int) {
	d.kind = kindOther
	if len(payload) < min(size, ipsec.HeaderLengthESP) {
		return // too little was captured to tell
	}
	switch what, b := ipsec.Decapsulate(payload); what {
	case ipsec.EncapsulatedKeepalive:
		d.kind = kindKeepalive
	case ipsec.EncapsulatedIKE:
		d.ike(b)
		d.kind = kindNATT
	case ipsec.EncapsulatedESP:
		d.kind = kindESPinUDP
		d.esp(b)
	default:
	}
}

// ike reads an IKE header. It reports whether there is one of a version that exists.
func (d *datagram) ike(b []byte) bool {
	h, err := ike.ParseHeader(b)
	if err != nil || h.Major < 1 || h.Major > 3 {
		return false
	}
	d.header, d.isIKE = h, true
	// Messages of both directions can have the same header (IKEv1 main mode), so something behind it belongs to the content.
	if enough := min(contentLength, int(h.Length)); len(b) >= enough {
		d.content = digest(0, b[:enough])
	}
	return true
}

// digest hashes b, and never to 0.
func digest(tag uint8, b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte{tag}) // a hash does not fail
	_, _ = h.Write(b)
	return max(h.Sum64(), 1)
}

// A span is a part of a payload, from its first byte to the one behind its last.
type span struct{ from, to int }

// spans are parts in order, with something missing between any two.
type spans []span

// maxSpans is how many parts are told apart. No real datagram arrives in so many pieces with gaps between them.
const maxSpans = 64

// add adds a part.
func (s *spans) add(from, to int) {
	switch {
	case s.contains(from, to) || from >= to || len(*s) == maxSpans:
		return
	case len(*s) == 0:
		*s = spans{{from, to}}
		return
	}
	all := append(slices.Clone(*s), span{from, to})
	slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
	merged := all[:1]
	for _, next := range all[1:] {
		if last := &merged[len(merged)-1]; next.from <= last.to {
			last.to = max(last.to, next.to)
		} else {
			merged = append(merged, next)
		}
	}
	*s = merged
}

func (s spans) contains(from, to int) bool {
	return slices.ContainsFunc(s, func(p span) bool { return p.from <= from && to <= p.to })
}

// covers tells whether everything up to total is there.
func (s spans) covers(total int) bool { return s.contains(0, total) }

// bytes is how much is there.
func (s spans) bytes() (n int) {
	for _, p := range s {
		n += p.to - p.from
	}
	return n
}

// without is how many bytes of s are not in other.
func (s spans) without(other spans) int {
	n := s.bytes()
	for _, p := range s {
		for _, q := range other {
			n -= max(min(p.to, q.to)-max(p.from, q.from), 0)
		}
	}
	return n
}
