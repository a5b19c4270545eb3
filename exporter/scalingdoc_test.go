package exporter

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/config"
)

const scalingDoc = "../docs/scaling.md"

// A figure is one row of a table of docs/scaling.md.
type figure struct {
	line               int
	name, shown, whole string
	// formula is empty for figures that are measured or chosen.
	formula string
}

// A scaling is the page: its figures by name, in the order of the page.
type scaling struct {
	text    string
	figures []figure
	values  map[string]float64
}

var (
	figureRow = regexp.MustCompile("^\\| `(\\w+)` \\| (.+) \\| ([0-9.,]+) \\| (.+) \\|$")
	number    = regexp.MustCompile(`\d[\d,]*(?:\.\d+)?`)
)

func readScaling(t *testing.T, text string) *scaling {
	t.Helper()
	s := &scaling{text: text, values: make(map[string]float64)}
	for i, line := range strings.Split(text, "\n") {
		m := figureRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := figure{line: i + 1, name: m[1], shown: m[3], whole: m[2]}
		if formula, ok := strings.CutPrefix(m[4], "`"); ok && strings.ContainsAny(formula, "*/+(") {
			f.formula = strings.TrimSuffix(formula, "`")
		}
		s.figures = append(s.figures, f)
	}
	return s
}

// parseShown reads a number as the page shows it, and returns half of its last digit.
func parseShown(s string) (v, half float64, err error) {
	plain := strings.ReplaceAll(s, ",", "")
	v, err = strconv.ParseFloat(plain, 64)
	_, decimals, _ := strings.Cut(plain, ".")
	half = 0.5 / math.Pow10(len(decimals))
	if decimals == "" { // trailing zeros of a large number are not exact
		for rest := plain; len(rest) > 3 && strings.HasSuffix(rest, "0"); rest = rest[:len(rest)-1] {
			half *= 10
		}
	}
	return v, half, err
}

// eval computes a formula of numbers, names, + - * / ( ), ceil and sqrt.
func (s *scaling) eval(e ast.Expr) (float64, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.ParseFloat(e.Value, 64)
	case *ast.ParenExpr:
		return s.eval(e.X)
	case *ast.Ident:
		v, ok := s.values[e.Name]
		if !ok {
			return 0, fmt.Errorf("%s stands nowhere above", e.Name)
		}
		return v, nil
	case *ast.CallExpr:
		f, _ := e.Fun.(*ast.Ident)
		functions := map[string]func(float64) float64{"ceil": func(v float64) float64 { return math.Ceil(v - 1e-9) }, "sqrt": math.Sqrt}
		if f == nil || functions[f.Name] == nil || len(e.Args) != 1 {
			return 0, fmt.Errorf("%v is no function of the page", e.Fun)
		}
		v, err := s.eval(e.Args[0])
		return functions[f.Name](v), err
	case *ast.BinaryExpr:
		x, err := s.eval(e.X)
		if err != nil {
			return 0, err
		}
		y, err := s.eval(e.Y)
		return map[token.Token]float64{token.ADD: x + y, token.SUB: x - y, token.MUL: x * y, token.QUO: x / y}[e.Op], err
	}
	return 0, fmt.Errorf("%T is no part of a formula", e)
}

// compute checks every formula. known are figures that the code has: the page shows them, and the
// others are computed with the shown ones, so that a reader can follow.
func (s *scaling) compute(known map[string]float64) (problems []string) {
	problem := func(f *figure, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("line %d: %s: %s", f.line, f.name, fmt.Sprintf(format, args...)))
	}
	for i := range s.figures {
		f := &s.figures[i]
		shown, half, err := parseShown(f.shown)
		if err != nil {
			problem(f, "%v", err)
			continue
		}
		if _, twice := s.values[f.name]; twice {
			problem(f, "is listed twice")
		}
		s.values[f.name] = shown
		computed, isKnown := known[f.name]
		if f.formula != "" {
			e, err := parser.ParseExpr(f.formula)
			if err == nil {
				computed, err = s.eval(e)
			}
			if err != nil {
				problem(f, "%v", err)
				continue
			}
		}
		if (isKnown || f.formula != "") && math.Abs(computed-shown) > half {
			problem(f, "is %g, and the page has %s", computed, f.shown)
		}
		if f.formula != "" && !strings.HasPrefix(f.formula, "ceil") {
			s.values[f.name] = computed // no error is added to that of another row
		}
	}
	return problems
}

