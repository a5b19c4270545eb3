package ike

import (
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	familyResponding = collectors.GaugeFamily("ipsec_path_ike_responding",
		"1 if the peer answers IKE by this method, 0 if it is silent or refuses; absent if unknown.", "method")
	familyRequests = collectors.CounterFamily("ipsec_path_ike_requests_total",
		"IKE probes sent.", "method")
	familyResponses = collectors.CounterFamily("ipsec_path_ike_responses_total",
		"IKE replies to probes, late replies included.", "method")
	familyRoundTrip = collectors.GaugeFamily("ipsec_path_ike_round_trip_seconds",
		"Last round trip time of an IKE probe in seconds; absent while the peer does not answer.", "method")
	familyResponse = collectors.GaugeFamily("ipsec_path_ike_response_info",
		"1 while the peer answers IKE; the labels give the form of probe, the IKE version and the name of the reply.", "method").
		WithVarying("port", "version", "probe", "reply")
)

// Families returns all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyResponding, familyRequests, familyResponses, familyRoundTrip, familyResponse}
}

// exposer copies the newest results of one collector into its series.
type exposer struct {
	c       *Collector
	methods [2]methodSeries
}

type methodSeries struct {
	responding, requests, responses, roundTrip, info collectors.Series
}

// NewExposer makes the series of the peer that c measures.
func NewExposer(s collectors.Scope, c *Collector) collectors.Exposer {
	e := &exposer{c: c}
	for i := range c.walks {
		m := c.walks[i].method.String()
		e.methods[i] = methodSeries{
			responding: s.Series(familyResponding, m), requests: s.Series(familyRequests, m),
			responses: s.Series(familyResponses, m), roundTrip: s.Series(familyRoundTrip, m),
			info: s.Series(familyResponse, m),
		}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for i := range e.methods {
		w, m := &e.c.walks[i], &e.methods[i]
		to.Set(m.requests, float64(w.requests))
		to.Set(m.responses, float64(w.responses))
		r := e.c.snapshot(i, now)
		m.expose(to, &r)
	}
}

func (m *methodSeries) expose(to collectors.Row, r *Result) {
	responding := r.State == Responding
	to.SetIf(m.responding, r.State != Unknown, collectors.Bool(responding))
	to.SetIf(m.roundTrip, responding && r.RoundTrip > 0, r.RoundTrip.Seconds())
	if responding {
		to.Set(m.info, 1)
		to.SetLabel(m.info, "port", portName(r.Port))
		to.SetLabel(m.info, "version", r.Version.String())
		to.SetLabel(m.info, "probe", r.Form.String())
		to.SetLabel(m.info, "reply", r.Reply)
	}
}

// portName is strconv.Itoa without an allocation for the usual ports.
func portName(port uint16) string {
	switch port {
	case 500:
		return "500"
	case 4500:
		return "4500"
	}
	return strconv.Itoa(int(port))
}
