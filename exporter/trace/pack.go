package trace

import (
	"encoding/binary"
	"math/bits"
)

// A body is stored as its difference from a base that it resembles. The difference is mostly zero
// bytes, which are left out:
//
//	for each 64 bytes:  a bit for each 8 bytes that are not all zero, and for each of those
//	                    a bit for each byte that is not zero, and those bytes
const wordSize, groupSize = 8, 64

// word returns the 8 bytes at an offset, the first one lowest; what is behind the end is zero.
func word(b []byte, at int) uint64 {
	if at+wordSize <= len(b) {
		return binary.LittleEndian.Uint64(b[at:])
	}
	var w uint64
	for i := range max(0, len(b)-at) {
		w |= uint64(b[at+i]) << (8 * i)
	}
	return w
}

// pack appends the difference of a body from a base, which may be shorter.
func pack(dst, base, body []byte) []byte {
	for group := 0; group < len(body); group += groupSize {
		mask := len(dst)
		dst = append(dst, 0)
		for i := range groupSize / wordSize {
			at := group + i*wordSize
			if at >= len(body) {
				break
			}
			w := word(base, at) ^ word(body, at)
			if at+wordSize > len(body) { // a base that is longer does not matter
				w &= 1<<(8*(len(body)-at)) - 1
			}
			if w == 0 {
				continue
			}
			dst[mask] |= 1 << i
			dst = packWord(dst, w)
		}
	}
	return dst
}

func packWord(dst []byte, w uint64) []byte {
	tag := len(dst)
	dst = append(dst, 0)
	for i := 0; w != 0; i++ {
		skip := bits.TrailingZeros64(w) / 8
		i, w = i+skip, w>>(8*skip)
		dst[tag] |= 1 << i
		dst = append(dst, byte(w))
		w >>= 8
	}
	return dst
}

// unpack appends a body of n bytes, and reports whether the difference is one of such a body.
func unpack(dst, base, packed []byte, n int) (body []byte, ok bool) {
	r := reader{b: packed}
	start := len(dst)
	dst = append(dst, base[:min(n, len(base))]...)
	dst = append(dst, make([]byte, n-min(n, len(base)))...)
	body = dst[start:]
	for group := 0; group < n; group += groupSize {
		for words := r.byte(); words != 0; words &= words - 1 {
			at := group + bits.TrailingZeros8(words)*wordSize
			for tag := r.byte(); tag != 0; tag &= tag - 1 {
				i := at + bits.TrailingZeros8(tag)
				if i >= n {
					return dst, false
				}
				body[i] ^= r.byte()
			}
		}
	}
	return dst, !r.bad && len(r.b) == 0
}
