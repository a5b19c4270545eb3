package crowd

import (
	"net/netip"

	"ipsec_path_exporter/internal/wire/ip"
)

// fragmentUnit is what the data of a fragment is a multiple of, except for the last (RFC 791, section
// 3.1; RFC 8200, section 4.5).
const fragmentUnit = 8

// fragmentHeader6 is the size of an IPv6 fragment header (RFC 8200, section 4.5).
const fragmentHeader6 = 8

// cut calls emit with the fragments of a packet for a link of this MTU. The packet may be a fragment
// itself. The slice is valid during the call only.
func cut(b []byte, mtu int, id uint32, emit func([]byte)) {
	p, ok := parse(b)
	if !ok {
		return
	}
	headers := ip.HeaderLengthIPv4
	if p.v6 {
		headers = ip.HeaderLengthIPv6 + fragmentHeader6
	}
	if p.fragment {
		id = p.id
	}
	room := (mtu - headers) / fragmentUnit * fragmentUnit
	out := make([]byte, 0, mtu)
	for at := 0; at < len(p.payload); at += room {
		end := min(at+room, len(p.payload))
		more := p.more || end < len(p.payload)
		out = p.appendFragmentHeader(out[:0], end-at, p.offset+at, more, id)
		emit(append(out, p.payload[at:end]...))
	}
}

func (p *packet) appendFragmentHeader(dst []byte, payload, offset int, more bool, id uint32) []byte {
	if p.v6 {
		h := ip.IPv6{
			PayloadLength: fragmentHeader6 + payload, HopLimit: p.ttl, Protocol: p.protocol, Fragment: true, MoreFragments: more,
			FragmentOffset: offset, FragmentID: id, Src: p.src, Dst: p.dst,
		}
		return h.Append(dst)
	}
	h := ip.IPv4{
		TotalLength: ip.HeaderLengthIPv4 + payload, ID: uint16(id), MoreFragments: more, FragmentOffset: offset, TTL: p.ttl,
		Protocol: p.protocol, Src: p.src, Dst: p.dst,
	}
	return h.Append(dst)
}

// A datagram is what the fragments of a packet have in common (RFC 791, section 3.2).
type datagram struct {
	src, dst netip.Addr
	id       uint32
	protocol uint8
}

// A partial is a packet of which fragments are missing.
type partial struct {
	data        []byte
	have, total int // total is 0 until the last fragment has come
}

// mostPartials limits the packets that wait for fragments: beyond it all of them are forgotten, as
// a gateway under load forgets them.
const mostPartials = 1024

// An assembler puts fragments together. Fragments that overlap are not expected.
type assembler map[datagram]*partial

// add takes a fragment and returns the whole packet when it was the last one missing. The packet is
// valid until the next call.
func (a assembler) add(p *packet) (packet, bool) {
	key := datagram{p.src, p.dst, p.id, p.protocol}
	part := a[key]
	if part == nil {
		if len(a) >= mostPartials {
			clear(a)
		}
		part = &partial{}
		a[key] = part
	}
	if end := p.offset + len(p.payload); end > len(part.data) {
		part.data = append(part.data, make([]byte, end-len(part.data))...)
	}
	copy(part.data[p.offset:], p.payload)
	part.have += len(p.payload)
	if !p.more {
		part.total = p.offset + len(p.payload)
	}
	if part.total == 0 || part.have < part.total {
		return packet{}, false
	}
	delete(a, key)
	h := header{src: p.src, dst: p.dst, protocol: p.protocol, ttl: p.ttl}
	whole := h.append(make([]byte, 0, ip.HeaderLengthIPv6+part.total), part.total)
	return parse(append(whole, part.data[:part.total]...))
}
