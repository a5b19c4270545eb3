package gateways

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
)

// A Found is a remote VPN gateway that a local daemon, or the kernel, is configured for. Who merely connects is none: a concentrator would
// have its road warriors probed, and anybody who sends it a first message.
type Found struct {
	// Address is where it is. It is not valid where only Host is known.
	Address netip.Addr
	// Host is the name that the configuration has in place of an address.
	Host string
	// Name is what the configuration calls the connection, if anything.
	Name string
	// Local is the address of this host from which the tunnel goes there, if that is known.
	Local netip.Addr
	// Active says that there is an SA with it, not only a configuration.
	Active bool
}

// A Discoverer is a Source that can tell which peers its gateway has, for those who would rather not list them twice.
type Discoverer interface {
	// Discover lists the peers, each pair of address and name once, in a stable order. It may be called as often as Read.
	Discover(ctx context.Context) ([]Found, error)
}

// Merge sorts what was found and puts together what was found more than once: it is active if any of it is, and has the first
// of its names. Where an SA goes from is surer than where it was configured to.
func Merge(found []Found) []Found {
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name), a.Local.Compare(b.Local))
	})
	var out []Found
	for _, f := range found {
		if n := len(out); n > 0 && out[n-1].Address == f.Address && out[n-1].Host == f.Host {
			last := &out[n-1]
			if f.Local.IsValid() && (!last.Local.IsValid() || f.Active && !last.Active) {
				last.Local = f.Local
			}
			last.Active = last.Active || f.Active
			last.Name = cmp.Or(last.Name, f.Name)
			continue
		}
		out = append(out, f)
	}
	return out
}
