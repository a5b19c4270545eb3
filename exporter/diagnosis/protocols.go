package diagnosis

import (
	"fmt"
	"net/netip"
	"time"
)

// A Protocol is one of those whose way through the routers is compared.
type Protocol uint8

// The protocols.
const (
	// ESP is IP protocol 50, outside UDP.
	ESP Protocol = iota
	// AH is IP protocol 51.
	AH
	// Echo is ICMP, UDP500 and UDP4500 are UDP to the peer's IKE ports: those that ESP and AH are compared with.
	Echo
	UDP500
	UDP4500
	protocols
)

// String names the protocol as it stands in labels and evidence.
func (p Protocol) String() string {
	switch p {
	case ESP:
		return "esp"
	case AH:
		return "ah"
	case Echo:
		return "icmp"
	case UDP500:
		return "udp500"
	case UDP4500:
		return "udp4500"
	case protocols:
	}
	return "unknown"
}

// PassageState is whether a protocol reaches the peer.
type PassageState uint8

// The states of a passage.
const (
	// PassageUnknown means not measured, not measurable, too long ago, or that nothing shows either.
	PassageUnknown PassageState = iota
	// Passes means that the peer itself reacted to the protocol.
	Passes
	// Blocked means that a router said so, or that it gets less far than another protocol through the same hops.
	Blocked
)

// String names the state.
func (s PassageState) String() string {
	switch s {
	case PassageUnknown:
	case Passes:
		return "passes"
	case Blocked:
		return "blocked"
	}
	return "unknown"
}

// A Passage is how far one protocol gets. Hops are counted from 1; the peer is the last.
type Passage struct {
	State PassageState
	// Measured is when the packets were sent that State rests on, or the last of them. A state without it is unknown.
	Measured time.Time
	// LastHop is the farthest hop that answered for this protocol, LastRouter its address; 0 if none did.
	LastHop    int
	LastRouter netip.Addr
	// FirstMissing is the first hop after it that answered for Witness and not for this protocol, 0 if there is none.
	FirstMissing int
	// Tries is how many packets of this protocol were in vain there, 0 where they are not counted.
	Tries int
	// Witness is the protocol that gets further through the same hops, WitnessHop how far: FirstMissing or beyond. 0 if none does.
	Witness    Protocol
	WitnessHop int
	// Hops is how far away the peer is, 0 if unknown.
	Hops int
	// BlockedBy is the router that said that the protocol is administratively prohibited.
	BlockedBy netip.Addr
}

// blocked is the claim that the protocol is blocked.
func (r *Passage) blocked() claim {
	switch {
	case r.Measured.IsZero():
	case r.State == Passes:
		return claim{Absent, r.Measured}
	case r.State == Blocked && (r.BlockedBy.IsValid() || r.overtaken()):
		return claim{Holds, r.Measured}
	}
	return claim{}
}

// overtaken tells whether another protocol demonstrably gets further: to a router that answers it and not this one.
func (r *Passage) overtaken() bool {
	atRouter := r.FirstMissing > r.LastHop && r.FirstMissing <= r.WitnessHop && (r.Hops == 0 || r.FirstMissing < r.Hops)
	return atRouter && (r.Tries == 0 || r.Tries >= silenceRequests)
}

// evidence is what was measured, a line each.
func (r *Passage) evidence(p Protocol) []string {
	last := fmt.Sprintf("%s: no router answers for it", p)
	if r.LastHop > 0 {
		last = fmt.Sprintf("%s: answered up to hop %d", p, r.LastHop)
		if r.Hops > 0 {
			last += fmt.Sprintf(" of %d", r.Hops)
		}
		if r.LastRouter.IsValid() {
			last += ", " + r.LastRouter.String()
		}
	}
	lines := []string{last}
	if r.BlockedBy.IsValid() {
		lines = append(lines, fmt.Sprintf("%s: %s says that it is administratively prohibited", p, r.BlockedBy))
	}
	if r.overtaken() {
		line := fmt.Sprintf("%s: hop %d does not answer for it", p, r.FirstMissing)
		if r.Tries > 0 {
			line += fmt.Sprintf(" (%d packets)", r.Tries)
		}
		lines = append(lines, fmt.Sprintf("%s, but does for %s, which gets to hop %d", line, r.Witness, r.WitnessHop))
	}
	return lines
}

// protocolBlocked: ESP or AH does not get through, though other packets do.
//
// How sure it is: a gateway is silent to an unknown SPI, so silence of the peer shows nothing. True only where a router says
// that the protocol is prohibited, or where a router before the peer answers another protocol and, three times, not this
// one. That the last hop, the peer itself, does not answer is neither, so a filter just before the peer stays unknown. A
// reaction of the peer itself refutes it.
//
// For ESP, so does a gateway that received packets in ESP from the peer a while ago, outside UDP; filters of a
// protocol work both ways as a rule, and one way only is esp_one_way. Where it is not known whether the packets were
// inside UDP, it is unknown.
func (f *Facts) protocolBlocked(name string, p Protocol) Verdict {
	r := &f.Passages[p]
	c := r.blocked()
	if p == ESP && c.state == Holds {
		for i := range f.Gateways {
			switch g := &f.Gateways[i]; {
			case g.received().state != Holds || g.Encapsulation == InUDP:
			case g.Encapsulation == Bare:
				c = not(g.received())
			case c.state == Holds:
				c = claim{}
			}
		}
	}
	return verdict(name, "", c, func() (string, []string) {
		number := 50 // RFC 4303
		if p == AH {
			number = 51 // RFC 4302
		}
		return fmt.Sprintf("IP protocol %d (%s) is blocked on the way to the peer, other packets get further.", number, p), r.evidence(p)
	})
}
