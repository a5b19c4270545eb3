package web_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
)

// actions are what to do about the worst diagnosis of each peer of the demo, with its numbers.
var actions = map[string]string{
	"black-hole":           "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
	"black-hole-no-icmp":   "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
	"black-hole-both-ways": "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
	"black-hole-ipv6":      "Set TCP MSS 1270 and MTU 1310 on the tunnel interface, at both ends; send the report to acme.",
	"tunnel-oversized":     "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
	"negotiation-stuck":    "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
	"black-hole-back":      "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at the peer's end first; send the report to acme.",
	"unreachable":          "Ping 203.0.113.10 from another network, such as a mobile line. If it answers there, send the report to initech: nothing passes to UDP 500 and 4500.",
	"udp4500-blocked":      "Send the report to initech: it has to permit UDP 4500.",
	"esp-blocked":          "Force NAT traversal, so that ESP travels in UDP 4500, with TCP MSS 1382; send the report to initech.",
	"fragments-dropped":    "Turn on IKEv2 fragmentation (RFC 7383) at both ends; send the report to initech: it has to pass IP fragments of UDP 500 and 4500.",
	"icmp-dropped":         "No action while tunnels work. If they stall, set TCP MSS 1382 on the tunnel interface.",
	"healthy":              "Nothing to do. A tunnel over this path can have MTU 1422 and TCP MSS 1382.",
	"healthy-ipv6":         "Nothing to do. A tunnel over this path can have MTU 1406 and TCP MSS 1366.",
	"lossy":                "Nothing to do. A tunnel over this path can have MTU 1422 and TCP MSS 1382.",
}

// furtherActions are what to do about the other diagnoses.
var furtherActions = map[string]string{
	diagnosis.TunnelOversized:      "Set TCP MSS 1286 and MTU 1326 on the gateway hub: it builds packets for more than the path carries.",
	diagnosis.NegotiationStuck:     "Repair the path first: packets above 1400 bytes vanish, and with them large IKE messages. Then clear the SA of this peer at hub.",
	diagnosis.PMTUBlackHoleReverse: "at the peer's end first; send the report to acme.",
	diagnosis.ICMPBlocked:          "If they stall, set TCP MSS 1286 on the tunnel interface.",
}

// TestTenSeconds: the first screen of the list and of each peer's page says what is wrong, since
// when, on which provider, and what to do, with its number.
func TestTenSeconds(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.status.Peers = demonstration(t)
	list := exportertest.Lines(t, s.ask(t, "GET", "/").Body.String())
	first := strings.Join(list[:exportertest.FirstScreen], "\n")
	if want := "12 of 15 peers have a fault: 7 critical, 4 warning, 1 info."; !strings.Contains(first, want) {
		t.Errorf("the list lacks %q:\n%s", want, first)
	}
	for _, r := range s.status.Peers {
		s.peers[r.Peer] = r
		s.pageInTime(t, r)
		shown := list
		if r.Worst() == diagnosis.Critical {
			shown = list[:exportertest.FirstScreen]
		}
		row := rowOf(shown, r.Peer)
		if len(r.Diagnoses) == 0 {
			if !strings.HasPrefix(row, r.Peer+" globex healthy round trip 20.0 ms") {
				t.Errorf("%s is not shown as healthy: %s", r.Peer, row)
			}
			continue
		}
		worst := worst(r)
		for _, want := range []string{string(worst.Severity) + " " + worst.Summary, "Since 2026-01-02 04:54 UTC (10 min)", "Do now: " + actions[r.Peer], r.Labels["isp"]} {
			if !strings.Contains(row, want) {
				t.Errorf("the row of %s lacks %q:\n%s\n%s", r.Peer, want, row, strings.Join(list, "\n"))
			}
		}
	}
}

