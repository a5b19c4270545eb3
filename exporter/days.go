package exporter

import (
	"context"
	"time"

	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/tunnelmtu"
)

// sampleEvery is how often the day of a peer gets a sample. A change of a diagnosis is sampled at
// once.
const sampleEvery = time.Minute

// recordDays samples all peers until ctx ends.
func (a *app) recordDays(ctx context.Context) error {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			for _, p := range a.unsorted() {
				p.sample(now)
			}
		}
	}
}

// sample adds what is known of the path now to the peer's day.
func (p *peer) sample(now time.Time) {
	findings := p.Findings(now)
	r := report.Report{Findings: findings.Fresh(now, p.Config.Intervals), Diagnoses: p.Tracker.Held()}
	healthy, known := p.Tracker.Healthy()
	s := lastday.Sample{Health: lastday.HealthOf(r.Worst(), healthy, known), Loss: -1}
	if lost := r.LostEchoes(); lost.Sent > 0 {
		s.Loss = lost.Share()
	}
	if r.ICMP != nil && r.ICMP.Received > 0 {
		s.RoundTrip = r.ICMP.Last
	}
	if r.PMTU != nil {
		s.Bytes = tunnelmtu.PathMTU(r.PMTU.Results)
	}
	p.day.Add(now, s)
}
