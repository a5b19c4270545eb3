package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The flags of the fragment field (RFC 791, section 3.1).
const (
	flagDontFragment  = 0x4000
	flagMoreFragments = 0x2000
	maskFragment      = 0x1fff
	fragmentUnit      = 8
)

// IPv4 is an IPv4 header (RFC 791, section 3.1). Options are skipped when reading, never written.
type IPv4 struct {
	// HeaderLength and TotalLength are in bytes. TotalLength is that of the header, even if less of
	// the packet was captured.
	HeaderLength, TotalLength int
	// TOS is the type of service, today DSCP and ECN (RFC 2474, RFC 3168).
	TOS uint8
	// ID is the identification that the fragments of a packet share.
	ID uint16
	// DontFragment is DF, MoreFragments is MF.
	DontFragment, MoreFragments bool
	FragmentOffset              int // in bytes
	TTL, Protocol               uint8
	// Checksum is the one that was read; Append computes its own.
	Checksum uint16
	Src, Dst netip.Addr
}

// ParseIPv4 reads an IPv4 header and returns it with what is there of the payload, not beyond the
// total length (Ethernet padding). The checksum is not verified.
func ParseIPv4(b []byte) (IPv4, []byte, error) {
	if len(b) < HeaderLengthIPv4 {
		return IPv4{}, nil, fmt.Errorf("%w: %d bytes of IPv4", ErrTruncated, len(b))
	}
	if b[0]>>4 != 4 {
		return IPv4{}, nil, fmt.Errorf("%w: %d instead of 4", ErrVersion, b[0]>>4)
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	h := IPv4{
		HeaderLength:   int(b[0]&0x0f) * 4,
		TotalLength:    int(binary.BigEndian.Uint16(b[2:])),
		TOS:            b[1],
		ID:             binary.BigEndian.Uint16(b[4:]),
		DontFragment:   fragment&flagDontFragment != 0,
		MoreFragments:  fragment&flagMoreFragments != 0,
		FragmentOffset: int(fragment&maskFragment) * fragmentUnit,
		TTL:            b[8],
		Protocol:       b[9],
		Checksum:       binary.BigEndian.Uint16(b[10:]),
		Src:            netip.AddrFrom4([4]byte(b[12:16])),
		Dst:            netip.AddrFrom4([4]byte(b[16:20])),
	}
	if h.HeaderLength < HeaderLengthIPv4 || h.TotalLength < h.HeaderLength {
		return h, nil, fmt.Errorf("%w: IPv4 header of %d bytes in a packet of %d", ErrMalformed, h.HeaderLength, h.TotalLength)
	}
	if len(b) < h.HeaderLength {
		return h, nil, fmt.Errorf("%w: %d of %d bytes of IPv4", ErrTruncated, len(b), h.HeaderLength)
	}
	return h, b[h.HeaderLength:min(len(b), h.TotalLength)], nil
}

// Append appends the header, always 20 bytes and with a computed checksum. TotalLength is written
// as given, addresses that are not IPv4 as 0.0.0.0.
func (h *IPv4) Append(dst []byte) []byte {
	start := len(dst)
	fragment := uint16(h.FragmentOffset/fragmentUnit) & maskFragment
	if h.DontFragment {
		fragment |= flagDontFragment
	}
	if h.MoreFragments {
		fragment |= flagMoreFragments
	}
	dst = append(dst, 4<<4|HeaderLengthIPv4/4, h.TOS)
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.TotalLength))
	dst = binary.BigEndian.AppendUint16(dst, h.ID)
	dst = binary.BigEndian.AppendUint16(dst, fragment)
	dst = append(dst, h.TTL, h.Protocol, 0, 0)
	dst = append4(dst, h.Src)
	dst = append4(dst, h.Dst)
	binary.BigEndian.PutUint16(dst[start+10:], Checksum(dst[start:]))
	return dst
}

func append4(dst []byte, a netip.Addr) []byte {
	var four [4]byte
	if a = a.Unmap(); a.Is4() {
		four = a.As4()
	}
	return append(dst, four[:]...)
}
