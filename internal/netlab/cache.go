package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// CachedMTU is the path MTU to an address that the namespace's kernel believes in. Nothing is sent.
func (n *NS) CachedMTU(t T, dst netip.Addr) int {
	t.Helper()
	var mtu int
	err := n.Run(func() error {
		fd, err := connect(dst)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		mtu, err = kernelMTU(fd, dst)
		return err
	})
	if err != nil {
		t.Fatalf("cached MTU: %v", err)
	}
	return mtu
}

// discardPort is where packets go that are only meant to travel (RFC 863).
const discardPort = 9

// learnMTU sends large UDP packets until the kernel has learned from a "packet too big" that the path takes only
// want bytes: what ordinary traffic of a host does.
func (n *NS) learnMTU(dst netip.Addr, want int) error {
	return n.Run(func() error {
		fd, err := connect(dst)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		payload := make([]byte, DefaultMTU-headerLen(dst)-udpHeaderLen)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		deadline := time.Now().Add(3 * time.Second)
		for {
			// The port is closed at the other side, and its complaint about an earlier packet may come back here.
			if err := unix.Send(fd, payload, 0); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				return fmt.Errorf("send to %s: %w", dst, err)
			}
			<-tick.C
			mtu, err := kernelMTU(fd, dst)
			if err != nil || mtu == want {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("the kernel believes in %d bytes to %s, not in %d", mtu, dst, want)
			}
		}
	})
}

// connect is a UDP socket to the address.
func connect(dst netip.Addr) (int, error) {
	domain, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16(), Port: discardPort})
	if dst.Is4() {
		domain, to = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4(), Port: discardPort}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", dst, err)
	}
	return fd, nil
}

// kernelMTU asks for the path MTU of a connected socket.
func kernelMTU(fd int, dst netip.Addr) (int, error) {
	if dst.Is4() {
		return unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	}
	return unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
}
