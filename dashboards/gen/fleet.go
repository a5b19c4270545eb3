package main

import "fmt"

// fleetBoard tells what is wrong now, and where it is worst. Its panels show the worst few and what is wrong, never every peer, so that
// it holds at ten thousand of them.
func fleetBoard(p exporterPages) board {
	return board{
		uid: uidFleet, title: "IPsec path / Fleet", from: "now-6h",
		about:     "All measured paths to VPN gateways: what is wrong now, since when, at which provider. Panels show the worst and the newest, not every peer.",
		variables: manyPeers(), annotations: manyAnnotations(),
		rows: []row{
			{title: "Now", panels: append(fleetNumbers(), faultyPeers(p), newestDiagnoses(p), byProvider(), byDiagnosis())},
			{title: "Course", panels: []panel{worstPeers(p), diagnosesOverTime()}},
			{title: "Path MTU", panels: []panel{sizesInFleet(), smallestPaths(p), mostChanges(p)}},
			{title: "Loss and delay", panels: []panel{mostLoss(p), slowestIKE(p)}},
			{title: "Restless peers", panels: []panel{restless(p), overdue(p)}},
			{title: "Round trips of all peers (costs most)", collapsed: true, panels: []panel{
				roundTrips(many, "of all chosen peers"), roundTripQuantiles(many, "of all chosen peers").graph(),
			}},
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
		number("Peers", "Peers that are configured, each counted once however many exporters measure it.", count,
			"count(count by (peer) ("+sel("peer_info", many)+"))", panel{}),
		number("With a fault", "Peers with any diagnosis, as any exporter sees it.", count,
			countOf("count by (peer) ("+sel("peer_healthy", many)+" == 0)", sel("peer_info", many)), panel{thresholds: red}),
		number("Silent", "Peers that answer by no method at all (peer_silent).", count, holds("peer_silent"), panel{thresholds: red}),
		number("Black holes", "Peers behind a path that swallows large packets without a word (pmtu_black_hole).", count, holds("pmtu_black_hole"),
			panel{thresholds: red}),
		number("Tunnels oversized", "Peers to which a gateway builds packets larger than what passes (tunnel_oversized): the black holes that hurt.", count,
			holds("tunnel_oversized"), panel{thresholds: red}),
		number("Not known", "Paths of which neither health nor a fault is known yet, or any more.", count,
			countOf(sel("peer_info", many)+" unless on ("+perPeer+") "+sel("peer_healthy", many), sel("peer_info", many)),
			panel{thresholds: limits(good, step{1, notice})}),
		number("Smallest path MTU", "The smallest path MTU that was measured at any peer, by any method.", packetSize,
			"min("+sel("mtu_bytes", many)+")", panel{decimals: new(0.0), thresholds: limits(warning, step{1400, notice}, step{1500, good})}),
		number("Alerts", "Alerts of the IPsecPath rules that fire. 0 also where these rules are not loaded.", count,
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
		about: "The 50 peers with most diagnoses at once; a click on a name leads to what is known of it. Loss is that of ICMP echo in the last five minutes, " +
			"100 % where only echo is filtered.",
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
		about:   "What is wrong, the newest first, at most 100. A diagnosis has been confirmed by a second measurement.",
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
		about:      "The ten providers whose peers are worst off. Needs the label isp at the peers.",
		queries:    []query{latest("{{isp}}", fmt.Sprintf(`topk(10, %s / count by (isp) (%s))`, faulty, sel("peer_healthy", many, `isp!=""`)))},
		thresholds: limits(notice, step{0.2, warning}, step{0.5, bad}),
	}.bars()
}

func byDiagnosis() panel {
	return panel{
		title: "Diagnoses that hold", unit: count, w: 5, h: 10, min: new(0.0), noValue: "none",
		about:      "How many paths have each diagnosis now.",
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
		title: "The 20 peers with most trouble in this time", unit: states, w: 14, h: 12, noValue: "none",
		about:      "How many diagnoses hold. A gap is a time without any: healthy, or not known.",
		queries:    []query{series("{{peer}} from {{instance}}", worstOfRange(20, sum, ranking))},
		thresholds: limits(warning, step{2, bad}), links: p.peerLinks(ofSeries),
	}.timeline()
}

func diagnosesOverTime() panel {
	return panel{
		title: "Diagnoses over time", unit: count, w: 10, h: 12, min: new(0.0), noValue: "none",
		about:   "How many paths have each diagnosis. What begins at many peers at once has one cause.",
		queries: []query{series("{{diagnosis}}", "count by (diagnosis) ("+sel("diagnosis", many)+")")},
	}.stacked()
}
