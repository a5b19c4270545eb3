package diagnosis

import (
	"fmt"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/inside"
)

// Diagnoses of the path inside the tunnel. They are unknown where a peer has no targets there.
const (
	InsideBlackHole = "inside_black_hole"
	MSSTooLarge     = "mss_too_large"
	TunnelDead      = "tunnel_dead"
)

// targets are the newest results inside the tunnel.
func (f *Facts) targets() []inside.Result {
	if f.Inside == nil {
		return nil
	}
	return f.Inside.Results
}

// ofTargets is true if a claim about one target is, and false if it is about all.
func (f *Facts) ofTargets(about func(r *inside.Result) claim) claim {
	all := f.targets()
	if len(all) == 0 {
		return claim{}
	}
	claims := make([]claim, len(all))
	for i := range all {
		claims[i] = about(&all[i])
	}
	return or(claims...)
}

func vanishes(r *inside.Result) claim { return when(r.Size.State.Conclusive(), r.Vanishes(), r.At) }

// insideBlackHole: packets above some size vanish inside the tunnel, and no packet too big reports it.
//
// How sure it is: as sure as a path MTU search, by matched pairs of echo requests, one of which passes
// and the other, a byte larger, does not. A usable packet too big of a gateway refutes it, and so does a
// larger size that passes. An echo reply is as large as its request, so the direction is not known. A host
// that drops large echo requests alone looks the same.
func (f *Facts) insideBlackHole() (claim, text) {
	return f.ofTargets(vanishes), func() (string, []string) {
		least, evidence := f.insideHoles()
		return fmt.Sprintf("Packets above %d bytes vanish inside the tunnel, and no gateway reports them as too big: set the MTU of the tunnel at both ends to %d at most.",
			least.Size.Bytes, least.Size.Bytes), evidence
	}
}

// insideHoles are the targets to which packets vanish, and the one to which the least pass.
func (f *Facts) insideHoles() (least *inside.Result, evidence []string) {
	all := f.targets()
	for i := range all {
		r := &all[i]
		if !r.Vanishes() {
			continue
		}
		if least == nil || r.Size.Bytes < least.Size.Bytes {
			least = r
		}
		line := fmt.Sprintf("%s: echo requests of %d bytes are answered, larger ones are not (this host sends up to %d); %d packets sent, \"packet too big\" received: %d",
			r.Target.Address, r.Size.Bytes, r.Size.Link, r.Size.Packets, r.Size.PTBs)
		if r.MSS > 0 {
			line += fmt.Sprintf("; TCP MSS as it arrives here: %d", r.MSS)
		}
		evidence = append(evidence, line)
	}
	return least, append(evidence, f.outside()...)
}

// outside is what to compare a size inside the tunnel with: what the path carries, and what each gateway
// takes it to carry.
func (f *Facts) outside() (lines []string) {
	var sizes []string
	for _, m := range collectors.Methods() {
		if r := f.search(m); r.State.Conclusive() {
			sizes = append(sizes, fmt.Sprintf("%d bytes by %s", r.Bytes, m))
		}
	}
	if len(sizes) > 0 {
		lines = append(lines, "outside the tunnel pass "+strings.Join(sizes, ", "))
	}
	for i := range f.Gateways {
		if g := &f.Gateways[i]; g.Newest().PathMTU > 0 {
			lines = append(lines, fmt.Sprintf("gateway %s: uses a path MTU of %d bytes", g.Name, g.Newest().PathMTU))
		}
	}
	return lines
}

