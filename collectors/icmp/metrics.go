package icmp

import (
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/histogram"
)

var (
	familyRequests = collectors.CounterFamily("ipsec_path_icmp_requests_total",
		"ICMP echo requests sent and decided: answered, refused by an ICMP error, or timed out.")
	familyReplies = collectors.CounterFamily("ipsec_path_icmp_replies_total",
		"ICMP echo requests that were answered, late replies included.")
	familyDuplicates = collectors.CounterFamily("ipsec_path_icmp_duplicates_total",
		"Duplicate ICMP echo replies.")
	familyReachable = collectors.GaugeFamily("ipsec_path_icmp_reachable",
		"1 if any of the last three ICMP echo requests was answered, 0 if none was; absent if unknown.")
	familyRoundTrip = collectors.HistogramFamily("ipsec_path_icmp_round_trip_seconds",
		"Round trip times of ICMP echo requests in seconds.")
)

// Families returns all families of this collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyRequests, familyReplies, familyDuplicates, familyReachable, familyRoundTrip}
}

// Buckets is the kind of buckets in the histogram of round trips.
type Buckets uint8

const (
	// BothBuckets are native and classic buckets.
	BothBuckets Buckets = iota
	// NativeBuckets are native buckets only: the text formats show nothing but count and sum.
	NativeBuckets
	// ClassicBuckets are classic buckets only.
	ClassicBuckets
	// NoBuckets leave the histogram out.
	NoBuckets
)

// The buckets of all histograms of a kind. The classic ones suit paths between sites.
var (
	classicBuckets = histogram.Buckets{Classic: []float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2}}
	nativeBuckets  = histogram.Buckets{Native: true}
	bothBuckets    = histogram.Buckets{Classic: classicBuckets.Classic, Native: true}
)

// newHistogram returns an empty histogram, nil if there is to be none.
func newHistogram(b Buckets) *histogram.Histogram {
	switch b {
	case BothBuckets:
		return histogram.New(&bothBuckets, time.Now())
	case NativeBuckets:
		return histogram.New(&nativeBuckets, time.Now())
	case ClassicBuckets:
		return histogram.New(&classicBuckets, time.Now())
	case NoBuckets:
	}
	return nil
}

// exposer copies the newest state of one collector into its series.
type exposer struct {
	c                                                   *Collector
	requests, replies, duplicates, reachable, roundTrip collectors.Series
}

// NewExposer makes the series of the peer that c measures.
func NewExposer(s collectors.Scope, c *Collector) collectors.Exposer {
	e := &exposer{
		c: c, requests: s.Series(familyRequests), replies: s.Series(familyReplies),
		duplicates: s.Series(familyDuplicates), reachable: s.Series(familyReachable),
	}
	if c.rtt != nil {
		e.roundTrip = s.Series(familyRoundTrip)
	}
	return e
}

// Expose implements collectors.Exposer. Counters and histogram are of one moment.
func (e *exposer) Expose(to collectors.Row, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	state := e.c.state(now)
	to.Set(e.requests, float64(e.c.requests))
	to.Set(e.replies, float64(e.c.replies))
	to.Set(e.duplicates, float64(e.c.duplicates))
	to.SetIf(e.reachable, state != Unknown, collectors.Bool(state == Reachable))
	if e.c.rtt != nil {
		to.SetHistogram(e.roundTrip, e.c.rtt)
	}
}
