package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

// Encapsulation is how the ESP packets of a tunnel travel.
type Encapsulation uint8

// The encapsulations.
const (
	EncapsulationUnknown Encapsulation = iota
	// Bare means IP protocol 50.
	Bare
	// InUDP means inside UDP (RFC 3948).
	InUDP
)

// Negotiation is what an IKE SA that is not established waits for.
type Negotiation uint8

// The stages of a negotiation.
const (
	// NegotiationNone means that nothing is being negotiated, or that nobody knows at what stage.
	NegotiationNone Negotiation = iota
	// Connecting is everything before the peers have authenticated each other.
	Connecting
	// XAuth is IKEv1 asking for user name and password.
	XAuth
	// ModeCfg is IKEv1 handing out addresses.
	ModeCfg
)

// String says where it is stuck.
func (n Negotiation) String() string {
	switch n {
	case NegotiationNone:
	case Connecting:
		return "before the peers have authenticated each other"
	case XAuth:
		return "after phase 1, while user name and password are asked for (XAUTH)"
	case ModeCfg:
		return "after phase 1, while addresses are handed out (mode config)"
	}
	return "at an unknown stage"
}

// A Gateway is what the SA table of one gateway shows about the peer.
type Gateway struct {
	// Name is the gateway's, as it stands in the label.
	Name string
	// Measured is when the table was last read. Without it all is unknown.
	Measured time.Time
	// NoIKE means that the gateway knows no IKE SAs (Linux XFRM), so nobody can tell whether a tunnel is up.
	NoIKE bool
	// Expected means that an SA of the peer is expected here; OnDemand that an idle tunnel without one is no fault.
	Expected, OnDemand bool
	// Up means that, at the newest reading, an IKE SA is established and a child of it is installed, either of them perhaps just being
	// renewed. Readings are the last readings that are known, UpReadings those of them in which it was up, NegotiatingReadings those
	// in which it was not and an IKE SA was being negotiated.
	Up                                        bool
	Readings, UpReadings, NegotiatingReadings int
	// Watched is from the first of these readings to the newest.
	Watched time.Duration
	// Negotiation and VendorState are those of the newest negotiation in these readings.
	Negotiation Negotiation
	VendorState string
	// ChildMissingSince is since which reading an IKE SA is established and no child of it is installed, NoSASince since which
	// one there is no SA but those that are being deleted; zero where that is not so.
	ChildMissingSince, NoSASince time.Time
	// Traffic is what the newest readings counted.
	Traffic Traffic
	// Encapsulation is that of the child in use.
	Encapsulation Encapsulation
	// PathMTU is the path MTU that the gateway believes, 0 if unknown.
	PathMTU int
}

// Traffic is how many packets the SAs of a peer counted between two readings, kept growing over rekeys. Without both
// times it is unknown.
type Traffic struct {
	From, To time.Time
	In, Out  uint64
}

// When a gateway's story is believed.
const (
	// stuckReadings and stuckTime are how many readings, and how long, a negotiation must be watched for. It is stuck where the tunnel was up in
	// at most a fifth of them, and a negotiation under way in at least half: an attempt lives for tens of seconds and then starts again.
	stuckReadings = 5
	stuckTime     = 2 * time.Minute
	// settleTime is how long a tunnel may be without child or without SA. A renewal that breaks the old before it makes the new
	// takes a few round trips, and with two retransmissions some 25 s.
	settleTime = time.Minute
	// trafficWindow and trafficPackets are what must be watched, and sent, before silence is no chance.
	trafficWindow  = time.Minute
	trafficPackets = 10
)

// gatewayRules are the diagnoses that each gateway has of its own.
func gatewayRules() []string {
	return []string{TunnelOversized, ESPOneWay, NegotiationStuck, ChildMissing, NoSA}
}

// gatewayVerdict is the verdict on one of gatewayRules.
func (f *Facts) gatewayVerdict(name string, g *Gateway) Verdict {
	var c claim
	var text func() (string, []string)
	switch name {
	case TunnelOversized:
		c, text = f.tunnelOversized(g)
	case ESPOneWay:
		c, text = g.espOneWay()
	case NegotiationStuck:
		c, text = g.negotiationStuck()
	case ChildMissing:
		c, text = g.childMissing()
	case NoSA:
		if c, text = g.noSA(); f.elsewhere(g) {
			c = when(!g.NoIKE, false, g.Measured)
		}
	}
	if g.Measured.IsZero() {
		c = claim{}
	}
	v := verdict(name, "", c, text)
	v.Gateway = g.Name
	return v
}

// tunnelOversized: the gateway builds packets for a larger path MTU than passes, and what is too large vanishes.
//
// How sure it is: true only where the path is known to be a black hole on the way to the peer, by the way its ESP packets
// take. Of a tunnel in UDP that is NAT-T's; of another, or one that is not known, every known method must pass less than the gateway
// believes, because nobody knows whose way ESP shares. A path that says "packet too big" is none: the gateway is told.
func (f *Facts) tunnelOversized(g *Gateway) (claim, func() (string, []string)) {
	var limits, holes []claim
	var shown []string
	for _, m := range collectors.Methods() {
		r := &f.MTU[m]
		if g.Encapsulation == InUDP && m != collectors.NATT && f.MTU[collectors.NATT].arrives().state == Holds {
			continue
		}
		hole := f.forwardBlackHole(m)
		// A method by which larger IKE messages disagree tells of the way back, or of nothing.
		if hole.state == Undecided || hole.state == Absent && r.State == BlackHole {
			continue
		}
		limits = append(limits, when(g.PathMTU > 0, g.PathMTU > r.Bytes, r.Measured))
		holes = append(holes, hole)
		if hole.state == Holds {
			shown = append(shown, r.evidence(m))
		}
	}
	if len(limits) == 0 || f.peerSilent().State == Holds {
		return claim{}, nil
	}
	believed := when(g.PathMTU > 0, true, g.Measured)
	c := and(believed, or(holes...), and(limits...))
	if c.state == Absent && or(limits...).state == Holds && or(holes...).state == Holds {
		c = claim{} // one way passes what the gateway believes, another does not
	}
	return c, func() (string, []string) {
		return fmt.Sprintf("The gateway builds packets for a path MTU of %d bytes, but packets that large vanish on the way to the peer.", g.PathMTU),
			append([]string{fmt.Sprintf("gateway %s: believes a path MTU of %d bytes", g.Name, g.PathMTU)}, shown...)
	}
}

