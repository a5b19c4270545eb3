package rows

import (
	"context"
	"fmt"
	"time"
)

const megabyte = 1e6

// memory measures the memory of an exporter with 10,000 peers that is scraped every 15 seconds: with
// echoes only, and with all default collectors, without evidence and with it.
func memory(ctx context.Context, l *lab) ([]Check, error) {
	window := l.duration(3 * time.Minute)
	echoes, err := l.footprint(ctx, "ICMP only", exporterConfig{collectors: []string{"icmp"}, interval: time.Second}, window)
	if err != nil {
		return nil, err
	}
	checks := []Check{
		atMost("RSS, ICMP only", echoes.rss, 60, "MB"),
		atMost("sockets", echoes.sockets, 8, ""), atMost("goroutines", echoes.goroutines, 50, ""),
	}
	const flag = "--evidence.bytes"
	if l.hasFlag(ctx, flag) {
		bare, err := l.footprint(ctx, "without evidence", exporterConfig{flags: []string{flag + "=0"}}, window)
		if err != nil {
			return nil, err
		}
		checks = append(checks, atMost("RSS, default collectors without evidence", bare.rss, 120, "MB"),
			atMost("share of a core, default collectors without evidence", bare.cores, 0.25, ""))
	} else {
		checks = append(checks, skipped("RSS, default collectors without evidence", "the exporter has no "+flag))
	}
	full, err := l.footprint(ctx, "default", exporterConfig{}, window)
	if err != nil {
		return nil, err
	}
	cores := info("share of a core, default collectors", full.cores, "")
	cores.Note = fmt.Sprintf("PSS %.1f MB, high water %.1f MB", full.pss, full.high)
	return append(checks, atMost("RSS, default collectors with evidence", full.rss, 190, "MB"), cores), nil
}

// A footprint is what a running exporter needs. Memory is the largest in a window, in MB.
type footprint struct{ rss, pss, high, cores, sockets, goroutines float64 }

// footprint runs the exporter and measures it in the second half of a window.
func (l *lab) footprint(ctx context.Context, name string, c exporterConfig, window time.Duration) (footprint, error) {
	c.peers = l.clean(0)
	s, err := l.simulate(ctx, c.peers)
	if err != nil {
		return footprint{}, err
	}
	defer s.Stop()
	e, err := l.export(ctx, c)
	if err != nil {
		return footprint{}, err
	}
	defer e.Stop()
	const every = 15 * time.Second
	scrapes := scrapeEvery(ctx, min(every, window/4))
	defer scrapes.stop()
	if err := pause(ctx, window/2); err != nil {
		return footprint{}, err
	}
	f := footprint{}
	cpu, began := e.CPU(), time.Now()
	for end := began.Add(window / 2); time.Now().Before(end); {
		if err := pause(ctx, min(time.Second, time.Until(end)+time.Millisecond)); err != nil {
			return footprint{}, err
		}
		m := e.Memory()
		f.rss, f.pss, f.high = max(f.rss, m.RSS/megabyte), max(f.pss, m.PSS/megabyte), m.HighWater/megabyte
	}
	f.cores = (e.CPU() - cpu).Seconds() / time.Since(began).Seconds()
	f.sockets = float64(e.Sockets())
	p, err := e.page(ctx)
	if err != nil {
		return footprint{}, err
	}
	f.goroutines = p.sum("go_goroutines")
	l.logf("%s: RSS %.1f MB, PSS %.1f MB, high water %.1f MB, %.3f cores", name, f.rss, f.pss, f.high, f.cores)
	return f, e.Running()
}

// startUp measures the time until the metrics of 10,000 peers answer, and until each peer has been
// asked once.
func startUp(ctx context.Context, l *lab) ([]Check, error) {
	peers := l.clean(0)
	s, e, err := l.echoing(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	defer e.Stop()
	err = await(ctx, patience, e.Process, "not every peer has been asked", func() bool {
		now, err := s.counters(ctx)
		return err == nil && int(now["echoes_answered"]) >= peers.Count
	})
	asked := time.Since(e.started) - e.up
	if err != nil {
		return nil, err
	}
	return []Check{
		atMost("time until /metrics answers", e.up.Seconds(), 1, "s"),
		atMost("time from then until each peer was asked once, at an interval of 1 s", asked.Seconds(), 1.5, "s"),
	}, nil
}
