package rows

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/bench/load"
	"ipsec_path_exporter/internal/netlab/crowd"
)

const (
	floodPeers = 500
	floodRate  = 50_000
	// calm is the time in which the verdicts of the exporter settle before the flood.
	calm = 2 * time.Minute
)

// flood sends forged ICMP and UDP packets, which claim to come from the peers, at 50,000 per second
// to an exporter with all default collectors. The attacker knows its ports and its echo identifier.
func flood(ctx context.Context, l *lab) ([]Check, error) {
	peers := l.clean(l.count(floodPeers))
	peers.Mix = []crowd.Share{{Kind: crowd.Clean, Weight: 7}, {Kind: crowd.Hole, Weight: 1}, {Kind: crowd.Small, Weight: 1}, {Kind: crowd.Dead, Weight: 1}}
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	e, err := l.export(ctx, exporterConfig{peers: peers, interval: time.Second})
	if err != nil {
		return nil, err
	}
	defer e.Stop()
	window := l.duration(3 * time.Minute)
	if err := pause(ctx, min(calm, window)); err != nil {
		return nil, err
	}
	before, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	rss := e.Memory().RSS
	var identifier uint16
	if err := getJSON(ctx, simulatorURL+"/identifier", &identifier); err != nil {
		return nil, err
	}
	arguments := append(floodArguments(l.self, e, peers, window), "--identifier", strconv.Itoa(int(identifier)))
	attack, err := start(ctx, l.Dir, "attacker", arguments...)
	if err != nil {
		return nil, err
	}
	defer attack.Stop()
	changed, most, err := l.endure(ctx, e, attack, s.truth(), before, window)
	if err != nil {
		return nil, err
	}
	sent := strings.TrimSpace(attack.Stop())
	if err := pause(ctx, settleEchoes); err != nil {
		return nil, err
	}
	after, err := e.page(ctx)
	if err != nil {
		return nil, err
	}
	growth := atMost("growth of memory", (most-rss)/1e6, 0.1*rss/1e6+1, "MB")
	growth.Note = fmt.Sprintf("of %.1f MB; forged packets: %s", rss/1e6, sent)
	return append(l.judgeFlood(s, before, after, window), atMost("peers whose right verdict changed", float64(changed), 0, ""), growth), nil
}

// floodArguments sends each kind of forged packets for a part of the window.
func floodArguments(self string, e *exporter, peers crowd.Config, window time.Duration) []string {
	args := []string{
		self, "flood", "--first", peers.Addr(0, false).String(), "--count", strconv.Itoa(peers.Count), "--rate", strconv.Itoa(floodRate),
		"--turn", (window/time.Duration(len(load.Forgeries())) + 1).String(),
	}
	for _, port := range e.udpPorts() {
		args = append(args, "--port", strconv.Itoa(port))
	}
	return args
}

// endure watches the exporter under the flood. It returns the number of peers whose verdict was right
// before and wrong at any time, and the largest RSS.
func (l *lab) endure(ctx context.Context, e *exporter, attack *Process, truth truth, before page, window time.Duration) (int, float64, error) {
	wrongBefore, changed := l.differences(truth, before, nil), make(map[string]bool)
	l.logf("%d of %d peers have the right verdict", len(truth)-len(wrongBefore), len(truth))
	most := 0.0
	for end := time.Now().Add(window); time.Now().Before(end); {
		if err := pause(ctx, min(lookEvery, time.Until(end)+time.Millisecond)); err != nil {
			return 0, 0, err
		}
		if err := attack.Running(); err != nil {
			return 0, 0, err
		}
		most = max(most, e.Memory().RSS)
		p, err := e.page(ctx)
		if err != nil {
			return 0, 0, err
		}
		for peer, problem := range l.differences(truth, p, nil) {
			if wrongBefore[peer] == "" && !changed[peer] {
				changed[peer] = true
				l.logf("%s: %s", peer, problem)
			}
		}
	}
	return len(changed), most, nil
}

// judgeFlood looks at the echoes to peers without faults: the losses since the start, and the echoes
// since the page before.
func (l *lab) judgeFlood(s *simulator, before, after page, window time.Duration) []Check {
	lost, sent := 0.0, 0.0
	i, clean := 0, 0.0
	r0, r1 := before.byPeer("ipsec_path_icmp_requests_total"), after.byPeer("ipsec_path_icmp_requests_total")
	replies := after.byPeer("ipsec_path_icmp_replies_total")
	for profile := range s.config.Profiles {
		name := peerName(i)
		i++
		if profile.Kind != crowd.Clean {
			continue
		}
		clean++
		sent += r1[name] - r0[name]
		lost += math.Abs(r1[name] - replies[name]) // more replies than requests are wrong, too
	}
	return []Check{
		atMost("false losses", lost, 0, ""),
		atLeast("share of the wanted echoes with a result", sent/clean/(window+settleEchoes).Seconds(), 0.95),
	}
}

// udpPorts returns the UDP ports on which the exporter listens.
func (e *exporter) udpPorts() []int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", e.cmd.Process.Pid))
	if err != nil {
		return nil
	}
	var ports []int
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil {
			ports = append(ports, int(n))
		}
	}
	return ports
}
