package fragments

import (
	"time"

	"ipsec_path_exporter/collectors"
)

// staleAfter is after how many intervals without a result a series is no longer exposed.
const staleAfter = 3

var familyPass = &collectors.Family{
	Name:   "ipsec_path_ike_fragments_pass",
	Help:   "1 if an IKE message that was sent as IP fragments is answered, 0 if only unfragmented ones are; absent if that is not known.",
	Kind:   collectors.Gauge,
	Labels: []string{"method"},
}

// Families are all families of this collector.
func Families() []*collectors.Family { return []*collectors.Family{familyPass} }

// exposer copies what one collector knows into its series.
type exposer struct {
	c        *Collector
	interval time.Duration
	now      func() time.Time
	methods  map[collectors.Method]*collectors.Series
}

// NewExposer makes the series of the peer that c measures every interval. now is the clock by which results become stale.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration, now func() time.Time) collectors.Exposer {
	e := &exposer{c: c, interval: interval, now: now, methods: make(map[collectors.Method]*collectors.Series)}
	for _, m := range methods {
		e.methods[m] = s.Series(familyPass, m.String())
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose() {
	s := e.c.Snapshot()
	oldest := e.now().Add(-staleAfter * e.interval)
	for m, series := range e.methods {
		r := s.Of(m)
		if r.State == Unknown || !r.At.After(oldest) {
			series.Clear()
			continue
		}
		series.SetBool(r.State == Pass)
	}
}
