package ike

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Types of payloads of IKEv1 (RFC 2408, section 3.1; NAT-D: RFC 3947, section 3.2).
const (
	PayloadNone      = 0
	PayloadSA1       = 1
	PayloadKE1       = 4
	PayloadID1       = 5
	PayloadHash1     = 8
	PayloadNonce1    = 10
	PayloadNotify1   = 11
	PayloadDelete1   = 12
	PayloadVendorID1 = 13
	PayloadNATD1     = 20
)

// Types of payloads of IKEv2 (RFC 7296, section 3.2; encrypted fragment: RFC 7383, section 2.5).
const (
	PayloadSA                = 33
	PayloadKE                = 34
	PayloadIDi               = 35
	PayloadIDr               = 36
	PayloadCert              = 37
	PayloadCertReq           = 38
	PayloadAuth              = 39
	PayloadNonce             = 40
	PayloadNotify            = 41
	PayloadDelete            = 42
	PayloadVendorID          = 43
	PayloadEncrypted         = 46
	PayloadEncryptedFragment = 53
)

const (
	// payloadHeaderLength: the generic header (RFC 7296, section 3.2; RFC 2408, section 3.2).
	payloadHeaderLength = 4
	// maxPayload is the longest payload that its length field can express, header included.
	maxPayload = 0xffff
	// maxPayloads bounds a chain. Real first messages have up to 20, mostly vendor IDs.
	maxPayloads = 64
	// flagCritical is the critical bit (RFC 7296, section 3.2); IKEv1 has a reserved byte there.
	flagCritical = 0x80
)

// A Payload is one link of the chain.
type Payload struct {
	// Type is the type of this payload. In the message it is in the header before it.
	Type uint8
	// Critical reports that a receiver that does not know the type must refuse the message.
	Critical bool
	Body     []byte // without the generic header
}

// Payloads walks the chain of payloads in b, the first of which has type first. It ends with the
// chain, with an error, or behind an encrypted payload of IKEv2, whose next payload field names the
// type inside it. A payload that is cut off is yielded along with ErrTruncated.
func Payloads(first uint8, b []byte) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) {
		for count := 0; first != PayloadNone; count++ {
			if count == maxPayloads {
				yield(Payload{}, fmt.Errorf("%w: more than %d", ErrTooManyPayloads, maxPayloads))
				return
			}
			p, next, rest, err := cut(first, b)
			if !yield(p, err) || err != nil || isEncrypted(p.Type) {
				return
			}
			first, b = next, rest
		}
	}
}

// cut takes the payload of type typ at the start of b, and returns it with the type of the next one
// and what follows.
func cut(typ uint8, b []byte) (p Payload, next uint8, rest []byte, err error) {
	p.Type = typ
	if len(b) < payloadHeaderLength {
		return p, 0, nil, fmt.Errorf("%w: %d bytes of payload %d", ErrTruncated, len(b), typ)
	}
	p.Critical = b[1]&flagCritical != 0
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length < payloadHeaderLength {
		return p, 0, nil, fmt.Errorf("%w: payload %d of %d bytes", ErrMalformed, typ, length)
	}
	if length > len(b) {
		p.Body = b[payloadHeaderLength:]
		return p, 0, nil, fmt.Errorf("%w: %d of %d bytes of payload %d", ErrTruncated, len(b), length, typ)
	}
	p.Body = b[payloadHeaderLength:length]
	return p, b[0], b[length:], nil
}

func isEncrypted(typ uint8) bool { return typ == PayloadEncrypted || typ == PayloadEncryptedFragment }

// A Message is a header with its payloads.
type Message struct {
	Header Header // Append computes NextPayload and Length
	// Payloads are the payloads that are not encrypted, and the encrypted one of IKEv2 as it is.
	Payloads []Payload
	// Encrypted reports encryption, of all (IKEv1) or from some payload on (IKEv2).
	Encrypted bool
}

// ParseMessage reads a message, and ignores what is beyond the length of its header. With an error,
// everything that could be read before it is returned.
func ParseMessage(b []byte) (Message, error) {
	var m Message
	var err error
	if m.Header, err = ParseHeader(b); err != nil {
		return m, err
	}
	m.Encrypted = m.Header.encrypted()
	first := m.Header.NextPayload
	if m.Encrypted {
		first = PayloadNone // the payloads are there, but not to be read
	}
	b = b[HeaderLength:min(uint64(len(b)), uint64(m.Header.Length))]
	for p, err := range Payloads(first, b) {
		if p.Type != PayloadNone {
			m.Payloads = append(m.Payloads, p)
		}
		if err != nil {
			return m, err
		}
		m.Encrypted = isEncrypted(p.Type)
	}
	if there := uint64(HeaderLength + len(b)); there < uint64(m.Header.Length) {
		return m, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, there, m.Header.Length)
	}
	return m, nil
}

// Find returns the first payload of a type.
func (m *Message) Find(typ uint8) (Payload, bool) {
	for _, p := range m.Payloads {
		if p.Type == typ {
			return p, true
		}
	}
	return Payload{}, false
}

// Size is the size of the message that Append makes, in bytes.
func (m *Message) Size() int {
	size := HeaderLength
	for _, p := range m.Payloads {
		size += payloadHeaderLength + len(p.Body)
	}
	return size
}

// Append appends the message with chained payloads and the right length in its header.
func (m *Message) Append(dst []byte) ([]byte, error) {
	h := m.Header
	h.NextPayload = m.next(0)
	h.Length = uint32(m.Size())
	out := h.Append(dst)
	for i, p := range m.Payloads {
		length := payloadHeaderLength + len(p.Body)
		if length > maxPayload {
			return dst, fmt.Errorf("%w: %d bytes", ErrTooLong, length)
		}
		critical := uint8(0)
		if p.Critical {
			critical = flagCritical
		}
		out = append(out, m.next(i+1), critical)
		out = binary.BigEndian.AppendUint16(out, uint16(length))
		out = append(out, p.Body...)
	}
	return out, nil
}

// next is the type of the payload at index i, or PayloadNone behind the last.
func (m *Message) next(i int) uint8 {
	if i >= len(m.Payloads) {
		return PayloadNone
	}
	return m.Payloads[i].Type
}

// AppendKE appends the body of an IKEv2 key exchange payload (RFC 7296, section 3.4).
func AppendKE(dst []byte, group uint16, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, group)
	return append(append(dst, 0, 0), data...)
}
