package store

import (
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

var _ collectors.Scope = (*Peer)(nil)

// A Peer holds the series of one peer.
type Peer struct {
	store *Store
	name  string
	// All below is guarded by the store's lock.
	own    []*dto.LabelPair // peer and the configured labels
	groups []group          // one for each Exposer
	next   []*entry         // series made since the last Attach
}

// A group is an Exposer with its series.
type group struct {
	exposer  collectors.Exposer
	series   []*entry
	panicked bool // ever
}

// An entry is a series and what the store has to know about it.
type entry struct {
	family *family
	series *collectors.Series
	labels []*dto.LabelPair // those of the series' metric: where it changes one, it is changed here
}

func newPeer(s *Store, name string, labels map[string]string) *Peer {
	p := &Peer{store: s, name: name, own: []*dto.LabelPair{newPair("peer", name)}}
	for k, v := range labels {
		p.own = append(p.own, newPair(k, v))
	}
	slices.SortFunc(p.own, byName)
	if at := repeated(p.own); at >= 0 {
		panic(fmt.Sprintf("store: peer %q has the label %s twice", name, p.own[at].GetName()))
	}
	return p
}

// Name is the name of the peer.
func (p *Peer) Name() string { return p.name }

// Series makes one possible series of f; values belong to f.Labels, and to the first of f.Optional if there are more. It is
// exposed once an Exposer is attached after it was made, and while it is set.
// What could never be a legal page is a programming error and panics: a wrong number of values, a label that the peer
// has already, a series that the peer has already, a second family of the same name, a counter not ending in _total.
func (p *Peer) Series(f *collectors.Family, values ...string) *collectors.Series {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	names := slices.Concat(f.Labels, f.Optional)
	if len(values) < len(f.Labels) || len(values) > len(names) {
		panic(fmt.Sprintf("store: %s has the labels %q, but was given the values %q", f.Name, names, values))
	}
	labels := append(make([]*dto.LabelPair, 0, len(p.own)+len(values)), p.own...)
	for i, v := range values {
		labels = append(labels, newPair(names[i], v))
	}
	slices.SortFunc(labels, byName)
	if at := repeated(labels); at >= 0 {
		panic(fmt.Sprintf("store: %s of peer %q has the label %s twice", f.Name, p.name, labels[at].GetName()))
	}
	e := &entry{family: p.store.family(f), series: collectors.NewSeries(f.Kind, labels), labels: labels}
	if p.has(e) {
		panic(fmt.Sprintf("store: %s of peer %q with the values %q is made twice", f.Name, p.name, values))
	}
	p.next = append(p.next, e)
	return e.series
}

// Attach adds an Exposer: from now on it is called for every page. The series made since the last Attach are taken for
// its own, which decides what is left out where it panics; so let each collector make its series and then attach it.
func (p *Peer) Attach(e collectors.Exposer) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.groups = append(p.groups, group{exposer: e, series: slices.Clip(p.next)})
	p.next = nil
	p.store.outdated = true
}

// fill lets every Exposer set its series and adds those that are set to their families.
func (p *Peer) fill(panics []Panic) []Panic {
	for i := range p.groups {
		g := &p.groups[i]
		if failure := expose(g.exposer); failure != nil {
			panics = p.failed(g, failure, panics)
			continue
		}
		for _, e := range g.series {
			if m := e.series.Metric(); m != nil {
				e.family.out.Metric = append(e.family.out.Metric, m)
			}
		}
	}
	return panics
}

// has tells whether the peer has a series that would look the same as e.
func (p *Peer) has(e *entry) bool {
	same := func(o *entry) bool {
		return o.family == e.family && slices.EqualFunc(o.labels, e.labels, func(a, b *dto.LabelPair) bool {
			return a == b || a.GetName() == b.GetName() && a.GetValue() == b.GetValue()
		})
	}
	return slices.ContainsFunc(p.next, same) ||
		slices.ContainsFunc(p.groups, func(g group) bool { return slices.ContainsFunc(g.series, same) })
}

// newPair makes a label pair. One value that is not UTF-8 would make Prometheus refuse the whole page.
func newPair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: &name, Value: new(strings.ToValidUTF8(value, "\uFFFD"))}
}

func byName(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }

// repeated finds a label that has the same name as the one before it, or returns -1.
func repeated(sorted []*dto.LabelPair) int {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].GetName() == sorted[i-1].GetName() {
			return i
		}
	}
	return -1
}
