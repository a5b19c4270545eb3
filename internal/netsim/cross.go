package netsim

import (
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/ip"
)

// ICMP types and codes of the answers (RFC 792; RFC 4443).
const (
	v4EchoReply, v4Unreachable, v4TimeExceeded = 0, 3, 11
	v4PortUnreachable, v4FragmentationNeeded   = 3, 4
	v4ProtocolUnreachable, v4Prohibited        = 2, 13

	v6Unreachable, v6TooBig, v6TimeExceeded, v6EchoReply = 1, 2, 3, 129
	v6PortUnreachable                                    = 4
	v6ParameterProblem, v6UnrecognizedNextHeader         = 4, 1
	v6Prohibited                                         = 1
)

// cross sends a packet along the path and returns the resulting answers.
//
//	host --Block, All, Loss, Echoes--> hops --MTU--> peer
//	host <--ReverseLoss, DropICMP-- PTB, time exceeded, unreachable, reply (Replies, ReverseMTU)
func (s *Path) cross(c *Config, p *netio.Packet, size int, now time.Time) []reaction {
	v6 := p.Path.IPv6()
	if s.lostOnTheWay(c, p, now) {
		if c.Prohibit && c.blocks(p) && c.BlockBehind < len(c.Hops) {
			a := netio.Answer{Outcome: netio.Unreachable, From: c.Hops[c.BlockBehind], Type: v4Unreachable, Code: v4Prohibited}
			if v6 {
				a.Type, a.Code = v6Unreachable, v6Prohibited
			}
			return s.back(c, true, a)
		}
		return nil
	}
	narrow, router := orLast(c, c.Narrow), slices.Index(c.Hops, p.Path.Dst)+1
	if router > 0 && router <= narrow {
		return s.routerReplies(c, p, router, size, now)
	}
	cuts := c.ClearDF && !v6 && !s.fits(c, p, size)
	hop := int(p.TTL)
	expires := hop > 0 && hop <= len(c.Hops)
	switch {
	case expires && hop <= narrow:
		return s.timeExceeded(c, p, hop, now, false)
	case !cuts && !s.fits(c, p, size) && (p.DontFragment || v6):
		return s.tooBig(c, v6, now)
	case expires:
		return s.timeExceeded(c, p, hop, now, cuts)
	case c.DropFragments && fragmented(c, p, size):
		return nil
	case router > 0:
		return s.routerReplies(c, p, router, size, now)
	}
	return s.arrived(c, p, size, now)
}

// orLast is a number of a hop, or the last hop for 0.
func orLast(c *Config, hop int) int {
	if hop == 0 {
		return len(c.Hops)
	}
	return hop
}

// routerReplies is the answer of a router to an echo to its own address.
func (s *Path) routerReplies(c *Config, p *netio.Packet, hop, size int, now time.Time) []reaction {
	if p.Protocol != netio.Echo || c.Mute != nil && c.Mute(hop) || !s.repliesOf(hop).take(c.Exceeded, now) {
		return nil
	}
	limit := size
	if hop > orLast(c, c.ReverseNarrow) {
		limit = orMTU(c.ReverseMTU)
	}
	return s.echoed(c, p, size, limit)
}

// repliesOf is the limit of one router's ICMP.
func (s *Path) repliesOf(hop int) *bucket {
	if s.exceeded[hop] == nil {
		s.exceeded[hop] = &bucket{}
	}
	return s.exceeded[hop]
}

// echoed is an echo reply to a path back that carries limit bytes.
func (s *Path) echoed(c *Config, p *netio.Packet, size, limit int) []reaction {
	a := netio.Answer{Outcome: netio.Delivered, From: p.Path.Dst, Type: v4EchoReply}
	if size > limit && (c.ReverseDrop || c.DropFragments) {
		return nil
	}
	if p.Path.IPv6() {
		a.Type = v6EchoReply
	}
	if size > limit {
		header := p.Path.HeaderIP()
		a.FragmentSize = header + (limit-header)&^7
		if s.lost(pieces(p, a.FragmentSize, size)-1, c.ReverseLoss) {
			return nil
		}
	}
	return s.back(c, true, a)
}

