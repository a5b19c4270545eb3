// Package ipsec reads and writes the headers of ESP and AH, distinguishes the protocols that share
// UDP port 4500, and computes what an ESP tunnel leaves of a path MTU. It decrypts nothing.
package ipsec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of headers, in bytes.
const (
	// HeaderLengthESP is the size of SPI and sequence number (RFC 4303, section 2).
	HeaderLengthESP = 8
	// HeaderLengthAH is the size of an AH header without its ICV (RFC 4302, section 2).
	HeaderLengthAH = 12
	// MarkerLength is the size of the non-ESP marker (RFC 3948, section 2.2).
	MarkerLength = 4
)

// What can be wrong with a packet.
var (
	// ErrTruncated means that the bytes end before the header does.
	ErrTruncated = errors.New("packet ends inside an IPsec header")
	// ErrMalformed means that a header contradicts itself.
	ErrMalformed = errors.New("malformed IPsec header")
)

// ESP is the part of an ESP packet that is not encrypted (RFC 4303, section 2).
type ESP struct{ SPI, Seq uint32 }

// ParseESP reads an ESP header and returns it with what follows.
func ParseESP(b []byte) (ESP, []byte, error) {
	if len(b) < HeaderLengthESP {
		return ESP{}, nil, fmt.Errorf("%w: %d bytes of ESP", ErrTruncated, len(b))
	}
	return ESP{SPI: binary.BigEndian.Uint32(b), Seq: binary.BigEndian.Uint32(b[4:])}, b[HeaderLengthESP:], nil
}

// Append appends the header.
func (h ESP) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, h.SPI)
	return binary.BigEndian.AppendUint32(dst, h.Seq)
}

// AH is an authentication header (RFC 4302, section 2).
type AH struct {
	NextHeader uint8
	SPI, Seq   uint32
	// ICV is the integrity check value with its padding, as far as it is there. Its size must be a
	// multiple of 4, and at most 1016.
	ICV []byte
}

// ParseAH reads an authentication header and returns it with what follows. An ICV that is cut short
// is no error.
func ParseAH(b []byte) (AH, []byte, error) {
	if len(b) < HeaderLengthAH {
		return AH{}, nil, fmt.Errorf("%w: %d bytes of AH", ErrTruncated, len(b))
	}
	h := AH{NextHeader: b[0], SPI: binary.BigEndian.Uint32(b[4:]), Seq: binary.BigEndian.Uint32(b[8:])}
	length := (int(b[1]) + 2) * 4 // RFC 4302, section 2.2: in words of 4 bytes, minus 2
	if length < HeaderLengthAH {
		return h, nil, fmt.Errorf("%w: AH of %d bytes", ErrMalformed, length)
	}
	length = min(length, len(b))
	h.ICV = b[HeaderLengthAH:length]
	return h, b[length:], nil
}

// Append appends the header with its ICV.
func (h *AH) Append(dst []byte) []byte {
	dst = append(dst, h.NextHeader, uint8((HeaderLengthAH+len(h.ICV))/4-2), 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, h.SPI)
	dst = binary.BigEndian.AppendUint32(dst, h.Seq)
	return append(dst, h.ICV...)
}

// Encapsulated is what a UDP datagram on port 4500 holds.
type Encapsulated uint8

// What can be in a datagram on port 4500.
const (
	// EncapsulatedOther is nothing that belongs there: too short for any of the others.
	EncapsulatedOther Encapsulated = iota
	// EncapsulatedESP is an ESP packet, whose SPI is never 0 (RFC 3948, section 2.1).
	EncapsulatedESP
	// EncapsulatedIKE is an IKE message behind the non-ESP marker (RFC 3948, section 2.2).
	EncapsulatedIKE
	// EncapsulatedKeepalive is a NAT keepalive (RFC 3948, section 2.3).
	EncapsulatedKeepalive
)

// Decapsulate returns the kind of the payload of a UDP datagram on port 4500, and the ESP packet,
// the IKE message without its marker, or the payload unchanged.
func Decapsulate(payload []byte) (Encapsulated, []byte) {
	switch {
	case len(payload) == 1 && payload[0] == 0xff:
		return EncapsulatedKeepalive, payload
	case len(payload) >= MarkerLength && binary.BigEndian.Uint32(payload) == 0:
		return EncapsulatedIKE, payload[MarkerLength:]
	case len(payload) >= HeaderLengthESP:
		return EncapsulatedESP, payload
	}
	return EncapsulatedOther, payload
}
