package promqlcheck

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlantedExpressions: each mistake is found, and its twin without the mistake is not.
func TestPlantedExpressions(t *testing.T) {
	c := ship(t).catalog
	for _, tt := range []struct{ name, bad, good, want string }{
		{"broken PromQL", "sum(ipsec_path_hops", "sum(ipsec_path_hops)", "parse error"},
		{"an invented metric", "ipsec_path_invented > 0", "ipsec_path_hops > 0", `no metric "ipsec_path_invented"`},
		{"one that is nearly right", "ipsec_path_icmp_replies > 0", "ipsec_path_icmp_replies_total > 0", "no metric"},
		{"of another program", "ping_rtt_seconds", "process_start_time_seconds", "no metric"},
		{"an invented label", `ipsec_path_hops{hop="3"}`, `ipsec_path_hops{peer="3"}`, `has no label "hop"`},
		{"a label of another metric", `ipsec_path_hops{method="ike"}`, `ipsec_path_mtu_bytes{method="ike"}`, `has no label "method"`},
		{"a configured label where there is no peer", `ipsec_path_schedule_lag_seconds{isp="a"}`, `ipsec_path_hops{isp="a"}`, "has no label"},
		{"an invented value", `ipsec_path_diagnosis{diagnosis="pmtu_blackhole"}`, `ipsec_path_diagnosis{diagnosis="pmtu_black_hole"}`, `never "pmtu_blackhole"`},
		{"a label that what is recorded lacks", `provider:ipsec_path_sa_bytes:rate5m{peer="a"}`, `provider:ipsec_path_sa_bytes:rate5m{peer=~".*"}`, `has no label "peer"`},
		{"in a recorded metric", `peer:ipsec_path_diagnosis_since_timestamp_seconds:held{diagnosis="silent"}`, `peer:ipsec_path_diagnosis_since_timestamp_seconds:held{diagnosis="peer_silent"}`, "never"},
		{"among others", `ipsec_path_mtu_state{state=~"clean|blackhole"}`, `ipsec_path_mtu_state{state=~"clean|black.*"}`, `never "blackhole"`},
		{"of another method", `ipsec_path_mtu_state{method!="udp"}`, `ipsec_path_mtu_state{method!="natt"}`, "never"},
		{"a state of another metric", `ipsec_path_child_sas{state="xauth"}`, `ipsec_path_ike_sas{state="xauth"}`, "never"},
		{"grouping by nothing", "count by (peer, hop) (ipsec_path_hops)", "count by (peer, isp) (ipsec_path_hops)", `no label "hop"`},
		{"by what is gone", "sum by (peer) (sum by (job) (ipsec_path_hops))", "sum by (job) (sum by (job) (ipsec_path_hops))", `no label "peer"`},
		{"without nothing", "sum without (methods) (ipsec_path_mtu_bytes)", "sum without (method) (ipsec_path_mtu_bytes)", "no label"},
		{"matching by nothing", "ipsec_path_hops and on (gateway) ipsec_path_gateway_up", "ipsec_path_tunnel_up and on (gateway) ipsec_path_gateway_up", `no label "gateway"`},
		{"group_left of nothing", "ipsec_path_hops * on (peer) group_left (city) ipsec_path_peer_info", "ipsec_path_hops * on (peer) group_left (address) ipsec_path_peer_info", "no label"},
		{"rate of a gauge", "rate(ipsec_path_hops[5m])", "rate(ipsec_path_icmp_replies_total[5m])", "no counter"},
		{"increase of what is recorded", "increase(peer:ipsec_path_icmp_loss:ratio5m[5m])", "increase(ipsec_path_icmp_round_trip_seconds[5m])", "no counter"},
		{"delta of a counter", "delta(ipsec_path_icmp_replies_total[5m])", "delta(ipsec_path_hops[5m])", "is a counter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.Check(tt.bad); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.bad, err, tt.want)
			}
			if _, err := c.Check(tt.good); err != nil {
				t.Errorf("%s: %v", tt.good, err)
			}
		})
	}
}

// sound is an alert without a mistake.
func sound() Rule {
	return Rule{
		Alert: "IPsecPathX", Expr: "ipsec_path_peer_healthy == 0", For: "1m", Labels: map[string]string{"severity": "info"},
		Annotations: map[string]string{
			"summary": "X.", "runbook_url": RunbookBase + "IPsecPathX.md", "dashboard_url": "/d/x?var-peer={{ $labels.peer | urlquery }}",
			"description": `{{ $labels.peer }}{{ with $labels.isp }} ({{ . }}){{ end }}{{ with printf "ipsec_path_peer_info{peer=%q}" $labels.peer | query }}` +
				`{{ . | first | label "address" }}{{ end }}`,
		},
	}
}

