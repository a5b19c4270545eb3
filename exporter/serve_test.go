package exporter

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netlab/responder"
)

// healthySeries are those of a healthy peer, on a page. more are its configured labels, in front of
// those that sort behind.
func healthySeries(peer, address, family string) []string {
	p := `peer="` + peer + `"`
	out := []string{
		`collector_last_run_timestamp_seconds{collector="flows",` + p + `}`,
		`collector_last_run_timestamp_seconds{collector="fragments",` + p + `}`,
		`collector_last_run_timestamp_seconds{collector="icmp",` + p + `}`,
		`collector_last_run_timestamp_seconds{collector="ike",` + p + `}`,
		`collector_last_run_timestamp_seconds{collector="pmtu",` + p + `}`,
		`icmp_duplicates_total{` + p + `}`,
		`hops{` + p + `}`,
		`icmp_reachable{` + p + `}`,
		`icmp_replies_total{` + p + `}`,
		`icmp_requests_total{` + p + `}`,
		`icmp_round_trip_seconds{` + p + `}`,
		`mtu_black_hole{` + p + `}`,
		`mtu_changes_total{` + p + `}`,
		`mtu_link_bytes{` + p + `}`,
		`mtu_reverse_lower_bytes{` + p + `}`,
		`peer_healthy{` + p + `}`,
		`peer_info{address="` + address + `",family="` + family + `",` + p + `,source=""}`,
		`peer_overdue_collectors{` + p + `}`,
		`ptb_received_total{` + p + `}`,
		`tunnel_mss_bytes{` + p + `}`,
		`tunnel_mtu_bytes{` + p + `}`,
	}
	for method, port := range map[string]string{"ike": "500", "natt": "4500"} {
		m := `method="` + method + `",` + p
		out = append(out,
			`ike_fragments_pass{`+m+`}`,
			`ike_requests_total{`+m+`}`,
			`ike_responding{`+m+`}`,
			`ike_response_info{`+m+`,port="`+port+`",probe="v2-badke",reply="INVALID_KE_PAYLOAD",version="2"}`,
			`ike_responses_total{`+m+`}`,
			`ike_round_trip_seconds{`+m+`}`,
		)
	}
	for _, method := range []string{"icmp", "ike", "natt"} {
		m := `method="` + method + `",` + p
		out = append(out, `mtu_bytes{`+m+`}`, `mtu_state{`+m+`,state="clean"}`)
	}
	slices.Sort(out)
	return out
}

// A healthy peer has exactly these series, by either family and with labels, and no more than the
// budget allows.
func TestSeriesOfAHealthyPeer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"peers:\n- {name: four, address: "+l.Address(false)+"}\n- {name: six, address: '"+l.Address(true)+"'}\n"+
		"- {name: labelled, address: "+l.Address(false)+", labels: {zone: west}}\n")
	for _, peer := range []string{"four", "six", "labelled"} {
		s.awaitMeasured(t, peer)
	}
	p := s.scrape(t)
	four := healthySeries("four", l.Address(false), "ip4")
	labelled := healthySeries("labelled", l.Address(false), "ip4")
	for i := range labelled {
		at := strings.LastIndex(labelled[i], "}")
		labelled[i] = labelled[i][:at] + `,zone="west"}`
	}
	for peer, want := range map[string][]string{"four": four, "six": healthySeries("six", l.Address(true), "ip6"), "labelled": labelled} {
		if diff := cmp.Diff(want, p.of(peer)); diff != "" {
			t.Errorf("series of %s (-want +got):\n%s", peer, diff)
		}
	}
	for series, want := range map[string]float64{
		`mtu_bytes{method="icmp",peer="four"}`: 1500, `mtu_bytes{method="ike",peer="six"}`: 1500, `mtu_bytes{method="natt",peer="six"}`: 1500,
		`mtu_link_bytes{peer="four"}`: 1500, `mtu_black_hole{peer="six"}`: 0, `peer_healthy{peer="four"}`: 1, `peer_overdue_collectors{peer="six"}`: 0,
		`tunnel_mtu_bytes{peer="four"}`: 1422, `tunnel_mss_bytes{peer="six"}`: 1366, `icmp_reachable{peer="four"}`: 1,
		`collector_errors_total{collector="pmtu",reason="timeout"}`: 0, `collector_errors_total{collector="resolve",reason="name"}`: 0,
		`collector_runs_total{collector="resolve"}`: 0, `local_drops_total{socket="udp4"}`: 0, `icmp_errors_total{error="host_unreachable"}`: 0,
		`capability{name="raw_icmp"}`: 1, `config_last_reload_successful{}`: 1, `schedule_panics_total{}`: 0,
	} {
		if v, ok := p.value(series); !ok || v != want {
			t.Errorf("%s = %v (present %t), want %v", series, v, ok, want)
		}
	}
	answered, _ := p.value(`icmp_replies_total{peer="four"}`)
	if n, _ := p.value(`icmp_round_trip_seconds{peer="four"}`); n < 1 || n != answered {
		t.Errorf("%v round trips of %v replies", n, answered)
	}
	s.formats(t)
	s.budget(t, "four")
}

