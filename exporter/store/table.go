package store

import (
	"encoding/binary"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// A table has the series of all Exposers that made the same: a column for each series, a row for
// each peer. Its values are in the arrays of a generation.
type table struct {
	key     string
	series  []series
	columns []column
	words   int // varying labels of all columns
	hists   int // columns that hold histograms
	// These are guarded by the store's lock: the number of groups that use the table, its place in the
	// newest layout, and the next row to fill.
	rows int
	laid *laidTable
	next int
}

// A column is what one series of a table is for all peers.
type column struct {
	family *family
	labels []label // sorted by name
	word   int     // its first varying label among those of the table
	hist   int     // its number among the columns that hold histograms
}

// A label has one value for all rows, or one for each.
type label struct {
	name  *string
	pair  *dto.LabelPair // nil if the value varies
	value string
	word  int // among the varying labels of the column
}

// table finds or makes the table for these series, and counts a row. The lock is held.
func (s *Store) table(made []series) *table {
	var key []byte
	for i := range made {
		key = binary.AppendUvarint(key, uint64(made[i].family.id))
		key = binary.AppendUvarint(key, uint64(len(made[i].values)))
		for _, v := range made[i].values {
			key = append(binary.AppendUvarint(key, uint64(len(v))), v...)
		}
	}
	t := s.tables[string(key)]
	if t == nil {
		t = s.newTable(string(key), made)
		s.tables[t.key] = t
	}
	t.rows++
	return t
}

func (s *Store) newTable(key string, made []series) *table {
	t := &table{key: key, series: slices.Clip(made), columns: make([]column, len(made))}
	for i := range made {
		f, c := made[i].family, &t.columns[i]
		*c = column{family: f, labels: s.labels(&made[i]), word: t.words, hist: t.hists}
		t.words += len(f.def.Varying)
		if f.def.Kind == collectors.Histogram {
			t.hists++
		}
		if !slices.Contains(f.tables, t) {
			f.tables = append(f.tables, t)
		}
	}
	return t
}

// labels returns the labels of a series other than the peer's.
func (s *Store) labels(made *series) []label {
	all := make([]label, made.labels())
	for i := range all {
		l := &all[i]
		l.name = s.word(made.label(i))
		if i < len(made.values) {
			l.value = valid(made.values[i])
			l.pair = &dto.LabelPair{Name: l.name, Value: &l.value}
		} else {
			l.word = i - len(made.values)
		}
	}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b label) int { return strings.Compare(*a.name, *b.name) })
	return sorted
}

// release gives a row of a table back; a table without rows is forgotten. The lock is held.
func (s *Store) release(t *table) {
	if t.rows--; t.rows > 0 {
		return
	}
	delete(s.tables, t.key)
	for i := range t.series {
		f := t.series[i].family
		f.tables = slices.DeleteFunc(f.tables, func(o *table) bool { return o == t })
	}
}
