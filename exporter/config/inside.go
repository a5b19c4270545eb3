package config

import (
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/exporter/suite"
)

// maxInside bounds the targets inside the tunnel to one peer.
const maxInside = 8

// SetInside replaces the targets inside the tunnel by addresses, each with a TCP port (10.1.0.1:443,
// [2001:db8::1]:443) or without.
func (p *Peer) SetInside(targets []string) error {
	p.Inside = nil
	for _, s := range targets {
		at, err := netip.ParseAddrPort(s)
		t := inside.Target{Address: at.Addr(), Port: at.Port()}
		if err != nil {
			t.Address, err = netip.ParseAddr(s)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%q is not an IP address, with a port or without", s)
		case unusable(t.Address) != "":
			return fmt.Errorf("%q %s", s, unusable(t.Address))
		case slices.ContainsFunc(p.Inside, func(o inside.Target) bool { return o.Address == t.Address }):
			return fmt.Errorf("%s is listed twice", t.Address)
		case len(p.Inside) == maxInside:
			return fmt.Errorf("%d targets are the most that a peer may have", maxInside)
		}
		p.Inside = append(p.Inside, t)
	}
	p.Collectors = p.Collectors.With(suite.Inside)
	return nil
}

// insideOf reads the targets inside the tunnel to a peer: addresses, or mappings with an address.
func (d *decoder) insideOf(n *yaml.Node, at place) (all []inside.Target) {
	d.list(n, at, func(n *yaml.Node, at place) {
		before := len(d.problems)
		t := d.insideTarget(n, at)
		same := func(o inside.Target) bool { return o.Address == t.Address }
		switch {
		case len(d.problems) > before:
		case slices.ContainsFunc(all, same):
			d.problem(n, at, fmt.Sprintf("%s is listed twice", t.Address))
		case len(all) == maxInside:
			d.problem(n, at, fmt.Sprintf("is beyond the %d targets that a peer may have", maxInside))
		default:
			all = append(all, t)
		}
	})
	return all
}

func (d *decoder) insideTarget(n *yaml.Node, at place) (t inside.Target) {
	address := single(d, func(s string) (netip.Addr, string) {
		a, why := parseAddress(s)
		if why == "" && !a.IsValid() {
			why = fmt.Sprintf("%q is a host name: must be an IP address behind the tunnel", s)
		}
		return a, why
	})
	before := len(d.problems)
	if n.Kind == yaml.ScalarNode {
		t.Address, _ = address(n, at)
		return t
	}
	port := single(d, integer[uint16](1, 1<<16-1))
	d.fields(n, at, []field{
		{"address", func(n *yaml.Node, at place) { t.Address, _ = address(n, at) }},
		{"source", func(n *yaml.Node, at place) { t.Source, _ = single(d, source)(n, at) }},
		{"tcp_port", func(n *yaml.Node, at place) { t.Port, _ = port(n, at) }},
	})
	switch {
	case len(d.problems) > before:
	case !t.Address.IsValid():
		d.problem(n, at.key("address"), "is missing: must be an IP address behind the tunnel")
	case t.Source.IsValid() && t.Source.Is4() != t.Address.Is4():
		d.problem(n, at.key("source"), fmt.Sprintf("%s is not of the same family as %s", t.Source, t.Address))
	}
	return t
}
