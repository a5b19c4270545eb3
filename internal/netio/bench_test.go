package netio

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// BenchmarkEcho is one echo over loopback, the kernel's part included: what 10,000 peers cost per
// probe.
func BenchmarkEcho(b *testing.B) {
	if err := netlab.Available(); err != nil {
		b.Skip(err)
	}
	s, err := Open(Config{Limits: Limits{PacketsPerSecond: 1e9, BytesPerSecond: 1e12}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const window = 256
	slots := make(chan struct{}, window)
	lost := 0
	answer := func(a Answer) {
		if a.Outcome != Delivered {
			lost++
		}
		<-slots
	}
	p := &Packet{Path: Path{Dst: netip.MustParseAddr("127.0.0.1")}, Size: 84}
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		s.Send(b.Context(), p, time.Second, answer)
	}
	for range window {
		slots <- struct{}{}
	}
	if lost > 0 {
		b.Errorf("%d echoes lost on loopback", lost)
	}
}
