//go:build linux

package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"
)

// A conn is a socket of this package. It is not known to the poller of the Go runtime, which would
// wake a thread for each packet that comes. Any goroutine may send; only the engine receives.
type conn struct {
	mu sync.RWMutex // held for reading while the descriptor is in use
	fd int          // -1 once closed
	v6 bool
}

// sendPatience bounds the wait for room in the send buffer of a socket. Beyond it, the queue of the
// interface is taken to be full.
const sendPatience = time.Second

// adopt takes a socket over from the runtime, and closes the one that the runtime has.
func adopt(c interface {
	syscall.Conn
	io.Closer
}, v6 bool,
) (*conn, error) {
	defer closing(c)
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	out := &conn{fd: -1, v6: v6}
	var inner error
	err = rc.Control(func(fd uintptr) {
		if out.fd, inner = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); inner == nil {
			inner = unix.SetNonblock(out.fd, false)
		}
	})
	if err = errors.Join(err, inner); err == nil {
		limit := unix.NsecToTimeval(int64(sendPatience))
		err = unix.SetsockoptTimeval(out.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	}
	if err != nil {
		out.close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return out, nil
}

// ipConn is the socket of package net in one of package icmp.
func ipConn(c *icmp.PacketConn, v6 bool) (*net.IPConn, error) {
	var pc net.PacketConn
	if v6 {
		pc = c.IPv6PacketConn().PacketConn
	} else {
		pc = c.IPv4PacketConn().PacketConn
	}
	ip, ok := pc.(*net.IPConn)
	if !ok {
		closing(c)
		return nil, fmt.Errorf("%w: %T", ErrNoSocket, pc)
	}
	return ip, nil
}

// close closes the socket, and does nothing for one that is closed or missing.
func (c *conn) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // its error would help nobody
		c.fd = -1
	}
}

// use calls f with the descriptor, which stays open meanwhile.
func (c *conn) use(f func(fd int) error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return f(c.fd)
}

// send sends one packet to an address, and a port of UDP.
func (c *conn) send(packet, oob []byte, to netip.AddrPort) error {
	return c.use(func(fd int) error {
		var name unix.RawSockaddrInet6
		size := putSockaddr(&name, to, c.v6)
		return sendmsg(fd, packet, oob, &name, size)
	})
}

// putSockaddr writes the address of a destination, and returns its size. For a raw socket the port
// is the protocol number by which an IPv6 packet is routed (ipv6(7)), or 0.
func putSockaddr(name *unix.RawSockaddrInet6, to netip.AddrPort, v6 bool) (size uint32) {
	if v6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swapped(to.Port()), Addr: to.Addr().As16()}
		return unix.SizeofSockaddrInet6
	}
	*inet4(name) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swapped(to.Port()), Addr: to.Addr().Unmap().As4()}
	return unix.SizeofSockaddrInet4
}

// port returns the local port of a UDP socket, 0 if that is not known.
func (c *conn) port() (port uint16) {
	_ = c.use(func(fd int) error {
		name, err := unix.Getsockname(fd)
		if err == nil {
			port = addrPort(name).Port()
		}
		return err
	})
	return port
}
