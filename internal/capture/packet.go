package capture

import (
	"errors"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/wire/ip"
)

// errTotalLength is the effect of segmentation offload to the network card: a packet with length 0.
var errTotalLength = errors.New("no total length")

// A packet is an IP packet of a capture.
type packet struct {
	number   int
	at       time.Time
	src, dst netip.Addr
	protocol uint8
	ttl      uint8
	id       uint32 // identification: of IPv6 only in fragments
	// fragment reports that it is a fragment; offset and more say which.
	fragment, more bool
	offset         int
	fixed          bool // routers may not fragment it
	// length is the size in the IP header, size that of the payload behind the headers.
	length, size int
	payload      []byte // captured part
}

// cut reports that less was captured than there was.
func (p *packet) cut() bool { return len(p.payload) < p.size }

func parse(b []byte) (packet, error) {
	if b[0]>>4 == 6 {
		h, rest, err := ip.ParseIPv6(b)
		p := packet{
			src: h.Src, dst: h.Dst, protocol: h.Protocol, ttl: h.HopLimit, id: h.FragmentID,
			fragment: h.MoreFragments || h.FragmentOffset > 0, more: h.MoreFragments, offset: h.FragmentOffset,
			fixed:  !h.Fragment,
			length: ip.HeaderLengthIPv6 + h.PayloadLength, size: ip.HeaderLengthIPv6 + h.PayloadLength - h.HeaderLength,
			payload: rest,
		}
		if err == nil {
			p.dst = destination(b, &h)
			p.mobility()
		}
		return p, err
	}
	h, rest, err := ip.ParseIPv4(b)
	if errors.Is(err, ip.ErrMalformed) && h.TotalLength == 0 {
		err = errTotalLength
	}
	return packet{
		src: h.Src, dst: h.Dst, protocol: h.Protocol, ttl: h.TTL, id: uint32(h.ID),
		fragment: h.MoreFragments || h.FragmentOffset > 0, more: h.MoreFragments, offset: h.FragmentOffset,
		fixed:  h.DontFragment,
		length: h.TotalLength, size: h.TotalLength - h.HeaderLength,
		payload: rest,
	}, err
}

// Extension headers that package ip takes for upper layers (RFC 6275, section 6.1; RFC 7401,
// section 5.1; RFC 5533, section 5.1).
const (
	protocolMobility = 135
	protocolHIP      = 139
	protocolShim6    = 140
)

// mobility skips extension headers of mobile hosts.
func (p *packet) mobility() {
	for p.offset == 0 && len(p.payload) >= 8 {
		switch p.protocol {
		case protocolMobility, protocolHIP, protocolShim6:
		default:
			return
		}
		n := 8 + 8*int(p.payload[1])
		if n > len(p.payload) {
			return
		}
		p.protocol, p.payload, p.size = p.payload[0], p.payload[n:], p.size-n
	}
}

// routeSegments is the type of a segment routing header (RFC 8754, section 2), which lists the last
// segment first. Other types list the last address last (RFC 5095; RFC 6275, section 6.4).
const routeSegments = 4

// destination returns the last destination of an IPv6 packet with a routing header, for which its
// UDP checksum is computed (RFC 8200, section 8.1).
func destination(b []byte, h *ip.IPv6) netip.Addr {
	end := min(h.HeaderLength, len(b))
	for next, at := b[6], ip.HeaderLengthIPv6; at+8 <= end; {
		size := 8 + 8*int(b[at+1])
		if next == ip.ProtocolFragment {
			size = 8
		}
		if next == ip.ProtocolRouting && b[at+3] > 0 && size >= 24 && at+size <= end {
			last := b[at+size-16 : at+size]
			if b[at+2] == routeSegments {
				last = b[at+8 : at+24]
			}
			return netip.AddrFrom16([16]byte(last))
		}
		next, at = b[at], at+size
	}
	return h.Dst
}
