package store

import (
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// A pair is the content of a label pair.
type pair struct{ name, value string }

// pairs are the label pairs of a layout: each once, so that few of them fill the caches, with all of their parts close
// together.
type pairs struct {
	known map[pair]*dto.LabelPair
	free  []slot
}

// A slot is a label pair with room for what it points to.
type slot struct {
	label dto.LabelPair
	pair
}

// slots is how many are made at once.
const slots = 512

// layOut gives the series of one family new metrics, all next to each other in memory: what follows in a page is then
// what the processor has fetched already. The old metrics are left unchanged.
func layOut(kind collectors.Kind, entries []*entry, pairs *pairs) {
	metrics := newMetrics(kind, len(entries))
	size := 0
	for _, e := range entries {
		size += len(e.labels)
	}
	labels := make([]*dto.LabelPair, 0, size)
	for i, e := range entries {
		from := len(labels)
		for _, l := range e.labels {
			labels = append(labels, pairs.same(l))
		}
		e.labels = labels[from:len(labels):len(labels)]
		metrics[i].Label = e.labels
		e.series.Move(&metrics[i])
	}
}

// newMetrics makes n metrics of one kind.
func newMetrics(kind collectors.Kind, n int) []dto.Metric {
	metrics, values := make([]dto.Metric, n), make([]float64, n)
	switch kind {
	case collectors.Gauge:
		gauges := make([]dto.Gauge, n)
		for i := range metrics {
			gauges[i].Value = &values[i]
			metrics[i].Gauge = &gauges[i]
		}
	case collectors.Counter:
		counters := make([]dto.Counter, n)
		for i := range metrics {
			counters[i].Value = &values[i]
			metrics[i].Counter = &counters[i]
		}
	case collectors.Histogram: // comes ready from its collector
	}
	return metrics
}

// same returns the one label pair that says the same as l.
func (p *pairs) same(l *dto.LabelPair) *dto.LabelPair {
	key := pair{l.GetName(), l.GetValue()}
	if found := p.known[key]; found != nil {
		return found
	}
	if len(p.free) == 0 {
		p.free = make([]slot, slots)
	}
	made := &p.free[0]
	p.free = p.free[1:]
	made.pair = key
	made.label.Name, made.label.Value = &made.name, &made.value
	p.known[key] = &made.label
	return &made.label
}
