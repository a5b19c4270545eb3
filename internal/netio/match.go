package netio

import (
	"encoding/binary"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// maxAge bounds how long an answer can have waited in a socket buffer: a larger difference is a step of the clock.
const maxAge = 10 * time.Second

// received converts the kernel's receive time, which is wall clock, to a time on this process' monotonic clock, so that a
// step of the wall clock between sending and receiving does not become a round trip.
func received(kernel time.Time) time.Time {
	now := time.Now()
	if kernel.IsZero() {
		return now
	}
	age := now.Round(0).Sub(kernel)
	if age < 0 || age > maxAge {
		return now
	}
	return now.Add(-age)
}

// onICMPv4 takes a whole IPv4 packet from a raw ICMP socket. The kernel has not checked its ICMP checksum.
func (s *Stack) onICMPv4(set *sockets, packet []byte, rx reception) {
	h, rest, err := ip.ParseIPv4(packet)
	rx.packet, rx.ttl, rx.df = packet, h.TTL, h.DontFragment
	if err != nil || h.Protocol != ip.ProtocolICMP || !icmp.ValidIPv4(rest) {
		return
	}
	m, err := icmp.ParseIPv4(rest)
	if m.Type == icmp.V4EchoReply {
		if err == nil {
			s.onEchoReply(set, h.Src, &m, rx)
		}
		return
	}
	s.onError(set, h.Src, &m, err, false, rx)
}

// onICMPv6 takes an ICMPv6 message from a raw socket. The kernel has checked its checksum (RFC 3542, section 3.1).
func (s *Stack) onICMPv6(set *sockets, from netip.Addr, message []byte, rx reception) {
	rx.icmp6, rx.from = message, from
	m, err := icmp.ParseIPv6(message)
	if m.Type == icmp.V6EchoReply {
		if err == nil {
			s.onEchoReply(set, from, &m, rx)
		}
		return
	}
	s.onError(set, from, &m, err, true, rx)
}

// onEchoReply takes an echo reply. It comes once to the sockets of every interface; only those that sent the echo count it.
func (s *Stack) onEchoReply(set *sockets, from netip.Addr, m *icmp.Message, rx reception) {
	f := s.flights.findEcho(from, m.ID, m.Seq)
	if f == nil || f.set != set || len(m.Data) < TokenSize || Token(m.Data) != f.token {
		return
	}
	a := Answer{Outcome: Delivered, From: from, Type: m.Type, Code: m.Code, TTL: rx.ttl, DontFragment: rx.df}
	headers := HeaderEcho + HeaderIPv4
	if from.Is6() {
		headers = HeaderEcho + HeaderIPv6
	}
	// Of what fills the buffer the rest is not seen.
	a.Short = len(m.Data)+headers < f.size && len(rx.packet) < packetBuffer && len(rx.icmp6) < packetBuffer
	s.flights.settle(f, a, rx)
}

// onUDP takes a datagram that came to the probes' port.
func (s *Stack) onUDP(from netip.AddrPort, payload []byte, rx reception) {
	for _, offset := range [...]int{0, markerSize} {
		if len(payload) < offset+TokenSize {
			break
		}
		f := s.flights.findToken(Token(payload[offset:]), from.Addr())
		if f == nil || f.protocol != UDP || f.offset != offset || f.port != from.Port() {
			continue
		}
		rx.udp, rx.port = payload, f.set.port(f.dst)
		s.flights.settle(f, Answer{Outcome: Delivered, From: from.Addr(), Payload: payload}, rx)
		return
	}
	s.stray.Add(1)
}

// markerSize is the size of the non-ESP marker (RFC 3948, section 2.2).
const markerSize = 4

func isTooBig(v6 bool, typ, code uint8) bool {
	if v6 {
		return typ == icmp.V6PacketTooBig
	}
	return typ == icmp.V4DestinationUnreachable && code == icmp.V4FragmentationNeeded
}

// onError takes an ICMP error. parse is what its parser said.
func (s *Stack) onError(set *sockets, from netip.Addr, m *icmp.Message, parse error, v6 bool, rx reception) {
	tooBig := isTooBig(v6, m.Type, m.Code)
	f, reason := s.quoted(m, parse, v6, tooBig)
	if f == nil {
		if tooBig && reason != "" {
			s.rejected.add(reason)
		}
		return
	}
	if f.set != set {
		return // it comes once to the sockets of every interface
	}
	a := Answer{Outcome: errorOutcome(v6, m.Type, m.Code), From: from, Type: m.Type, Code: m.Code, TTL: rx.ttl, DontFragment: rx.df}
	if a.Outcome == TooBig {
		s.cleanCache(f)
		a.MTU = m.MTU
	}
	if a.Outcome == Refused && (f.isEcho() || from != f.dst) {
		a.Outcome = Unreachable
	}
	if s.flights.settle(f, a, rx) {
		s.errors.add(icmp.ErrorName(v6, m.Type, m.Code))
	}
}

// errorOutcome is what an ICMP error means for the probe that it quotes.
func errorOutcome(v6 bool, typ, code uint8) Outcome {
	switch icmp.ErrorName(v6, typ, code) {
	case icmp.NameTooBig:
		return TooBig
	case icmp.NamePort, icmp.NameProtocol:
		return Refused
	case icmp.NameTTL:
		return TimeExceeded
	}
	return Unreachable
}

// quoted finds the probe that an ICMP error quotes. Without one it gives the reason, which is empty where the
// quoted packet was never meant to be ours: another program's.
func (s *Stack) quoted(m *icmp.Message, parse error, v6, tooBig bool) (f *flight, reason string) {
	q := &m.Quote
	if parse != nil || !q.Dst.IsValid() {
		return nil, RejectMalformed
	}
	var token []byte
	switch q.Protocol {
	case ip.ProtocolICMP, ip.ProtocolICMPv6:
		f, token, reason = s.quotedEcho(q, v6)
	case ip.ProtocolUDP:
		f, token, reason = s.quotedUDP(q, v6)
	case ip.ProtocolESP:
		f, token, reason = s.quotedIPsec(q, v6, ESP)
	case ip.ProtocolAH:
		f, token, reason = s.quotedIPsec(q, v6, AH)
	default:
		return nil, ""
	}
	switch {
	case f == nil:
		return nil, reason
	case token != nil && Token(token) != f.token:
		return nil, RejectToken
	case tooBig && q.TotalLength != f.size:
		return nil, RejectSize
	case token == nil && !v6 && q.IPID != f.ipID:
		return nil, RejectIPID
	}
	return f, ""
}

func (s *Stack) quotedEcho(q *icmp.Quote, v6 bool) (f *flight, token []byte, reason string) {
	t := q.Transport
	if len(t) < HeaderEcho {
		return nil, nil, RejectMalformed
	}
	request := uint8(icmp.V4Echo)
	if v6 {
		request = icmp.V6EchoRequest
	}
	if t[0] != request || !s.flights.probed(q.Dst) {
		return nil, nil, ""
	}
	f = s.flights.findEcho(q.Dst, binary.BigEndian.Uint16(t[4:]), binary.BigEndian.Uint16(t[6:]))
	if f == nil {
		return nil, nil, RejectUnknownProbe
	}
	if len(t) >= HeaderEcho+TokenSize {
		token = t[HeaderEcho : HeaderEcho+TokenSize]
	}
	return f, token, ""
}

// quotedUDP finds a UDP probe by the token where the quote reaches that far: a NAT may have changed the rest.
func (s *Stack) quotedUDP(q *icmp.Quote, v6 bool) (f *flight, token []byte, reason string) {
	h, payload, err := ip.ParseUDP(q.Transport)
	if err != nil {
		return nil, nil, RejectMalformed
	}
	if !s.flights.probed(q.Dst) {
		return nil, nil, ""
	}
	for _, offset := range [...]int{0, markerSize} {
		if len(payload) < offset+TokenSize {
			break
		}
		f = s.flights.findToken(Token(payload[offset:]), q.Dst)
		if f != nil && f.protocol == UDP && f.offset == offset && f.port == h.Dst {
			if exact := s.flights.findQuote(q.Dst, q.IPID); !v6 && exact != nil && exact.token == f.token {
				f = exact
			}
			return f, payload[offset : offset+TokenSize], ""
		}
	}
	switch {
	case !s.ownPort(h.Src):
		return nil, nil, ""
	case len(payload) >= markerSize+TokenSize:
		return nil, nil, RejectToken
	}
	f = s.flights.findQuote(q.Dst, q.IPID)
	if v6 || f == nil || f.protocol != UDP || f.port != h.Dst || h.Checksum != f.checksum {
		return nil, nil, RejectUnknownProbe
	}
	return f, nil, ""
}

// spiSize is the size of an SPI, with which the token of an ESP or AH probe begins (RFC 4303, section 2.1; RFC 4302, section 2.4).
const spiSize = 4

// quotedIPsec finds an ESP or AH probe. RFC 792 promises 8 bytes of it: all of ESP's token, of AH's the SPI.
func (s *Stack) quotedIPsec(q *icmp.Quote, v6 bool, protocol Protocol) (f *flight, token []byte, reason string) {
	offset := 0
	if protocol == AH {
		offset = spiSize
	}
	t := q.Transport
	switch {
	case !s.flights.probed(q.Dst):
		return nil, nil, ""
	case len(t) >= offset+TokenSize:
		token = t[offset : offset+TokenSize]
		f = s.flights.findToken(Token(token), q.Dst)
		if exact := s.flights.findQuote(q.Dst, q.IPID); !v6 && exact != nil && exact.token == Token(token) {
			f = exact
		}
	case len(t) >= offset+spiSize && !v6:
		f = s.flights.findQuote(q.Dst, q.IPID)
		if f != nil && [spiSize]byte(t[offset:]) != [spiSize]byte(f.token[:]) {
			return nil, nil, RejectToken
		}
	default:
		return nil, nil, RejectMalformed
	}
	if f == nil || f.protocol != protocol {
		return nil, nil, RejectUnknownProbe
	}
	return f, token, ""
}
