package exporter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/probe"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/schematest"
	"ipsec_path_exporter/internal/silence"
)

// A site is the service with its pages.
type site struct {
	*service
	http.Handler
}

// serveSite is serve with the pages /sd and /probe.
func (l *lab) serveSite(t *testing.T, text string, o ServeOptions) *site {
	t.Helper()
	return l.serve(t, text).withProbe(t, o)
}

// withProbe returns the service with the pages /sd and /probe.
func (s *service) withProbe(t *testing.T, o ServeOptions) *site {
	t.Helper()
	h, err := web.Handler(web.Config{
		Log: s.log, TelemetryPath: "/metrics", Metrics: s.metrics, Ready: s.ready.Load, Reload: s.reload.reload, Status: s.status(time.Now()),
		Peers: peerPages{s.app}, Targets: s.discoverable, Probe: s.probes(func() context.Context { return s.ctx }, &o),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &site{s, h}
}

// ask asks for a page with a time for the scrape in seconds, if that is not empty.
func (s *site) ask(ctx context.Context, timeout, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
	if timeout != "" {
		r.Header.Set(probe.TimeoutHeader, timeout)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// probe measures a target and returns its page.
func (s *site) probe(t *testing.T, timeout, query string) (scrape, string) {
	t.Helper()
	w := s.ask(t.Context(), timeout, "/probe?"+query)
	if w.Code != http.StatusOK {
		t.Fatalf("/probe?%s: %d %s", query, w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, w.Body)
	}
	return families, w.Body.String()
}

// bare is the value of a metric without labels, or -1.
func (s scrape) bare(name string) float64 {
	if all := s[name].GetMetric(); len(all) == 1 {
		return all[0].GetGauge().GetValue()
	}
	return -1
}

// TestProbeHealthy: one request measures what the schedule does, with the same series.
func TestProbeHealthy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serveSite(t, quick+"peers:\n- {name: hq, address: "+l.Address(false)+", labels: {zone: west}}\n- {name: six, address: '"+l.Address(true)+"'}\n", ServeOptions{})
	s.awaitMeasured(t, "hq")
	p, text := s.probe(t, "60", "target=hq")
	if p.bare("probe_success") != 1 || p.bare("probe_complete") != 1 || p.bare("probe_duration_seconds") <= 0 {
		t.Errorf("page:\n%s", text)
	}
	promtool(t, []byte(text))
	scheduled := s.scrape(t)
	onlyScheduled := []string{"collector_last_run_timestamp_seconds", "peer_overdue_collectors", "flows_lost", "flows_tested"}
	ofFlows := slices.ContainsFunc(p.of("hq"), func(series string) bool { return strings.Contains(series, "flow") })
	var want []string
	for _, series := range scheduled.of("hq") {
		if name, _, _ := strings.Cut(series, "{"); !slices.Contains(onlyScheduled, name) {
			want = append(want, series)
		}
	}
	if diff := cmp.Diff(want, p.of("hq")); diff != "" || ofFlows {
		t.Errorf("series of the schedule, and of the request (-want +got):\n%s", diff)
	}
	for _, series := range []string{
		`mtu_bytes{method="ike",peer="hq",zone="west"}`, `tunnel_mtu_bytes{peer="hq",zone="west"}`, `icmp_reachable{peer="hq",zone="west"}`,
		`ike_responding{method="natt",peer="hq",zone="west"}`, `peer_healthy{peer="hq",zone="west"}`,
	} {
		was, _ := scheduled.value(series)
		if is, ok := p.value(series); !ok || is != was {
			t.Errorf("%s is %v, and %v on the schedule", series, is, was)
		}
	}
	s.probeForms(t, l.Address(true))
}

// probeForms: requests for one peer at the same time share a measurement: by name and by address,
// for the report, and for other forms of the page.
func (s *site) probeForms(t *testing.T, address string) {
	t.Helper()
	forms := []struct{ query, accept, want string }{
		{"target=six", "", "\nprobe_success 1\n"},
		{"target=" + url.QueryEscape(address), "", `peer="six"`},
		{"target=six&debug=true", "", "no fault found\n\nRESULTS\n\n  ICMP echo        reachable"},
		{"target=six", acceptProtobuf, namespace},
	}
	var all sync.WaitGroup
	for _, form := range forms {
		all.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/probe?"+form.query, http.NoBody)
			r.Header.Set("Accept", form.accept)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if !strings.Contains(w.Body.String(), form.want) {
				t.Errorf("%s (%s): %d %s", form.query, form.accept, w.Code, w.Body)
			}
			var f dto.MetricFamily
			if form.accept == "" {
				return
			}
			if err := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header())).Decode(&f); err != nil || !strings.HasPrefix(f.GetName(), namespace) {
				t.Errorf("protobuf: %v %v", &f, err)
			}
		})
	}
	all.Wait()
	for result, want := range map[string]float64{"measured": 2, "shared": 3, "refused": 0, "known": 0} {
		if !s.is(t, `probe_requests_total{result="`+result+`"}`, want) {
			t.Errorf("%s: %v", result, s.scrape(t)[namespace+"_probe_requests_total"])
		}
	}
}

