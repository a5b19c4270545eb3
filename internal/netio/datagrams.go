//go:build linux

package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// datagram sends by the UDP socket that owns the source port.
func (s *Stack) datagram(buf *buffer, p *Packet, f *flight) error {
	c := f.flow.udp4
	if p.Path.IPv6() {
		c = f.flow.udp6
	}
	switch {
	case c == nil:
		return ErrNoSocket
	case f.way.datagram.apart:
		return s.apart(p)
	}
	return send(buf, c, p, f, source(p, f.way.datagram))
}

// send sends a datagram. The buffer is for the packet as the evidence shows it.
func send(buf *buffer, c *conn, p *Packet, f *flight, oob []byte) error {
	to := netip.AddrPortFrom(p.Path.Dst, p.Port)
	var err error
	for range pendingTries {
		if err = c.send(p.Payload, oob, to); !isPending(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if p.OnWire != nil {
		buf.b = appendUDP(buf.b[:0], p, f)
		return p.each(buf, f, func([]byte) error { return nil })
	}
	return nil
}

// pendingTries bounds the attempts at a send that fails with an error that may be an ICMP error for
// an earlier packet to any destination: a socket with an error queue reports each of them once, as
// the result of the next call (ip(7), IP_RECVERR).
const pendingTries = 8

// Whole packets of a raw socket have no ports to be routed by. Where nothing makes them follow those
// of a UDP socket, a UDP socket sends them: one of these, by its number.
const (
	// withDF sends IPv4 datagrams with DF.
	withDF = iota
	// inPieces4 has the kernel cut datagrams for the link.
	inPieces4
	// inPieces6 has the kernel cut datagrams in fragments of 1280 bytes.
	inPieces6
	besides
)

// beside sends a datagram by one of the sockets beside the owner of the source port, which cannot: in
// their modes it would let "packet too big" into the path MTU cache of this host, or cut all
// datagrams. They are bound to the same port at a loopback address, to which no such message is
// addressed, and choose the source address for each packet. The identification is the kernel's, so a
// quote of less than the token is only a hint.
func (s *Stack) beside(buf *buffer, set *sockets, p *Packet, f *flight) error {
	which, ok := s.besideFor(p)
	if !ok || f.way.datagram.apart || p.SourcePort != 0 {
		return s.apart(p)
	}
	c, err := s.besideSocket(set, f.flow, which)
	if err != nil {
		return err
	}
	by := f.way.datagram
	by.src = f.src
	return send(buf, c, p, f, source(p, by))
}

// besideFor returns which of the sockets makes the packets of a probe, if any does: the kernel cuts
// IPv4 only for the link, and sends the first fragment first.
func (s *Stack) besideFor(p *Packet) (which int, ok bool) {
	switch {
	case p.fragments() == 1:
		return withDF, !p.Path.IPv6()
	case p.LastFirst:
		return 0, false
	case p.Path.IPv6():
		return inPieces6, p.FragmentSize == minimumMTU6
	}
	route, err := s.Route(p.path())
	return inPieces4, err == nil && p.FragmentSize == route.LinkMTU
}

// besideSocket returns one of these sockets of a flow, and opens it the first time.
func (s *Stack) besideSocket(set *sockets, f *flow, which int) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.beside[which] != nil {
		return f.beside[which], nil
	}
	err := s.home.do(func() (err error) {
		f.beside[which], err = set.openBeside(f, which)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("UDP socket beside: %w", err)
	}
	return f.beside[which], nil
}

func (s *sockets) openBeside(f *flow, which int) (*conn, error) {
	owner, network, o, mode := f.udp4, "udp4", options4(), unix.IP_PMTUDISC_OMIT
	switch which {
	case withDF:
		mode = unix.IP_PMTUDISC_PROBE
	case inPieces6:
		owner, network, o, mode = f.udp6, "udp6", options6(), unix.IPV6_PMTUDISC_OMIT
	}
	if owner == nil {
		return nil, ErrNoSocket
	}
	c, err := listenBeside(owner, network)
	if err != nil {
		return nil, err
	}
	return s.configure(c, "UDP socket", o, mode, func(fd int) error {
		if which == inPieces6 {
			return errors.Join(set6MTU(fd), attach(fd, nothing()))
		}
		return attach(fd, nothing())
	})
}

// nothing is a filter that passes no packet.
func nothing() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: 0}} }

// set6MTU has the kernel cut the datagrams of a socket for the smallest link (ipv6(7)).
func set6MTU(fd int) error { return set(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU, minimumMTU6) }

// share lets other sockets have the port of a socket, or not.
func share(c syscall.Conn, yes int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var inner error
	err = rc.Control(func(fd uintptr) { inner = set(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, yes) })
	return errors.Join(err, inner)
}

// listenBeside opens a socket at the port of another one, and at the loopback address.
func listenBeside(owner *conn, network string) (*net.UDPConn, error) {
	shared := func(yes int) error {
		return owner.use(func(fd int) error { return set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, yes) })
	}
	if err := shared(1); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = set(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return errors.Join(err, inner)
	}}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if network == "udp6" {
		local = netip.IPv6Loopback()
	}
	pc, err := config.ListenPacket(context.Background(), network, netip.AddrPortFrom(local, owner.port()).String())
	// No other program is to share the port.
	if err = errors.Join(err, shared(0)); err != nil {
		return nil, err
	}
	c, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrNoSocket, pc)
	}
	return c, nil
}
