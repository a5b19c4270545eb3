package pmtu

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/collectors"
)

// staleAfter is after how many intervals without a result a series is no longer exposed.
const staleAfter = 3

// The families of this collector.
var (
	familyBytes = &collectors.Family{
		Name:   "ipsec_path_mtu_bytes",
		Help:   "Path MTU: the largest IP packet in bytes, header included, that was proven to cross the path in one piece.",
		Kind:   collectors.Gauge,
		Labels: []string{"method"},
	}
	familyState = &collectors.Family{
		Name:   "ipsec_path_mtu_state",
		Help:   "1 for what the last search found: clean, reduced, black_hole, unreachable or inconclusive.",
		Kind:   collectors.Gauge,
		Labels: []string{"method", "state"},
	}
	familyBlackHole = &collectors.Family{
		Name: "ipsec_path_mtu_black_hole",
		Help: "1 while any method holds a confirmed path MTU black hole, 0 if none does; absent if unknown.",
		Kind: collectors.Gauge,
	}
	familyLink = &collectors.Family{
		Name: "ipsec_path_mtu_link_bytes",
		Help: "MTU of the local egress link in bytes: the most that could be measured.",
		Kind: collectors.Gauge,
	}
	familyCached = &collectors.Family{
		Name: "ipsec_path_mtu_kernel_cached_bytes",
		Help: "Path MTU in bytes that this host's kernel believes, where it differs from the link's: not a measurement of the path.",
		Kind: collectors.Gauge,
	}
	familyReverseLower = &collectors.Family{
		Name: "ipsec_path_mtu_reverse_lower_bytes",
		Help: "Largest echo reply in bytes that is proven to come back in one piece, whole IP packet: the path MTU of the way back is at least this.",
		Kind: collectors.Gauge,
	}
	familyReverseUpper = &collectors.Family{
		Name: "ipsec_path_mtu_reverse_upper_bytes",
		Help: "Path MTU of the way back in bytes is at most this: larger echo replies come in fragments or vanish. Absent where no limit was found.",
		Kind: collectors.Gauge,
	}
	familyHops = &collectors.Family{
		Name: "ipsec_path_hops",
		Help: "TTL with which the peer was reached: the number of routers on the way, plus one.",
		Kind: collectors.Gauge,
	}
	familyChanges = &collectors.Family{
		Name: "ipsec_path_mtu_changes_total",
		Help: "Confirmed changes of the path MTU or of its state.",
		Kind: collectors.Counter,
	}
	familyPTBs = &collectors.Family{
		Name: "ipsec_path_ptb_received_total",
		Help: "Valid ICMP \"packet too big\" messages received for path MTU probes.",
		Kind: collectors.Counter,
	}
)

// Families are all families of this collector that are about a peer.
func Families() []*collectors.Family {
	return []*collectors.Family{
		familyBytes, familyState, familyBlackHole, familyLink, familyCached, familyReverseLower, familyReverseUpper, familyHops,
		familyChanges, familyPTBs,
	}
}

// exposer copies what one collector knows into its series.
type exposer struct {
	c        *Collector
	interval time.Duration
	now      func() time.Time

	methods                                        map[collectors.Method]methodSeries
	blackHole, link, cached, changes, ptbsReceived *collectors.Series
	reverseLower, reverseUpper, hops               *collectors.Series
}

// methodSeries are the series of one method. Only the current state is exposed, so one series with a changing label does for all.
type methodSeries struct{ bytes, state *collectors.Series }

// NewExposer makes the series of the peer that c measures every interval. now is the clock by which results become stale.
func NewExposer(c *Collector, s collectors.Scope, interval time.Duration, now func() time.Time) collectors.Exposer {
	e := &exposer{
		c: c, interval: interval, now: now, methods: make(map[collectors.Method]methodSeries),
		blackHole: s.Series(familyBlackHole), link: s.Series(familyLink), cached: s.Series(familyCached),
		reverseLower: s.Series(familyReverseLower), reverseUpper: s.Series(familyReverseUpper), hops: s.Series(familyHops),
		changes: s.Series(familyChanges), ptbsReceived: s.Series(familyPTBs),
	}
	for _, m := range c.opts.Methods {
		e.methods[m] = methodSeries{s.Series(familyBytes, m.String()), s.Series(familyState, m.String(), "")}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose() {
	s := e.c.Snapshot()
	oldest := e.now().Add(-staleAfter * e.interval)
	fresh := s.At.After(oldest)
	e.changes.Set(float64(s.Changes))
	e.ptbsReceived.Set(float64(s.PTBs))
	setIf(e.blackHole, fresh && s.Known, s.BlackHole)
	setBytes(e.link, fresh, s.LinkBytes)
	setBytes(e.cached, fresh && s.CachedBytes != s.LinkBytes, s.CachedBytes)
	back := s.Reverse.At.After(oldest)
	setBytes(e.reverseLower, back, s.Reverse.LowerBytes)
	setBytes(e.reverseUpper, back, s.Reverse.UpperBytes)
	setBytes(e.hops, s.HopsAt.After(e.now().Add(-staleAfter*e.c.opts.Hops)), s.Distance)
	for _, series := range e.methods {
		series.bytes.Clear()
		series.state.Clear()
	}
	for i := range s.Results {
		r := &s.Results[i]
		series, ok := e.methods[r.Method]
		if !ok || !r.At.After(oldest) {
			continue
		}
		setBytes(series.bytes, r.State.conclusive(), r.Bytes)
		series.state.SetLabel("state", r.State.String())
		series.state.Set(1)
	}
}

func setIf(s *collectors.Series, known, value bool) {
	if !known {
		s.Clear()
		return
	}
	s.SetBool(value)
}

func setBytes(s *collectors.Series, known bool, bytes int) {
	if !known || bytes <= 0 {
		s.Clear()
		return
	}
	s.Set(float64(bytes))
}

// Costs are the metrics of all searches of the process. Its Add is made for Options.Done.
type Costs struct {
	packets, seconds prometheus.Histogram
	rejected         [rejections]prometheus.Counter
}

// NewCosts makes and registers them. rejected counts rejected PTBs by its one label, the reason; it is shared with those
// who reject PTBs for other reasons. If it is nil, NewCosts makes and registers it.
func NewCosts(r prometheus.Registerer, rejected *prometheus.CounterVec) (*Costs, error) {
	c := &Costs{
		packets: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                           "ipsec_path_mtu_search_packets",
			Help:                           "Packets sent by one path MTU search.",
			Buckets:                        []float64{1, 3, 10, 50, 100},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                           "ipsec_path_mtu_search_duration_seconds",
			Help:                           "Duration of one path MTU search in seconds.",
			Buckets:                        []float64{0.1, 0.5, 1, 3, 10, 30},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		}),
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
	for _, reason := range Rejections() {
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
