//go:build linux

package netio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// An Endpoint is a UDP socket of each family for a conversation with other programs, apart from the
// probes: what floods it delays no probe. Its datagrams neither obey this host's path MTU cache nor
// change it, and leave by no IPsec policy of this host as far as the privileges allow.
type Endpoint struct {
	stack   *Stack
	receive func(*Datagram)
	wg      sync.WaitGroup

	// owners have the port and receive, by family. whole send with DF what must not be fragmented; they
	// are opened at first use, and receive nothing.
	owners [2]*net.UDPConn
	mu     sync.Mutex
	whole  *net.UDPConn
	closed bool
}

// OpenEndpoint opens an Endpoint at an address and port: of both families if the address is not valid
// or unspecified, at a free port if that is 0. receive is called from one goroutine for each family.
func (s *Stack) OpenEndpoint(listen netip.AddrPort, receive func(*Datagram)) (*Endpoint, error) {
	e := &Endpoint{stack: s, receive: receive}
	err := s.home.do(func() error { return e.open(listen) })
	if err != nil {
		e.Close()
		return nil, err
	}
	for i, c := range e.owners {
		if c != nil {
			e.wg.Go(func() { e.read(c, i == 1) })
		}
	}
	return e, nil
}

func (e *Endpoint) open(listen netip.AddrPort) (failed error) {
	for i, network := range [...]string{"udp4", "udp6"} {
		a := listen.Addr()
		if a.IsValid() && !a.IsUnspecified() && a.Is4() != (i == 0) {
			continue
		}
		host := ""
		if a.IsValid() && !a.IsUnspecified() {
			host = a.String()
		}
		c, err := listenEndpoint(network, net.JoinHostPort(host, strconv.Itoa(int(listen.Port()))), unix.IP_PMTUDISC_OMIT, nil)
		if err != nil && !isNoFamily(err) {
			failed = errors.Join(failed, err)
		}
		e.owners[i] = c
	}
	if failed == nil && e.owners == [2]*net.UDPConn{} {
		return ErrNoSocket
	}
	return failed
}

// listenEndpoint opens one socket. A filter lets nothing through.
func listenEndpoint(network, address string, mode int, filter []bpf.Instruction) (*net.UDPConn, error) {
	o := options4()
	if network == "udp6" {
		o = options6()
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = endpointOptions(int(fd), o, mode, filter) })
		return errors.Join(err, inner)
	}}
	pc, err := config.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("UDP socket: %w", err)
	}
	c, ok := pc.(*net.UDPConn)
	if !ok {
		closing(pc)
		return nil, fmt.Errorf("%w: %T", ErrNoSocket, pc)
	}
	return c, nil
}

// endpointBuffer holds some thousand small datagrams: a flood of 100 ms.
const endpointBuffer = 4 << 20

// endpointOptions sets the options of a socket before it is bound.
func endpointOptions(fd int, o options, mode int, filter []bpf.Instruction) error {
	if err := set(fd, o.level, o.discover, mode); err != nil {
		return err
	}
	_ = bypassPolicy(fd, o.level) // needs CAP_NET_ADMIN
	_ = set(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	_ = set(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if set(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, endpointBuffer) != nil {
		_ = set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, endpointBuffer) // capped at net.core.rmem_max
	}
	if filter != nil {
		return errors.Join(set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), attach(fd, filter))
	}
	if o.level == unix.IPPROTO_IPV6 {
		return errors.Join(
			set(fd, o.level, unix.IPV6_RECVTCLASS, 1), set(fd, o.level, unix.IPV6_RECVHOPLIMIT, 1),
			set(fd, o.level, unix.IPV6_RECVPKTINFO, 1), set(fd, o.level, unix.IPV6_DONTFRAG, 1),
		)
	}
	return errors.Join(set(fd, o.level, unix.IP_RECVTOS, 1), set(fd, o.level, unix.IP_RECVTTL, 1), set(fd, o.level, unix.IP_PKTINFO, 1))
}

