package ip

import (
	"encoding/binary"
	"net/netip"
)

// Checksum is the Internet checksum of b (RFC 1071); 0 over bytes that contain a right checksum.
func Checksum(b []byte) uint16 { return ^fold(sum(0, b)) }

// PseudoChecksum is the checksum of an upper-layer segment with its pseudo header (RFC 768; RFC
// 8200, section 8.1). Both addresses must be of the same family. Over a segment that contains a
// right checksum it is 0.
func PseudoChecksum(src, dst netip.Addr, protocol uint8, segment []byte) uint16 {
	// Where in the pseudo header the length and the protocol stand makes no difference to the sum.
	return ^fold(sum(addSum(addSum(uint64(len(segment))+uint64(protocol), src), dst), segment))
}

func addSum(total uint64, a netip.Addr) uint64 {
	if a = a.Unmap(); a.Is4() {
		four := a.As4()
		return sum(total, four[:])
	}
	sixteen := a.As16()
	return sum(total, sixteen[:])
}

// sum adds up b in words of 32 bits, which fold to the same as 16 bits (RFC 1071, section 2 (C)).
func sum(total uint64, b []byte) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		total += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		total += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	return total
}

func fold(total uint64) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
