package rows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// A tool is a program that sends echo requests.
type tool struct {
	name string
	// program is what must be installed, empty for programs of this project; origin says from where.
	program, origin string
	start           func(ctx context.Context, l *lab, w work) (*Process, error)
	// ramp is the time for which it sends less than it was asked for.
	ramp func(w work) time.Duration
}

// work is what each tool is asked to do: one echo per interval to each peer.
type work struct {
	peers    crowd.Config
	interval time.Duration
}

func noRamp(work) time.Duration { return 0 }

var (
	toolExporter = tool{name: "exporter", ramp: noRamp, start: func(ctx context.Context, l *lab, w work) (*Process, error) {
		e, err := l.export(ctx, exporterConfig{peers: w.peers, collectors: []string{"icmp"}, interval: w.interval})
		if err != nil {
			return nil, err
		}
		return e.Process, nil
	}}
	toolReference = tool{name: "reference loop", ramp: noRamp, start: func(ctx context.Context, l *lab, w work) (*Process, error) {
		return start(ctx, l.Dir, "reference", l.self, "reference", "--first", w.peers.Addr(0, false).String(),
			"--count", strconv.Itoa(w.peers.Count), "--interval", w.interval.String())
	}}
	toolFping = tool{
		name: "fping", program: "fping", origin: "Debian's package fping", ramp: noRamp,
		start: func(ctx context.Context, l *lab, w work) (*Process, error) {
			file, err := l.write("hosts", strings.Join(w.addresses(), "\n")+"\n")
			if err != nil {
				return nil, err
			}
			gap := 0.9 * float64(w.interval.Milliseconds()) / float64(w.peers.Count)
			return start(ctx, l.Dir, "fping", "fping", "-q", "-l", "-f", file, "-p", strconv.FormatInt(w.interval.Milliseconds(), 10), "-i", fmt.Sprintf("%.3f", gap))
		},
	}
	toolSmokeping = tool{
		name: "smokeping_prober", program: "prometheus-smokeping-prober", origin: "Debian's package prometheus-smokeping-prober", ramp: noRamp,
		start: func(ctx context.Context, l *lab, w work) (*Process, error) {
			if err := allowPingSockets(); err != nil {
				return nil, err
			}
			file, err := l.write("smokeping.yml", "{}\n")
			if err != nil {
				return nil, err
			}
			args := []string{
				"prometheus-smokeping-prober", "--config.file=" + file, "--log.level=error", "--no-privileged",
				"--ping.interval=" + w.interval.String(), "--web.listen-address=127.0.0.1:9374",
			}
			return start(ctx, l.Dir, "smokeping", append(args, w.addresses()...)...)
		},
	}
	toolPingExporter = tool{
		name: "ping_exporter", program: "ping_exporter", origin: "go install github.com/czerwonk/ping_exporter@v1.2.3",
		// It starts one target every 10 ms.
		ramp: func(w work) time.Duration { return time.Duration(w.peers.Count) * 10 * time.Millisecond },
		start: func(ctx context.Context, l *lab, w work) (*Process, error) {
			config := "targets:\n  - " + strings.Join(w.addresses(), "\n  - ") +
				fmt.Sprintf("\nping:\n  interval: %v\n  timeout: %v\n  history-size: 10\ndns:\n  refresh: 0s\n", w.interval, w.interval*9/10)
			file, err := l.write("ping_exporter.yml", config)
			if err != nil {
				return nil, err
			}
			return start(ctx, l.Dir, "ping_exporter", "ping_exporter", "--web.listen-address=127.0.0.1:9427", "--log.level=error", "--config.path="+file)
		},
	}
)

// addresses returns the addresses of the peers.
func (w work) addresses() []string {
	all := make([]string, w.peers.Count)
	for i := range all {
		all[i] = w.peers.Addr(i, false).String()
	}
	return all
}

