package ike

import (
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
)

// The families of this collector.
var (
	familyResponding = &collectors.Family{
		Name:   "ipsec_path_ike_responding",
		Help:   "1 if the peer answers IKE by this method, 0 if it is silent or refuses; absent if unknown.",
		Kind:   collectors.Gauge,
		Labels: []string{"method"},
	}
	familyRequests = &collectors.Family{
		Name:   "ipsec_path_ike_requests_total",
		Help:   "IKE probes that left this host.",
		Kind:   collectors.Counter,
		Labels: []string{"method"},
	}
	familyResponses = &collectors.Family{
		Name:   "ipsec_path_ike_responses_total",
		Help:   "IKE replies to probes, late ones included.",
		Kind:   collectors.Counter,
		Labels: []string{"method"},
	}
	familyRoundTrip = &collectors.Family{
		Name:   "ipsec_path_ike_round_trip_seconds",
		Help:   "Last round trip time of an IKE probe in seconds; absent while the peer does not answer.",
		Kind:   collectors.Gauge,
		Labels: []string{"method"},
	}
	familyResponse = &collectors.Family{
		Name:   "ipsec_path_ike_response_info",
		Help:   "1 while the peer answers IKE; the labels say which form of probe, in which IKE version and with what.",
		Kind:   collectors.Gauge,
		Labels: []string{"method", "port", "version", "probe", "reply"},
	}
)

// Families are all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyResponding, familyRequests, familyResponses, familyRoundTrip, familyResponse}
}

// exposer copies the newest results of one collector into its series.
type exposer struct {
	c       *Collector
	now     func() time.Time
	methods [2]methodSeries
}

// methodSeries are the series of one method.
type methodSeries struct {
	responding, requests, responses, roundTrip, info *collectors.Series
	shown                                            Result // what the labels of info say
}

// NewExposer makes the series of the peer that c measures. now is the clock by which its results become stale.
func NewExposer(s collectors.Scope, c *Collector, now func() time.Time) collectors.Exposer {
	e := &exposer{c: c, now: now}
	for i := range c.walks {
		m := c.walks[i].method.String()
		e.methods[i] = methodSeries{
			responding: s.Series(familyResponding, m),
			requests:   s.Series(familyRequests, m),
			responses:  s.Series(familyResponses, m),
			roundTrip:  s.Series(familyRoundTrip, m),
			info:       s.Series(familyResponse, m, "", "", "", ""),
		}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose() {
	now := e.now()
	for i := range e.methods {
		w := &e.c.walks[i]
		e.c.mu.Lock()
		requests, responses, r := w.requests, w.responses, w.snapshot(now, e.c.maxAge())
		e.c.mu.Unlock()
		m := &e.methods[i]
		m.requests.Set(float64(requests))
		m.responses.Set(float64(responses))
		m.expose(&r)
	}
}

func (m *methodSeries) expose(r *Result) {
	if r.State == Unknown {
		m.responding.Clear()
	} else {
		m.responding.SetBool(r.State == Responding)
	}
	if r.State != Responding {
		m.info.Clear()
		m.roundTrip.Clear()
		return
	}
	if r.RoundTrip > 0 {
		m.roundTrip.Set(r.RoundTrip.Seconds())
	} else {
		m.roundTrip.Clear()
	}
	if s := &m.shown; s.Port != r.Port || s.Version != r.Version || s.Form != r.Form || s.Reply != r.Reply {
		m.info.SetLabel("port", strconv.Itoa(int(r.Port)))
		m.info.SetLabel("version", r.Version.String())
		m.info.SetLabel("probe", r.Form.String())
		m.info.SetLabel("reply", r.Reply)
		m.shown = *r
	}
	m.info.Set(1)
}