// mssTooLarge: TCP through the tunnel uses segments that do not fit, and nothing would correct it.
//
// How sure it is: the MSS was read from a SYN-ACK, and larger packets are a black hole as above. With a
// packet too big, TCP corrects itself (RFC 8201; RFC 1191), so it is false. Where a program announces a
// small MSS by itself, other programs of that host may not: it is about the connection that was asked
// for.
func (f *Facts) mssTooLarge() (claim, text) {
	return f.ofTargets(tooLarge), func() (string, []string) {
		var worst *inside.Result
		all := f.targets()
		for i := range all {
			if r := &all[i]; tooLarge(r).state == Holds && (worst == nil || r.Size.Bytes < worst.Size.Bytes) {
				worst = r
			}
		}
		_, evidence := f.insideHoles()
		return fmt.Sprintf("TCP to %s stalls: its segments of MSS %d make packets of %d bytes, the tunnel carries %d, and nothing reports it. Clamp the MSS to %d on both gateways.",
			worst.Target.Address, worst.MSS, worst.Segment(), worst.Size.Bytes, worst.Size.Bytes-worst.Header()), evidence
	}
}

func tooLarge(r *inside.Result) claim {
	return and(vanishes(r), when(r.MSS > 0, r.Segment() > r.Size.Bytes, r.At))
}

// tunnelDead: there are SAs, the path works, and nothing passes the tunnel.
//
// How sure it is: every target stays silent to five echo requests and to all requests for a connection, by
// two rounds in a row; one of them answered before, or there are two at least, because the silence of a
// single host that was never heard shows nothing; a gateway has its SAs, so no_sa and its like do not
// explain it; and the peer answers outside. Packets that come in through its SAs refute it. Where no
// gateway counts packets, and there is one target, that host may be down instead: the summary says so.
func (f *Facts) tunnelDead() (claim, text) {
	if len(f.targets()) == 0 {
		return claim{}, nil
	}
	c := and(f.nothingInside(), f.carried(), or(f.answers(collectors.ICMP), f.answers(collectors.IKE), f.answers(collectors.NATT)))
	for i := range f.Gateways {
		if in := f.Gateways[i].received(); c.state == Holds && in.state == Holds {
			c = not(in)
		}
	}
	return c, func() (string, []string) {
		all := f.targets()
		summary := "The tunnel has its SAs and the path to the peer works, but nothing passes inside: check selectors, routes and rules behind both gateways, and renew the SAs."
		if len(all) == 1 {
			summary += fmt.Sprintf(" With one target, %s alone may be down instead.", all[0].Target.Address)
		}
		var evidence []string
		for i := range all {
			r := &all[i]
			line := fmt.Sprintf("%s: none of %d echo requests was answered", r.Target.Address, r.Sent)
			if r.TCP == inside.TCPSilent {
				line += fmt.Sprintf(", nor a request for TCP port %d", r.Target.Port)
			}
			if !r.Heard.IsZero() {
				line += "; it last answered at " + Clock(r.Heard)
			}
			evidence = append(evidence, line)
		}
		for i := range f.Gateways {
			if g := &f.Gateways[i]; g.carries() {
				evidence = append(evidence, fmt.Sprintf("gateway %s: child SA installed", g.Name))
			}
		}
		return summary, evidence
	}
}

// nothingInside is the claim that no target answers. Silence is as old as the oldest of its rounds.
func (f *Facts) nothingInside() claim {
	all := f.targets()
	if len(all) == 0 {
		return claim{}
	}
	heard := len(all) > 1
	claims := make([]claim, len(all))
	for i := range all {
		r := &all[i]
		heard = heard || !r.Heard.IsZero()
		claims[i] = when(true, r.Silent(), r.At)
	}
	c := and(claims...)
	if c.state == Holds && !heard {
		return claim{}
	}
	return c
}

// carries reports whether the gateway has a child SA in use.
func (g *Gateway) carries() bool {
	newest := g.Newest()
	return newest.Up == gateways.Yes || newest.NoIKE && newest.ChildUp
}

// carried is the claim that any gateway has a child SA of the peer.
func (f *Facts) carried() claim {
	var known []claim
	for i := range f.Gateways {
		g := &f.Gateways[i]
		known = append(known, when(g.carries() || g.shows(), g.carries(), g.Newest().At))
	}
	if len(known) == 0 {
		return claim{}
	}
	return or(known...)
}