// pageInTime reads the first screen of a peer's page.
func (s *site) pageInTime(t *testing.T, r *report.Report) {
	t.Helper()
	page := strings.Join(exportertest.Lines(t, s.ask(t, "GET", "/peers/"+r.Peer).Body.String())[:exportertest.FirstScreen], "\n")
	want := []string{actions[r.Peer], "provider " + r.Labels["isp"]}
	if !regexp.MustCompile(`\d`).MatchString(actions[r.Peer]) {
		t.Errorf("%s: no number in %q", r.Peer, actions[r.Peer])
	}
	if len(r.Diagnoses) == 0 {
		want = append(want, "healthy: no fault found")
	}
	for _, h := range r.Diagnoses {
		want = append(want, string(h.Severity)+": "+h.Summary, "Since 2026-01-02 04:54 UTC (10 min), provider "+r.Labels["isp"])
		if h.Name != worst(r).Name {
			want = append(want, furtherActions[h.Name])
		}
	}
	for _, w := range want {
		if w == "" || !strings.Contains(page, w) {
			t.Errorf("the page of %s lacks %q:\n%s", r.Peer, w, page)
		}
	}
}

// requests are what the reports ask for first, with its number.
var requests = map[string]string{
	diagnosis.PMTUBlackHole:        "Permit ICMP type 3 code 4 (fragmentation needed) from your routers to 198.51.100.7",
	diagnosis.PMTUBlackHoleReverse: "Permit ICMP type 3 code 4 (fragmentation needed) towards 203.0.113.10",
	diagnosis.PeerSilent:           "UDP port 500 and UDP port 4500 get no answer", diagnosis.UDP4500Blocked: "Permit UDP port 4500",
	diagnosis.ESPBlocked: "Permit IP protocol 50 (ESP)", diagnosis.FragmentsDropped: "Permit IP fragments of UDP 500/4500",
	diagnosis.ICMPBlocked: "Permit ICMP type 3 code 4",
}

// furtherRequests are what the reports ask of the own site as well, before all details.
var furtherRequests = map[string]string{
	"tunnel-oversized":  "Set the tunnel's MTU to 1326 and TCP MSS to 1286 on the gateway",
	"negotiation-stuck": "Repair the path first: packets above 1400 bytes vanish",
}

// TestReportsInTenSeconds: the first lines of each form of a report say what is wrong, since when,
// and what is requested, with its number.
func TestReportsInTenSeconds(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, r := range demonstration(t) {
		s.peers[r.Peer] = r
		for _, format := range []string{"text", "markdown", "html"} {
			body := s.ask(t, "GET", "/peers/"+r.Peer+"/report?format="+format).Body.String()
			lines := strings.Split(body, "\n")
			if format == "html" {
				lines = exportertest.Lines(t, body)
			}
			text := strings.Join(strings.Fields(strings.Join(lines[:min(len(lines), exportertest.FirstScreen)], " ")), " ")
			want := []string{r.Peer}
			for _, h := range r.Diagnoses {
				want = append(want, h.Summary+" Since at least 2026-01-02T04:54:05Z", h.Name)
			}
			if len(r.Diagnoses) > 0 {
				request := requests[worst(r).Name]
				if r.V6() {
					request = "Permit ICMPv6 type 2 (packet too big) from your routers to 2001:db8::7"
				}
				want = append(want, request)
			}
			for _, w := range want {
				if w == "" || !strings.Contains(text, w) {
					t.Errorf("the report of %s as %s lacks %q:\n%s", r.Peer, format, w, text)
				}
			}
			requests, _, _ := strings.Cut(strings.Join(strings.Fields(strings.Join(lines, " ")), " "), "Details for")
			if own := furtherRequests[r.Peer]; !strings.Contains(requests, own) {
				t.Errorf("the report of %s as %s does not ask the own site: %s", r.Peer, format, own)
			}
		}
	}
}

// rowOf returns the two lines of a peer in the list.
func rowOf(list []string, peer string) string {
	for i, l := range list {
		if strings.HasPrefix(l, peer+" ") && i+1 < len(list) {
			return l + "\n" + list[i+1]
		}
	}
	return ""
}

func worst(r *report.Report) diagnosis.Held {
	for _, h := range r.Diagnoses {
		if h.Severity == r.Worst() {
			return h
		}
	}
	return diagnosis.Held{}
}

