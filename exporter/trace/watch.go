package trace

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// Watch returns a Network that sends by network and stores probes and answers in the ring.
func (g *Ring) Watch(network collectors.Network) collectors.Network {
	if g.recorder.Off() {
		return network
	}
	return &watched{Network: network, ring: g}
}

type watched struct {
	collectors.Network
	ring *Ring
}

// LocalDrops returns how many answers this host has lost, if the network knows it. Collectors ask
// for it by a type assertion, which embedding alone would hide.
func (w *watched) LocalDrops(v6 bool) uint64 {
	if d, ok := w.Network.(interface{ LocalDrops(v6 bool) uint64 }); ok {
		return d.LocalDrops(v6)
	}
	return 0
}

// A probe is a packet that was sent through a watched Network, until the network forgets it.
//
// An answer may arrive before Send returns with all packets. The probe is stored with both:
//
//	Send returns ──┐
//	               ├──▶ stored ──further answers──▶ stored too
//	first answer ──┘
//
// A network calls OnWire before Send returns.
type probe struct {
	ring  *Ring
	owner func(netio.Answer)

	mu       sync.Mutex
	returned bool
	answers  uint8
	// pending is the probe until it is stored as entry.
	pending *pending
	entry   Entry
}

// pending is a probe that is not stored yet. It is reused: a network may remember a probe for minutes.
type pending struct {
	probe    *probe
	exchange Exchange
	// wire backs the bytes of packets and early answers.
	wire []byte
	// observe is onWire, also calls the caller's own.
	observe, also func(at time.Time, packet []byte)
}

var pendings = sync.Pool{New: func() any {
	q := &pending{wire: make([]byte, 0, 2*snapLength)}
	q.observe = q.onWire
	return q
}}

// Send implements collectors.Network.
func (w *watched) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if w.records(p) {
		p.Recorder = (*echoes)(w.ring)
		w.Network.Send(ctx, p, timeout, answer)
		p.Recorder = nil // the caller may send it again
		return
	}
	q := pendings.Get().(*pending) //nolint:errcheck // nothing else is in there
	o := &probe{ring: w.ring, owner: answer, pending: q}
	packets, answers := q.exchange.Packets[:0], q.exchange.Answers[:0]
	q.exchange = Of(p, timeout, time.Now())
	q.exchange.Packets, q.exchange.Answers = packets, answers
	q.probe, q.also, q.wire = o, p.OnWire, q.wire[:0]
	packet := *p // the caller may send the same one again
	packet.OnWire = q.observe
	w.Network.Send(ctx, &packet, timeout, o.onAnswer)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returned = true
	if o.answers > 0 {
		o.store()
	}
}

// keep copies the part of a packet that is kept. It stays where it is until the probe is stored.
func (q *pending) keep(packet []byte) []byte {
	packet = q.probe.ring.kept(packet)
	start := len(q.wire)
	q.wire = append(q.wire, packet...)
	return q.wire[start:len(q.wire):len(q.wire)]
}

func (q *pending) onWire(at time.Time, packet []byte) {
	o := q.probe
	o.mu.Lock()
	if e := &q.exchange; o.ring.snapped && len(e.Packets) == maxPackets {
		e.Omitted++
	} else {
		e.Packets = append(e.Packets, Packet{At: at, Length: len(packet), Bytes: q.keep(packet)})
	}
	o.mu.Unlock()
	if q.also != nil {
		q.also(at, packet)
	}
}

func (o *probe) onAnswer(a netio.Answer) {
	o.record(&a)
	o.owner(a)
}

// record stores an answer, or holds it until the probe can be stored.
func (o *probe) record(a *netio.Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers == maxAnswers {
		return
	}
	o.answers++
	one := AnswerOf(a)
	q := o.pending
	if q == nil {
		o.ring.Further(o.entry, &one)
		return
	}
	if o.answers == 1 && !a.Sent.IsZero() {
		q.exchange.Sent = a.Sent
	}
	if !o.returned {
		one.Packet.Bytes = q.keep(one.Packet.Bytes)
	}
	q.exchange.Answers = append(q.exchange.Answers, one)
	if o.returned {
		o.store()
	}
}

// store stores the probe with the answers so far. Under the lock.
func (o *probe) store() {
	q := o.pending
	o.entry, o.pending = o.ring.Record(&q.exchange), nil
	q.probe, q.also = nil, nil
	if cap(q.wire) <= usualBody {
		pendings.Put(q)
	}
}
