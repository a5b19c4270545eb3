package gateways

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/internal/untrusted"
)

// Unmatched is the label value of all SAs that belong to no configured peer, and no peer's name.
const Unmatched = "_unmatched"

// Bounds of the unmatched peers that are listed by address, and of a vendor's state: both become
// label values.
const (
	maxListed = 500
	maxWord   = 64
)

// A Reading is a Table counted per peer.
type Reading struct {
	Info     Info
	NoIKE    bool
	Peers    []PeerReading // sorted by name
	Counters []DeviceCounter
	Sessions map[string]int
	Unparsed int

	doubts     doubts
	peers      []Peer          // all that are configured
	configured map[string]int  // their places by name
	elsewhere  map[string]bool // names of peers of a group whose SA is expected at another one of it
	lost       map[string]bool // names of peers to which no SA can be attributed now
}

// Find returns what was read about a peer, nil if nothing.
func (r *Reading) Find(peer string) *PeerReading {
	i, ok := slices.BinarySearchFunc(r.Peers, peer, func(p PeerReading, name string) int { return strings.Compare(p.Peer, name) })
	if !ok {
		return nil
	}
	return &r.Peers[i]
}

// expects reports whether a peer should have an SA here.
func (r *Reading) expects(name string) bool {
	i, ok := r.configured[name]
	return ok && r.peers[i].Expected && !r.elsewhere[name]
}

func (r *Reading) knows(name string) bool {
	_, ok := r.configured[name]
	return ok
}

// A PeerReading is everything that one gateway shows about one peer.
type PeerReading struct {
	Peer string
	// Of is the configured peer, nil if there is none.
	Of *Peer
	// IKE counts SAs by version and class. A state that no rule matches is counted in Vendor only.
	IKE      map[IKEClass]int
	Vendor   map[string]int
	Children map[ChildState]int
	// IKESAs and ChildSAs count all, of known and unknown class.
	IKESAs, ChildSAs int
	// Up reports whether an IKE SA is established and a child installed. It is Unknown where the
	// gateway has no IKE SAs, and where it depends on a state or a line that no rule matches.
	Up Answer
	// Established is the time since when the newest IKE SA is established, zero if unknown.
	Established time.Time
	// PathMTU is the largest path MTU that the gateway uses for a child in use, 0 if unknown: it
	// builds packets up to that size.
	PathMTU int
	// NATT reports whether the children in use are encapsulated in UDP, Unknown where they differ.
	NATT Answer
	// Negotiating is the IKE SA under negotiation, the most advanced one if there are several.
	Negotiating *IKESA
	children    []*ChildSA
	flows       []Flow
}

// An IKEClass is what IKE SAs are counted by.
type IKEClass struct {
	Version int
	State   IKEState
}

// IKEUp reports whether an IKE SA is established.
func (p *PeerReading) IKEUp() bool {
	for c := range p.IKE {
		if c.State.Up() {
			return true
		}
	}
	return false
}

// ChildUp reports whether a child is installed.
func (p *PeerReading) ChildUp() bool { return p.childrenUp() > 0 }

func (p *PeerReading) childrenUp() int { return p.Children[Installed] + p.Children[ChildRekeying] }

// closing counts the SAs that are being deleted, or remain of a deleted one.
func (p *PeerReading) closing() int {
	n := p.Children[ChildClosing]
	for c, count := range p.IKE {
		if c.State == IKEClosing {
			n += count
		}
	}
	return n
}

// NewReading counts a table by peer. With each, SAs that belong to no peer are listed by address.
func NewReading(t *Table, peers *Attribution, each bool) Reading {
	c := counting{peers: peers, each: each, of: map[string]*PeerReading{}, doubts: doubts{of: map[string]bool{}}}
	for i := range peers.peers {
		if p := &peers.peers[i]; p.Expected && !p.Foreign {
			c.entry(p.Name, p)
		}
	}
	for i := range t.IKE {
		c.ike(&t.IKE[i])
	}
	for i := range t.Children {
		c.child(&t.Children[i])
	}
	for i := range t.Flows {
		p := c.owner(&t.Flows[i].Peer)
		p.flows = append(p.flows, t.Flows[i])
	}
	for i := range t.Doubts {
		c.doubts.add(&t.Doubts[i], peers)
	}
	r := Reading{
		Info: t.Info, NoIKE: t.NoIKE, doubts: c.doubts, Counters: t.Counters, Sessions: t.Sessions, Unparsed: t.Unparsed,
		peers: peers.peers, configured: peers.byName, elsewhere: make(map[string]bool), lost: peers.lost,
	}
	maps.DeleteFunc(c.of, func(_ string, p *PeerReading) bool { return p.Of != nil && p.Of.Foreign })
	for _, p := range c.of {
		p.Up = r.up(p)
	}
	for _, members := range peers.members {
		c.share(members, r.elsewhere)
	}
	for _, p := range c.of {
		r.Peers = append(r.Peers, *p)
	}
	slices.SortFunc(r.Peers, func(a, b PeerReading) int { return cmp.Compare(a.Peer, b.Peer) })
	return r
}

