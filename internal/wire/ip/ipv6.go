package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// maxExtensionHeaders bounds the walk. RFC 8200, section 4.1, recommends each at most once.
const maxExtensionHeaders = 16

// Sizes of extension headers, in bytes (RFC 8200, sections 4.2 and 4.5).
const (
	extensionUnit  = 8
	fragmentLength = 8
)

// IPv6 is an IPv6 header with what its extension headers say (RFC 8200, sections 3 and 4).
type IPv6 struct {
	// PayloadLength is what the fixed header says, in bytes, extension headers included.
	PayloadLength int
	// HeaderLength is the size of the fixed and the walked extension headers, in bytes.
	HeaderLength int
	// HopLimit and NextHeader are fields of the fixed header.
	HopLimit, NextHeader uint8
	// Protocol is the upper layer behind the extension headers; AH and ESP count as upper layers.
	Protocol     uint8
	FlowLabel    uint32 // 20 bits
	TrafficClass uint8  // DSCP and ECN
	// Fragment reports that there is a fragment header; the next three fields are its contents.
	Fragment, MoreFragments bool
	// FragmentOffset is in bytes. If it is not 0, no upper-layer header follows.
	FragmentOffset int
	FragmentID     uint32 // common to the fragments of a packet
	Src, Dst       netip.Addr
}

// ParseIPv6 reads an IPv6 header and walks its extension headers. It returns the header with what
// is there of the upper layer, not beyond the payload length. If the packet ends inside an
// extension header, the error is ErrTruncated and Protocol is that extension header's number.
func ParseIPv6(b []byte) (IPv6, []byte, error) {
	if len(b) < HeaderLengthIPv6 {
		return IPv6{}, nil, fmt.Errorf("%w: %d bytes of IPv6", ErrTruncated, len(b))
	}
	first := binary.BigEndian.Uint32(b)
	if first>>28 != 6 {
		return IPv6{}, nil, fmt.Errorf("%w: %d instead of 6", ErrVersion, first>>28)
	}
	h := IPv6{
		PayloadLength: int(binary.BigEndian.Uint16(b[4:])),
		HeaderLength:  HeaderLengthIPv6,
		HopLimit:      b[7],
		NextHeader:    b[6],
		Protocol:      b[6],
		FlowLabel:     first & 0xfffff,
		TrafficClass:  uint8(first >> 20),
		Src:           netip.AddrFrom16([16]byte(b[8:24])),
		Dst:           netip.AddrFrom16([16]byte(b[24:40])),
	}
	rest, err := h.walk(b[HeaderLengthIPv6:min(len(b), HeaderLengthIPv6+h.PayloadLength)])
	return h, rest, err
}

// walk moves over the extension headers at the start of b and returns what follows them.
func (h *IPv6) walk(b []byte) ([]byte, error) {
	for range maxExtensionHeaders {
		size := extensionUnit
		switch h.Protocol {
		case ProtocolHopByHop, ProtocolRouting, ProtocolDestinationOptions:
			if len(b) >= 2 {
				size += int(b[1]) * extensionUnit
			}
		case ProtocolFragment:
		default:
			return b, nil
		}
		if len(b) < size {
			return nil, fmt.Errorf("%w: %d of %d bytes of IPv6 extension header %d", ErrTruncated, len(b), size, h.Protocol)
		}
		if h.Protocol == ProtocolFragment {
			h.fragment(b)
		}
		h.Protocol = b[0]
		h.HeaderLength += size
		b = b[size:]
		if h.FragmentOffset != 0 {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: more than %d IPv6 extension headers", ErrMalformed, maxExtensionHeaders)
}

// fragment reads the fragment header at the start of b (RFC 8200, section 4.5).
func (h *IPv6) fragment(b []byte) {
	field := binary.BigEndian.Uint16(b[2:])
	h.Fragment = true
	h.FragmentOffset = int(field &^ 7) // in units of 8 bytes, and 3 bits to the left
	h.MoreFragments = field&1 != 0
	h.FragmentID = binary.BigEndian.Uint32(b[4:])
}

// Append appends the fixed header and, if Fragment is set, a fragment header that leads to
// Protocol. PayloadLength must count the fragment header; without one NextHeader is written as
// given.
func (h *IPv6) Append(dst []byte) []byte {
	next := h.NextHeader
	if h.Fragment {
		next = ProtocolFragment
	}
	dst = binary.BigEndian.AppendUint32(dst, 6<<28|uint32(h.TrafficClass)<<20|h.FlowLabel&0xfffff)
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.PayloadLength))
	dst = append(dst, next, h.HopLimit)
	dst = append16(dst, h.Src)
	dst = append16(dst, h.Dst)
	if !h.Fragment {
		return dst
	}
	field := uint16(h.FragmentOffset) &^ 7
	if h.MoreFragments {
		field |= 1
	}
	dst = append(dst, h.Protocol, 0)
	dst = binary.BigEndian.AppendUint16(dst, field)
	return binary.BigEndian.AppendUint32(dst, h.FragmentID)
}

func append16(dst []byte, a netip.Addr) []byte {
	var sixteen [16]byte
	if a.IsValid() {
		sixteen = a.As16()
	}
	return append(dst, sixteen[:]...)
}
