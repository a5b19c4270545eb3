package main

import "fmt"

// fleetBoard shows the active faults and the worst peers. No panel shows every peer, so that ten
// thousand peers fit.
func fleetBoard(p exporterPages) board {
	return board{
		uid: uidFleet, title: "IPsec path / Fleet", from: "now-6h",
		about:     "All measured paths to VPN gateways: active faults, their start and provider. Panels show the worst and the newest, not every peer.",
		variables: manyPeers(), annotations: manyAnnotations(),
		rows: []row{
			{title: "Now", panels: append(fleetNumbers(), faultyPeers(p), newestDiagnoses(p), byProvider(), byDiagnosis())},
			{title: "History", panels: []panel{worstPeers(p), diagnosesOverTime()}},
			{title: "Path MTU", panels: []panel{sizesInFleet(), smallestPaths(p), mostChanges(p)}},
			{title: "Loss and delay", panels: []panel{mostLoss(p), slowestIKE(p)}},
			{title: "Unstable peers", panels: []panel{restless(p), overdue(p)}},
			{title: "Round-trip times of all peers", collapsed: true, panels: []panel{fleetRoundTrips(), fleetQuantiles().graph()}},
		},
	}
}

// fleetNumbers are counts of peers.
func fleetNumbers() []panel {
	red := limits(good, step{1, bad})
	number := func(title, about, unit, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, unit, 3, 4
		p.queries = []query{latest(title, expr)}
		return p.number()
	}
	holds := func(d string) string {
		return countOf("count by (peer) ("+sel("diagnosis", many, `diagnosis="`+d+`"`)+")", sel("peer_info", many))
	}
	return []panel{
		number("Peers", "Configured peers, each counted once for any number of exporters.", count,
			"count(count by (peer) ("+sel("peer_info", many)+"))", panel{}),
		number("With a fault", "Peers with a diagnosis at any exporter.", count,
			countOf("count by (peer) ("+sel("peer_healthy", many)+" == 0)", sel("peer_info", many)), panel{thresholds: red}),
		number("Silent", "Peers that answer by no method (peer_silent).", count, holds("peer_silent"), panel{thresholds: red}),
		number("Black holes", "Peers behind a path on which large packets vanish without an ICMP error (pmtu_black_hole).", count, holds("pmtu_black_hole"),
			panel{thresholds: red}),
		number("Tunnels oversized", "Peers to which a gateway builds packets that are too large for the path (tunnel_oversized). These black holes affect tunnels.", count,
			holds("tunnel_oversized"), panel{thresholds: red}),
		number("Unknown", "Paths without a known verdict, healthy or faulty.", count,
			countOf(sel("peer_info", many)+" unless on ("+perPeer+") "+sel("peer_healthy", many), sel("peer_info", many)),
			panel{thresholds: limits(good, step{1, notice})}),
		number("Smallest path MTU", "The smallest measured path MTU of any peer, by any method.", packetSize,
			"min("+sel("mtu_bytes", many)+")", panel{decimals: new(0.0), thresholds: limits(warning, step{1400, notice}, step{1500, good})}),
		number("Alerts", "Firing alerts of the IPsecPath rules. Also 0 if these rules are not loaded.", count,
			`count(ALERTS{`+alerts+`,instance=~"$instance",isp=~"$isp",site=~"$site",peer=~"$peer"}) or 0 * count(`+sel("peer_info", many)+")",
			panel{thresholds: red}),
	}
}

// faultyPeers has a row for each of the peers with most diagnoses.
func faultyPeers(p exporterPages) panel {
	of := func(labels string) string {
		return fmt.Sprintf("topk(50, count by (%s) (%s))", labels, sel("diagnosis", many))
	}
	among := " and on (" + perPeer + ") " + of(perPeer+", isp, site")
	return panel{
		title: "Peers with a fault", unit: count, w: 24, h: 10, noValue: "none",
		about: "The 50 peers with most diagnoses; the name links to the boards of the peer. Loss is the loss of ICMP echo in the last five minutes, " +
			"100 % if only echo is filtered.",
		queries: []query{
			columns(of(perPeer + ", isp, site")),
			columns("min by (" + perPeer + ") (" + sel("diagnosis_since_timestamp_seconds", many) + ") * 1000" + among),
			columns("min by (" + perPeer + ") (" + sel("mtu_bytes", many) + ")" + among),
			columns("max by (" + perPeer + ") (" + lost(many, "5m") + ")" + among),
			columns("max by (" + perPeer + ") (" + sel("ike_responding", many) + ")" + among),
		},
	}.table("diagnoses", append(peerColumns(p.peerLinks(ofRow)),
		column{field: value(0), title: "diagnoses", cell: "color-text", thresholds: limits(warning, step{2, bad}), width: 100},
		column{field: value(1), title: "oldest since", unit: ago},
		mtuColumn(value(2)),
		column{field: value(3), title: "echo loss", unit: share, decimals: new(0.0), cell: "color-text", thresholds: limits(good, step{0.02, notice}, step{0.1, bad})},
		column{field: value(4), title: "IKE", mappings: byValue(yesNo("answers", "silent")), cell: "color-text"},
	)...)
}

