package store

import (
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/histogram"
)

// A generation holds the values of one fill. It is not changed while it has readers.
type generation struct {
	layout  *layout
	filled  time.Time
	readers []*Page // guarded by the store's lock

	values []float64
	set    []uint64 // a bit for each value
	words  []uint32 // of varying labels, as numbers of texts
	texts  []string
	hists  []snapshot
	bytes  []byte // of snapshots
}

// A snapshot is a histogram as it was.
type snapshot struct {
	buckets  *histogram.Buckets
	from, to uint32 // in the bytes of the generation
}

// prepare makes room for the values of a layout, none of which is set.
func (g *generation) prepare(l *layout, now time.Time) {
	g.layout, g.filled = l, now
	g.values, g.hists, g.bytes = sized(g.values, l.values), sized(g.hists, l.hists), g.bytes[:0]
	g.set, g.words = sized(g.set, (l.values+63)/64), sized(g.words, l.words)
	clear(g.set)
	clear(g.words)
}

// sized returns a slice of n elements. It keeps the array unless that is too small, or far too
// large after many peers went.
func sized[E any](s []E, n int) []E {
	switch {
	case cap(s) == 0 || cap(s) > 2*n+1024:
		return make([]E, n)
	case cap(s) < n:
		return make([]E, n, n+n/8) // to spare, so that not every new peer needs new arrays
	}
	return s[:n]
}

// isSet reports whether the value at an index is set.
func (g *generation) isSet(i int) bool { return g.set[i/64]&(1<<(i%64)) != 0 }

// fill has every Exposer expose its results into a generation. The lock is held.
func (s *Store) fill(g *generation, now time.Time) (panics []Panic) {
	if s.layout == nil {
		s.layout = s.lay()
	}
	g.prepare(s.layout, now)
	s.texts.limit(2 * len(s.peers))
	for _, t := range s.tables {
		t.next = 0
	}
	for _, p := range s.layout.peers {
		for i, group := range p.groups { // in the order of the layout
			s.row = row{generation: g, texts: &s.texts, table: group.table.laid, at: group.table.next}
			group.table.next++
			if failure := s.expose(group.exposer, now); failure != nil {
				s.row.clear()
				panics = s.failed(place{p, i}, failure, panics)
			}
		}
	}
	g.texts = s.texts.all
	return panics
}

// A row takes the values of one Exposer.
type row struct {
	generation *generation
	texts      *texts
	table      *laidTable
	at         int
}

var _ collectors.Row = (*row)(nil)

// index returns where the value of a series is.
func (r *row) index(s collectors.Series) int {
	return r.table.values + (int(s)-1)*r.table.rows + r.at
}

// Set implements collectors.Row.
func (r *row) Set(s collectors.Series, v float64) {
	_ = r.table.columns[s-1] // a series that is none, or another Exposer's, must not become a wrong value
	i := r.index(s)
	r.generation.values[i] = v
	r.generation.set[i/64] |= 1 << (i % 64)
}

// SetIf implements collectors.Row.
func (r *row) SetIf(s collectors.Series, known bool, v float64) {
	if known {
		r.Set(s, v)
	}
}

// SetLabel implements collectors.Row.
func (r *row) SetLabel(s collectors.Series, name, value string) {
	c := &r.table.columns[s-1]
	for i := range c.labels {
		if l := &c.labels[i]; l.pair == nil && *l.name == name {
			r.setWord(r.table.words+(c.word+l.word)*r.table.rows, value)
			return
		}
	}
	panic("store: " + c.family.def.Name + " has no varying label " + name)
}

// setWord sets the word of a column that begins at an index. Most rows have the word of the row
// before.
func (r *row) setWord(column int, value string) {
	words := r.generation.words[column:]
	if r.at > 0 && r.texts.all[words[r.at-1]] == value {
		words[r.at] = words[r.at-1]
	} else {
		words[r.at] = r.texts.number(value)
	}
}

// SetHistogram implements collectors.Row.
func (r *row) SetHistogram(s collectors.Series, h *histogram.Histogram) {
	c, g := &r.table.columns[s-1], r.generation
	if c.family.def.Kind != collectors.Histogram {
		panic("store: " + c.family.def.Name + " is no histogram")
	}
	from := len(g.bytes)
	g.bytes = h.Append(g.bytes)
	g.hists[r.table.hists+c.hist*r.table.rows+r.at] = snapshot{h.Buckets(), uint32(from), uint32(len(g.bytes))}
	r.Set(s, 0)
}

// clear leaves out all series of the row: an Exposer that failed may have set half of them.
func (r *row) clear() {
	for c := range r.table.columns {
		i := r.table.values + c*r.table.rows + r.at
		r.generation.set[i/64] &^= 1 << (i % 64)
	}
}
