// Package store holds the time series of all peers, ready to be encoded: each dto.Metric is made once, when its peer
// appears, and from then on only its value is changed. That is what makes a page of hundreds of thousands of series
// cheap; const metrics or Vecs behind a registry spend most of a scrape on making, checking and sorting what was
// known before.
//
//	Exposers --values--> Series of each peer --pointers--> page --promhttp--> readers
//	         (no reader)                       (sorted)          (shared)     done: one reader fewer
//
// The price is that values must not change while somebody still encodes them. So there is one page at a time:
//
//   - While it is read, whoever comes shares it as it is.
//   - When its last reader is done, the next scrape lets every Exposer copy its newest results and fills the page anew.
//   - Where a reader takes too long (Freshness), or peers came or went meanwhile, the page is left to its readers: the
//     series go on with copies of their metrics, and the next page is made of those. Nobody waits for a slow reader,
//     no removed peer is shown again, and no chain of overlapping readers can freeze what the others see.
//
// The copies are made in the order of the page. Encoding is bound by memory: it is three times as fast where the metrics
// of one family lie side by side as where those of one peer do, which is how collectors make them.
//
// The store's lock is held for the time of filling a page, never while one is read or written to a client, and no
// measurement ever takes it: Exposers fetch their results from the measurements, not the other way round.
//
// The store does not measure, does no I/O, and knows nothing about the process's own metrics: join it with their
// registry by prometheus.NewMultiTRegistry.
package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// Freshness is how old a page may be that is shared with further readers. Leaving a page costs as much as making its
// series, and without changes of peers happens at most once in this time; with the server's write timeout it bounds how
// many pages exist at once.
const Freshness = 5 * time.Second

var _ prometheus.TransactionalGatherer = (*Store)(nil)

// A Store gathers the series of all its peers. Its methods may be called from any goroutine.
type Store struct {
	clock func() time.Time

	mu       sync.Mutex
	peers    []*Peer   // sorted by name
	families []*family // sorted by name
	page     *page
	outdated bool // peers came or went since the page was filled
	panics   uint64
	report   func(Panic)
}

// A page is what one or more readers encode at the same time.
type page struct {
	filled   time.Time
	readers  int
	families []*dto.MetricFamily
}

// A family is one metric family with the series that are exposed now.
type family struct {
	def     *collectors.Family
	entries []*entry // in the order of the page; used only while it is laid out
	out     *dto.MetricFamily
}

// New makes an empty store. clock is time.Now, except in tests.
func New(clock func() time.Time) *Store {
	return &Store{clock: clock, page: &page{}, report: func(Panic) {}}
}

// AddPeer makes a peer whose series carry the label `peer` and these labels. It has no series yet.
// A peer whose configuration changed is removed and added again; one that stays the same over a reload keeps its Peer,
// and so its counters. Names are unique: adding a present one is a programming error and panics.
func (s *Store) AddPeer(name string, labels map[string]string) *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.search(name)
	if found {
		panic(fmt.Sprintf("store: peer %q is added twice", name))
	}
	p := newPeer(s, name, labels)
	s.peers = slices.Insert(s.peers, at, p)
	s.outdated = true
	return p
}

// RemovePeer drops a peer: no page that is gathered from now on shows it. Removing an unknown peer does nothing.
func (s *Store) RemovePeer(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, found := s.search(name); found {
		s.peers = slices.Delete(s.peers, at, at+1)
		s.outdated = true
	}
}

func (s *Store) search(name string) (int, bool) {
	return slices.BinarySearchFunc(s.peers, name, func(p *Peer, name string) int { return strings.Compare(p.name, name) })
}

// Gather returns all families that have series, sorted by name, their series sorted by peer and within a peer in the
// order in which they were made. The result is read-only and valid until done is called; done may be called more than
// once. The error is always nil: what an Exposer cannot expose is left out (see Panic).
func (s *Store) Gather() (_ []*dto.MetricFamily, done func(), _ error) {
	p, panics, report := s.open()
	for _, v := range panics {
		report(v)
	}
	return p.families, sync.OnceFunc(func() { s.done(p) }), nil
}

// open returns a page to read, with the panics that are to be reported once the lock is free.
func (s *Store) open() (*page, []Panic, func(Panic)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	read := s.page.readers > 0
	var panics []Panic
	if !read || s.outdated || now.Sub(s.page.filled) >= Freshness {
		if read || s.outdated {
			s.layOut()
		}
		panics = s.fill(now)
	}
	s.page.readers++
	return s.page, panics, s.report
}

func (s *Store) done(p *page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.readers--
}

// layOut begins a new page: it leaves the old one, with all metrics on it, to its readers if it has any, and gives every
// series a new metric, in the order of the page.
func (s *Store) layOut() {
	for _, p := range s.peers {
		for _, g := range p.groups {
			for _, e := range g.series {
				e.family.entries = append(e.family.entries, e)
			}
		}
	}
	s.page = &page{}
	labels := &pairs{known: map[pair]*dto.LabelPair{}}
	for _, f := range s.families {
		f.out = newMetricFamily(f.def, len(f.entries))
		layOut(f.def.Kind, f.entries, labels)
		f.entries = nil
	}
	s.outdated = false
}

// fill brings all values up to date and puts the series that are set on the page. Nobody reads it.
func (s *Store) fill(now time.Time) (panics []Panic) {
	for _, f := range s.families {
		f.out.Metric = f.out.Metric[:0]
	}
	for _, p := range s.peers {
		panics = p.fill(panics)
	}
	s.page.families = s.page.families[:0]
	for _, f := range s.families {
		if len(f.out.Metric) > 0 {
			s.page.families = append(s.page.families, f.out)
		}
	}
	s.page.filled = now
	return panics
}

// family finds or makes the family that def describes. The lock is held.
func (s *Store) family(def *collectors.Family) *family {
	at, found := slices.BinarySearchFunc(s.families, def.Name, func(f *family, name string) int {
		return strings.Compare(f.def.Name, name)
	})
	if found {
		if s.families[at].def != def {
			panic("store: two families are named " + def.Name)
		}
		return s.families[at]
	}
	if def.Kind == collectors.Counter && !strings.HasSuffix(def.Name, "_total") {
		panic(fmt.Sprintf("store: counter %s does not end in _total, as OpenMetrics demands", def.Name))
	}
	f := &family{def: def, out: newMetricFamily(def, 0)}
	s.families = slices.Insert(s.families, at, f)
	return f
}

func newMetricFamily(def *collectors.Family, size int) *dto.MetricFamily {
	kind := dto.MetricType_GAUGE
	switch def.Kind {
	case collectors.Gauge:
	case collectors.Counter:
		kind = dto.MetricType_COUNTER
	case collectors.Histogram:
		kind = dto.MetricType_HISTOGRAM
	}
	return &dto.MetricFamily{Name: &def.Name, Help: &def.Help, Type: &kind, Metric: make([]*dto.Metric, 0, size)}
}
