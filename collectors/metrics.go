package collectors

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// Kind is the type of a metric family.
type Kind uint8

// The kinds of families about peers.
const (
	Gauge Kind = iota
	Counter
	Histogram
)

// A Family describes one metric family about peers. Its series carry the label `peer`, the labels configured for that
// peer, and then Labels. Families are compared by pointer: declare each once, as a package-level variable of metrics.go.
type Family struct {
	// Name is the full name, prefix included.
	Name string
	// Help is one sentence: what it is, its unit, its range.
	Help string
	Kind Kind
	// Labels are the names of the labels beyond those of the peer.
	Labels []string
	// Optional are the names of labels behind those that a series may have or not.
	Optional []string
}

// A Scope makes the series of one peer. Series are made once, when the peer appears, and live as long as it does.
type Scope interface {
	// Series makes one possible series of f; values belong to f.Labels, and to the first of f.Optional if there are more.
	// It is not exposed until it is set.
	Series(f *Family, values ...string) *Series
}

// An Exposer copies the newest results of one collector for one peer into its series. Expose is called while a scrape
// gathers: it does no I/O and waits for nothing but the peer's own lock.
type Exposer interface {
	Expose()
}

// A Series is one possible time series of one peer. It is exposed only while it is set: unknown is no series.
// It may be touched only inside Expose.
type Series struct {
	metric *dto.Metric
	value  *float64 // that of a gauge or counter
	set    bool
}

// NewSeries makes a series of kind k with these labels, sorted by name. For Scopes.
func NewSeries(k Kind, labels []*dto.LabelPair) *Series {
	m := &dto.Metric{Label: labels}
	switch k {
	case Gauge:
		m.Gauge = &dto.Gauge{Value: new(float64)}
	case Counter:
		m.Counter = &dto.Counter{Value: new(float64)}
	case Histogram:
		m.Histogram = &dto.Histogram{}
	}
	return &Series{metric: m, value: valueOf(m)}
}

// valueOf is where a gauge or counter keeps its value. A scrape sets all series: it saves two hops for each.
func valueOf(m *dto.Metric) *float64 {
	switch {
	case m.Gauge != nil:
		return m.Gauge.Value
	case m.Counter != nil:
		return m.Counter.Value
	}
	return nil
}

// Move makes to the metric of the series and leaves the one it had, unchanged, to those who may still read it. to is of
// the same kind and carries the same labels; it gets the value. For the store.
func (s *Series) Move(to *dto.Metric) {
	if value := valueOf(to); value != nil {
		*value, s.value = *s.value, value
	} else {
		to.Histogram = s.metric.Histogram
	}
	s.metric = to
}

// Set gives a gauge or counter its value and exposes it.
func (s *Series) Set(v float64) {
	if s.value != nil {
		*s.value = v
	}
	s.set = true
}

// SetBool sets 1 or 0.
func (s *Series) SetBool(b bool) {
	if b {
		s.Set(1)
	} else {
		s.Set(0)
	}
}

// SetHistogram exposes h, which is not changed afterwards by anybody.
func (s *Series) SetHistogram(h *dto.Histogram) {
	s.metric.Histogram = h
	s.set = true
}

// SetLabel changes the value of one of the labels, for series that carry what they say in labels.
func (s *Series) SetLabel(name, value string) {
	i := slices.IndexFunc(s.metric.Label, func(l *dto.LabelPair) bool { return l.GetName() == name })
	if i >= 0 && s.metric.Label[i].GetValue() != value {
		s.metric.Label[i] = &dto.LabelPair{Name: s.metric.Label[i].Name, Value: new(value)}
	}
}

// Clear stops exposing the series.
func (s *Series) Clear() { s.set = false }

// Metric returns the series as it is exposed, or nil while it is not set. For the store.
func (s *Series) Metric() *dto.Metric {
	if !s.set {
		return nil
	}
	return s.metric
}
