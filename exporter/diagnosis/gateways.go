package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
)

// Diagnoses that each gateway has of its own.
const (
	TunnelOversized  = "tunnel_oversized"
	ESPOneWay        = "esp_one_way"
	NegotiationStuck = "negotiation_stuck"
	ChildMissing     = "child_missing"
	NoSA             = "no_sa"
)

// When the readings of a gateway are sufficient.
const (
	// stuckReadings and stuckTime are how many readings, and how long, a negotiation must be
	// watched for. It is stuck where the tunnel was up in at most a fifth of them, and a
	// negotiation under way in at least half: an attempt lives for tens of seconds.
	stuckReadings = 5
	stuckTime     = 2 * time.Minute
	// settleTime is how long a tunnel may be without child or without SA. A renewal that breaks the
	// old before it makes the new takes a few round trips, and with two retransmissions some 25 s.
	settleTime = time.Minute
	// onceTime stands for settleTime and stuckTime in a check.
	onceTime = 20 * time.Second
	// trafficTime must be watched, and trafficPackets sent, before silence is no chance.
	trafficTime    = time.Minute
	trafficPackets = 10
)

// wait returns how long something must last, which is less in a check.
func (g *Gateway) wait(usual time.Duration) time.Duration {
	if g.Once {
		return onceTime
	}
	return usual
}

// up reports whether an IKE SA is established and a child of it installed.
func (g *Gateway) up() bool { return g.Newest().Up == gateways.Yes }

// shows reports whether the tunnel's state is known. It is not where the gateway knows no IKE SAs
// (Linux XFRM), nor where an unknown word may mean that it is up.
func (g *Gateway) shows() bool {
	newest := g.Newest()
	return !newest.NoIKE && newest.Up != gateways.Unknown
}

// tunnelOversized: the gateway builds packets for a larger path MTU than passes, and they vanish.
//
// How sure it is: true only where the path is known to be a black hole on the path to the peer, by
// the way its ESP packets take. Of a tunnel in UDP that is NAT-T's; of another, or one that is not
// known, every known method must pass less than the gateway uses, because it is not known with
// which method ESP shares its way. From "packet too big" the gateway learns the limit.
func (f *Facts) tunnelOversized(g *Gateway) (claim, text) {
	newest := g.Newest()
	inUDP := newest.NATT == gateways.Yes && arrives(f.search(collectors.NATT)).state == Holds
	var limits, holes []claim
	var shown []string
	for _, m := range collectors.Methods() {
		r, hole := f.search(m), f.forwardHole(m)
		// A method by which larger IKE messages disagree shows the reverse path, or nothing.
		otherWay := hole.state == Absent && foundHole(r).state == Holds
		if inUDP && m != collectors.NATT || hole.state == Undecided || otherWay {
			continue
		}
		limits = append(limits, when(newest.PathMTU > 0, newest.PathMTU > r.Bytes, r.At))
		holes = append(holes, hole)
		if hole.state == Holds {
			shown = append(shown, searchEvidence(r))
		}
	}
	if len(limits) == 0 {
		return claim{}, nil
	}
	used := when(newest.PathMTU > 0, true, newest.At)
	c := and(used, or(holes...), and(limits...))
	if c.state == Absent && or(limits...).state == Holds && or(holes...).state == Holds {
		c = claim{} // one way passes what the gateway uses, another does not
	}
	return c, func() (string, []string) {
		return fmt.Sprintf("The gateway builds packets for a path MTU of %d bytes, but packets that large vanish on the path to the peer.", newest.PathMTU),
			append([]string{fmt.Sprintf("gateway %s: uses a path MTU of %d bytes", g.Name, newest.PathMTU)}, shown...)
	}
}

// received is the claim that packets from the peer came in; silence is unknown.
func (g *Gateway) received() claim {
	t, ok := g.Transfer(trafficTime)
	return when(ok && t.In > 0, true, t.To)
}

// espOneWay: the gateway sends packets to the peer, and none come in.
//
// How sure it is: at least ten packets went out within at least a minute, and not one came in. One
// that comes in refutes it; fewer that go out say nothing, so an idle tunnel is never one. A second
// window must show the same. One-way traffic, such as syslog, looks the same.
func (*Facts) espOneWay(g *Gateway) (claim, text) {
	t, ok := g.Transfer(trafficTime)
	c := not(g.received())
	if c.state == Undecided {
		c = when(ok && t.Out >= trafficPackets, true, t.From)
	}
	return c, func() (string, []string) {
		return "The gateway sends ESP packets to the peer, and none come in: ESP is blocked one way, or the peer has lost its SA.",
			[]string{fmt.Sprintf("gateway %s: %d packets out, %d in, from %s to %s", g.Name, t.Out, t.In, Clock(t.From), Clock(t.To))}
	}
}

