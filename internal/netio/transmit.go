//go:build linux

package netio

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// defaultTTL is the hop limit of probes that ask for none (RFC 1700: 64).
const defaultTTL = 64

// A buffer holds a packet under construction: its payload, and the packet or fragment to send.
type buffer struct{ b, packet []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 2048), packet: make([]byte, 0, 2048)} }}

// transmit hands a probe to the kernel: as a whole packet on a raw socket where headers matter and
// there is such a socket.
func (s *Stack) transmit(set *sockets, p *Packet, f *flight) error {
	buf, ok := buffers.Get().(*buffer)
	if !ok {
		buf = &buffer{}
	}
	defer buffers.Put(buf)
	v6 := p.Path.IPv6()
	single := p.Protocol == UDP && p.fragments() == 1
	var err error
	switch {
	case p.Protocol > AH:
		return fmt.Errorf("protocol %d: %w", p.Protocol, unix.EPROTONOSUPPORT)
	case single && p.SourcePort == 0 && (v6 || set.whole4 == nil || !p.DontFragment && p.TTL == 0):
		return s.datagram(buf, p, f)
	case v6 && p.Protocol == Echo && p.fragments() == 1:
		return set.echo6(buf, p, f)
	case v6 && set.whole6 == nil, !v6 && set.whole4 == nil:
		return fmt.Errorf("%s: %w", p.Protocol, ErrNoPrivilege)
	case p.Protocol == UDP && f.way.raw.apart:
		return s.beside(buf, set, p, f)
	case f.way.raw.apart:
		return s.apart(p)
	case p.Protocol == UDP:
		buf.b = appendUDP(buf.b[:0], p, f)
		f.checksum = binary.BigEndian.Uint16(buf.b[6:])
	case p.Protocol == Echo:
		err = buf.echo(p, f)
	default:
		buf.b = append(buf.b[:0], p.Payload...)
	}
	if err != nil {
		return err
	}
	return set.whole(buf, p, f)
}

// appendUDP appends the datagram as it leaves from a fixed port, or from that of its flow.
func appendUDP(b []byte, p *Packet, f *flight) []byte {
	return ip.AppendUDP(b, netip.AddrPortFrom(f.src, cmp.Or(p.SourcePort, f.flow.port(p.Path.Dst))), netip.AddrPortFrom(p.Path.Dst, p.Port), p.Payload)
}

// echo makes the echo request of a probe the payload.
func (b *buffer) echo(p *Packet, f *flight) error {
	b.packet = appendEchoData(b.packet[:0], p, f)
	switch {
	case !p.Path.IPv6():
		b.b = icmp.AppendEcho4(b.b[:0], f.flow.echoID, f.seq, b.packet)
	case !f.src.IsValid():
		return fmt.Errorf("%w: no source address", ErrNoSocket)
	default:
		b.b = icmp.AppendEcho6(b.b[:0], f.src, p.Path.Dst, f.flow.echoID, f.seq, b.packet)
	}
	return nil
}

// whole sends a packet with the payload in the buffer on a raw socket, in fragments if it is to be.
func (s *sockets) whole(buf *buffer, p *Packet, f *flight) error {
	return p.each(buf, f, func(packet []byte) error { return s.write(packet, p, f) })
}

// each makes the IP packets that a probe with the payload in the buffer is sent as, and sends and
// observes each.
func (p *Packet) each(buf *buffer, f *flight, send func(packet []byte) error) error {
	n, piece := p.fragments(), p.piece()
	for k := range n {
		i := k
		if p.LastFirst {
			i = n - 1 - k
		}
		begin, end := 0, len(buf.b)
		if n > 1 {
			begin, end = i*piece, min((i+1)*piece, len(buf.b))
		}
		buf.packet = appendFragment(buf.packet[:0], p, f, buf.b[begin:end], begin, i < n-1, n > 1)
		if err := send(buf.packet); err != nil {
			return err
		}
		p.observe(buf.packet)
	}
	return nil
}

// appendFragment appends one IP packet: the part of a payload that begins at offset.
func appendFragment(b []byte, p *Packet, f *flight, part []byte, offset int, more, fragmented bool) []byte {
	if !p.Path.IPv6() {
		src := f.src
		if !src.IsValid() {
			src = netip.IPv4Unspecified() // the kernel fills it in (raw(7))
		}
		h := ip.IPv4{
			TotalLength: HeaderIPv4 + len(part), ID: f.ipID, DontFragment: p.DontFragment, MoreFragments: more, FragmentOffset: offset,
			TTL: hopLimit(p), Protocol: p.number(), Src: src, Dst: p.Path.Dst,
		}
		return append(h.Append(b), part...)
	}
	h := ip.IPv6{
		PayloadLength: len(part), NextHeader: p.number(), Protocol: p.number(), HopLimit: hopLimit(p), Src: f.src, Dst: p.Path.Dst,
		Fragment: fragmented, MoreFragments: more, FragmentOffset: offset, FragmentID: uint32(f.ipID)<<16 | uint32(f.seq) + 1,
	}
	if fragmented {
		h.PayloadLength += headerFragment6
	}
	return append(h.Append(b), part...)
}

