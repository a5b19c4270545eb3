package main

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/promql/parser"
)

// placeholders puts in place of Grafana's variables what Grafana could. $__rate_interval, $__range
// and $__interval are durations; all others stand in strings.
func placeholders(expr string) string {
	return regexp.MustCompile(`\$__\w+`).ReplaceAllString(expr, "5m")
}

// asked are all expressions of a board, by where they stand.
func asked(b board) map[string]string {
	all := make(map[string]string)
	for _, r := range b.rows {
		for _, p := range r.panels {
			for _, q := range p.queries {
				all[p.title+": "+q.legend+" "+q.expr] = q.expr
			}
		}
	}
	for _, a := range b.annotations {
		all["annotation "+a.Name] = *a.Expr
	}
	for _, v := range b.variables {
		if v.Definition != nil {
			metric, _, _ := strings.Cut(strings.TrimPrefix(*v.Definition, "label_values("), ", ")
			if result, ok := strings.CutPrefix(*v.Definition, "query_result("); ok {
				metric = strings.TrimSuffix(result, ")")
			}
			all["variable "+v.Name] = metric
		}
	}
	return all
}

func TestExpressionsParse(t *testing.T) {
	n, p := 0, parser.NewParser(parser.Options{})
	for _, b := range boards(usualPages) {
		for where, expr := range asked(b) {
			n++
			if _, err := p.ParseExpr(placeholders(expr)); err != nil {
				t.Errorf("%s: %s: %v", b.uid, where, err)
			}
		}
	}
	if n < 150 {
		t.Errorf("only %d expressions were found", n)
	}
	if _, err := p.ParseExpr(placeholders("sum by (peer (x)")); err == nil {
		t.Error("the parser accepts anything")
	}
}

// TestEverythingIsLimitedToTheBoard: a selector without the board's variables would show all
// series.
func TestEverythingIsLimitedToTheBoard(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	for _, b := range boards(usualPages) {
		for where, expr := range asked(b) {
			if strings.HasPrefix(where, "variable ") {
				continue
			}
			tree, err := p.ParseExpr(placeholders(expr))
			if err != nil {
				continue // TestExpressionsParse reports it
			}
			parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok && !limited(s) {
					t.Errorf("%s: %s: %s does not look at the board's variables", b.uid, where, s)
				}
				return nil
			})
		}
	}
}

// limited reports whether a selector takes the exporter from a variable.
func limited(s *parser.VectorSelector) bool {
	for _, m := range s.LabelMatchers {
		if m.Name == "instance" && m.Value == "$instance" {
			return true
		}
	}
	return false
}

// TestBoardsKeepTheSchema decodes the boards with Grafana's own types, which refuse what they do
// not know.
func TestBoardsKeepTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, b := range boards(usualPages) {
		text, err := b.render()
		if err != nil {
			t.Fatal(err)
		}
		if err := strict(text); err != nil {
			t.Errorf("%s: %v", b.uid, err)
		}
		for _, known := range []string{`"graphTooltip":`, `"gridPos":`, `"fillOpacity":`, `"legendFormat":`, `"allValue":`} {
			if !strings.Contains(string(text), known) {
				continue
			}
			if err := strict([]byte(strings.ReplaceAll(string(text), known, `"unheardOf":`))); err == nil {
				t.Errorf("%s: the schema accepts another word for %s", b.uid, known)
			}
		}
	}
}

// strict decodes a board. The SDK returns an empty list of errors where there are none, as an
// error.
func strict(text []byte) error {
	var d dashboard.Dashboard //nolint:staticcheck // the newer format needs Grafana 12
	err := d.UnmarshalJSONStrict(text)
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		err = nil
	}
	return errors.Join(err, d.Validate())
}

func TestLinksToTheExporter(t *testing.T) {
	for flag, want := range map[string]string{
		usualPages:                         "http://${instance:raw}/peers/${peer:percentencode}/report?format=html",
		"https://INSTANCE/ipsec":           "https://${instance:raw}/ipsec/peers/${peer:percentencode}/report?format=html",
		"https://ipsec.example.net/prefix": "https://ipsec.example.net/prefix/peers/${peer:percentencode}/report?format=html",
	} {
		links := exporterPages(flag).pageLinks()
		if !slices.ContainsFunc(links, func(l dashboard.DashboardLink) bool { return *l.Url == want }) {
			t.Errorf("%s: no link to %s in %v", flag, want, urls(links))
		}
	}
	if got := *exporterPages(usualPages).page("", ofRow, "").Url; got != "http://${__data.fields.instance:raw}/peers/${__data.fields.peer:percentencode}" {
		t.Errorf("of a row: %s", got)
	}
}

func urls(links []dashboard.DashboardLink) []string {
	var all []string
	for _, l := range links {
		all = append(all, *l.Url)
	}
	return all
}

// TestLayout: a panel that does not fit beside the last one begins a new line below the highest of
// this one, and a collapsed row takes no room.
func TestLayout(t *testing.T) {
	text := func(w, h uint32) panel { return words("t", "about", "content", w, h) }
	l := layout{}
	for _, r := range []row{
		{title: "a", panels: []panel{text(12, 4), text(12, 6), text(8, 3)}},
		{title: "b", collapsed: true, panels: []panel{text(24, 9)}},
		{title: "c", panels: []panel{text(4, 4)}},
	} {
		if err := l.add(r); err != nil {
			t.Fatal(err)
		}
	}
	type at struct{ X, Y, W, H uint32 }
	var got []at
	for _, p := range l.panels {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var one struct{ GridPos at }
		if err := json.Unmarshal(b, &one); err != nil {
			t.Fatal(err)
		}
		got = append(got, one.GridPos)
	}
	want := []at{{0, 0, 24, 1}, {0, 1, 12, 4}, {12, 1, 12, 6}, {0, 7, 8, 3}, {0, 10, 24, 1}, {0, 11, 24, 1}, {0, 12, 4, 4}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestStateCode: the numbers in the query and in the mapping must be the same.
func TestStateCode(t *testing.T) {
	set := []state{{"up", "is up", good}, {"down", "is down", bad}}
	if got, want := stateCode("m", "x_state", `peer="p"`, set),
		`max by (m) (1 * ipsec_path_x_state{peer="p",state="up"} or 2 * ipsec_path_x_state{peer="p",state="down"})`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	options := byCode(set)[0].ValueMap.Options
	if len(options) != 2 || *options["1"].Text != "is up" || *options["2"].Text != "is down" {
		t.Errorf("mapping: %v", options)
	}
}
