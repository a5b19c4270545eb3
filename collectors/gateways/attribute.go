package gateways

import (
	"net/netip"
	"slices"
	"strings"
)

// A Peer is a configured peer, as far as a gateway needs to know it.
type Peer struct {
	// Name is its label value. Labels are the others on all its series.
	Name   string
	Labels map[string]string
	// Address is the current address, not valid while the peer's name does not resolve.
	Address netip.Addr
	Match   Match
	// Group, if set, is common to peers that are one gateway at several addresses: an SA is expected
	// at one of them only.
	Group string
	// Expected reports whether the peer should have an SA here: only then its absence is a fault.
	Expected bool
	// OnDemand reports whether a tunnel without traffic may have no SA.
	OnDemand bool
	// Foreign means that another exporter measures the peer: its SAs are neither shown nor counted as
	// Unmatched.
	Foreign bool
}

// lost reports whether no SA can be attributed: no address and no match is known.
func (p *Peer) lost() bool {
	return !p.Address.IsValid() && p.Match.empty()
}

// Match attributes SAs to a peer other than by its address: where the address is dynamic, shared
// behind a NAT, or shown as a name. Case is ignored.
type Match struct {
	// Addresses are addresses, networks (192.0.2.0/24), and names that a device shows instead.
	Addresses []string
	// IDs, Usernames and Groups are compared with the fields of the SA's Identity.
	IDs, Usernames, Groups []string
}

func (m *Match) empty() bool {
	return len(m.Addresses)+len(m.IDs)+len(m.Usernames)+len(m.Groups) == 0
}

// Attribution finds the peer that an SA belongs to. The most specific property comes first: a user
// name or an identity belongs to one site, an address may be shared by all sites behind one NAT,
// and a network or a group is shared by design.
type Attribution struct {
	peers          []Peer
	usernames, ids map[string]int
	addresses      map[netip.Addr]int
	names          map[string]int
	networks       []network // the longest first
	groups         map[string]int
	byName         map[string]int // by the peers' own names
	lost           map[string]bool
	roaming        []string         // names of the peers that may have SAs at other addresses than their own
	members        map[string][]int // the peers of each group
}

type network struct {
	prefix netip.Prefix
	peer   int
}

// NewAttribution returns the attribution to these peers. Where two claim the same property, the one
// that is expected at the gateway wins, then the first.
func NewAttribution(peers []Peer) *Attribution {
	a := &Attribution{
		peers: peers, usernames: map[string]int{}, ids: map[string]int{}, addresses: map[netip.Addr]int{},
		names: map[string]int{}, groups: map[string]int{}, byName: map[string]int{}, lost: map[string]bool{},
		members: map[string][]int{},
	}
	for i := range peers {
		if g := peers[i].Group; g != "" {
			a.members[g] = append(a.members[g], i)
		}
	}
	for _, expected := range []bool{true, false} {
		for i := range peers {
			if peers[i].Expected == expected {
				a.add(i)
			}
		}
	}
	slices.SortStableFunc(a.networks, func(x, y network) int { return y.prefix.Bits() - x.prefix.Bits() })
	return a
}

func (a *Attribution) add(i int) {
	p := &a.peers[i]
	if !p.Foreign {
		a.byName[p.Name] = i
		a.lost[p.Name] = p.lost()
	}
	if !p.Foreign && (!p.Address.IsValid() || !p.Match.empty()) {
		a.roaming = append(a.roaming, p.Name)
	}
	if p.Address.IsValid() {
		claim(a.addresses, bare(p.Address), i)
	}
	for _, s := range p.Match.Addresses {
		if addr, err := netip.ParseAddr(s); err == nil {
			claim(a.addresses, bare(addr), i)
		} else if prefix, err := netip.ParsePrefix(s); err == nil {
			a.networks = append(a.networks, network{prefix.Masked(), i})
		} else {
			claim(a.names, strings.ToLower(s), i)
		}
	}
	claimAll(a.ids, p.Match.IDs, i)
	claimAll(a.usernames, p.Match.Usernames, i)
	claimAll(a.groups, p.Match.Groups, i)
}

func claimAll(of map[string]int, words []string, peer int) {
	for _, w := range words {
		claim(of, strings.ToLower(w), peer)
	}
}

// claim gives key to peer unless another peer has it.
func claim[K comparable](of map[K]int, key K, peer int) {
	if _, taken := of[key]; !taken {
		of[key] = peer
	}
}

// bare returns an address in the form for comparison: devices show no zone, and IPv4 as IPv4.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func (a *Attribution) has(name string) bool {
	_, ok := a.byName[name]
	return ok
}

// Find returns the peer that id belongs to, nil if to none.
func (a *Attribution) Find(id Identity) *Peer {
	if i, ok := a.find(&id); ok {
		return &a.peers[i]
	}
	return nil
}

// find returns the index of the peer. Of a group it is the one of the SA's address family.
func (a *Attribution) find(id *Identity) (int, bool) {
	found, ok := a.claimant(id)
	if ok && id.Address.IsValid() {
		for _, i := range a.members[a.peers[found].Group] {
			if own := a.peers[i].Address; own.IsValid() && own.Is4() == bare(id.Address).Is4() {
				return i, true
			}
		}
	}
	return found, ok
}

func (a *Attribution) claimant(id *Identity) (int, bool) {
	if i, ok := word(a.usernames, id.Username); ok {
		return i, true
	}
	if i, ok := word(a.ids, id.ID); ok {
		return i, true
	}
	if i, ok := a.addresses[bare(id.Address)]; ok && id.Address.IsValid() {
		return i, true
	}
	if i, ok := word(a.names, id.Name); ok {
		return i, true
	}
	if id.Address.IsValid() {
		for _, n := range a.networks {
			if n.prefix.Contains(bare(id.Address)) {
				return n.peer, true
			}
		}
	}
	return word(a.groups, id.Group)
}

func word(of map[string]int, s string) (int, bool) {
	if s == "" {
		return 0, false
	}
	i, ok := of[strings.ToLower(s)]
	return i, ok
}
