package store

import (
	"maps"
	"slices"
	"strings"
)

// A layout says where the values of every series are in the arrays of a generation. It is made when
// peers or series came or went, and does not change.
type layout struct {
	peers    []*Peer // sorted by name
	families []laidFamily
	// These are the sizes of the arrays.
	values, words, hists int
}

// A laidTable is a table with its place.
type laidTable struct {
	*table
	rows   int
	owners []*Peer // by row, in the order of the layout's peers
	// These are the places of row 0 of the first column. A column is as long as there are rows.
	values, words, hists int
}

// A laidFamily has the columns of one family.
type laidFamily struct {
	*family
	columns []laidColumn
	// lines are the series in the order of the page: by peer, then as they were made. It is nil where
	// all columns are of one table, whose order is the same.
	lines []line
}

// A line is one series of a page.
type line struct{ column, row int32 }

// A laidColumn is a column with its place.
type laidColumn struct {
	*column
	table *laidTable
	at    int // its number in the table
}

// lay makes a layout. The lock is held.
func (s *Store) lay() *layout {
	l := &layout{peers: slices.SortedFunc(maps.Values(s.peers), func(p, q *Peer) int { return strings.Compare(p.name, q.name) })}
	laid := make(map[*family]*laidFamily, len(s.families))
	for _, t := range s.tables {
		l.place(t)
		for i := range t.columns {
			c := &t.columns[i]
			if laid[c.family] == nil {
				laid[c.family] = &laidFamily{family: c.family}
			}
			laid[c.family].columns = append(laid[c.family].columns, laidColumn{c, t.laid, i})
		}
	}
	l.enter(laid)
	for _, f := range laid {
		l.families = append(l.families, *f)
	}
	slices.SortFunc(l.families, func(a, b laidFamily) int { return strings.Compare(a.def.Name, b.def.Name) })
	return l
}

// place gives a table its place.
func (l *layout) place(t *table) {
	t.laid = &laidTable{
		table: t, rows: t.rows, owners: make([]*Peer, 0, t.rows), values: l.values, words: l.words, hists: l.hists,
	}
	l.values += t.rows * len(t.columns)
	l.words += t.rows * t.words
	l.hists += t.rows * t.hists
}

// enter gives the peers their rows in each table, in the order of their names, and lists the lines of
// families whose columns are of several tables.
func (l *layout) enter(laid map[*family]*laidFamily) {
	shared := make(map[*table][]sharedColumn)
	for _, f := range laid {
		for i, c := range f.columns {
			if len(f.tables) > 1 {
				shared[c.table.table] = append(shared[c.table.table], sharedColumn{f, int32(i)})
			}
		}
	}
	for _, p := range l.peers {
		for i := range p.groups {
			t := p.groups[i].table
			for _, c := range shared[t] {
				c.family.lines = append(c.family.lines, line{c.column, int32(len(t.laid.owners))})
			}
			t.laid.owners = append(t.laid.owners, p)
		}
	}
	for _, f := range laid {
		for _, c := range f.columns {
			if c.table.rows == len(l.peers) {
				c.table.owners = l.peers // the same content, once
			}
		}
	}
}

// A sharedColumn is a column of a family that has columns in several tables.
type sharedColumn struct {
	family *laidFamily
	column int32
}
