package rows

import (
	"context"
	"sync"
	"time"
)

// A scraper reads the exporter's metrics like Prometheus, compressed, and throws them away.
type scraper struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	scrapes int
	failed  int
	longest time.Duration
}

// prometheusHeaders are those of Prometheus.
func prometheusHeaders() map[string]string {
	return map[string]string{
		"Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
			"text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		"Accept-Encoding": "gzip",
	}
}

// scrapeEvery scrapes at an interval until stop is called.
func scrapeEvery(ctx context.Context, every time.Duration) *scraper {
	ctx, cancel := context.WithCancel(ctx)
	s := &scraper{cancel: cancel}
	s.workers.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			began := time.Now()
			_, err := request(ctx, "GET", exporterURL+"/metrics", prometheusHeaders())
			if ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			s.scrapes++
			if err != nil {
				s.failed++
			}
			s.longest = max(s.longest, time.Since(began))
			s.mu.Unlock()
		}
	})
	return s
}

// stop ends the scrapes and returns how many there were and the longest.
func (s *scraper) stop() (scrapes, failed int, longest time.Duration) {
	s.cancel()
	s.workers.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scrapes, s.failed, s.longest
}
