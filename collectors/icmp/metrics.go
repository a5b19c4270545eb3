package icmp

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
)

// The families of this collector.
var (
	familyRequests = &collectors.Family{
		Name: "ipsec_path_icmp_requests_total",
		Help: "ICMP echo requests that left this host and were decided: answered, or not in time.",
		Kind: collectors.Counter,
	}
	familyReplies = &collectors.Family{
		Name: "ipsec_path_icmp_replies_total",
		Help: "ICMP echo requests that were answered, late answers included.",
		Kind: collectors.Counter,
	}
	familyDuplicates = &collectors.Family{
		Name: "ipsec_path_icmp_duplicates_total",
		Help: "Further copies of ICMP echo replies that had already come.",
		Kind: collectors.Counter,
	}
	familyReachable = &collectors.Family{
		Name: "ipsec_path_icmp_reachable",
		Help: "1 if any of the last three ICMP echo requests was answered, 0 if none was; absent if unknown.",
		Kind: collectors.Gauge,
	}
	familyRoundTrip = &collectors.Family{
		Name: "ipsec_path_icmp_round_trip_seconds",
		Help: "Round trip times of ICMP echo requests in seconds.",
		Kind: collectors.Histogram,
	}
)

// Families are all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyRequests, familyReplies, familyDuplicates, familyReachable, familyRoundTrip}
}

// Buckets say which kinds of buckets the histogram of round trips has.
type Buckets uint8

// The choices.
const (
	// BothBuckets are native and classic ones.
	BothBuckets Buckets = iota
	// NativeBuckets are native ones only: nothing but count and sum in the text formats.
	NativeBuckets
	// ClassicBuckets are classic ones only.
	ClassicBuckets
)

const (
	// nativeFactor makes 8 native buckets per doubling: 88 from 1 ms to 2 s.
	nativeFactor = 1.1
	// nativeLimit bounds them; beyond it the resolution is halved instead of the histogram being reset.
	nativeLimit = 100
)

// classicBuckets fit paths between sites, 1 ms to 2 s; with +Inf they are ten.
func classicBuckets() []float64 {
	return []float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2}
}

// histogram is what the collector knows of it.
type histogram interface {
	Observe(seconds float64)
	Write(m *dto.Metric) error
}

func newHistogram(b Buckets) histogram {
	opts := prometheus.HistogramOpts{Name: familyRoundTrip.Name, Help: familyRoundTrip.Help}
	if b != ClassicBuckets {
		opts.NativeHistogramBucketFactor = nativeFactor
		opts.NativeHistogramMaxBucketNumber = nativeLimit
	}
	if b != NativeBuckets {
		opts.Buckets = classicBuckets()
	}
	return prometheus.NewHistogram(opts)
}

// exposer copies the newest state of one collector into its series.
type exposer struct {
	c        *Collector
	now      func() time.Time
	observed uint64
	written  bool

	requests, replies, duplicates, reachable, roundTrip *collectors.Series
}

// NewExposer makes the series of the peer that c measures. now is the clock by which its state becomes stale.
func NewExposer(s collectors.Scope, c *Collector, now func() time.Time) collectors.Exposer {
	return &exposer{
		c:          c,
		now:        now,
		requests:   s.Series(familyRequests),
		replies:    s.Series(familyReplies),
		duplicates: s.Series(familyDuplicates),
		reachable:  s.Series(familyReachable),
		roundTrip:  s.Series(familyRoundTrip),
	}
}

// Expose implements collectors.Exposer.
func (e *exposer) Expose() {
	now := e.now()
	e.c.mu.Lock()
	requests, replies, duplicates, state := e.c.requests, e.c.replies, e.c.duplicates, e.c.state(now)
	e.c.mu.Unlock()
	e.requests.Set(float64(requests))
	e.replies.Set(float64(replies))
	e.duplicates.Set(float64(duplicates))
	if state == Unknown {
		e.reachable.Clear()
	} else {
		e.reachable.SetBool(state == Reachable)
	}
	e.exposeRoundTrips(replies)
}

// exposeRoundTrips copies the histogram if anything was observed since the last time: copying it is the dear part.
func (e *exposer) exposeRoundTrips(replies uint64) {
	if e.written && e.observed == replies {
		return
	}
	var m dto.Metric
	if err := e.c.rtt.Write(&m); err != nil {
		e.roundTrip.Clear() // cannot happen: only a metric with invalid labels fails to be written
		return
	}
	e.roundTrip.SetHistogram(m.GetHistogram())
	e.observed, e.written = replies, true
}
