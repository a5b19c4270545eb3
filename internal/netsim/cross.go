package netsim

import (
	"net/netip"
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

// cross sends a packet along the path and returns the answers that come of it.
//
//	host --Block, All, Loss, Echoes--> hops --MTU--> peer
//	host <--ReverseLoss, DropICMP-- PTB, time exceeded, port unreachable, reply (Replies, ReverseMTU)
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
	narrow := c.Narrow
	if narrow == 0 {
		narrow = len(c.Hops)
	}
	hop := int(p.TTL)
	expires := hop > 0 && hop <= len(c.Hops)
	switch {
	case expires && hop <= narrow:
		return s.timeExceeded(c, p, hop, now)
	case !s.fits(c, p, size) && (p.DontFragment || v6):
		return s.tooBig(c, v6, now)
	case expires:
		return s.timeExceeded(c, p, hop, now)
	case c.DropFragments && fragmented(c, p, size):
		return nil
	}
	return s.arrived(c, p, size, now)
}

// fits tells whether every packet that a probe is sent as fits the small link.
func (s *Path) fits(c *Config, p *netio.Packet, size int) bool {
	if p.FragmentSize > 0 {
		size = min(size, p.FragmentSize)
	}
	return size <= orMTU(c.MTU)
}

// fragmented tells whether a probe arrives in fragments.
func fragmented(c *Config, p *netio.Packet, size int) bool {
	return size > orMTU(c.MTU) || size > orMTU(c.Route.LinkMTU) || p.FragmentSize > 0 && size > p.FragmentSize
}

// timeExceeded is what the router says at which the TTL runs out.
func (s *Path) timeExceeded(c *Config, p *netio.Packet, hop int, now time.Time) []reaction {
	if s.exceeded[hop] == nil {
		s.exceeded[hop] = &bucket{}
	}
	if c.blocks(p) || c.Quiet != nil && c.Quiet(hop, p) || !s.exceeded[hop].take(c.Exceeded, now) {
		return nil
	}
	a := netio.Answer{Outcome: netio.TimeExceeded, From: c.Hops[hop-1], Type: v4TimeExceeded}
	if p.Path.IPv6() {
		a.Type = v6TimeExceeded
	}
	return s.back(c, true, a)
}

// blocks tells whether a probe comes to the hop that drops its kind.
func (c *Config) blocks(p *netio.Packet) bool {
	return c.Block != nil && c.Block(p) && (p.TTL == 0 || int(p.TTL) > c.BlockBehind)
}

// lostOnTheWay tells whether a packet is dropped for another reason than its size.
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

// tooBig is what the router in front of the small link says.
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

// Router is the router that sends PTBs where the Config names no Hops.
func Router(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("2001:db8::fe")
	}
	return netip.MustParseAddr("198.51.100.254")
}

// arrived is what the peer says.
func (s *Path) arrived(c *Config, p *netio.Packet, size int, now time.Time) []reaction {
	v6 := p.Path.IPv6()
	a := netio.Answer{Outcome: netio.Delivered, From: p.Path.Dst}
	if p.Protocol == netio.Echo {
		if !s.replies.take(c.Replies, now) || size > orMTU(c.ReverseMTU) && (c.ReverseDrop || c.DropFragments) {
			return nil
		}
		a.Type = v4EchoReply
		if v6 {
			a.Type = v6EchoReply
		}
		if size > orMTU(c.ReverseMTU) {
			header := p.Path.HeaderIP()
			a.FragmentSize = header + (orMTU(c.ReverseMTU)-header)&^7
			if s.lost(pieces(p, a.FragmentSize, size)-1, c.ReverseLoss) {
				return nil
			}
		}
		return s.back(c, true, a)
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

// ipsec is what the peer says to ESP or AH that it knows nothing of.
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

// pieces is in how many fragments of at most so many bytes a packet travels.
func pieces(p *netio.Packet, fragment, size int) int {
	if fragment == 0 || size <= fragment {
		return 1
	}
	header := p.Path.HeaderIP()
	piece := max(8, (fragment-header)&^7)
	return (size - header + piece - 1) / piece
}

// lost tells whether chance takes one of n packets.
func (s *Path) lost(n int, share float64) bool {
	for range n {
		if s.random.Float64() < share {
			return true
		}
	}
	return false
}

// blank is the header of a probe with nothing but zeros behind it.
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

// back sends an answer home.
func (s *Path) back(c *Config, isICMP bool, a netio.Answer) []reaction {
	if isICMP && c.DropICMP || s.random.Float64() < c.ReverseLoss {
		return nil
	}
	after := c.Delay
	if c.Jitter > 0 {
		after += time.Duration(s.random.Int64N(int64(c.Jitter)))
	}
	answers := []reaction{{after, a}}
	if a.Outcome == netio.Delivered && s.random.Float64() < c.Duplicates {
		answers = append(answers, reaction{after + time.Millisecond, a})
	}
	return answers
}
