package capture

import (
	"errors"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/wire/ip"
)

// errTotalLength is what offloading to the network card leaves: a packet that says length 0.
var errTotalLength = errors.New("no total length")

// A packet is an IP packet of a capture.
type packet struct {
	number   int
	at       time.Time
	src, dst netip.Addr
	protocol uint8
	ttl      uint8
	// id is the identification: of IPv6 only in fragments.
	id uint32
	// fragment tells that it is a fragment; offset and more say which.
	fragment, more bool
	offset         int
	// fixed tells that routers may not fragment it.
	fixed bool
	// length is the size that the IP header says, size that of the payload behind the headers.
	length, size int
	// payload is what was captured of the payload.
	payload []byte
}

// cut tells that less was captured than there was.
func (p *packet) cut() bool { return len(p.payload) < p.size }

// parse reads the IP headers at the start of b.
func parse(b []byte) (packet, error) {
	if b[0]>>4 == 6 {
		h, rest, err := ip.ParseIPv6(b)
		return packet{
			src: h.Src, dst: h.Dst, protocol: h.Protocol, ttl: h.HopLimit, id: h.FragmentID,
			fragment: h.MoreFragments || h.FragmentOffset > 0, more: h.MoreFragments, offset: h.FragmentOffset,
			fixed:  !h.Fragment,
			length: ip.HeaderLengthIPv6 + h.PayloadLength, size: ip.HeaderLengthIPv6 + h.PayloadLength - h.HeaderLength,
			payload: rest,
		}, err
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
