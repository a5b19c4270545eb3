package stamp

import (
	"crypto/hmac"
	"crypto/sha256"
)

// SizeHMAC is the size of an HMAC-SHA-256 that is truncated to 128 bits (RFC 8762, section 4.4).
const SizeHMAC = 16

// digest returns the truncated HMAC of the concatenation of some texts.
func digest(key []byte, texts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, t := range texts {
		h.Write(t)
	}
	return h.Sum(nil)[:SizeHMAC]
}

// seal writes the HMAC of a packet that begins at start. It covers all fields before it (RFC 8762,
// section 4.4: the first six blocks of 16 bytes).
func seal(packet []byte, start int, m Mode, key []byte) []byte {
	if m == Authenticated {
		b := packet[start:]
		copy(b[SizeAuthenticated-SizeHMAC:], digest(key, b[:SizeAuthenticated-SizeHMAC]))
	}
	return packet
}

// Verify reports whether the HMAC of a packet in authenticated mode was made with key. It does not
// cover TLVs: VerifyTLVs does.
func Verify(b, key []byte) bool {
	const end = SizeAuthenticated - SizeHMAC
	return len(b) >= SizeAuthenticated && hmac.Equal(b[end:SizeAuthenticated], digest(key, b[:end]))
}

// SealTLVs appends an HMAC TLV to a packet that ends with its TLVs (RFC 8972, section 4.8). It
// covers the sequence number and the TLVs that precede it. Only Extra Padding may follow.
func SealTLVs(packet []byte, m Mode, flags Flags, key []byte) []byte {
	sum := digest(key, packet[:4], packet[m.Size():])
	return TLV{Flags: flags, Type: TypeHMAC, Value: sum}.Append(packet)
}

// VerifyTLVs reports whether the TLVs of a packet are protected by an HMAC TLV that was made with
// key and stands where it must: behind all others, except for Extra Padding (RFC 8972, section
// 4.8). A packet of a Session-Reflector carries flags in its TLVs that the HMAC covers as they are.
func VerifyTLVs(packet []byte, m Mode, key []byte) bool {
	if len(packet) < m.Size() {
		return false
	}
	all := packet[m.Size():]
	for rest, found := all, false; ; {
		before := len(all) - len(rest)
		one, next, err := ParseTLV(rest)
		switch {
		case err != nil:
			return found && len(rest) == 0
		case found && one.Type != TypeExtraPadding:
			return false
		case found:
		case one.Type == TypeExtraPadding || one.Type != TypeHMAC:
		case !hmac.Equal(one.Value, digest(key, packet[:4], all[:before])):
			return false
		default:
			found = true
		}
		rest = next
	}
}
