package ike

import (
	"encoding/binary"
	"fmt"
)

// A Notify is the body of a notify payload of either version.
type Notify struct {
	Protocol  uint8 // of the SPI
	Type      uint16
	SPI, Data []byte // may be empty
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

// firstStatus is the first notify type that is not an error, in both versions (RFC 7296, section
// 3.10.1; RFC 2408, section 3.14.1).
const firstStatus = 16384

const (
	notifyHeaderLength = 4 // RFC 7296, section 3.10
	doiLength          = 4 // RFC 2408, section 3.14: in front of it, in IKEv1 only
	doiIPsec           = 1 // RFC 2407, section 4.2
)

// IsError reports whether the type is one of an error rather than of a status.
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
