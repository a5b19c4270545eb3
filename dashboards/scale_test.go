package dashboards

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The benchmarks of this file measure rules and queries over many peers with a real Prometheus:
// bench/boards.sh runs them.
var (
	manyPeers   = flag.Int("peers", 1000, "peers of the benchmarks of rules and boards")
	faultyPeers = flag.Int("one-faulty-of", 50, "how many peers there are for each one with a fault")
	ruleTime    = flag.Duration("rules-for", 3*time.Minute, "how long the benchmark of rules evaluates them")
)

const (
	// slowest is the most that a query of a panel, or one evaluation of all rules, may take.
	slowest = 2 * time.Second
	// scaleStep is the time between two samples in seconds.
	scaleStep = 60
	// fleetRange and peerRange are the default ranges of the boards in seconds.
	fleetRange, peerRange = 6 * 3600, 24 * 3600
	// recent is the time for which all series have samples.
	recent = 20 * 60
	// evaluateEvery is the interval of the rules.
	evaluateEvery = 15 * time.Second
	// undisturbed is the time between two writes of samples.
	undisturbed = time.Minute
	// seriesPerWrite is the number of series of one remote write request.
	seriesPerWrite = 500
)

// thePeer is shown by the boards about one peer.
const thePeer = "branch-00001"

// A scaled is a Prometheus with many peers.
type scaled struct {
	server
	world  *world
	series []scaleSeries
}

// A scaleSeries is one series and its course.
type scaleSeries struct {
	labels map[string]string
	value  func(i int64) float64
}

// scale starts a Prometheus that has the history of many peers, and loads the rules in a file as soon
// as there are any. With long, it has what panels draw.
func scale(b *testing.B, rules string, long bool) *scaled {
	b.Helper()
	s := many(b, *manyPeers, rules)
	s.writeHistory(b, recent, long)
	return s
}

// many starts a Prometheus for many peers, without their history.
func many(tb testing.TB, peers int, rules string) *scaled {
	tb.Helper()
	need(tb, "prometheus")
	dir := tb.TempDir()
	s := &scaled{server: start(tb, dir, filepath.Join(dir, "data"), fmt.Sprintf("global: {evaluation_interval: 15s}\nrule_files: [%q]\n", rules),
		// The history may be older than what Prometheus has already.
		"--web.enable-lifecycle", "--web.enable-remote-write-receiver", "--storage.tsdb.min-block-duration=4d", "--storage.tsdb.max-block-duration=4d")}
	s.world = newWorld(tb, crowdOf(peers), time.Now().Unix()/scaleStep*scaleStep)
	s.series = scaleSeriesOf(s.world)
	return s
}

// crowdOf returns peers of 40 providers, each at a site of its own. Some have a fault.
func crowdOf(n int) []peer {
	peers := make([]peer, 0, n)
	for i := range n {
		peers = append(peers, peer{
			fmt.Sprintf("branch-%05d", i), map[string]string{"isp": fmt.Sprintf("isp-%02d", i%40), "site": fmt.Sprintf("site-%05d", i)}, i%*faultyPeers == 1,
		})
	}
	return peers
}

// scaleSeriesOf returns the series that one exporter has of the world. Where a metric has a series
// for each state, a peer is in one of them; a peer with a fault has two diagnoses.
func scaleSeriesOf(w *world) (all []scaleSeries) {
	add := func(name string, labels map[string]string, value func(int64) float64) {
		labels = maps.Clone(labels)
		labels["__name__"] = name
		all = append(all, scaleSeries{labels, value})
	}
	base := map[string]string{"job": "ipsec", "instance": "exporter1:10500"}
	for _, f := range w.families {
		if !slices.Contains(f.labels, "peer") {
			w.eachSeries(f, base, f.labels, nil, add)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(f.labels), func(l string) bool { return l == "peer" })
		for i := range w.peers {
			labels := maps.Clone(base)
			maps.Copy(labels, w.peers[i].labels)
			labels["peer"] = w.peers[i].name
			w.eachSeries(f, labels, rest, &w.peers[i], add)
		}
	}
	for name, v := range map[string]float64{"up": 1, "scrape_duration_seconds": 0.5, "scrape_samples_scraped": 5e5} {
		add(name, base, func(int64) float64 { return v })
	}
	return all
}

