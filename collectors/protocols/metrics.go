package protocols

import (
	"time"

	"ipsec_path_exporter/collectors"
)

// staleAfter is after how many intervals without a result a series is no longer exposed.
const staleAfter = 3

var (
	familyState = &collectors.Family{
		Name:   "ipsec_path_protocol_state",
		Help:   "1 for what is known of a protocol on the way to the peer: passes, blocked or unknown. esp is IP protocol 50, ah 51, esp_udp ESP in UDP 4500.",
		Kind:   collectors.Gauge,
		Labels: []string{"protocol", "state"},
	}
	familyLastHop = &collectors.Family{
		Name:   "ipsec_path_protocol_last_hop",
		Help:   "Highest TTL with which a protocol was answered on the way to the peer, 0 if it never was.",
		Kind:   collectors.Gauge,
		Labels: []string{"protocol"},
	}
)

// Families are all families of this collector.
func Families() []*collectors.Family { return []*collectors.Family{familyState, familyLastHop} }

// Stated are the protocols that have a state: of the others, diagnoses and other collectors tell more.
func Stated() []Protocol { return []Protocol{ESP, AH, ESPInUDP} }

// exposer copies what one collector knows into its series.
type exposer struct {
	c        *Collector
	interval time.Duration
	now      func() time.Time
	states   map[Protocol]*collectors.Series
	lastHops map[Protocol]*collectors.Series
}

// NewExposer makes the series of the peer that c measures every interval. now is the clock by which results become stale.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration, now func() time.Time) collectors.Exposer {
	e := &exposer{
		c: c, interval: interval, now: now,
		states: make(map[Protocol]*collectors.Series), lastHops: make(map[Protocol]*collectors.Series),
	}
	for _, p := range Stated() {
		e.states[p] = s.Series(familyState, string(p), "")
	}
	for _, p := range All() {
		e.lastHops[p] = s.Series(familyLastHop, string(p))
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose() {
	s := e.c.Snapshot()
	fresh := s.At.After(e.now().Add(-staleAfter*e.interval)) && s.Reason == ""
	for _, p := range All() {
		r := s.Of(p)
		measured := fresh && s.measured(p)
		if series := e.states[p]; series != nil {
			series.Clear()
			if measured {
				series.SetLabel("state", r.State.String())
				series.Set(1)
			}
		}
		if !measured {
			e.lastHops[p].Clear()
			continue
		}
		e.lastHops[p].Set(float64(r.LastHop))
	}
}
