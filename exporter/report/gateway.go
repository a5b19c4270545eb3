package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// A Gateway is what the SA table of one gateway shows about the peer.
type Gateway struct {
	Gateway string `json:"gateway"`
	// Type and Version are what the gateway says of itself.
	Type    string `json:"type,omitempty"`
	Version string `json:"version,omitempty"`
	// Read is when its table was read.
	Read time.Time `json:"read"`
	// Expected says that the configuration expects an SA of the peer there.
	Expected bool `json:"expected"`
	// Up is whether an IKE SA is established and a child installed: yes, no or unknown.
	Up string `json:"up"`
	// IKESAs and ChildSAs count by class, VendorStates by the gateway's own word.
	IKESAs       []IKESAs       `json:"ike_sas"`
	VendorStates map[string]int `json:"vendor_states,omitempty"`
	ChildSAs     map[string]int `json:"child_sas,omitempty"`
	// Established is since when the newest established IKE SA is.
	Established *time.Time `json:"established,omitempty"`
	// Packets and bytes are those that were counted for the peer, over all its SAs; null where the gateway does not count.
	PacketsIn  *uint64 `json:"packets_in"`
	PacketsOut *uint64 `json:"packets_out"`
	BytesIn    *uint64 `json:"bytes_in"`
	BytesOut   *uint64 `json:"bytes_out"`
	// PathMTUBytes is the path MTU that the gateway believes, 0 if it does not say.
	PathMTUBytes int `json:"path_mtu_bytes,omitempty"`
	// Encapsulation is udp or none; empty if it is not known.
	Encapsulation string `json:"encapsulation,omitempty"`
}

// IKESAs are the IKE SAs of one version and class.
type IKESAs struct {
	Version int    `json:"version,omitempty"`
	State   string `json:"state"`
	Count   int    `json:"count"`
}

// OfGateway is what a gateway shows about the only peer of a snapshot, as it is reported.
func OfGateway(s *gateways.Snapshot) Gateway {
	p := &s.Peers[0]
	out := Gateway{
		Gateway: s.Gateway, Type: s.Info.Type, Version: foreign(s.Info.Version), Read: s.At.UTC().Truncate(time.Second),
		Expected: p.Of != nil && p.Of.Expected, Up: p.Up.String(), IKESAs: []IKESAs{},
		PacketsIn: counted(p.In.Packets), PacketsOut: counted(p.Out.Packets), BytesIn: counted(p.In.Bytes), BytesOut: counted(p.Out.Bytes),
		PathMTUBytes: p.PathMTU,
	}
	for c, n := range p.IKE {
		out.IKESAs = append(out.IKESAs, IKESAs{Version: c.Version, State: c.State.String(), Count: n})
	}
	slices.SortFunc(out.IKESAs, func(a, b IKESAs) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), strings.Compare(a.State, b.State))
	})
	if len(p.Vendor) > 0 {
		out.VendorStates = maps.Clone(p.Vendor)
	}
	for state, n := range p.Children {
		if out.ChildSAs == nil {
			out.ChildSAs = make(map[string]int)
		}
		out.ChildSAs[state.String()] = n
	}
	if !p.Established.IsZero() {
		at := p.Established.UTC().Truncate(time.Second)
		out.Established = &at
	}
	switch p.NATT {
	case gateways.Yes:
		out.Encapsulation = "udp"
	case gateways.No:
		out.Encapsulation = "none"
	case gateways.Unknown:
	}
	return out
}

func counted(c gateways.Count) *uint64 {
	if !c.Known {
		return nil
	}
	return &c.Value
}

// Text is what the gateway shows in one line.
func (g *Gateway) Text() string {
	parts := []string{g.ike(), g.children()}
	if g.PacketsIn != nil && g.PacketsOut != nil {
		parts = append(parts, fmt.Sprintf("%d packets in, %d out", *g.PacketsIn, *g.PacketsOut))
	}
	if g.PathMTUBytes > 0 {
		parts = append(parts, fmt.Sprintf("builds packets for a path MTU of %d bytes", g.PathMTUBytes))
	}
	return g.state() + ": " + strings.Join(parts, "; ")
}

// state is the tunnel's in a word.
func (g *Gateway) state() string {
	switch g.Up {
	case gateways.Yes.String():
		return "up"
	case gateways.No.String():
		return "down"
	}
	return "unknown"
}

// ike are the IKE SAs in words, with those of the gateway.
func (g *Gateway) ike() string {
	var parts []string
	for _, sa := range g.IKESAs {
		version := ""
		if sa.Version > 0 {
			version = fmt.Sprintf("v%d", sa.Version)
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("IKE%s %s%s", version, sa.State, times(sa.Count))))
	}
	switch {
	case len(parts)+len(g.VendorStates) > 0:
	case g.state() == "unknown":
		return "shows no IKE" // the kernel knows none
	default:
		return "no IKE SA"
	}
	text := cmp.Or(strings.Join(parts, ", "), "IKE")
	if len(g.VendorStates) > 0 {
		var words []string
		for _, word := range slices.Sorted(maps.Keys(g.VendorStates)) {
			words = append(words, foreign(word)+times(g.VendorStates[word]))
		}
		text += " (" + strings.Join(words, ", ") + ")"
	}
	if g.Established != nil {
		text += " since " + g.Established.Format(time.RFC3339)
	}
	return text
}

func (g *Gateway) children() string {
	var parts []string
	for _, state := range gateways.ChildStates() {
		if n := g.ChildSAs[state.String()]; n > 0 {
			parts = append(parts, state.String()+times(n))
		}
	}
	if len(parts) == 0 {
		return "no child SA"
	}
	text := "child " + strings.Join(parts, ", ")
	if g.Encapsulation != "" {
		text += " (" + encapsulations(g.Encapsulation) + ")"
	}
	return text
}

// times says how many, where there are several.
func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" ×%d", n)
}

func (g *Gateway) finding() finding {
	f := finding{test: "gateway " + foreign(g.Gateway), sent: "a request for its SA table, answered at " + g.Read.Format(time.RFC3339), back: g.Text()}
	switch g.state() {
	case "up":
		f.shows = "the tunnel is up"
	case "down":
		f.shows = "the tunnel is not up"
	default:
		f.shows = "nothing about IKE"
	}
	return f
}
