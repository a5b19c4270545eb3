package stamp

import "encoding/binary"

// A ClassOfService asks for the DSCP of the reply and shows how the request arrived (RFC 8972,
// section 4.4, with erratum 8199).
type ClassOfService struct {
	// Reply is DSCP1, the DSCP that the reply shall have; Received is DSCP2, the one with which the
	// request arrived. Both are at most 63.
	Reply, Received uint8
	// ECN is the ECN field with which the request arrived, at most 3.
	ECN uint8
	// ReversePath is RP: 1 if the reply does not have the DSCP that was asked for, at most 3.
	ReversePath uint8
}

// TLV returns the TLV.
func (c ClassOfService) TLV(flags Flags) TLV {
	v := uint16(c.Reply&0x3f)<<10 | uint16(c.Received&0x3f)<<4 | uint16(c.ECN&3)<<2 | uint16(c.ReversePath&3)
	return TLV{Flags: flags, Type: TypeClassOfService, Value: append(binary.BigEndian.AppendUint16(nil, v), 0, 0)}
}

// ParseClassOfService reads the value of a TLV.
func ParseClassOfService(t TLV) (ClassOfService, error) {
	b, err := t.of(TypeClassOfService)
	if err != nil {
		return ClassOfService{}, err
	}
	v := binary.BigEndian.Uint16(b)
	return ClassOfService{Reply: uint8(v >> 10), Received: uint8(v>>4) & 0x3f, ECN: uint8(v>>2) & 3, ReversePath: uint8(v) & 3}, nil
}

// A DirectMeasurement has the counters of a session at both ends, for loss in each direction (RFC
// 8972, section 4.5).
type DirectMeasurement struct {
	// Sent is what the Session-Sender has sent, Received what the Session-Reflector has received of
	// that, Replies what it has sent.
	Sent, Received, Replies uint32
}

// TLV returns the TLV.
func (d DirectMeasurement) TLV(flags Flags) TLV {
	b := binary.BigEndian.AppendUint32(nil, d.Sent)
	b = binary.BigEndian.AppendUint32(b, d.Received)
	return TLV{Flags: flags, Type: TypeDirectMeasurement, Value: binary.BigEndian.AppendUint32(b, d.Replies)}
}

// ParseDirectMeasurement reads the value of a TLV.
func ParseDirectMeasurement(t TLV) (DirectMeasurement, error) {
	b, err := t.of(TypeDirectMeasurement)
	if err != nil {
		return DirectMeasurement{}, err
	}
	return DirectMeasurement{
		Sent: binary.BigEndian.Uint32(b), Received: binary.BigEndian.Uint32(b[4:]), Replies: binary.BigEndian.Uint32(b[8:]),
	}, nil
}

// A TimestampInformation says where the time stamps of the Session-Reflector come from (RFC 8972,
// section 4.3, tables 6 and 7).
type TimestampInformation struct {
	// SyncIn and SyncOut are the sources of synchronization, MethodIn and MethodOut the methods, of
	// the time stamps of arrival and of departure.
	SyncIn, MethodIn, SyncOut, MethodOut uint8
}

// TLV returns the TLV.
func (i TimestampInformation) TLV(flags Flags) TLV {
	return TLV{Flags: flags, Type: TypeTimestampInformation, Value: []byte{i.SyncIn, i.MethodIn, i.SyncOut, i.MethodOut}}
}

// ParseTimestampInformation reads the value of a TLV.
func ParseTimestampInformation(t TLV) (TimestampInformation, error) {
	b, err := t.of(TypeTimestampInformation)
	if err != nil {
		return TimestampInformation{}, err
	}
	return TimestampInformation{SyncIn: b[0], MethodIn: b[1], SyncOut: b[2], MethodOut: b[3]}, nil
}

// sizeLocation is the least size of the value of a Location TLV, in bytes.
const sizeLocation = 4

// A Location shows the addresses of the request as it arrived, so that a NAT is recognized (RFC
// 8972, section 4.2).
type Location struct {
	DestinationPort, SourcePort uint16
	// Sub are the sub-TLVs with addresses, which have the form of TLVs.
	Sub []TLV
}

// The sub-TLVs of a Location TLV (RFC 8972, section 4.2.1, table 5). A Session-Sender asks with a
// generic one, whose value is zero; a Session-Reflector puts one with the address in its place.
const (
	SubSourceMAC       Type = 1 // asks for the next two
	SubSourceEUI48     Type = 2
	SubSourceEUI64     Type = 3
	SubDestinationIP   Type = 4 // asks for the next two
	SubDestinationIPv4 Type = 5
	SubDestinationIPv6 Type = 6
	SubSourceIP        Type = 7 // asks for the next two
	SubSourceIPv4      Type = 8
	SubSourceIPv6      Type = 9
)

