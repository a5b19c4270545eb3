package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// mostRows is the length of the table of faults.
const mostRows = 50

// fleetBoard shows the active faults and the worst peers. No panel shows every peer, so that ten
// thousand peers fit.
func fleetBoard(p exporterPages) board {
	return board{
		uid: uidFleet, title: "IPsec path / Fleet", from: "now-6h",
		about:     "All measured paths to VPN gateways: active faults, their start and provider. Panels show the worst and the newest, not every peer.",
		variables: manyPeers(rowsVariable()), annotations: manyAnnotations(), more: []dashboard.DashboardLink{help()},
		rows: []row{
			{title: "Now", panels: append(fleetNumbers(), faultyPeers(p), byProvider(), byDiagnosis())},
			{title: "History", panels: []panel{worstPeers(p), diagnosesOverTime()}},
			{title: "Path MTU", panels: []panel{sizesInFleet(), smallestPaths(p), mostChanges(p)}},
			{title: "Loss and delay", panels: []panel{mostLoss(p), slowestIKE(p)}},
			{title: "Unstable peers", collapsed: true, panels: []panel{restless(p), overdue(p)}},
			{title: "Round-trip times of all peers", collapsed: true, panels: []panel{fleetRoundTrips(), fleetQuantiles().graph()}},
		},
	}
}

// fleetNumbers are counts of peers.
func fleetNumbers() []panel {
	red := limits(good, step{1, bad})
	number := func(title, about, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, count, 6, 3
		p.queries = []query{latest(title, expr)}
		return p.number()
	}
	holds := func(d string) string {
		return countOf("count by (peer) ("+sel("diagnosis", many, `diagnosis="`+d+`"`)+")", sel("peer_info", many))
	}
	up := "up{" + process + "}"
	return []panel{
		number("Exporters not scraped", "Exporters whose last scrape failed. What the other panels show of their peers is old, or missing.", countOf(up+" == 0", up),
			panel{thresholds: red}),
		number("Peers", "Configured peers, each counted once for any number of exporters.",
			"count(count by (peer) ("+sel("peer_info", many)+"))", panel{}),
		number("With a fault", "Peers with a diagnosis at any exporter.",
			countOf("count by (peer) ("+sel("peer_healthy", many)+" == 0)", sel("peer_info", many)), panel{thresholds: red}),
		number("Silent", "Peers that answer by no method (peer_silent).", holds("peer_silent"), panel{thresholds: red}),
		number("Black holes", "Peers behind a path on which large packets vanish without an ICMP error (pmtu_black_hole).", holds("pmtu_black_hole"),
			panel{thresholds: red}),
		number("Tunnels oversized", "Peers to which a gateway builds packets that are too large for the path (tunnel_oversized). These black holes affect tunnels.",
			holds("tunnel_oversized"), panel{thresholds: red}),
		number("Unknown", "Paths without a known verdict, healthy or faulty.",
			countOf(sel("peer_info", many)+" unless on ("+perPeer+") "+sel("peer_healthy", many), sel("peer_info", many)),
			panel{thresholds: limits(good, step{1, notice})}),
		number("Alerts", "Firing alerts of severity critical or warning. Also 0 if the rules are not loaded.",
			countOf("ALERTS{"+alerts+`,severity=~"critical|warning",`+many+"}", sel("peer_info", many)), panel{thresholds: red}),
	}
}

// worstOf ranks the diagnoses of each peer by severity, then by how new they are, and keeps the first one.
// The value is the time since which it holds, in seconds, plus a multiple of weight that is larger than
// any time.
func worstOf(by string) string {
	const weight = "1e10"
	held := func(severity string, factor int) string {
		return fmt.Sprintf("%d * %s * %s", factor, weight, sel("diagnosis", many, `severity="`+severity+`"`))
	}
	rank := held("critical", 3) + " or " + held("warning", 2) + " or " + held("info", 1)
	since := sel("diagnosis_since_timestamp_seconds", many)
	return fmt.Sprintf("topk by (%s) (1, max by (%s) ((%s) + on (%s, diagnosis, gateway) group_left () max by (%s, diagnosis, gateway) (%s)))",
		perPeer, by, rank, perPeer, perPeer, since)
}

