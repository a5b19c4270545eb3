package flows

import (
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	familyTested = collectors.GaugeFamily("ipsec_path_flows_tested",
		"Flows (source ports, echo identifiers) by which the peer was asked in the newest comparison of flows; absent where all flows fare alike, or if unknown.", "method")
	familyLost = collectors.GaugeFamily("ipsec_path_flows_lost",
		"Flows among ipsec_path_flows_tested that got no answer; absent where all flows fare alike, or if unknown.", "method")
)

// Families returns all families of this collector.
func Families() []*collectors.Family { return []*collectors.Family{familyTested, familyLost} }

type exposer struct {
	c        *Collector
	interval time.Duration
	methods  [collectors.NATT + 1]methodSeries
}

type methodSeries struct{ tested, lost collectors.Series }

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	e := &exposer{c: c, interval: interval}
	for _, m := range collectors.Methods() {
		e.methods[m] = methodSeries{s.Series(familyTested, m.String()), s.Series(familyLost, m.String())}
	}
	return e
}

// Expose implements collectors.Exposer. A healthy peer has no series: there are only so many for
// each.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	s := e.c.Snapshot()
	if !collectors.Fresh(s.At, now, e.interval) {
		return
	}
	for m, series := range e.methods {
		if r := s.Of(collectors.Method(m)); r.State == Stuck || r.State == Split {
			to.Set(series.tested, float64(r.Tested))
			to.Set(series.lost, float64(r.Lost))
		}
	}
}
