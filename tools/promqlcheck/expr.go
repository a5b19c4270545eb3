package promqlcheck

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// An Expression is a parsed expression.
type Expression struct {
	tree parser.Expr
	// Labels are the possible labels of the result.
	Labels Labels
	// Metrics are the metrics in the expression.
	Metrics []string
	// Absent reports the use of absent() or absent_over_time(), Compares the use of a comparison.
	Absent, Compares bool
}

// Check parses an expression and returns all problems in it.
func (c *Catalog) Check(expr string) (Expression, error) {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return Expression{}, err
	}
	w := walk{catalog: c}
	e := Expression{tree: tree, Labels: w.visit(tree), Metrics: w.metrics, Absent: w.absent, Compares: w.compares}
	return e, errors.Join(w.problems...)
}

// A walk visits an expression from its leaves to its root.
type walk struct {
	catalog          *Catalog
	metrics          []string
	absent, compares bool
	problems         []error
}

func (w *walk) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Errorf(format, args...))
}

// visit returns the labels of the result.
func (w *walk) visit(node parser.Node) Labels {
	switch n := node.(type) {
	case *parser.VectorSelector:
		return w.selector(n)
	case *parser.MatrixSelector:
		return w.visit(n.VectorSelector)
	case *parser.SubqueryExpr:
		return w.visit(n.Expr)
	case *parser.ParenExpr:
		return w.visit(n.Expr)
	case *parser.UnaryExpr:
		return w.visit(n.Expr)
	case *parser.StepInvariantExpr:
		return w.visit(n.Expr)
	case *parser.AggregateExpr:
		return w.aggregate(n)
	case *parser.BinaryExpr:
		return w.binary(n)
	case *parser.Call:
		return w.call(n)
	}
	return labelsOf()
}

// selector checks the name and the matchers of a selector.
func (w *walk) selector(n *parser.VectorSelector) Labels {
	name := n.Name
	for _, m := range n.LabelMatchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			name = m.Value
		}
	}
	m, ok := w.catalog.Metrics[name]
	if !ok {
		w.problem("there is no metric %q", name)
		return Labels{Any: true}
	}
	w.metrics = append(w.metrics, name)
	for _, match := range n.LabelMatchers {
		if match.Name == model.MetricNameLabel {
			continue
		}
		if m.Kind == "recorded" && match.Type == labels.MatchRegexp && match.Matches("") {
			continue // of a board: All selects what is recorded of all peers, and chosen peers do not
		}
		if !m.Labels.Has(match.Name) {
			w.problem("%s has no label %q", name, match.Name)
			continue
		}
		w.value(name, match)
	}
	return m.Labels
}

// value checks the values of a matcher against a closed set.
func (w *walk) value(metric string, m *labels.Matcher) {
	closed := w.catalog.closed(metric, m.Name)
	if closed == nil || m.Value == "" {
		return
	}
	wanted := []string{m.Value}
	regex := m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp
	if regex {
		wanted = strings.Split(m.Value, "|")
	}
	for _, v := range wanted {
		if !regex && slices.Contains(closed, v) {
			continue
		}
		re, err := regexp.Compile("^(?:" + v + ")$")
		if !regex || err != nil || !slices.ContainsFunc(closed, re.MatchString) {
			w.problem("%s: label %s is never %q", metric, m.Name, v)
		}
	}
}

// aggregate checks that the labels of by and without exist.
func (w *walk) aggregate(n *parser.AggregateExpr) Labels {
	inner := w.visit(n.Expr)
	if n.Param != nil {
		w.visit(n.Param)
	}
	w.exist(inner, n.Grouping...)
	switch {
	case slices.Contains([]parser.ItemType{parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO}, n.Op):
		return inner
	case n.Without:
		return inner.without(n.Grouping...)
	}
	out := inner.only(n.Grouping...)
	if s, ok := n.Param.(*parser.StringLiteral); ok && n.Op == parser.COUNT_VALUES {
		out = out.with(s.Val)
	}
	return out
}

func (w *walk) exist(l Labels, names ...string) {
	for _, name := range names {
		if !l.Has(name) {
			w.problem("there is no label %q to group or match by", name)
		}
	}
}

// binary checks the labels of on, ignoring and group_left.
func (w *walk) binary(n *parser.BinaryExpr) Labels {
	left, right := w.visit(n.LHS), w.visit(n.RHS)
	w.compares = w.compares || n.Op.IsComparisonOperator()
	m := n.VectorMatching
	if m == nil {
		if n.LHS.Type() == parser.ValueTypeScalar {
			return right
		}
		return left
	}
	w.exist(left, m.MatchingLabels...)
	w.exist(right, m.MatchingLabels...)
	switch {
	case n.Op == parser.LOR:
		return left.common(right)
	case n.Op.IsSetOperator():
		return left
	case m.Card == parser.CardManyToOne:
		w.exist(right, m.Include...)
		return left.with(m.Include...)
	case m.Card == parser.CardOneToMany:
		w.exist(left, m.Include...)
		return right.with(m.Include...)
	case m.On:
		return left.only(m.MatchingLabels...)
	}
	return left.without(m.MatchingLabels...)
}

// call checks that functions of counters get counters, and functions of gauges gauges.
func (w *walk) call(n *parser.Call) Labels {
	out := labelsOf()
	for i, arg := range n.Args {
		l := w.visit(arg)
		if t := arg.Type(); i == 0 || t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			if t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
				out = l
			}
		}
		w.kind(n.Func.Name, arg)
	}
	switch n.Func.Name {
	case "absent", "absent_over_time":
		w.absent = true
		return labelsOf()
	case "label_replace", "label_join":
		if s, ok := n.Args[1].(*parser.StringLiteral); ok {
			return out.with(s.Val)
		}
	case "histogram_quantile":
		return out.without("le")
	}
	return out
}

// kind checks a function against the kind of its metric.
func (w *walk) kind(function string, arg parser.Expr) {
	m, ok := arg.(*parser.MatrixSelector)
	if !ok {
		return
	}
	s, ok := m.VectorSelector.(*parser.VectorSelector)
	if !ok {
		return
	}
	kind := w.catalog.Metrics[s.Name].Kind
	if kind == "" {
		return
	}
	counts := kind == "counter" || kind == "histogram"
	switch function {
	case "rate", "irate", "increase", "resets":
		if !counts {
			w.problem("%s() of %s, which is no counter", function, s.Name)
		}
	case "delta", "idelta", "deriv", "predict_linear":
		if counts {
			w.problem("%s() of %s, which is a counter", function, s.Name)
		}
	}
}