// codeNumbers checks the numbers in code blocks of the example: each stands beside the name of its
// figure. The rest of a line has none, apart from ports, versions and the numbers of examples.
func (s *scaling) codeNumbers() (problems []string) {
	harmless := regexp.MustCompile(`apps/v1|10500|exporter-\d|:10502|shard-2|[a-z]+\.[a-z.]*/v1`)
	inside, example := false, false
	for i, line := range strings.Split(s.text, "\n") {
		switch {
		case strings.HasPrefix(line, "## "):
			example = strings.HasPrefix(line, "## A worked example")
		case strings.HasPrefix(line, "```"):
			inside = !inside
		case inside && example:
			code, comment, _ := strings.Cut(line, " # ")
			name := strings.TrimSpace(comment)
			for _, n := range number.FindAllString(harmless.ReplaceAllString(code, ""), -1) {
				shown, _, err := parseShown(n)
				if want, ok := s.values[name]; !ok || err != nil || math.Abs(shown-want) > 1e-6*want {
					problems = append(problems, fmt.Sprintf("line %d: %s beside the name %q, which is %g", i+1, n, name, want))
				}
			}
		}
	}
	return problems
}

// knownFigures are the figures that the code has.
func knownFigures(t *testing.T) map[string]float64 {
	t.Helper()
	cfg, err := config.FromArguments([]string{"203.0.113.10"})
	if err != nil {
		t.Fatal(err)
	}
	packets, bytes := cfg.PacketRate()
	known := map[string]float64{"packets": packets, "bytes": bytes, "probes": float64(cfg.Limits.ProbesPerSecond)}
	page, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`settings has (\d+) series, and the (\d+) classic\s+buckets`).FindSubmatch(page)
	if m == nil {
		t.Fatalf("%s does not say how many series a healthy peer has", metricsDoc)
	}
	for _, part := range m[1:] {
		n, err := strconv.Atoi(string(part))
		if err != nil {
			t.Fatal(err)
		}
		known["series"] += float64(n)
	}
	return known
}

// TestScalingDocument: every number of the worked example follows from the table of figures.
func TestScalingDocument(t *testing.T) {
	text, err := os.ReadFile(scalingDoc)
	if err != nil {
		t.Fatal(err)
	}
	s := readScaling(t, string(text))
	known := knownFigures(t)
	for _, p := range append(s.compute(known), s.codeNumbers()...) {
		t.Errorf("%s: %s", scalingDoc, p)
	}
	formulas := 0
	for _, f := range s.figures {
		if f.formula != "" {
			formulas++
		}
	}
	if len(s.figures) < 30 || formulas < 20 {
		t.Errorf("only %d figures with %d formulas were found", len(s.figures), formulas)
	}
	for name := range known {
		if _, shown := s.values[name]; !shown {
			t.Errorf("%s lacks %s", scalingDoc, name)
		}
	}
}

// TestScalingDocumentCanFail: a digit that changes, anywhere in a computed figure or in the code of the
// example, is noticed.
func TestScalingDocumentCanFail(t *testing.T) {
	text, err := os.ReadFile(scalingDoc)
	if err != nil {
		t.Fatal(err)
	}
	known, tried := knownFigures(t), 0
	good := readScaling(t, string(text))
	good.compute(known)
	lines := strings.Split(string(text), "\n")
	for _, f := range good.figures {
		if _, fromCode := known[f.name]; f.formula == "" && !fromCode {
			continue
		}
		for _, wrong := range []string{"9" + f.shown, strings.Replace(f.shown, f.shown[:1], string('1'+('9'-f.shown[0])%9), 1)} {
			if wrong == f.shown {
				continue
			}
			changed := append([]string(nil), lines...)
			changed[f.line-1] = strings.Replace(changed[f.line-1], "| "+f.shown+" |", "| "+wrong+" |", 1)
			tried++
			if bad := readScaling(t, strings.Join(changed, "\n")); len(bad.compute(known)) == 0 {
				t.Errorf("%s = %s is not noticed", f.name, wrong)
			}
		}
	}
	for from, to := range map[string]string{
		"replicas: 10 ": "replicas: 11 ", "memory: 448Mi": "memory: 458Mi", "packets_per_second: 6000": "packets_per_second: 600",
		"sample_limit: 630000": "sample_limit: 63000", "# series_limit": "# series_limits", "value: 404MiB": "value: 405MiB",
	} {
		tried++
		bad := readScaling(t, strings.Replace(string(text), from, to, 1))
		if bad.compute(known); bad.text == string(text) || len(bad.codeNumbers()) == 0 {
			t.Errorf("%s in place of %s is not noticed", to, from)
		}
	}
	if tried < 40 {
		t.Errorf("only %d changes were tried", tried)
	}
}
