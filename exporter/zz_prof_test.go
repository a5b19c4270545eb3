package exporter

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
)

func TestZZ(t *testing.T) {
	runtime.MemProfileRate = 512
	a := idleApp(t, slog.New(slog.DiscardHandler))
	const n = 5000
	before := liveHeap()
	peers := idlePeers(t, a, n)
	mid := liveHeap()
	addSeries(a, peers)
	fillPage(t, a)
	after := liveHeap()
	fmt.Printf("peers %.0f series %.0f\n", (mid-before)/n, (after-mid)/n)
	f, _ := os.Create("/tmp/idle.pprof")
	pprof.Lookup("heap").WriteTo(f, 0)
	f.Close()
	runtime.KeepAlive(peers)
}
