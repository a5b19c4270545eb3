package collectorstest

import (
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// A Scope keeps the series that are made in it, in their order.
type Scope struct {
	// Labels are those that the scope gives to all of its series.
	Labels []*dto.LabelPair
	// Families are those of the Made series, one each.
	Families []*collectors.Family
	Made     []*collectors.Series
}

// OfPeer is a scope that labels its series with the peer.
func OfPeer() *Scope {
	return &Scope{Labels: []*dto.LabelPair{{Name: new("peer"), Value: new(Peer)}}}
}

// Series implements collectors.Scope.
func (s *Scope) Series(f *collectors.Family, values ...string) *collectors.Series {
	labels := append([]*dto.LabelPair(nil), s.Labels...)
	for i, v := range values {
		labels = append(labels, &dto.LabelPair{Name: &f.Labels[i], Value: new(v)})
	}
	made := collectors.NewSeries(f.Kind, labels)
	s.Families, s.Made = append(s.Families, f), append(s.Made, made)
	return made
}

// Gather returns what a scrape would.
func (s *Scope) Gather() []*dto.MetricFamily {
	var all []*dto.MetricFamily
	for i, f := range s.Families {
		if m := s.Made[i].Metric(); m != nil {
			kind := map[collectors.Kind]dto.MetricType{
				collectors.Gauge:     dto.MetricType_GAUGE,
				collectors.Counter:   dto.MetricType_COUNTER,
				collectors.Histogram: dto.MetricType_HISTOGRAM,
			}[f.Kind]
			all = append(all, &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &kind, Metric: []*dto.Metric{m}})
		}
	}
	return all
}