// changes matches the counters of what rarely happens.
var changes = regexp.MustCompile(`_(changes|ups|downs|drops|panics|rejected)_total$`)

// rare matches the metrics that a healthy peer with the default collectors does not have.
var rare = regexp.MustCompile(`^ipsec_path_(protocol_|hops|mtu_(forward_|direction|kernel_cached|reverse_upper)|probe_backoff|flows_)`)

// usualState returns the state of a peer in a metric with a series for each state.
func usualState(metric string, p *peer) string {
	switch {
	case metric == "ipsec_path_mtu_state" && p.faulty:
		return "black_hole"
	case metric == "ipsec_path_mtu_state":
		return "clean"
	case metric == "ipsec_path_protocol_state":
		return "passes"
	case metric == "ipsec_path_child_sas":
		return "installed"
	}
	return "established"
}

// eachSeries calls add for each series of a metric.
func (w *world) eachSeries(
	f family, labels map[string]string, left []string, p *peer, add func(name string, labels map[string]string, value func(int64) float64),
) {
	if len(left) > 0 {
		values := w.of(f.name, left[0])
		switch {
		case left[0] == "state":
			values = []string{usualState(f.name, p)}
		case slices.Contains([]string{"vendor_state", "gateway", "probe"}, left[0]):
			values = values[:1]
		case left[0] == "method" && strings.HasPrefix(f.name, "ipsec_path_ike_"):
			values = []string{"ike", "natt"}
		case left[0] == "diagnosis" && strings.HasPrefix(f.name, "ipsec_path_diagnosis"):
			values = []string{"pmtu_black_hole", "tunnel_oversized"}
		}
		for _, v := range values {
			more := maps.Clone(labels)
			more[left[0]] = v
			w.eachSeries(f, more, left[1:], p, add)
		}
		return
	}
	if p != nil && !p.faulty && rare.MatchString(f.name) {
		return
	}
	if strings.HasPrefix(f.name, "ipsec_path_diagnosis") && f.name != "ipsec_path_diagnosis_changes_total" && !diagnosisExists(labels, p) {
		return
	}
	if f.kind != "histogram" {
		value := w.value(f, labels, p)
		if labels["state"] != "" && strings.HasSuffix(f.name, "_state") {
			value = func(int64) float64 { return 1 } // the peer is in this state
		}
		if changes.MatchString(f.name) {
			// A peer with a fault changes once in an hour, the others do not.
			value = func(i int64) float64 { return float64(i / 60 * int64(oneOf(p != nil && p.faulty, true))) }
		}
		add(f.name, labels, value)
		return
	}
	bounds := []string{"0.001", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "2.0", "+Inf"}
	for n, le := range bounds {
		bucket := maps.Clone(labels)
		bucket["le"] = le
		add(f.name+"_bucket", bucket, func(i int64) float64 { return math.Floor(float64(i*12) * float64(n+1) / float64(len(bounds))) })
	}
	add(f.name+"_sum", labels, func(i int64) float64 { return float64(i) * 0.3 })
	add(f.name+"_count", labels, func(i int64) float64 { return float64(i * 12) })
}

// writeHistory writes the past: some seconds of each series. With long, it writes a day of the peer
// that is shown, and six hours of the metrics that panels draw for all peers.
func (s *scaled) writeHistory(tb testing.TB, seconds int64, long bool) {
	tb.Helper()
	drawn := drawnForAll(tb)
	now := s.world.ends
	for chunk := range slices.Chunk(s.series, seriesPerWrite) {
		var request []byte
		for _, one := range chunk {
			from := now - seconds
			switch {
			case !long:
			case one.labels["peer"] == thePeer:
				from = now - peerRange
			case drawn[one.labels["__name__"]], one.labels["peer"] == "":
				from = now - fleetRange
			}
			request = appendSeries(request, one, from, now, now-peerRange)
		}
		s.write(tb, request)
	}
}