// TestHealthyRows: a healthy peer has one line, without names of the protocol that look like
// errors.
func TestHealthyRows(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.status.Peers = []*report.Report{well("hq", "acme")}
	text := strings.Join(exportertest.Lines(t, s.ask(t, "GET", "/").Body.String()), "\n")
	if !strings.Contains(text, "No fault at 1 peer.") || !strings.Contains(text, "\nhq acme healthy round trip 20.0 ms, path MTU 1500 bytes echo 4 s, IKE 4 s, path MTU 4 s\n") {
		t.Errorf("no line of the healthy peer in:\n%s", text)
	}
	for _, word := range []string{"INVALID", "KE_PAYLOAD", "clean", "v2-badke", "Do now"} {
		if strings.Contains(text, word) {
			t.Errorf("the list has %s:\n%s", word, text)
		}
	}
	s.status.Peers = []*report.Report{{Peer: "new", Host: "new.example"}}
	text = strings.Join(exportertest.Lines(t, s.ask(t, "GET", "/").Body.String()), "\n")
	if !strings.Contains(text, "No fault at 1 peer: 1 unknown.") || !strings.Contains(text, "new unknown No verdict yet. echo none, IKE none, path MTU none") {
		t.Errorf("a peer without results is not shown as unknown:\n%s", text)
	}
}

// TestEveryDiagnosisHasAnAction: no diagnosis is without a text, also where nothing else is known.
func TestEveryDiagnosisHasAnAction(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, name := range diagnosis.Names() {
		for _, known := range []bool{true, false} {
			r := faulty(t, "hq", "acme", func(*report.Report) {}, [2]string{name, "Words of the rule."})
			if !known {
				r = &report.Report{Peer: "hq", Host: "hq.example", Diagnoses: r.Diagnoses}
			}
			r.Diagnoses[0].Gateway = "hub"
			s.peers["hq"] = r
			body := s.ask(t, "GET", "/peers/hq").Body.String()
			text := strings.Join(exportertest.Lines(t, body), "\n")
			if !strings.Contains(text, "Do now\n") || strings.Contains(text, "<no value>") || strings.Contains(text, "page not rendered") {
				t.Errorf("%s, known %t:\n%s", name, known, text)
			}
		}
	}
}

// TestStrips: a quarter that was not sampled is blank, one that is unknown is neither a fault nor
// health, and a loss that is not known is none.
func TestStrips(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.peers["hq"] = well("hq", "acme")
	for i := 90; i < lastday.Quarters; i++ {
		s.day[i] = lastday.Sample{Health: lastday.Healthy, RoundTrip: 20 * time.Millisecond, Bytes: 1500}
	}
	s.day[93] = lastday.Sample{Health: lastday.Unknown, Loss: -1, Bytes: 1400}
	page := s.ask(t, "GET", "/peers/hq").Body.String()
	for _, want := range []string{
		`<rect class="none" x="0" y="0" width="90" height="20">`, `<rect class="healthy" x="90" y="0" width="3" height="20">`,
		`<rect class="unknown" x="93" y="0" width="1" height="20">`, `<rect class="healthy" x="94" y="0" width="2" height="20">`,
		"<strong>Health</strong>: healthy <span class=\"quiet\">(0 h of 1.5 h with a fault)", "<strong>Echo loss</strong>: 0 % <span class=\"quiet\">(0 % throughout)",
		"<strong>Round trip</strong>: 20.0 ms", "(1400 bytes to 1500 bytes)", `<rect class="value" x="93" y="10" width="1" height="10"><title>1400 bytes since 2026-01-02 04:30 UTC`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in:\n%s", want, page[strings.Index(page, "Last 24 hours"):])
		}
	}
	if n := strings.Count(page, `<title>0 % since`); n != 2 {
		t.Errorf("%d bars of loss, want one on each side of the quarter without", n)
	}
}

// TestTunnelDown: a tunnel that is down is marked as a fault only where it should be up.
func TestTunnelDown(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, tt := range []struct {
		of   *gateways.Peer
		want string
	}{
		{nil, "unknown"}, {&gateways.Peer{}, "unknown"}, {&gateways.Peer{Expected: true, OnDemand: true}, "unknown"}, {&gateways.Peer{Expected: true}, "critical"},
	} {
		r := well("hq", "acme")
		atGateway(r, 1400)
		r.Gateways[0].Peers[0].Up, r.Gateways[0].Peers[0].Of = gateways.No, tt.of
		s.peers["hq"] = r
		if page := s.ask(t, "GET", "/peers/hq").Body.String(); !strings.Contains(page, `<h3 class="`+tt.want+`">hub</h3>`) || !strings.Contains(page, "<td>down</td>") {
			t.Errorf("%+v is not %s", tt.of, tt.want)
		}
	}
}
