package promqlcheck

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// A Source is an expression and its place.
type Source struct{ Place, Expr string }

// Blocks returns the expressions of a document: the code blocks marked promql, separated by empty
// lines.
func Blocks(place, page string) []Source {
	var out []Source
	for i, m := range regexp.MustCompile("(?ms)^[ \t]*```promql\n(.*?)^[ \t]*```").FindAllStringSubmatch(page, -1) {
		for expr := range strings.SplitSeq(m[1], "\n\n") {
			if expr = strings.TrimSpace(expr); expr != "" {
				out = append(out, Source{fmt.Sprintf("%s, block %d", place, i+1), expr})
			}
		}
	}
	return out
}

// A board collects the expressions of a Grafana board.
type board struct {
	place string
	out   []Source
	err   error
}

// Board returns the expressions of the panels, annotations and variables of a Grafana board, with
// Grafana's own variables filled in.
func Board(place string, b []byte) ([]Source, error) {
	var root any
	if err := json.Unmarshal(b, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	d := board{place: place}
	d.walk(root, "")
	if d.err != nil {
		return nil, d.err
	}
	if len(d.out) == 0 {
		return nil, fmt.Errorf("%s has no expressions", place)
	}
	return d.out, nil
}

// walk collects the expressions below a value.
func (d *board) walk(v any, title string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			d.walk(e, title)
		}
	case map[string]any:
		for _, key := range []string{"name", "title"} {
			if s, ok := v[key].(string); ok && s != "" {
				title = s
			}
		}
		if s, ok := v["expr"].(string); ok && s != "" {
			d.out = append(d.out, Source{d.place + ", " + title, fill(s)})
		}
		if v["type"] == "query" {
			d.variable(v["query"], title)
		}
		for key, e := range v {
			if key != "current" {
				d.walk(e, title)
			}
		}
	}
}

// variable collects the expression of a variable's query.
func (d *board) variable(query any, title string) {
	if m, ok := query.(map[string]any); ok {
		query = m["query"]
	}
	s, ok := query.(string)
	if !ok || s == "" {
		return
	}
	place := d.place + ", variable " + title
	switch m := regexp.MustCompile(`(?s)^\s*(label_values|query_result|metrics|label_names)\((.*)\)\s*$`).FindStringSubmatch(s); {
	case m == nil:
		d.err = fmt.Errorf("%s: not understood: %s", place, s)
	case m[1] == "query_result":
		d.out = append(d.out, Source{place, fill(m[2])})
	case m[1] == "label_values":
		i := strings.LastIndex(m[2], ",")
		if i < 0 {
			d.err = fmt.Errorf("%s: label_values without a metric asks for all of Prometheus", place)
			return
		}
		// The metric must have the label.
		d.out = append(d.out, Source{place, fmt.Sprintf("count by (%s) (%s)", strings.TrimSpace(m[2][i+1:]), fill(m[2][:i]))})
	default:
		d.err = fmt.Errorf("%s: %s() asks for all of Prometheus", place, m[1])
	}
}

// fill replaces Grafana's variables: by a duration between brackets, any value between quotes, a
// number elsewhere.
func fill(expr string) string {
	variable := regexp.MustCompile(`^(\$\{[^}]+\}|\$\w+|\[\[\w+\]\])`)
	var out strings.Builder
	quote := byte(0)
	inRange := false
	for i := 0; i < len(expr); {
		if m := variable.FindString(expr[i:]); m != "" {
			switch {
			case quote != 0:
				out.WriteString(".*")
			case inRange, strings.HasSuffix(m, "interval") || strings.HasSuffix(m, "interval}"):
				out.WriteString("5m")
			default:
				out.WriteString("1")
			}
			i += len(m)
			continue
		}
		switch ch := expr[i]; {
		case quote != 0 && ch == '\\' && i+1 < len(expr):
			out.WriteByte(ch)
			i++
		case quote != 0 && ch == quote:
			quote = 0
		case quote == 0 && strings.IndexByte("\"'`", ch) >= 0:
			quote = ch
		case quote == 0 && (ch == '[' || ch == ']'):
			inRange = ch == '['
		}
		out.WriteByte(expr[i])
		i++
	}
	return out.String()
}

// Unused returns the metrics that are deliberately in no rule and no board, with the reason: one
// line each, "metric: reason".
func Unused(text string) (map[string]string, error) {
	out := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%q gives no reason", line)
		}
		out[name] = reason
	}
	return out, nil
}

// CheckUse compares used and existing metrics. It reports unused metrics only if the boards exist.
func (c *Catalog) CheckUse(used []string, unused map[string]string, boards bool) []error {
	var problems []error
	is := make(map[string]bool)
	for _, name := range used {
		is[c.Metrics[name].Own] = true
	}
	for _, name := range c.Own() {
		if _, listed := unused[name]; boards && !is[name] && !listed {
			problems = append(problems, fmt.Errorf("%s is in no rule and no board", name))
		}
	}
	for name := range unused {
		switch {
		case c.Metrics[name].Own != name:
			problems = append(problems, fmt.Errorf("there is no metric %s to be unused", name))
		case is[name]:
			problems = append(problems, fmt.Errorf("%s is listed as unused, and is used", name))
		}
	}
	return problems
}
