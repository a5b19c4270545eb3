package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"ipsec_path_exporter/exporter/diagnosis"
)

// leading is how many lines a reader takes in within ten seconds.
const leading = 25

// flat is a text without line breaks, indentation and code marks.
func flat(s string) string { return strings.ReplaceAll(paragraph(s), "`", "") }

// solid is a text without blanks: a word that is too long for a line is divided.
func solid(s string) string { return strings.Join(strings.Fields(strings.ReplaceAll(s, "`", "")), "") }

// number matches a port, a protocol, a type or a size; addresses are taken out before.
var (
	number   = regexp.MustCompile(`\d`)
	address4 = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`)
)

// TestTenSeconds: the first lines of the text name each diagnosis in words, since when it holds,
// and the action with its number.
func TestTenSeconds(t *testing.T) {
	for _, name := range diagnosis.Names() {
		for _, change := range []func(*Report){func(*Report) {}, noICMP, echoHole, lying, filtered, lossy, onePortBySize, bothPortsSilent} {
			startsWithAction(t, faulty(t, change, name))
		}
	}
	for name, r := range stories(t) {
		if len(r.Diagnoses) > 0 {
			t.Run(name, func(t *testing.T) { startsWithAction(t, r) })
		}
	}
}

func startsWithAction(t *testing.T, r *Report) {
	t.Helper()
	lines := strings.Split(written(t, "text", []*Report{r}), "\n")
	first := flat(strings.Join(lines[:leading], "\n"))
	documents, err := conclude([]*Report{r})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range r.Diagnoses {
		action := documents[0].Advice[i].Request[0]
		if documents[0].Holds(diagnosis.VantageSuspect) && documents[0].Advice[i].Addressee != Site {
			continue // it may come later: the own uplink has to be checked first
		}
		for _, want := range []string{h.Name, flat(h.Summary), "Since " + diagnosis.Clock(h.Since), flat(action)} {
			if !strings.Contains(first, want) {
				t.Errorf("%s: no %q in:\n%s", h.Name, want, first)
			}
		}
		if !number.MatchString(address4.ReplaceAllString(action, "")) {
			t.Errorf("%s: the action has no number: %s", h.Name, action)
		}
	}
}

// TestAddressees: who is asked is who can repair the fault.
func TestAddressees(t *testing.T) {
	inLAN := func(r *Report) {
		r.Source = addr("192.168.1.5")
		ikeHole(r)
		r.PMTU.Hops = hops()
		r.PMTU.Hops[0], r.PMTU.Hops[1] = addr("192.168.1.1"), addr("10.0.0.1")
		r.PMTU.Results[1].LastHopPassed, r.PMTU.Results[1].FirstHopFailed = r.PMTU.Hops[0], r.PMTU.Hops[1]
	}
	lastLink := func(r *Report) {
		ikeHole(r)
		r.PMTU.Hops = hops()
		r.PMTU.Results[1].LastHopPassed, r.PMTU.Results[1].FirstHopFailed = hops()[2], hops()[3]
	}
	for name, tt := range map[string]struct {
		report *Report
		want   Addressee
	}{
		"a place in the provider's network": {story(t, ikeHoleWithPlace, &diagnosis.Facts{}, diagnosis.PMTUBlackHole), Provider},
		"no place":                          {faulty(t, ikeHole, diagnosis.PMTUBlackHole), Provider},
		"between private routers":           {faulty(t, inLAN, diagnosis.PMTUBlackHole), Site},
		"the last link":                     {faulty(t, lastLink, diagnosis.PMTUBlackHole), PeerOwner},
		"the own filter":                    {faulty(t, ownFirewall, diagnosis.LocalFilter), Site},
		"the peer's filter":                 {faulty(t, peerRefuses, diagnosis.PeerRefuses), PeerOwner},
		"the uplink":                        {faulty(t, noICMP, diagnosis.ICMPBlocked, diagnosis.VantageSuspect), Site},
	} {
		documents, err := conclude([]*Report{tt.report})
		if err != nil {
			t.Fatal(err)
		}
		if got := documents[0].Requests(); got[0].Addressee != tt.want || got[0].Actions[0].Number != 1 {
			t.Errorf("%s: %+v, want %s first", name, got, tt.want)
		}
	}
}

// TestGatewaySections: a report has the commands of the gateways that are configured, and of no
// other.
func TestGatewaySections(t *testing.T) {
	kinds := map[string]string{
		"cisco_asa": "capture ISAKMP", "cisco_ios": "debug crypto condition", "strongswan": "swanctl --list-sas", "libreswan": "ipsec trafficstatus",
		"openiked": "ikectl show sa", "xfrm": "ip -t xfrm monitor",
	}
	for kind := range kinds {
		r := faulty(t, ikeHole, diagnosis.PMTUBlackHole)
		r.GatewayTypes = []string{kind}
		text := written(t, "text", []*Report{r})
		for other, command := range kinds {
			if strings.Contains(text, command) != (other == kind) {
				t.Errorf("%s: %q: %t", kind, command, other != kind)
			}
		}
		if kind != "cisco_asa" && kind != "cisco_ios" && strings.Contains(text, "Cisco") {
			t.Errorf("%s: a Cisco command in:\n%s", kind, text)
		}
	}
	if text := written(t, "text", []*Report{faulty(t, ikeHole, diagnosis.PMTUBlackHole)}); strings.Contains(text, "capture ISAKMP") {
		t.Error("no gateway is configured, and the report has the commands of one")
	}
}

// TestFormsAgree: text, Markdown and HTML have the same sentences, and the HTML loads nothing.
func TestFormsAgree(t *testing.T) {
	for name, reports := range all(t) {
		made, err := pages(reports, false)
		if err != nil {
			t.Fatal(err)
		}
		page := written(t, "html", reports)
		words := readable(t, name, page)
		text := solid(written(t, "text", reports))
		for i := range made {
			for _, s := range made[i].sentences() {
				if !strings.Contains(words, solid(s)) {
					t.Errorf("%s: not in the HTML: %s", name, s)
				}
				if made[i].fault && len(reports) == 1 && !strings.Contains(text, solid(s)) {
					t.Errorf("%s: not in the text: %s", name, s)
				}
			}
		}
	}
}

// sentences are all texts of a page.
func (p *page) sentences() (out []string) {
	out = append(out, p.name, p.result)
	for _, c := range p.chapters {
		for _, b := range c.blocks {
			out = append(append(append(out, b.paragraph), b.list...), b.code...)
			for _, l := range b.pairs {
				out = append(out, l.Label, l.Text)
			}
			if b.grid {
				continue // its cells are side by side in the text
			}
			for i, row := range b.table {
				if i > 0 {
					out = append(out, row...)
				}
			}
		}
	}
	return out
}

// readable returns what a browser shows of a page, and looks for what it would load or run.
func readable(t *testing.T, name, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	for n := range root.Descendants() {
		switch {
		case n.Type == html.TextNode && n.Parent.Data != "style":
			words.WriteString(n.Data)
		case n.Type == html.TextNode && (strings.Contains(n.Data, "url(") || strings.Contains(n.Data, "@import")):
			t.Errorf("%s: the style loads something", name)
		case n.Type == html.ElementNode:
			switch n.Data {
			case "script", "link", "img", "iframe", "object", "embed", "form", "base", "b", "x":
				t.Errorf("%s: an element %s", name, n.Data)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" || a.Key == "style" {
					t.Errorf("%s: an attribute %s of %s", name, a.Key, n.Data)
				}
			}
		}
	}
	return solid(words.String())
}

// TestContrast: text is readable in the light and in the dark (WCAG 2.2, 1.4.3: 4.5 to 1).
func TestContrast(t *testing.T) {
	page := written(t, "html", []*Report{well(t)})
	sets := regexp.MustCompile(`:root \{ (--[^}]*) \}`).FindAllStringSubmatch(page, -1)
	if len(sets) != 3 {
		t.Fatalf("%d sets of colours", len(sets))
	}
	for _, set := range sets {
		colours := make(map[string]float64)
		for _, c := range regexp.MustCompile(`--(\w+): #(\w+)`).FindAllStringSubmatch(set[1], -1) {
			colours[c[1]] = luminance(t, c[2])
		}
		for _, text := range []string{"text", "quiet", "fault", "well"} {
			for _, ground := range []string{"ground", "soft"} {
				light, dark := max(colours[text], colours[ground]), min(colours[text], colours[ground])
				if ratio := (light + 0.05) / (dark + 0.05); ratio < 4.5 {
					t.Errorf("%s on %s: %.1f to 1 in %s", text, ground, ratio, set[1])
				}
			}
		}
	}
}

// luminance is the relative luminance of a colour with three or six digits.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
