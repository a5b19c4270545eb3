package schedule

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// BenchmarkHour runs one simulated hour of 10,000 peers with an event each 5 s and one each 30 s.
func BenchmarkHour(b *testing.B) {
	now := time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)
	s := New(Config{})
	s.now = func() time.Time { return now }
	events := 0
	tick := func(time.Time) time.Time { events++; return time.Time{} }
	for i := range 10_000 {
		name := "peer-" + strconv.Itoa(i)
		s.AddEvent(Key{name, "icmp"}, 5*time.Second, tick)
		s.AddEvent(Key{name, "ike"}, 30*time.Second, tick)
	}
	b.ReportAllocs()
	wakes := 0
	for b.Loop() {
		for end := now.Add(time.Hour); now.Before(end); wakes++ {
			wait, _ := s.step(context.Background())
			now = now.Add(wait)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
	b.ReportMetric(float64(wakes)/float64(b.N)/3600, "wakes/s")
}
