package evidence

import (
	"encoding/binary"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// A record is a kind, the number of its exchange, and then fields in a fixed order: varints, bytes, and strings behind their length. The
// records of the answers follow that of the exchange.
const (
	kindExchange byte = iota
	kindAnswer
)

// The flags of records.
const (
	flagDF byte = 1 << iota
	flagLate
	flagDuplicate
	flagLocalDrops
)

// maxText is how much is kept of a purpose, a device's name or an error.
const maxText = 160

// times are kept in nanoseconds since 1970; 0 is the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func flag(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

func appendInt(b []byte, n int) []byte { return binary.AppendVarint(b, int64(n)) }

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func appendText(b []byte, s string) []byte {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v4 := a.As4()
		return append(append(b, byte(len(v4))), v4[:]...)
	case a.IsValid():
		v6 := a.As16()
		return append(append(b, byte(len(v6))), v6[:]...)
	}
	return append(b, 0)
}

// appendHeader appends what is known of a probe before it is sent.
func appendHeader(b []byte, p *netio.Packet, timeout time.Duration) []byte {
	b = append(b, flag(p.DontFragment, flagDF), byte(p.Protocol), p.TTL)
	b = binary.AppendUvarint(b, uint64(p.Port))
	b = appendInt(b, p.WireSize())
	b = appendInt(b, p.FragmentSize)
	b = binary.AppendVarint(b, int64(timeout))
	b = appendAddr(b, p.Path.Dst)
	b = appendText(b, p.Path.Interface)
	return appendText(b, p.Purpose)
}

// appendExchange appends the record of a probe, of which header was encoded by appendHeader and wire are its packets, encoded by appendPacket.
func appendExchange(b []byte, id uint64, sent time.Time, header []byte, packets, omitted int, wire []byte) []byte {
	b = binary.AppendUvarint(append(b, kindExchange), id)
	b = binary.AppendVarint(b, nanoseconds(sent))
	b = append(b, header...)
	b = appendInt(b, omitted)
	b = appendInt(b, packets)
	return append(b, wire...)
}

// appendPacket appends a packet, of which bytes are kept.
func appendPacket(b []byte, at time.Time, length int, bytes []byte) []byte {
	return appendBytes(appendInt(binary.AppendVarint(b, nanoseconds(at)), length), bytes)
}

// appendAnswer appends the record of an answer, of whose packet the bytes are kept.
func appendAnswer(b []byte, id uint64, a *netio.Answer, bytes []byte) []byte {
	b = binary.AppendUvarint(append(b, kindAnswer), id)
	flags := flag(a.Late, flagLate) | flag(a.Duplicate, flagDuplicate) | flag(a.LocalDrops, flagLocalDrops) | flag(a.DontFragment, flagDF)
	b = append(b, byte(a.Outcome), flags, a.Type, a.Code, a.TTL)
	b = appendAddr(b, a.From)
	b = appendInt(b, a.MTU)
	b = appendInt(b, a.FragmentSize)
	b = binary.AppendVarint(b, int64(a.RoundTrip))
	reason := ""
	if a.Err != nil {
		reason = a.Err.Error()
	}
	b = appendText(b, reason)
	return appendPacket(b, a.Received, len(a.Wire), bytes)
}

// A reader reads records. What it returns after an error means nothing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// take returns the next n bytes, which stay part of the record.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text() string { return string(r.take(r.uint())) }

func (r *reader) addr() netip.Addr {
	n := r.byte()
	a, ok := netip.AddrFromSlice(r.take(uint64(n)))
	if n != 0 && !ok {
		r.fail()
	}
	return a
}

func (r *reader) packet() Packet {
	return Packet{At: instant(r.int()), Length: int(r.int()), Bytes: r.take(r.uint())}
}

func (r *reader) exchange() Exchange {
	e := Exchange{Sent: instant(r.int())}
	e.DontFragment = r.byte()&flagDF != 0
	e.Protocol, e.TTL = netio.Protocol(r.byte()), r.byte()
	e.Port = uint16(r.uint()) //nolint:gosec // it was one
	e.Size, e.FragmentSize = int(r.int()), int(r.int())
	e.Timeout = time.Duration(r.int())
	e.Dst, e.Interface, e.Purpose = r.addr(), r.text(), r.text()
	e.Omitted = int(r.int())
	for n := r.int(); n > 0 && !r.bad; n-- {
		e.Packets = append(e.Packets, r.packet())
	}
	return e
}

func (r *reader) answer() Answer {
	a := Answer{Outcome: netio.Outcome(r.byte())}
	flags := r.byte()
	a.Late, a.Duplicate = flags&flagLate != 0, flags&flagDuplicate != 0
	a.LocalDrops, a.DontFragment = flags&flagLocalDrops != 0, flags&flagDF != 0
	a.Type, a.Code, a.TTL = r.byte(), r.byte(), r.byte()
	a.From = r.addr()
	a.MTU, a.FragmentSize = int(r.int()), int(r.int())
	a.RoundTrip = time.Duration(r.int())
	a.Err = r.text()
	a.Packet = r.packet()
	return a
}

// decode reads the records of a queue. An answer whose exchange is forgotten already is left out.
func decode(b []byte) []Exchange {
	var all []Exchange
	places := make(map[uint64]int)
	records(b, func(record []byte) {
		r := reader{b: record}
		switch kind, id := r.byte(), r.uint(); kind {
		case kindExchange:
			if e := r.exchange(); !r.bad {
				places[id] = len(all)
				all = append(all, e)
			}
		case kindAnswer:
			if a := r.answer(); !r.bad {
				if i, ok := places[id]; ok {
					all[i].Answers = append(all[i].Answers, a)
				}
			}
		}
	})
	return all
}
