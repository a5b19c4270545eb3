// Package resolve finds the addresses of peers that are configured by name, and the order in which
// they are to be tried from this host. It keeps no addresses: the caller looks the name up again
// after Interval.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
)

const (
	// Interval is how often names are looked up: the system's resolver reports no TTL.
	Interval = time.Minute
	// Timeout is how long a look-up may take.
	Timeout = 10 * time.Second
)

// ErrNoAddress means that a name has no address of the wanted family.
var ErrNoAddress = errors.New("no address of the wanted family")

// A Resolver looks up names. *net.Resolver is one; nil stands for the system's.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Choose returns the address of a name to measure: the current one as long as the name still has it,
// so that a name with several addresses does not make the path jump between them; otherwise the
// first one that this host can send to, or else the first.
func Choose(all []Address, current netip.Addr) netip.Addr {
	switch {
	case len(all) == 0:
		return netip.Addr{}
	case slices.ContainsFunc(all, func(a Address) bool { return a.Addr == current }):
		return current
	}
	return all[0].Addr
}

// All returns the addresses of a peer's name that its family allows, at least one without an error,
// in the order in which they are to be tried: those that this host cannot send to come last.
func All(ctx context.Context, r Resolver, route Route, p *config.Peer) ([]Address, error) {
	found, err := lookup(ctx, r, p)
	if err != nil {
		return nil, err
	}
	return order(found, func(to netip.Addr) (netio.Route, error) {
		if src := p.SourceAddress; src.IsValid() && src.Is4() != to.Is4() {
			return netio.Route{}, fmt.Errorf("route to %s: %w (%s)", to, errOtherFamily, src)
		}
		return route(to)
	}), nil
}

var errOtherFamily = errors.New("the source address is not of its family")

// Usable returns the addresses that this host can send to, of addresses in their order; the first one
// if there are none, so that its error is seen.
func Usable(all []Address) []Address {
	n := slices.IndexFunc(all, func(a Address) bool { return a.Err != nil })
	if n < 0 {
		return all
	}
	return all[:max(n, 1)]
}

// lookup returns the addresses of a peer's name that its family allows, each once.
func lookup(ctx context.Context, r Resolver, p *config.Peer) ([]netip.Addr, error) {
	if r == nil {
		r = net.DefaultResolver
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	found, err := r.LookupNetIP(ctx, "ip", p.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve %q: %w", p.Address, err)
	}
	var allowed []netip.Addr
	for _, a := range found {
		if a = a.Unmap().WithZone(""); p.Family.Allows(a) {
			allowed = append(allowed, a)
		}
	}
	if len(allowed) == 0 {
		return nil, fmt.Errorf("cannot resolve %q: %w (%s)", p.Address, ErrNoAddress, p.Family)
	}
	slices.SortFunc(allowed, netip.Addr.Compare)
	return slices.Compact(allowed), nil
}

// atOnce is how many names are looked up at the same time.
const atOnce = 32

// Peers returns all addresses of peers by their names, and why some have none. All look-ups
// together take at most Timeout.
func Peers(ctx context.Context, r Resolver, peers []config.Peer) (map[string][]netip.Addr, []error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	found, failures := make([][]netip.Addr, len(peers)), make([]error, len(peers))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i := range peers {
		if p := &peers[i]; p.Addr.IsValid() {
			found[i] = []netip.Addr{p.Addr}
			continue
		}
		all.Go(func() error {
			found[i], failures[i] = lookup(ctx, r, &peers[i])
			return nil
		})
	}
	_ = all.Wait() // no function fails: failures has what went wrong
	out := make(map[string][]netip.Addr, len(peers))
	var errs []error
	for i := range peers {
		if failures[i] != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", peers[i].Name, failures[i]))
		}
		out[peers[i].Name] = found[i]
	}
	return out, errs
}
