package config

import (
	"errors"
	"fmt"
)

// byFamily returns the peers as which a peer is measured: one for each address family if it is of
// FamilyBoth, which an IP address cannot be.
func (p Peer) byFamily() []Peer {
	switch {
	case p.Family != FamilyBoth:
		return []Peer{p}
	case p.Addr.IsValid():
		p.Family = FamilyAny
		return []Peer{p}
	}
	p.Group = p.Name
	four, six := p, p
	four.Family, six.Family = FamilyIP4, FamilyIP6
	four.Name, six.Name = p.Name+"@"+FamilyIP4.String(), p.Name+"@"+FamilyIP6.String()
	return []Peer{four, six}
}

// Named reports whether a name is that of the peer, or of the peer of both families that it is a part
// of.
func (p *Peer) Named(name string) bool { return p.Name == name || p.Group != "" && p.Group == name }

// SetFamily has all peers measured in a family, whatever is configured.
func (c *Config) SetFamily(f Family) (err error) {
	if c.Known != nil {
		known, _ := inFamily(c.Known, f) // peers that are not measured may be of another family
		c.Known = known
	}
	c.Peers, err = inFamily(c.Peers, f)
	return err
}

// inFamily returns peers in a family, and why it cannot be that of the others.
func inFamily(peers []Peer, f Family) (out []Peer, err error) {
	var problems []error
	for _, p := range peers {
		if p.Group != "" {
			if f == FamilyAny || f == FamilyBoth || p.Family == f {
				out = append(out, p)
			}
			continue
		}
		p.Family = f
		why := p.mismatch()
		for _, fault := range p.faults() {
			if fault.path == "source_address" {
				why = fault.text
			}
		}
		if why != "" {
			problems = append(problems, fmt.Errorf("peer %s: %s", p.Name, why))
			continue
		}
		out = append(out, p.byFamily()...)
	}
	return out, errors.Join(problems...)
}
