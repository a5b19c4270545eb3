package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/evidence"
	"ipsec_path_exporter/exporter/web"
)

// site are the pages of a service.
func (s *service) site(t *testing.T) http.Handler {
	t.Helper()
	h, err := web.Handler(web.Config{
		Log: slog.New(slog.DiscardHandler), RoutePrefix: "/", TelemetryPath: "/metrics", Metrics: s.metrics,
		Ready: func() bool { return true }, Reload: s.reload.reload, Status: s.status(time.Now()), Dossiers: dossiers{s.app},
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

// TestPeerPages: behind a diagnosis is what shows it, for people, for a provider, and for Wireshark.
func TestPeerPages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	s := l.serve(t, quick+"peers: [{name: 'head office', address: "+l.address(false)+", labels: {isp: acme}}]\n")
	s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",isp="acme",peer="head office"}`, 1)
	h := s.site(t)
	for path, want := range map[string]struct {
		code      int
		mediaType string
		words     []string
	}{
		"/": {200, "text/html; charset=utf-8", []string{`href="peers/head%20office"`}},
		"/peers/head%20office": {200, "text/html; charset=utf-8", []string{
			"pmtu_black_hole", "isp acme", "larger ones vanish", "1401 bytes with DF", "no answer within", `href="./head%20office/report"`,
			"lost after 10.77.2.2, before or at 10.77.3.2", "begins",
		}},
		"/peers/head%20office/report":                 {200, "text/plain; charset=utf-8", []string{"FAULT pmtu_black_hole", "WHAT WE ASK", "ping -M do"}},
		"/peers/head%20office/report?format=markdown": {200, "text/markdown; charset=utf-8", []string{"## What we ask", "```text"}},
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
	if n := countPackets(t, strings.NewReader(body)); mediaType != "application/x-pcapng" || n < len(exchanges) {
		t.Errorf("%s: %d packets of %d exchanges", mediaType, n, len(exchanges))
	}
}

func countPackets(t *testing.T, r io.Reader) (n int) {
	t.Helper()
	file, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for ; ; n++ {
		if _, _, err := file.ReadPacketData(); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestHistoryOverRestart: what the path was like before is known after a restart, and told when it is not like that any more.
func TestHistoryOverRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dir := t.TempDir()
	text := quick + "peers: [{name: hq, address: " + l.address(false) + "}]\n"
	remembering := func(scenario string, wait func(s *service)) string {
		l.Apply(t, scenario)
		cfg, err := config.Load(configFile(t, text))
		if err != nil {
			t.Fatal(err)
		}
		s := &service{logged: &page{}, file: configFile(t, text)}
		s.app = l.app(t, cfg, slog.New(slog.NewTextHandler(s.logged, nil)), false)
		if s.history, err = evidence.OpenHistory(dir, s.log); err != nil {
			t.Fatal(err)
		}
		s.start(t, cfg)
		wait(s)
		_, _, report := get(t, s.site(t), "/peers/hq/report")
		p, _ := s.find("hq")
		<-p.stop()
		if err := s.history.Close(); err != nil {
			t.Fatal(err)
		}
		s.history, _ = evidence.OpenHistory("", s.log) // the app closes it with itself
		return report
	}
	remembering("S0", func(s *service) {
		s.await(t, soon, `peer_healthy{peer="hq"}`, 1)
		eventually(t, soon, "a baseline", func() bool { b, _ := s.history.Baseline("hq"); return len(b.Hops) > 0 })
	})
	report := remembering("S2", func(s *service) { s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq"}`, 1) })
	before := regexp.MustCompile(`1500 bytes passed until \S+Z, now 1400.*hops unchanged`)
	if !before.MatchString(strings.Join(strings.Fields(report), " ")) || !strings.Contains(report, "pmtu_black_hole began") {
		t.Errorf("the report does not say how it was before:\n%s", report)
	}
}

// TestCheckPcap: the packets of a check open in tshark without a malformed one, each with a comment.
func TestCheckPcap(t *testing.T) {
	t.Parallel()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatal(err)
		}
		t.Skip("no tshark")
	}
	l := newLab(t)
	l.Apply(t, "S2")
	path := filepath.Join(t.TempDir(), "check.pcapng")
	l.Client.Do(t, func() {
		o := CheckOptions{
			Targets: []string{"four=" + l.address(false), "six=" + l.address(true)}, Output: "text", Timeout: time.Minute, Pcap: path,
			Stdout: io.Discard, Stderr: io.Discard,
		}
		if err := Check(t.Context(), o); !errors.Is(err, ErrFault) {
			t.Errorf("error %v", err)
		}
	})
	run := func(args ...string) []string {
		out, err := exec.CommandContext(t.Context(), tshark, append([]string{"-r", path}, args...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	}
	if bad := run("-Y", "_ws.malformed"); len(bad) > 0 {
		t.Errorf("malformed:\n%s", strings.Join(bad, "\n"))
	}
	if bad := run("-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y",
		"(ip.checksum.status == 0 && ip.src == "+l.ClientAddr(false).String()+") || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"); len(bad) > 0 {
		t.Errorf("wrong checksums:\n%s", strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
	comments := run("-T", "fields", "-e", "frame.comment", "-e", "frame.len")
	f, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := countPackets(t, bytes.NewReader(f)); n != len(comments) || n < 300 {
		t.Errorf("%d packets, %d comments", n, len(comments))
	}
	for _, want := range []string{"path MTU by ike", "1401 bytes with DF", "no answer within", "how far does esp get?", "way back", "IP fragments"} {
		if !slices.ContainsFunc(comments, func(c string) bool { return strings.Contains(c, want) }) {
			t.Errorf("no comment says %q", want)
		}
	}
	for _, c := range comments {
		if strings.HasPrefix(c, "\t") {
			t.Errorf("a packet without a comment: %q", c)
		}
	}
}

// TestVantage: what also fails at an address beyond the own edge is not held against the peer's provider; what does not, is.
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
			s := l.serve(t, quick+"peers: [{name: hq, address: "+l.address(false)+"}]\ncontrols: ["+l.HopAddr(tt.hop, false).String()+"]\n")
			go func() { _ = s.watchVantage(s.ctx) }()
			s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq"}`, 1)
			const suspect = `diagnosis{diagnosis="vantage_suspect",peer="hq"}`
			if tt.want == 1 {
				s.await(t, 4*soon, suspect, 1)
				return
			}
			time.Sleep(2 * vantageEvery)
			eventually(t, soon, "the control was measured", func() bool {
				c := s.controlled(time.Now())
				return len(c) == 1 && !c[0].Measured.IsZero()
			})
			s.compare(time.Now())
			s.compare(time.Now().Add(vantageEvery))
			if s.is(t, suspect, 1) {
				t.Error("the vantage point is suspect though the control is well")
			}
			for _, line := range s.scrape(t).of("control/" + l.HopAddr(tt.hop, false).String()) {
				t.Errorf("a control has a series: %s", line)
			}
		})
	}
}
