package netio

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
)

// A queuedError is one entry of a socket's error queue: an ICMP error about a datagram that this socket sent.
type queuedError struct {
	v6       bool
	typ      uint8
	code     uint8
	mtu      int
	offender netip.Addr
}

// Layout of struct sock_extended_err (linux/errqueue.h): errno u32, origin u8, type u8, code u8, pad, info u32, data u32,
// then the offender's sockaddr.
const extendedErrSize = 16

// drainErrors reads all ICMP errors that wait. The kernel has matched ports and addresses; the quote, which begins at the
// datagram's payload, is matched here.
func (s *Stack) drainErrors(fd int, data, oob []byte) (some bool) {
	for {
		n, nn, _, to, err := unix.Recvmsg(fd, data, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return some
		}
		some = true
		rx := arrival(oob[:nn])
		if e, ok := parseQueued(oob[:nn]); ok {
			s.onQueued(e, addrPort(to), data[:n], rx)
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
			return e, false // made on this host: Send has said so already
		}
		e = queuedError{v6: v6, typ: data[5], code: data[6], mtu: int(binary.NativeEndian.Uint32(data[8:]))}
		e.offender = offender(data[extendedErrSize:])
		return e, e.offender.IsValid()
	}
	return e, false
}

// offender reads the sockaddr of who sent the error (SO_EE_OFFENDER).
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
	tooBig := isTooBig(e.v6, e.typ, e.code)
	f, reason := s.queuedFlight(to, payload)
	if f == nil {
		if tooBig {
			s.rejected.add(reason)
		}
		return
	}
	a := Answer{Outcome: errorOutcome(e.v6, e.typ, e.code), From: e.offender, Type: e.typ, Code: e.code}
	if a.Outcome == TooBig {
		a.MTU = e.mtu
	}
	if a.Outcome == Refused && e.offender != f.dst {
		a.Outcome = Unreachable
	}
	if s.flights.settle(f, a, rx) {
		s.errors.add(icmp.ErrorName(e.v6, e.typ, e.code))
	}
}

func (s *Stack) queuedFlight(to netip.AddrPort, payload []byte) (f *flight, reason string) {
	for _, offset := range [...]int{0, markerSize} {
		if len(payload) < offset+TokenSize {
			break
		}
		f = s.flights.findToken(Token(payload[offset:]), to.Addr())
		if f != nil && f.protocol == UDP && f.offset == offset && f.port == to.Port() {
			return f, ""
		}
	}
	if len(payload) >= markerSize+TokenSize {
		return nil, RejectToken
	}
	if f = s.flights.findLargest(to); f == nil {
		return nil, RejectUnknownProbe
	}
	return f, ""
}