// keepUp writes a sample of every series at the present.
func (s *scaled) keepUp(b *testing.B) {
	b.Helper()
	now := time.Now().Unix()
	for chunk := range slices.Chunk(s.series, 10*seriesPerWrite) {
		var request []byte
		for _, one := range chunk {
			request = appendSeries(request, one, now, now, s.world.ends-peerRange)
		}
		s.write(b, request)
	}
}

// drawnForAll returns the metrics that a panel draws over its range and for all peers.
func drawnForAll(tb testing.TB) map[string]bool {
	tb.Helper()
	all := make(map[string]bool)
	name := regexp.MustCompile(`ipsec_path_\w+`)
	for _, board := range load(tb) {
		for _, p := range board.all() {
			for _, q := range p.Targets {
				if !q.Instant && !strings.Contains(q.Expr, `peer="$peer"`) || strings.Contains(q.Expr, "$__range") {
					for _, m := range name.FindAllString(q.Expr, -1) {
						all[m] = true
					}
				}
			}
		}
		for _, a := range board.Annotations.List {
			for _, m := range name.FindAllString(a.Expr, -1) {
				all[m] = true
			}
		}
	}
	return all
}

// appendSeries appends a time series of a remote write request (prometheus/prompb: remote.proto).
func appendSeries(dst []byte, s scaleSeries, from, to, origin int64) []byte {
	var body []byte
	for _, name := range slices.Sorted(maps.Keys(s.labels)) {
		var label []byte
		label = protowire.AppendString(protowire.AppendTag(label, 1, protowire.BytesType), name)
		label = protowire.AppendString(protowire.AppendTag(label, 2, protowire.BytesType), s.labels[name])
		body = protowire.AppendBytes(protowire.AppendTag(body, 1, protowire.BytesType), label)
	}
	for at := from; at <= to; at += scaleStep {
		var sample []byte
		value := s.value((at - origin) / scaleStep)
		sample = protowire.AppendFixed64(protowire.AppendTag(sample, 1, protowire.Fixed64Type), math.Float64bits(value))
		sample = protowire.AppendVarint(protowire.AppendTag(sample, 2, protowire.VarintType), uint64(at*1000))
		body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), sample)
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, 1, protowire.BytesType), body)
}

// write sends a remote write request.
func (s *scaled) write(tb testing.TB, request []byte) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, s.url+"/api/v1/write", bytes.NewReader(storedSnappy(request)))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Encoding", "snappy")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		text, err := io.ReadAll(answer.Body)
		tb.Fatalf("write: %s: %s %v", answer.Status, text, err)
	}
}

// storedSnappy returns the snappy block format of data without compressing it.
func storedSnappy(data []byte) []byte {
	const most = 1 << 16
	out := binary.AppendUvarint(nil, uint64(len(data)))
	for chunk := range slices.Chunk(data, most) {
		const literalOf2 = 61 << 2 // a literal whose length less one is in the next two bytes
		out = append(out, literalOf2)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(chunk)-1))
		out = append(out, chunk...)
	}
	return out
}

// BenchmarkBoards asks each query of each board over its default range, as often as -benchtime says.
func BenchmarkBoards(b *testing.B) {
	s, vars := scale(b, "", true), everything(thePeer)
	b.Logf("%d series of %d peers", len(s.series), *manyPeers)
	for _, board := range load(b) {
		over := int64(fleetRange)
		if board.UID == "ipsec-path-peer" || board.UID == "ipsec-path-evidence" {
			over = peerRange
		}
		for _, p := range board.all() {
			for _, q := range p.Targets {
				b.Run(board.UID+"/"+p.Title+"/"+q.RefID, func(b *testing.B) { s.time(b, q, vars, over) })
			}
		}
		for _, a := range board.Annotations.List {
			b.Run(board.UID+"/annotation "+a.Name, func(b *testing.B) { s.time(b, target{Expr: a.Expr}, vars, over) })
		}
	}
}

// points is the number of values that Grafana asks for, for a panel of half the width of a screen.
const points = 720

