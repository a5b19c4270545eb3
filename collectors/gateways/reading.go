package gateways

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Unmatched is the label value of all SAs that belong to no configured peer. No peer can have this name.
const Unmatched = "_unmatched"

// Unmatched peers that are listed by address are bounded, and so is a word that a device shows: both become label values.
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

	configured map[string]int  // names of all peers
	lost       map[string]bool // names of those that no SA can be attributed to now
}

// Find returns what was read about a peer, nil if nothing.
func (r *Reading) Find(peer string) *PeerReading {
	i, ok := slices.BinarySearchFunc(r.Peers, peer, func(p PeerReading, name string) int { return strings.Compare(p.Peer, name) })
	if !ok {
		return nil
	}
	return &r.Peers[i]
}

// knows tells whether a peer of this name is configured.
func (r *Reading) knows(name string) bool {
	_, ok := r.configured[name]
	return ok
}

// A PeerReading is everything that one gateway shows about one peer: about those that have an SA, and those that should.
type PeerReading struct {
	Peer string
	// Of is the configured peer, nil where there is none.
	Of *Peer
	// IKE counts by version and class; what no rule knows is in Vendor only.
	IKE      map[IKEClass]int
	Vendor   map[string]int
	Children map[ChildState]int
	// IKESAs and ChildSAs count all, of known and unknown class.
	IKESAs, ChildSAs int
	// Up is whether an IKE SA is established and a child installed. It is unknown where the gateway knows no IKE SAs, and where
	// that depends on a word that no rule knows.
	Up Answer
	// Established is since when the newest established IKE SA is, zero if unknown.
	Established time.Time
	// PathMTU is the largest path MTU that the gateway believes for a child in use, 0 if unknown: it builds packets up to it.
	PathMTU int
	// NATT is whether the children in use are encapsulated in UDP, unknown where they differ.
	NATT Answer
	// Negotiating is the IKE SA that is still on its way up, the one that has come farthest if there are several.
	Negotiating *IKESA
	children    []*ChildSA
	flows       []Flow
}

// An IKEClass is what IKE SAs are counted by.
type IKEClass struct {
	Version int
	State   IKEState
}

// IKEUp tells whether an IKE SA is established.
func (p *PeerReading) IKEUp() bool { return p.has(IKEState.Up) }

func (p *PeerReading) has(what func(IKEState) bool) bool {
	for c := range p.IKE {
		if what(c.State) {
			return true
		}
	}
	return false
}

// ChildUp tells whether a child is installed.
func (p *PeerReading) ChildUp() bool {
	return p.Children[Installed]+p.Children[ChildRekeying] > 0
}

// closing counts the SAs that are being deleted, or left of one that was.
func (p *PeerReading) closing() int {
	n := p.Children[ChildClosing]
	for c, count := range p.IKE {
		if c.State == IKEClosing {
			n += count
		}
	}
	return n
}

// NewReading counts a table: it attributes the SAs to peers. With each, those that belong to no peer are listed by address.
func NewReading(t *Table, peers *Attribution, each bool) Reading {
	c := counting{peers: peers, each: each, of: map[string]*PeerReading{}}
	for i := range peers.peers {
		if p := &peers.peers[i]; p.Expected {
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
	r := Reading{
		Info: t.Info, NoIKE: t.NoIKE, Counters: t.Counters, Sessions: t.Sessions, Unparsed: t.Unparsed,
		configured: peers.byName, lost: peers.lost,
	}
	for _, p := range c.of {
		p.Up = p.up(t.NoIKE)
		r.Peers = append(r.Peers, *p)
	}
	slices.SortFunc(r.Peers, func(a, b PeerReading) int { return cmp.Compare(a.Peer, b.Peer) })
	return r
}

// counting is a Reading in the making.
type counting struct {
	peers  *Attribution
	each   bool
	of     map[string]*PeerReading
	listed int
}

// entry finds or makes what is read about one peer.
func (c *counting) entry(name string, of *Peer) *PeerReading {
	p := c.of[name]
	if p == nil {
		p = &PeerReading{Peer: name, Of: of, IKE: map[IKEClass]int{}, Vendor: map[string]int{}, Children: map[ChildState]int{}}
		c.of[name] = p
	}
	return p
}

// owner is the entry that an SA is counted in.
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

func (c *counting) ike(sa *IKESA) {
	p := c.owner(&sa.Peer)
	p.IKESAs++
	if sa.VendorState != "" {
		p.Vendor[tidy(sa.VendorState)]++
	}
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
	p.flows = append(p.flows, Flow{Key: sa.counterKey(), In: sa.In, Out: sa.Out})
	if sa.State != ChildUnknown {
		p.Children[sa.State]++
	}
	if !sa.State.Up() {
		return
	}
	p.PathMTU = max(p.PathMTU, sa.PathMTU)
	if first := p.Children[Installed]+p.Children[ChildRekeying] == 1; first {
		p.NATT = sa.NATT
	} else if p.NATT != sa.NATT {
		p.NATT = Unknown
	}
}

// up needs both an IKE SA and a child. A word that no rule knows may mean that they are there.
func (p *PeerReading) up(noIKE bool) Answer {
	ike := p.IKEUp() || p.IKESAs > sum(p.IKE)
	child := p.ChildUp() || p.ChildSAs > sum(p.Children)
	switch {
	case noIKE, p.Of != nil && p.Of.lost() && p.IKESAs+p.ChildSAs == 0: // its SAs may be among the unmatched
		return Unknown
	case p.IKEUp() && p.ChildUp():
		return Yes
	case ike && child:
		return Unknown
	}
	return No
}

// sum adds up counts.
func sum[K comparable](counts map[K]int) int {
	n := 0
	for _, v := range counts {
		n += v
	}
	return n
}

// tidy makes a word of a device fit for a label: it is short, and printed as it is.
func tidy(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
	if len(s) <= maxWord {
		return s
	}
	end := maxWord
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
