package partner

import (
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	familyUp = collectors.GaugeFamily("ipsec_path_partner_up",
		"1 if the partner of the peer answered in the newest round and is measured with, 0 if not. That it does not says nothing about the path.")
	familyState = collectors.GaugeFamily("ipsec_path_partner_state",
		"1 for the state of the partner of the peer: up, restarted, silent, wrong_key, clock_skewed, other_version, superseded, busy or no_key.").WithVarying("reason")
	familyRequests = collectors.CounterFamily("ipsec_path_partner_requests_total",
		"STAMP requests sent to the partner since it is known.")
	familyReplies = collectors.CounterFamily("ipsec_path_partner_replies_total",
		"STAMP replies of the partner.")
	familyLost = collectors.CounterFamily("ipsec_path_partner_packets_lost_total",
		"Packets lost on the path to the partner (direction forward) or back (reverse), by the counters of both ends.", "direction")
	familyReordered = collectors.CounterFamily("ipsec_path_partner_reordered_total",
		"Packets that arrived behind a later one, by direction (forward or reverse).", "direction")
	familyDuplicates = collectors.CounterFamily("ipsec_path_partner_duplicates_total",
		"Packets that arrived more than once, by direction (forward or reverse).", "direction")
	familyVariation = collectors.GaugeFamily("ipsec_path_partner_delay_variation_seconds",
		"Mean difference between the delays of successive packets in the newest round, in seconds, by direction (forward or reverse).", "direction")
	familyDelay = collectors.GaugeFamily("ipsec_path_partner_delay_seconds",
		"Mean one-way delay in the newest round, in seconds, by direction (forward or reverse); only while the clocks of both ends are synchronized.", "direction")
	familyRoundTrip = collectors.GaugeFamily("ipsec_path_partner_round_trip_seconds",
		"Mean round-trip time to the partner in the newest round, in seconds, without the time at the partner.")
	familyDSCP = collectors.GaugeFamily("ipsec_path_partner_dscp",
		"1 for the DSCP that was sent in a direction (forward or reverse) and the DSCP that arrived.", "direction").WithVarying("sent", "received")
	familyMTU = collectors.GaugeFamily("ipsec_path_partner_mtu_bytes",
		"Path MTU of one direction alone (forward or reverse) in bytes, as the partner proves it.", "direction")
	familyFragments = collectors.GaugeFamily("ipsec_path_partner_fragments_pass",
		"1 if IP fragments pass a direction (forward or reverse), 0 if only whole packets do.", "direction")
)

// Families returns all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{
		familyUp, familyState, familyRequests, familyReplies, familyLost, familyReordered, familyDuplicates,
		familyVariation, familyDelay, familyRoundTrip, familyDSCP, familyMTU, familyFragments,
	}
}

// The values of the label direction.
const (
	forward = "forward"
	reverse = "reverse"
)

// Directions returns the values of the label direction: to the partner, and back.
func Directions() []string { return []string{forward, reverse} }

type exposer struct {
	c                 *Collector
	interval          time.Duration
	up, state         collectors.Series
	requests, replies collectors.Series
	roundTrip         collectors.Series
	there, back       directionSeries
}

type directionSeries struct{ lost, reordered, duplicates, variation, delay, dscp, mtu, fragments collectors.Series }

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	direction := func(name string) directionSeries {
		return directionSeries{
			s.Series(familyLost, name), s.Series(familyReordered, name), s.Series(familyDuplicates, name),
			s.Series(familyVariation, name), s.Series(familyDelay, name), s.Series(familyDSCP, name), s.Series(familyMTU, name),
			s.Series(familyFragments, name),
		}
	}
	return &exposer{
		c: c, interval: interval, up: s.Series(familyUp), state: s.Series(familyState),
		requests: s.Series(familyRequests), replies: s.Series(familyReplies), roundTrip: s.Series(familyRoundTrip),
		there: direction(forward), back: direction(reverse),
	}
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	r := e.c.Result()
	to.Set(e.requests, float64(r.Counts.Sent))
	to.Set(e.replies, float64(r.Counts.Received))
	to.SetIf(e.there.lost, r.OneWay, float64(r.Counts.LostThere))
	to.SetIf(e.back.lost, r.OneWay, float64(r.Counts.LostBack))
	to.SetIf(e.there.reordered, r.OneWay, float64(r.Counts.ReorderedThere))
	to.SetIf(e.back.reordered, r.OneWay, float64(r.Counts.ReorderedBack))
	to.SetIf(e.there.duplicates, r.OneWay, float64(r.Counts.DuplicatesThere))
	to.SetIf(e.back.duplicates, r.OneWay, float64(r.Counts.DuplicatesBack))
	if !collectors.Fresh(r.At, now, e.interval) {
		return
	}
	to.Set(e.up, collectors.Bool(r.Up()))
	to.Set(e.state, 1)
	to.SetLabel(e.state, "reason", r.State.String())
	to.SetIf(e.roundTrip, r.Up(), r.RoundTrip.Seconds())
	e.there.expose(to, &r.There)
	e.back.expose(to, &r.Back)
	setMTU(to, e.there.mtu, &r.There.MTU, now, e.interval)
	setMTU(to, e.back.mtu, &r.Back.MTU, now, e.interval)
}

func (s *directionSeries) expose(to collectors.Row, d *Direction) {
	to.SetIf(s.variation, d.Varies, d.Variation.Seconds())
	to.SetIf(s.delay, d.DelayKnown, d.Delay.Seconds())
	to.SetIf(s.fragments, d.Fragments != FragmentsUnknown, collectors.Bool(d.Fragments == FragmentsPass))
	if d.Marked {
		to.Set(s.dscp, 1)
		to.SetLabel(s.dscp, "sent", dscps[d.Sent])
		to.SetLabel(s.dscp, "received", dscps[d.DSCP])
	}
}

// dscps are the label values, made once: a scrape allocates nothing.
var dscps = func() (all [64]string) {
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}()

func setMTU(to collectors.Row, s collectors.Series, m *MTU, now time.Time, interval time.Duration) {
	to.SetIf(s, m.Known() && collectors.Fresh(m.At, now, max(interval, mtuEvery)), float64(m.Bytes))
}