// received is the claim that packets from the peer came in lately; silence is none.
func (g *Gateway) received() claim {
	t := &g.Traffic
	return when(!g.Measured.IsZero() && !t.From.IsZero() && !t.To.IsZero() && t.In > 0, true, t.To)
}

// espOneWay: the gateway sends packets to the peer, and none come in.
//
// How sure it is: at least ten packets went out within at least a minute, and not one came in. One that comes in refutes it; fewer
// that go out say nothing, so an idle tunnel is never one. A second window must show the same. A tunnel that carries nothing but
// one-way traffic, such as syslog, looks the same.
func (g *Gateway) espOneWay() (claim, func() (string, []string)) {
	t := &g.Traffic
	c := not(g.received())
	if c.state == Undecided && !t.From.IsZero() && t.To.Sub(t.From) >= trafficWindow && t.Out >= trafficPackets {
		c = claim{Holds, t.From}
	}
	return c, func() (string, []string) {
		return "The gateway sends ESP packets to the peer, and none come in: ESP is blocked one way, or the peer has lost its SA.",
			[]string{fmt.Sprintf("gateway %s: %d packets out, %d in, from %s to %s", g.Name, t.Out, t.In, clock(t.From), clock(t.To))}
	}
}

// negotiationStuck: negotiations go on, and the tunnel does not come up.
//
// How sure it is: five readings or more over two minutes or more, up in at most a fifth of them and not at the newest, and a negotiation
// under way in at least half. So no single attempt that takes its time is stuck, nor a renewal, which leaves the old SA up, nor an idle
// tunnel, which negotiates nothing. The state alone does not tell whose fault it is: read it beside the path.
func (g *Gateway) negotiationStuck() (claim, func() (string, []string)) {
	stuck := 5*g.UpReadings <= g.Readings && 2*g.NegotiatingReadings >= g.Readings
	watched := g.Readings >= stuckReadings && g.Watched >= stuckTime
	c := when(!g.NoIKE && (g.Up || watched), !g.Up && stuck, g.Measured)
	return c, func() (string, []string) {
		line := fmt.Sprintf("gateway %s: up in %d of the last %d readings, negotiating in %d", g.Name, g.UpReadings, g.Readings, g.NegotiatingReadings)
		if g.VendorState != "" {
			line += ", last state " + g.VendorState
		}
		return fmt.Sprintf("The negotiation of the tunnel is stuck %s.", g.Negotiation), []string{line}
	}
}

// childMissing: IKE is established, and no child SA carries traffic.
//
// How sure it is: for a minute at least, longer than a renewal takes, or the first child. An on-demand tunnel may drop its child when
// it is idle, so of that nothing is said.
func (g *Gateway) childMissing() (claim, func() (string, []string)) {
	missing := !g.ChildMissingSince.IsZero() && !g.OnDemand
	young := missing && g.Measured.Sub(g.ChildMissingSince) < settleTime
	return when(!g.NoIKE && !young, missing, g.Measured), func() (string, []string) {
		return "IKE is established with the peer, but there is no child SA: no traffic is carried.",
			[]string{fmt.Sprintf("gateway %s: IKE established without a child from %s to %s", g.Name, clock(g.ChildMissingSince), clock(g.Measured))}
	}
}

// elsewhere tells whether another gateway at which the peer is expected has its tunnel: of a pair of which one stands by, that one has none.
func (f *Facts) elsewhere(g *Gateway) bool {
	for i := range f.Gateways {
		if o := &f.Gateways[i]; o.Name != g.Name && o.Expected && o.Up && !o.Measured.IsZero() {
			return true
		}
	}
	return false
}

// Young tells whether more has to be read before anybody knows whether the peer's tunnel is well.
func (g *Gateway) Young() bool {
	if g.Measured.IsZero() || g.NoIKE || g.Up || !g.Expected || g.OnDemand {
		return false
	}
	return g.Watched < settleTime || g.NegotiatingReadings > 0 && (g.Readings < stuckReadings || g.Watched < stuckTime)
}

// noSA: an SA of the peer is expected, and there is none.
//
// How sure it is: for a minute at least, so that a renewal that breaks the old before it makes the new is none, nor the
// moment between two attempts. An on-demand tunnel that is idle has none rightly, and so has a gateway that stands by while another, at which
// the peer is expected too, has the tunnel.
func (g *Gateway) noSA() (claim, func() (string, []string)) {
	missing := g.Expected && !g.OnDemand && !g.NoSASince.IsZero()
	young := missing && g.Measured.Sub(g.NoSASince) < settleTime
	return when(!g.NoIKE && !young, missing, g.Measured), func() (string, []string) {
		return "The gateway has no SA of the peer, and none is being negotiated.",
			[]string{fmt.Sprintf("gateway %s: no SA from %s to %s", g.Name, clock(g.NoSASince), clock(g.Measured))}
	}
}

// clock is a time as it stands in evidence.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
