// Package tcp reads and writes the few TCP segments that are needed to see the maximum segment size
// (MSS) of a connection as it arrives here (RFC 9293). It opens no connections.
package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"ipsec_path_exporter/internal/wire/ip"
)

// HeaderLength is the size of a header without options (RFC 9293, section 3.1).
const HeaderLength = 20

// Flags are the control bits of a segment (RFC 9293, section 3.1).
type Flags uint8

// The control bits that matter here.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	_ // PSH
	ACK
)

// Kinds of options (RFC 9293, section 3.2).
const (
	optionEnd, optionNone, optionMSS = 0, 1, 2
	lengthMSS                        = 4
)

// Default sizes of a sender that was told none: RFC 9293, section 3.7.1.
const (
	DefaultMSS4 = 536
	DefaultMSS6 = 1220
)

// ErrMalformed means that bytes are not a TCP segment.
var ErrMalformed = errors.New("malformed TCP segment")

// A Segment is the header of a segment.
type Segment struct {
	Src, Dst uint16 // ports
	Seq, Ack uint32
	Flags    Flags
	// MSS is the option of that name, 0 without one.
	MSS int
}

// Parse reads the header of a segment. The checksum is not verified. Options after a malformed one
// are not read.
func Parse(b []byte) (Segment, error) {
	if len(b) < HeaderLength {
		return Segment{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	length := int(b[12]>>4) * 4
	if length < HeaderLength || length > len(b) {
		return Segment{}, fmt.Errorf("%w: header of %d bytes in %d", ErrMalformed, length, len(b))
	}
	s := Segment{
		Src: binary.BigEndian.Uint16(b), Dst: binary.BigEndian.Uint16(b[2:]),
		Seq: binary.BigEndian.Uint32(b[4:]), Ack: binary.BigEndian.Uint32(b[8:]), Flags: Flags(b[13]),
	}
	for options := b[HeaderLength:length]; len(options) > 0 && options[0] != optionEnd; {
		if options[0] == optionNone {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			break
		}
		if options[0] == optionMSS && options[1] == lengthMSS {
			s.MSS = int(binary.BigEndian.Uint16(options[2:]))
		}
		options = options[options[1]:]
	}
	return s, nil
}

// AppendSYN appends a segment that asks for a connection and offers an MSS. Both addresses must be of
// the same family.
func AppendSYN(dst []byte, from, to netip.AddrPort, seq uint32, mss uint16) []byte {
	const window = 1024
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, from.Port())
	dst = binary.BigEndian.AppendUint16(dst, to.Port())
	dst = binary.BigEndian.AppendUint32(dst, seq)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = append(dst, (HeaderLength+lengthMSS)/4<<4, byte(SYN))
	dst = binary.BigEndian.AppendUint16(dst, window)
	dst = append(dst, 0, 0, 0, 0) // checksum, urgent pointer
	dst = append(dst, optionMSS, lengthMSS)
	dst = binary.BigEndian.AppendUint16(dst, mss)
	binary.BigEndian.PutUint16(dst[start+16:], ip.PseudoChecksum(from.Addr(), to.Addr(), ip.ProtocolTCP, dst[start:]))
	return dst
}
