package trace

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// The body of an exchange has its fields in a fixed order and width, so that the bodies of two
// exchanges of one kind differ in few bytes: times, identifiers, tokens and checksums. Texts and
// packets have their length in front.

// The flags of exchanges and answers.
const (
	flagDF byte = 1 << iota
	flagLate
	flagDuplicate
	flagLocalDrops
	// flagHome means that the destination is that of the ring.
	flagHome
)

const (
	// maxText is the number of bytes kept of a purpose, an interface name or an error.
	maxText = 160
	// never is the zero time.
	never = math.MinInt64
	// fromNobody and fromPeer are addresses that take no bytes of their own.
	fromNobody, fromPeer = 0, 1
)

// nanoseconds encodes a time as nanoseconds since 1970; 0 is the zero time.
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

func flagged(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

// Appending to a body. Integers are little-endian.
func append32(b []byte, n int) []byte { return binary.LittleEndian.AppendUint32(b, uint32(n)) }

func append64(b []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), maxText)]
	return append(append(b, byte(len(s))), s...)
}

// appendAddr appends an address, which is often that of the peer.
func appendAddr(b []byte, a, peer netip.Addr) []byte {
	switch {
	case !a.IsValid():
		return append(b, fromNobody)
	case a == peer:
		return append(b, fromPeer)
	case a.Is4():
		four := a.As4()
		return append(append(b, byte(len(four))), four[:]...)
	}
	sixteen := a.As16()
	return append(append(b, byte(len(sixteen))), sixteen[:]...)
}

// A layout has what a ring knows of an exchange.
type layout struct {
	number  uint32
	purpose uint8      // its number, 0 for one without
	home    netip.Addr // the destination of the ring
	snapped bool
}

// appendExchange appends the body of an exchange.
func (c *layout) appendExchange(b []byte, e *Exchange) []byte {
	sent := nanoseconds(e.Sent)
	b = append64(append32(b, int(c.number)), sent)
	b = append(b, flagged(e.DontFragment, flagDF)|flagged(e.Dst == c.home, flagHome), byte(e.Protocol), e.TTL, c.purpose)
	b = binary.LittleEndian.AppendUint16(b, e.Port)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Packets)))
	b = append64(append32(append32(append32(b, e.Size), e.FragmentSize), e.Omitted), int64(e.Timeout))
	b = append(b, byte(len(e.Answers)))
	if e.Dst != c.home {
		b = appendAddr(b, e.Dst, netip.Addr{})
	}
	b = appendText(b, e.Interface)
	if c.purpose == 0 {
		b = appendText(b, e.Purpose)
	}
	var request []byte
	for i := range e.Packets {
		p := &e.Packets[i]
		delta := since(p.At, sent)
		if i == 0 {
			delta, request = min(delta, 0), c.kept(p.Bytes) // see Exchange.order
		}
		var bytes []byte
		b, bytes = c.appendPacket(b, delta, p)
		flatten(bytes, e.Dst, false)
	}
	for i := range e.Answers {
		b = c.appendAnswer(b, &e.Answers[i], sent, e.Dst, request)
	}
	return b
}

// appendFurther appends the body of an answer to an exchange that was stored before.
func (c *layout) appendFurther(b []byte, sent time.Time, a *Answer) []byte {
	b = append64(append32(b, int(c.number)), nanoseconds(sent))
	return c.appendAnswer(b, a, nanoseconds(sent), c.home, nil)
}

// appendAnswer appends an answer to a request that was sent at a time to a peer.
func (c *layout) appendAnswer(b []byte, a *Answer, sent int64, peer netip.Addr, request []byte) []byte {
	flags := flagged(a.Late, flagLate) | flagged(a.Duplicate, flagDuplicate) |
		flagged(a.LocalDrops, flagLocalDrops) | flagged(a.DontFragment, flagDF)
	b = append(b, byte(a.Outcome), flags, a.Type, a.Code, a.TTL)
	b = append32(append32(b, a.MTU), a.FragmentSize)
	b = append64(b, int64(a.RoundTrip))
	b = appendText(appendAddr(b, a.From, peer), a.Err)
	b, bytes := c.appendPacket(b, since(a.Packet.At, sent+int64(a.RoundTrip)), &a.Packet)
	toggleRepeats(bytes, request)
	flatten(bytes, peer, true)
	return b
}

