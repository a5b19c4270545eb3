package capture

import (
	"net/netip"
	"time"
)

// A record is what is kept of a datagram for a comparison.
type record struct {
	number   int
	at       time.Time
	src, dst netip.Addr
	protocol uint8
	kind     kind
	ttl      uint8
	id       uint32
	content  uint64
	// have, total and fragments are those of the datagram, length is the size of its largest packet.
	have                     spans
	total, fragments, length int
	// expected is the size that its UDP header names.
	expected int
	message  *message

	// other is its record in the other capture, nil if it is not there.
	other *record
}

func recordOf(d *datagram) record {
	return record{
		number: d.number, at: d.at, src: d.src, dst: d.dst, protocol: d.protocol, kind: d.kind, ttl: d.ttl, id: d.id, content: d.content,
		have: d.have, total: d.total, fragments: d.first + d.later, length: d.largest, expected: d.expected, message: d.message,
	}
}

// missing is how many bytes of a datagram the other capture does not have. One that is there in one piece and is smaller was not cut by
// the network, but by the sender's network card behind the capture (GSO).
func (r *record) missing() int {
	if r.other.fragments == 0 {
		return 0
	}
	return r.have.without(r.other.have)
}
