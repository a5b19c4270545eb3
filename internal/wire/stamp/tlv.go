package stamp

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// HeaderTLV is the size of the header of a TLV, in bytes (RFC 8972, section 4).
const HeaderTLV = 4

// Flags are the STAMP TLV flags (RFC 8972, section 4, figure 4).
type Flags uint8

// The flags.
const (
	// Unrecognized is the U flag: a Session-Sender sets it, a Session-Reflector that knows the type
	// clears it.
	Unrecognized Flags = 0x80
	// Malformed is the M flag: the Session-Reflector found a length that the type does not allow.
	Malformed Flags = 0x40
	// IntegrityFailed is the I flag: the HMAC TLV was not valid, so no TLV was processed.
	IntegrityFailed Flags = 0x20
	// Nonconformant is the C flag: the reply is not what a Reflected Test Packet Control TLV asks
	// for (draft-ietf-ippm-asymmetrical-pkts, section 3).
	Nonconformant Flags = 0x10
)

// Type is the type of a TLV.
type Type uint8

// The types that this package knows (RFC 8972, section 5.1; draft-ietf-ippm-asymmetrical-pkts,
// section 6).
const (
	TypeReserved             Type = 0
	TypeExtraPadding         Type = 1
	TypeLocation             Type = 2
	TypeTimestampInformation Type = 3
	TypeClassOfService       Type = 4
	TypeDirectMeasurement    Type = 5
	TypeAccessReport         Type = 6
	TypeFollowUpTelemetry    Type = 7
	TypeHMAC                 Type = 8
	TypeReflectedControl     Type = 12
	// TypeExperimental is the last type for experimental use.
	TypeExperimental Type = 251
)

// sizes has the size of the value of each type that has one size, in bytes.
func (t Type) size() (size int, fixed bool) {
	switch t {
	case TypeTimestampInformation, TypeClassOfService, TypeAccessReport:
		return 4, true
	case TypeDirectMeasurement:
		return 12, true
	case TypeFollowUpTelemetry, TypeHMAC:
		return 16, true
	default:
		return 0, false
	}
}

// A TLV is one optional extension of a packet.
type TLV struct {
	Flags Flags
	Type  Type
	// Value has at most 65535 bytes.
	Value []byte
}

// ParseTLV reads one TLV and returns it with what follows. Bytes of zero are padding that older
// senders append, and no TLV: they end the TLVs with ErrTruncated, as any rest does.
func ParseTLV(b []byte) (t TLV, rest []byte, err error) {
	if len(b) < HeaderTLV {
		return TLV{}, b, fmt.Errorf("%w: %d bytes of a TLV", ErrTruncated, len(b))
	}
	t = TLV{Flags: Flags(b[0]), Type: Type(b[1])}
	end := HeaderTLV + int(binary.BigEndian.Uint16(b[2:]))
	if t.Type == TypeReserved || end > len(b) {
		return TLV{}, b, fmt.Errorf("%w: TLV of type %d with %d bytes of %d", ErrTruncated, t.Type, len(b), end)
	}
	t.Value = b[HeaderTLV:end]
	return t, b[end:], nil
}

// ParseTLVs reads the TLVs of a packet up to the first that is not whole, and returns them with the
// rest.
func ParseTLVs(b []byte) (all []TLV, rest []byte) {
	for {
		t, next, err := ParseTLV(b)
		if err != nil {
			return all, b
		}
		all, b = append(all, t), next
	}
}

// Append appends the TLV.
func (t TLV) Append(dst []byte) []byte {
	dst = append(dst, byte(t.Flags), byte(t.Type))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Value)))
	return append(dst, t.Value...)
}

// Check returns ErrMalformed if the type does not allow the size of the value. The sizes of unknown
// types are not judged.
func (t TLV) Check() error {
	size, fixed := t.Type.size()
	switch {
	case fixed && len(t.Value) == size:
	case fixed,
		t.Type == TypeLocation && len(t.Value) < sizeLocation,
		t.Type == TypeReflectedControl && len(t.Value) < sizeReflectedControl:
		return fmt.Errorf("%w: %d bytes in a TLV of type %d", ErrMalformed, len(t.Value), t.Type)
	}
	return nil
}

// of returns the value of a TLV that has to be of a type.
func (t TLV) of(want Type) ([]byte, error) {
	if t.Type != want {
		return nil, fmt.Errorf("%w: type %d instead of %d", ErrMalformed, t.Type, want)
	}
	return t.Value, t.Check()
}

// Find returns the first TLV of a type.
func Find(all []TLV, want Type) (t TLV, ok bool) {
	i := slices.IndexFunc(all, func(t TLV) bool { return t.Type == want })
	if i < 0 {
		return TLV{}, false
	}
	return all[i], true
}

// Pad appends an Extra Padding TLV (RFC 8972, section 4.1) that makes the packet that begins at
// start as large as size. A packet that lacks less than the header of a TLV cannot be made larger;
// it is left as it is, as one that has the size is.
func Pad(packet []byte, start, size int, flags Flags) []byte {
	value := size - (len(packet) - start) - HeaderTLV
	if value < 0 {
		return packet
	}
	return TLV{Flags: flags, Type: TypeExtraPadding, Value: make([]byte, value)}.Append(packet)
}
