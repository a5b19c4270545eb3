package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/schematest"
)

// A site is the handler, with what it serves and what was asked of it.
type site struct {
	http.Handler
	log       bytes.Buffer
	ready     bool
	reloads   int
	failure   error
	status    web.Status
	peers     map[string]*report.Report
	exchanges []trace.Exchange
	day       [lastday.Quarters]lastday.Sample
	now       time.Time
}

// Report implements web.Peers.
func (s *site) Report(name string) (*report.Report, bool) {
	r, ok := s.peers[name]
	return r, ok
}

// Exchanges implements web.Peers.
func (s *site) Exchanges(name string) ([]trace.Exchange, bool) {
	_, ok := s.peers[name]
	return s.exchanges, ok
}

// Day implements web.Peers.
func (s *site) Day(name string) ([lastday.Quarters]lastday.Sample, bool) {
	_, ok := s.peers[name]
	return s.day, ok
}

func newSite(tb testing.TB, prefix, telemetry string) *site {
	tb.Helper()
	s := &site{peers: make(map[string]*report.Report), now: now}
	h, err := web.Handler(web.Config{
		Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Application: "ipsec_path_exporter test", Peers: s, RoutePrefix: prefix, TelemetryPath: telemetry,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }),
		Ready:   func() bool { return s.ready }, Lifecycle: true,
		Reload: func(context.Context) error {
			s.reloads++
			return s.failure
		},
		Status:  func() web.Status { return s.status },
		Grafana: "https://grafana.example/", Now: func() time.Time { return s.now },
	})
	if err != nil {
		tb.Fatal(err)
	}
	s.Handler = h
	return s
}

func (s *site) ask(tb testing.TB, method, path string) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), method, path, http.NoBody))
	return w
}

func TestEndpoints(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, tt := range []struct {
		method, path string
		ready        bool
		failure      error
		code         int
		body         string
	}{
		{method: "GET", path: "/metrics", code: 200, body: "up 1\n"},
		{method: "POST", path: "/metrics", code: 405, body: "Method Not Allowed\n"},
		{method: "GET", path: "/-/healthy", code: 200, body: "healthy\n"},
		{method: "HEAD", path: "/-/healthy", code: 200, body: "healthy\n"}, // net/http drops the body
		{method: "POST", path: "/-/healthy", code: 405, body: "Method Not Allowed\n"},
		{method: "GET", path: "/-/ready", code: 503, body: "not ready\n"},
		{method: "GET", path: "/-/ready", ready: true, code: 200, body: "ready\n"},
		{method: "GET", path: "/-/reload", code: 405, body: "Method Not Allowed\n"},
		{method: "POST", path: "/-/reload", code: 200, body: "reloaded\n"},
		{method: "PUT", path: "/-/reload", code: 200, body: "reloaded\n"},
		{
			method: "POST", path: "/-/reload", failure: errors.New("config.yml:3: peers[0]: one\nconfig.yml:4: peers[1]: two"), code: 500,
			body: "reload failed; keeping the current configuration:\nconfig.yml:3: peers[0]: one\nconfig.yml:4: peers[1]: two\n",
		},
		{method: "GET", path: "/nowhere", code: 404, body: "404 page not found\n"},
	} {
		s.ready, s.failure = tt.ready, tt.failure
		w := s.ask(t, tt.method, tt.path)
		if w.Code != tt.code || w.Body.String() != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, w.Code, w.Body, tt.code, tt.body)
		}
	}
	if s.reloads != 3 {
		t.Errorf("%d reloads", s.reloads)
	}
	if allow := s.ask(t, "GET", "/-/reload").Header().Get("Allow"); allow != "POST, PUT" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestRoutePrefix(t *testing.T) {
	for _, tt := range []struct{ given, external, want string }{
		{"", "", "/"},
		{"", "https://monitor.example/", "/"},
		{"", "https://monitor.example/ipsec", "/ipsec"},
		{"", "https://monitor.example/a/b/", "/a/b"},
		{"/own", "https://monitor.example/ipsec", "/own"},
		{"/", "https://monitor.example/ipsec", "/"},
	} {
		if got, err := web.RoutePrefix(tt.given, tt.external); err != nil || got != tt.want {
			t.Errorf("RoutePrefix(%q, %q) = %q, %v; want %q", tt.given, tt.external, got, err, tt.want)
		}
	}
	if _, err := web.RoutePrefix("", "http://[::1"); err == nil {
		t.Error("a broken URL is no error")
	}
	for _, link := range []string{"javascript:alert(1)", "grafana.example", "/d/", "http://[::1"} {
		if err := web.CheckLinks(link, ""); !errors.Is(err, web.ErrURL) || !strings.HasPrefix(err.Error(), "--web.grafana-url: ") {
			t.Errorf("%s: %v", link, err)
		}
		if err := web.CheckLinks("", link); !errors.Is(err, web.ErrURL) {
			t.Errorf("%s: %v", link, err)
		}
	}
	if err := web.CheckLinks("https://grafana.example/", web.DefaultRunbooks); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"/a/b", "a/b/", "/a/b/"} {
		s := newSite(t, prefix, "/telemetry")
		for path, code := range map[string]int{
			"/a/b/": 200, "/a/b/telemetry": 200, "/a/b/-/healthy": 200, "/a/b/metrics": 404, "/telemetry": 404, "/-/healthy": 404, "/a/": 404,
		} {
			if w := s.ask(t, "GET", path); w.Code != code {
				t.Errorf("prefix %q: GET %s is %d, want %d", prefix, path, w.Code, code)
			}
		}
		if w := s.ask(t, "GET", "/"); w.Code != http.StatusFound || w.Header().Get("Location") != "/a/b/" {
			t.Errorf("prefix %q: GET / is %d to %q", prefix, w.Code, w.Header().Get("Location"))
		}
		if body := s.ask(t, "GET", "/a/b/").Body.String(); !strings.Contains(body, `href="/a/b/telemetry"`) {
			t.Errorf("prefix %q: no link to the metrics in:\n%s", prefix, body)
		}
	}
}