// write writes a file below the directory of the lab.
func (l *lab) write(name, text string) (string, error) {
	file := filepath.Join(l.Dir, name)
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// allowPingSockets lets this network namespace open ping sockets. A user namespace maps one group.
func allowPingSockets() error {
	const file = "/proc/sys/net/ipv4/ping_group_range"
	if os.WriteFile(file, []byte("0 2147483647"), 0o600) == nil {
		return nil
	}
	return os.WriteFile(file, []byte("0 0"), 0o600)
}

// missing returns why a tool cannot be used, empty if it can.
func (t *tool) missing() string {
	if t.program == "" {
		return ""
	}
	if _, err := exec.LookPath(t.program); err != nil {
		return t.program + " is not installed (" + t.origin + ")"
	}
	return ""
}

// A usage is what a tool did in a window.
type usage struct {
	probes int
	// cpu is in milliseconds per 1,000 probes, cores in processors, done the share of the wanted
	// probes that the simulator received.
	cpu, cores, done float64
	memory           Memory
}

var errNothing = errors.New("the simulator received no probes")

// use runs a tool and measures it for a window after it has sent to each peer once.
func (l *lab) use(ctx context.Context, t *tool, s *simulator, w work, window time.Duration) (usage, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := s.counters(ctx)
	if err != nil {
		return usage{}, err
	}
	p, err := t.start(ctx, l, w)
	if err != nil {
		return usage{}, err
	}
	defer p.Stop()
	sent := func() int {
		now, err := s.counters(ctx)
		if err != nil {
			return 0
		}
		return int(now["echoes_answered"] - before["echoes_answered"])
	}
	const settle = 3 * time.Second
	first := patience + w.interval + t.ramp(w)
	if err := await(ctx, first, p, t.name+" has not reached every peer", func() bool { return sent() >= w.peers.Count }); err != nil {
		return usage{}, err
	}
	if err := pause(ctx, settle+t.ramp(w)); err != nil {
		return usage{}, err
	}
	cpu, n, began := p.CPU(), sent(), time.Now()
	if err := pause(ctx, window); err != nil {
		return usage{}, err
	}
	took := time.Since(began).Seconds()
	n, cpu = sent()-n, p.CPU()-cpu
	if err := p.Running(); err != nil {
		return usage{}, err
	}
	if n == 0 {
		return usage{}, fmt.Errorf("%w of %s", errNothing, t.name)
	}
	u := usage{
		probes: n, cpu: float64(cpu.Microseconds()) / float64(n), cores: cpu.Seconds() / took,
		done: float64(n) * w.interval.Seconds() / took / float64(w.peers.Count), memory: p.Memory(),
	}
	l.logf("%-16s %7d probes, %6.1f %% of the wanted, %7.2f ms CPU per 1,000, %.3f cores, RSS %.1f MB",
		t.name, n, 100*u.done, u.cpu, u.cores, u.memory.RSS/1e6)
	return u, nil
}

// compare measures tools in turn, A B A B, and returns the median CPU of each that is installed.
func (l *lab) compare(ctx context.Context, w work, window time.Duration, tools ...*tool) (map[string]usage, error) {
	const rounds = 2
	s, err := l.simulate(ctx, w.peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	all := make(map[string][]usage)
	for range rounds {
		for _, t := range tools {
			if t.missing() != "" {
				continue
			}
			u, err := l.use(ctx, t, s, w, window)
			if err != nil {
				return nil, err
			}
			all[t.name] = append(all[t.name], u)
		}
	}
	medians := make(map[string]usage)
	for name, list := range all {
		m := list[0]
		m.cpu = median(list, func(u usage) float64 { return u.cpu })
		m.cores = median(list, func(u usage) float64 { return u.cores })
		m.done = median(list, func(u usage) float64 { return u.done })
		medians[name] = m
	}
	return medians, nil
}

func median[T any](list []T, value func(T) float64) float64 {
	all := make([]float64, 0, len(list))
	for _, v := range list {
		all = append(all, value(v))
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// ratio returns the check that the exporter needs at most a multiple of another tool's CPU.
func ratio(all map[string]usage, other *tool, most float64) Check {
	name := "CPU per probe, in multiples of " + other.name
	if reason := other.missing(); reason != "" {
		return skipped(name, reason)
	}
	ours, theirs := all[toolExporter.name], all[other.name]
	c := atMost(name, ours.cpu/theirs.cpu, most, "")
	c.Note = fmt.Sprintf("%.1f against %.1f ms per 1,000 probes", ours.cpu, theirs.cpu)
	return c
}
