package exporter

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// idlePeers returns peers with all collectors but that of a partner, which few have. They do not run.
func idlePeers(tb testing.TB, a *app, n int) []*peer {
	tb.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("branch-%05d=127.%d.%d.%d", i, 1+i>>16, i>>8&255, i&255))
	}
	cfg, err := config.FromArguments(names)
	if err != nil {
		tb.Fatal(err)
	}
	peers := make([]*peer, 0, n)
	for _, c := range cfg.Peers {
		c.Collectors = suite.NewSet(suite.All()...).Without(suite.Partner)
		p := newPeer(tb.Context(), a, c)
		p.Findings(time.Now()) // what collectors remember of an address is made when it is asked for
		peers = append(peers, p)
	}
	return peers
}

// addSeries makes the series of peers.
func addSeries(a *app, peers []*peer) {
	for _, p := range peers {
		p.series = a.store.AddPeer(p.Config.Name, p.Config.Labels)
		p.expose()
	}
}

// fillPage calls all Exposers once.
func fillPage(tb testing.TB, a *app) {
	tb.Helper()
	page, err := a.store.Open(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	page.Close()
}

func liveHeap() float64 {
	var m runtime.MemStats
	for range 3 { // two empty the pools
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// seriesBytes is what the series of such a peer may take: exposers, label, values of a
// page. The histogram of round trips is not among them: see its own benchmark.
const seriesBytes = 1800

// TestMemoryOfSeries: memory is by design. It runs alone, before the tests that run in parallel.
func TestMemoryOfSeries(t *testing.T) {
	a := idleApp(t, slog.New(slog.DiscardHandler))
	const n = 2000
	peers := idlePeers(t, a, n)
	before := liveHeap()
	addSeries(a, peers)
	fillPage(t, a)
	per := (liveHeap() - before) / n
	if runtime.KeepAlive(peers); per > seriesBytes {
		t.Errorf("the series of a peer take %.0f bytes, at most %d are wanted", per, seriesBytes)
	}
}

// BenchmarkSeries is what it takes to call all Exposers of 10,000 peers once, as every scrape does. It
// reports the memory of the series of a peer, and the time to make those of all.
func BenchmarkSeries(b *testing.B) {
	a := idleApp(b, slog.New(slog.DiscardHandler))
	const n = 10_000
	peers := idlePeers(b, a, n)
	before := liveHeap()
	began := time.Now()
	addSeries(a, peers)
	adding := time.Since(began)
	fillPage(b, a)
	per := (liveHeap() - before) / n
	b.ReportAllocs()
	for b.Loop() {
		fillPage(b, a)
	}
	b.ReportMetric(per, "B/peer")
	b.ReportMetric(adding.Seconds()*1000, "ms-to-add")
	runtime.KeepAlive(peers)
}

// forgetful is a network that remembers a probe for its grace time only.
type forgetful struct{ collectors.Network }

func (f forgetful) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	packet := *p
	packet.Linger = 0
	f.Network.Send(ctx, &packet, timeout, answer)
}

// healthyBytes is what a healthy peer with all collectors may take: its configuration, collectors,
// results, series and place in the schedule. Evidence has a budget of its own.
const healthyBytes = 24 << 10

// TestMemoryOfAHealthyPeer measures peers by all collectors and counts what is kept. It runs alone.
func TestMemoryOfAHealthyPeer(t *testing.T) {
	a := idleApp(t, slog.New(slog.DiscardHandler))
	a.network = forgetful{netsim.New(netsim.Config{Silence: a.tools.Stack.Silence()}, 1)}
	a.traces = trace.NewRecorder(0)
	const n = 400
	before := liveHeap()
	peers := idlePeers(t, a, n)
	var all errgroup.Group
	for _, p := range peers {
		p.start()
		all.Go(func() error {
			for c := range p.Config.Collectors.All() {
				if _, err := p.Measure(t.Context(), c, p.Target()); err != nil {
					return fmt.Errorf("%s: %w", c, err)
				}
				p.rounds.ended(c, "")
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	fillPage(t, a)
	for _, p := range peers {
		if healthy, known := p.Tracker.Healthy(); !healthy || !known {
			t.Fatalf("%s: healthy %t, known %t, %v", p.Config.Name, healthy, known, p.Tracker.Held())
		}
	}
	time.Sleep(6 * time.Second) // that grace time
	per := (liveHeap() - before) / n
	t.Logf("a healthy peer takes %.0f bytes", per)
	if runtime.KeepAlive(peers); per > healthyBytes {
		t.Errorf("a healthy peer takes %.0f bytes, at most %d are wanted", per, healthyBytes)
	}
}