func TestImpossiblePaths(t *testing.T) {
	for _, tt := range []struct{ prefix, telemetry, want string }{
		{"/", "/", "not a possible path: --web.telemetry-path=/ is a page of the exporter itself"},
		{"/", "", "not a possible path: --web.telemetry-path=/ is a page of the exporter itself"},
		{"/a", "/-/healthy", "not a possible path: --web.telemetry-path=/a/-/healthy is a page of the exporter itself"},
		{"/", "-/reload/", "not a possible path: --web.telemetry-path=/-/reload is a page of the exporter itself"},
		{"/", "/{name", "not a possible path: --web.telemetry-path=/{name"},
		{"/a b", "/metrics", "not a possible path: --web.route-prefix=/a b"},
	} {
		_, err := web.Handler(web.Config{RoutePrefix: tt.prefix, TelemetryPath: tt.telemetry, Metrics: http.NotFoundHandler()})
		if !errors.Is(err, web.ErrPath) || err.Error() != tt.want {
			t.Errorf("%q, %q: %v, want %s", tt.prefix, tt.telemetry, err, tt.want)
		}
	}
}

// Names and replies come from files and from the network: they must not become markup.
func TestPagesEscape(t *testing.T) {
	const evil = `<script>alert("x")</script>`
	held := []diagnosis.Held{{
		Diagnosis: diagnosis.Diagnosis{Name: diagnosis.PeerSilent, Severity: diagnosis.Critical, Gateway: evil, Summary: `" onmouseover="` + evil, Evidence: []string{evil}},
		Since:     now,
	}}
	r := &report.Report{
		Peer: evil, Host: evil, Labels: map[string]string{"isp": evil, "site": evil}, Diagnoses: held, Baseline: evil, Errors: []string{evil},
		Changes: []history.Change{{Diagnosis: evil, Summary: evil}},
	}
	s := newSite(t, "/", "/metrics")
	s.status = web.Status{Version: "1.2.3", Started: now.Add(-90 * time.Second), Degraded: []string{evil}, Peers: []*report.Report{r}}
	s.peers["evil"] = r
	s.exchanges = []trace.Exchange{{Purpose: evil, Answers: []trace.Answer{{Outcome: netio.NotSent, Err: evil}}}}
	for path, texts := range map[string]int{"/?q=" + url.QueryEscape(evil[:7]) + "&provider=" + url.QueryEscape(evil): 10, "/peers/evil": 17} {
		w := s.ask(t, "GET", path)
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, `" onmouseover`) {
			t.Errorf("%s: markup in:\n%s", path, body)
		}
		const escaped = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"
		if n := strings.Count(body, escaped); n != texts {
			t.Errorf("%s: %d of %d texts in:\n%s", path, n, texts, exportertest.Lines(t, body))
		}
		if kind := w.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", path, kind)
		}
	}
	for _, want := range []string{`<strong class="critical">critical</strong>`, "Version 1.2.3, measuring for 90 s", "Missing privileges"} {
		if body := s.ask(t, "GET", "/").Body.String(); !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
}

