package exporter

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/web"
)

// site are the pages of a service.
func (s *service) site(t *testing.T) http.Handler {
	t.Helper()
	h, err := web.Handler(web.Config{
		Log: slog.New(slog.DiscardHandler), RoutePrefix: "/", TelemetryPath: "/metrics", Metrics: s.metrics,
		Ready: func() bool { return true }, Reload: s.reload.reload, Status: s.status(time.Now()), Peers: peerPages{s.app}, Application: report.Application(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// get fetches a page.
func get(t *testing.T, h http.Handler, path string) (code int, contentType, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

// An exchange is one of a peer's page, as far as the tests look at it.
type exchange struct {
	Bytes  int
	Fault  bool
	Result string
}

// TestPeerPages: behind a diagnosis is what shows it, for people, for a provider, and for
// Wireshark.
func TestPeerPages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	s := l.serve(t, quick+"peers: [{name: 'head office', address: "+l.Address(false)+", labels: {isp: acme}}]\n")
	h := s.site(t)
	const place = "lost after 10.77.2.2, before or at 10.77.3.2"
	const drawn = "vanish between 10.77.2.2 and 10.77.3.2"
	exportertest.Eventually(t, 2*soon, "a black hole, by echo too, and its place", func() bool {
		_, _, page := get(t, h, "/peers/head%20office")
		_, _, report := get(t, h, "/peers/head%20office/report")
		return strings.Contains(page, place) && strings.Contains(report, "ping -M do")
	})
	s.await(t, soon, `diagnosis{diagnosis="pmtu_black_hole",isp="acme",peer="head office",severity="critical"}`, 1)
	for path, want := range map[string]struct {
		code      int
		mediaType string
		words     []string
	}{
		"/": {200, "text/html; charset=utf-8", []string{`href="peers/head%20office"`}},
		"/peers/head%20office": {200, "text/html; charset=utf-8", []string{
			"pmtu_black_hole", "provider <strong>acme", "larger ones vanish", "1401 bytes with DF", "no answer within", `href="./head%20office/report"`,
			place, drawn, "raised", "Do now", "Set TCP MSS 1286 and MTU 1326", "send the report to acme",
		}},
		"/peers/head%20office/report":                 {200, "text/plain; charset=utf-8", []string{"FAULT pmtu_black_hole", "REQUESTED ACTION", "ping -M do"}},
		"/peers/head%20office/report?format=markdown": {200, "text/markdown; charset=utf-8", []string{"## Requested action", "```text"}},
		"/peers/head%20office/report?format=json":     {200, "application/json", []string{`"name": "pmtu_black_hole"`}},
		"/peers/head%20office/report?format=xml":      {400, "text/plain; charset=utf-8", []string{"markdown"}},
		"/peers/nobody":                               {404, "text/plain; charset=utf-8", nil},
		"/peers/nobody/pcap":                          {404, "text/plain; charset=utf-8", nil},
	} {
		code, mediaType, body := get(t, h, path)
		if code != want.code || mediaType != want.mediaType {
			t.Errorf("%s: %d, %s", path, code, mediaType)
		}
		for _, w := range want.words {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q:\n%s", path, w, body)
			}
		}
	}
	_, _, body := get(t, h, "/peers/head%20office/evidence")
	var exchanges []exchange
	if err := json.Unmarshal([]byte(body), &exchanges); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(exchanges, func(e exchange) bool {
		return e.Bytes == 1401 && e.Fault && strings.HasPrefix(e.Result, "no answer")
	}) {
		t.Errorf("no lost probe of 1401 bytes among %d", len(exchanges))
	}
	_, mediaType, body := get(t, h, "/peers/head%20office/pcap")
	if n := exportertest.CountPackets(t, strings.NewReader(body)); mediaType != "application/x-pcapng" || n < len(exchanges) {
		t.Errorf("%s: %d packets of %d exchanges", mediaType, n, len(exchanges))
	}
}

// TestHistoryOverRestart: what the path was like is known after a restart, and reported when it has
// changed.
func TestHistoryOverRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.storage = t.TempDir()
	text := quick + "peers: [{name: hq, address: " + l.Address(false) + "}]\n"
	t.Run("before", func(t *testing.T) { // its end closes the program
		s := l.serve(t, text)
		s.await(t, soon, `peer_healthy{peer="hq"}`, 1)
		exportertest.Eventually(t, soon, "a baseline", func() bool { b, _ := s.history.Baseline("hq"); return len(b.Hops) > 0 })
	})
	l.Apply(t, "S2")
	s := l.serve(t, text)
	s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq",severity="critical"}`, 1)
	_, _, report := get(t, s.site(t), "/peers/hq/report")
	before := regexp.MustCompile(`1500 bytes passed until \S+Z, now 1400.*hops unchanged`)
	if !before.MatchString(strings.Join(strings.Fields(report), " ")) || !strings.Contains(report, "pmtu_black_hole raised") {
		t.Errorf("the report does not say how it was before:\n%s", report)
	}
}

// TestVantage: what also fails at an address beyond the own edge is not held against the peer's
// provider; what does not, is.
func TestVantage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hop  int // where the control is
		want float64
	}{
		"the control is behind the fault": {3, 1}, "the control is before the fault": {1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, "S2")
			s := l.serve(t, quick+"peers: [{name: hq, address: "+l.Address(false)+"}]\ncontrols: ["+l.HopAddr(tt.hop, false).String()+"]\n")
			go func() { _ = s.vantage.watch(s.ctx) }()
			s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq",severity="critical"}`, 1)
			const suspect = `diagnosis{diagnosis="vantage_suspect",peer="hq",severity="critical"}`
			if tt.want == 1 {
				s.await(t, 4*soon, suspect, 1)
				return
			}
			time.Sleep(2 * vantageEvery)
			exportertest.Eventually(t, soon, "the control was measured", func() bool {
				c := s.vantage.judgeControls(time.Now())
				return len(c) == 1 && !c[0].Measured.IsZero()
			})
			s.vantage.compare(time.Now())
			s.vantage.compare(time.Now().Add(vantageEvery))
			if s.is(t, suspect, 1) {
				t.Error("the vantage point is suspect though the control is well")
			}
			for _, line := range s.scrape(t).of("control/" + l.HopAddr(tt.hop, false).String()) {
				t.Errorf("a control has a series: %s", line)
			}
		})
	}
}
