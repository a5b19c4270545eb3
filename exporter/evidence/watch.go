package evidence

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

const (
	// maxPackets is how many fragments of a probe a snapped ring keeps.
	maxPackets = 16
	// maxAnswers is how many answers to a probe are kept: a network that answers without end must not push out everything else.
	maxAnswers = 8
	// usualRecord holds the record of nearly every probe or answer, so that none has to be allocated.
	usualRecord = 512
	// usualHeader holds what is stored of nearly every probe beside its packets.
	usualHeader = 96
)

// Watch returns a Network that sends by network and stores in the ring what is sent and what comes of it. Several may share a ring.
func (g *Ring) Watch(network collectors.Network) collectors.Network {
	return &watched{Network: network, ring: g}
}

type watched struct {
	collectors.Network
	ring *Ring
}

// LocalDrops passes on what some collectors ask of a Network besides: how many answers this host has lost.
func (w *watched) LocalDrops(v6 bool) uint64 {
	if d, ok := w.Network.(interface{ LocalDrops(v6 bool) uint64 }); ok {
		return d.LocalDrops(v6)
	}
	return 0
}

// A probe is one that was sent through a watched Network, until the network forgets it.
//
// Its answers may come before Send returns, and so before all its packets are known. It is stored when it has both:
//
//	Send returns ──┐
//	               ├──▶ stored ──further answers──▶ stored too
//	first answer ──┘
type probe struct {
	ring  *Ring
	id    uint64
	owner func(netio.Answer)

	mu   sync.Mutex
	sent time.Time
	// header is what is stored of the probe itself. wire are its encoded packets, packets their number, omitted that of those which are not
	// kept.
	header, wire     []byte
	packets, omitted int
	// usual holds the header and the wire of a probe that is one snapped packet.
	usual struct {
		header [usualHeader]byte
		wire   [snapLength + 16]byte
	}

	answers                   int
	early                     [][]byte
	returned, decided, stored bool
	fault                     bool
}

// Send implements collectors.Network.
func (w *watched) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	o := &probe{ring: w.ring, id: w.ring.next.Add(1), owner: answer, sent: time.Now()}
	o.header, o.wire = appendHeader(o.usual.header[:0], p, timeout), o.usual.wire[:0]
	packet := *p // the caller may send the same one again
	packet.OnWire = o.onWire
	if also := p.OnWire; also != nil {
		packet.OnWire = func(at time.Time, b []byte) {
			o.onWire(at, b)
			also(at, b)
		}
	}
	w.Network.Send(ctx, &packet, timeout, o.onAnswer)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returned = true
	if o.decided {
		o.store()
	}
}

// keep is what is kept of a packet.
func (o *probe) keep(packet []byte) []byte {
	if o.ring.snapped {
		return snap(packet)
	}
	return packet
}

func (o *probe) onWire(at time.Time, packet []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ring.snapped && o.packets == maxPackets {
		o.omitted++
		return
	}
	o.packets++
	o.wire = appendPacket(o.wire, at, len(packet), o.keep(packet))
}

func (o *probe) onAnswer(a netio.Answer) {
	o.record(&a)
	o.owner(a)
}

// record stores an answer, or keeps it until the probe can be stored.
func (o *probe) record(a *netio.Answer) {
	var scratch [usualRecord]byte
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.decided {
		o.decided, o.fault = true, fault(a.Outcome, a.LocalDrops)
		if !a.Sent.IsZero() {
			o.sent = a.Sent
		}
	}
	if o.answers++; o.answers > maxAnswers {
		return
	}
	b := appendAnswer(scratch[:0], o.id, a, o.keep(a.Wire))
	switch {
	case o.stored:
		o.ring.store(o.fault, b)
	case o.returned:
		o.store(b)
	default:
		o.early = append(o.early, append([]byte(nil), b...))
	}
}

// store stores the probe with what answers there are. Under the lock.
func (o *probe) store(last ...[]byte) {
	var scratch [usualRecord]byte
	exchange := appendExchange(scratch[:0], o.id, o.sent, o.header, o.packets, o.omitted, o.wire)
	o.ring.store(o.fault, exchange)
	o.ring.store(o.fault, o.early...)
	o.ring.store(o.fault, last...)
	o.stored = true
	o.early, o.header, o.wire = nil, nil, nil
}
