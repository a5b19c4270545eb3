package rows

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// ingestEvery is the interval at which Prometheus scrapes.
const ingestEvery = 10 * time.Second

// ingest compares the CPU of the exporter for a scrape with what Prometheus spends on it.
func ingest(ctx context.Context, l *lab) ([]Check, error) {
	const name = "CPU per scrape, in multiples of Prometheus's"
	if _, err := exec.LookPath("prometheus"); err != nil {
		return []Check{skipped(name, "prometheus is not installed (Debian's package prometheus)")}, nil
	}
	peers := l.clean(0)
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	e, err := l.export(ctx, exporterConfig{peers: peers})
	if err != nil {
		return nil, err
	}
	defer e.Stop()
	window := l.duration(time.Minute)
	if err := pause(ctx, window); err != nil { // the first rounds
		return nil, err
	}
	alone, err := cpuOver(ctx, e.Process, window)
	if err != nil {
		return nil, err
	}
	prometheus, err := l.prometheus(ctx)
	if err != nil {
		return nil, err
	}
	defer prometheus.Stop()
	if err := pause(ctx, 3*ingestEvery); err != nil { // the first scrape creates all series
		return nil, err
	}
	theirs := prometheus.CPU()
	scraped, err := cpuOver(ctx, e.Process, window)
	if err != nil {
		return nil, err
	}
	spent := (prometheus.CPU() - theirs).Seconds() / window.Seconds()
	ours := scraped - alone
	c := atMost(name, ours/spent, 1, "")
	c.Note = fmt.Sprintf("%.2f against %.2f s per scrape of %d peers", ours*ingestEvery.Seconds(), spent*ingestEvery.Seconds(), peers.Count)
	return []Check{c}, prometheus.Running()
}

// cpuOver returns the processors that a process uses over a window.
func cpuOver(ctx context.Context, p *Process, window time.Duration) (float64, error) {
	cpu, began := p.CPU(), time.Now()
	if err := pause(ctx, window); err != nil {
		return 0, err
	}
	return (p.CPU() - cpu).Seconds() / time.Since(began).Seconds(), p.Running()
}

// prometheus starts a Prometheus that scrapes the exporter.
func (l *lab) prometheus(ctx context.Context) (*Process, error) {
	config, err := l.write("prometheus.yml", fmt.Sprintf(
		"global: {scrape_interval: %[1]v, scrape_timeout: %[1]v}\nscrape_configs: [{job_name: ipsec_path, static_configs: [{targets: [%[2]q]}]}]\n",
		ingestEvery, exporterAddr))
	if err != nil {
		return nil, err
	}
	return start(ctx, l.Dir, "prometheus", "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(l.Dir, "data"),
		"--web.listen-address=127.0.0.1:9090", "--log.level=warn")
}