// TestProbeRefuses: what is wrong is said as blackbox_exporter says it, and nothing is sent.
func TestProbeRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	text := "modules: {default: {collectors: [icmp]}, six: {family: ip6}}\npeers:\n- {name: hq, address: " + l.Address(false) + "}\n- {name: hq2, address: " +
		l.Address(false) + "}\n- {name: both, address: vpn.example.net, family: both}\n"
	s := l.serveSite(t, text, ServeOptions{ProbeTimeoutOffset: 500 * time.Millisecond})
	for _, tt := range []struct{ timeout, query, want string }{
		{"", "", "target is missing: give /probe?target=NAME, with the name or address of a configured peer"},
		{"10", "target=none", `target "none": no peer of this name or address is measured (--web.probe-any-target allows others)`},
		{"10", "target=hq&module=old", `unknown module "old": must be one of: default, six`},
		{"10", "target=hq&module=six", `target "hq" with module "six": "` + l.Address(false) + `" is not of family ip6`},
		{"10", "target=" + l.Address(false), `target "` + l.Address(false) + `": several peers have it: give one of hq, hq2`},
		{"10", "target=both", `target "both": several peers have it: give one of both@ip4, both@ip6`},
		{"soon", "target=hq", `X-Prometheus-Scrape-Timeout-Seconds: "soon": must be a number of seconds`},
		{"-1", "target=hq", `X-Prometheus-Scrape-Timeout-Seconds: "-1": must be a number of seconds`},
		{"NaN", "target=hq", `X-Prometheus-Scrape-Timeout-Seconds: "NaN": must be a number of seconds`},
		{"0.7", "target=hq", `X-Prometheus-Scrape-Timeout-Seconds: "0.7": leaves too little time to measure (--web.probe-timeout-offset=500ms)`},
	} {
		w := s.ask(t.Context(), tt.timeout, "/probe?"+tt.query)
		if w.Code != http.StatusBadRequest || w.Body.String() != tt.want+"\n" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("timeout %q, %s: %d %s\nwant %s", tt.timeout, tt.query, w.Code, w.Body, tt.want)
		}
	}
	if w := s.ask(t.Context(), "", "/probe?target=both@ip4"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "vpn.example.net") {
		t.Errorf("a name that does not resolve: %d %s", w.Code, w.Body)
	}
	s.shard = shard.Shard{Index: 0, Total: 2}
	want := fmt.Sprintf(`target "none": no peer of this name or address is measured (this is shard 0 of 2; a peer of this name belongs to shard %d)`, shard.Of("none", 2))
	if w := s.ask(t.Context(), "", "/probe?target=none"); w.Body.String() != want+"\n" {
		t.Errorf("of another shard: %s", w.Body)
	}
	if w := s.ask(t.Context(), "", "/probe"); w.Code != http.StatusBadRequest {
		t.Errorf("no target: %d", w.Code)
	}
}

