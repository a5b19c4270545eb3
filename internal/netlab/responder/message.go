package responder

import (
	"encoding/binary"
	"slices"
)

const (
	// headerLen is the length of an IKE header of either version (RFC 7296, section 3.1; RFC 2408,
	// section 3.1).
	headerLen = 28
	// markerLen is the length of the non-ESP marker, zeros in front of IKE on the NAT port (RFC
	// 3948, section 2.2).
	markerLen = 4

	// Offsets in the header.
	offsetResponderSPI = 8
	offsetNext         = 16
	offsetVersion      = 17
	offsetExchange     = 18
	offsetFlags        = 19
	offsetMessageID    = 20
	offsetLength       = 24

	exchangeMain          = 2  // RFC 2409, section 5.4: identity protection, RFC 2408, section 3.1
	exchangeAggressive    = 4  // RFC 2408, section 3.1
	exchangeInformational = 5  // RFC 2408, section 3.1
	exchangeInit          = 34 // RFC 7296, section 3.1

	flagInitiator = 0x08 // RFC 7296, section 3.1
	flagResponse  = 0x20 // RFC 7296, section 3.1

	payloadNone    = 0
	payloadNotify1 = 11 // RFC 2408, section 3.1
	payloadNotify2 = 41 // RFC 7296, section 3.2

	version1 = 0x10
	version2 = 0x20

	invalidMajorVersion = 5  // RFC 7296, section 3.10.1
	invalidSyntax       = 7  // RFC 7296, section 3.10.1
	noProposalChosen1   = 14 // RFC 2408, section 3.14.1
	invalidKEPayload    = 17 // RFC 7296, section 3.10.1

	preferredGroup = 14 // MODP-2048, RFC 3526, section 3
)

// Versions are the IKE versions of a gateway's configuration.
type Versions uint8

// The versions.
const (
	// AnyVersion answers IKEv1 and IKEv2.
	AnyVersion Versions = iota
	// Version1 ignores all messages except IKEv1.
	Version1
	// Version2 ignores IKEv1.
	Version2
)

// Answer appends to dst the reply of a gateway to the payload of a UDP datagram, and reports whether
// there is one. natt is the port where IKE follows the non-ESP marker.
func Answer(dst, payload []byte, natt bool, versions Versions) (reply []byte, ok bool) {
	if !natt {
		return answer(dst, payload, versions)
	}
	// Without the marker it is ESP, or a NAT keepalive of one byte (RFC 3948, section 2.3).
	if len(payload) < markerLen || !allZero(payload[:markerLen]) {
		return dst, false
	}
	return answer(append(dst, payload[:markerLen]...), payload[markerLen:], versions)
}

// answer appends to dst the reply of a gateway to the request, without the marker. It does not
// answer messages other than the first message of an exchange that sets up an SA, like gateways
// (RFC 7296, section 2.21.4).
func answer(dst, request []byte, versions Versions) ([]byte, bool) {
	if len(request) < headerLen || int(binary.BigEndian.Uint32(request[offsetLength:])) > len(request) {
		return dst, false
	}
	if !allZero(request[offsetResponderSPI:offsetNext]) {
		return dst, false
	}
	switch major := request[offsetVersion] >> 4; {
	case major == 1:
		return answer1(dst, request, versions)
	case major < 1 || versions == Version1:
		return dst, false
	case request[offsetFlags]&(flagInitiator|flagResponse) != flagInitiator:
		return dst, false
	case request[offsetExchange] != exchangeInit || binary.BigEndian.Uint32(request[offsetMessageID:]) != 0:
		return dst, false
	case major > 2:
		return notify2(dst, request, invalidMajorVersion, nil), true
	case request[offsetNext] == payloadNone:
		return notify2(dst, request, invalidSyntax, nil), true
	}
	return notify2(dst, request, invalidKEPayload, []byte{0, preferredGroup}), true
}

// answer1 is answer for IKEv1: no offer is acceptable.
func answer1(dst, request []byte, versions Versions) ([]byte, bool) {
	exchange := request[offsetExchange]
	if versions == Version2 || exchange != exchangeMain && exchange != exchangeAggressive {
		return dst, false
	}
	if request[offsetNext] == payloadNone || binary.BigEndian.Uint32(request[offsetMessageID:]) != 0 {
		return dst, false
	}
	dst = append(dst, request[:offsetNext]...)
	dst = append(dst, payloadNotify1, version1, exchangeInformational, 0)
	// A message ID that is unique to this exchange; there is only this one (RFC 2408, section 4.8).
	dst = append(dst, request[4:8]...)
	dst = binary.BigEndian.AppendUint32(dst, headerLen+12)
	dst = append(dst, payloadNone, 0, 0, 12)
	dst = binary.BigEndian.AppendUint32(dst, 1) // the IPsec domain of interpretation, RFC 2407, section 4.6.3
	dst = append(dst, 1, 0)                     // protocol ISAKMP, no SPI: the cookies say it
	return binary.BigEndian.AppendUint16(dst, noProposalChosen1), true
}

// notify2 appends an IKEv2 response with one notification (RFC 7296, section 3.10).
func notify2(dst, request []byte, kind uint16, data []byte) []byte {
	length := 8 + len(data)
	dst = append(dst, request[:offsetNext]...)
	dst = append(dst, payloadNotify2, version2, exchangeInit, flagResponse)
	dst = append(dst, request[offsetMessageID:offsetLength]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(headerLen+length))
	dst = append(dst, payloadNone, 0, 0, byte(length), 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	return append(dst, data...)
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}
