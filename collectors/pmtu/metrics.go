package pmtu

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

var (
	familyBytes = collectors.GaugeFamily("ipsec_path_mtu_bytes",
		"Path MTU: the largest IP packet in bytes, header included, that was proven to cross the path in one piece.", "method")
	familyState = collectors.GaugeFamily("ipsec_path_mtu_state",
		"1 for what the last search found: clean, reduced, black_hole, unreachable or inconclusive.", "method").
		WithVarying("state")
	familyBlackHole = collectors.GaugeFamily("ipsec_path_mtu_black_hole",
		"1 while any method holds a confirmed path MTU black hole, 0 if none does; absent if unknown.")
	familyLink = collectors.GaugeFamily("ipsec_path_mtu_link_bytes",
		"MTU of the local egress link in bytes: the most that could be measured.")
	familyCached = collectors.GaugeFamily("ipsec_path_mtu_kernel_cached_bytes",
		"Path MTU in bytes in this host's kernel cache, where it differs from the link's MTU: not a measurement of the path.")
	familyDirection = collectors.GaugeFamily("ipsec_path_mtu_direction",
		"1 for the direction in which a path MTU black hole is proven: forward (to the peer), reverse, both, or unknown; absent without a black hole.").
		WithVarying("direction")
	familyForwardLower = collectors.GaugeFamily("ipsec_path_mtu_forward_lower_bytes",
		"Largest packet in bytes that routers on the path to the peer report to have received, where echoes find a black hole and IKE does not show its direction.")
	familyForwardUpper = collectors.GaugeFamily("ipsec_path_mtu_forward_upper_bytes",
		"Path MTU to the peer in bytes is at most this, as its routers show. Absent where no limit was found in this direction.")
	familyReverseLower = collectors.GaugeFamily("ipsec_path_mtu_reverse_lower_bytes",
		"Largest echo reply in bytes that is proven to come back in one piece, whole IP packet: the path MTU of the reverse path is at least this.")
	familyReverseUpper = collectors.GaugeFamily("ipsec_path_mtu_reverse_upper_bytes",
		"Path MTU of the reverse path in bytes is at most this: larger echo replies come in fragments or vanish. Absent where no limit was found.")
	familyHops = collectors.GaugeFamily("ipsec_path_hops",
		"TTL with which the peer was reached: the number of routers on the path, plus one.")
	familyChanges = collectors.CounterFamily("ipsec_path_mtu_changes_total",
		"Confirmed changes of the path MTU or of its state.")
	familyPTBs = collectors.CounterFamily("ipsec_path_ptb_received_total",
		"Valid ICMP \"packet too big\" messages received for path MTU probes.")
)

// Families returns the families of this collector that are about a peer.
func Families() []*collectors.Family {
	return []*collectors.Family{
		familyBytes, familyState, familyBlackHole, familyLink, familyCached, familyDirection, familyForwardLower, familyForwardUpper,
		familyReverseLower, familyReverseUpper, familyHops, familyChanges, familyPTBs,
	}
}

type exposer struct {
	c        *Collector
	interval time.Duration

	methods                                        [collectors.NATT + 1]methodSeries
	blackHole, link, cached, changes, ptbsReceived collectors.Series
	forwardLower, forwardUpper, direction          collectors.Series
	reverseLower, reverseUpper, hops               collectors.Series
}

// methodSeries are the series of one method, zero for a method that cannot measure. Only the
// current state is exposed, so one series with a varying label is enough.
type methodSeries struct{ bytes, state collectors.Series }

