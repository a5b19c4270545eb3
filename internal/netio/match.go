//go:build linux

package netio

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// maxAge bounds the time in a socket buffer: a larger difference is a step of the clock, or no
// kernel time at all.
const maxAge = 10 * time.Second

// received converts the kernel's receive time, if any, from wall clock to this process' monotonic
// clock, so that a step of the wall clock does not become a round trip.
func received(kernel time.Time) time.Time {
	now := time.Now()
	if age := now.Round(0).Sub(kernel); age >= 0 && age <= maxAge {
		return now.Add(-age)
	}
	return now
}

// onICMPv4 takes a whole IPv4 packet of a raw socket, its ICMP checksum unchecked.
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

// onICMPv6 takes an ICMPv6 message, its checksum checked (RFC 3542, section 3.1).
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

// onEchoReply takes an echo reply. It arrives once at the sockets of every interface; only the
// sockets that sent the echo count it.
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
	s.tap.note(f, func(o *Overheard) { o.ICMP.Socket++ })
	s.flights.settle(f, a, rx)
}

// onUDP takes a datagram that came to the probes' port.
func (s *Stack) onUDP(from netip.AddrPort, payload []byte, rx reception) {
	f := s.flights.findUDP(from, payload)
	if f == nil {
		s.stray.Add(1)
		return
	}
	s.tap.note(f, func(o *Overheard) { o.UDP.Socket++ })
	rx.udp, rx.port = payload, f.flow.port(f.dst)
	s.flights.settle(f, Answer{Outcome: Delivered, From: from.Addr(), Payload: payload}, rx)
}

// markerSize is the size of the non-ESP marker (RFC 3948, section 2.2).
const markerSize = 4

func isTooBig(v6 bool, typ, code uint8) bool {
	if v6 {
		return typ == icmp.V6PacketTooBig
	}
	return typ == icmp.V4DestinationUnreachable && code == icmp.V4FragmentationNeeded
}

// onError takes an ICMP error and the error of its parser.
func (s *Stack) onError(set *sockets, from netip.Addr, m *icmp.Message, parse error, v6 bool, rx reception) {
	tooBig := isTooBig(v6, m.Type, m.Code)
	f, reason := s.quoted(m, parse, v6, tooBig)
	if f == nil && tooBig && parse == nil {
		s.hint(set, from, m)
	}
	switch {
	case f == nil && tooBig && reason != "":
		s.rejected.add(reason)
	case f == nil || f.set != set: // it comes once to the sockets of every interface
	default:
		s.tap.note(f, func(o *Overheard) { o.ICMP.Socket++ })
		a := Answer{From: from, Type: m.Type, Code: m.Code, TTL: rx.ttl, DontFragment: rx.df}
		if m.Quote.Fragmented {
			a.Cut = m.Quote.TotalLength
		}
		s.settleError(f, v6, a, m.MTU, from == m.Quote.Src, rx)
	}
}

// settleError decides what an ICMP error means for the probe that it quotes. own means that this
// host sent the error to itself.
func (s *Stack) settleError(f *flight, v6 bool, a Answer, mtu int, own bool, rx reception) {
	name := icmp.ErrorName(v6, a.Type, a.Code)
	a.Outcome = Unreachable
	switch name {
	case icmp.NameTooBig:
		s.cleanCache(f)
		a.Outcome, a.MTU = TooBig, mtu
	case icmp.NamePort, icmp.NameProtocol:
		if !f.isEcho() && a.From == f.dst {
			a.Outcome = Refused
		}
	case icmp.NameTTL:
		a.Outcome = TimeExceeded
	}
	switch {
	case own && a.Outcome == Unreachable:
		a.Outcome, a.Err = NotSent, ownError(name, a.From)
	case own && a.Outcome == TooBig: // it may come before the kernel's answer to the sender
		a.Outcome, a.Err = TooBigLocally, fmt.Errorf("this host (%s) did not send it: %w", a.From, unix.EMSGSIZE)
	}
	if s.flights.settle(f, a, rx) {
		s.errors.add(name)
	}
}

