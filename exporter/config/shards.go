package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ipsec_path_exporter/collectors/gateways"
)

// An Other is a peer that another shard measures, as far as it is needed here: an SA of it belongs to
// no peer of this shard, and its name and address are in use.
type Other struct {
	Name, Group string
	// Addr is valid if the peer is configured by its IP address.
	Addr     netip.Addr
	Gateways []string
	Match    *gateways.Match // nil for an empty one
}

// Key is what the shard of a peer depends on: its configured name, which is that of both halves of a
// peer of FamilyBoth. An SA is expected at one of them, so they stay together.
func (p *Peer) Key() string { return cmp.Or(p.Group, p.Name) }

// Split separates the peers whose Key is own from the others.
func Split(peers []Peer, own func(key string) bool) (mine []Peer, others []Other) {
	isMine := make([]bool, len(peers))
	n := 0
	for i := range peers {
		if isMine[i] = own(peers[i].Key()); isMine[i] {
			n++
		}
	}
	if n > 0 {
		mine = make([]Peer, 0, n)
	}
	for i := range peers {
		p := &peers[i]
		if isMine[i] {
			mine = append(mine, *p)
			continue
		}
		o := Other{Name: p.Name, Group: p.Group, Addr: p.Addr, Gateways: p.Gateways}
		if !sameMatch(&p.Match, &gateways.Match{}) {
			match := p.Match
			o.Match = &match
		}
		others = append(others, o)
	}
	return mine, others
}

// Divide leaves the peers whose Key is own, and makes the rest Others.
func (c *Config) Divide(own func(key string) bool) {
	mine, others := Split(c.Peers, own)
	c.Peers, c.Others = mine, slices.Concat(c.Others, others)
}

// KeepGateways removes the gateways that only peers of other shards name, and returns their names. A
// gateway that no peer names stays in every shard: its SAs are attributed by address.
func (c *Config) KeepGateways() (left []string) {
	named, elsewhere := make(map[string]bool), make(map[string]bool)
	for i := range c.Peers {
		for _, g := range c.Peers[i].Gateways {
			named[g] = true
		}
	}
	for i := range c.Others {
		for _, g := range c.Others[i].Gateways {
			elsewhere[g] = true
		}
	}
	kept := make([]Gateway, 0, len(c.Gateways))
	for _, g := range c.Gateways {
		if elsewhere[g.Name] && !named[g.Name] {
			left = append(left, g.Name)
			continue
		}
		kept = append(kept, g)
	}
	if len(left) > 0 {
		c.Gateways = kept
	}
	return left
}

// apart finds peers of this shard whose address a peer of another shard has too.
func (c *Config) apart() (all []string) {
	if len(c.Others) == 0 {
		return nil
	}
	elsewhere := make(map[netip.Addr]string, len(c.Others))
	for i := range c.Others {
		if o := &c.Others[i]; o.Addr.IsValid() {
			elsewhere[o.Addr] = o.Name
		}
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		if other, shared := elsewhere[p.Addr]; shared && p.Addr.IsValid() {
			all = append(all, fmt.Sprintf("peer %s has the address %s, and so has peer %s of another shard: each shard keeps to the limits of an address "+
				"by itself (choose names of the same shard)", p.Name, p.Addr, other))
		}
	}
	return all
}
