package capture

import (
	"net/netip"
	"time"
)

// A record holds the properties of a datagram that the comparison needs.
type record struct {
	number   int
	at       time.Time
	src, dst netip.Addr
	protocol uint8
	kind     kind
	ttl      uint8
	id       uint32
	content  uint64
	// have, total and fragments are the datagram's; length is that of its largest packet.
	have                     spans
	total, fragments, length int
	expected                 int // size that its UDP header names
	message                  *message
	part                     int     // of the message
	other                    *record // in the other capture, nil if it is not there
}

func recordOf(d *datagram) record {
	return record{
		number: d.number, at: d.at, src: d.src, dst: d.dst, protocol: d.protocol, kind: d.kind, ttl: d.ttl, id: d.id, content: d.content,
		have: d.have, total: d.total, fragments: d.first + d.later, length: d.largest, expected: d.expected, message: d.message, part: d.part,
	}
}

// missing is how many bytes of a datagram the other capture does not have. A smaller one in one
// piece was cut by the sender's network card behind the capture (GSO), not by the network.
func (r *record) missing() int {
	if r.other.fragments == 0 {
		return 0
	}
	return r.have.without(r.other.have)
}
