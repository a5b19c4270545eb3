package collectors

import (
	"time"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/internal/histogram"
)

// Kind is the type of a metric family.
type Kind uint8

// The kinds.
const (
	Gauge Kind = iota
	Counter
	Histogram
)

// Type returns the type as it is exposed.
func (k Kind) Type() *dto.MetricType {
	switch k {
	case Counter:
		return dto.MetricType_COUNTER.Enum()
	case Histogram:
		return dto.MetricType_HISTOGRAM.Enum()
	case Gauge:
	}
	return dto.MetricType_GAUGE.Enum()
}

// A Family describes one metric family about peers. Its series carry the label `peer`, the labels
// configured for that peer, and then those listed here. Families are compared by pointer: declare
// each once, as a package-level variable of metrics.go.
type Family struct {
	// Name is the full name with its prefix.
	Name string
	// Help is one sentence with the unit and the range.
	Help string
	Kind Kind
	// Labels are the labels whose values are given when a series is made, Optional further ones that
	// a series may lack. The values of Varying are set at each scrape.
	Labels, Optional, Varying []string
}

// GaugeFamily returns a family of gauges.
func GaugeFamily(name, help string, labels ...string) *Family {
	return &Family{Name: name, Help: help, Kind: Gauge, Labels: labels}
}

// CounterFamily returns a family of counters.
func CounterFamily(name, help string, labels ...string) *Family {
	return &Family{Name: name, Help: help, Kind: Counter, Labels: labels}
}

// HistogramFamily returns a family of histograms.
func HistogramFamily(name, help string, labels ...string) *Family {
	return &Family{Name: name, Help: help, Kind: Histogram, Labels: labels}
}

// WithOptional adds labels that a series may lack.
func (f *Family) WithOptional(labels ...string) *Family {
	f.Optional = labels
	return f
}

// WithVarying adds labels whose values change, as those of an info series.
func (f *Family) WithVarying(labels ...string) *Family {
	f.Varying = labels
	return f
}

// AllLabels returns the labels of the family's series other than those of the peer.
func (f *Family) AllLabels() []string {
	all := make([]string, 0, len(f.Labels)+len(f.Varying)+len(f.Optional))
	return append(append(append(all, f.Labels...), f.Varying...), f.Optional...)
}

// A Series is the handle of one possible time series of one peer: its number among the series of
// its Exposer, from 1. The zero Series is none. Values are not kept in it, so that a peer costs two
// bytes for each.
type Series uint16

// A Scope makes the series of one peer. Series are made when the peer appears and live as long as
// it.
type Scope interface {
	// Series makes one possible series of f. The values belong to f.Labels, further values to
	// f.Optional in order. The series belongs to the Exposer that is attached next.
	Series(f *Family, values ...string) Series
}

// A Row takes the values of one Exposer's series for one scrape. Series that are not set are not
// exposed: an unknown value has no series.
type Row interface {
	// Set exposes a gauge or counter.
	Set(s Series, v float64)
	// SetIf exposes a gauge or counter only if its value is known.
	SetIf(s Series, known bool, v float64)
	// SetLabel sets the value of one of the labels in Family.Varying.
	SetLabel(s Series, name, value string)
	// SetHistogram exposes a copy of h, made at once.
	SetHistogram(s Series, h *histogram.Histogram)
}

// An Exposer copies the newest results of one collector for one peer into its series. A scrape
// calls Expose, so Expose does no I/O, waits only for the peer's own lock, and does not allocate.
// Results that are too old at the time now are left out; it is the same for all of a page.
type Exposer interface {
	Expose(to Row, now time.Time)
}

// Bool returns the value of a metric that is 1 or 0.
func Bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
