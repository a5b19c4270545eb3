package capture

import (
	"bytes"
	"encoding/binary"
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
	kindWESP                  // wrapped ESP, IP protocol 141 or in UDP (RFC 5840)
	kindTCP                   // IKE or ESP over TCP (RFC 9329)
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
		kindWESP: "WESP", kindTCP: "IKE or ESP over TCP",
		kindKeepalive: "NAT keepalive", kindOther: "other on UDP 500 or 4500", kindFragment: "fragment", kindICMP: "ICMP error", kindNone: "other",
	}
	return names[k]
}

// A class separates kinds of datagrams that are few in a capture from kinds that are many.
type class uint8

const (
	signalling class = iota
	traffic
	classes
)

// maxRecords bounds the datagrams of one class that are kept for a comparison.
func (c class) maxRecords() int {
	if c == traffic {
		return 200_000
	}
	return 100_000
}

func (k kind) class() class {
	if k.protects() || k == kindKeepalive || k == kindTCP {
		return traffic
	}
	return signalling
}

func (k kind) isIKE() bool { return k == kindIKE || k == kindNATT }

// protects reports whether packets of the kind carry the traffic of an SA.
func (k kind) protects() bool {
	return k == kindESP || k == kindESPinUDP || k == kindAH || k == kindWESP
}

// Ports of IKE (RFC 7296, section 2; RFC 3947, section 4).
const (
	portIKE  = 500
	portNATT = 4500
)

// contentLength is how much of an IKE message distinguishes it from all others: the header, the
// header of a payload and the start of a public value or initialization vector.
const contentLength = ike.HeaderLength + 16

// headLength is how much of the beginning of a fragmented datagram is kept: any first IKE message.
const headLength = 2048

// A datagram is a packet as it was sent, reassembled as far as its fragments were captured.
type datagram struct {
	packet       // the first that was captured of it
	kind         kind
	sport, dport uint16 // of UDP
	// content identifies a datagram at both ends in spite of NAT: a hash of the start of an IKE
	// message, or of SPI and sequence number. It is 0 where there is no such part.
	content  uint64
	spi, seq uint32     // of ESP and AH
	inner    *ipsec.ESP // inside AH
	body     int        // where the IKE message starts in the payload
	header   ike.Header // if isIKE
	isIKE    bool
	message  *message // in a negotiation
	part     int      // of the message
	// have is the captured part of the payload; total is its size, 0 if its end is missing.
	have     spans
	total    int
	expected int // size of the payload that its UDP header names
	// first and later count its fragments, largest is the size of its largest packet.
	first, later, largest int
	missing               bool // a part of it never came
}

// whole reports that no part of it is missing.
func (d *datagram) whole() bool { return d.total > 0 && d.have.covers(d.total) }

// classify returns the kind of a datagram that starts with head. ports are known even where the
// datagram is cut off right after them.
func (d *datagram) classify(head []byte) {
	d.kind = kindNone
	switch d.protocol {
	case ip.ProtocolESP:
		d.kind = kindESP
		d.esp(head)
	case ip.ProtocolAH:
		d.kind = kindAH
		d.ah(head)
	case protocolWESP:
		d.wesp(head)
	case ip.ProtocolTCP:
		d.tcp(head)
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

func (d *datagram) ah(head []byte) {
	h, rest, err := ipsec.ParseAH(head)
	if err != nil {
		return
	}
	d.spi, d.seq = h.SPI, h.Seq
	d.content = digest(d.protocol, head[4:ipsec.HeaderLengthAH])
	if e, _, err := ipsec.ParseESP(rest); err == nil && h.NextHeader == ip.ProtocolESP {
		d.inner = &e
	}
}

// wesp reads the header of RFC 5840, section 2, with the ESP header behind it.
func (d *datagram) wesp(b []byte) {
	const padded = 0x10
	d.kind = kindWESP
	if len(b) >= 4 {
		d.esp(after(b, 4+int(b[3]&padded)/4))
	}
}

// spiWESP marks WESP in UDP (RFC 5840, section 2.1).
const spiWESP = 2

// tcp reads a segment that starts with a message: a length, and a marker in front of IKE (RFC 9329,
// section 3). Another port than 4500 needs the prefix of a stream, or an IKE header of that length.
func (d *datagram) tcp(b []byte) {
	const minimum, prefix = 20, "IKETCP"
	if len(b) < minimum {
		return
	}
	src, dst, at := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), int(b[12]>>4)*4
	data := after(b, at)
	known := src == portNATT || dst == portNATT
	if bytes.HasPrefix(data, []byte(prefix)) {
		data, at, known = data[len(prefix):], at+len(prefix), true
	}
	const front = 2 + ipsec.MarkerLength
	if len(data) >= front+ike.HeaderLength && binary.BigEndian.Uint32(data[2:]) == 0 {
		h, err := ike.ParseHeader(data[front:])
		if err == nil && h.Major == 2 && int(h.Length)+front == int(binary.BigEndian.Uint16(data)) {
			known = d.ike(data[front:])
			d.body = at + front
		}
	}
	if known {
		d.kind, d.sport, d.dport = kindTCP, src, dst
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
			d.kind, d.body = kindIKE, ip.HeaderLengthUDP // or nothing else would have been cut off
		}
	}
}

// natt returns the kind of a datagram on UDP 4500 with a payload of size, captured or not.
func (d *datagram) natt(payload []byte, size int) {
	d.kind = kindOther
	if len(payload) < min(size, ipsec.HeaderLengthESP) {
		return // too little was captured to know
	}
	switch what, b := ipsec.Decapsulate(payload); what {
	case ipsec.EncapsulatedKeepalive:
		d.kind = kindKeepalive
	case ipsec.EncapsulatedIKE:
		d.ike(b)
		d.kind, d.body = kindNATT, ip.HeaderLengthUDP+ipsec.MarkerLength
	case ipsec.EncapsulatedESP:
		d.kind = kindESPinUDP
		d.esp(b)
		if d.spi == spiWESP {
			d.wesp(b[4:])
		}
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
	// The header alone is not enough: IKEv1 main mode has the same one in both directions.
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

// maxSpans bounds the separate parts. Real datagrams do not arrive with that many gaps.
const maxSpans = 64

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

// covers reports whether everything up to total is there.
func (s spans) covers(total int) bool { return s.contains(0, total) }

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
