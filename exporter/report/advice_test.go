package report

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
)

// advised are reports between which every sentence of every advice is rendered, and one with
// nothing known.
func advised(t *testing.T) []*Report {
	t.Helper()
	bare := &Report{Peer: "hq", Address: addr("203.0.113.10")}
	return []*Report{
		bare, well(t), faulty(t, noICMP), faulty(t, echoHole), faulty(t, reversed), faulty(t, lying), faulty(t, dropped), faulty(t, filtered), faulty(t, lossy), everything(t), strange(t),
	}
}

// ugly is what a sentence looks like where a value is missing.
var ugly = regexp.MustCompile(`<no value>|<nil>|%!|[{}]|  |\( *\)| [.,;:)]|\( |^[.,;]|\b0 bytes|invalid`)

// TestEveryDiagnosisHasAdvice: with everything and with nothing known, each part of the advice has
// sentences and no sentence has a gap.
func TestEveryDiagnosisHasAdvice(t *testing.T) {
	for i, r := range advised(t) {
		d := &document{Report: r}
		for _, name := range diagnosis.Names() {
			a, err := d.advise(name)
			if err != nil {
				t.Fatal(err)
			}
			if a.Diagnosis != name || len(a.Request) == 0 || len(a.Workaround) == 0 || len(a.Verification) == 0 {
				t.Errorf("report %d: advice %+v", i, a)
			}
			for _, s := range slices.Concat([]string{a.Short, a.Provider}, a.Request, a.Workaround, a.Verification) {
				if s == "" || ugly.MatchString(s) || strings.Count(s, "`")%2 != 0 {
					t.Errorf("report %d, %s: %q", i, name, s)
				}
			}
		}
	}
}

// TestSections: no section is without content, and no sentence has a gap.
func TestSections(t *testing.T) {
	for i, r := range append(advised(t), lost()) {
		documents, err := conclude([]*Report{r})
		if err != nil {
			t.Fatal(err)
		}
		p, err := documents[0].page(false)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.chapters {
			if c.title == "" || len(c.blocks) == 0 {
				t.Errorf("report %d: an empty section %q", i, c.title)
			}
			for _, b := range c.blocks {
				for _, s := range append(slices.Clone(b.list), b.paragraph) {
					if ugly.MatchString(s) {
						t.Errorf("report %d, %s: %q", i, c.title, s)
					}
				}
				if n := len(b.code); n > 0 && (b.code[0] == "" || b.code[n-1] == "" || strings.Contains(strings.Join(b.code, "\n"), "\n\n\n")) {
					t.Errorf("report %d, %s: code %q", i, c.title, b.code)
				}
			}
		}
	}
}

// TestEveryConditionIsMet: the reports of advised leave out no sentence altogether.
func TestEveryConditionIsMet(t *testing.T) {
	var all strings.Builder
	for _, r := range advised(t) {
		d := &document{Report: r}
		for _, name := range diagnosis.Names() {
			a, err := d.advise(name)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(strings.Join(slices.Concat([]string{a.Provider}, a.Request, a.Workaround, a.Verification), "\n"))
		}
	}
	known := all.String()
	for _, want := range []string{
		"vanish between 2001:db8:a::2 and 2001:db8:a::3, and no ICMPv6 type 2", "names 1450 bytes, which do not pass either",
		"(1450 bytes) is too large", "computed for aes-cbc-sha1 and 1400 bytes, the size that passes in both directions",
		"above a certain size (1400 bytes come back, more than 1400 do not)", "IKE messages of 1500 bytes arrive there",
		"filtered after hop 3 (2001:db8:a::2)", "The tunnel then has MTU 1310", "reduce", "has become smaller", "is at most 1400 bytes",
		"is filtered, as 198.51.100.2 reports. IKE starts on this port", "is filtered after hop 1 (198.51.100.1). Behind NAT",
		"19 of 30 echo requests (63 %)", "is filtered after hop 2 (198.51.100.2), although IKE passes", "drops them itself", "(ICMP admin prohibited from 198.51.100.2)",
	} {
		if !strings.Contains(strings.ToLower(known), strings.ToLower(want)) {
			t.Errorf("no advice says %q", want)
		}
	}
}