func TestPlantedRules(t *testing.T) {
	c := ship(t).catalog
	text := func(name, s string) func(*Rule) { return func(r *Rule) { r.Annotations[name] = s } }
	for _, tt := range []struct {
		name   string
		change func(*Rule)
		want   string
	}{
		{"", func(*Rule) {}, ""},
		{"broken PromQL", func(r *Rule) { r.Expr = "up ==" }, "parse error"},
		{"an invented metric", func(r *Rule) { r.Expr = "ipsec_path_ill == 1" }, "no metric"},
		{"a bare vector", func(r *Rule) { r.Expr = "ipsec_path_peer_healthy" }, "without a comparison"},
		{"absent without for", func(r *Rule) { r.Expr, r.For = "absent(up)", "" }, "absent() without for"},
		{"the instance is lost", func(r *Rule) { r.Expr = "min by (peer, isp) (ipsec_path_peer_healthy) == 0" }, "no label instance"},
		{"no severity", func(r *Rule) { r.Labels = nil }, "severity"},
		{"a wrong severity", func(r *Rule) { r.Labels = map[string]string{"severity": "page"} }, "severity"},
		{"no summary", text("summary", ""), "annotation summary"},
		{"no description", text("description", " "), "annotation description"},
		{"no dashboard", text("dashboard_url", ""), "annotation dashboard_url"},
		{"no runbook", text("runbook_url", ""), "annotation runbook_url"},
		{"the runbook of another", text("runbook_url", RunbookBase+"IPsecPathY.md"), "runbook_url is not"},
		{"a summary that differs", text("summary", "{{ $labels.peer }}"), "headline"},
		{"a label that aggregation has dropped", func(r *Rule) { r.Expr = "min by (job, instance, peer) (ipsec_path_peer_healthy) == 0" }, `no label "isp"`},
		{"a label that never was", text("description", "{{ $labels.city }}"), `no label "city"`},
		{"a configured label without with", text("description", "{{ $labels.isp }}"), "wrap it in a with"},
		{"a broken query in a text", text("description", `{{ with printf "ipsec_path_hops{peer=%q" $labels.peer | query }}{{ end }}`), "parse error"},
		{"an invented metric in a text", text("description", `{{ with printf "ipsec_path_distance{peer=%q}" $labels.peer | query }}{{ end }}`), "no metric"},
		{"a label that the query lacks", text("description", `{{ with printf "ipsec_path_hops{peer=%q}" $labels.peer | query }}{{ . | first | label "address" }}{{ end }}`), `label "address"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sound()
			tt.change(&r)
			problems, _ := c.CheckRule(&r)
			err := errors.Join(problems...)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestPlantedRecordWithoutInstance(t *testing.T) {
	c := ship(t).catalog
	r := Rule{Record: "isp:x:count", Expr: "count by (isp) (ipsec_path_peer_info)"}
	if problems, _ := c.CheckRule(&r); len(problems) == 0 {
		t.Error("a recorded metric without instance passes")
	}
}

func TestPlantedRunbooks(t *testing.T) {
	dir := t.TempDir()
	whole := "# IPsecPathX\n\n## What it means\n\n## What users notice\n\n## Confirm\n\n## Meanwhile\n\n## False alarms\n"
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("README.md", "[x](IPsecPathX.md) [y](IPsecPathY.md)")
	write("IPsecPathX.md", whole)
	x, y := sound(), sound()
	y.Alert = "IPsecPathY"
	if problems := CheckRunbooks([]Rule{x}, dir); len(problems) > 0 {
		t.Error(problems)
	}
	if problems := CheckRunbooks([]Rule{x, y}, dir); len(problems) != 1 || !strings.Contains(problems[0].Error(), "IPsecPathY has no runbook") {
		t.Errorf("an alert without a runbook: %v", problems)
	}
	write("IPsecPathZ.md", whole)
	if problems := CheckRunbooks([]Rule{x}, dir); len(problems) != 1 || !strings.Contains(problems[0].Error(), "of no alert") {
		t.Errorf("a runbook without an alert: %v", problems)
	}
	write("IPsecPathX.md", "# IPsecPathX\n")
	if problems := CheckRunbooks([]Rule{x}, dir); len(problems) != 6 {
		t.Errorf("an empty runbook: %v", problems)
	}
}

func TestPlantedBoards(t *testing.T) {
	c := ship(t).catalog
	const frame = `{"title":"b","templating":{"list":[{"type":"query","name":"peer","query":{"query":"VARIABLE"}}]},
		"annotations":{"list":[{"name":"a","expr":"ANNOTATION"}]},"panels":[{"title":"p","panels":[{"targets":[{"expr":"TARGET"}]}]}]}`
	good := map[string]string{
		"VARIABLE":   `label_values(ipsec_path_peer_info{job=~\"$job\", isp=~\"$isp\"}, peer)`,
		"ANNOTATION": `changes(ipsec_path_mtu_bytes{peer=~\"${peer:regex}\"}[$__interval]) > 0`,
		"TARGET":     `topk($n, rate(ipsec_path_icmp_replies_total{method!~\"$x\"}[$__rate_interval]))`,
	}
	good["TARGET"] = strings.ReplaceAll(good["TARGET"], "method", "peer")
	for _, tt := range []struct{ part, text, want string }{
		{"", "", ""},
		{"VARIABLE", `label_values(ipsec_path_peer_info, city)`, `no label "city"`},
		{"VARIABLE", `label_values(ipsec_path_peers, peer)`, "no metric"},
		{"VARIABLE", `label_values(peer)`, "all of Prometheus"},
		{"ANNOTATION", `changes(ipsec_path_mtu[2m]) > 0`, "no metric"},
		{"TARGET", `sum(`, "parse error"},
		{"TARGET", `ipsec_path_mtu_state{state=\"hole\"}`, "never"},
		{"TARGET", ``, ""},
	} {
		parts := maps.Clone(good)
		if tt.part != "" {
			parts[tt.part] = tt.text
		}
		page := frame
		for part, text := range parts {
			page = strings.ReplaceAll(page, part, text)
		}
		sources, err := Board("b.json", []byte(page))
		for _, s := range sources {
			_, wrong := c.Check(s.Expr)
			err = errors.Join(err, wrong)
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %s: %v, want %q", tt.part, tt.text, err, tt.want)
		}
		if n := 3; tt.part == "" && len(sources) != n {
			t.Errorf("%d expressions, want %d: %v", len(sources), n, sources)
		}
	}
	if _, err := Board("b.json", []byte(`{"title":"empty"}`)); err == nil {
		t.Error("a board without expressions passes")
	}
}

func TestPlantedBlocks(t *testing.T) {
	page := "a\n```promql\nup == 0\n\nsum(\n  up\n)\n```\n```text\nnot(\n```\n1. b\n   ```promql\n   up{\n   ```\n"
	var got []string
	for _, s := range Blocks("p.md", page) {
		got = append(got, s.Expr)
	}
	if want := []string{"up == 0", "sum(\n  up\n)", "up{"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPlantedUse(t *testing.T) {
	c := &Catalog{Metrics: foreign()}
	c.add("ipsec_path_a", "gauge", nil)
	c.add("ipsec_path_b", "histogram", nil)
	for _, tt := range []struct {
		name   string
		used   []string
		unused string
		boards bool
		want   int
	}{
		{"all are used", []string{"ipsec_path_a", "ipsec_path_b_sum", "up"}, "", true, 0},
		{"one is not", []string{"ipsec_path_a", "up"}, "", true, 1},
		{"nor can it be said", []string{"ipsec_path_a"}, "", false, 0},
		{"but deliberately", []string{"ipsec_path_a"}, "ipsec_path_b: why", true, 0},
		{"it is after all", []string{"ipsec_path_a", "ipsec_path_b_bucket"}, "ipsec_path_b: why", true, 1},
		{"there is none", []string{"ipsec_path_a", "ipsec_path_b"}, "ipsec_path_c: why", false, 1},
	} {
		unused, err := Unused("# why\n\n" + tt.unused + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if problems := c.CheckUse(tt.used, unused, tt.boards); len(problems) != tt.want {
			t.Errorf("%s: %v, want %d", tt.name, problems, tt.want)
		}
	}
	if _, err := Unused("ipsec_path_a\n"); err == nil {
		t.Error("no reason passes")
	}
}
