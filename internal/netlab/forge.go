package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// A Forgery is a forged "packet too big".
type Forgery struct {
	// From sends it; nil is r2, the place of an attacker on the path.
	From *NS
	// Src is the source address; the zero value is r2's address, so that the message looks like the
	// router's own.
	Src netip.Addr
	// Quote is the quoted packet, IP header included. The message goes to the sender of that
	// packet.
	Quote []byte
	// MTU is the next-hop MTU of the message.
	MTU uint32
	// Count is the number of messages, sent without pause; 0 is one, the maximum is 100000.
	Count int
}

const (
	maxForgeries = 100_000
	// maxQuote4 and maxQuote6 limit the quoted part of the packet, as in a Linux router: the
	// message fits into 576 bytes (RFC 1812, section 4.3.2.3) and into 1280 bytes (RFC 4443,
	// section 2.4).
	maxQuote4 = 576 - ipv4.HeaderLen - icmpHeaderLen
	maxQuote6 = 1280 - ipv6.HeaderLen - icmpHeaderLen
	// icmpHeaderLen is the length of the header of an ICMP error, the word with the MTU included.
	icmpHeaderLen = 8
	udpHeaderLen  = 8
	hopLimit      = 64
)

// ForgePTB sends forged "packet too big" messages.
func (p *Provider) ForgePTB(t T, f Forgery) {
	t.Helper()
	if f.Count < 0 || f.Count > maxForgeries {
		t.Fatalf("forge %d messages: the maximum is %d", f.Count, maxForgeries)
	}
	victim, ok := quotedSource(f.Quote)
	if !ok {
		t.Fatalf("forge: the quote is not an IP packet: % x", f.Quote)
	}
	from := f.From
	if from == nil {
		from = p.R2
	}
	if !f.Src.IsValid() {
		f.Src = p.HopAddr(2, victim.Is6())
	}
	packet, err := f.packet(victim)
	if err == nil {
		err = from.Run(func() error { return sendRaw(victim, packet, max(f.Count, 1)) })
	}
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
}

func (f Forgery) packet(victim netip.Addr) ([]byte, error) {
	if victim.Is4() {
		quote := f.Quote[:min(len(f.Quote), maxQuote4)]
		m := icmp.Message{
			Type: ipv4.ICMPTypeDestinationUnreachable, Code: 4,
			Body: &icmp.RawBody{Data: append(binary.BigEndian.AppendUint32(nil, f.MTU&0xffff), quote...)},
		}
		body, err := m.Marshal(nil)
		return append(ipHeader(f.Src, victim, unix.IPPROTO_ICMP, len(body)), body...), err
	}
	quote := f.Quote[:min(len(f.Quote), maxQuote6)]
	m := icmp.Message{
		Type: ipv6.ICMPTypePacketTooBig,
		Body: &icmp.RawBody{Data: append(binary.BigEndian.AppendUint32(nil, f.MTU), quote...)},
	}
	body, err := m.Marshal(icmp.IPv6PseudoHeader(f.Src.AsSlice(), victim.AsSlice()))
	return append(ipHeader(f.Src, victim, unix.IPPROTO_ICMPV6, len(body)), body...), err
}

func sendRaw(dst netip.Addr, packet []byte, count int) error {
	domain, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16()})
	if dst.Is4() {
		domain, to = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	for range count {
		if err := unix.Sendto(fd, packet, 0, to); err != nil {
			return fmt.Errorf("send to %s: %w", dst, err)
		}
	}
	return nil
}

func quotedSource(b []byte) (netip.Addr, bool) {
	switch {
	case len(b) >= ipv4.HeaderLen && b[0]>>4 == ipv4.Version:
		return netip.AddrFromSlice(b[12:16])
	case len(b) >= ipv6.HeaderLen && b[0]>>4 == ipv6.Version:
		return netip.AddrFromSlice(b[8:24])
	}
	return netip.Addr{}, false
}

// EchoPacket returns an echo request or reply of size bytes, for a quote. Its ICMP checksum is not
// filled in.
func EchoPacket(src, dst netip.Addr, reply bool, id, seq uint16, size int) []byte {
	number, kind := byte(unix.IPPROTO_ICMP), byte(ipv4.ICMPTypeEcho)
	switch {
	case src.Is6() && reply:
		number, kind = unix.IPPROTO_ICMPV6, byte(ipv6.ICMPTypeEchoReply)
	case src.Is6():
		number, kind = unix.IPPROTO_ICMPV6, byte(ipv6.ICMPTypeEchoRequest)
	case reply:
		kind = byte(ipv4.ICMPTypeEchoReply)
	}
	echo := []byte{kind, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}
	return pad(append(ipHeader(src, dst, number, size-headerLen(src)), echo...), size)
}

// UDPPacket returns a UDP packet of size bytes, for a quote. Its UDP checksum is not filled in.
func UDPPacket(src, dst netip.AddrPort, size int) []byte {
	length := size - headerLen(src.Addr())
	b := ipHeader(src.Addr(), dst.Addr(), unix.IPPROTO_UDP, length)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = binary.BigEndian.AppendUint16(b, 0)
	return pad(b, size)
}

func pad(b []byte, size int) []byte { return append(b, make([]byte, max(0, size-len(b)))...) }

func headerLen(a netip.Addr) int {
	if a.Is6() {
		return ipv6.HeaderLen
	}
	return ipv4.HeaderLen
}

// ipHeader returns an IP header for n bytes of payload, with DF set for IPv4.
func ipHeader(src, dst netip.Addr, number byte, payload int) []byte {
	if src.Is6() {
		b := []byte{ipv6.Version << 4, 0, 0, 0, byte(payload >> 8), byte(payload), number, hopLimit}
		return append(append(b, src.AsSlice()...), dst.AsSlice()...)
	}
	total := ipv4.HeaderLen + payload
	b := []byte{ipv4.Version<<4 | ipv4.HeaderLen/4, 0, byte(total >> 8), byte(total), 0, 0, 0x40, 0, hopLimit, number, 0, 0}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return b
}

// checksum returns the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
