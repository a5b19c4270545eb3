package store

import (
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

var _ collectors.Scope = (*Peer)(nil)

// A Peer makes the series of one peer.
type Peer struct {
	store *Store
	name  string
	// own are the labels of all its series, sorted by name: peer and the configured ones.
	own []*dto.LabelPair
	// All below is guarded by the store's lock.
	groups  []group  // in the order in which they were attached
	next    []series // made since the last Attach
	removed bool
}

// A group is an Exposer with the table in which it has a row.
type group struct {
	exposer collectors.Exposer
	table   *table
}

// A series is one that waits for its Exposer.
type series struct {
	family *family
	values []string // of the labels Labels and Optional
}

func newPeer(s *Store, name string, labels map[string]string) *Peer {
	type pair struct {
		dto.LabelPair
		value string
	}
	p := &Peer{store: s, name: name, own: make([]*dto.LabelPair, 0, 1+len(labels))}
	pairs := make([]pair, 1+len(labels))
	add := func(name, value string) {
		next := &pairs[len(p.own)]
		next.value = valid(value)
		next.Name, next.Value = s.word(name), &next.value
		p.own = append(p.own, &next.LabelPair)
	}
	add("peer", name)
	for k, v := range labels {
		add(k, v)
	}
	slices.SortFunc(p.own, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	for i := 1; i < len(p.own); i++ {
		if repeated := p.own[i].GetName(); repeated == p.own[i-1].GetName() {
			panic(fmt.Sprintf("store: peer %q has the label %s twice", name, repeated))
		}
	}
	return p
}

// valid replaces what is not UTF-8: Prometheus would refuse a whole page for one such value.
func valid(value string) string { return strings.ToValidUTF8(value, "\uFFFD") }

// Series makes one possible series of f; values belong to f.Labels, and to the first of f.Optional
// if there are more. What could never be a legal page is a programming error and panics: a wrong
// number of values, a label that the peer has already, a series that the peer has already, a second
// family of the same name, a counter not ending in _total.
func (p *Peer) Series(f *collectors.Family, values ...string) collectors.Series {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if len(values) < len(f.Labels) || len(values) > len(f.Labels)+len(f.Optional) {
		panic(fmt.Sprintf("store: %s has the labels %q, but was given the values %q", f.Name, slices.Concat(f.Labels, f.Optional), values))
	}
	made := series{p.store.family(f), slices.Clone(values)}
	if name, twice := p.repeats(&made); twice {
		panic(fmt.Sprintf("store: %s of peer %q has the label %s twice", f.Name, p.name, name))
	}
	if p.has(&made) {
		panic(fmt.Sprintf("store: %s of peer %q with the values %q is made twice", f.Name, p.name, values))
	}
	p.next = append(p.next, made)
	return collectors.Series(len(p.next))
}

// repeats returns a label that the series would have twice.
func (p *Peer) repeats(s *series) (name string, twice bool) {
	for i, n := 0, s.labels(); i < n; i++ {
		name := s.label(i)
		for k := range i {
			twice = twice || s.label(k) == name
		}
		for _, l := range p.own {
			twice = twice || l.GetName() == name
		}
		if twice {
			return name, true
		}
	}
	return "", false
}

// labels returns the number of the series' labels other than the peer's.
func (s *series) labels() int { return len(s.values) + len(s.family.def.Varying) }

// label returns the name of a label: first those that have a value, then those whose value varies.
func (s *series) label(i int) string {
	f := s.family.def
	switch n := len(f.Labels); {
	case i < n:
		return f.Labels[i]
	case i < len(s.values):
		return f.Optional[i-n]
	}
	return f.Varying[i-len(s.values)]
}

// has reports whether the peer has a series that would look the same.
func (p *Peer) has(made *series) bool {
	same := func(o series) bool { return o.family == made.family && slices.Equal(o.values, made.values) }
	if slices.ContainsFunc(p.next, same) {
		return true
	}
	for _, t := range made.family.tables {
		if slices.ContainsFunc(t.series, same) && slices.ContainsFunc(p.groups, func(g group) bool { return g.table == t }) {
			return true
		}
	}
	return false
}

// Attach adds an Exposer, which is called for every page from now on. The series made since the
// last Attach belong to it: they are left out if it panics.
func (p *Peer) Attach(e collectors.Exposer) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	made := p.next
	p.next = nil
	if p.removed {
		return
	}
	groups := make([]group, len(p.groups), len(p.groups)+1) // no room to spare: there are many peers
	copy(groups, p.groups)
	p.groups = append(groups, group{exposer: e, table: p.store.table(made)})
	p.store.layout = nil
}
