package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// UDP is a UDP header (RFC 768).
type UDP struct {
	Src, Dst uint16 // ports
	// Length is what the header says, in bytes with the header, even if less was captured.
	Length int
	// Checksum is the one that was read; 0 means that the sender made none.
	Checksum uint16
}

// ParseUDP reads a UDP header and returns it with what is there of the payload, not beyond the
// length. The checksum is not verified.
func ParseUDP(b []byte) (UDP, []byte, error) {
	if len(b) < HeaderLengthUDP {
		return UDP{}, nil, fmt.Errorf("%w: %d bytes of UDP", ErrTruncated, len(b))
	}
	h := UDP{
		Src:      binary.BigEndian.Uint16(b),
		Dst:      binary.BigEndian.Uint16(b[2:]),
		Length:   int(binary.BigEndian.Uint16(b[4:])),
		Checksum: binary.BigEndian.Uint16(b[6:]),
	}
	if h.Length < HeaderLengthUDP {
		return h, nil, fmt.Errorf("%w: UDP length %d", ErrMalformed, h.Length)
	}
	return h, b[HeaderLengthUDP:min(len(b), h.Length)], nil
}

// AppendUDP appends a UDP datagram with its checksum. Both addresses must be of the same family,
// and the payload short enough for the 16-bit length, header included.
func AppendUDP(dst []byte, from, to netip.AddrPort, payload []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, from.Port())
	dst = binary.BigEndian.AppendUint16(dst, to.Port())
	dst = binary.BigEndian.AppendUint16(dst, uint16(HeaderLengthUDP+len(payload)))
	dst = append(dst, 0, 0)
	dst = append(dst, payload...)
	checksum := PseudoChecksum(from.Addr(), to.Addr(), ProtocolUDP, dst[start:])
	if checksum == 0 {
		checksum = 0xffff // 0 would mean "no checksum", which IPv6 forbids (RFC 768; RFC 8200, section 8.1)
	}
	binary.BigEndian.PutUint16(dst[start+6:], checksum)
	return dst
}