// Close closes the sockets. When it returns, receive is called no more.
func (e *Endpoint) Close() {
	e.mu.Lock()
	e.closed = true
	for _, c := range append(e.owners[:], e.whole) {
		if c != nil {
			closing(c)
		}
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Port returns the port of the sockets of a family, 0 if there is none.
func (e *Endpoint) Port(v6 bool) uint16 {
	c := e.owners[family(v6)]
	if c == nil {
		return 0
	}
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return 0
	}
	return local.Port()
}

// read hands on what arrives until the socket is closed.
func (e *Endpoint) read(c *net.UDPConn, v6 bool) {
	packet, oob := make([]byte, maxPacket), make([]byte, controlBuffer)
	for {
		n, m, _, from, err := c.ReadMsgUDPAddrPort(packet, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // an ICMP error of an earlier datagram
			pause(e.stack.ctx, time.Millisecond)
			if e.stack.ctx.Err() != nil {
				return
			}
		default:
			d := Datagram{Payload: packet[:n], From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
			d.control(oob[:m], v6)
			e.receive(&d)
		}
	}
}

// control reads the control messages of a datagram.
func (d *Datagram) control(oob []byte, v6 bool) {
	d.At = arrival(oob).at
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		switch {
		case len(data) == 0:
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			d.Drops = binary.NativeEndian.Uint32(data)
		case !v6 && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
			d.TOS = data[0]
		case !v6 && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL && len(data) >= 4:
			d.TTL = uint8(binary.NativeEndian.Uint32(data))
		case !v6 && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= 12:
			d.To = netip.AddrFrom4([4]byte(data[8:12])) // struct in_pktinfo: ipi_addr, from the header
		case v6 && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			d.TOS = uint8(binary.NativeEndian.Uint32(data))
		case v6 && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			d.TTL = uint8(binary.NativeEndian.Uint32(data))
		case v6 && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 16:
			d.To = netip.AddrFrom16([16]byte(data[:16])) // struct in6_pktinfo: ipi6_addr
		}
	}
}

// Send sends a datagram once the packet budget allows it, and charges the account if that is set.
func (e *Endpoint) Send(ctx context.Context, o *Outgoing, account *Account) error {
	size := o.Path.HeaderIP() + HeaderUDP + len(o.Payload)
	if delay := e.stack.pacer.reserve(time.Now(), 1, size); delay > 0 {
		if pause(ctx, delay); ctx.Err() != nil {
			return fmt.Errorf("waiting for the packet budget: %w", ctx.Err())
		}
	}
	err := e.Answer(o)
	if err == nil && account != nil {
		account.Packets.Add(1)
		account.Bytes.Add(uint64(size))
	}
	return err
}

// Answer sends a datagram at once: its receiver has paid for it with a datagram of its own.
func (e *Endpoint) Answer(o *Outgoing) error {
	c, err := e.socket(o)
	if err != nil {
		return err
	}
	oob, err := o.control()
	if err != nil {
		return err
	}
	for range pendingTries {
		if _, _, err = c.WriteMsgUDPAddrPort(o.Payload, oob, netip.AddrPortFrom(o.Path.Dst, o.Port)); !isPending(err) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("%w: %w", ErrQueueFull, err)
	}
	return fmt.Errorf("send: %w", err)
}

// socket returns the socket for a datagram.
func (e *Endpoint) socket(o *Outgoing) (*net.UDPConn, error) {
	owner := e.owners[family(o.Path.IPv6())]
	if owner == nil {
		return nil, ErrNoSocket
	}
	if !o.DontFragment || o.Path.IPv6() {
		return owner, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.whole == nil && !e.closed {
		if err := e.stack.home.do(func() (err error) { e.whole, err = openWholeBeside(owner, e.Port(false)); return err }); err != nil {
			return nil, err
		}
	}
	if e.whole == nil {
		return nil, net.ErrClosed
	}
	return e.whole, nil
}

// openWholeBeside opens the IPv4 socket that sends with DF, at the port of the owner and at the
// loopback address, to which no "packet too big" for the path MTU cache is addressed (datagrams.go).
func openWholeBeside(owner *net.UDPConn, port uint16) (*net.UDPConn, error) {
	if err := share(owner, 1); err != nil {
		return nil, err
	}
	c, err := listenEndpoint("udp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String(), unix.IP_PMTUDISC_PROBE, nothing())
	return c, errors.Join(err, share(owner, 0)) // no other program is to share the port
}

// control returns the control messages of an outgoing datagram.
func (o *Outgoing) control() ([]byte, error) {
	by := pin{}
	if o.Path.Interface != "" {
		device, err := net.InterfaceByName(o.Path.Interface)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", o.Path.Interface, err)
		}
		by.link = device.Index
	}
	oob := source(&Packet{Path: o.Path}, by)
	tos := binary.NativeEndian.AppendUint32(nil, uint32(o.TOS))
	if o.Path.IPv6() {
		oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos)
		if o.Pieces {
			oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, make([]byte, 4))
		}
		return oob, nil
	}
	return appendControl(oob, unix.IPPROTO_IP, unix.IP_TOS, tos), nil
}

// Clock returns the largest error of this host's clock, and whether an external source synchronizes it
// (adjtimex(2)).
func Clock() (largest time.Duration, synchronized bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return time.Duration(t.Maxerror) * time.Microsecond, err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