// faultyPeers has a row for each peer with a fault: its worst diagnosis, since when, and what to do.
func faultyPeers(p exporterPages) panel {
	labels := perPeer + ", isp, site, diagnosis, gateway"
	worst := fmt.Sprintf("topk(%d, %s)", mostRows, worstOf(labels))
	among := " and on (" + perPeer + ") " + worst // without the row that stands for nothing
	since := "max by (" + labels + ") (" + sel("diagnosis_since_timestamp_seconds", many) + ") * 1000 and on (" + labels + ") " + worst
	return panel{
		title: "Peers with a fault ($rows)", unit: states, w: 24, h: 11, noValue: "none", known: allHealthKnown(many), unknown: notScraped,
		about: "The worst diagnosis of each peer at each exporter: critical ones first, then the newest, at most 50. The name of the peer links to its boards, " +
			"the diagnosis to its runbook.",
		queries: []query{
			columns(worst), columns(since),
			columns("min by (" + perPeer + ") (" + sel("mtu_bytes", many) + ")" + among),
			columns("min by (" + perPeer + ") (" + sel("tunnel_mss_bytes", many) + ")" + among),
		},
		sorted: "Value #A", hidden: []string{"gateway"},
	}.table("", append([]column{
		{field: "diagnosis", title: "diagnosis", mappings: byValue(diagnoses()), cell: "color-text", least: 300, links: []dashboard.DashboardLink{runbook()}},
		{field: value(1), title: "since", unit: ago, width: 130},
	}, append(peerColumns(p.peerLinks(ofRow)),
		mtuColumn(value(2)),
		column{field: value(3), title: "MSS to set", unit: packetSize, decimals: new(0.0), width: 90},
	)...)...)
}

// mtuColumn draws a path MTU as a bar.
func mtuColumn(field string) column {
	return column{
		field: field, title: "path MTU", unit: packetSize, decimals: new(0.0), cell: "gauge", min: new(500.0), max: new(1500.0), width: 150,
		thresholds: limits(neutral), // a small path is no fault by itself: PPPoE, a tunnel of the provider
	}
}

// byProvider compares providers: many faults of one that began at the same time have one cause.
func byProvider() panel {
	healthy := sel("peer_healthy", many, `isp!=""`)
	faulty, all := "count by (isp) ("+healthy+" == 0)", "count by (isp) ("+healthy+")"
	worst := fmt.Sprintf("topk(10, %s / %s)", faulty, all)
	begin := "quantile by (isp) (0.5, min by (" + perPeer + ", isp) (" + sel("diagnosis_since_timestamp_seconds", many, `isp!=""`) + ")) * 1000"
	of := func(expr string) query { return columns(expr + " and on (isp) " + worst) }
	return panel{
		title: "Faults by provider", unit: states, w: 14, h: 10, noValue: "none", known: allHealthKnown(many, `isp!=""`), unknown: "unknown",
		about: "The ten providers with the largest share of paths with a fault, and the time since which half of them have one. The name links to the peers of the provider. " +
			"Needs the label isp on the peers.",
		queries: []query{columns(worst), of(faulty), of(all), of(begin)},
	}.table("share",
		column{field: "isp", title: "provider", least: 150, links: []dashboard.DashboardLink{toProvider(ofRow)}},
		column{field: value(1), title: "faulty", unit: count, width: 80}, column{field: value(2), title: "of paths", unit: count, width: 80},
		column{field: value(0), title: "share", unit: share, decimals: new(0.0), cell: "gauge", min: new(0.0), max: new(1.0), thresholds: limits(neutral), width: 170},
		column{field: value(3), title: "since", unit: date, width: 180},
	)
}

func byDiagnosis() panel {
	return panel{
		title: "Active diagnoses", unit: count, w: 10, h: 10, min: new(0.0), noValue: noneKnown,
		about:      "Number of paths with each diagnosis now.",
		queries:    []query{latest("{{diagnosis}}", "sort_desc(count by (diagnosis) ("+sel("diagnosis", many)+"))")},
		thresholds: limits(neutral),
	}.bars()
}

// worstPeers shows when the peers that were worst off were so.
func worstPeers(p exporterPages) panel {
	d := sel("diagnosis", many)
	sum := "clamp_max(sum by (" + perPeer + ") (" + d + "), 5)"
	ranking := "sum by (" + perPeer + ") (sum_over_time(" + d + "[$__range] @ end()))"
	return panel{
		title: "The 20 peers with most faults in this time", unit: states, w: 14, h: 12, noValue: "no diagnosis", noneColour: unknown,
		known: "up{" + process + "} unless on () up{" + process + "} == 0", unknown: notScraped,
		about:    "Number of active diagnoses. A gap is a time without a diagnosis: healthy or unknown.",
		queries:  []query{series(ofPeer, distinctOverTime(perPeer, worstOfRange(20, sum, ranking)))},
		mappings: byValue([]state{{"1", "1", warning}, {"2", "2", bad}, {"3", "3", bad}, {"4", "4", bad}, {"5", "5 or more", bad}}), links: p.peerLinks(ofSeries),
	}.timeline("peer")
}

func diagnosesOverTime() panel {
	return panel{
		title: "Diagnoses over time", unit: count, w: 10, h: 12, min: new(0.0), noValue: noneKnown,
		about:   "Number of paths with each diagnosis. Faults that start at many peers at once have one cause.",
		queries: []query{series("{{diagnosis}}", "count by (diagnosis) ("+sel("diagnosis", many)+")")},
	}.stacked()
}
