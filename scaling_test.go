package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// documented returns the block of docs/scaling.md that has a text.
func documented(t *testing.T, text string) string {
	t.Helper()
	page, err := os.ReadFile("docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if strings.Contains(string(m[1]), text) {
			return string(m[1])
		}
	}
	t.Fatalf("docs/scaling.md has no block with %s", text)
	return ""
}

// discovery: three shards of one configuration with a peer file, and a Prometheus that is configured as
// the page for operators says. It finds all peers over /sd, and has each measured by its own shard.
func (p program) discovery(t *testing.T) {
	t.Parallel()
	daemons.NeedPrometheus(t)
	const shards, peers = 3, 12
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "peers.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	group := func(i int) string {
		return fmt.Sprintf(`{"targets": ["127.0.0.%d"], "labels": {"__peer__": "branch %d", "isp": "acme"}}`, i, i)
	}
	var groups, names []string
	for i := range peers {
		groups, names = append(groups, group(i+1)), append(names, fmt.Sprintf("branch %d", i+1))
	}
	write := func(name, text string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at+".new", at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	write("peers.d/a.json", "["+strings.Join(groups, ",\n")+"]")
	file := write("config.yml", "modules: {default: {collectors: [icmp], intervals: {icmp: 1s}}}\npeer_files: [peers.d/*.json]\n")
	var urls, targets []string
	var last *process
	for i := range shards {
		last = p.start(t, here, "--config.file="+file, fmt.Sprintf("--shard=%d", i), fmt.Sprintf("--total-shards=%d", shards))
		urls, targets = append(urls, "      - url: http://"+last.listen+"/sd\n        refresh_interval: 2s\n"), append(targets, "'"+last.listen+"'")
	}
	config := documented(t, "job_name: ipsec_probe")
	for _, change := range []struct{ from, to string }{
		{`(?m)(^      - url: .*\n)+`, strings.Join(urls, "")}, {"scrape_interval: 5m", "scrape_interval: 5s"}, {"scrape_timeout: 1m", "scrape_timeout: 4s"},
	} {
		found := regexp.MustCompile(change.from)
		if !found.MatchString(config) {
			t.Fatalf("the documented configuration has no %s:\n%s", change.from, config)
		}
		config = found.ReplaceAllLiteralString(config, change.to)
	}
	config += "  - job_name: ipsec_path\n    scrape_interval: 1s\n    static_configs: [{targets: [" + strings.Join(targets, ", ") + "]}]\n"
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "config", write("prometheus.yml", config)).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s\n%s", err, out, config)
	}
	const listen = "127.0.0.1:19090"
	daemons.StartPrometheus(t, netlab.Here(t), dir, config, listen)
	ask := func(label, expr string) []string { return query(t, listen, label, expr) }
	last.eventually(t, "every peer is measured on request", func() bool {
		return slices.Equal(ask("instance", `probe_success == 1`), sorted(names))
	})
	if got := ask("peer", `ipsec_path_icmp_reachable{job="ipsec_probe",isp="acme"} == 1`); !slices.Equal(got, sorted(names)) {
		t.Errorf("reachable: %q", got)
	}
	if got := ask("__name__", `{exported_peer!=""} or {exported_isp!=""}`); len(got) > 0 {
		t.Errorf("labels of the discovery hide those of %q", got)
	}
	last.eventually(t, "every peer has one exporter", func() bool {
		return slices.Equal(ask("peer", `count by (peer) (ipsec_path_peer_info{job="ipsec_path"}) == 1`), sorted(names))
	})
	if got := ask("shard", `ipsec_path_shard_info{total="3"} and on (instance) (ipsec_path_shards == 3)`); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("shards: %q", got)
	}
	write("peers.d/b.json", "["+group(100)+"]")
	last.eventually(t, "a new peer is found", func() bool {
		return slices.Contains(ask("instance", `probe_success == 1`), "branch 100")
	})
}

func sorted(all []string) []string { return slices.Sorted(slices.Values(all)) }

// query returns the values of a label in the result of an expression, sorted.
func query(t *testing.T, prometheus, label, expr string) (values []string) {
	t.Helper()
	code, body := fetch(t, http.DefaultClient, "http://"+prometheus+"/api/v1/query?query="+url.QueryEscape(expr), "", "")
	var answer struct {
		Status string
		Data   struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("query %s: %d %v %s", expr, code, err, body)
	}
	for _, r := range answer.Data.Result {
		values = append(values, r.Metric[label])
	}
	slices.Sort(values)
	return values
}
