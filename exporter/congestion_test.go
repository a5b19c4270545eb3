package exporter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
)

// holding returns how many peers are healthy, and at how many each diagnosis holds.
func (s *service) holding() (healthy int, by map[string]int) {
	by = make(map[string]int)
	for _, p := range s.running() {
		if ok, known := p.Tracker.Healthy(); ok && known {
			healthy++
		}
		for _, h := range p.Tracker.Held() {
			by[h.Name]++
		}
	}
	return healthy, by
}

// only waits until n peers are healthy or hold the one diagnosis that is allowed, which n peers have
// to hold if it is named.
func (s *service) only(t *testing.T, allowed string, limit time.Duration, enough func(healthy, held int) bool) {
	t.Helper()
	var healthy int
	var by map[string]int
	defer func() {
		t.Logf("%d healthy, %v, %d probes dropped by the queue", healthy, by, s.tools.Stack.Stats().QueueDrops)
	}()
	exportertest.Eventually(t, limit, "peers hold "+allowed, func() bool {
		healthy, by = s.holding()
		for name, n := range by {
			if name != allowed && name != diagnosis.VantageSuspect {
				t.Fatalf("%s holds at %d peers", name, n)
			}
		}
		return enough(healthy, by[allowed])
	})
}

// TestOwnCongestion: while this host's own shaper is full, not one of 300 peers is called silent, and
// this host's uplink is suspected; three that are silent are, before and after.
func TestOwnCongestion(t *testing.T) {
	t.Parallel()
	const peers = 300
	l := newLab(t)
	var text strings.Builder
	text.WriteString("modules: {default: {collectors: [icmp, ike], intervals: {icmp: 1s, ike: 10s}}}\npeers:\n")
	var addrs []netip.Addr
	for i := range peers {
		v6 := i%2 == 1
		addrs = append(addrs, l.AddServerAddr(t, byte(10+i/2), v6))
		fmt.Fprintf(&text, "  - {name: p%03d, address: '%s'}\n", i, addrs[i])
	}
	s := l.serve(t, text.String())
	go func() { _ = s.vantage.watch(s.ctx) }()

	s.only(t, "", time.Minute, func(healthy, _ int) bool { return healthy == peers })
	l.Shape(t, 6250) // 50 kbit/s
	s.only(t, diagnosis.VantageSuspect, 2*time.Minute, func(_, suspect int) bool { return suspect == peers })
	dropped := s.tools.Stack.Stats().QueueDrops
	s.only(t, diagnosis.VantageSuspect, 2*time.Minute, func(int, int) bool { return s.tools.Stack.Stats().QueueDrops > dropped+10*peers })
	l.Shape(t, 0)
	s.only(t, "", 3*time.Minute, func(healthy, _ int) bool { return healthy == peers })

	l.Silence(t, addrs[17], addrs[100], addrs[201])
	s.only(t, diagnosis.PeerSilent, 2*time.Minute, func(healthy, silent int) bool { return silent == 3 && healthy == peers-3 })
	for _, p := range s.running() {
		silent := slices.Contains([]string{"p017", "p100", "p201"}, p.Config.Name)
		if got := p.Echoes(time.Now()).State == icmp.Silent; got != silent {
			t.Errorf("%s: silent %t", p.Config.Name, got)
		}
	}
	for line := range strings.SplitSeq(s.logged.String(), "\n") {
		if strings.Contains(line, "measuring failed") {
			t.Errorf("logged for each peer: %s", line)
			break
		}
	}
}
