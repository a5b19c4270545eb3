package rows

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// The bounds of the exporter's classic buckets in seconds that are about the median and the 99th
// percentile of the simulated round trips, which are 15 ms and an exponential part with a mean of
// 7.2 ms.
const (
	medianBound, tailBound = 0.02, 0.05
	leastTrip              = 15 * time.Millisecond
	meanTail               = 7200 * time.Microsecond
)

// roundTrip compares the distribution of the exporter's round trips with the simulator's while the
// exporter is scraped. At a bucket bound the share of shorter round trips is exact, so the truth at
// the same share says how far the exporter's times are off.
func roundTrip(ctx context.Context, l *lab) ([]Check, error) {
	peers := l.clean(0)
	peers.Delay, peers.Jitter = constant(leastTrip), crowd.Distribution{Tail: meanTail}
	s, e, err := l.echoing(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	defer e.Stop()
	if err := pause(ctx, settleEchoes); err != nil {
		return nil, err
	}
	before, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.reset(ctx); err != nil {
		return nil, err
	}
	scrapes := scrapeEvery(ctx, time.Second)
	window := l.duration(time.Minute)
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	scrapes.stop()
	truth, err := s.residence(ctx)
	if err != nil {
		return nil, err
	}
	after, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Running(); err != nil {
		return nil, err
	}
	const count = "ipsec_path_icmp_round_trip_seconds_count"
	share := (after.sum(count) - before.sum(count)) / float64(peers.Count) / window.Seconds()
	return []Check{
		atLeast("share of the wanted echoes that were answered", share, 0.95),
		shift("median", truth, before, after, medianBound, 0.3),
		shift("99th percentile", truth, before, after, tailBound, 1.5),
	}, nil
}

// shift returns the check that the round trips are right at the bound of a bucket.
func shift(name string, truth residence, before, after page, bound, most float64) Check {
	const metric = "ipsec_path_icmp_round_trip_seconds"
	below := after.bucket(metric, bound) - before.bucket(metric, bound)
	count := after.sum(metric+"_count") - before.sum(metric+"_count")
	share := below / count
	off := 1000 * (bound - truth.quantile(share))
	c := within("error of the "+name, off, -most, most, "ms")
	c.Note = fmt.Sprintf("%.2f %% of %.0f round trips are at most %g ms", 100*share, count, 1000*bound)
	return c
}

// bucket returns the sum of a histogram's buckets with an upper bound.
func (p page) bucket(metric string, bound float64) (total float64) {
	le := fmt.Sprintf("%g", bound)
	for s := range p.samples(metric + "_bucket") {
		if s.label("le") == le {
			total += s.value
		}
	}
	return total
}
