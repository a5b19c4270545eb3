package rows

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// An exporterConfig is how the exporter is configured.
type exporterConfig struct {
	peers      crowd.Config
	collectors []string      // empty for the default
	interval   time.Duration // of echoes; 0 for the default
	// ike is the interval of IKE, 0 for the default.
	ike time.Duration
	// packets is limits.packets_per_second; 0 for no limit.
	packets int
	flags   []string
}

// unlimited is the largest packet rate that can be configured.
const unlimited = 1_000_000

// text returns the configuration file.
func (c *exporterConfig) text() string {
	var b strings.Builder
	b.WriteString("modules:\n  default:\n")
	if len(c.collectors) > 0 {
		fmt.Fprintf(&b, "    collectors: [%s]\n", strings.Join(c.collectors, ", "))
	}
	var intervals []string
	if c.interval > 0 {
		intervals = append(intervals, fmt.Sprintf("icmp: %v", c.interval))
	}
	if c.ike > 0 {
		intervals = append(intervals, fmt.Sprintf("ike: %v", c.ike))
	}
	fmt.Fprintf(&b, "    intervals: {%s}\n", strings.Join(intervals, ", "))
	packets := c.packets
	if packets == 0 {
		packets = unlimited
	}
	fmt.Fprintf(&b, "limits: {packets_per_second: %d, bytes_per_second: 2147483647}\npeers:\n", packets)
	for i := range c.peers.Count {
		fmt.Fprintf(&b, "  - {name: p%05d, address: %s}\n", i, c.peers.Addr(i, false))
	}
	return b.String()
}

// peerName returns the name of peer i in the configuration.
func peerName(i int) string { return fmt.Sprintf("p%05d", i) }

// An exporter is the program under test.
type exporter struct {
	*Process

	started time.Time
	// up is how long it took until /metrics answered.
	up time.Duration
}

// export starts the exporter and waits for its metrics.
func (l *lab) export(ctx context.Context, c exporterConfig) (*exporter, error) {
	file := filepath.Join(l.Dir, "exporter.yml")
	if err := os.WriteFile(file, []byte(c.text()), 0o600); err != nil {
		return nil, err
	}
	args := append([]string{
		l.Exporter, "serve", "--config.file=" + file, "--web.listen-address=" + exporterAddr, "--log.level=warn",
	}, c.flags...)
	began := time.Now()
	p, err := start(ctx, l.Dir, "exporter", args...)
	if err != nil {
		return nil, err
	}
	e := &exporter{Process: p, started: began}
	err = await(ctx, patience, p, "the exporter does not answer", func() bool {
		_, err := request(ctx, "GET", exporterURL+"/-/healthy", nil)
		return err == nil
	})
	if err == nil {
		_, err = e.page(ctx)
	}
	e.up = time.Since(began)
	return e, err
}

// echoing starts the simulator of peers, and the exporter, which sends each of them an echo per second.
func (l *lab) echoing(ctx context.Context, peers crowd.Config) (*simulator, *exporter, error) {
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return nil, nil, err
	}
	e, err := l.export(ctx, exporterConfig{peers: peers, collectors: []string{"icmp"}, interval: time.Second})
	if err != nil {
		s.Stop()
		return nil, nil, err
	}
	return s, e, nil
}

// page returns the metrics as text.
func (e *exporter) page(ctx context.Context) (page, error) {
	b, err := request(ctx, "GET", exporterURL+"/metrics", nil)
	return page(b), err
}

// hasFlag reports whether the exporter has a flag.
func (l *lab) hasFlag(ctx context.Context, name string) bool {
	out, err := exec.CommandContext(ctx, l.Exporter, "serve", "--help").CombinedOutput()
	return err == nil && strings.Contains(string(out), name)
}
