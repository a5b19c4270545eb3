package diagnosis

import (
	"fmt"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/protocols"
)

// Diagnoses of protocols that do not get through.
const (
	ESPBlocked    = "esp_blocked"
	AHBlocked     = "ah_blocked"
	ESPUDPBlocked = "esp_udp_blocked"
)

// overtakenAt returns the first hop, counted from 1, that answers another protocol and not this
// one; 0 if no router before the peer does. Other protocols do not include ESP in UDP.
func (f *Facts) overtakenAt(r *protocols.Result) int {
	if !r.FirstMissed.IsValid() || r.Witness == protocols.ESPInUDP || r.Tries < silenceRequests {
		return 0
	}
	hop, distance := 1+slices.Index(f.Protocols.Hops, r.FirstMissed), f.Protocols.Distance
	if hop <= r.LastHop || hop > r.WitnessHop || distance > 0 && hop >= distance {
		return 0
	}
	return hop
}

func (f *Facts) blocked(r *protocols.Result) claim {
	if f.Protocols == nil {
		return claim{}
	}
	shown := r.State == protocols.Blocked && (r.BlockedBy.IsValid() || f.overtakenAt(r) > 0)
	return when(shown || r.State == protocols.Passes || f.reachesPeer(r), shown, f.Protocols.At)
}

// reachesPeer reports whether a protocol is known to get to the last router before the peer.
func (f *Facts) reachesPeer(r *protocols.Result) bool {
	return f.Protocols != nil && r.State == protocols.Unknown && f.Protocols.Distance > 1 && r.LastHop >= f.Protocols.Distance-1
}

func (f *Facts) passageEvidence(r *protocols.Result) []string {
	last := fmt.Sprintf("%s: no router answers for it", r.Protocol)
	if r.LastHop > 0 {
		last = fmt.Sprintf("%s: answered up to hop %d", r.Protocol, r.LastHop)
		if f.Protocols.Distance > 0 {
			last += fmt.Sprintf(" of %d", f.Protocols.Distance)
		}
		if r.Last.IsValid() {
			last += ", " + r.Last.String()
		}
	}
	lines := []string{last}
	if r.BlockedBy.IsValid() {
		lines = append(lines, fmt.Sprintf("%s: %s reports that it refuses it (ICMP %s)", r.Protocol, f.speaker(r.BlockedBy), r.Error))
	}
	if hop := f.overtakenAt(r); hop > 0 {
		lines = append(lines, fmt.Sprintf("%s: hop %d does not answer for it (%d packets), but does for %s, which gets to hop %d",
			r.Protocol, hop, r.Tries, r.Witness, r.WitnessHop))
	}
	return lines
}

// protocolBlocked: ESP, AH, or ESP in UDP does not get through, though other packets do.
//
// How sure it is: a gateway is silent to an unknown SPI, so silence of the peer shows nothing. True
// only where a router reports that it refuses the protocol, or where a router before the peer
// answers another protocol and, three times, not this one. Silence of the last hop, the peer itself,
// is neither. A reaction of the peer refutes it, and so does an answer of the last router before the
// peer.
//
// For ESP, so does a gateway that has received packets from the peer in the same encapsulation:
// filters of a protocol work both ways as a rule, and one way only is esp_one_way. Where the
// encapsulation is not known, it is unknown. ESP in UDP is judged only where IKE is answered on the
// same port; otherwise the port is blocked.
func protocolBlocked(p protocols.Protocol) func(f *Facts) (claim, text) {
	return func(f *Facts) (claim, text) {
		r := f.passage(p)
		c := f.blocked(&r)
		switch p {
		case protocols.ESP:
			c = f.refutedBy(c, gateways.No)
		case protocols.ESPInUDP:
			if c = f.refutedBy(c, gateways.Yes); c.state == Holds && f.answers(collectors.NATT).state != Holds {
				c = claim{}
			}
		case protocols.ICMP, protocols.UDP500, protocols.UDP4500, protocols.AH:
		}
		return c, func() (string, []string) {
			name := fmt.Sprintf("IP protocol 50 (%s)", p) // RFC 4303
			switch p {
			case protocols.AH:
				name = fmt.Sprintf("IP protocol 51 (%s)", p) // RFC 4302
			case protocols.ESPInUDP:
				name = fmt.Sprintf("ESP in UDP %d", f.replies(collectors.NATT).Port) // RFC 3948
			case protocols.ICMP, protocols.UDP500, protocols.UDP4500, protocols.ESP:
			}
			return name + " is blocked on the path to the peer, other packets get further.", f.passageEvidence(&r)
		}
	}
}

// refutedBy returns the claim that ESP is blocked, unless a gateway receives ESP from the peer, in
// UDP or not.
func (f *Facts) refutedBy(c claim, inUDP gateways.Answer) claim {
	if c.state != Holds {
		return c
	}
	for i := range f.Gateways {
		g := &f.Gateways[i]
		switch in := g.received(); {
		case c.state == Absent || in.state != Holds:
		case g.Newest().NATT == inUDP:
			c = not(in)
		case g.Newest().NATT == gateways.Unknown:
			c = claim{}
		}
	}
	return c
}
