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
	// Address is where it is now, not valid while its name does not resolve.
	Address netip.Addr
	Match   Match
	// Expected says that an SA of this peer belongs to this gateway: only then its absence means something.
	Expected bool
	// OnDemand says that a tunnel without traffic may have no SA.
	OnDemand bool
}

// lost tells whether no SA can be known to be the peer's: its name is not resolved, and nothing else tells.
func (p *Peer) lost() bool {
	m := &p.Match
	return !p.Address.IsValid() && len(m.Addresses)+len(m.IDs)+len(m.Usernames)+len(m.Groups) == 0
}

// Match says how SAs are attributed to a peer besides by its address: where that is dynamic, behind a NAT together with
// others, or shown as a name. Words are compared without regard to case.
type Match struct {
	// Addresses are addresses, networks (192.0.2.0/24), and the names that a device shows in place of an address.
	Addresses []string
	// IDs, Usernames and Groups are compared with the ones of the SA.
	IDs, Usernames, Groups []string
}

// Attribution finds the peer that an SA belongs to. What tells most is asked first: a user name or an identity belongs to one
// site, an address may be shared by all that are behind one NAT, and a network or a group is shared by design.
type Attribution struct {
	peers          []Peer
	usernames, ids map[string]int
	addresses      map[netip.Addr]int
	names          map[string]int
	networks       []network // the longest first
	groups         map[string]int
	byName         map[string]int // by the peers' own names
	lost           map[string]bool
}

// A network belongs to a peer.
type network struct {
	prefix netip.Prefix
	peer   int
}

// NewAttribution knows these peers. Where two claim the same, the one that is expected at the gateway wins, then the first.
func NewAttribution(peers []Peer) *Attribution {
	a := &Attribution{
		peers: peers, usernames: map[string]int{}, ids: map[string]int{}, addresses: map[netip.Addr]int{},
		names: map[string]int{}, groups: map[string]int{}, byName: map[string]int{}, lost: map[string]bool{},
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
	a.byName[p.Name] = i
	if p.lost() {
		a.lost[p.Name] = true
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

// claim gives key to peer, unless somebody has it.
func claim[K comparable](of map[K]int, key K, peer int) {
	if _, taken := of[key]; !taken {
		of[key] = peer
	}
}

// bare is an address as it is compared: devices show no zone, and IPv4 as IPv4.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// has tells whether a peer of this name is configured.
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

func (a *Attribution) find(id *Identity) (int, bool) {
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
