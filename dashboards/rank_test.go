package dashboards

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A found diagnosis of a peer, for TestWorstDiagnosisLeads.
type found struct {
	peer, diagnosis, gateway, severity string
	// age is for how long it holds, in seconds.
	age int64
}

// TestWorstDiagnosisLeads: the table of faults shows the most severe diagnosis of each peer, of equally
// severe ones the newest, and ranks the peers in the same way.
func TestWorstDiagnosisLeads(t *testing.T) {
	now := lastMinute()
	var text strings.Builder
	for _, name := range []string{"diagnosis", "diagnosis_since_timestamp_seconds"} {
		fmt.Fprintf(&text, "# TYPE ipsec_path_%s gauge\n", name)
		for _, f := range []found{
			{"old", "pmtu_black_hole", "", "critical", 90000},
			{"old", "icmp_blocked", "", "info", 60},
			{"new", "no_sa", "hub", "critical", 3600},
			{"new", "child_missing", "hub", "critical", 60},
			{"mild", "loss_high", "", "warning", 60},
			{"policy", "icmp_blocked", "", "info", 60},
		} {
			labels := fmt.Sprintf(`job="ipsec",instance="exporter1:10500",peer=%q,diagnosis=%q`, f.peer, f.diagnosis)
			if f.gateway != "" {
				labels += fmt.Sprintf(`,gateway=%q`, f.gateway)
			}
			value := now - f.age
			if name == "diagnosis" {
				labels, value = labels+fmt.Sprintf(`,severity=%q`, f.severity), 1
			}
			for _, at := range []int64{now - 60, now} {
				fmt.Fprintf(&text, "ipsec_path_%s{%s} %d %d\n", name, labels, value, at)
			}
		}
	}
	text.WriteString("# EOF\n")
	s := serveText(t, text.String())
	want := []string{"new child_missing", "old pmtu_black_hole", "mild loss_high", "policy icmp_blocked"}
	for _, b := range load(t) {
		for _, p := range b.all() {
			if p.Title != "Peers with a fault ($rows)" {
				continue
			}
			rows := s.answer(t, p.Targets[0], everything(""), now-3600, now)
			slices.SortFunc(rows, func(a, b result) int { return strings.Compare(b.Value[1].(string), a.Value[1].(string)) })
			var got []string
			for _, r := range rows {
				got = append(got, r.Metric["peer"]+" "+r.Metric["diagnosis"])
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if since := s.answer(t, p.Targets[1], everything(""), now-3600, now); len(since) != len(want) {
				t.Errorf("the time is known of %d peers", len(since))
			}
			return
		}
	}
	t.Error("there is no such panel")
}