func (p *Packet) number() uint8 { return p.Protocol.number(p.Path.IPv6()) }

// number is the IP protocol number.
func (p Protocol) number(v6 bool) uint8 {
	switch {
	case p == UDP:
		return ip.ProtocolUDP
	case p == ESP:
		return ip.ProtocolESP
	case p == AH:
		return ip.ProtocolAH
	case v6:
		return ip.ProtocolICMPv6
	}
	return ip.ProtocolICMP
}

func hopLimit(p *Packet) uint8 { return cmp.Or(p.TTL, defaultTTL) }

// write hands the kernel one whole IP packet.
func (s *sockets) write(packet []byte, p *Packet, f *flight) (err error) {
	// The source once more, beside the header: routing looks at this one.
	oob := source(p, f.way.raw)
	if p.Path.IPv6() {
		// Routing takes the protocol number from the port of the address (ipv6(7)); 0 leaves it to the
		// socket.
		err = s.whole6.send(packet, oob, netip.AddrPortFrom(p.Path.Dst, uint16(f.way.raw.number)))
	} else {
		err = s.whole4.send(packet, oob, netip.AddrPortFrom(p.Path.Dst, 0))
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// observe passes a packet to the evidence.
func (p *Packet) observe(packet []byte) {
	if p.OnWire != nil {
		p.OnWire(time.Now(), packet)
	}
}

// echo6 sends an ICMPv6 echo request; the kernel makes the IP header and the checksum.
func (s *sockets) echo6(buf *buffer, p *Packet, f *flight) error {
	if s.raw6 == nil {
		return fmt.Errorf("echo: %w", ErrNoPrivilege)
	}
	buf.packet = appendEchoData(buf.packet[:0], p, f)
	buf.b = appendEchoFor6(buf.b[:0], f, buf.packet)
	if err := s.raw6.send(buf.b, source(p, f.way.raw), netip.AddrPortFrom(p.Path.Dst, 0)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if p.OnWire != nil {
		buf.b = icmp.AppendEcho6(buf.b[:0], f.src, p.Path.Dst, f.flow.echoID, f.seq, buf.packet)
		buf.packet = appendFragment(buf.packet[:0], p, f, buf.b, 0, false, false)
		p.observe(buf.packet)
	}
	return nil
}

// appendEchoFor6 appends an ICMPv6 message for the kernel, which fills in the checksum.
func appendEchoFor6(b []byte, f *flight, data []byte) []byte {
	unset := netip.IPv6Unspecified()
	return icmp.AppendEcho6(b, unset, unset, f.flow.echoID, f.seq, data)
}

// appendEchoData appends the token and zeros up to the wanted size.
func appendEchoData(b []byte, p *Packet, f *flight) []byte {
	begin := len(b)
	b = slices.Grow(b, p.Size)[:begin+p.Size-p.Path.HeaderIP()-HeaderEcho]
	clear(b[begin+copy(b[begin:], f.token[:]):])
	return b
}

// source returns the control messages that choose the way, the source address and the hop limit of
// one packet (ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO), or nil where routing and the socket choose.
func source(p *Packet, by pin) []byte {
	v6, src := p.Path.IPv6(), p.Path.Src
	if !src.IsValid() {
		src = by.src
	}
	var oob []byte
	switch {
	case !src.IsValid() && by.link == 0:
	case v6:
		info := unix.Inet6Pktinfo{Ifindex: uint32(by.link)}
		if src.IsValid() {
			info.Addr = src.As16()
		}
		oob = unix.PktInfo6(&info)
	default:
		info := unix.Inet4Pktinfo{Ifindex: int32(by.link)}
		if src.IsValid() {
			info.Spec_dst = src.As4()
		}
		oob = unix.PktInfo4(&info)
	}
	number := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	if p.Path.Mark != 0 {
		oob = appendControl(oob, unix.SOL_SOCKET, unix.SO_MARK, number(p.Path.Mark))
	}
	if by.number != 0 && !v6 {
		oob = appendControl(oob, unix.IPPROTO_IP, unix.IP_PROTOCOL, number(uint32(by.number)))
	}
	switch {
	case p.TTL == 0:
		return oob
	case v6:
		return appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(uint32(p.TTL)))
	}
	return appendControl(oob, unix.IPPROTO_IP, unix.IP_TTL, number(uint32(p.TTL)))
}

// appendControl appends one control message (cmsg(3)).
func appendControl(oob []byte, level, typ int32, data []byte) []byte {
	start := len(oob)
	oob = append(oob, make([]byte, unix.CmsgSpace(len(data)))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[start])) //nolint:gosec // the layout that the kernel defines
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(oob[start+unix.CmsgLen(0):], data)
	return oob
}
