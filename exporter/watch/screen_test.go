package watch

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/untrusted"
)

func peers(n int) (all []*report.Report) {
	for i := range n {
		all = append(all, &report.Report{
			Peer: fmt.Sprintf("branch-%d with a name that is longer than most names of branches are", i), Host: "203.0.113.10",
			Address: netip.MustParseAddr("203.0.113.10"), Healthy: true, Measured: true,
			Findings: suite.Findings{ICMP: &icmp.Result{
				State: icmp.Reachable, Sent: 40, Received: 38, Last: 12 * time.Millisecond, Min: 11 * time.Millisecond, Avg: 12500 * time.Microsecond,
				Max: 20 * time.Millisecond, Jitter: 400 * time.Microsecond,
			}},
		})
	}
	return all
}

// TestDraw: whatever the number of peers and the size of the terminal, all fits, and each peer that
// is shown has its verdict and its echoes.
func TestDraw(t *testing.T) {
	began := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for _, size := range []Size{{80, 24}, {40, 10}, {200, 60}, {80, 3}} {
		for _, n := range []int{0, 1, 3, 11, 12, 500} {
			lines := Draw(peers(n), size, began, began.Add(95*time.Second))
			if len(lines) > max(size.Rows, 5) || lines[0] != untrusted.Fit("12:01:35  measuring for 1m35s; q ends", size.Columns) {
				t.Errorf("%d peers on %+v: %d lines, the first %q", n, size, len(lines), lines[0])
			}
			verdicts, told := 0, 0
			for _, line := range lines {
				if w := utf8.RuneCountInString(line); w > size.Columns {
					t.Errorf("%d peers on %+v: a line of %d columns: %s", n, size, w, line)
				}
				if strings.HasPrefix(line, "branch-") {
					verdicts++
				}
				if strings.HasPrefix(line, "  40 echoes, 5.0 % lost; last 12.0") {
					told++
				}
			}
			left := 0
			if last := lines[len(lines)-1]; strings.HasSuffix(last, " more peers do not fit on this screen") {
				fmt.Sscanf(last, "%d", &left)
			}
			if size.Columns >= 80 && (verdicts != told || verdicts+left != n) {
				t.Errorf("%d peers on %+v: %d verdicts, %d with echoes, %d said to be left\n%s", n, size, verdicts, told, left, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestEchoes: what is not known is not a number.
func TestEchoes(t *testing.T) {
	for want, r := range map[string]*icmp.Result{
		"echo requests are not sent":         nil,
		"echo requests: none is decided yet": {},
		"echo requests: no route":            {Reason: "no route"},
		"4 echoes, 100.0 % lost":             {Sent: 4},
		"4 echoes, 25.0 % lost; last 1.0, min/avg/max 1.0/1.5/2.0, jitter 0.5 ms": {
			Sent: 4, Received: 3, Last: time.Millisecond, Min: time.Millisecond, Avg: 1500 * time.Microsecond, Max: 2 * time.Millisecond, Jitter: 500 * time.Microsecond,
		},
	} {
		if got := echoes(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
