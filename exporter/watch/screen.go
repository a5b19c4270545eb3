// Package watch shows peers on a terminal while they are measured: one screen, drawn again and
// again, as mtr(8) does.
//
//	reports ──Draw──▶ lines that fit ──Terminal──▶ alternate screen; q ends
package watch

import (
	"fmt"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/internal/untrusted"
)

// A Size is that of a terminal, in characters.
type Size struct{ Columns, Rows int }

// leastLines is what is shown of each peer at least, even if not all peers fit: the verdict and the
// echoes.
const leastLines = 2

// Draw returns the lines of a screen: a heading, then for each peer the verdict, its echoes, and as
// much of its report as fits. Peers that do not fit are counted.
func Draw(reports []*report.Report, size Size, began, now time.Time) []string {
	lines := []string{heading(began, now), ""}
	room := max(size.Rows-len(lines), leastLines+1)
	each, shown := room, len(reports)
	if shown > 0 {
		each = room / shown
	}
	if each < leastLines { // one line says how many are left
		each, shown = leastLines, (room-1)/leastLines
	}
	for _, r := range reports[:shown] {
		lines = append(lines, peer(r, each)...)
	}
	if left := len(reports) - shown; left > 0 {
		lines = append(lines, fmt.Sprintf("%d more peers do not fit on this screen", left))
	}
	for i, line := range lines {
		lines[i] = untrusted.Fit(line, size.Columns)
	}
	return lines
}

func heading(began, now time.Time) string {
	return fmt.Sprintf("%s  measuring for %v; q ends", now.Format(time.TimeOnly), now.Sub(began).Truncate(time.Second))
}

// peer returns the lines about a peer.
func peer(r *report.Report, most int) []string {
	var text strings.Builder
	if err := report.WriteText(&text, []*report.Report{r}); err != nil {
		return []string{r.Peer + ": " + err.Error()}
	}
	verdict, rest, _ := strings.Cut(text.String(), "\n")
	lines := []string{verdict, "  " + echoes(r.ICMP)}
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		if len(lines) == most {
			break
		}
		if line != "" && !strings.Contains(line, "ICMP echo  ") { // told above
			lines = append(lines, line)
		}
	}
	return lines
}

// echoes returns the counts and the times of the echo requests so far.
func echoes(r *icmp.Result) string {
	switch {
	case r == nil:
		return "echo requests are not sent"
	case r.Sent == 0 && r.Reason != "":
		return "echo requests: " + r.Reason
	case r.Sent == 0:
		return "echo requests: none is decided yet"
	}
	lost := float64(r.Sent-r.Received) / float64(r.Sent)
	text := fmt.Sprintf("%d echoes, %.1f %% lost", r.Sent, 100*lost)
	if r.Received == 0 {
		return text
	}
	return text + fmt.Sprintf("; last %s, min/avg/max %s/%s/%s, jitter %s ms",
		milliseconds(r.Last), milliseconds(r.Min), milliseconds(r.Avg), milliseconds(r.Max), milliseconds(r.Jitter))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}
