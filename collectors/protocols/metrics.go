package protocols

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	familyState = collectors.GaugeFamily("ipsec_path_protocol_state",
		"1 for what is known of a protocol on the path to the peer: passes, blocked or unknown. esp is IP protocol 50, ah 51, esp_udp ESP in UDP 4500.", "protocol").
		WithVarying("state")
	familyLastHop = collectors.GaugeFamily("ipsec_path_protocol_last_hop",
		"Highest TTL with which a protocol was answered on the path to the peer, 0 if it never was.", "protocol")
)

// Families returns all families of this collector.
func Families() []*collectors.Family { return []*collectors.Family{familyState, familyLastHop} }

// Stated returns the protocols whose state is exposed. Other collectors measure the others better.
func Stated() []Protocol { return []Protocol{ESP, AH, ESPInUDP} }

type exposer struct {
	c         *Collector
	interval  time.Duration
	protocols [6]protocolSeries // in the order of All
}

// The state of a protocol that is not stated is the zero Series.
type protocolSeries struct{ state, lastHop collectors.Series }

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	e := &exposer{c: c, interval: interval}
	for i, p := range All() {
		e.protocols[i].lastHop = s.Series(familyLastHop, string(p))
		if slices.Contains(Stated(), p) {
			e.protocols[i].state = s.Series(familyState, string(p))
		}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	s := e.c.Snapshot()
	if s.Reason != "" || !collectors.Fresh(s.At, now, e.interval) {
		return
	}
	for i, p := range All() {
		r, measured := s.of(p)
		if !measured {
			continue
		}
		to.Set(e.protocols[i].lastHop, float64(r.LastHop))
		if state := e.protocols[i].state; state != 0 {
			to.Set(state, 1)
			to.SetLabel(state, "state", r.State.String())
		}
	}
}