// head is a peer with a fault, as its page shows it.
func head() *report.Report {
	since := now.Add(-2 * time.Hour)
	return &report.Report{
		Peer: "head office", Host: "hq.example", Address: netip.MustParseAddr("203.0.113.10"), Labels: map[string]string{"site": "west", "isp": "acme"},
		Started: since, Took: time.Second, Measured: true,
		Findings: suite.Findings{
			ICMP: &icmp.Result{State: icmp.Reachable, Sent: 5, Received: 5},
			PMTU: &pmtu.Snapshot{Hops: []netip.Addr{netip.MustParseAddr("198.51.100.1"), {}}},
		},
		Diagnoses: []diagnosis.Held{{
			Diagnosis: diagnosis.Diagnosis{Name: diagnosis.UDP500Blocked, Severity: diagnosis.Critical, Gateway: "hub", Summary: "UDP 500 is not answered.", Evidence: []string{"ike: silent"}},
			Since:     since, Flapping: true,
		}},
		Baseline: "1500 bytes pass",
		Changes: []history.Change{
			{At: since.Add(-time.Hour), On: true, Diagnosis: "icmp_blocked", Summary: "first"},
			{At: since, Diagnosis: "icmp_blocked", Summary: "second"},
		},
		Errors: []string{"no raw sockets"},
	}
}

// probes are exchanges, the last one lost.
func probes(n int) []trace.Exchange {
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	all := make([]trace.Exchange, n)
	for i := range all {
		all[i] = trace.Exchange{
			Sent: at.Add(time.Duration(i) * time.Second), Dst: netip.MustParseAddr("203.0.113.10"), Purpose: "path MTU by ike", Size: 1000 + i,
			Packets: []trace.Packet{{At: at, Length: 20, Bytes: make([]byte, 20)}},
		}
	}
	all[n-1].Timeout = 200 * time.Millisecond
	all[n-1].Answers = []trace.Answer{{Outcome: netio.Silent}}
	return all
}

