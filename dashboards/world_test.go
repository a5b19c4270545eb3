package dashboards

import (
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The world of the tests is what a Prometheus would hold after an hour with two exporters and a few
// peers, made from docs/metrics.md: every metric with every label and every value that the page
// names. So a metric that comes to the page comes to the tests.

// A family is one row of the page.
type family struct {
	name, kind string
	labels     []string
}

// A world is the page of metrics and what exists.
type world struct {
	families []family
	// values are the values of labels: by metric and label, or by label for all metrics.
	values map[string][]string
	peers  []peer
	// begins and ends bound its time, in seconds since the epoch.
	begins, ends int64
}

// step is the time between scrapes.
const step = 60

// A peer and the labels that its configuration gives it.
type peer struct {
	name   string
	labels map[string]string
	faulty bool
}

// newWorld reads the page. The world has these peers, and ends then.
func newWorld(tb testing.TB, peers []peer, ends int64) *world {
	tb.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{peers: peers, begins: ends - 3600, ends: ends, values: map[string][]string{
		// Those that the page does not name, because they are not closed sets.
		"gateway": {"hub", "local"}, "target": {"10.1.0.1", "10.1.0.2"}, "protocol": {"icmp", "udp500", "udp4500", "esp", "ah", "esp_udp"}, "version": {"1", "2"},
		"vendor_state": {"READY", "AM_TM_INIT_XAUTH_V6C"}, "direction": {"in", "out"}, "kind": {"pmtu_received", "ikev1"},
		"address": {"203.0.113.10"}, "family": {"ip4"}, "source": {"198.51.100.1"}, "port": {"500"}, "reply": {"INVALID_KE_PAYLOAD"},
		"file": {"/etc/peers.d/a.yml", "/etc/peers.d/broken.yml"}, "shard": {"0"}, "total": {"2"},
		"socket": {"icmp4"}, "type": {"strongswan"}, "ipsec_path_protocol_state/state": {"passes", "blocked", "unknown"},
		"ipsec_path_collector_last_run_timestamp_seconds/collector": {"icmp", "ike", "pmtu"},
		"ipsec_path_collector_errors_total/collector":               {"icmp", "resolve"},
		"ipsec_path_probe_packets_total/collector":                  {"icmp", "ike", "pmtu"},
		"ipsec_path_probe_bytes_total/collector":                    {"icmp", "ike", "pmtu"},
		"ipsec_path_diagnosis/severity":                             {"critical"},
		"ipsec_path_ike_response_info/version":                      {"2"},
		"ipsec_path_partner_dscp/sent":                              {"10"},
		"ipsec_path_partner_dscp/received":                          {"0"},
		"ipsec_path_gateway_info/version":                           {"5.9.8"},
		"ipsec_path_exporter_build_info/version":                    {"0.1.0"},
		"branch":                                                    {"main"}, "goarch": {"amd64"}, "goos": {"linux"}, "goversion": {"go1.26"}, "revision": {"abc"}, "tags": {"netgo"},
	}}
	word := regexp.MustCompile("`([^`]+)`")
	words := func(cell string) []string {
		var all []string
		for _, m := range word.FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		return all
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(ipsec_path_\\w+)` \\| (gauge|counter|histogram) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		w.families = append(w.families, family{row[1], row[2], words(row[3])})
	}
	for _, row := range regexp.MustCompile("(?m)^\\| (?:`(ipsec_path_\\w+)`|all) \\| `(\\w+)` \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		key := row[2]
		if row[1] != "" {
			key = row[1] + "/" + key
		}
		w.values[key] = words(row[3])
	}
	if len(w.families) < 60 || len(w.values["diagnosis"]) < 15 || len(w.values["ipsec_path_mtu_state/state"]) != 5 {
		tb.Fatalf("docs/metrics.md was not understood: %d families, diagnoses %v", len(w.families), w.values["diagnosis"])
	}
	return w
}

// of gives the values of a metric's label.
func (w *world) of(metric, label string) []string {
	if v := w.values[metric+"/"+label]; v != nil {
		return v
	}
	if v := w.values[label]; v != nil {
		return v
	}
	// A set that the page names at another metric, such as the reasons of collector_errors_total.
	for _, key := range slices.Sorted(maps.Keys(w.values)) {
		if strings.HasSuffix(key, "/"+label) {
			return w.values[key]
		}
	}
	panic("the page names no values of " + metric + "/" + label)
}

// text is the world in the OpenMetrics format with times, which promtool makes blocks of.
func (w *world) text() string {
	var b strings.Builder
	for _, f := range w.families {
		w.writeFamily(&b, f)
	}
	w.writeOthers(&b)
	b.WriteString("# EOF\n")
	return b.String()
}

// writeFamily writes one metric of both exporters, of all peers where it is about them.
func (w *world) writeFamily(b *strings.Builder, f family) {
	for _, base := range []map[string]string{{"job": "ipsec", "instance": "exporter1:10500"}, {"job": "ipsec", "instance": "exporter2:10500"}} {
		if !slices.Contains(f.labels, "peer") {
			w.writeSeries(b, f, base, f.labels, nil)
			continue
		}
		for i := range w.peers {
			if base["instance"] == "exporter2:10500" && i > 2 {
				break // the second one measures some of them, too
			}
			labels := maps.Clone(base)
			maps.Copy(labels, w.peers[i].labels)
			labels["peer"] = w.peers[i].name
			var rest []string
			for _, l := range f.labels {
				if l != "peer" {
					rest = append(rest, l)
				}
			}
			w.writeSeries(b, f, labels, rest, &w.peers[i])
		}
	}
}

// writeSeries writes a metric's series with all values of the labels that are left.
func (w *world) writeSeries(b *strings.Builder, f family, labels map[string]string, left []string, p *peer) {
	if len(left) > 0 {
		for _, v := range w.of(f.name, left[0]) {
			more := maps.Clone(labels)
			more[left[0]] = v
			w.writeSeries(b, f, more, left[1:], p)
		}
		return
	}
	if strings.HasPrefix(f.name, "ipsec_path_diagnosis") && !diagnosisExists(labels, p) {
		return
	}
	if f.kind == "histogram" {
		w.writeHistogram(b, f, labels)
		return
	}
	w.write(b, f.name, labels, w.value(f, labels, p))
}

// diagnosisExists: only faulty peers have any, and one without a gateway is about the path.
func diagnosisExists(labels map[string]string, p *peer) bool {
	ofGateway := slices.Contains([]string{"tunnel_oversized", "negotiation_stuck", "child_missing", "no_sa", "esp_one_way"}, labels["diagnosis"])
	switch {
	case !p.faulty || labels["gateway"] == "local":
		return false
	case !ofGateway:
		delete(labels, "gateway")
	}
	return true
}

// value gives a series its course: i counts scrapes.
func (w *world) value(f family, labels map[string]string, p *peer) func(i int64) float64 {
	fixed := func(v float64) func(int64) float64 { return func(int64) float64 { return v } }
	known := map[string]float64{
		"ipsec_path_mtu_bytes": 1400, "ipsec_path_mtu_link_bytes": 1500, "ipsec_path_gateway_path_mtu_bytes": 1500, "ipsec_path_mtu_reverse_lower_bytes": 1380,
		"ipsec_path_mtu_forward_lower_bytes": 1400, "ipsec_path_mtu_forward_upper_bytes": 1400,
		"ipsec_path_mtu_reverse_upper_bytes": 1400, "ipsec_path_hops": 5, "ipsec_path_protocol_last_hop": 4, "ipsec_path_ike_round_trip_seconds": 0.02,
		"ipsec_path_tunnel_mtu_bytes": 1326, "ipsec_path_tunnel_mss_bytes": 1286, "ipsec_path_mtu_kernel_cached_bytes": 1300,
	}
	switch v, ok := known[f.name]; {
	case ok:
		return fixed(v)
	case f.name == "ipsec_path_mtu_state":
		return fixed(oneOf(labels["state"], map[string]string{"icmp": "unreachable", "ike": "black_hole", "natt": "reduced"}[labels["method"]]))
	case f.name == "ipsec_path_protocol_state":
		return fixed(oneOf(labels["state"], map[bool]string{true: "blocked", false: "passes"}[labels["protocol"] == "esp"]))
	case f.name == "ipsec_path_peer_healthy", f.name == "ipsec_path_tunnel_up":
		return fixed(oneOf(p.faulty, false))
	case f.name == "ipsec_path_gateway_up":
		// One could not be read for a while.
		return func(i int64) float64 { return oneOf(labels["gateway"] == "local" && i > 20 && i < 30, false) }
	case f.name == "ipsec_path_peer_file_valid":
		return fixed(oneOf(labels["file"] == "/etc/peers.d/broken.yml", false))
	case f.name == "ipsec_path_capability":
		return fixed(oneOf(labels["name"] == "kernel_timestamps", false))
	case strings.HasSuffix(f.name, "timestamp_seconds"):
		return fixed(float64(w.begins))
	case f.kind == "gauge":
		return fixed(1)
	case f.name == "ipsec_path_icmp_replies_total":
		return func(i int64) float64 { return float64(i * 9) }
	case strings.HasPrefix(f.name, "ipsec_path_sa_") && labels["direction"] == "in" && p.faulty:
		return fixed(1000)
	}
	return func(i int64) float64 { return float64(i * 10) }
}

// oneOf is 1 where two values are the same.
func oneOf[T comparable](a, b T) float64 {
	if a == b {
		return 1
	}
	return 0
}

func (w *world) writeHistogram(b *strings.Builder, f family, labels map[string]string) {
	scale := 1.0
	if strings.HasSuffix(f.name, "_packets") {
		scale = 1000
	}
	for _, at := range []struct{ le, share float64 }{{0.01, 0.2}, {0.02, 0.6}, {0.05, 0.95}, {math.Inf(1), 1}} {
		bucket := maps.Clone(labels)
		bucket["le"] = strings.Replace(strconv.FormatFloat(at.le*scale, 'g', -1, 64), "+Inf", "+Inf", 1)
		w.write(b, f.name+"_bucket", bucket, func(i int64) float64 { return math.Floor(float64(i*100) * at.share) })
	}
	w.write(b, f.name+"_sum", labels, func(i int64) float64 { return float64(i) * 2 * scale })
	w.write(b, f.name+"_count", labels, func(i int64) float64 { return float64(i * 100) })
}

// writeOthers writes what does not come from this program's own code: Prometheus, alerts, and the
// Go runtime.
func (w *world) writeOthers(b *strings.Builder) {
	for _, instance := range []string{"exporter1:10500", "exporter2:10500"} {
		base := map[string]string{"job": "ipsec", "instance": instance}
		for name, v := range map[string]float64{
			"up": 1, "scrape_duration_seconds": 0.01, "scrape_samples_scraped": 900, "process_resident_memory_bytes": 4e7, "process_open_fds": 30,
			"go_goroutines": 50,
		} {
			w.write(b, name, base, func(int64) float64 { return v })
		}
		w.write(b, "process_cpu_seconds_total", base, func(i int64) float64 { return float64(i) })
		w.write(b, "process_start_time_seconds", base, func(i int64) float64 { return float64(w.begins + i/30*1800) })
	}
	w.writeRecorded(b)
	firing := map[string]string{"job": "ipsec", "alertstate": "firing", "instance": "exporter1:10500", "severity": "critical"}
	for name, more := range map[string]map[string]string{
		"IPsecPathPMTUBlackHole": {"peer": "branch", "isp": "acme", "site": "lima", "gateway": "hub"}, "IPsecPathProviderFault": {"isp": "acme"}, "IPsecPathExporterDown": {},
	} {
		labels := maps.Clone(firing)
		maps.Copy(labels, more)
		labels["alertname"] = name
		w.write(b, "ALERTS", labels, func(int64) float64 { return 1 })
	}
}

// writeRecorded writes what the rules record for boards.
func (w *world) writeRecorded(b *strings.Builder) {
	for _, instance := range []string{"exporter1:10500", "exporter2:10500"} {
		base := map[string]string{"job": "ipsec", "instance": instance, "isp": "acme"}
		add := func(name string, value float64, labels ...string) {
			all := maps.Clone(base)
			for i := 0; i < len(labels); i += 2 {
				all[labels[i]] = labels[i+1]
			}
			w.write(b, "provider:ipsec_path_"+name, all, func(int64) float64 { return value })
		}
		for le, value := range map[string]float64{"0.01": 2, "0.02": 6, "0.05": 9.5, "+Inf": 10} {
			add("icmp_round_trip_seconds_bucket:rate5m", value, "le", le)
		}
		add("mtu_changes:peers3m", 1)
		add("peer_overdue_collectors:peers", 1)
		add("ike_sas:sum", 3, "gateway", "hub", "version", "2", "state", "established")
		add("ike_sas:sum", 1, "gateway", "hub", "version", "2", "state", "connecting")
		add("child_sas:sum", 3, "gateway", "hub", "state", "installed")
		for _, direction := range w.values["direction"] {
			add("sa_bytes:rate5m", 1e6, "gateway", "hub", "direction", direction)
			add("sa_packets:rate5m", 1e3, "gateway", "hub", "direction", direction)
		}
	}
}

// write writes all samples of one series.
func (w *world) write(b *strings.Builder, name string, labels map[string]string, value func(i int64) float64) {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", k, labels[k]))
	}
	series := name + "{" + strings.Join(pairs, ",") + "} "
	for i := int64(0); w.begins+i*step <= w.ends; i++ {
		b.WriteString(series)
		b.WriteString(strconv.FormatFloat(value(i), 'g', -1, 64))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(w.begins+i*step, 10))
		b.WriteByte('\n')
	}
}

// somePeers are one of every kind: healthy and faulty, with the labels isp and site and without.
func somePeers() []peer {
	return []peer{
		{name: "branch", labels: map[string]string{"isp": "acme", "site": "lima"}, faulty: true},
		{name: "hq", labels: map[string]string{"isp": "acme", "site": "haiti"}},
		{name: "198.51.100.7", faulty: true},
		{name: "lone"},
	}
}
