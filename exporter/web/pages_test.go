package web_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netio"
)

// full is a site whose peers have everything that a page can show.
func full(tb testing.TB) *site {
	tb.Helper()
	s := newSite(tb, "/", "/metrics")
	s.status.Peers = append(demonstration(tb), &report.Report{Peer: "new", Host: "new.example"})
	s.status.Degraded = []string{"no raw sockets"}
	for _, r := range s.status.Peers {
		r.Changes = []history.Change{
			{At: since.Add(-time.Hour), On: true, Diagnosis: diagnosis.PeerSilent, Summary: silentWords},
			{At: since.Add(-time.Minute), Diagnosis: diagnosis.PeerSilent, Summary: silentWords},
		}
		if r.Measured {
			atGateway(r, 1400)
		}
		s.peers[r.Peer] = r
	}
	for i := range s.day {
		s.day[i] = lastday.Sample{Health: lastday.Health(i % 6), Loss: float64(i%7)/10 - 0.1, RoundTrip: time.Duration(i) * time.Millisecond, Bytes: 1400 + i%2}
	}
	s.exchanges = searchProbes()
	return s
}

// searchProbes are two rounds of a search that finds 1400 bytes, and routine.
func searchProbes() (all []trace.Exchange) {
	at := now.Add(-time.Minute)
	send := func(purpose string, bytes int, ttl uint8, o netio.Outcome) {
		at = at.Add(20 * time.Millisecond)
		all = append(all, trace.Exchange{
			Sent: at, Dst: addr("203.0.113.10"), Purpose: purpose, Size: bytes, TTL: ttl, DontFragment: true, Timeout: 200 * time.Millisecond,
			Answers: []trace.Answer{{Outcome: o, From: addr("203.0.113.10"), RoundTrip: time.Millisecond}},
		})
	}
	const search = "path MTU by ike: does this size pass?"
	for range 2 {
		send(search, 1500, 0, netio.Silent)
		for range 5 {
			send(search, 1400, 0, netio.Delivered)
			send(search, 1401, 0, netio.Silent)
		}
		send("where do larger packets vanish? (rising TTL)", 1401, 3, netio.Silent)
		send("how far does esp get? (rising TTL)", 100, 2, netio.TimeExceeded)
		send("how far does esp get? (rising TTL)", 100, 3, netio.Silent)
		send("IKE message in IP fragments: do they arrive?", 1600, 0, netio.Silent)
		send(collectors.PurposeEcho, 84, 0, netio.Silent)
		send(collectors.PurposeIKE, 500, 0, netio.Delivered)
		at = at.Add(20 * time.Second)
	}
	return all
}

// allPages returns the paths of all pages of a site.
func (s *site) allPages() []string {
	paths := []string{"/", "/?refresh=off&level=fault&sort=since&q=a&provider=acme", "/?q=nothing"}
	for _, r := range s.status.Peers {
		paths = append(paths, "/peers/"+url.PathEscape(r.Peer), "/peers/"+url.PathEscape(r.Peer)+"?refresh=off")
	}
	return paths
}

// TestNesting: every element is closed in its place, no block is inside a paragraph, and a
// browser's parser moves nothing.
func TestNesting(t *testing.T) {
	s := full(t)
	for _, path := range s.allPages() {
		page := s.ask(t, "GET", path).Body.String()
		if problem := misnested(page); problem != "" {
			t.Errorf("%s: %s", path, problem)
		}
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := html.Render(&again, root); err != nil {
			t.Fatal(err)
		}
		if got, want := tags(again.String()), tags(page); !slices.Equal(got, want) {
			t.Errorf("%s: a parser changes the elements", path)
		}
		ids := make(map[string]bool)
		for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllString(page, -1) {
			if ids[id] {
				t.Errorf("%s: %s twice", path, id)
			}
			ids[id] = true
		}
	}
}

// misnested returns the first problem of a page, empty if there is none.
func misnested(page string) string {
	void := []string{"meta", "link", "br", "input"}
	block := []string{"div", "p", "ul", "ol", "li", "table", "section", "details", "h1", "h2", "h3", "form", "header", "main"}
	var open []string
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				return "not closed: " + strings.Join(open, " ")
			}
			return ""
		case html.StartTagToken:
			name, _ := z.TagName()
			tag := string(name)
			if slices.Contains(block, tag) && slices.Contains(open, "p") {
				return tag + " in a paragraph"
			}
			if !slices.Contains(void, tag) {
				open = append(open, tag)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				return fmt.Sprintf("</%s> after %v", name, open)
			}
			open = open[:len(open)-1]
		case html.TextToken, html.SelfClosingTagToken, html.CommentToken, html.DoctypeToken:
		}
	}
}

