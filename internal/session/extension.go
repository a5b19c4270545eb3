package session

import (
	"encoding/binary"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/wire/stamp"
)

// version is that of the extension. Two versions do not measure with each other.
const version = 1

// magic begins the value of the extension: types for experimental use belong to any program (RFC
// 8972, section 5.1).
const magic = 0x49504650 // "IPFP"

// A kind is the direction of a packet, so that no packet passes for one of the other direction.
type kind uint8

const (
	isRequest kind = 1
	isReply   kind = 2
)

// A status is what a Reflector says of a request.
type status uint8

const (
	statusOK status = iota
	// statusNew: the request has no token of this Reflector, which is in the reply.
	statusNew
	// statusSkewed: the clocks differ by more than maxSkew.
	statusSkewed
	// statusVersion: the request has another version.
	statusVersion
	// statusStale: the Reflector knows a newer instance of the sender, whose number is in the
	// reply.
	statusStale
	// statusBusy: the Reflector has too many sessions with the partner.
	statusBusy
	// statusWrongKey: the Reflector cannot authenticate the request. Its own key is another one, so
	// the sender cannot authenticate this reply.
	statusWrongKey
)

// String names the status in texts.
func (s status) String() string {
	return enum.Name(s, "ok", "new", "skewed", "version", "stale", "busy", "wrong_key")
}

// An extension is the TLV that exporters add.
type extension struct {
	version uint8
	kind    kind
	status  status
	// trim, from 0 to 3, is how many bytes less than a multiple of 4 the reply shall have: the
	// length in a Reflected Test Packet Control TLV is rounded up.
	trim uint8
	// pieces lets the reply be fragmented by the host of the Reflector.
	pieces bool
	// instance is the number of the sender's run, token that of the Reflector.
	instance, token uint64
	// reflector is the number of the Reflector's run. It and the rest are set in replies.
	reflector uint64
	// duplicates and late are requests of the session that arrived twice, or behind a later one.
	duplicates, late uint32
}

// inPieces is the bit of extension.pieces beside trim.
const inPieces = 4

// sizeExtension is the size of the value of the TLV, in bytes.
const sizeExtension = 40

func (e *extension) tlv(flags stamp.Flags) stamp.TLV {
	b := binary.BigEndian.AppendUint32(nil, magic)
	how := e.trim
	if e.pieces {
		how |= inPieces
	}
	b = append(b, e.version, byte(e.kind), byte(e.status), how)
	b = binary.BigEndian.AppendUint64(b, e.instance)
	b = binary.BigEndian.AppendUint64(b, e.token)
	b = binary.BigEndian.AppendUint64(b, e.reflector)
	b = binary.BigEndian.AppendUint32(b, e.duplicates)
	return stamp.TLV{Flags: flags, Type: stamp.TypeExperimental, Value: binary.BigEndian.AppendUint32(b, e.late)}
}

// extensionOf returns the extension among the TLVs of a packet. One of a later version may be
// larger, and only its version and status are known.
func extensionOf(all []stamp.TLV) (e extension, ok bool) {
	t, found := stamp.Find(all, stamp.TypeExperimental)
	b := t.Value
	if !found || len(b) < sizeExtension || binary.BigEndian.Uint32(b) != magic {
		return extension{}, false
	}
	e = extension{version: b[4], kind: kind(b[5]), status: status(b[6])}
	if e.version == version {
		e.instance, e.token, e.reflector = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
		e.trim, e.pieces = b[7]&3, b[7]&inPieces != 0
		e.duplicates, e.late = binary.BigEndian.Uint32(b[32:]), binary.BigEndian.Uint32(b[36:])
	}
	return e, true
}