// TestEveryTemplateIsUsed: a file that no diagnosis and no section renders is an error in its name.
func TestEveryTemplateIsUsed(t *testing.T) {
	used := map[string]bool{"advice/" + echoesOnly: true}
	for _, n := range diagnosis.Names() {
		used["advice/"+n] = true
	}
	for _, s := range sections() {
		used["sections/"+s] = s != gatewaySections
	}
	for _, kind := range config.GatewayTypes() {
		used["gateways/"+kind.String()] = true
	}
	for _, folder := range []string{"advice", "sections", "gateways"} {
		found, err := fs.Glob(files, "texts/"+folder+"/*.md.tmpl")
		if err != nil || len(found) == 0 {
			t.Fatalf("%d templates, %v", len(found), err)
		}
		for _, f := range found {
			if name := strings.TrimSuffix(strings.TrimPrefix(f, "texts/"), ".md.tmpl"); !used[name] {
				t.Errorf("%s is not rendered", f)
			}
		}
	}
}

// TestTunnelIsSafeForTheSmallestPath: the advice names the same settings as the recommendation,
// also where the black hole is not on the smallest path, and never larger ones for the reverse
// path.
func TestTunnelIsSafeForTheSmallestPath(t *testing.T) {
	smaller := func(r *Report) { r.PMTU.Results[1].State, r.PMTU.Results[1].Bytes = search.Reduced, 1300 }
	for name, tt := range map[string]struct {
		change    func(*Report)
		diagnosis string
		want, not string
	}{
		"a black hole above the smallest path": {
			func(r *Report) {
				hole(r, collectors.NATT)
				smaller(r)
			}, "pmtu_black_hole", "no ESP packet is larger than 1300 bytes", "MTU to 1326",
		},
		"a reverse path above the smallest path": {
			func(r *Report) {
				reversed(r)
				smaller(r)
			}, "pmtu_black_hole_reverse", "1300 bytes, the size that passes in both directions", "MTU to 1326",
		},
		"echoes above the smallest path": {
			func(r *Report) {
				echoHole(r)
				smaller(r)
			}, "pmtu_black_hole", "1300 bytes, the size that passes in both directions", "MTU to 1326",
		},
		"an echo hole of the size that IKE finds too": {
			func(r *Report) {
				echoHole(r)
				for i := 1; i < len(r.PMTU.Results); i++ {
					r.PMTU.Results[i].State, r.PMTU.Results[i].Bytes = search.Reduced, 1400
				}
			}, "pmtu_black_hole", "no ESP packet is larger than 1400 bytes", "in both directions",
		},
		"a reverse path below the path": {
			reversed, "pmtu_black_hole_reverse", "MTU to 1326 and TCP MSS to 1286", "MTU to 1422",
		},
		"echoes alone are no proof of the path to the peer": {
			echoHole, "pmtu_black_hole", "MTU to 1326 and TCP MSS to 1286", "MTU to 1422",
		},
	} {
		r := faulty(t, tt.change, tt.diagnosis)
		a, err := (&document{Report: r}).advise(tt.diagnosis)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(a.Workaround, " ")
		if !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) {
			t.Errorf("%s: want %q and not %q in %q", name, tt.want, tt.not, got)
		}
		if tt.diagnosis == "pmtu_black_hole" && r.hole() == nil && strings.Contains(a.Provider, "arrive at 203.0.113.10, packets of") {
			t.Errorf("%s: the path to the peer is accused: %s", name, a.Provider)
		}
	}
}

// TestStaleSizes: the recommendation ignores results that are too old, and so does the advice.
func TestStaleSizes(t *testing.T) {
	r := faulty(t, ikeHole, diagnosis.TunnelOversized)
	r.PMTU.Results[1].Bytes = 1300 // shown, and too old for the tunnel over 1400 bytes
	a, err := (&document{Report: r}).advise(diagnosis.TunnelOversized)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Provider + strings.Join(slices.Concat(a.Workaround, a.Verification), " "); strings.Contains(got, "1300") ||
		!strings.Contains(got, "(1400 bytes)") || !strings.Contains(strings.Join(a.Request, " "), "MTU to 1326") || !strings.Contains(got, "at most 1400 bytes") {
		t.Errorf("%s", got)
	}
	r.Tunnel = nil
	if a, err = (&document{Report: r}).advise(diagnosis.PMTUBlackHole); err != nil || strings.Contains(strings.Join(a.Workaround, " "), "TCP MSS") {
		t.Errorf("settings without a recommendation: %q, %v", a.Workaround, err)
	}
}

// TestNoNumbersWithoutAHole: a diagnosis that holds while the newest search shows no black hole
// names no size.
func TestNoNumbersWithoutAHole(t *testing.T) {
	a, err := (&document{Report: faulty(t, func(*Report) {}, "pmtu_black_hole")}).advise("pmtu_black_hole")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(a.Provider, "Large IP packets with DF") || strings.Contains(a.Provider, "1501") {
		t.Errorf("%s", a.Provider)
	}
}
