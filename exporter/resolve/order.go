package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// An Address is one address of a name.
type Address struct {
	Addr netip.Addr
	// Err is why this host cannot measure it: it has no route or no source address, or the route
	// enters a tunnel of this host. It is nil where probes can leave.
	Err error
}

// A Route returns the route of this host to an address, with the source that the kernel selects.
type Route func(to netip.Addr) (netio.Route, error)

var errNoSource = errors.New("this host has no source address for it")

// order returns addresses in the order in which they are tried. It is that of RFC 6724, section 6:
//
//	rule 1   addresses that this host cannot send to come last
//	rule 2   the scope of the address is that of the source
//	rule 5   the label of the address is that of the source
//	rule 6   the higher precedence
//	rule 8   the smaller scope
//	rule 9   the longer prefix in common with the source, of IPv6 only
//	rule 10  otherwise numerical order, so that two exporters choose the same address
//
// The kernel selects the source (section 5). Rules 3, 4 and 7, about deprecated and mobile addresses
// and transition mechanisms, are not implemented.
func order(all []netip.Addr, route Route) []Address {
	candidates := make([]candidate, 0, len(all))
	for _, a := range all {
		candidates = append(candidates, examine(a, route))
	}
	slices.SortFunc(candidates, candidate.compare)
	out := make([]Address, 0, len(all))
	for i := range candidates {
		out = append(out, candidates[i].Address)
	}
	return out
}

// A candidate is an address with what the rules compare.
type candidate struct {
	Address
	policy
	sameScope, sameLabel bool
	scope, common        int
}

func examine(a netip.Addr, route Route) candidate {
	c := candidate{Address: Address{Addr: a}, policy: policyOf(a), scope: scopeOf(a)}
	r, err := route(a)
	switch {
	case err != nil:
		c.Err = err
	case !r.Src.IsValid():
		c.Err = fmt.Errorf("route to %s: %w", a, errNoSource)
	default:
		c.Err = collectors.CheckRoute(r)
		c.sameScope, c.sameLabel = scopeOf(r.Src) == c.scope, policyOf(r.Src).label == c.label
		if a.Is6() {
			c.common = commonBits(a, r.Src)
		}
	}
	return c
}

// compare orders c before o by a negative result.
func (c candidate) compare(o candidate) int {
	return cmp.Or(
		first(c.Err == nil, o.Err == nil),
		first(c.sameScope, o.sameScope),
		first(c.sameLabel, o.sameLabel),
		cmp.Compare(o.precedence, c.precedence),
		cmp.Compare(c.scope, o.scope),
		cmp.Compare(o.common, c.common),
		c.Addr.Compare(o.Addr),
	)
}

// first orders what is so before what is not.
func first(c, o bool) int {
	switch {
	case c == o:
		return 0
	case c:
		return -1
	}
	return 1
}

// A policy is a line of the policy table.
type policy struct{ precedence, label int }

// policies is the table of RFC 6724, section 2.1, the longest prefix first, with the precedence of
// IPv4 of section 10.3: IPsec peers prefer IPv4.
var policies = [...]struct {
	prefix netip.Prefix
	policy
}{
	{netip.MustParsePrefix("::1/128"), policy{50, 0}},
	{netip.MustParsePrefix("::ffff:0:0/96"), policy{100, 4}},
	{netip.MustParsePrefix("::/96"), policy{1, 3}},
	{netip.MustParsePrefix("2001::/32"), policy{5, 5}},
	{netip.MustParsePrefix("2002::/16"), policy{30, 2}},
	{netip.MustParsePrefix("3ffe::/16"), policy{1, 12}},
	{netip.MustParsePrefix("fec0::/10"), policy{1, 11}},
	{netip.MustParsePrefix("fc00::/7"), policy{3, 13}},
	{netip.MustParsePrefix("::/0"), policy{40, 1}},
}

// policyOf returns the line for an address. The table has IPv4 as mapped addresses.
func policyOf(a netip.Addr) policy {
	a = netip.AddrFrom16(a.As16())
	for i := range policies {
		if contains(policies[i].prefix, a) {
			return policies[i].policy
		}
	}
	return policy{}
}

// contains is Prefix.Contains, which is false for mapped addresses.
func contains(p netip.Prefix, a netip.Addr) bool { return sharedBits(p.Addr(), a) >= p.Bits() }

// The scopes of unicast addresses (RFC 4291, section 2.7; RFC 6724, sections 3.1 and 3.2).
const (
	linkLocal = 0x2
	siteLocal = 0x5
	global    = 0xe
)

func scopeOf(a netip.Addr) int {
	switch {
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return linkLocal
	case a.Is6() && contains(netip.MustParsePrefix("fec0::/10"), a):
		return siteLocal
	}
	return global
}

// commonBits is the length of the prefix that two IPv6 addresses have in common. Beyond 64 bits it
// is the interface identifier, which says nothing about the network.
func commonBits(a, b netip.Addr) int { return min(sharedBits(a, b), 64) }

func sharedBits(a, b netip.Addr) (n int) {
	x, y := a.As16(), b.As16()
	for i := range x {
		if x[i] == y[i] {
			n += 8
			continue
		}
		for bit := byte(0x80); x[i]&bit == y[i]&bit; bit >>= 1 {
			n++
		}
		break
	}
	return n
}