// share leaves the expectation of an SA to one peer of a group: the first whose tunnel is up, else the
// first with an SA, else the first. It notes the others in elsewhere.
func (c *counting) share(members []int, elsewhere map[string]bool) {
	keeper, best := members[0], 0
	for _, i := range members {
		rank := 0
		if p := c.of[c.peers.peers[i].Name]; p != nil && p.Up == Yes {
			rank = 2
		} else if p != nil && p.IKESAs+p.ChildSAs > 0 {
			rank = 1
		}
		if rank > best {
			keeper, best = i, rank
		}
	}
	for _, i := range members {
		of := c.peers.peers[i] // a copy
		if i == keeper || !of.Expected {
			continue
		}
		elsewhere[of.Name] = true
		of.Expected = false
		if p := c.of[of.Name]; p != nil && p.IKESAs+p.ChildSAs == 0 {
			delete(c.of, of.Name)
		} else if p != nil {
			p.Of = &of
		}
	}
}

type counting struct {
	peers  *Attribution
	each   bool
	of     map[string]*PeerReading
	listed int
	doubts doubts
}

func (c *counting) entry(name string, of *Peer) *PeerReading {
	p := c.of[name]
	if p == nil {
		p = &PeerReading{Peer: name, Of: of, IKE: map[IKEClass]int{}, Vendor: map[string]int{}, Children: map[ChildState]int{}}
		c.of[name] = p
	}
	return p
}

// owner returns the entry in which an SA is counted.
func (c *counting) owner(id *Identity) *PeerReading {
	if i, ok := c.peers.find(id); ok {
		return c.entry(c.peers.peers[i].Name, &c.peers.peers[i])
	}
	if !c.each || !id.Address.IsValid() {
		return c.entry(Unmatched, nil)
	}
	name := bare(id.Address).String()
	if _, known := c.of[name]; !known {
		if c.listed >= maxListed || c.peers.has(name) {
			return c.entry(Unmatched, nil)
		}
		c.listed++
	}
	return c.entry(name, nil)
}

// unmatched takes note of an SA that may be in use and cannot be attributed: it has no address, so
// it may belong to any peer.
func (c *counting) unmatched(p *PeerReading, id *Identity, inUse bool) {
	if inUse && p.Of == nil && !id.Address.IsValid() {
		c.doubts.all = true
	}
}

func (c *counting) ike(sa *IKESA) {
	p := c.owner(&sa.Peer)
	p.IKESAs++
	if sa.VendorState != "" {
		p.Vendor[untrusted.Word(sa.VendorState, maxWord)]++
	}
	c.unmatched(p, &sa.Peer, sa.State.Up() || sa.State == IKEUnknown)
	if sa.State == IKEUnknown {
		return
	}
	p.IKE[IKEClass{Version: sa.Version, State: sa.State}]++
	if sa.State.Up() && sa.Established.After(p.Established) {
		p.Established = sa.Established
	}
	if sa.State.Negotiating() && (p.Negotiating == nil || sa.State > p.Negotiating.State) {
		p.Negotiating = sa
	}
}

func (c *counting) child(sa *ChildSA) {
	p := c.owner(&sa.Peer)
	p.ChildSAs++
	p.children = append(p.children, sa)
	p.flows = append(p.flows, Flow{Key: sa.counterKey(), In: sa.In, Out: sa.Out, Lost: sa.Lost, Errors: sa.Errors})
	c.unmatched(p, &sa.Peer, sa.State.Up() || sa.State == ChildUnknown)
	if sa.State != ChildUnknown {
		p.Children[sa.State]++
	}
	if !sa.State.Up() {
		return
	}
	p.PathMTU = max(p.PathMTU, sa.PathMTU)
	if p.childrenUp() == 1 {
		p.NATT = sa.NATT
	} else if p.NATT != sa.NATT {
		p.NATT = Unknown
	}
}

// up needs both an IKE SA and a child. A state or a line that no rule matches may be one of them.
func (r *Reading) up(p *PeerReading) Answer {
	ike := p.IKEUp() || p.IKESAs > sum(p.IKE)
	child := p.ChildUp() || p.ChildSAs > sum(p.Children)
	switch {
	case r.NoIKE, p.Of != nil && p.Of.lost() && p.IKESAs+p.ChildSAs == 0: // its SAs may be among the unmatched
		return Unknown
	case p.IKEUp() && p.ChildUp():
		return Yes
	case ike && child, r.doubts.about(p.Peer):
		return Unknown
	}
	return No
}

func sum[K comparable](counts map[K]int) int {
	n := 0
	for _, v := range counts {
		n += v
	}
	return n
}