// NewExposer returns the series of the results of c, which become stale after three intervals.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration) collectors.Exposer {
	e := &exposer{
		c: c, interval: interval,
		blackHole: s.Series(familyBlackHole), link: s.Series(familyLink), cached: s.Series(familyCached),
		forwardLower: s.Series(familyForwardLower), forwardUpper: s.Series(familyForwardUpper), direction: s.Series(familyDirection),
		reverseLower: s.Series(familyReverseLower), reverseUpper: s.Series(familyReverseUpper), hops: s.Series(familyHops),
		changes: s.Series(familyChanges), ptbsReceived: s.Series(familyPTBs),
	}
	for _, m := range c.opts.Methods {
		e.methods[m] = methodSeries{s.Series(familyBytes, m.String()), s.Series(familyState, m.String())}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	var buffer [collectors.NATT + 1]Result
	s := e.c.known.snapshot(buffer[:0])
	fresh := collectors.Fresh(s.At, now, e.interval)
	to.Set(e.changes, float64(s.Changes))
	to.Set(e.ptbsReceived, float64(s.PTBs))
	to.SetIf(e.blackHole, fresh && s.Known, collectors.Bool(s.BlackHole))
	setBytes(to, e.link, fresh, s.LinkBytes)
	setBytes(to, e.cached, fresh && s.CachedBytes != s.LinkBytes, s.CachedBytes)
	if direction := s.Direction(); fresh && direction != NoDirection {
		to.Set(e.direction, 1)
		to.SetLabel(e.direction, "direction", direction.String())
	}
	out := collectors.Fresh(s.Forward.At, now, e.interval)
	setBytes(to, e.forwardLower, out, s.Forward.LowerBytes)
	setBytes(to, e.forwardUpper, out, s.Forward.UpperBytes)
	back := collectors.Fresh(s.Reverse.At, now, e.interval)
	setBytes(to, e.reverseLower, back, s.Reverse.LowerBytes)
	setBytes(to, e.reverseUpper, back, s.Reverse.UpperBytes)
	setBytes(to, e.hops, collectors.Fresh(s.HopsAt, now, e.c.opts.Hops), s.Distance)
	for i := range s.Results {
		r := &s.Results[i]
		series := e.methods[r.Method]
		if series.state == 0 || !collectors.Fresh(r.At, now, e.interval) {
			continue
		}
		setBytes(to, series.bytes, r.State.Conclusive(), r.Bytes)
		to.Set(series.state, 1)
		to.SetLabel(series.state, "state", r.State.String())
	}
}

// AppendResults appends the newest result of each method.
func (c *Collector) AppendResults(to []Result) []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.append(to)
}

func setBytes(to collectors.Row, s collectors.Series, known bool, bytes int) {
	to.SetIf(s, known && bytes > 0, float64(bytes))
}

// Costs are the metrics of all searches of the process. Add is for Options.Done.
type Costs struct {
	packets, seconds prometheus.Histogram
	rejected         [len(search.Rejected{})]prometheus.Counter
}

// NewCosts registers the metrics. rejected counts rejected PTBs by its one label, the reason; it is
// shared with netio, which rejects PTBs for other reasons. If it is nil, NewCosts registers one.
func NewCosts(r prometheus.Registerer, rejected *prometheus.CounterVec) (*Costs, error) {
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		})
	}
	c := &Costs{
		packets: histogram("ipsec_path_mtu_search_packets", "Packets sent by one path MTU search.", 1, 3, 10, 50, 100),
		seconds: histogram("ipsec_path_mtu_search_duration_seconds",
			"Duration of one path MTU search in seconds.", 0.1, 0.5, 1, 3, 10, 30),
	}
	all := []prometheus.Collector{c.packets, c.seconds}
	if rejected == nil {
		rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ipsec_path_ptb_rejected_total",
			Help: "ICMP \"packet too big\" messages that were forged or of no use.",
		}, []string{"reason"})
		all = append(all, rejected)
	}
	for _, m := range all {
		if err := r.Register(m); err != nil {
			return nil, fmt.Errorf("register metrics of path MTU searches: %w", err)
		}
	}
	for _, reason := range search.Rejections() {
		c.rejected[reason] = rejected.WithLabelValues(reason.String())
	}
	return c, nil
}

// Add counts one search.
func (c *Costs) Add(r Result) {
	c.packets.Observe(float64(r.Packets))
	c.seconds.Observe(r.Duration.Seconds())
	for reason, n := range r.Rejected {
		c.rejected[reason].Add(float64(n))
	}
}
