package dashboards

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// histograms returns the histograms of the exporter, with classic and native buckets, observed once
// in a while.
func histograms(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	var observe []func()
	for name, h := range map[string]struct {
		labels prometheus.Labels
		scale  float64
	}{
		"icmp_round_trip_seconds":     {prometheus.Labels{"peer": "branch", "isp": "acme", "site": "lima"}, 0.02},
		"mtu_search_duration_seconds": {nil, 2},
		"mtu_search_packets":          {nil, 20},
	} {
		m := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ipsec_path", Name: name, Help: name, ConstLabels: h.labels, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			Buckets: []float64{h.scale / 2, h.scale, h.scale * 2},
		})
		registry.MustRegister(m)
		observe = append(observe, func() { m.Observe(h.scale); m.Observe(h.scale * 1.5) })
	}
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				for _, o := range observe {
					o()
				}
			}
		}
	}()
	t.Cleanup(func() { close(done) })
	return registry
}

// secondMajor reports whether Prometheus is one of version 2, which takes native histograms by a
// flag, and newer ones by the scrape configuration.
func secondMajor(t *testing.T) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "prometheus", "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Contains(string(out), "version 2.")
}

// hastyRules writes the recording rules and alerts to a directory, with every group evaluated each
// second, and returns the file. A group of one minute has its turn at a second of the minute that
// follows from its name: up to a minute after the start.
func hastyRules(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("../alerts/ipsec_path.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	interval := regexp.MustCompile(`(?m)^    interval: \d+m$`)
	if !interval.Match(text) {
		t.Fatal("no group of rules has an interval of minutes")
	}
	file := filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(file, interval.ReplaceAll(text, []byte("    interval: 1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPanelsOfHistogramsWorkWithNativeOnes lets a Prometheus that takes native histograms scrape
// some: it then has no classic buckets. That the same panels work with classic ones alone is shown
// by TestEveryQueryBringsWhatItsPanelShows.
func TestPanelsOfHistogramsWorkWithNativeOnes(t *testing.T) {
	need(t, "prometheus")
	page := httptest.NewServer(promhttp.HandlerFor(histograms(t), promhttp.HandlerOpts{}))
	defer page.Close()
	address := strings.TrimPrefix(page.URL, "http://")
	dir := t.TempDir()
	flags, option := []string{"--enable-feature=native-histograms"}, ""
	if !secondMajor(t) {
		flags, option = nil, "scrape_native_histograms: true, "
	}
	rules := hastyRules(t, dir)
	s := start(t, dir, dir+"/data", fmt.Sprintf(
		"global: {evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: ipsec, %sscrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]\n", rules, option, address), flags...)
	vars := everything("branch")
	vars["oneInstance"] = address
	enough := func() bool {
		return len(s.now(t, "rate(ipsec_path_mtu_search_packets[4m])", time.Now().Unix())) > 0 &&
			len(s.now(t, "provider:ipsec_path_icmp_round_trip_seconds:rate5m", time.Now().Unix())) > 0
	}
	for deadline := time.Now().Add(time.Minute); !enough(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Prometheus has no native histogram")
		}
	}
	if classic := s.now(t, "ipsec_path_mtu_search_packets_bucket", time.Now().Unix()); len(classic) > 0 {
		t.Fatalf("the test shows nothing: Prometheus has classic buckets, too: %v", classic)
	}
	n := 0
	for _, b := range load(t) {
		for _, p := range b.all() {
			for _, q := range p.Targets {
				if !strings.Contains(q.Expr, "_bucket") {
					continue
				}
				n++
				results := s.now(t, expand(q.Expr, vars), time.Now().Unix())
				switch {
				case len(results) != 1:
					t.Errorf("%s: %s brings %d series: %s", b.UID, p.Title, len(results), q.Expr)
				case p.Type == "heatmap" && results[0].Histogram == nil:
					t.Errorf("%s: %s is no histogram: %v", b.UID, p.Title, results[0])
				case p.Type != "heatmap" && len(results[0].numbers()) != 1:
					t.Errorf("%s: %s: no number: %v", b.UID, p.Title, results[0])
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d queries look at histograms", n)
	}
}

// TestQuantiles: the panel of round trips shows the quantiles that follow from the buckets.
func TestQuantiles(t *testing.T) {
	w := newWorld(t, somePeers(), lastMinute())
	s := serve(t, w)
	for _, b := range load(t) {
		for _, p := range b.all() {
			if b.UID != "ipsec-path-peer" || p.Title != "Round-trip time of ICMP echo" {
				continue
			}
			// The world's buckets: 20 of 100 up to 10 ms, 60 up to 20 ms, 95 up to 50 ms.
			for i, want := range []float64{0.0175, 0.0457, 0.05} {
				r := s.now(t, expand(p.Targets[i].Expr, everything("branch")), w.ends)
				if len(r) != 1 || r[0].numbers()[0] < want*0.97 || r[0].numbers()[0] > want*1.03 {
					t.Errorf("%s: %v, want about %g", p.Targets[i].LegendFormat, r, want)
				}
			}
			return
		}
	}
	t.Error("there is no such panel")
}
