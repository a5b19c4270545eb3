// Package stamp reads and writes the test packets of the Simple Two-Way Active Measurement Protocol
// (RFC 8762), their optional extensions (RFC 8972), and the extension for replies of another size
// than the request (draft-ietf-ippm-asymmetrical-pkts). It keeps no state, and knows neither
// sockets nor the time.
//
//	Session-Sender                                      Session-Reflector
//	     │  Test: sequence number, time stamp, TLVs  ──────▶  │
//	     │  ◀──────  Reply: the same repeated, its own, TLVs  │
//
// Both packets have the same size without their TLVs: 44 bytes in unauthenticated mode, 112 bytes
// in authenticated mode, the last 16 of which are an HMAC.
package stamp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Port is the UDP port of a Session-Reflector, unless it is configured (RFC 8762, section 4.1).
const Port = 862

// Sizes of packets without TLVs, in bytes (RFC 8762, sections 4.2.1, 4.2.2, 4.3.1 and 4.3.2).
const (
	SizeUnauthenticated = 44
	SizeAuthenticated   = 112
)

// What can be wrong with a packet.
var (
	// ErrTruncated means that the bytes end before the packet or the TLV does.
	ErrTruncated = errors.New("STAMP packet is too short")
	// ErrMalformed means that a TLV has a size that its type does not allow.
	ErrMalformed = errors.New("malformed STAMP TLV")
)

// Mode is the form of the packets of a session. Both ends have to know it: packets do not show it.
type Mode uint8

// The modes of RFC 8762, section 4.
const (
	Unauthenticated Mode = iota
	Authenticated
)

// Size is the size of a packet without TLVs, in bytes.
func (m Mode) Size() int {
	if m == Authenticated {
		return SizeAuthenticated
	}
	return SizeUnauthenticated
}

// check returns an error for bytes that are too few for a packet.
func (m Mode) check(b []byte) error {
	if len(b) < m.Size() {
		return fmt.Errorf("%w: %d bytes of %d", ErrTruncated, len(b), m.Size())
	}
	return nil
}

// A Test is a packet of a Session-Sender without its TLVs.
type Test struct {
	// Sequence begins at 0 and increases by 1 with each packet of the session.
	Sequence uint32
	// Timestamp is when it was sent, with the accuracy of Error.
	Timestamp Timestamp
	Error     ErrorEstimate
	// SSID is the STAMP Session Identifier (RFC 8972, section 3), 0 if there is none.
	SSID uint16
}

// A Reply is a packet of a Session-Reflector without its TLVs.
type Reply struct {
	// Test has the fields of the reply itself. The sequence number of a stateful Session-Reflector
	// counts its replies, that of a stateless one repeats the number of the request.
	Test
	// Received is when the request arrived.
	Received Timestamp
	// Sender has the fields of the request, except for its SSID.
	Sender Test
	// TTL is the TTL or hop limit with which the request arrived.
	TTL uint8
}

// The offsets of the fields of a packet.
type layout struct{ timestamp, received, sender, senderTimestamp, ttl int }

func (m Mode) layout() layout {
	if m == Authenticated {
		return layout{timestamp: 16, received: 32, sender: 48, senderTimestamp: 64, ttl: 80}
	}
	return layout{timestamp: 4, received: 16, sender: 24, senderTimestamp: 28, ttl: 40}
}

// The distances from a time stamp to the fields behind it.
const (
	toError = 8
	toSSID  = 10
)

// Append appends a request without TLVs. In authenticated mode, its HMAC is made with key.
func (t *Test) Append(dst []byte, m Mode, key []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, m.Size())...)
	t.put(dst[start:], m)
	return seal(dst, start, m, key)
}

func (t *Test) put(b []byte, m Mode) {
	at := m.layout().timestamp
	binary.BigEndian.PutUint32(b, t.Sequence)
	binary.BigEndian.PutUint64(b[at:], uint64(t.Timestamp))
	binary.BigEndian.PutUint16(b[at+toError:], t.Error.Bits())
	binary.BigEndian.PutUint16(b[at+toSSID:], t.SSID)
}

func get(b []byte, m Mode) Test {
	at := m.layout().timestamp
	return Test{
		Sequence: binary.BigEndian.Uint32(b), Timestamp: Timestamp(binary.BigEndian.Uint64(b[at:])),
		Error: ParseErrorEstimate(binary.BigEndian.Uint16(b[at+toError:])), SSID: binary.BigEndian.Uint16(b[at+toSSID:]),
	}
}

// ParseTest reads a request and returns it with the bytes of its TLVs. It does not verify the HMAC.
func ParseTest(b []byte, m Mode) (t Test, tlvs []byte, err error) {
	if err := m.check(b); err != nil {
		return Test{}, nil, err
	}
	return get(b, m), b[m.Size():], nil
}

// OnlyTest reports whether the fields are zero that a request leaves to the Session-Reflector. They
// never are in a reply, so a reply that comes back as a request is recognized.
func OnlyTest(b []byte, m Mode) bool {
	if m.check(b) != nil {
		return false
	}
	end := m.Size()
	if m == Authenticated {
		end -= SizeHMAC
	}
	for _, v := range b[m.layout().timestamp+toSSID+2 : end] {
		if v != 0 {
			return false
		}
	}
	return true
}

// Append appends a reply without TLVs. In authenticated mode, its HMAC is made with key.
func (r *Reply) Append(dst []byte, m Mode, key []byte) []byte {
	start, at := len(dst), m.layout()
	dst = append(dst, make([]byte, m.Size())...)
	b := dst[start:]
	r.put(b, m)
	binary.BigEndian.PutUint64(b[at.received:], uint64(r.Received))
	binary.BigEndian.PutUint32(b[at.sender:], r.Sender.Sequence)
	binary.BigEndian.PutUint64(b[at.senderTimestamp:], uint64(r.Sender.Timestamp))
	binary.BigEndian.PutUint16(b[at.senderTimestamp+toError:], r.Sender.Error.Bits())
	b[at.ttl] = r.TTL
	return seal(dst, start, m, key)
}

// ParseReply reads a reply and returns it with the bytes of its TLVs. It does not verify the HMAC.
func ParseReply(b []byte, m Mode) (r Reply, tlvs []byte, err error) {
	if err := m.check(b); err != nil {
		return Reply{}, nil, err
	}
	at := m.layout()
	return Reply{
		Test: get(b, m), Received: Timestamp(binary.BigEndian.Uint64(b[at.received:])), TTL: b[at.ttl],
		Sender: Test{
			Sequence: binary.BigEndian.Uint32(b[at.sender:]), Timestamp: Timestamp(binary.BigEndian.Uint64(b[at.senderTimestamp:])),
			Error: ParseErrorEstimate(binary.BigEndian.Uint16(b[at.senderTimestamp+toError:])),
		},
	}, b[m.Size():], nil
}
