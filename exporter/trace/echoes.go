package trace

import (
	"sync"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// echoes is a ring as the sockets know it: they show an echo together with its first answer, so that
// nothing is kept for it before (netio.Recorder).
type echoes Ring

// records reports whether a network shows a packet to its Recorder.
func (w *watched) records(p *netio.Packet) bool {
	n, ok := w.Network.(interface{ Records(p *netio.Packet) bool })
	return ok && p.OnWire == nil && n.Records(p)
}

// Record implements netio.Recorder.
func (g *echoes) Record(r *netio.Request, a *netio.Answer, before netio.Entry) netio.Entry {
	ring := (*Ring)(g)
	one := AnswerOf(a)
	one.Packet.Bytes = ring.kept(one.Packet.Bytes)
	if before != (netio.Entry{}) {
		entry, answers := opened(before)
		if answers >= maxAnswers {
			return before
		}
		ring.Further(entry, &one)
		return sealed(entry, answers+1)
	}
	in := rooms.Get().(*room) //nolint:errcheck // nothing else is in there
	defer rooms.Put(in)
	in.answers[0] = one
	in.packets[0] = Packet{At: r.At, Length: len(r.Wire), Bytes: ring.kept(r.Wire)}
	e := Of(&r.Packet, r.Timeout, r.At)
	e.Answers = in.answers[:]
	if len(r.Wire) > 0 {
		e.Packets = in.packets[:]
	}
	return sealed(ring.Record(&e), 1)
}

// A room is what an exchange with one packet and one answer needs while it is stored.
type room struct {
	answers [1]Answer
	packets [1]Packet
}

var rooms = sync.Pool{New: func() any { return &room{} }}

// kept is the part of a packet that the ring keeps.
func (g *Ring) kept(packet []byte) []byte {
	if g.snapped {
		return snap(packet)
	}
	return packet
}

// sealed puts an entry, and the number of answers so far, into one for the sockets. It is never the
// zero Entry.
func sealed(e Entry, answers uint8) netio.Entry {
	return netio.Entry{Number: uint64(e.number)<<16 | uint64(e.kind)<<8 | uint64(answers), Detail: uint64(e.sent.UnixNano())}
}

func opened(e netio.Entry) (entry Entry, answers uint8) {
	return Entry{number: uint32(e.Number >> 16), kind: kind(e.Number >> 8), sent: time.Unix(0, int64(e.Detail))}, uint8(e.Number)
}