// TestPeerPage: what the page says of one peer.
func TestPeerPage(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["head office"], s.exchanges = head(), probes(300)
	s.day[lastday.Quarters-1] = lastday.Sample{Health: lastday.Critical, Loss: 0.25, RoundTrip: 20 * time.Millisecond, Bytes: 1400}
	body := s.ask(t, "GET", "/peers/head%20office").Body.String()
	for _, want := range []string{
		`<h1>head office <span class="critical">critical</span></h1>`, "203.0.113.10, provider <strong>acme</strong>, site west.",
		`href="./head%20office/report?format=html"`, `href="https://grafana.example/d/ipsec-path-peer?var-peer=head&#43;office"`,
		`runbooks/README.md#udp500_blocked"`, `<span class="critical">critical</span>: UDP 500 is not answered.`,
		"Since 2026-01-02 03:04 UTC (2 h), provider acme, at gateway hub.", "It turns on and off", "<li>ike: silent</li>",
		"<tr><th>ICMP echo</th><td>reachable (5 of 5 answered, 0 % lost, jitter 0.0 ms)</td></tr>", "<tr><th>not measured</th><td>no raw sockets</td></tr>",
		"<tr><th>routers</th><td>1 198.51.100.1, 2 no answer</td></tr>", "<p>1500 bytes pass.</p>",
		"300 kept", "1 no answer, 299 without a result yet", "260 earlier probes of this round", "<td>no answer within 200 ms</td>",
		"<strong>Health</strong>: critical", "<strong>Echo loss</strong>: 25 %", "<strong>Path MTU</strong>: 1400 bytes",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
	if cleared, raised := strings.Index(body, "icmp_blocked cleared"), strings.Index(body, "icmp_blocked raised"); cleared < 0 || raised < cleared {
		t.Errorf("the changes are not shown with the newest first:\n%s", body)
	}
	if !strings.Contains(body, "icmp_blocked raised</strong>, held for 60 min") {
		t.Errorf("the timeline does not say how long a diagnosis held:\n%s", body)
	}
	s.peers["new"], s.exchanges, s.day = &report.Report{Peer: "new", Host: "new.example"}, nil, [lastday.Quarters]lastday.Sample{}
	body = s.ask(t, "GET", "/peers/new").Body.String()
	for _, want := range []string{"new.example (not resolved)", "None yet.", "recording begins within a minute", `<span class="unknown">unknown</span>: no verdict`} {
		if !strings.Contains(body, want) {
			t.Errorf("a peer without results lacks %s:\n%s", want, body)
		}
	}
	if strings.Contains(body, "<h2>History") || strings.Contains(body, "healthy</span>") {
		t.Errorf("a peer without results:\n%s", body)
	}
}

// TestPeerFiles: the files behind a peer's page hold the same bytes as a check writes for the same
// findings.
func TestPeerFiles(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["head office"], s.exchanges = head(), probes(2)
	for name, format := range report.Formats() {
		var want bytes.Buffer
		if err := format.Write(&want, []*report.Report{head()}); err != nil {
			t.Fatal(err)
		}
		w := s.ask(t, "GET", "/peers/head%20office/report?format="+name)
		if diff := cmp.Diff(want.String(), w.Body.String()); diff != "" || w.Header().Get("Content-Type") != format.MediaType {
			t.Errorf("%s, %s (-check +page):\n%s", name, w.Header().Get("Content-Type"), diff)
		}
	}
	if got := s.ask(t, "GET", "/peers/head%20office/report").Body.String(); !strings.HasPrefix(got, "head office (203.0.113.10): FAULT udp500_blocked\n") {
		t.Errorf("without a format:\n%s", got)
	}
	w := s.ask(t, "GET", "/peers/head%20office/evidence")
	var exchanges []struct {
		Bytes int
		Fault bool
	}
	if err := json.Unmarshal(w.Body.Bytes(), &exchanges); err != nil || len(exchanges) != 2 || exchanges[1].Bytes != 1001 || !exchanges[1].Fault {
		t.Errorf("exchanges %+v, %v", exchanges, err)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("Content-Type %q", kind)
	}
	evidence := schematest.Open("evidence")
	evidence.Check(t, "evidence", w.Body.Bytes())
	schematest.Open("check").Check(t, "report", s.ask(t, "GET", "/peers/head%20office/report?format=json").Body.Bytes())
	s.exchanges = nil
	evidence.Check(t, "evidence without probes", s.ask(t, "GET", "/peers/head%20office/evidence").Body.Bytes())
	s.exchanges = probes(2)
	w = s.ask(t, "GET", "/peers/head%20office/pcap")
	if got := w.Header().Get("Content-Disposition"); got != "attachment; filename=head_office.pcapng" {
		t.Errorf("the packets are named %s", got)
	}
	if w.Header().Get("Content-Type") != "application/x-pcapng" || !bytes.HasPrefix(w.Body.Bytes(), []byte{0x0a, 0x0d, 0x0d, 0x0a}) ||
		!bytes.Contains(w.Body.Bytes(), []byte("ipsec_path_exporter test")) {
		t.Errorf("packets: %s, %q", w.Header().Get("Content-Type"), w.Body)
	}
	for path, want := range map[string]string{
		"/peers/nobody": "404 no peer of this name is measured\n", "/peers/nobody/report": "404 no peer of this name is measured\n",
		"/peers/nobody/pcap": "404 no peer of this name is measured\n", "/peers/nobody/evidence": "404 no peer of this name is measured\n",
		"/peers/head%20office/report?format=xml": "400 format: must be one of: html, json, markdown, text\n",
	} {
		if w := s.ask(t, "GET", path); fmt.Sprintf("%d %s", w.Code, w.Body) != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestPageFails: a page that cannot be rendered has status 500 and its error, also in the log.
func TestPageFails(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["hq"] = head()
	s.peers["hq"].Diagnoses[0].Name = "without_advice"
	s.status.Peers = []*report.Report{s.peers["hq"]}
	s.exchanges = []trace.Exchange{{Sent: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}} // not a time in JSON
	for path, page := range map[string]string{
		"/peers/hq/report": "/peers/hq/report", "/peers/hq/report?format=json": "/peers/hq/report",
		"/peers/hq/report?format=markdown": "/peers/hq/report", "/peers/hq/evidence": "/peers/hq/evidence",
	} {
		s.log.Reset()
		w := s.ask(t, "GET", path)
		if w.Code != http.StatusInternalServerError || !strings.HasPrefix(w.Body.String(), "page not rendered: ") ||
			w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d %s %q", path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		if got := s.log.String(); !strings.Contains(got, `level=ERROR msg="page not rendered" page=`+page+" err=") {
			t.Errorf("%s: log %q", path, got)
		}
	}
}

// TestActionFails: a text that cannot be rendered costs its diagnosis the action, not the pages of
// all peers.
func TestActionFails(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["hq"] = head()
	s.peers["hq"].Diagnoses[0].Name = "without_advice"
	s.status.Peers = []*report.Report{s.peers["hq"], well("other", "acme")}
	for path, want := range map[string]string{"/": "Do now: Open the page of the peer.", "/peers/hq": "Open the runbook and the report."} {
		s.log.Reset()
		w := s.ask(t, "GET", path)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), "UDP 500 is not answered.") {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
		if got := s.log.String(); !strings.Contains(got, `level=ERROR msg="action not rendered" peer="head office" err="action for without_advice:`) {
			t.Errorf("%s: log %q", path, got)
		}
	}
}

// broken is a client that has gone away.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestClientIsGone: a page that a client did not receive is logged, and ends nothing.
func TestClientIsGone(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["hq"], s.exchanges = head(), probes(1)
	for path, page := range map[string]string{"/": "index.html", "/peers/hq": "peer.html", "/peers/hq/report": "/peers/hq/report", "/peers/hq/pcap": "/peers/hq/pcap"} {
		s.log.Reset()
		s.ServeHTTP(broken{httptest.NewRecorder()}, httptest.NewRequestWithContext(t.Context(), "GET", path, http.NoBody))
		if got := s.log.String(); !strings.Contains(got, `msg="page not written" page=`+page+" err=") {
			t.Errorf("%s: log %q", path, got)
		}
	}
}

func TestServer(t *testing.T) {
	server, err := web.Server(web.Config{TelemetryPath: "/metrics", Metrics: http.NotFoundHandler()})
	if err != nil || server.ReadHeaderTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 {
		t.Errorf("server %+v, %v", server, err)
	}
	if _, err := web.Server(web.Config{TelemetryPath: "/", Metrics: http.NotFoundHandler()}); !errors.Is(err, web.ErrPath) {
		t.Errorf("error %v", err)
	}
}