// TestProbeAnyTarget: allowed, an address that is not configured is measured with the settings of a
// module.
func TestProbeAnyTarget(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serveSite(t, "modules: {quiet: {collectors: [icmp]}}\npeers: [{name: six, address: '"+l.Address(true)+"'}]\n", ServeOptions{ProbeAnyTarget: true})
	p, text := s.probe(t, "60", "module=quiet&target="+l.Address(false))
	if p.bare("probe_success") != 1 || !strings.Contains(text, `ipsec_path_icmp_reachable{peer="`+l.Address(false)+`"} 1`) || strings.Contains(text, "ike_responding") {
		t.Errorf("page:\n%s", text)
	}
	for query, want := range map[string]string{
		"target=203.0.113.0/24":               `target "203.0.113.0/24": address: "203.0.113.0/24" is a URL or a prefix: must be a host name or IP address`,
		"target=a%3Db":                        `target "a=b": address: "a=b" is not a host name or IP address`,
		"target=203.0.113.1&module=none":      `unknown module "none": must be one of: default, quiet`,
		"target=224.0.0.1":                    `target "224.0.0.1": address: "224.0.0.1" is not a unicast address`,
		"target=" + strings.Repeat("a.", 200): "is not a host name",
	} {
		if w := s.ask(t.Context(), "", "/probe?"+query); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// TestProbeInTime: a page is there before the scrape gives up, and does not take for silent what it
// had no time for.
func TestProbeInTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Gateway.Set(responder.Behaviour{Delay: 700 * time.Millisecond})
	l.Apply(t, "S2")
	s := l.serveSite(t, "modules: {default: {intervals: {icmp: 1h, ike: 1h, pmtu: 1h, pmtu_raise: 1h}}}\npeers: [{name: hq, address: "+l.Address(false)+"}]\n", ServeOptions{})
	began := time.Now()
	p, text := s.probe(t, "3", "target=hq")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if p.bare("probe_success") != -1 || p.bare("probe_complete") != 0 || strings.Contains(text, "peer_healthy{") {
		t.Errorf("page:\n%s", text)
	}
	for _, down := range []string{`ike_responding{method="ike",peer="hq"}`, `ike_responding{method="natt",peer="hq"}`, `icmp_reachable{peer="hq"}`} {
		if v, ok := p.value(down); ok && v == 0 {
			t.Errorf("%s is 0:\n%s", down, text)
		}
	}
}

// TestProbeOfClientThatLeaves: it ends the measurement, and the next request makes its own.
func TestProbeOfClientThatLeaves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.slow(t)
	s := l.serveSite(t, "modules: {default: {collectors: [icmp, ike, pmtu], intervals: {icmp: 1h, ike: 1h, pmtu: 1h, pmtu_raise: 1h}}}\npeers: [{name: hq, address: "+
		l.Address(false)+"}]\n", ServeOptions{})
	exportertest.Eventually(t, 3*soon, "the schedule rests", func() bool {
		p, _ := s.find("hq")
		f := p.Findings(time.Now())
		return s.schedule.Stats().Running == 0 && f.PMTU != nil && f.PMTU.Known
	})
	sent := s.tools.Accounts[suite.PMTU].Packets.Load()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- s.ask(ctx, "60", "/probe?target=hq") }()
	exportertest.Eventually(t, soon, "a search", func() bool { return s.tools.Accounts[suite.PMTU].Packets.Load() > sent })
	cancel()
	select {
	case w := <-answered:
		if strings.Contains(w.Body.String(), "probe_success") {
			t.Errorf("a result without a client: %s", w.Body)
		}
	case <-time.After(2 * time.Second):
		t.Fatal("the measurement goes on without its client")
	}
	if !s.is(t, `probe_requests_total{result="client_gone"}`, 1) || !s.is(t, `probe_requests_total{result="measured"}`, 0) {
		t.Errorf("requests: %v", s.scrape(t)[namespace+"_probe_requests_total"])
	}
}

