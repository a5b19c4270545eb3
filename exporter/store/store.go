// Package store holds the values of all peers' series for scrapes, in columns:
//
//	                    series 1   series 2   series 3         a table: one for each kind of
//	                   +----------+----------+----------+       Exposer, a row for each peer,
//	Exposer of hq  --> | row of hq                      |       a column for each series
//	Exposer of lab --> | row of lab                     |
//	                   +----------+----------+----------+
//	                         |  page: family by family, peer by peer
//	                         v
//	                   a slab of dto.Metric, used again for each part --> encoder --> client
//
// What a series needs besides its value is kept once for all peers (its family, its own labels) or
// once for all series of a peer (the labels of the peer). Messages that an encoder understands exist
// only for the part of a page that is being written.
//
// All values that a reader sees are from one fill, in which every Exposer has copied its newest
// results. Readers that come while a fill is read share it, unless it is older than Freshness or
// peers came or went since; then the next fill goes into arrays of its own (a generation). So no
// scrape waits for a slow reader, no removed peer is shown by a later page, and no chain of
// overlapping readers can freeze the values that others see. At most maxGenerations exist: where
// that is too few, the readers of the oldest are interrupted.
//
// The store's lock is held while a generation is filled, never while one is read or written to a
// client, and no measurement ever takes it: Exposers fetch the results.
//
// The store does not measure, does no I/O, and does not know the process's own metrics.
package store

import (
	"fmt"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// Freshness is the greatest age of a fill that is shared with further readers.
const Freshness = 5 * time.Second

// A Store has the series of all its peers. Its methods may be called from any goroutine.
type Store struct {
	clock func() time.Time

	mu       sync.Mutex
	peers    map[string]*Peer
	families map[string]*family
	tables   map[string]*table
	words    map[string]*string // names of labels
	layout   *layout            // nil after peers or series came or went
	row      row                // of the Exposer that is called
	texts    texts
	report   func(Panic)
	panics   uint64
	panicked map[place]bool // Exposers that ever did

	newest *generation   // of the last fill, whether it is read or not
	read   []*generation // those with readers, oldest first
	freed  chan struct{} // closed when a reader leaves one; nil while no scrape waits for that
}

// A family is what the series of a Family share.
type family struct {
	def *collectors.Family
	out dto.MetricFamily // without metrics
	// id is distinct among the families of a store.
	id uint32
	// tables have columns of the family.
	tables []*table
}

// New makes an empty store. clock is time.Now, except in tests.
func New(clock func() time.Time) *Store {
	return &Store{
		clock: clock, report: func(Panic) {}, newest: &generation{},
		peers: make(map[string]*Peer), families: make(map[string]*family), tables: make(map[string]*table),
		words: make(map[string]*string), panicked: make(map[place]bool),
	}
}

// AddPeer adds a peer whose series carry the label `peer` and these labels. It has no series yet. A
// peer whose configuration changed is removed and added again; one that did not change keeps its
// Peer, and so its counters. A present name is a programming error and panics.
func (s *Store) AddPeer(name string, labels map[string]string) *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[name] != nil {
		panic(fmt.Sprintf("store: peer %q is added twice", name))
	}
	p := newPeer(s, name, labels)
	s.peers[name] = p
	s.layout = nil
	return p
}

// RemovePeer drops a peer: no later page shows it. Removing an unknown peer does nothing.
func (s *Store) RemovePeer(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		return
	}
	delete(s.peers, name)
	p.removed, s.layout = true, nil
	for i, g := range p.groups {
		s.release(g.table)
		delete(s.panicked, place{p, i})
	}
}

// family finds or makes the family that def describes. The lock is held.
func (s *Store) family(def *collectors.Family) *family {
	if f := s.families[def.Name]; f != nil {
		if f.def != def {
			panic("store: two families are named " + def.Name)
		}
		return f
	}
	if def.Kind == collectors.Counter && !strings.HasSuffix(def.Name, "_total") {
		panic(fmt.Sprintf("store: counter %s does not end in _total, as OpenMetrics demands", def.Name))
	}
	f := &family{def: def, id: uint32(len(s.families))}
	f.out.Name, f.out.Help, f.out.Type = &def.Name, &def.Help, def.Kind.Type()
	s.families[def.Name] = f
	return f
}

// word returns the one string with the content of a label's name, to point to. The lock is held.
func (s *Store) word(text string) *string {
	if s.words[text] == nil {
		s.words[text] = &text
	}
	return s.words[text]
}
