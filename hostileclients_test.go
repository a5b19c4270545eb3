package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/bench/load"
)

// gauge returns the value of a series without labels.
func gauge(t *testing.T, page, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// descriptors returns the number of open files and sockets of the program.
func (s *process) descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Fifty scrapers get their pages while other clients hold connections, send too much, or do not read. When
// they are gone, nothing of them remains. bench/clients.sh does the same for ten minutes.
func (p program) hostileClients(t *testing.T) {
	t.Parallel()
	var peers strings.Builder
	const count = 200
	for i := range count {
		fmt.Fprintf(&peers, "- {name: 'peer %d', address: 127.1.0.%d}\n", i, i+1)
	}
	name := file(t, "modules: {default: {collectors: [icmp], intervals: {icmp: 5s}}}\npeers:\n"+peers.String())
	s := p.start(t, here, "--config.file="+name)
	// Pages are as large as they get, and the heap has its size.
	s.eventually(t, "measurements", func() bool {
		return strings.Count(s.get(t, "/metrics"), "\nipsec_path_icmp_reachable{") == count
	})
	page := s.get(t, "/metrics")
	goroutines, descriptors, memory := gauge(t, page, "go_goroutines"), s.descriptors(t), gauge(t, page, "process_resident_memory_bytes")

	const scrapes, seconds, hostile = 50, 8, 10
	ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
	defer cancel()
	most := 0.0
	ended := make(chan load.ClientsResult, 1)
	go func() {
		ended <- load.Clients{Address: s.listen, Path: "/metrics", Scrapers: scrapes, Pause: 100 * time.Millisecond, Hostile: hostile}.Run(ctx)
	}()
	var result load.ClientsResult
	for running := true; running; {
		most = max(most, gauge(t, s.get(t, "/metrics"), "process_resident_memory_bytes"))
		select {
		case result = <-ended:
			running = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	// A page that takes long is broken off by design, and a busy machine may take long.
	if result.Failed*10 > result.Scrapes || result.Scrapes < scrapes {
		t.Errorf("%d of %d scrapes failed: %v", result.Failed, result.Scrapes, result.Problem)
	}
	for _, kind := range load.Abuses() {
		if result.Abuses[kind] < hostile {
			t.Errorf("%s: %d times only", kind, result.Abuses[kind])
		}
	}
	const mayGrow = 256 << 20 // three generations of pages, and buffers of 90 connections
	if most > memory+mayGrow {
		t.Errorf("%.0f MiB of memory, %.0f before", most/(1<<20), memory/(1<<20))
	}
	s.eventually(t, "nothing of the clients remains", func() bool {
		return gauge(t, s.get(t, "/metrics"), "go_goroutines") <= goroutines+5 && s.descriptors(t) <= descriptors+5
	})
	if text := s.log.String(); strings.Contains(text, "panic") || strings.Contains(text, "level=ERROR") {
		t.Errorf("log:\n%s", text)
	}
	t.Logf("%d scrapes, the slowest took %v; memory %.0f to %.0f MiB; %v", result.Scrapes, result.Slowest, memory/(1<<20), most/(1<<20), result.Abuses)
}