// budget: a healthy peer has at most as many series as README.md says, counted as Prometheus does,
// by the line.
func (s *service) budget(t *testing.T, peer string) {
	t.Helper()
	const others, buckets = 40, 10
	_, text := fetch(t, s.metrics, acceptText)
	lines := map[bool]int{} // by whether they are classic buckets
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `peer="`+peer+`"`) {
			lines[strings.Contains(line, "_bucket{")]++
		}
	}
	if lines[false] > others || lines[true] > buckets || lines[false] == 0 || lines[true] == 0 {
		t.Errorf("%d series and %d classic buckets, want at most %d and %d", lines[false], lines[true], others, buckets)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("has %d series and the %d classic buckets of one histogram", lines[false], lines[true]); !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), want) {
		t.Errorf("README.md does not say that a healthy peer %s", want)
	}
}

// TestHistogramFlags: each kind of buckets can be left out, and the histogram with both.
func TestHistogramFlags(t *testing.T) {
	t.Parallel()
	for _, native := range []bool{false, true} {
		for _, classic := range []bool{false, true} {
			o := ServeOptions{NativeHistograms: native, ClassicHistograms: classic}
			a := idleAppWith(t, slog.New(slog.DiscardHandler), o.buckets())
			cfg, err := config.FromArguments([]string{"hq=127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			a.apply(t.Context(), cfg) // the schedule does not run: nothing is sent
			page := (&service{app: a, metrics: a.metricsHandler()}).scrapeAs(t, acceptProtobuf)
			f := page[namespace+"_icmp_round_trip_seconds"]
			if exposed := f != nil; exposed != (native || classic) {
				t.Errorf("native %t, classic %t: exposed %t", native, classic, exposed)
			}
			h := f.GetMetric()
			if (len(h) > 0 && h[0].GetHistogram().Schema != nil) != native || (len(h) > 0 && len(h[0].GetHistogram().GetBucket()) > 0) != classic {
				t.Errorf("native %t, classic %t: %v", native, classic, h)
			}
			if page[namespace+"_icmp_replies_total"] == nil {
				t.Error("the page lacks the other series")
			}
		}
	}
}

// formats: Prometheus may ask for three forms of the page, and promtool has nothing against it.
func (s *service) formats(t *testing.T) {
	t.Helper()
	p := s.scrapeAs(t, acceptProtobuf)
	if h := p[namespace+"_icmp_round_trip_seconds"].GetMetric()[0].GetHistogram(); len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 {
		t.Error("protobuf lacks native or classic buckets")
	}
	_, body := fetch(t, s.metrics, acceptOpenMetrics)
	if !strings.HasSuffix(string(body), "\n# EOF\n") || !strings.Contains(string(body), "\n# TYPE ipsec_path_icmp_requests counter\n") {
		t.Errorf("no OpenMetrics:\n%s", body)
	}
	_, text := fetch(t, s.metrics, acceptText)
	promtool(t, text)
}

func TestReload(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	kept := "- {name: kept, address: " + l.Address(false) + "}\n"
	s := l.serve(t, quick+"peers:\n"+kept+"- {name: changed, address: '"+l.Address(true)+"'}\n- {name: removed, address: "+l.Address(false)+"}\n")
	requests := func(peer string) float64 {
		v, _ := s.scrape(t).value(`icmp_requests_total{peer="` + peer + `"}`)
		return v
	}
	const some = 20
	for _, peer := range []string{"kept", "changed", "removed"} {
		exportertest.Eventually(t, soon, "echoes to "+peer, func() bool { return requests(peer) >= some })
	}
	if err := s.configure(t, quick+"peers:\n"+kept+"- {name: changed, address: '"+l.Address(true)+"', intervals: {pmtu: 20s, pmtu_raise: 20s}}\n"); err != nil {
		t.Fatal(err)
	}
	if left := s.scrape(t).of("removed"); len(left) > 0 {
		t.Errorf("series of a removed peer: %q", left)
	}
	if n := requests("kept"); n < some {
		t.Errorf("a peer that stayed has %v requests", n)
	}
	if n := requests("changed"); n >= some {
		t.Errorf("a peer that changed kept %v requests", n)
	}
	before := requests("kept")
	exportertest.Eventually(t, soon, "both go on", func() bool { return requests("kept") > before+1 && requests("changed") > 1 })
}

// TestReloadOfWhatGatewaysKnow: where a peer's SA is expected, and how it is known, changes nothing
// about the measurement of its path.
func TestReloadOfWhatGatewaysKnow(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", "192.0.2.99", 0))
	text := func(peer string) string {
		return quick + "gateways: [{name: hub, type: xfrm, interval: 1s}]\npeers:\n- {name: hq, address: " + l.Address(false) + ", collectors: [icmp]" + peer + "}\n"
	}
	s := l.serve(t, text(""))
	s.await(t, soon, `gateway_up{gateway="hub"}`, 1)
	if left := s.scrape(t).of("hq"); slices.ContainsFunc(left, func(series string) bool { return strings.HasPrefix(series, "tunnel_up{") }) {
		t.Errorf("expected nowhere: %q", left)
	}
	before, _ := s.find("hq")
	requests := func() float64 {
		v, _ := s.scrape(t).value(`icmp_requests_total{peer="hq"}`)
		return v
	}
	exportertest.Eventually(t, soon, "echoes", func() bool { return requests() > 2 })
	for _, tc := range []struct {
		peer, series string
		value        float64
	}{
		{", gateways: [hub]", `tunnel_up{gateway="hub",peer="hq"}`, 0},
		{", gateways: [hub], on_demand: true", `tunnel_up{gateway="hub",peer="hq"}`, 0},
		{", gateways: [hub], match: {addresses: [192.0.2.99]}", `ike_sas_vendor_state{gateway="hub",peer="hq",vendor_state="MM_ACTIVE"}`, 1},
	} {
		sent := requests()
		if err := s.configure(t, text(tc.peer)); err != nil {
			t.Fatal(err)
		}
		s.await(t, soon, tc.series, tc.value)
		if after, _ := s.find("hq"); after != before || requests() < sent {
			t.Errorf("%s: the peer was started again", tc.peer)
		}
		exportertest.Eventually(t, soon, "what is expected:"+tc.peer, func() bool {
			h, ok := s.readers.Pollers()[0].History("hq")
			return ok && h.Expected && h.OnDemand == strings.Contains(tc.peer, "on_demand")
		})
	}
	if err := s.configure(t, text(", labels: {zone: west}")); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.find("hq"); after == before {
		t.Error("a peer with other labels was not started again")
	}
}

// TestBadReload: one bad peer, and nothing changes. All that is wrong is said, to whom asked and by
// the metric.
func TestBadReload(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	good := quick + "peers:\n- {name: hq, address: " + l.Address(false) + "}\n"
	s := l.serve(t, good)
	h, err := web.Handler(web.Config{TelemetryPath: "/metrics", Metrics: s.metrics, Ready: s.ready.Load, Lifecycle: true, Reload: s.reload.reload, Status: s.status(time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	post := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/-/reload", http.NoBody))
		return w
	}
	s.await(t, soon, `icmp_reachable{peer="hq"}`, 1)
	before := s.running()
	const bad = "- {name: branch, address: 203.0.113.300}\n- {name: hq, address: 203.0.113.1}\n- {name: lab, address: 203.0.113.2, colour: red}\n"
	err = s.configure(t, good+bad)
	want := strings.Join([]string{
		s.file + `:4: peers[1] ("branch"): address: "203.0.113.300" is not a valid IPv4 address`,
		s.file + `:5: peers[2] ("hq"): name: "hq" is already the name of peers[0] (` + s.file + `:3)`,
		s.file + `:6: peers[3] ("lab"): unknown key "colour": must be one of: name, address, module, labels, gateways, match, inside, family, source_address, interface, fwmark, ike, esp, collectors, on_demand, intervals, partner`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("error (-want +got):\n%s", cmp.Diff(want, err.Error()))
	}
	w := post()
	if diff := cmp.Diff("reload failed; keeping the current configuration:\n"+want+"\n", w.Body.String()); diff != "" || w.Code != http.StatusInternalServerError {
		t.Errorf("answer %d (-want +got):\n%s", w.Code, diff)
	}
	if v, _ := s.scrape(t).value("config_last_reload_successful{}"); v != 0 {
		t.Errorf("config_last_reload_successful %v", v)
	}
	if after := s.running(); !slices.Equal(before, after) {
		t.Errorf("the running peers changed from %v to %v", before, after)
	}
	requests, _ := s.scrape(t).value(`icmp_requests_total{peer="hq"}`)
	exportertest.Eventually(t, soon, "the peer goes on", func() bool {
		v, _ := s.scrape(t).value(`icmp_requests_total{peer="hq"}`)
		return v > requests+1
	})
	if err := s.configure(t, good); err != nil {
		t.Fatal(err)
	}
	if w := post(); w.Code != http.StatusOK || w.Body.String() != "reloaded\n" {
		t.Errorf("answer %d %q", w.Code, w.Body)
	}
	if !s.is(t, "config_last_reload_successful{}", 1) || !slices.Equal(before, s.running()) {
		t.Error("the good file was not loaded, or not without touching the peer")
	}
}

// TestPeerRemovedDuringItsSearch: the search is cancelled, its series vanish at once, and the
// others notice nothing.
func TestPeerRemovedDuringItsSearch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.slow(t)
	other := quick + "peers:\n- {name: other, address: '" + l.Address(true) + "', collectors: [icmp]}\n"
	s := l.serve(t, other+"- {name: searched, address: "+l.Address(false)+"}\n")
	s.awaitSearch(t)
	began := time.Now()
	if err := s.configure(t, other); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the reload waited %v for the search", took)
	}
	if left := s.scrape(t).of("searched"); len(left) > 0 {
		t.Errorf("series of a removed peer: %q", left)
	}
	if n := s.schedule.Stats().Running; n != 0 {
		t.Errorf("%d searches go on", n)
	}
	s.await(t, soon, `icmp_reachable{peer="other"}`, 1)
	if s.logged.Count("level=ERROR")+s.logged.Count("level=WARN")+s.logged.Count("diagnosis") > 0 {
		t.Errorf("log:\n%s", s.logged)
	}
	p := s.scrape(t)
	for _, reason := range []string{"timeout", "local", "no_socket"} {
		if v, _ := p.value(`collector_errors_total{collector="pmtu",reason="` + reason + `"}`); v != 0 {
			t.Errorf("%v errors: %s", v, reason)
		}
	}
}

// slow makes every search take seconds: a black hole, behind which the gateway takes its time.
func (l *lab) slow(t *testing.T) {
	t.Helper()
	l.Apply(t, "S2")
	l.Gateway.Set(responder.Behaviour{Delay: 100 * time.Millisecond})
}

// TestScrapeDuringASearch: it returns before the search ends, with what was known before.
func TestScrapeDuringASearch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	// Only path MTU searches block: what runs is one. It has more time than usual here, as it needs
	// it on a busy machine.
	s := l.serve(t, "modules: {default: {intervals: {icmp: 200ms, ike: 10s, pmtu: 25s, pmtu_raise: 25s}}}\npeers:\n- {name: hq, address: "+l.Address(false)+", collectors: [icmp, ike, pmtu]}\n")
	s.awaitMeasured(t, "hq")
	l.slow(t)
	s.awaitSearch(t)
	for range 5 {
		p := s.scrape(t)
		if v, ok := p.value(`mtu_bytes{method="ike",peer="hq"}`); !ok || v != 1500 {
			t.Errorf("mtu_bytes %v (present %t), want the last result", v, ok)
		}
	}
	if s.schedule.Stats().Running == 0 {
		t.Error("the search was over before the scrapes were")
	}
	s.await(t, 2*soon, `mtu_bytes{method="ike",peer="hq"}`, 1400)
}