// mtuColumn draws a path MTU as a bar.
func mtuColumn(field string) column {
	return column{
		field: field, title: "path MTU", unit: packetSize, decimals: new(0.0), cell: "gauge", min: new(500.0), max: new(1500.0),
		thresholds: limits(bad, step{1280, warning}, step{1400, notice}, step{1500, good}),
	}
}

// newestDiagnoses has a row for each of the conclusions that came last.
func newestDiagnoses(p exporterPages) panel {
	since := sel("diagnosis_since_timestamp_seconds", many)
	return panel{
		title: "Newest diagnoses", unit: ago, w: 14, h: 10, noValue: "none",
		about:   "Active diagnoses, the newest first, at most 100. A second measurement has confirmed each diagnosis.",
		queries: []query{columns("topk(100, max by (" + perPeer + ", isp, site, diagnosis, gateway) (" + since + ")) * 1000")},
	}.table("since", append([]column{
		{field: "diagnosis", title: "diagnosis", mappings: byValue(diagnoses()), cell: "color-text", width: 420},
		{field: "Value", title: "since", unit: ago, width: 130},
		{field: "gateway", title: "gateway"},
	}, peerColumns(p.peerLinks(ofRow))...)...)
}

func byProvider() panel {
	faulty := fmt.Sprintf(`count by (isp) (%s == 0)`, sel("peer_healthy", many, `isp!=""`))
	return panel{
		title: "Share of peers with a fault, by provider", unit: share, decimals: new(0.0), w: 5, h: 10, min: new(0.0), max: new(1.0), noValue: "none",
		about:      "The ten providers with the largest share. Needs the label isp on the peers.",
		queries:    []query{latest("{{isp}}", fmt.Sprintf(`topk(10, %s / count by (isp) (%s))`, faulty, sel("peer_healthy", many, `isp!=""`)))},
		thresholds: limits(notice, step{0.2, warning}, step{0.5, bad}),
	}.bars()
}

func byDiagnosis() panel {
	return panel{
		title: "Active diagnoses", unit: count, w: 5, h: 10, min: new(0.0), noValue: "none",
		about:      "Number of paths with each diagnosis now.",
		queries:    []query{latest("{{diagnosis}}", "sort_desc(count by (diagnosis) ("+sel("diagnosis", many)+"))")},
		thresholds: limits(warning),
	}.bars()
}

// worstPeers shows when the peers that were worst off were so.
func worstPeers(p exporterPages) panel {
	d := sel("diagnosis", many)
	sum := "sum by (" + perPeer + ") (" + d + ")"
	ranking := "sum by (" + perPeer + ") (sum_over_time(" + d + "[$__range] @ end()))"
	return panel{
		title: "The 20 peers with most faults in this time", unit: states, w: 14, h: 12, noValue: "none",
		about:      "Number of active diagnoses. A gap is a time without a diagnosis: healthy or unknown.",
		queries:    []query{series("{{peer}} from {{instance}}", worstOfRange(20, sum, ranking))},
		thresholds: limits(warning, step{2, bad}), links: p.peerLinks(ofSeries),
	}.timeline()
}

func diagnosesOverTime() panel {
	return panel{
		title: "Diagnoses over time", unit: count, w: 10, h: 12, min: new(0.0), noValue: "none",
		about:   "Number of paths with each diagnosis. Faults that start at many peers at once have one cause.",
		queries: []query{series("{{diagnosis}}", "count by (diagnosis) ("+sel("diagnosis", many)+")")},
	}.stacked()
}
