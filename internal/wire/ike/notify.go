package ike

import (
	"encoding/binary"
	"fmt"
)

// A Notify is the body of a notify payload of either version. Nonce and vendor ID payloads have no structure, so they need no codec.
type Notify struct {
	// Protocol is the protocol that the SPI belongs to.
	Protocol uint8
	// Type is the notify message type.
	Type uint16
	// SPI and Data may be empty.
	SPI, Data []byte
}

// Notify types of IKEv2 that make a difference to a prober (RFC 7296, section 3.10.1).
const (
	NotifyUnsupportedCriticalPayload = 1
	NotifyInvalidMajorVersion        = 5
	NotifyInvalidSyntax              = 7
	NotifyNoProposalChosen           = 14
	NotifyInvalidKEPayload           = 17
	NotifyCookie                     = 16390
)

// Notify types of IKEv1 (RFC 2408, section 3.14.1).
const (
	Notify1InvalidMajorVersion = 5
	Notify1InvalidMinorVersion = 6
	Notify1NoProposalChosen    = 14
)

// firstStatus is the first notify type that is no error, in both versions (RFC 7296, section 3.10.1; RFC 2408, section 3.14.1).
const firstStatus = 16384

const (
	notifyHeaderLength = 4 // RFC 7296, section 3.10
	doiLength          = 4 // RFC 2408, section 3.14: in front of it, in IKEv1 only
	doiIPsec           = 1 // RFC 2407, section 4.2
)

// IsError tells whether the type is one of an error rather than of a status.
func (n *Notify) IsError() bool { return n.Type < firstStatus }

// ParseNotify reads the body of an IKEv2 notify payload.
func ParseNotify(body []byte) (Notify, error) {
	if len(body) < notifyHeaderLength {
		return Notify{}, fmt.Errorf("%w: %d bytes of notify", ErrTruncated, len(body))
	}
	n := Notify{Protocol: body[0], Type: binary.BigEndian.Uint16(body[2:])}
	spi := int(body[1])
	rest := body[notifyHeaderLength:]
	if spi > len(rest) {
		return n, fmt.Errorf("%w: SPI of %d bytes in a notify with %d left", ErrMalformed, spi, len(rest))
	}
	n.SPI, n.Data = rest[:spi], rest[spi:]
	return n, nil
}

// ParseNotify1 reads the body of an IKEv1 notification payload, of any domain of interpretation.
func ParseNotify1(body []byte) (Notify, error) {
	if len(body) < doiLength {
		return Notify{}, fmt.Errorf("%w: %d bytes of notification", ErrTruncated, len(body))
	}
	return ParseNotify(body[doiLength:])
}

// AppendNotify appends the body of an IKEv2 notify payload.
func AppendNotify(dst []byte, n Notify) []byte {
	dst = append(dst, n.Protocol, uint8(len(n.SPI)))
	dst = binary.BigEndian.AppendUint16(dst, n.Type)
	return append(append(dst, n.SPI...), n.Data...)
}

// AppendNotify1 appends the body of an IKEv1 notification payload of the IPsec domain of interpretation.
func AppendNotify1(dst []byte, n Notify) []byte {
	return AppendNotify(binary.BigEndian.AppendUint32(dst, doiIPsec), n)
}
