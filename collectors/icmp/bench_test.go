package icmp_test

import (
	"context"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/histogram"
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

// nowhere is a Row that keeps nothing.
type nowhere struct{}

func (nowhere) Set(collectors.Series, float64)                       {}
func (nowhere) SetIf(collectors.Series, bool, float64)               {}
func (nowhere) SetLabel(collectors.Series, string, string)           {}
func (nowhere) SetHistogram(collectors.Series, *histogram.Histogram) {}

func BenchmarkExpose(b *testing.B) {
	c := icmp.New(b.Context(), instant{}, target(address), icmp.Options{})
	e := icmp.NewExposer(collectorstest.OfPeer(), c)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c.Tick(now)
		e.Expose(nowhere{}, now)
	}
}

// BenchmarkNew measures the memory of one peer.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := icmp.New(b.Context(), instant{}, target(address), icmp.Options{})
		for range 4 {
			c.Tick(time.Time{})
		}
	}
}
