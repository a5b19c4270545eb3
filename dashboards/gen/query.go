package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// Selectors of the boards. many has the variables of manyPeers, one those of onePeer. The label job keeps out series of other
// programs that have the same names, such as those of the Go runtime.
const (
	process  = `job=~"$job",instance=~"$instance"`
	many     = process + `,isp=~"$isp",site=~"$site",peer=~"$peer"`
	one      = `job=~"$job",instance="$instance",peer="$peer"`
	gateways = process + `,gateway=~"$gateway"`
	tunnels  = many + `,gateway=~"$gateway"`
	// Alerts have the labels that their rules leave, so what a board shows is what has none of its labels or the chosen ones.
	alerts = `alertname=~"IPsecPath.*",alertstate="firing"`
)

// A query asks Prometheus for the series of a panel.
type query struct {
	expr string
	// legend names a series; labels stand in it as {{label}}.
	legend string
	kind   queryKind
}

// queryKind is what a query is asked for.
type queryKind int

const (
	// overTime is a series over the board's time range.
	overTime queryKind = iota
	// now is the newest value of each series.
	now
	// rows is the newest value of each series, with its labels as columns.
	rows
	// buckets are those of a histogram over time.
	buckets
)

// series asks for series over time.
func series(legend, expr string) query { return query{expr: expr, legend: legend, kind: overTime} }

// latest asks for the newest values.
func latest(legend, expr string) query { return query{expr: expr, legend: legend, kind: now} }

// columns asks for a table.
func columns(expr string) query { return query{expr: expr, kind: rows} }

// build gives the query as a panel's target.
func (q query) build(ref string) prometheus.Dataquery {
	d := prometheus.Dataquery{
		RefId: &ref, Expr: q.expr, Datasource: source(), EditorMode: new(prometheus.QueryEditorModeCode),
		Range: new(q.kind == overTime || q.kind == buckets), Instant: new(q.kind == now || q.kind == rows),
		Format: new(prometheus.PromQueryFormatTimeSeries),
	}
	switch q.kind {
	case rows:
		d.Format = new(prometheus.PromQueryFormatTable)
	case buckets:
		d.Format, d.LegendFormat = new(prometheus.PromQueryFormatHeatmap), new("{{le}}")
	case overTime, now:
		d.LegendFormat = &q.legend
	}
	return d
}

// sel selects the series of a metric.
func sel(metric, labels string, more ...string) string {
	return fmt.Sprintf("ipsec_path_%s{%s}", metric, strings.Join(append([]string{labels}, more...), ","))
}

// countOf counts what selected finds, and is 0 where it finds none but there is something of all: without any data it is unknown,
// and not 0.
func countOf(selected, all string) string {
	return fmt.Sprintf("count(%s) or 0 * count(%s)", selected, all)
}

// stateCode turns a set of states, one series each, into one series for each of the groups, whose value is the place of the state in the
// list, from 1.
func stateCode(groups, metric, labels string, states []state) string {
	var codes []string
	for i, s := range states {
		codes = append(codes, fmt.Sprintf("%d * %s", i+1, sel(metric, labels, fmt.Sprintf("state=%q", s.value))))
	}
	return fmt.Sprintf("max by (%s) (%s)", groups, strings.Join(codes, " or "))
}

// quantile gives a quantile of a histogram that is native, classic or both, over a window. Where nothing was observed in it there is no value.
func quantile(q float64, metric, labels, window string) string {
	native, classic := sel(metric, labels), sel(metric+"_bucket", labels)
	return fmt.Sprintf("(histogram_quantile(%[1]g, sum(rate(%[2]s[%[4]s]))) > 0) "+
		"or (histogram_quantile(%[1]g, sum by (le) (rate(%[3]s[%[4]s]))) > 0)", q, native, classic, window)
}

// distribution gives the buckets of a histogram: those of the native one if there is one, else the classic ones.
func distribution(metric, labels string) query {
	return query{kind: buckets, expr: fmt.Sprintf("sum(rate(%s[$__rate_interval])) or on () sum by (le) (rate(%s[$__rate_interval]))",
		sel(metric, labels), sel(metric+"_bucket", labels))}
}

// lost is the share of echoes that were not answered.
func lost(labels, window string) string {
	return fmt.Sprintf("1 - rate(%s[%s]) / rate(%s[%s])",
		sel("icmp_replies_total", labels), window, sel("icmp_requests_total", labels), window)
}

// perPeer are the labels that tell one measured path from another: two exporters may measure the same peer.
const perPeer = "instance, peer"

// worstOfRange keeps, of the series of peers, those of the peers that stand highest in a ranking over the whole time range. A plain topk
// would choose anew at every step, and bring many more series.
func worstOfRange(n int, expr, ranking string) string {
	return fmt.Sprintf("%s and on (%s) topk(%d, %s)", expr, perPeer, n, ranking)
}
