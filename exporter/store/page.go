package store

import (
	"context"
	"iter"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/slab"
)

// maxGenerations bounds how many generations are read at once: by far most of the memory of a page.
const maxGenerations = 3

// A Page is one fill while it is read. One goroutine may read it.
type Page struct {
	store      *Store
	generation *generation
	interrupt  func()
	slab       *slab.Slab // nil once it is closed
}

// Open returns a page to read, which must be closed. interrupt, if it is not nil, is called when the
// page is kept for so long that there is no memory for newer ones: it should make the reader close
// it soon. Until it does, Open waits, and returns the error of a context that ends. interrupt may
// still be called while Close returns.
func (s *Store) Open(ctx context.Context, interrupt func()) (*Page, error) {
	for {
		page, panics, report, wait := s.open(interrupt)
		for _, p := range panics {
			report(p)
		}
		if page != nil {
			page.slab = slab.Get()
			return page, nil
		}
		for _, reader := range wait.readers {
			reader()
		}
		select {
		case <-wait.freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// A waiting says for what a scrape waits.
type waiting struct {
	readers []func() // interrupt the readers that are in the way
	freed   <-chan struct{}
}

// open returns a page, with the panics that are to be reported once the lock is free, or what to wait
// for.
func (s *Store) open(interrupt func()) (*Page, []Panic, func(Panic), waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var panics []Panic
	g, now := s.newest, s.clock()
	if len(g.readers) == 0 || s.layout != g.layout || now.Sub(g.filled) >= Freshness {
		if len(g.readers) > 0 {
			if len(s.read) >= maxGenerations {
				return nil, nil, nil, s.wait()
			}
			g = &generation{}
		}
		panics = s.fill(g, now)
		s.newest = g
	}
	page := &Page{store: s, generation: g, interrupt: interrupt}
	if len(g.readers) == 0 {
		s.read = append(s.read, g)
	}
	g.readers = append(g.readers, page)
	return page, panics, s.report, waiting{}
}

// wait returns what a scrape has to wait for: the end of a reader. The lock is held.
func (s *Store) wait() waiting {
	if s.freed == nil {
		s.freed = make(chan struct{})
	}
	w := waiting{freed: s.freed}
	for _, reader := range s.read[0].readers {
		if reader.interrupt != nil {
			w.readers = append(w.readers, reader.interrupt)
		}
	}
	return w
}

// Close ends the reading: nothing that the page has lent may be used any more. Closing it twice is
// closing it once.
func (p *Page) Close() {
	if p.slab == nil {
		return
	}
	slab.Put(p.slab)
	p.slab = nil
	s, g := p.store, p.generation
	s.mu.Lock()
	defer s.mu.Unlock()
	g.readers = slices.DeleteFunc(g.readers, func(o *Page) bool { return o == p })
	if len(g.readers) > 0 {
		return
	}
	s.read = slices.DeleteFunc(s.read, func(o *generation) bool { return o == g })
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// Len returns the number of families on the page, some of which may have no series.
func (p *Page) Len() int { return len(p.generation.layout.families) }

// Name returns the name of a family. They are sorted by name.
func (p *Page) Name(i int) string { return p.generation.layout.families[i].def.Name }

// Parts returns a family in parts of at most this number of series, none if it has no series. A part
// and all that it points to is lent until the next one, and may be changed except for labels. Series
// are sorted by peer, and within a peer in the order in which they were made.
func (p *Page) Parts(i, size int) iter.Seq[*dto.MetricFamily] {
	f, g, s := &p.generation.layout.families[i], p.generation, p.slab
	return func(yield func(*dto.MetricFamily) bool) {
		s.Reset()
		for c, row := range f.all() {
			if value := c.table.values + c.at*c.table.rows + row; g.isSet(value) {
				p.add(c, row, &g.values[value])
				if s.Len() == size {
					if !yield(s.Family(&f.out)) {
						return
					}
					s.Reset()
				}
			}
		}
		if s.Len() > 0 {
			yield(s.Family(&f.out))
		}
	}
}

// add adds the metric of one series to the slab.
func (p *Page) add(c *laidColumn, row int, value *float64) {
	g := p.generation
	switch c.family.def.Kind {
	case collectors.Gauge:
		p.slab.Gauge(value)
	case collectors.Counter:
		p.slab.Counter(value)
	case collectors.Histogram:
		h := &g.hists[c.table.hists+c.hist*c.table.rows+row]
		p.slab.Histogram(h.buckets, g.bytes[h.from:h.to])
	}
	p.label(c, row)
}

// label adds the labels of a series, the peer's and its own, sorted by name.
func (p *Page) label(c *laidColumn, row int) {
	g, own := p.generation, c.table.owners[row].own
	for i := range c.labels {
		l := &c.labels[i]
		for len(own) > 0 && *own[0].Name < *l.name {
			p.slab.Label(own[0])
			own = own[1:]
		}
		if l.pair != nil {
			p.slab.Label(l.pair)
		} else {
			p.slab.Label(p.slab.Pair(l.name, &g.texts[g.words[c.table.words+(c.word+l.word)*c.table.rows+row]]))
		}
	}
	for _, l := range own {
		p.slab.Label(l)
	}
}

// all returns all possible series of a family in the order of the page.
func (f *laidFamily) all() iter.Seq2[*laidColumn, int] {
	return func(yield func(*laidColumn, int) bool) {
		for _, l := range f.lines {
			if !yield(&f.columns[l.column], int(l.row)) {
				return
			}
		}
		if f.lines != nil {
			return
		}
		for row := range f.columns[0].table.rows {
			for i := range f.columns {
				if !yield(&f.columns[i], row) {
					return
				}
			}
		}
	}
}