// negotiationStuck: negotiations go on, and the tunnel does not come up.
//
// How sure it is: five readings or more over two minutes or more, up in at most a fifth of them and
// not at the newest, and a negotiation under way in at least half. So no single attempt that takes
// its time is stuck, nor a renewal, which leaves the old SA up, nor an idle tunnel, which
// negotiates nothing. The state alone does not show whose fault it is: read it beside the path.
func (*Facts) negotiationStuck(g *Gateway) (claim, text) {
	r := g.Readings()
	stuck := 5*r.Up <= r.Known && 2*r.Negotiating >= r.Known
	watched := r.Known >= stuckReadings && r.Watched >= g.wait(stuckTime)
	return when(g.shows() && (g.up() || watched), !g.up() && stuck, g.Newest().At), func() (string, []string) {
		line := fmt.Sprintf("gateway %s: up in %d of the last %d readings, negotiating in %d", g.Name, r.Up, r.Known, r.Negotiating)
		if r.VendorState != "" {
			line += ", last state " + r.VendorState
		}
		return fmt.Sprintf("The negotiation of the tunnel is stuck %s.", stage(r.State)), []string{line}
	}
}

func stage(s gateways.IKEState) string {
	switch s {
	case gateways.Connecting:
		return "before the peers have authenticated each other"
	case gateways.XAuth:
		return "after phase 1, while user name and password are asked for (XAUTH)"
	case gateways.ModeCfg:
		return "after phase 1, while addresses are handed out (mode config)"
	case gateways.IKEUnknown, gateways.Established, gateways.IKERekeying, gateways.IKEClosing:
	}
	return "at an unknown stage"
}

// absence is the claim that something is missing since a time, zero if it is there; unknown until
// it has been missing for settleTime.
func (g *Gateway) absence(since time.Time) claim {
	now := g.Newest().At
	young := !since.IsZero() && now.Sub(since) < g.wait(settleTime)
	return when(g.shows() && !young, !since.IsZero(), now)
}

// childMissing: IKE is established, and no child SA carries traffic.
//
// How sure it is: for a minute at least, longer than a renewal takes, or the first child. An
// on-demand tunnel may drop its child when it is idle, so it never has this diagnosis.
func (*Facts) childMissing(g *Gateway) (claim, text) {
	since := g.ChildMissing()
	return g.absence(since), func() (string, []string) {
		return "IKE is established with the peer, but there is no child SA: no traffic is carried.",
			[]string{fmt.Sprintf("gateway %s: IKE established without a child from %s to %s", g.Name, Clock(since), Clock(g.Newest().At))}
	}
}

// noSA: an SA of the peer is expected, and there is none.
//
// How sure it is: for a minute at least, so that a renewal that breaks the old before it makes the
// new is none, nor the moment between two attempts. An on-demand tunnel that is idle has rightly no
// SA, and so has a standby gateway while another one has the tunnel.
func (f *Facts) noSA(g *Gateway) (claim, text) {
	since := g.NoSA()
	c := g.absence(since)
	if f.elsewhere(g) {
		c = when(g.shows(), false, g.Newest().At)
	}
	return c, func() (string, []string) {
		return "The gateway has no SA of the peer, and none is being negotiated.",
			[]string{fmt.Sprintf("gateway %s: no SA from %s to %s", g.Name, Clock(since), Clock(g.Newest().At))}
	}
}

// elsewhere reports whether another gateway at which the peer is expected has its tunnel.
func (f *Facts) elsewhere(g *Gateway) bool {
	for i := range f.Gateways {
		if o := &f.Gateways[i]; o.Name != g.Name && o.Expected && o.up() {
			return true
		}
	}
	return false
}

// Young reports whether more readings are needed to know whether the peer's tunnel is well.
func (g *Gateway) Young() bool {
	if !g.shows() || g.up() || !g.Expected || g.OnDemand {
		return false
	}
	r := g.Readings()
	return r.Watched < g.wait(settleTime) || r.Negotiating > 0 && (r.Known < stuckReadings || r.Watched < g.wait(stuckTime))
}