func (s *Path) fits(c *Config, p *netio.Packet, size int) bool {
	if p.FragmentSize > 0 {
		size = min(size, p.FragmentSize)
	}
	return size <= orMTU(c.MTU)
}

func fragmented(c *Config, p *netio.Packet, size int) bool {
	return size > orMTU(c.MTU) || size > orMTU(c.Route.LinkMTU) || p.FragmentSize > 0 && size > p.FragmentSize
}

func (s *Path) timeExceeded(c *Config, p *netio.Packet, hop int, now time.Time, cut bool) []reaction {
	if c.blocks(p) || c.Quiet != nil && c.Quiet(hop, p) || !s.repliesOf(hop).take(c.Exceeded, now) {
		return nil
	}
	a := netio.Answer{Outcome: netio.TimeExceeded, From: c.Hops[hop-1], Type: v4TimeExceeded}
	if p.Path.IPv6() {
		a.Type = v6TimeExceeded
	}
	if cut {
		a.Cut = p.Path.HeaderIP() + (orMTU(c.MTU)-p.Path.HeaderIP())&^7
	}
	return s.back(c, true, a)
}

// blocks reports whether a probe reaches the hop that drops its kind.
func (c *Config) blocks(p *netio.Packet) bool {
	return c.Block != nil && c.Block(p) && (p.TTL == 0 || int(p.TTL) > c.BlockBehind)
}

// lostOnTheWay reports whether a packet is dropped for a reason other than its size.
func (s *Path) lostOnTheWay(c *Config, p *netio.Packet, now time.Time) bool {
	echo := p.Protocol == netio.Echo
	switch {
	case c.blocks(p), echo && c.DropICMP, !s.all.take(c.All, now):
		return true
	case c.Bursts != nil:
		if c.Bursts(now) {
			return true
		}
	case s.lost(pieces(p, p.FragmentSize, p.WireSize()), c.Loss):
		return true
	}
	return echo && !s.echoes.take(c.Echoes, now)
}

func (s *Path) tooBig(c *Config, v6 bool, now time.Time) []reaction {
	if c.PTB.Drop || !s.ptbs.take(c.PTB.Limit, now) {
		return nil
	}
	a := netio.Answer{
		Outcome: netio.TooBig, From: Router(v6), MTU: orMTU(c.MTU), Type: v4Unreachable, Code: v4FragmentationNeeded,
	}
	if v6 {
		a.Type, a.Code = v6TooBig, 0
	}
	if n := len(c.Hops); n > 0 {
		a.From = c.Hops[n-1]
		if c.Narrow > 0 {
			a.From = c.Hops[c.Narrow-1]
		}
	}
	if c.PTB.Rewrite != nil {
		a.MTU = c.PTB.Rewrite(a.MTU)
	}
	answers := s.back(c, true, a)
	for range c.PTB.Copies {
		answers = append(answers, s.back(c, true, a)...)
	}
	return answers
}

// forged returns the forged messages about a probe.
func forged(c *Config, p *netio.Packet) []reaction {
	if c.PTB.Forged == 0 || !p.DontFragment {
		return nil
	}
	r := reaction{c.Delay, netio.Answer{From: Router(p.Path.IPv6()), MTU: c.PTB.Forged}, true}
	return []reaction{r, r}
}

// Router is the router that sends PTBs if the Config names no Hops.
func Router(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("2001:db8::fe")
	}
	return netip.MustParseAddr("198.51.100.254")
}

