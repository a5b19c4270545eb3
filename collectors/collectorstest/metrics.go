package collectorstest

import (
	"iter"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/histogram"
)

// A Page lends families in parts, as those that a scrape reads.
type Page interface {
	Len() int
	Parts(i, size int) iter.Seq[*dto.MetricFamily]
}

// Families copies the families of a page that have series. Most are read in several parts.
func Families(p Page) (all []*dto.MetricFamily) {
	for i := range p.Len() {
		var f *dto.MetricFamily
		for part := range p.Parts(i, 2) {
			if copied := proto.CloneOf(part); f == nil {
				f = copied
				all = append(all, f)
			} else {
				f.Metric = append(f.Metric, copied.GetMetric()...)
			}
		}
	}
	return all
}

var (
	_ collectors.Scope = (*Scope)(nil)
	_ collectors.Row   = (*Scope)(nil)
)

// A Scope keeps the series of one peer, and the values that an Exposer sets.
type Scope struct {
	// Labels are the labels of every series.
	Labels []*dto.LabelPair
	// Families holds the family of each series, in the order in which they were made.
	Families []*collectors.Family
	made     []*dto.Metric
	set      []bool
}

// OfPeer returns a scope that labels its series with the peer.
func OfPeer() *Scope { return &Scope{Labels: []*dto.LabelPair{pair("peer", Peer)}} }

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// Series implements collectors.Scope.
func (s *Scope) Series(f *collectors.Family, values ...string) collectors.Series {
	m := &dto.Metric{Label: slices.Clone(s.Labels)}
	names := slices.Concat(f.Labels, f.Optional)
	for i, v := range values {
		m.Label = append(m.Label, pair(names[i], v))
	}
	for _, name := range f.Varying {
		m.Label = append(m.Label, pair(name, ""))
	}
	switch f.Kind {
	case collectors.Gauge:
		m.Gauge = &dto.Gauge{Value: new(float64)}
	case collectors.Counter:
		m.Counter = &dto.Counter{Value: new(float64)}
	case collectors.Histogram: // comes ready from its collector
	}
	s.Families, s.made, s.set = append(s.Families, f), append(s.made, m), append(s.set, false)
	return collectors.Series(len(s.made))
}

// Set implements collectors.Row.
func (s *Scope) Set(series collectors.Series, v float64) {
	m := s.made[series-1]
	if m.Gauge != nil {
		m.Gauge.Value = &v
	} else {
		m.Counter.Value = &v
	}
	s.set[series-1] = true
}

// SetIf implements collectors.Row.
func (s *Scope) SetIf(series collectors.Series, known bool, v float64) {
	if known {
		s.Set(series, v)
	}
}

// SetLabel implements collectors.Row.
func (s *Scope) SetLabel(series collectors.Series, name, value string) {
	if !slices.Contains(s.Families[series-1].Varying, name) {
		panic("label " + name + " does not vary")
	}
	for _, l := range s.made[series-1].Label {
		if l.GetName() == name {
			l.Value = &value
		}
	}
}

// SetHistogram implements collectors.Row.
func (s *Scope) SetHistogram(series collectors.Series, h *histogram.Histogram) {
	s.made[series-1].Histogram = new(histogram.Slab).Expand(h.Buckets(), h.Append(nil))
	s.set[series-1] = true
}

// Expose has an Exposer set its series, and those of no other are set.
func (s *Scope) Expose(e collectors.Exposer, now time.Time) {
	clear(s.set)
	e.Expose(s, now)
}

// Gather returns the families that a scrape would return, one for each series that is set.
func (s *Scope) Gather() []*dto.MetricFamily {
	var all []*dto.MetricFamily
	for i, f := range s.Families {
		if s.set[i] {
			all = append(all, &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: f.Kind.Type(), Metric: []*dto.Metric{proto.CloneOf(s.made[i])}})
		}
	}
	return all
}

// Values returns the gauges and counters that are set, by the name of the family without its prefix
// and the values of its own labels.
func (s *Scope) Values() map[string]float64 {
	values := make(map[string]float64)
	for _, f := range s.Gather() {
		m := f.GetMetric()[0]
		name := []string{strings.TrimPrefix(f.GetName(), "ipsec_path_")}
		for _, l := range m.GetLabel()[len(s.Labels):] {
			name = append(name, l.GetValue())
		}
		values[strings.Join(name, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return values
}
