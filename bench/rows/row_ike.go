package rows

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// ikePeers send 10,000 IKE probes per second: each is asked on two ports every ikeInterval, the
	// shortest interval that can be configured.
	ikePeers    = 50_000
	ikeInterval = 10 * time.Second
)

// ikeRate compares the CPU of an IKE probe with ike-scan's.
func ikeRate(ctx context.Context, l *lab) ([]Check, error) {
	w := work{peers: l.clean(l.count(ikePeers)), interval: ikeInterval}
	s, err := l.simulate(ctx, w.peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	const rounds = 2
	var ours, theirs []float64
	silent, rate := 0, 0.0
	_, missing := exec.LookPath("ike-scan")
	for range rounds {
		r, err := l.ikeRound(ctx, s, w)
		if err != nil {
			return nil, err
		}
		ours, silent, rate = append(ours, r.cpu), max(silent, r.silent), r.rate
		if missing == nil {
			cpu, err := l.ikeScan(ctx, s, w)
			if err != nil {
				return nil, err
			}
			theirs = append(theirs, cpu)
		}
	}
	same := func(v float64) float64 { return v }
	ratio := skipped("CPU per probe, in multiples of ike-scan -B 100M", "ike-scan is not installed (Debian's package ike-scan)")
	if missing == nil {
		ratio = atMost(ratio.Name, median(ours, same)/median(theirs, same), 1, "")
		ratio.Note = fmt.Sprintf("%.1f against %.1f ms per 1,000 probes", median(ours, same), median(theirs, same))
	}
	return []Check{
		ratio,
		atLeast("IKE probes per second", rate, 0.98*2*float64(w.peers.Count)/w.interval.Seconds()),
		atMost("peers shown as silent, at any look", float64(silent), 0, ""),
	}, nil
}

// An ikeResult is what the exporter needed for IKE probes.
type ikeResult struct {
	cpu, rate float64 // ms per 1,000 probes, probes per second
	silent    int
}

// ikeRound runs the exporter with IKE only.
func (l *lab) ikeRound(ctx context.Context, s *simulator, w work) (ikeResult, error) {
	e, err := l.export(ctx, exporterConfig{peers: w.peers, collectors: []string{"ike"}, ike: w.interval})
	if err != nil {
		return ikeResult{}, err
	}
	defer e.Stop()
	if err := pause(ctx, w.interval+settleEchoes); err != nil {
		return ikeResult{}, err
	}
	window := l.duration(2 * w.interval)
	n, cpu, began := s.ikeProbes(ctx), e.CPU(), time.Now()
	if err := pause(ctx, window); err != nil {
		return ikeResult{}, err
	}
	n, cpu = s.ikeProbes(ctx)-n, e.CPU()-cpu
	took := time.Since(began).Seconds()
	p, err := e.page(ctx)
	if err != nil {
		return ikeResult{}, err
	}
	if n == 0 {
		return ikeResult{}, errNothing
	}
	r := ikeResult{cpu: 1e6 * cpu.Seconds() / n, rate: n / took, silent: p.count("ipsec_path_ike_responding", 0)}
	l.logf("exporter: %.0f IKE probes/s, %.2f ms CPU per 1,000", r.rate, r.cpu)
	return r, nil
}

// ikeProbes returns the number of IKE probes that the simulator has received, 0 if it does not answer.
func (s *simulator) ikeProbes(ctx context.Context) float64 {
	now, err := s.counters(ctx)
	if err != nil {
		return 0
	}
	return now["ike_requests"] + now["natt_requests"]
}

// ikeScan scans all peers once and returns the CPU in milliseconds per 1,000 probes.
func (l *lab) ikeScan(ctx context.Context, s *simulator, w work) (float64, error) {
	file, err := l.write("ike-scan.hosts", strings.Join(w.addresses(), "\n")+"\n")
	if err != nil {
		return 0, err
	}
	before := s.ikeProbes(ctx)
	cmd := exec.CommandContext(ctx, "ike-scan", "--ikev2", "--sport=0", "--multiline", "--bandwidth=100M", "--file="+file)
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("ike-scan: %w", err)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r := 1e6 * cpu.Seconds() / (s.ikeProbes(ctx) - before)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	l.logf("ike-scan: %.2f ms CPU per 1,000; %s", r, lines[len(lines)-1])
	return r, nil
}
