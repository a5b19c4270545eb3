//go:build linux

package netio

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/ip"
)

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// dispatch hands a packet to the parser for its socket.
func (s *Stack) dispatch(r *receiver, from netip.AddrPort, packet []byte, rx reception) {
	switch {
	case r.tap:
		s.overheard(packet)
	case !from.IsValid():
	case r.copies && r.v6:
		s.onCopy(r.set, from.Addr(), packet, rx)
	case r.copies:
		if h, datagram, err := ip.ParseIPv4(packet); err == nil {
			s.onCopy(r.set, h.Src, datagram, rx)
		}
	case r.port != 0:
		s.onUDP(from, packet, rx)
	case r.v6:
		s.onICMPv6(r.set, from.Addr(), packet, rx)
	default:
		s.onICMPv4(r.set, packet, rx)
	}
}

// isPending reports whether an error of a call is a pending ICMP error of an earlier send (ip(7),
// IP_RECVERR).
func isPending(err error) bool {
	for _, e := range [...]syscall.Errno{
		unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.EHOSTDOWN,
		unix.ENOPROTOOPT, unix.ENONET, unix.EOPNOTSUPP, unix.EACCES, unix.EPROTO, unix.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
