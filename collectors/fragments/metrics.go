package fragments

import (
	"time"

	"ipsec_path_exporter/collectors"
)

var familyPass = collectors.GaugeFamily("ipsec_path_ike_fragments_pass",
	"1 if an IKE message that was sent as IP fragments is answered, 0 if only unfragmented ones are; absent if that is not known.", "method")

// Families returns all families of this collector.
func Families() []*collectors.Family { return []*collectors.Family{familyPass} }

type exposer struct {
	c        *Collector
	interval time.Duration
	passes   [len(methods)]collectors.Series
}

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	e := &exposer{c: c, interval: interval}
	for i, m := range methods {
		e.passes[i] = s.Series(familyPass, m.String())
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for i, m := range methods {
		r := e.c.snapshot.Of(m)
		known := r.State != Unknown && collectors.Fresh(r.At, now, e.interval)
		to.SetIf(e.passes[i], known, collectors.Bool(r.State == Pass))
	}
}
