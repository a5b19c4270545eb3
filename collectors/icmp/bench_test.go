package icmp_test

import (
	"context"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
)

// instant is an Engine that answers at once, so that what is measured is the collector.
type instant struct{}

func (instant) Echo(_ context.Context, _ netio.Path, _ time.Duration, answer func(netio.Answer)) {
	answer(netio.Answer{Outcome: netio.Delivered, RoundTrip: 20 * time.Millisecond})
}

func BenchmarkEcho(b *testing.B) {
	c := icmp.New(b.Context(), instant{}, target(address), icmp.Options{})
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c.Tick(now)
	}
}

func BenchmarkExpose(b *testing.B) {
	c := icmp.New(b.Context(), instant{}, target(address), icmp.Options{})
	e := icmp.NewExposer(collectorstest.OfPeer(), c, time.Now)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c.Tick(now)
		e.Expose()
	}
}

// BenchmarkNew tells what one peer takes.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := icmp.New(b.Context(), instant{}, target(address), icmp.Options{})
		for range 4 {
			c.Tick(time.Time{})
		}
	}
}
