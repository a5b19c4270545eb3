package netio

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// defaultTTL is the hop limit of probes that ask for none (RFC 1700: 64).
const defaultTTL = 64

// buffers are for packets under construction.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 2048)} }}

// transmit hands a probe to the kernel.
func (s *Stack) transmit(set *sockets, p *Packet, f *flight) error {
	buf, ok := buffers.Get().(*buffer)
	if !ok {
		buf = &buffer{}
	}
	defer buffers.Put(buf)
	switch {
	case p.Path.IPv6() && p.Protocol == Echo:
		return set.echo6(buf, p, f)
	case p.Path.IPv6():
		return set.datagram(set.udp6, p)
	case p.Protocol == Echo:
		return set.echo4(buf, p, f)
	case set.raw4 != nil && (p.DontFragment || p.TTL != 0):
		return s.wholeUDP(set, buf, p, f)
	}
	return set.datagram(set.udp4, p)
}

// echo4 sends an ICMPv4 echo request as a whole IP packet.
func (s *sockets) echo4(buf *buffer, p *Packet, f *flight) error {
	if s.raw4 == nil {
		return fmt.Errorf("echo: %w", ErrNoPrivilege)
	}
	b := header4(buf.b[:0], p, f, p.Path.Src, ip.ProtocolICMP)
	b = icmp.AppendEcho4(b, s.echoID, f.seq, echoData(p, f))
	buf.b = b
	return s.whole(b, p)
}

// wholeUDP sends a UDP datagram as a whole IP packet, from the port that the UDP socket owns.
func (s *Stack) wholeUDP(set *sockets, buf *buffer, p *Packet, f *flight) error {
	src := p.Path.Src
	if !src.IsValid() {
		r, err := s.Route(p.Path)
		if err != nil {
			return err
		}
		src = r.Src
	}
	b := header4(buf.b[:0], p, f, src, ip.ProtocolUDP)
	b = ip.AppendUDP(b, netip.AddrPortFrom(src, set.port4), netip.AddrPortFrom(p.Path.Dst, p.Port), p.Payload)
	f.checksum = binary.BigEndian.Uint16(b[HeaderIPv4+6:])
	buf.b = b
	return set.whole(b, p)
}

func header4(b []byte, p *Packet, f *flight, src netip.Addr, protocol uint8) []byte {
	if !src.IsValid() {
		src = netip.IPv4Unspecified() // the kernel fills it in (raw(7))
	}
	h := ip.IPv4{
		HeaderLength: HeaderIPv4, TotalLength: p.WireSize(), ID: f.ipID, DontFragment: p.DontFragment,
		TTL: hopLimit(p), Protocol: protocol, Src: src, Dst: p.Path.Dst,
	}
	return h.Append(b)
}

func hopLimit(p *Packet) uint8 {
	if p.TTL != 0 {
		return p.TTL
	}
	return defaultTTL
}

func (s *sockets) whole(b []byte, p *Packet) error {
	c, ok := s.raw4.IPv4PacketConn().PacketConn.(*net.IPConn)
	if !ok {
		return ErrNoSocket
	}
	_, _, err := c.WriteMsgIP(b, source(p, false), &net.IPAddr{IP: p.Path.Dst.AsSlice()})
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
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
	return nil
}

// echoData is the token and zeros up to the wanted size.
func echoData(p *Packet, f *flight) []byte {
	data := make([]byte, p.Size-p.Path.HeaderIP()-HeaderEcho)
	copy(data, f.token[:])
	return data
}

// datagram sends by a UDP socket.
func (s *sockets) datagram(c *net.UDPConn, p *Packet) error {
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
