package exporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/exporter/config"
)

const (
	// resolveInterval is how often names are looked up again. The resolver does not tell how long an answer is good for.
	resolveInterval = time.Minute
	resolveTimeout  = 10 * time.Second
)

// errNoAddress means that a name has no address of the wanted family.
var errNoAddress = errors.New("no address of the wanted family")

// A resolver looks up names. *net.Resolver is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// resolve returns the address to measure: the configured one, or one of the name's.
func resolve(ctx context.Context, r resolver, p *config.Peer, now netip.Addr) (netip.Addr, error) {
	if p.Addr.IsValid() {
		return p.Addr, nil
	}
	all, err := lookupAll(ctx, r, p)
	return choose(all, now), err
}

// choose takes one of a name's addresses. As long as the name still has the one that is measured now, that stays: a name with several
// addresses must not make the path jump between them.
func choose(all []netip.Addr, now netip.Addr) netip.Addr {
	switch {
	case len(all) == 0:
		return netip.Addr{}
	case slices.Contains(all, now):
		return now
	}
	return all[0]
}

// lookupAll returns the addresses of a peer's name that may be measured: IPv4 first, as IPsec peers do; among equals the lowest, so that two
// exporters choose the same. Without an error there is one at least.
func lookupAll(ctx context.Context, r resolver, p *config.Peer) ([]netip.Addr, error) {
	if r == nil {
		r = net.DefaultResolver
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := r.LookupNetIP(ctx, "ip", p.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve %q: %w", p.Address, err)
	}
	var usable []netip.Addr
	for _, a := range found {
		if a = a.Unmap().WithZone(""); p.Family.Allows(a) {
			usable = append(usable, a)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("cannot resolve %q: %w (%s)", p.Address, errNoAddress, p.Family)
	}
	slices.SortFunc(usable, func(a, b netip.Addr) int { return a.Compare(b) })
	return slices.Compact(usable), nil
}
