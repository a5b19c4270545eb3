package inside

import (
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	familyReachable = collectors.GaugeFamily("ipsec_path_inside_reachable",
		"1 if a target inside the tunnel answered echo or TCP in the last round, 0 if it answered neither.", "target")
	familyRoundTrip = collectors.GaugeFamily("ipsec_path_inside_round_trip_seconds",
		"Shortest round trip of echo through the tunnel in the last round.", "target")
	familyRequests = collectors.CounterFamily("ipsec_path_inside_requests_total",
		"Echo requests sent through the tunnel.", "target")
	familyReplies = collectors.CounterFamily("ipsec_path_inside_replies_total",
		"Echo requests sent through the tunnel that were answered.", "target")
	familyMTU = collectors.GaugeFamily("ipsec_path_inside_mtu_bytes",
		"Largest whole IP packet, before encryption, that is proven to pass the tunnel in both directions.", "target")
	familyMSS = collectors.GaugeFamily("ipsec_path_inside_mss_bytes",
		"TCP maximum segment size that the target allows this side to send, as its SYN-ACK arrives here.", "target")
)

// Families returns all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyReachable, familyRoundTrip, familyRequests, familyReplies, familyMTU, familyMSS}
}

type exposer struct {
	c        *Collector
	interval time.Duration
	targets  []targetSeries
}

// targetSeries are the series of one target.
type targetSeries struct{ reachable, roundTrip, requests, replies, mtu, mss collectors.Series }

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	e := &exposer{c: c, interval: interval}
	for _, t := range c.opts.Targets {
		name := t.Address.String()
		e.targets = append(e.targets, targetSeries{
			s.Series(familyReachable, name), s.Series(familyRoundTrip, name), s.Series(familyRequests, name), s.Series(familyReplies, name),
			s.Series(familyMTU, name), s.Series(familyMSS, name),
		})
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for i := range e.targets {
		s, n := &e.targets[i], e.c.counts[i]
		to.Set(s.requests, float64(n.sent))
		to.Set(s.replies, float64(n.answered))
		r := e.c.newest(i)
		if r == nil || !collectors.Fresh(r.At, now, e.interval) {
			continue
		}
		to.Set(s.reachable, collectors.Bool(r.Reached()))
		to.SetIf(s.roundTrip, r.RoundTrip > 0, r.RoundTrip.Seconds())
		to.SetIf(s.mtu, r.Size.State.Conclusive(), float64(r.Size.Bytes))
		to.SetIf(s.mss, r.MSS > 0, float64(r.MSS))
	}
}

// newest is the newest result about a target, nil if there is none. The lock is held.
func (c *Collector) newest(i int) *Result {
	for k := range c.snapshot.Results {
		if r := &c.snapshot.Results[k]; r.Target == c.opts.Targets[i] {
			return r
		}
	}
	return nil
}