// ownError returns why this host did not deliver a probe, by the ICMP error that it sent to itself.
func ownError(name string, own netip.Addr) error {
	reason := "its own packet filter refuses the probe"
	if name == icmp.NameHost || name == icmp.NameNetwork {
		reason = "no neighbor answers for the next hop (ARP or neighbor discovery), or the route is unreachable"
	}
	return fmt.Errorf("this host (%s) did not send it: %s (ICMP %s)", own, reason, name)
}

// quoted finds the probe that an ICMP error quotes. Without one it gives the reason, which is empty
// where the quoted packet is another program's.
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
	if t[0] != request || !s.silence.Asked(q.Dst) {
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

// quotedUDP finds a UDP probe by the token, if quoted: a NAT may have changed the rest.
func (s *Stack) quotedUDP(q *icmp.Quote, v6 bool) (f *flight, token []byte, reason string) {
	h, payload, err := ip.ParseUDP(q.Transport)
	if err != nil {
		return nil, nil, RejectMalformed
	}
	if !s.silence.Asked(q.Dst) {
		return nil, nil, ""
	}
	exact := s.flights.findQuote(q.Dst, q.IPID)
	if f = s.flights.findUDP(netip.AddrPortFrom(q.Dst, h.Dst), payload); f != nil {
		token = payload[f.offset : f.offset+TokenSize]
		if !v6 && exact != nil && exact.token == f.token {
			f = exact
		}
		return f, token, ""
	}
	probes, own := s.probePort(h.Src)
	reason = RejectUnknownProbe
	switch {
	case len(payload) >= markerSize+TokenSize:
		reason = RejectToken
	case probes && !v6 && exact != nil && exact.protocol == UDP && exact.port == h.Dst && h.Checksum == exact.checksum:
		return exact, nil, ""
	}
	if !own {
		reason = "" // it may be about a packet of a daemon
	}
	return nil, nil, reason
}

// hint passes on a PTB that quotes no probe exactly. Routers may quote 8 bytes of transport header
// only (RFC 792), and NATs rewrite the identification, the checksum and the source port or echo
// identifier, and do not always restore them in a quote.
func (s *Stack) hint(set *sockets, from netip.Addr, m *icmp.Message) {
	if f := s.flights.findInexact(set, &m.Quote); f != nil {
		s.cleanCache(f)
		f.hint(Hint{From: from, MTU: m.MTU})
	}
}

// resembles reports whether a quote may be of this probe. Payload that the quote holds must be the
// probe's: no router rewrites it.
func (f *flight) resembles(q *icmp.Quote) bool {
	t := q.Transport
	if f.hint == nil || f.arrived() || q.TotalLength != f.size || q.Protocol != f.protocol.number(f.dst.Is6()) || len(t) < HeaderEcho {
		return false
	}
	data := HeaderEcho
	if !f.isEcho() {
		data = HeaderUDP + f.offset
	}
	switch {
	case f.isEcho() && t[0] != icmp.V4Echo && t[0] != icmp.V6EchoRequest:
		return false
	case !f.isEcho() && binary.BigEndian.Uint16(t[2:]) != f.port:
		return false
	}
	return len(t) < data+TokenSize || Token(t[data:]) == f.token
}

// spiSize is the size of an SPI, with which the token of an ESP or AH probe begins (RFC 4303,
// section 2.1; RFC 4302, section 2.4).
const spiSize = 4

// quotedIPsec finds an ESP or AH probe by the 8 bytes that RFC 792 promises of it.
func (s *Stack) quotedIPsec(q *icmp.Quote, v6 bool, protocol Protocol) (f *flight, token []byte, reason string) {
	offset := 0
	if protocol == AH {
		offset = spiSize
	}
	t := q.Transport
	switch {
	case !s.silence.Asked(q.Dst):
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
