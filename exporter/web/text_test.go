package web_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
)

// lines returns the text of a page as a text browser shows it: a line for each block and each row
// of a table, without style, choices of a form and what is folded away.
func lines(tb testing.TB, page string) (out []string) {
	tb.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		tb.Fatal(err)
	}
	var line strings.Builder
	flush := func() {
		if s := strings.Join(strings.Fields(line.String()), " "); s != "" {
			out = append(out, s)
		}
		line.Reset()
	}
	blocks := map[atom.Atom]bool{
		atom.P: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.Li: true, atom.Tr: true, atom.Div: true, atom.Section: true, atom.Br: true,
		atom.Form: true, atom.Header: true, atom.Summary: true, atom.Svg: true, atom.Footer: true,
	}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			line.WriteString(n.Data)
			return
		}
		if slices.Contains([]string{"style", "title", "select", "svg"}, n.Data) {
			return
		}
		if blocks[n.DataAtom] {
			flush()
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if n.DataAtom == atom.Details && !attribute(n, "open") && c.DataAtom != atom.Summary {
				continue
			}
			walk(c)
		}
		if n.DataAtom == atom.Td || n.DataAtom == atom.Th {
			line.WriteByte(' ')
		}
		if blocks[n.DataAtom] {
			flush()
		}
	}
	walk(root)
	flush()
	return out
}

func attribute(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// firstScreen is how many lines of text a reader sees without scrolling.
const firstScreen = 25

// TestTenSeconds: the first screen of the list and of each peer's page says what is wrong, since
// when, on which provider, and what to do, with its number.
func TestTenSeconds(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	s.status.Peers = demonstration(t)
	actions := map[string]string{
		"black-hole":           "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
		"black-hole-no-icmp":   "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
		"black-hole-both-ways": "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at both ends; send the report to acme.",
		"black-hole-back":      "Set TCP MSS 1286 and MTU 1326 on the tunnel interface, at the peer's end first; send the report to acme.",
		"unreachable":          "Ping 203.0.113.10 from another network, such as a mobile line. If it answers there, send the report to initech: nothing passes to UDP 500 and 4500.",
		"udp4500-blocked":      "Send the report to initech: it has to permit UDP 4500.",
		"esp-blocked":          "Force NAT traversal, so that ESP travels in UDP 4500, with TCP MSS 1382; send the report to initech.",
		"fragments-dropped":    "Turn on IKEv2 fragmentation (RFC 7383) at both ends; send the report to initech: it has to pass IP fragments of UDP 500 and 4500.",
		"icmp-dropped":         "No action while tunnels work. If they stall, set TCP MSS 1382 on the tunnel interface.",
		"healthy":              "Nothing to do. A tunnel over this path can have MTU 1422 and TCP MSS 1382.",
		"lossy":                "Nothing to do. A tunnel over this path can have MTU 1422 and TCP MSS 1382.",
	}
	list := lines(t, s.ask(t, "GET", "/").Body.String())
	first := strings.Join(list[:firstScreen], "\n")
	if want := "9 of 11 peers have a fault: 4 critical, 4 warning, 1 info."; !strings.Contains(first, want) {
		t.Errorf("the list lacks %q:\n%s", want, first)
	}
	for _, r := range s.status.Peers {
		s.peers[r.Peer] = r
		all := lines(t, s.ask(t, "GET", "/peers/"+r.Peer).Body.String())
		page := strings.Join(all[:firstScreen], "\n")
		number := regexp.MustCompile(`\d`)
		if !number.MatchString(actions[r.Peer]) || !strings.Contains(page, actions[r.Peer]) || !strings.Contains(page, "provider "+r.Labels["isp"]) {
			t.Errorf("the page of %s lacks %q or the provider:\n%s", r.Peer, actions[r.Peer], page)
		}
		if len(r.Diagnoses) == 0 {
			if !strings.Contains(page, "healthy: no fault found") || !regexp.MustCompile(r.Peer+" globex healthy round trip 20.0 ms").MatchString(first) {
				t.Errorf("%s is not shown as healthy:\n%s\n%s", r.Peer, first, page)
			}
			continue
		}
		row := rowOf(list[:firstScreen], r.Peer)
		worst := worst(r)
		for _, want := range []string{string(worst.Severity) + " " + worst.Summary, "Since 2026-01-02 04:54 UTC (10 min)", "Do now: " + actions[r.Peer], r.Labels["isp"]} {
			if !strings.Contains(row, want) {
				t.Errorf("the row of %s lacks %q:\n%s\n%s", r.Peer, want, row, first)
			}
		}
		for _, h := range r.Diagnoses {
			if want := string(h.Severity) + ": " + h.Summary; !strings.Contains(page, want) {
				t.Errorf("the page of %s lacks %q:\n%s", r.Peer, want, page)
			}
		}
		if !strings.Contains(page, "Since 2026-01-02 04:54 UTC (10 min), provider "+r.Labels["isp"]) {
			t.Errorf("the page of %s does not say since when:\n%s", r.Peer, page)
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
	text := strings.Join(lines(t, s.ask(t, "GET", "/").Body.String()), "\n")
	if !strings.Contains(text, "No fault at 1 peer.") || !strings.Contains(text, "\nhq acme healthy round trip 20.0 ms, path MTU 1500 bytes echo 4 s, IKE 4 s, path MTU 4 s\n") {
		t.Errorf("no line of the healthy peer in:\n%s", text)
	}
	for _, word := range []string{"INVALID", "KE_PAYLOAD", "clean", "v2-badke", "Do now"} {
		if strings.Contains(text, word) {
			t.Errorf("the list has %s:\n%s", word, text)
		}
	}
	s.status.Peers = []*report.Report{{Peer: "new", Host: "new.example"}}
	text = strings.Join(lines(t, s.ask(t, "GET", "/").Body.String()), "\n")
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
			text := strings.Join(lines(t, body), "\n")
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
