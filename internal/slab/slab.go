// Package slab lends the messages that encoders understand, a part of a page at a time. Their memory
// is used again for the next part, so that a page of any size needs the messages of some hundred
// series. What they hold is adjacent, and small enough for the caches of a processor, which doubles
// the speed of encoding.
package slab

import (
	"slices"
	"sync"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/internal/histogram"
)

// A Slab has the messages of a part. All that it lends is valid until Reset. Its arrays move while
// they grow: what was lent before then stays in the old ones.
type Slab struct {
	family     dto.MetricFamily
	lent       []*dto.Metric
	gauges     []gauge
	counters   []counter
	metrics    []dto.Metric // with histograms
	histograms histogram.Slab
	labels     []*dto.LabelPair
	pairs      []dto.LabelPair
}

type gauge struct {
	metric dto.Metric
	value  dto.Gauge
}

type counter struct {
	metric dto.Metric
	value  dto.Counter
}

var pool = sync.Pool{New: func() any { return new(Slab) }}

// Get returns an empty Slab, which may have been used before.
func Get() *Slab {
	s, _ := pool.Get().(*Slab)
	s.Reset()
	return s
}

// kept is the number of metrics up to which a Slab is used again.
const kept = 4096

// Put gives a Slab back.
func Put(s *Slab) {
	if cap(s.lent) <= kept {
		pool.Put(s)
	}
}

// Reset takes back all that was lent.
func (s *Slab) Reset() {
	s.lent, s.gauges, s.counters, s.metrics = s.lent[:0], s.gauges[:0], s.counters[:0], s.metrics[:0]
	s.labels, s.pairs = s.labels[:0], s.pairs[:0]
	s.histograms.Reset()
}

// Len returns the number of metrics.
func (s *Slab) Len() int { return len(s.lent) }

// Family returns a family with the metrics that were added, and the head of another one.
func (s *Slab) Family(head *dto.MetricFamily) *dto.MetricFamily {
	s.family.Name, s.family.Help, s.family.Type, s.family.Metric = head.Name, head.Help, head.Type, s.lent
	return &s.family
}

// Gauge adds a gauge, whose value is not copied.
func (s *Slab) Gauge(value *float64) *dto.Metric {
	e := next(&s.gauges)
	e.value.Value, e.metric.Gauge = value, &e.value
	return s.add(&e.metric)
}

// Counter adds a counter, whose value is not copied.
func (s *Slab) Counter(value *float64) *dto.Metric {
	e := next(&s.counters)
	e.value.Value, e.metric.Counter = value, &e.value
	return s.add(&e.metric)
}

// Histogram adds a histogram from a snapshot of one with these buckets.
func (s *Slab) Histogram(b *histogram.Buckets, snapshot []byte) *dto.Metric {
	m := next(&s.metrics)
	m.Histogram = s.histograms.Expand(b, snapshot)
	return s.add(m)
}

func (s *Slab) add(m *dto.Metric) *dto.Metric {
	m.Label = nil
	s.lent = append(s.lent, m)
	return m
}

// Pair returns a label pair, whose content is not copied.
func (s *Slab) Pair(name, value *string) *dto.LabelPair {
	p := next(&s.pairs)
	p.Name, p.Value = name, value
	return p
}

// Label appends a label pair to those of the metric that was added last.
func (s *Slab) Label(p *dto.LabelPair) {
	s.labels = append(s.labels, p)
	m := s.lent[len(s.lent)-1]
	end, n := len(s.labels), len(m.Label)+1
	m.Label = s.labels[end-n : end : end]
}

// next lengthens a slice by an element, which may hold what it held before a Reset.
func next[E any](of *[]E) *E {
	n := len(*of)
	*of = slices.Grow(*of, 1)[:n+1]
	return &(*of)[n]
}
