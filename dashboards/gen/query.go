package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// Selectors of the boards: many has the variables of manyPeers, one the variables of onePeer. The
// label job excludes series of other programs with the same names, such as the Go runtime's.
const (
	process  = `job=~"$job",instance=~"$instance"`
	many     = process + `,isp=~"$isp",site=~"$site",peer=~"$peer"`
	one      = `job=~"$job",instance="$instance",peer="$peer"`
	gateways = process + `,gateway=~"$gateway"`
	tunnels  = many + `,gateway=~"$gateway"`
	// Alerts have the labels that their rules keep, so the selectors also match missing labels.
	alerts = `alertname=~"IPsecPath.*",alertstate="firing"`
)

// A query selects the series of a panel.
type query struct {
	expr string
	// legend names a series; {{label}} is replaced by the label.
	legend string
	kind   queryKind
}

// queryKind is the form of a query's result.
type queryKind int

const (
	// overTime is a series over the board's time range.
	overTime queryKind = iota
	// now is the newest value of each series.
	now
	// rows is the newest value of each series, with its labels as columns.
	rows
	// buckets are the buckets of a histogram over time.
	buckets
)

func series(legend, expr string) query { return query{expr: expr, legend: legend, kind: overTime} }

func latest(legend, expr string) query { return query{expr: expr, legend: legend, kind: now} }

func columns(expr string) query { return query{expr: expr, kind: rows} }

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

// sel returns the selector of a metric.
func sel(metric, labels string, more ...string) string {
	return fmt.Sprintf("ipsec_path_%s{%s}", metric, strings.Join(append([]string{labels}, more...), ","))
}

// countOf counts selected. It is 0 if nothing is selected but all has data, and unknown without any
// data.
func countOf(selected, all string) string {
	return fmt.Sprintf("count(%s) or 0 * count(%s)", selected, all)
}

// stateCode turns a set of states, one series each, into one series per group, whose value is the
// index of the state in the list, from 1.
func stateCode(groups, metric, labels string, states []state) string {
	var codes []string
	for i, s := range states {
		codes = append(codes, fmt.Sprintf("%d * %s", i+1, sel(metric, labels, fmt.Sprintf("state=%q", s.value))))
	}
	return fmt.Sprintf("max by (%s) (%s)", groups, strings.Join(codes, " or "))
}

// quantile returns a quantile of a native or classic histogram over a window. There is no value
// without observations.
func quantile(q float64, metric, labels, window string) string {
	native, classic := sel(metric, labels), sel(metric+"_bucket", labels)
	return fmt.Sprintf("(histogram_quantile(%[1]g, sum(rate(%[2]s[%[4]s]))) > 0) "+
		"or (histogram_quantile(%[1]g, sum by (le) (rate(%[3]s[%[4]s]))) > 0)", q, native, classic, window)
}

// distribution returns the buckets of the native histogram if there is one, else the classic ones.
func distribution(metric, labels string) query {
	return query{kind: buckets, expr: fmt.Sprintf("sum(rate(%s[$__rate_interval])) or on () sum by (le) (rate(%s[$__rate_interval]))",
		sel(metric, labels), sel(metric+"_bucket", labels))}
}

// lost is the share of echo requests without an answer.
func lost(labels, window string) string {
	return fmt.Sprintf("1 - rate(%s[%s]) / rate(%s[%s])",
		sel("icmp_replies_total", labels), window, sel("icmp_requests_total", labels), window)
}

// fleetwide is a query of all peers over time. Where all of them are shown, it reads what a rule has
// recorded for each provider, because ten thousand peers over hours take too long. Where peers or sites
// are chosen, it reads theirs.
//
// Recorded series have no labels peer and site, so only the value of All (".*") selects them. The
// matchers that are added to the others select nothing then: ".*^.*" matches every value, while "^"
// behind a name matches none.
func fleetwide(labels, recorded string, of func(labels string) string) string {
	return fmt.Sprintf("%s or %s or %s", recorded, of(labels+`,peer!~"$peer^.*"`), of(labels+`,site!~"$site^.*"`))
}

// record returns the selector of a recorded metric of providers.
func record(metric, labels string) string {
	return fmt.Sprintf("provider:ipsec_path_%s{%s}", metric, labels)
}

// turns is how much a counter grew in the time range, in one or two series with the labels of each of its
// own, to be summed. Counters of what rarely happens appear with their first event, as 1, which increase does
// not count.
func turns(metric, labels string) string {
	return fmt.Sprintf(`(increase(%[1]s[$__range]) or label_replace(min_over_time(%[1]s[$__range]) unless %[1]s offset $__range, "first", "1", "", ""))`, sel(metric, labels))
}

// wholeBytes rounds a rate of bytes up: Grafana shows a part of one as "mB".
func wholeBytes(expr string) string { return "ceil(" + expr + ")" }

// perPeer are the labels that identify a measured path: two exporters may measure one peer.
const perPeer = "instance, peer"

// ofPeer is the legend of a series of distinct.
const ofPeer = "{{peer}} {{from}}"

// distinct adds the label from, the exporter, to the newest values of peers that several exporters measure:
// only their names need it. Series of peers that are not measured now are left out.
func distinct(expr string) string {
	peers := "max by (" + perPeer + ") (" + sel("peer_info", many) + ")"
	named := fmt.Sprintf(`label_join(%[1]s and on (peer) count by (peer) (%[1]s) > 1, "from", "", "instance") or on (%[2]s) label_replace(%[1]s, "from", "", "", "")`, peers, perPeer)
	return fmt.Sprintf("(%s) * on (%s) group_left (from) (%s)", expr, perPeer, named)
}

// distinctOverTime is distinct for series over time: by are their labels. At each step, few series are
// compared with the few peers that several exporters measure, which Prometheus selects once.
func distinctOverTime(by, expr string) string {
	twice := "count by (peer) (count by (" + perPeer + ") (last_over_time(" + sel("peer_info", many) + "[$__range] @ end()))) > 1"
	return fmt.Sprintf(`label_join((%[2]s) and on (peer) (%[3]s), "from", "", "instance") or on (%[1]s) (%[2]s)`, by, expr, twice)
}

// worstOfRange keeps the series of the peers that rank highest over the whole time range. A plain
// topk would select peers at every step and return many more series.
func worstOfRange(n int, expr, ranking string) string {
	return fmt.Sprintf("%s and on (%s) topk(%d, %s)", expr, perPeer, n, ranking)
}
