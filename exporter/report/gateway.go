package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/untrusted"
)

// esp names the encapsulation.
func esp(udp bool) string {
	if udp {
		return "ESP in UDP"
	}
	return "ESP"
}

// gatewayTables is about what the SA tables of gateways show.
func gatewayTables(r *Report) (out []entry) {
	for i := range r.Gateways {
		s := &r.Gateways[i]
		p := &s.Peers[0]
		e := entry{
			label: "gateway " + untrusted.Line(s.Gateway), text: gatewayText(p), at: s.At,
			test: "gateway " + untrusted.Line(s.Gateway), sent: "a request for its SA table", received: gatewayText(p),
		}
		switch p.Up {
		case gateways.Yes:
			e.shows = "the tunnel is up"
		case gateways.No:
			e.shows = "the tunnel is not up"
		case gateways.Unknown:
			e.shows = "none about IKE"
		}
		out = append(out, e)
	}
	return out
}

// gatewayText is what a gateway shows about the peer in one line.
func gatewayText(p *gateways.PeerSnapshot) string {
	state := map[gateways.Answer]string{gateways.Yes: "up", gateways.No: "down", gateways.Unknown: "unknown"}[p.Up]
	parts := []string{ikeSAs(p), childSAs(p)}
	if p.In.Packets.Known && p.Out.Packets.Known {
		parts = append(parts, fmt.Sprintf("%d packets in, %d out so far", p.In.Packets.Value, p.Out.Packets.Value))
	}
	if p.Lost.Known {
		parts = append(parts, fmt.Sprintf("%d packets of the peer lost before they arrived", p.Lost.Value))
	}
	if p.PathMTU > 0 {
		parts = append(parts, fmt.Sprintf("builds packets for a path MTU of %d bytes", p.PathMTU))
	}
	return state + ": " + strings.Join(parts, "; ")
}

// ikeClasses are the classes of the IKE SAs in a fixed order.
func ikeClasses(p *gateways.PeerSnapshot) []gateways.IKEClass {
	return slices.SortedFunc(maps.Keys(p.IKE), func(a, b gateways.IKEClass) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), strings.Compare(a.State.String(), b.State.String()))
	})
}

// ikeSAs are the IKE SAs in words, with the words of the gateway.
func ikeSAs(p *gateways.PeerSnapshot) string {
	var parts []string
	for _, c := range ikeClasses(p) {
		version := ""
		if c.Version > 0 {
			version = fmt.Sprintf("v%d", c.Version)
		}
		parts = append(parts, fmt.Sprintf("IKE%s %s%s", version, c.State, times(p.IKE[c])))
	}
	if len(parts)+len(p.Vendor) == 0 {
		if p.Up == gateways.Unknown { // the kernel has no IKE SAs
			return "shows no IKE"
		}
		return "no IKE SA"
	}
	text := cmp.Or(strings.Join(parts, ", "), "IKE")
	if len(p.Vendor) > 0 {
		var vendor []string
		for _, word := range slices.Sorted(maps.Keys(p.Vendor)) {
			vendor = append(vendor, untrusted.Line(word)+times(p.Vendor[word]))
		}
		text += " (" + strings.Join(vendor, ", ") + ")"
	}
	if !p.Established.IsZero() {
		text += " since " + diagnosis.Clock(p.Established)
	}
	return text
}

func childSAs(p *gateways.PeerSnapshot) string {
	var parts []string
	for _, state := range gateways.ChildStates() {
		if n := p.Children[state]; n > 0 {
			parts = append(parts, state.String()+times(n))
		}
	}
	if len(parts) == 0 {
		return "no child SA"
	}
	text := "child " + strings.Join(parts, ", ")
	if p.NATT != gateways.Unknown {
		text += " (" + esp(p.NATT == gateways.Yes) + ")"
	}
	return text
}

// times is a count, empty for one.
func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" ×%d", n)
}
