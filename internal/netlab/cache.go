package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// CachedMTU returns the path MTU to an address in the cache of the namespace's kernel. It sends
// nothing.
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

// discardPort is for packets that need no receiver (RFC 863).
const discardPort = 9

// learnMTU sends large UDP packets, like the ordinary traffic of a host, until a "packet too big"
// has lowered the kernel's path MTU to want bytes.
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
			// The port of the other side is closed, and its error for an earlier packet may be
			// reported here.
			if err := unix.Send(fd, payload, 0); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				return fmt.Errorf("send to %s: %w", dst, err)
			}
			<-tick.C
			mtu, err := kernelMTU(fd, dst)
			if err != nil || mtu == want {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("cached path MTU to %[2]s is %[1]d bytes, want %[3]d", mtu, dst, want)
			}
		}
	})
}

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

func kernelMTU(fd int, dst netip.Addr) (int, error) {
	if dst.Is4() {
		return unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	}
	return unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
}