func (s *Path) arrived(c *Config, p *netio.Packet, size int, now time.Time) []reaction {
	v6 := p.Path.IPv6()
	a := netio.Answer{Outcome: netio.Delivered, From: p.Path.Dst}
	if p.Protocol == netio.Echo {
		if !s.replies.take(c.Replies, now) {
			return nil
		}
		return s.echoed(c, p, size, orMTU(c.ReverseMTU))
	}
	if p.Protocol != netio.UDP {
		return s.ipsec(c, v6, a)
	}
	if c.Closed != nil && c.Closed(p.Port) {
		a.Outcome, a.Type, a.Code = netio.Refused, v4Unreachable, v4PortUnreachable
		if v6 {
			a.Type, a.Code = v6Unreachable, v6PortUnreachable
		}
		return s.back(c, true, a)
	}
	respond := c.Respond
	if respond == nil {
		respond = Responder()
	}
	if a.Payload = respond(p.Port, p.Payload); a.Payload == nil {
		return nil
	}
	return s.back(c, false, a)
}

// ipsec is the peer's answer to ESP or AH with an unknown SPI.
func (s *Path) ipsec(c *Config, v6 bool, a netio.Answer) []reaction {
	if !c.RefuseIPsec {
		return nil
	}
	a.Outcome, a.Type, a.Code = netio.Refused, v4Unreachable, v4ProtocolUnreachable
	if v6 {
		a.Type, a.Code = v6ParameterProblem, v6UnrecognizedNextHeader
	}
	return s.back(c, true, a)
}

// pieces returns the number of fragments, of at most max bytes each, of a packet.
func pieces(p *netio.Packet, fragment, size int) int {
	if fragment == 0 || size <= fragment {
		return 1
	}
	header := p.Path.HeaderIP()
	piece := max(8, (fragment-header)&^7)
	return (size - header + piece - 1) / piece
}

// lost draws whether one of n packets is lost.
func (s *Path) lost(n int, share float64) bool {
	for range n {
		if s.random.Float64() < share {
			return true
		}
	}
	return false
}

func blank(p *netio.Packet, size int) []byte {
	b := make([]byte, 0, size)
	protocol := map[netio.Protocol]uint8{netio.Echo: ip.ProtocolICMP, netio.UDP: ip.ProtocolUDP, netio.ESP: ip.ProtocolESP, netio.AH: ip.ProtocolAH}[p.Protocol]
	if p.Path.IPv6() {
		h := ip.IPv6{PayloadLength: size - ip.HeaderLengthIPv6, NextHeader: protocol, HopLimit: p.TTL, Dst: p.Path.Dst}
		b = h.Append(b)
	} else {
		h := ip.IPv4{TotalLength: size, DontFragment: p.DontFragment, TTL: p.TTL, Protocol: protocol, Dst: p.Path.Dst}
		b = h.Append(b)
	}
	return b[:size]
}

func (s *Path) back(c *Config, isICMP bool, a netio.Answer) []reaction {
	if isICMP && (c.DropICMP || !s.passesICMP(c)) || s.random.Float64() < c.ReverseLoss {
		return nil
	}
	after := c.Delay
	if c.Jitter > 0 {
		after += time.Duration(s.random.Int64N(int64(c.Jitter)))
	}
	answers := []reaction{{after: after, answer: a, inexact: a.Outcome == netio.TooBig && c.PTB.Inexact}}
	if a.Outcome == netio.Delivered && s.random.Float64() < c.Duplicates {
		answers = append(answers, reaction{after: after + time.Millisecond, answer: a})
	}
	return answers
}

// passesICMP applies the limit that other hosts share, whose packets since the last one come first.
func (s *Path) passesICMP(c *Config) bool {
	now := time.Now()
	if c.Others > 0 {
		for at := s.icmp.at; !at.IsZero(); {
			at = at.Add(time.Duration(s.random.ExpFloat64() * float64(c.Others)))
			if !at.Before(now) {
				break
			}
			s.icmp.take(c.ICMP, at)
		}
	}
	return s.icmp.take(c.ICMP, now)
}