// TestProbesOfTheDead: requests flood no peer that stays silent, and do not hide from the schedule
// that it does. Once the schedule knows, its knowledge is the answer.
func TestProbesOfTheDead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serveSite(t, quick+"peers: [{name: hq, address: "+l.Address(false)+"}]\n", ServeOptions{})
	s.awaitMeasured(t, "hq")
	dropped := l.SilentDropAbove(t, 1, netlab.Forward)
	asked, known := 0, 0
	exportertest.Eventually(t, 4*time.Minute, "the schedule finds it silent, and requests are answered by that", func() bool {
		p, text := s.probe(t, "2", "target=hq")
		asked++
		if ok := p.bare("probe_success"); ok == 1 || ok == 0 && !strings.Contains(text, `diagnosis="peer_silent"`) {
			t.Errorf("a dead peer is up:\n%s", text)
		} else if ok == 0 {
			known++
		}
		return known > 3 && s.is(t, `diagnosis{diagnosis="peer_silent",peer="hq",severity="critical"}`, 1)
	})
	if n := l.Dropped(t, dropped); n == 0 || n > silence.Most {
		t.Errorf("%d packets of %d requests got as far as the router that drops them", n, asked)
	}
	if v, _ := s.scrape(t).value(`probe_requests_total{result="known"}`); v < 3 {
		t.Errorf("%v requests were answered by what the schedule knows", v)
	}
}

// TestServiceDiscovery: the list that Prometheus reads has all running peers, with what relabelling
// needs.
func TestServiceDiscovery(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", "192.0.2.99", 0))
	s := l.serveSite(t, "modules: {default: {collectors: [icmp]}}\ngateways: [{name: hub, type: xfrm}, {name: spare, type: xfrm}]\npeers:\n"+
		"- {name: hq, address: "+l.Address(false)+", labels: {site: haiti}, gateways: [hub, spare], interface: wan0}\n- {address: '2001:db8::1'}\n"+
		"- {name: both, address: vpn.example.net, family: both}\n", ServeOptions{})
	schema := schematest.Open("targets")
	list := func() (groups []web.TargetGroup) {
		t.Helper()
		w := s.ask(t.Context(), "", "/sd")
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "application/json; charset=utf-8" {
			t.Errorf("%d, Content-Type %s", w.Code, got)
		}
		if err := json.Unmarshal(w.Body.Bytes(), &groups); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		schema.Check(t, "list", w.Body.Bytes())
		return groups
	}
	want := []web.TargetGroup{
		{Targets: []string{"2001:db8::1"}, Labels: map[string]string{"__meta_ipsec_peer": "2001:db8::1", "__meta_ipsec_host": "2001:db8::1", "__meta_ipsec_family": "ip6"}},
		{Targets: []string{"vpn.example.net"}, Labels: map[string]string{"__meta_ipsec_peer": "both@ip4", "__meta_ipsec_group": "both", "__meta_ipsec_host": "vpn.example.net"}},
		{Targets: []string{"vpn.example.net"}, Labels: map[string]string{"__meta_ipsec_peer": "both@ip6", "__meta_ipsec_group": "both", "__meta_ipsec_host": "vpn.example.net"}},
		{Targets: []string{l.Address(false)}, Labels: map[string]string{
			"__meta_ipsec_peer": "hq", "__meta_ipsec_host": l.Address(false), "__meta_ipsec_family": "ip4", "__meta_ipsec_source": "wan0",
			"__meta_ipsec_gateways": ",hub,spare,", "__meta_ipsec_label_site": "haiti",
		}},
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	s.shard = shard.Shard{Index: 3, Total: 4}
	if got := list()[0].Labels["__meta_ipsec_shard"]; got != "3" {
		t.Errorf("shard %q", got)
	}
	if err := s.configure(t, "peer_files: [/nonexistent/*.yml]\n"); err != nil {
		t.Fatal(err)
	}
	if w := s.ask(t.Context(), "", "/sd"); w.Body.String() != "[]\n" {
		t.Errorf("without peers: %s", w.Body)
	}
	schema.AllUsed(t)
}