// time measures one query.
func (s *scaled) time(b *testing.B, q target, vars map[string]string, over int64) {
	b.Helper()
	expr := strings.ReplaceAll(q.Expr, "$__range", fmt.Sprintf("%ds", over))
	for b.Loop() {
		if q.Instant {
			s.now(b, expand(expr, vars), s.world.ends)
		} else {
			s.over(b, expand(expr, vars), s.world.ends-over, s.world.ends, max(over/points, scaleStep/2))
		}
	}
	if took := b.Elapsed() / time.Duration(b.N); took > slowest {
		b.Errorf("takes %v, more than %v: %s", took, slowest, q.Expr)
	}
}

// BenchmarkRules evaluates all rules for some minutes and reports the time of each group.
func BenchmarkRules(b *testing.B) {
	text, err := os.ReadFile("../alerts/ipsec_path.rules.yml")
	if err != nil {
		b.Fatal(err)
	}
	rules := filepath.Join(b.TempDir(), "rules.yml")
	s := scale(b, rules, false)
	b.Logf("%d series of %d peers", len(s.series), *manyPeers)
	// Baselines are evaluated every four minutes: here more often, to get several times.
	if err := os.WriteFile(rules, bytes.ReplaceAll(text, []byte("interval: 4m"), []byte("interval: 30s")), 0o600); err != nil {
		b.Fatal(err)
	}
	s.reload(b)
	all := make(map[string][]float64)
	for end := time.Now().Add(*ruleTime); time.Now().Before(end); {
		s.keepUp(b)
		// Samples are found for five minutes. Most evaluations are not disturbed by the writing.
		before := s.cpu(b)
		for next := time.Now().Add(undisturbed); time.Now().Before(next); {
			select {
			case <-b.Context().Done():
				return
			case <-time.After(evaluateEvery):
			}
			for name, seconds := range s.evaluations(b) {
				all[name] = append(all[name], seconds)
			}
		}
		b.Logf("%.2f s of CPU for each %v of evaluations", (s.cpu(b)-before).Seconds()*evaluateEvery.Seconds()/undisturbed.Seconds(), evaluateEvery)
	}
	usual := make(map[string]float64)
	for name, list := range all {
		slices.Sort(list)
		usual[name] = list[len(list)/2]
	}
	for _, name := range slices.SortedFunc(maps.Keys(usual), func(x, y string) int { return int(1e6 * (usual[y] - usual[x])) }) {
		group := strings.HasPrefix(name, "group ")
		if usual[name] > 0.05 || group {
			b.Logf("%6.3f s, at most %6.3f s: %s", usual[name], all[name][len(all[name])-1], name)
		}
		if group && usual[name] > slowest.Seconds() {
			b.Errorf("%s takes %.2f s, more than %v", name, usual[name], slowest)
		}
	}
	alerts := s.now(b, `count(ALERTS{alertstate="firing"})`, time.Now().Unix())
	if len(alerts) == 0 {
		b.Error("no alert fires: the rules had nothing to evaluate")
	}
	b.Logf("alerts: %v", alerts)
}

// cpu returns the CPU time of Prometheus.
func (s *scaled) cpu(b *testing.B) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("no threads of Prometheus: %v", err)
	}
	total := time.Duration(0)
	for _, f := range files {
		var ns int64
		text, err := os.ReadFile(f)
		if err == nil {
			_, err = fmt.Sscan(string(text), &ns)
		}
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

// reload has Prometheus read its configuration again.
func (s *scaled) reload(b *testing.B) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.url+"/-/reload", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(answer.Body)
		b.Fatalf("reload: %s: %s %v", answer.Status, text, err)
	}
}

// evaluations returns how long the last evaluation of each group and each rule took, in seconds.
func (s *scaled) evaluations(b *testing.B) map[string]float64 {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+"/api/v1/rules", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Data struct {
			Groups []struct {
				Name           string
				EvaluationTime float64
				Rules          []struct {
					Name, Health, LastError string
					EvaluationTime          float64
				}
			}
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		b.Fatal(err)
	}
	all := make(map[string]float64)
	for _, g := range body.Data.Groups {
		all["group "+g.Name] = g.EvaluationTime
		for i, rule := range g.Rules {
			all[fmt.Sprintf("%s %d %s", g.Name, i, rule.Name)] = rule.EvaluationTime
			if rule.Health == "err" {
				b.Errorf("%s: %s", rule.Name, rule.LastError)
			}
		}
	}
	return all
}
