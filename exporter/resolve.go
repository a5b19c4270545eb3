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

// resolve returns the address to measure: the configured one, or one of the name's. As long as the name still has the
// address that is measured now, it stays: a name with several addresses must not make the path jump between them.
func resolve(ctx context.Context, r resolver, p *config.Peer, now netip.Addr) (netip.Addr, error) {
	if p.Addr.IsValid() {
		return p.Addr, nil
	}
	if r == nil {
		r = net.DefaultResolver
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := r.LookupNetIP(ctx, "ip", p.Address)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot resolve %q: %w", p.Address, err)
	}
	var usable []netip.Addr
	for _, a := range found {
		if a = a.Unmap().WithZone(""); p.Family.Allows(a) {
			usable = append(usable, a)
		}
	}
	if slices.Contains(usable, now) {
		return now, nil
	}
	// IPv4 first, as IPsec peers do; among equals the lowest, so that two exporters choose the same.
	slices.SortFunc(usable, func(a, b netip.Addr) int { return a.Compare(b) })
	if len(usable) == 0 {
		return netip.Addr{}, fmt.Errorf("cannot resolve %q: %w (%s)", p.Address, errNoAddress, p.Family)
	}
	return usable[0], nil
}
