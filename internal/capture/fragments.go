package capture

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/wire/ip"
)

const (
	// timeout4 and timeout6 are how long a receiver waits for the rest of a datagram. Hosts differ
	// (Linux: 30 s for IPv4 and 60 s for IPv6; a Cisco ASA: 5 s); before that time is over, no
	// fragment counts as lost.
	timeout4 = 30 * time.Second
	timeout6 = 60 * time.Second // RFC 8200, section 4.5
	// maxOpen is how many datagrams are put together at the same time.
	maxOpen = 4096
	// duplicateWithin is how soon an equal packet is a copy of the capture, not sent again.
	duplicateWithin = 100 * time.Millisecond
)

func reassemblyTimeout(src netip.Addr) time.Duration {
	if src.Is6() {
		return timeout6
	}
	return timeout4
}

// A fragmentKey is common to the fragments of a datagram (RFC 791, section 3.2).
type fragmentKey struct {
	src, dst netip.Addr
	protocol uint8
	id       uint32
}

// A pending is a datagram of which not everything has come.
type pending struct {
	key   fragmentKey
	d     *datagram
	until time.Time // when the rest can no longer be of use
	// closed reports that the datagram was passed on: only copies of its fragments can follow.
	closed bool
}

// reassembly puts datagrams together. It keeps the beginning of their payloads only.
type reassembly struct {
	open  map[fragmentKey]*pending
	order []*pending // open in the order of arrival
	// done gets a datagram that is complete or can no longer become so; judged: that is known.
	done func(d *datagram, judged bool)
}

func newReassembly(done func(d *datagram, judged bool)) *reassembly {
	return &reassembly{open: make(map[fragmentKey]*pending), done: done}
}

// add takes a fragment and returns its datagram, and whether its start is new.
func (r *reassembly) add(p *packet) (d *datagram, begins bool) {
	key := fragmentKey{p.src, p.dst, p.protocol, p.id}
	o := r.open[key]
	if o != nil && o.closed && (p.at.Sub(o.d.at) >= time.Second || !o.d.have.contains(p.offset, p.offset+p.size)) {
		o = nil // the identification is used again
	}
	if o == nil {
		o = r.begin(key, p)
	}
	d = o.d
	if p.offset == 0 {
		begins = d.first == 0
		d.first++
	} else {
		d.later++
	}
	d.largest = max(d.largest, p.length)
	d.have.add(p.offset, p.offset+p.size)
	if !p.more {
		d.total = p.offset + p.size
	}
	return d, begins
}

func (r *reassembly) begin(key fragmentKey, p *packet) *pending {
	for len(r.order) >= maxOpen {
		r.end(r.order[0], false)
		r.order = r.order[1:]
	}
	d := &datagram{packet: *p, kind: kindNone}
	d.payload = nil
	if p.protocol == ip.ProtocolUDP || p.protocol == ip.ProtocolESP || p.protocol == ip.ProtocolAH {
		d.kind = kindFragment // its first fragment shows its kind
	}
	o := &pending{key: key, d: d, until: p.at.Add(reassemblyTimeout(p.src))}
	r.open[key] = o
	r.order = append(r.order, o)
	return o
}

// complete passes on a complete datagram. Its key stays for copies of its fragments.
func (r *reassembly) complete(d *datagram) {
	if o := r.open[fragmentKey{d.src, d.dst, d.protocol, d.id}]; o != nil && o.d == d && !o.closed && d.whole() {
		o.closed = true
		r.done(d, true)
	}
}

// expire hands out what has waited too long.
func (r *reassembly) expire(now time.Time) {
	for len(r.order) > 0 && r.order[0].until.Before(now) {
		r.end(r.order[0], true)
		r.order = r.order[1:]
	}
}

// flush hands out the rest. What could still have come when the capture ended is not judged.
func (r *reassembly) flush(now time.Time) {
	for _, o := range r.order {
		r.end(o, o.until.Before(now))
	}
	r.order = nil
}

func (r *reassembly) end(o *pending, judged bool) {
	if r.open[o.key] == o {
		delete(r.open, o.key)
	}
	if !o.closed {
		o.closed = true
		o.d.missing = judged
		r.done(o.d, judged)
	}
}