// appendPacket appends a packet, and returns its bytes in the result.
func (c *layout) appendPacket(b []byte, delta int64, p *Packet) (all, bytes []byte) {
	kept := c.kept(p.Bytes)
	b = append32(append32(append64(b, delta), p.Length), len(kept))
	all = append(b, kept...)
	return all, all[len(b):]
}

// kept returns the part of a packet that is kept.
func (c *layout) kept(packet []byte) []byte {
	if c.snapped {
		return snap(packet)
	}
	return packet
}

// since returns a time in nanoseconds after another one.
func since(t time.Time, ns int64) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixNano() - ns
}

// after is the inverse of since.
func after(delta, ns int64) time.Time {
	if delta == never {
		return time.Time{}
	}
	return time.Unix(0, ns+delta).UTC()
}

// A reader decodes a body. Its results are invalid once bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// take returns the next n bytes without copying them.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if c := r.take(1); c != nil {
		return c[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *reader) text() string { return string(r.take(int(r.byte()))) }

func (r *reader) addr(peer netip.Addr) netip.Addr {
	n := r.byte()
	switch n {
	case fromNobody:
		return netip.Addr{}
	case fromPeer:
		return peer
	}
	a, ok := netip.AddrFromSlice(r.take(int(n)))
	if !ok {
		r.fail()
	}
	return a
}

func (r *reader) packet(from int64) Packet {
	delta := r.int64()
	length := int(r.uint32())
	return Packet{At: after(delta, from), Length: length, Bytes: r.take(int(r.uint32()))}
}

// exchange decodes the body of an exchange. purposes are those with a number.
func (r *reader) exchange(purposes []string, home netip.Addr) (number uint32, e Exchange) {
	number = r.uint32()
	sent := r.int64()
	e.Sent = instant(sent)
	flags := r.byte()
	e.DontFragment, e.Dst = flags&flagDF != 0, home
	e.Protocol, e.TTL = netio.Protocol(r.byte()), r.byte()
	purpose := int(r.byte())
	e.Port = r.uint16()
	packets := int(r.uint16())
	e.Size, e.FragmentSize, e.Omitted = int(r.uint32()), int(r.uint32()), int(r.uint32())
	e.Timeout = time.Duration(r.int64())
	answers := int(r.byte())
	if flags&flagHome == 0 {
		e.Dst = r.addr(netip.Addr{})
	}
	e.Interface = r.text()
	switch {
	case purpose == 0:
		e.Purpose = r.text()
	case purpose <= len(purposes):
		e.Purpose = purposes[purpose-1]
	default:
		r.fail()
	}
	for ; packets > 0 && !r.bad; packets-- {
		p := r.packet(sent)
		restore(p.Bytes, e.Dst, false)
		e.Packets = append(e.Packets, p)
	}
	var request []byte
	if len(e.Packets) > 0 {
		request = e.Packets[0].Bytes
	}
	for ; answers > 0 && !r.bad; answers-- {
		e.Answers = append(e.Answers, r.answer(sent, e.Dst, request))
	}
	return number, e
}

func (r *reader) answer(sent int64, peer netip.Addr, request []byte) Answer {
	a := Answer{Outcome: netio.Outcome(r.byte())}
	flags := r.byte()
	a.Late, a.Duplicate = flags&flagLate != 0, flags&flagDuplicate != 0
	a.LocalDrops, a.DontFragment = flags&flagLocalDrops != 0, flags&flagDF != 0
	a.Type, a.Code, a.TTL = r.byte(), r.byte(), r.byte()
	a.MTU, a.FragmentSize = int(r.uint32()), int(r.uint32())
	a.RoundTrip = time.Duration(r.int64())
	a.From = r.addr(peer)
	a.Err = r.text()
	a.Packet = r.packet(sent + int64(a.RoundTrip))
	restore(a.Packet.Bytes, peer, true)
	toggleRepeats(a.Packet.Bytes, request)
	return a
}

// further decodes the body of a further answer.
func (r *reader) further(home netip.Addr) (number uint32, a Answer) {
	number = r.uint32()
	return number, r.answer(r.int64(), home, nil)
}
