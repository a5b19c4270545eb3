package netsim

import (
	"encoding/binary"
	"slices"
)

// The parts of an IKE header (RFC 7296, section 3.1; RFC 2408, section 3.1).
const (
	markerSize    = 4 // RFC 3948, section 2.2
	headerSize    = 28
	offsetNext    = 16
	offsetVersion = 17
	offsetXchg    = 18
	offsetFlags   = 19
	offsetLength  = 24

	major1, major2 = 1, 2
	flagResponse   = 0x20

	xchgInformational1       = 5 // RFC 2408, section 3.1
	notify1, notify2         = 11, 41
	noProposalChosen         = 14 // the same number in both versions
	notify1Size, notify2Size = 12, 8
	doiIPsec, protocolIKE1   = 1, 1
)

// Major returns the major version of an IKE message in a UDP payload, with or without the non-ESP
// marker, or 0 for any other payload.
func Major(payload []byte) uint8 {
	m, _ := message(payload)
	if m == nil {
		return 0
	}
	return m[offsetVersion] >> 4
}

// message returns the IKE message of a UDP payload and the number of bytes before it, or nil.
func message(payload []byte) (m []byte, front int) {
	if len(payload) > markerSize && binary.BigEndian.Uint32(payload) == 0 {
		front = markerSize
	}
	if len(payload) < front+headerSize {
		return nil, 0
	}
	return payload[front:], front
}

// Responder answers every IKE message with an error in its own version, NO_PROPOSAL_CHOSEN, under
// the same initiator SPI. It does not answer any other payload. It ignores IKE messages of other
// major versions than the given ones; without arguments it answers all.
func Responder(majors ...uint8) func(port uint16, payload []byte) []byte {
	return func(_ uint16, payload []byte) []byte {
		request, front := message(payload)
		if request == nil || len(majors) > 0 && !slices.Contains(majors, Major(payload)) {
			return nil
		}
		reply := make([]byte, front+headerSize, front+headerSize+notify1Size)
		m := reply[front:]
		copy(m, request[:8])
		if Major(payload) == major1 {
			m[offsetNext], m[offsetVersion], m[offsetXchg] = notify1, major1<<4, xchgInformational1
			binary.BigEndian.PutUint32(m[offsetLength:], headerSize+notify1Size)
			return append(reply, 0, 0, 0, notify1Size, 0, 0, 0, doiIPsec, protocolIKE1, 0, 0, noProposalChosen)
		}
		m[offsetNext], m[offsetVersion], m[offsetXchg] = notify2, major2<<4, request[offsetXchg]
		m[offsetFlags] = flagResponse
		binary.BigEndian.PutUint32(m[offsetLength:], headerSize+notify2Size)
		return append(reply, 0, 0, 0, notify2Size, 0, 0, 0, noProposalChosen)
	}
}
