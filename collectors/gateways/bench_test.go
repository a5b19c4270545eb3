package gateways_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// hub is a gateway with many tunnels, all of them up.
func hub(n int) ([]gateways.Peer, gateways.Table) {
	var peers []gateways.Peer
	t := gateways.Table{Info: gateways.Info{Type: "fake", Version: "1.0"}}
	for i := range n {
		id := gateways.Identity{Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		peers = append(peers, gateways.Peer{
			Name: fmt.Sprintf("branch-%d", i), Address: id.Address, Expected: true, Labels: map[string]string{"isp": "acme", "site": strconv.Itoa(i)},
		})
		t.IKE = append(t.IKE, gateways.IKESA{Peer: id, Version: 2, State: gateways.Established, VendorState: "READY", Established: time.Unix(946684800, 0)})
		t.Children = append(t.Children, gateways.ChildSA{
			Peer: id, Key: strconv.Itoa(i), State: gateways.Installed, PathMTU: 1500,
			In:  gateways.Traffic{Packets: gateways.Counted(uint64(i)), Bytes: gateways.Counted(uint64(i))},
			Out: gateways.Traffic{Packets: gateways.Counted(uint64(i)), Bytes: gateways.Counted(uint64(i))},
		})
	}
	return peers, t
}

// BenchmarkPoll is what a reading costs apart from the gateway's own time.
func BenchmarkPoll(b *testing.B) {
	peers, table := hub(10_000)
	p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: shown{table}, Interval: interval, Timeout: time.Minute, Log: silent()})
	p.SetPeers(peers)
	b.ReportAllocs()
	for b.Loop() {
		p.Poll(b.Context())
	}
}

// BenchmarkScrape is what the series of a gateway cost: made after a reading, or as they are.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		for _, reading := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/reading=%t", n, reading), func(b *testing.B) {
				peers, table := hub(n)
				p := gateways.NewPoller(gateways.PollerConfig{Name: "hub", Source: shown{table}, Interval: time.Hour, Timeout: time.Minute, Log: silent()})
				p.SetPeers(peers)
				p.Poll(b.Context())
				before := liveHeap()
				m := gateways.NewMetrics(func() []*gateways.Poller { return []*gateways.Poller{p} })
				read(m)
				size := liveHeap() - before
				b.ReportAllocs()
				for b.Loop() {
					if reading {
						b.StopTimer()
						p.Poll(b.Context())
						b.StartTimer()
					}
					read(m)
				}
				b.ReportMetric(size/float64(n), "B/tunnel")
			})
		}
	}
}

// read reads all of a page.
func read(m *gateways.Metrics) (series int) {
	p := m.Open()
	defer p.Close()
	for i := range p.Len() {
		for part := range p.Parts(i, 512) {
			series += len(part.GetMetric())
		}
	}
	return series
}

func liveHeap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// shown is a gateway that always shows the same.
type shown struct{ table gateways.Table }

func (s shown) Read(context.Context) (gateways.Table, error) { return s.table, nil }

func (shown) Close() error { return nil }