// TLV returns the TLV.
func (l Location) TLV(flags Flags) TLV {
	b := binary.BigEndian.AppendUint16(nil, l.DestinationPort)
	b = binary.BigEndian.AppendUint16(b, l.SourcePort)
	for _, s := range l.Sub {
		b = s.Append(b)
	}
	return TLV{Flags: flags, Type: TypeLocation, Value: b}
}

// ParseLocation reads the value of a TLV, with the sub-TLVs that are whole.
func ParseLocation(t TLV) (Location, error) {
	b, err := t.of(TypeLocation)
	if err != nil {
		return Location{}, err
	}
	l := Location{DestinationPort: binary.BigEndian.Uint16(b), SourcePort: binary.BigEndian.Uint16(b[2:])}
	l.Sub, _ = ParseTLVs(b[sizeLocation:])
	return l, nil
}

// An AccessReport says that the Session-Sender has gained or lost access to a network (RFC 8972,
// section 4.6).
type AccessReport struct {
	// ID is the kind of access, at most 15; Code is what happened.
	ID, Code uint8
}

// TLV returns the TLV.
func (a AccessReport) TLV(flags Flags) TLV {
	return TLV{Flags: flags, Type: TypeAccessReport, Value: []byte{a.ID << 4, a.Code, 0, 0}}
}

// ParseAccessReport reads the value of a TLV.
func ParseAccessReport(t TLV) (AccessReport, error) {
	b, err := t.of(TypeAccessReport)
	if err != nil {
		return AccessReport{}, err
	}
	return AccessReport{ID: b[0] >> 4, Code: b[1]}, nil
}

// A FollowUpTelemetry has the exact time at which an earlier reply was sent (RFC 8972, section
// 4.7).
type FollowUpTelemetry struct {
	// Sequence is the sequence number of that reply, Timestamp when it was sent, Method how that is
	// known.
	Sequence  uint32
	Timestamp Timestamp
	Method    uint8
}

// TLV returns the TLV.
func (f FollowUpTelemetry) TLV(flags Flags) TLV {
	b := binary.BigEndian.AppendUint32(nil, f.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Timestamp))
	return TLV{Flags: flags, Type: TypeFollowUpTelemetry, Value: append(b, f.Method, 0, 0, 0)}
}

// ParseFollowUpTelemetry reads the value of a TLV.
func ParseFollowUpTelemetry(t TLV) (FollowUpTelemetry, error) {
	b, err := t.of(TypeFollowUpTelemetry)
	if err != nil {
		return FollowUpTelemetry{}, err
	}
	return FollowUpTelemetry{Sequence: binary.BigEndian.Uint32(b), Timestamp: Timestamp(binary.BigEndian.Uint64(b[4:])), Method: b[12]}, nil
}

// sizeReflectedControl is the least size of the value of a Reflected Test Packet Control TLV, in
// bytes; fixedReflectedControl is the size of its fields. The difference is the header of a
// sub-TLV.
const (
	fixedReflectedControl = 8
	sizeReflectedControl  = 12
)

// A ReflectedControl asks for replies of another size or number than the requests
// (draft-ietf-ippm-asymmetrical-pkts-14, section 3, figure 1).
type ReflectedControl struct {
	// Length is the size of a reply in bytes, from the sequence number on. A Session-Reflector
	// rounds it up to a multiple of 4, and never cuts TLVs other than Extra Padding.
	Length uint16
	// Number is the number of replies; Interval is the time between them in nanoseconds.
	Number   uint16
	Interval uint32
	// Sub are the bytes of sub-TLVs that select reflectors of a group. They may be empty.
	Sub []byte
}

// TLV returns the TLV. A value without sub-TLVs has room for the header of one, which is zero.
func (c ReflectedControl) TLV(flags Flags) TLV {
	b := binary.BigEndian.AppendUint16(nil, c.Length)
	b = binary.BigEndian.AppendUint16(b, c.Number)
	b = append(binary.BigEndian.AppendUint32(b, c.Interval), c.Sub...)
	if missing := sizeReflectedControl - len(b); missing > 0 {
		b = append(b, make([]byte, missing)...)
	}
	return TLV{Flags: flags, Type: TypeReflectedControl, Value: b}
}

// ParseReflectedControl reads the value of a TLV.
func ParseReflectedControl(t TLV) (ReflectedControl, error) {
	b, err := t.of(TypeReflectedControl)
	if err != nil {
		return ReflectedControl{}, err
	}
	return ReflectedControl{
		Length: binary.BigEndian.Uint16(b), Number: binary.BigEndian.Uint16(b[2:]), Interval: binary.BigEndian.Uint32(b[4:]),
		Sub: b[fixedReflectedControl:],
	}, nil
}
