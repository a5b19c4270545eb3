package netsim

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// ICMP types and codes of the answers (RFC 792; RFC 4443).
const (
	v4EchoReply, v4Unreachable, v4TimeExceeded = 0, 3, 11
	v4PortUnreachable, v4FragmentationNeeded   = 3, 4

	v6Unreachable, v6TooBig, v6TimeExceeded, v6EchoReply = 1, 2, 3, 129
	v6PortUnreachable                                    = 4
)

// cross sends a packet along the path and returns the answers that come of it.
//
//	host --Block, All, Loss, Echoes--> hops --MTU--> peer
//	host <--ReverseLoss, DropICMP-- PTB, time exceeded, port unreachable, reply (Replies, ReverseMTU)
func (s *Path) cross(c *Config, p *netio.Packet, size int, now time.Time) []reaction {
	if s.lostOnTheWay(c, p, now) {
		return nil
	}
	v6 := p.Path.IPv6()
	if hop := int(p.TTL); hop > 0 && hop <= len(c.Hops) {
		a := netio.Answer{Outcome: netio.TimeExceeded, From: c.Hops[hop-1], Type: v4TimeExceeded}
		if v6 {
			a.Type = v6TimeExceeded
		}
		return s.back(c, true, a)
	}
	if size > orMTU(c.MTU) {
		if p.DontFragment || v6 {
			return s.tooBig(c, v6, now)
		}
		if c.DropFragments {
			return nil
		}
	}
	if size > orMTU(c.Route.LinkMTU) && c.DropFragments {
		return nil
	}
	return s.arrived(c, p, size, now)
}

// lostOnTheWay tells whether a packet is dropped for another reason than its size.
func (s *Path) lostOnTheWay(c *Config, p *netio.Packet, now time.Time) bool {
	echo := p.Protocol == netio.Echo
	switch {
	case c.Block != nil && c.Block(p), echo && c.DropICMP, !s.all.take(c.All, now):
		return true
	case c.Bursts != nil:
		if c.Bursts(now) {
			return true
		}
	case s.random.Float64() < c.Loss:
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
		return s.back(c, true, a)
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