func tags(page string) (all []string) {
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			return all
		}
		if name, _ := z.TagName(); kind == html.StartTagToken || kind == html.SelfClosingTagToken {
			all = append(all, string(name))
		}
	}
}

// TestNoResources: a page loads nothing and runs nothing; a browser is told so, too.
func TestNoResources(t *testing.T) {
	s := full(t)
	for _, path := range s.allPages() {
		w := s.ask(t, "GET", path)
		if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'unsafe-inline'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		page := w.Body.String()
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for n := range root.Descendants() {
			if slices.Contains([]string{"script", "img", "iframe", "object", "embed", "video", "audio", "base", "image", "use"}, n.Data) {
				t.Errorf("%s has <%s>", path, n.Data)
			}
			for _, a := range n.Attr {
				if a.Key == "src" || strings.HasPrefix(a.Key, "on") || n.DataAtom == atom.Link && !strings.HasPrefix(a.Val, "data:") && a.Key == "href" {
					t.Errorf("%s: <%s %s=%q>", path, n.Data, a.Key, a.Val)
				}
			}
		}
		if strings.Contains(page, "url(") || strings.Contains(page, "@import") {
			t.Errorf("%s: its style loads something", path)
		}
		if !strings.Contains(page, `<link rel="icon" href="data:image/svg`) {
			t.Errorf("%s has no icon", path)
		}
	}
}

