package netio

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// defaultTTL is the hop limit of probes that ask for none (RFC 1700: 64).
const defaultTTL = 64

// A buffer is for a packet under construction: its payload, and the packet or the fragment of it that is sent.
type buffer struct{ b, packet []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 2048), packet: make([]byte, 0, 2048)} }}

// transmit hands a probe to the kernel: whole packets on the raw sockets where their headers matter, and where there is a raw socket.
func (s *Stack) transmit(set *sockets, p *Packet, f *flight) error {
	buf, ok := buffers.Get().(*buffer)
	if !ok {
		buf = &buffer{}
	}
	defer buffers.Put(buf)
	v6 := p.Path.IPv6()
	var err error
	switch {
	case p.Protocol == UDP && p.fragments() == 1 && (v6 || set.raw4 == nil || !p.DontFragment && p.TTL == 0):
		return set.datagram(p, f)
	case v6 && p.Protocol == Echo && p.fragments() == 1:
		return set.echo6(buf, p, f)
	case v6 && set.whole6 == nil, !v6 && set.raw4 == nil:
		return fmt.Errorf("%s: %w", p.Protocol, ErrNoPrivilege)
	case p.Protocol == UDP:
		buf.b = set.appendUDP(buf.b[:0], p, f)
		f.checksum = binary.BigEndian.Uint16(buf.b[6:])
	case p.Protocol == Echo:
		buf.b, err = set.appendEcho(buf.b[:0], p, f)
	default:
		buf.b = append(buf.b[:0], p.Payload...)
	}
	if err != nil {
		return err
	}
	return set.whole(buf, p, f)
}

// appendUDP appends the datagram as it leaves from the port that the UDP socket owns.
func (s *sockets) appendUDP(b []byte, p *Packet, f *flight) []byte {
	return ip.AppendUDP(b, netip.AddrPortFrom(f.src, s.port(p.Path.Dst)), netip.AddrPortFrom(p.Path.Dst, p.Port), p.Payload)
}

// appendEcho appends the ICMP message.
func (s *sockets) appendEcho(b []byte, p *Packet, f *flight) ([]byte, error) {
	if !p.Path.IPv6() {
		return icmp.AppendEcho4(b, s.echoID, f.seq, echoData(p, f)), nil
	}
	if !f.src.IsValid() {
		return b, fmt.Errorf("%w: no source address", ErrNoSocket)
	}
	return icmp.AppendEcho6(b, f.src, p.Path.Dst, s.echoID, f.seq, echoData(p, f)), nil
}

// whole sends a packet with the payload in the buffer on a raw socket, in fragments if it is to be.
func (s *sockets) whole(buf *buffer, p *Packet, f *flight) error {
	n, piece := p.fragments(), p.piece()
	for i := range n {
		begin, end := 0, len(buf.b)
		if n > 1 {
			begin, end = i*piece, min((i+1)*piece, len(buf.b))
		}
		buf.packet = appendFragment(buf.packet[:0], p, f, buf.b[begin:end], begin, i < n-1, n > 1)
		if err := s.write(buf.packet, p); err != nil {
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

// number is the IP protocol number.
func (p *Packet) number() uint8 {
	switch p.Protocol {
	case Echo:
		if p.Path.IPv6() {
			return ip.ProtocolICMPv6
		}
		return ip.ProtocolICMP
	case UDP:
		return ip.ProtocolUDP
	case ESP:
		return ip.ProtocolESP
	case AH:
		return ip.ProtocolAH
	}
	return ip.ProtocolNoNextHeader
}

func hopLimit(p *Packet) uint8 {
	if p.TTL != 0 {
		return p.TTL
	}
	return defaultTTL
}

// write hands the kernel one whole IP packet.
func (s *sockets) write(packet []byte, p *Packet) (err error) {
	to := &net.IPAddr{IP: p.Path.Dst.AsSlice()}
	if p.Path.IPv6() {
		// The source once more, beside the header: routing looks at this one.
		_, _, err = s.whole6.WriteMsgIP(packet, source(p, true), to)
	} else {
		c, ok := s.raw4.IPv4PacketConn().PacketConn.(*net.IPConn)
		if !ok {
			return ErrNoSocket
		}
		_, _, err = c.WriteMsgIP(packet, source(p, false), to)
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// observe shows a packet to whoever keeps the evidence.
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
	c, ok := s.raw6.IPv6PacketConn().PacketConn.(*net.IPConn)
	if !ok {
		return ErrNoSocket
	}
	unset := netip.IPv6Unspecified()
	b := icmp.AppendEcho6(buf.b[:0], unset, unset, s.echoID, f.seq, echoData(p, f))
	buf.b = b
	if _, _, err := c.WriteMsgIP(b, source(p, true), &net.IPAddr{IP: p.Path.Dst.AsSlice()}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if p.OnWire != nil {
		message := icmp.AppendEcho6(nil, f.src, p.Path.Dst, s.echoID, f.seq, echoData(p, f))
		p.observe(appendFragment(nil, p, f, message, 0, false, false))
	}
	return nil
}

// echoData is the token and zeros up to the wanted size.
func echoData(p *Packet, f *flight) []byte {
	data := make([]byte, p.Size-p.Path.HeaderIP()-HeaderEcho)
	copy(data, f.token[:])
	return data
}

// datagram sends by a UDP socket.
func (s *sockets) datagram(p *Packet, f *flight) error {
	c := s.udp4
	if p.Path.IPv6() {
		c = s.udp6
	}
	if c == nil {
		return ErrNoSocket
	}
	to := netip.AddrPortFrom(p.Path.Dst, p.Port)
	oob := source(p, p.Path.IPv6())
	var err error
	for range pendingTries {
		if _, _, err = c.WriteMsgUDPAddrPort(p.Payload, oob, to); !isPending(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if p.OnWire != nil {
		p.observe(appendFragment(nil, p, f, s.appendUDP(nil, p, f), 0, false, false))
	}
	return nil
}

// pendingTries is how often a send is tried that fails with what may be the ICMP error of an earlier one, to whomever that went: a socket
// with an error queue reports each of them once, in the place of whatever comes next (ip(7), IP_RECVERR).
const pendingTries = 8

// source is the control message that chooses the source address and hop limit of one packet (ip(7) IP_PKTINFO,
// ipv6(7) IPV6_PKTINFO), or nothing where routing may choose.
func source(p *Packet, v6 bool) []byte {
	var oob []byte
	switch {
	case !p.Path.Src.IsValid():
	case v6:
		src := p.Path.Src.As16()
		data := make([]byte, unix.SizeofInet6Pktinfo)
		copy(data, src[:])
		oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, data)
	default:
		src := p.Path.Src.As4()
		data := make([]byte, unix.SizeofInet4Pktinfo)
		copy(data[4:], src[:]) // ipi_spec_dst
		oob = appendControl(oob, unix.IPPROTO_IP, unix.IP_PKTINFO, data)
	}
	switch {
	case p.TTL == 0:
	case v6:
		oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, binary.NativeEndian.AppendUint32(nil, uint32(p.TTL)))
	default:
		oob = appendControl(oob, unix.IPPROTO_IP, unix.IP_TTL, binary.NativeEndian.AppendUint32(nil, uint32(p.TTL)))
	}
	return oob
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
