//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A queuedError is one entry of a socket's error queue: an ICMP error about our datagram.
type queuedError struct {
	v6        bool
	typ, code uint8
	mtu       int
	offender  netip.Addr
}

// Layout of struct sock_extended_err (linux/errqueue.h): errno u32, origin u8, type u8, code u8,
// pad, info u32, data u32, then the offender's sockaddr.
const extendedErrSize = 16

// drainErrors reads all pending ICMP errors. The kernel has matched ports and addresses; the quote,
// which starts at the datagram's payload, is matched here. Where a raw socket gets them too, they are
// not wanted.
func (s *Stack) drainErrors(fd int, data, oob []byte, wanted bool) (some bool) {
	for {
		n, nn, _, to, err := unix.Recvmsg(fd, data, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return some
		}
		some = true
		if e, ok := parseQueued(oob[:nn]); ok && wanted {
			s.onQueued(e, addrPort(to), data[:n], arrival(oob[:nn]))
		}
	}
}

func parseQueued(oob []byte) (e queuedError, ok bool) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return e, false
		}
		oob = rest
		v4 := h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR
		v6 := h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(data) < extendedErrSize {
			continue
		}
		origin := data[4]
		if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
			return e, false // made on this host: Send has reported it already
		}
		mtu := int(binary.NativeEndian.Uint32(data[8:]))
		e = queuedError{v6: v6, typ: data[5], code: data[6], mtu: mtu, offender: offender(data[extendedErrSize:])}
		return e, e.offender.IsValid()
	}
	return e, false
}

// offender reads the address of the sender of an error (SO_EE_OFFENDER).
func offender(sa []byte) netip.Addr {
	if len(sa) < 2 {
		return netip.Addr{}
	}
	switch family := binary.NativeEndian.Uint16(sa); {
	case family == unix.AF_INET && len(sa) >= 8:
		return netip.AddrFrom4([4]byte(sa[4:8]))
	case family == unix.AF_INET6 && len(sa) >= 24:
		return netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
	}
	return netip.Addr{}
}

func (s *Stack) onQueued(e queuedError, to netip.AddrPort, payload []byte, rx reception) {
	f, reason := s.queuedFlight(to, payload)
	switch {
	case f != nil:
		s.settleError(f, e.v6, Answer{From: e.offender, Type: e.typ, Code: e.code}, e.mtu, s.isOwn(f, e.offender), rx)
	case isTooBig(e.v6, e.typ, e.code):
		s.rejected.add(reason)
	}
}

// isOwn reports whether an error about a flight came from this host itself. A flight that no socket
// has sent has no route.
func (s *Stack) isOwn(f *flight, from netip.Addr) bool {
	if f.set == nil {
		return false
	}
	route, err := s.Route(Path{Dst: f.dst, Interface: f.set.device}.For(f.protocol, f.port))
	return err == nil && route.Src == from
}

func (s *Stack) queuedFlight(to netip.AddrPort, payload []byte) (f *flight, reason string) {
	if f = s.flights.findUDP(to, payload); f != nil {
		return f, ""
	}
	if len(payload) >= markerSize+TokenSize {
		return nil, RejectToken
	}
	return s.flights.findLargest(to), RejectUnknownProbe
}