// TestContrast: text has the contrast of WCAG AA, 4.5 to 1, on paper and card, and drawings 3 to 1,
// in light and dark.
func TestContrast(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	page := s.ask(t, "GET", "/").Body.String()
	light, dark, ok := strings.Cut(page, "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("no dark palette")
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colors := make(map[string]string)
		for _, m := range regexp.MustCompile(`--(\w+): (#[0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			colors[m[1]] = m[2]
		}
		for _, name := range []string{"ink", "quiet", "link", "critical", "warning", "info", "unknown", "healthy"} {
			for _, ground := range []string{"paper", "card"} {
				if got := contrast(t, colors[name], colors[ground]); got < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", scheme, name, ground, got)
				}
			}
		}
	}
	if got := contrast(t, "#000000", "#ffffff"); math.Abs(got-21) > 0.01 {
		t.Errorf("black on white has a contrast of %v", got)
	}
}

// contrast is that of WCAG 2.1, by relative luminance.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(c string) (sum float64) {
		if len(c) != 7 {
			t.Fatalf("color %q", c)
		}
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, err := strconv.ParseUint(c[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			v := float64(n) / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			sum += weight * v
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestHostileNames: a name is text on a page, one segment in a link, and a file name.
func TestHostileNames(t *testing.T) {
	for name, file := range map[string]string{
		"a/b": "a_b", "../../etc/passwd": "_.._etc_passwd", "a?b#c": "a_b_c", `"; rm -rf *`: "___rm_-rf__", "münchen": "münchen", "a\r\nSet-Cookie: x": "a__Set-Cookie__x",
		"<b>": "_b_", "100%": "100_", "a b": "a_b",
	} {
		s := newSite(t, "/", "/metrics")
		r := well(name, "acme")
		s.peers[name], s.status.Peers = r, []*report.Report{r}
		page := s.ask(t, "GET", "/").Body.String()
		link := regexp.MustCompile(`href="(peers/[^"]*)"`).FindStringSubmatch(page)
		if link == nil {
			t.Fatalf("%q has no link:\n%s", name, page)
		}
		w := s.ask(t, "GET", "/"+html.UnescapeString(link[1]))
		if w.Code != http.StatusOK || misnested(w.Body.String()) != "" || !strings.Contains(w.Body.String(), html.EscapeString(name)[:1]) {
			t.Errorf("%q: the link %s is answered with %d", name, link[1], w.Code)
		}
		w = s.ask(t, "GET", "/"+html.UnescapeString(link[1])+"/pcap")
		want := "attachment; filename=" + file + ".pcapng"
		if file == "münchen" {
			want = "attachment; filename*=utf-8''m%C3%BCnchen.pcapng"
		}
		if got := w.Header().Get("Content-Disposition"); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// TestList: what can be asked of the list.
func TestList(t *testing.T) {
	s := full(t)
	for query, want := range map[string][]string{
		"": {
			"black-hole", "black-hole-both-ways", "black-hole-ipv6", "black-hole-no-icmp", "negotiation-stuck", "tunnel-oversized", "unreachable",
			"black-hole-back", "esp-blocked", "fragments-dropped", "udp4500-blocked", "icmp-dropped", "new", "healthy", "healthy-ipv6", "lossy",
		},
		"?level=critical": {
			"black-hole", "black-hole-both-ways", "black-hole-ipv6", "black-hole-no-icmp", "negotiation-stuck", "tunnel-oversized", "unreachable",
		},
		"?level=unknown": {"new"},
		"?level=fault&sort=name": {
			"black-hole", "black-hole-back", "black-hole-both-ways", "black-hole-ipv6", "black-hole-no-icmp", "esp-blocked", "fragments-dropped",
			"icmp-dropped", "negotiation-stuck", "tunnel-oversized", "udp4500-blocked", "unreachable",
		},
		"?provider=globex":          {"icmp-dropped", "healthy", "healthy-ipv6", "lossy"},
		"?q=FRAGMENTS":              {"fragments-dropped"},
		"?q=esp_blocked":            {"esp-blocked"},
		"?q=new.example":            {"new"},
		"?provider=acme&level=info": nil,
		"?level=nonsense&sort=nonsense&page=-1&q=unreach": {"unreachable"},
		"?provider=globex&sort=age":                       {"healthy", "healthy-ipv6", "icmp-dropped", "lossy"},
	} {
		page := s.ask(t, "GET", "/"+query).Body.String()
		var got []string
		for _, m := range regexp.MustCompile(`<a href="peers/([^"]*)">`).FindAllStringSubmatch(page, -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
}

// TestRefresh: a page is loaded again unless that is paused, and stays paused.
func TestRefresh(t *testing.T) {
	s := full(t)
	for path, off := range map[string]string{"/?q=hole&sort=name": `href="?q=hole&amp;refresh=off&amp;sort=name"`, "/peers/healthy": `href="?refresh=off"`} {
		page := s.ask(t, "GET", path).Body.String()
		if !strings.Contains(page, `<meta http-equiv="refresh" content="30">`) || !strings.Contains(page, off) {
			t.Errorf("%s is not loaded again, or cannot be paused", path)
		}
	}
	for path, on := range map[string]string{"/?q=hole&refresh=off": `<a href="?q=hole">Resume`, "/peers/healthy?refresh=off": `<a href="?">Resume`} {
		page := s.ask(t, "GET", path).Body.String()
		if strings.Contains(page, "http-equiv") || !strings.Contains(page, on) {
			t.Errorf("%s is loaded again, or cannot be resumed:\n%s", path, page)
		}
	}
}

// TestPeerPageDrawings: what the drawings show, in words.
func TestPeerPageDrawings(t *testing.T) {
	s := full(t)
	for peer, wants := range map[string][]string{
		"black-hole": {
			"To the peer, 1401 bytes with DF by IKE on UDP 500: vanish between 198.51.100.2 and 198.51.100.3.", "1400 10 passed", "1401 10 vanished",
			"1500 2 vanished", "1400 bytes pass, 1401 vanish between 198.51.100.2 and 198.51.100.3. Measured 4 s ago.", "From the peer, large packets: 1500 bytes come back.",
			"hub", "Child SAs installed ×2", "Packets 7 in, 40 out", "Builds packets for a path MTU of 1400 bytes", "so the alert is a warning",
		},
		"black-hole-back": {"From the peer, large packets: above 1400 bytes vanish.", "To the peer, 1500 bytes with DF by IKE on UDP 500: pass, the largest that this host can send."},
		"esp-blocked":     {"ESP (IP protocol 50): blocked after hop 2 (198.51.100.2).", "AH (IP protocol 51): unknown whether the peer receives it; seen up to hop 3 (198.51.100.3)."},
		"unreachable":     {"IKE on UDP 500: no answer; routers were not asked how far it gets.", "How many routers are before the peer is not known."},
	} {
		text := strings.Join(exportertest.Lines(t, s.ask(t, "GET", "/peers/"+peer).Body.String()), "\n")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", peer, want, text)
			}
		}
	}
	for peer, first := range map[string]string{
		"black-hole": "path MTU by ike", "esp-blocked": "how far does esp get?", "fragments-dropped": "IKE message in IP fragments", "unreachable": "echo: does the peer answer?",
	} {
		page := s.ask(t, "GET", "/peers/"+peer).Body.String()
		_, evidence, _ := strings.Cut(page, "Probes and results")
		if peer == "unreachable" { // searches show it too
			first = "path MTU by ike"
		}
		if _, group, _ := strings.Cut(evidence, "<details open><summary><strong>"); !strings.HasPrefix(group, first) {
			t.Errorf("%s: the proof is not first:\n%.600s", peer, evidence)
		}
		if peer != "unreachable" && strings.LastIndex(evidence, "<summary><strong>") != strings.Index(evidence, "<summary><strong>"+collectors.PurposeEcho) {
			t.Errorf("%s: routine is not last", peer)
		}
	}
	r := s.peers["black-hole"]
	r.Address, r.Source = netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678"), netip.MustParseAddr("2001:db8::1")
	if page := s.ask(t, "GET", "/peers/black-hole").Body.String(); !strings.Contains(page, ">2001:db8:1234:5678:</text>") || !strings.Contains(page, ">9abc:def0:1234:5678 (peer)</text>") {
		t.Errorf("a long address is not in two lines:\n%s", page)
	}
}

// TestCompression: a page is compressed for a client that accepts it, and for no other.
func TestCompression(t *testing.T) {
	s := full(t)
	for accept, want := range map[string]bool{"": false, "gzip": true, "br;q=1.0, gzip;q=0.8": true, "gzip;q=0": false, "identity": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/peers/black-hole", http.NoBody)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != want || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: compressed %t", accept, got)
		}
		if !want {
			continue
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if page, err := io.ReadAll(z); err != nil || string(page) != s.ask(t, "GET", "/peers/black-hole").Body.String() {
			t.Errorf("%q: another page, %v", accept, err)
		}
	}
}

// crowd is a site of many peers, of which each tenth has a fault.
func crowd(tb testing.TB, n int) *site {
	tb.Helper()
	s := newSite(tb, "/", "/metrics")
	hurt := demonstration(tb)
	for i := range n {
		r := *well("", "acme")
		if i%10 == 0 {
			r = *hurt[i/10%len(hurt)]
		}
		r.Peer = fmt.Sprintf("branch-%05d", i)
		s.status.Peers = append(s.status.Peers, &r)
	}
	return s
}

// TestCrowd: a list of 5,000 peers comes in pages, and in time.
func TestCrowd(t *testing.T) {
	const n = 5000
	s := crowd(t, n)
	began := time.Now()
	page := s.ask(t, "GET", "/").Body.String()
	if took := time.Since(began); took > time.Second {
		t.Errorf("the list of %d peers took %v", n, took)
	}
	seen := make(map[string]bool)
	for _, number := range []int{1, 5, 6, 50} {
		page = s.ask(t, "GET", "/?page="+strconv.Itoa(number)).Body.String()
		for _, m := range regexp.MustCompile(`<a href="peers/([^"]*)">`).FindAllStringSubmatch(page, -1) {
			seen[m[1]] = true
		}
	}
	if len(seen) != 4*100 || !strings.Contains(page, "Page 50 of 50") || strings.Contains(page, "Next") {
		t.Errorf("four pages list %d peers", len(seen))
	}
	if last := s.ask(t, "GET", "/?page=1000").Body.String(); !strings.Contains(last, "Page 50 of 50") {
		t.Error("a page beyond the last one is not the last one")
	}
}

// BenchmarkList is the list of 5,000 peers, compressed.
func BenchmarkList(b *testing.B) {
	s := crowd(b, 5000)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", http.NoBody)
	r.Header.Set("Accept-Encoding", "gzip")
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "B/page")
}

// BenchmarkPeerPage is the page of a peer with everything.
func BenchmarkPeerPage(b *testing.B) {
	s := full(b)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/peers/black-hole", http.NoBody)
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
}
