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
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/exporter/web"
	"ipsec_path_exporter/internal/netio"
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

func newSite(t *testing.T, prefix, telemetry string) *site {
	t.Helper()
	s := &site{peers: make(map[string]*report.Report)}
	h, err := web.Handler(web.Config{
		Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Application: "ipsec_path_exporter test", Peers: s, RoutePrefix: prefix, TelemetryPath: telemetry,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }),
		Ready:   func() bool { return s.ready },
		Reload: func(context.Context) error {
			s.reloads++
			return s.failure
		},
		Status: func() web.Status { return s.status },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = h
	return s
}

func (s *site) ask(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
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
		Diagnosis: diagnosis.Diagnosis{Name: `" onmouseover="` + evil, Gateway: evil, Summary: evil, Evidence: []string{evil}}, Since: time.Now(),
	}}
	s := newSite(t, "/", "/metrics")
	s.status = web.Status{
		Version: "1.2.3", Started: time.Now().Add(-90 * time.Second), Degraded: []string{evil},
		Peers: []report.Summary{{Peer: evil, Where: evil, Health: "faulty", Echo: evil, IKE: []string{evil}, MTU: []string{evil}, Diagnoses: held}},
	}
	s.peers["evil"] = &report.Report{
		Peer: evil, Host: evil, Labels: map[string]string{"site": evil}, Diagnoses: held, Baseline: evil, Errors: []string{evil},
		Changes: []history.Change{{Diagnosis: evil, Summary: evil}},
	}
	s.exchanges = []trace.Exchange{{Purpose: evil}}
	for path, texts := range map[string]int{"/": 9, "/peers/evil": 13} {
		w := s.ask(t, "GET", path)
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, `" onmouseover`) {
			t.Errorf("%s: markup in:\n%s", path, body)
		}
		const escaped = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"
		if n := strings.Count(body, escaped); n != texts {
			t.Errorf("%s: %d of %d texts in:\n%s", path, n, texts, body)
		}
		if kind := w.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", path, kind)
		}
	}
	for _, want := range []string{`<td class="faulty">faulty</td>`, "Version 1.2.3, measuring for 1m30s", "Missing privileges"} {
		if body := s.ask(t, "GET", "/").Body.String(); !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
}

// head is a peer with a fault, as its page shows it.
func head() *report.Report {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
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

func TestPeerPage(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["head office"], s.exchanges = head(), probes(300)
	body := s.ask(t, "GET", "/peers/head%20office").Body.String()
	for _, want := range []string{
		`<h1>head office <span class="faulty">faulty</span></h1>`, "<p>203.0.113.10, isp acme, site west. ", `href="./head%20office/report?format=json"`,
		"<strong>udp500_blocked</strong> (critical, hub): UDP 500 is not answered.", "since 2026-01-02T03:04:05Z. It is flapping.", "<li>ike: silent</li>",
		"<tr><th>ICMP echo</th><td>reachable (5 of 5 answered, 0 % lost, jitter 0.0 ms)</td></tr>", "<tr><th>not measured</th><td>no raw sockets</td></tr>",
		"<tr><th>routers</th><td>1 198.51.100.1, 2 no answer</td></tr>", "<p>1500 bytes pass.</p>",
		`<tr class="fault"><td class="at">2026-01-02T03:04:59Z</td><td>path MTU by ike: 1299 bytes</td><td>no answer within 200 ms</td></tr>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
	if cleared, raised := strings.Index(body, "<td>cleared</td>"), strings.Index(body, "<td>raised</td>"); cleared < 0 || raised < cleared {
		t.Errorf("the changes are not shown with the newest first:\n%s", body)
	}
	if n := strings.Count(body, "path MTU by ike"); n != 200 || strings.Contains(body, "1099 bytes") || !strings.Contains(body, "1100 bytes") {
		t.Errorf("%d probes are shown", n)
	}
	s.peers["new"], s.exchanges = &report.Report{Peer: "new", Host: "new.example"}, nil
	body = s.ask(t, "GET", "/peers/new").Body.String()
	if !strings.Contains(body, "new.example (not resolved)") || !strings.Contains(body, "None yet.") || strings.Contains(body, "History") {
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
	w = s.ask(t, "GET", "/peers/head%20office/pcap")
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
	s.peers["none"] = nil
	s.exchanges = []trace.Exchange{{Sent: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}} // not a time in JSON
	for path, page := range map[string]string{
		"/peers/none": "peer.html", "/peers/hq/report": "/peers/hq/report", "/peers/hq/report?format=json": "/peers/hq/report",
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

// broken is a client that has gone away.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestClientIsGone: a page that a client did not receive is logged, and ends nothing.
func TestClientIsGone(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["hq"], s.exchanges = head(), probes(1)
	for path, page := range map[string]string{"/": "status.html", "/peers/hq": "peer.html", "/peers/hq/report": "/peers/hq/report", "/peers/hq/pcap": "/peers/hq/pcap"} {
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
