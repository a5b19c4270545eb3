package peerfiles

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/shard"
)

// manyFiles writes files with this many peers of two labels each.
func manyFiles(b *testing.B, files, each int) *config.Config {
	b.Helper()
	dir := b.TempDir()
	for f := range files {
		var text strings.Builder
		for i := range each {
			n := f*each + i
			fmt.Fprintf(&text, ",\n{\"targets\":[\"10.%d.%d.%d\"],\"labels\":{\"__peer__\":\"branch-%06d\",\"site\":\"s%d\",\"isp\":\"acme\"}}", n>>16, n>>8&255, n&255, n, n)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", f)), []byte("["+text.String()[1:]+"]"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	base, err := config.ReadAny("", nil)
	if err != nil {
		b.Fatal(err)
	}
	base.PeerFiles = []string{dir + "/*.json"}
	return base
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkShardOfMany reads 100,000 peers of which a tenth is measured, and reports what a peer of
// another shard costs, its text included; and how long a reading takes in which nothing has changed.
func BenchmarkShardOfMany(b *testing.B) {
	const files, each = 100, 1000
	base := manyFiles(b, files, each)
	var cfg *config.Config
	for b.Loop() {
		before := heap()
		f := New(slog.New(slog.DiscardHandler), shard.Shard{Index: 3, Total: 10}.Has)
		var err error
		if cfg, _, err = f.Complete(base); err != nil {
			b.Fatal(err)
		}
		own := float64(len(cfg.Peers)) * 1000 // about
		b.ReportMetric((heap()-before-own)/float64(len(cfg.Others)), "B/other")
		runtime.KeepAlive(f)
	}
	b.ReportMetric(float64(len(cfg.Peers)), "peers")
}

// BenchmarkUnchanged is a reading of 10,000 peers in which nothing has changed.
func BenchmarkUnchanged(b *testing.B) {
	base := manyFiles(b, 100, 100)
	f := New(slog.New(slog.DiscardHandler), shard.Shard{}.Has)
	if _, _, err := f.Complete(base); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, changed, err := f.Complete(base); err != nil || changed {
			b.Fatal(changed, err)
		}
	}
}
