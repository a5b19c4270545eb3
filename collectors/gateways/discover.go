package gateways

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
)

// A Found is a remote VPN gateway that a local daemon, or the kernel, is configured for. A client
// that merely connects is not a Found: otherwise a concentrator would probe its road warriors, and
// any address that sends it a first message.
type Found struct {
	// Address is where it is. It is not valid where only Host is known.
	Address netip.Addr
	// Host is the name that the configuration has in place of an address.
	Host string
	// Name is what the configuration calls the connection, if anything.
	Name string
	// Local is the address of this host that the tunnel starts from, if known.
	Local netip.Addr
	// Active reports whether there is an SA with it, not only a configuration.
	Active bool
}

// A Discoverer is a Source that can list the peers of its gateway.
type Discoverer interface {
	// Discover lists the peers, each pair of address and name once, in a stable order. It may be
	// called as often as Read.
	Discover(ctx context.Context) ([]Found, error)
}

// Merge sorts the found gateways and joins duplicates: the result is active if one of them is, and
// has the first of their names. The source address of an SA takes precedence over a configured one.
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
