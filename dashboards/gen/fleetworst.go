package main

import "fmt"

// Panels of the fleet board that rank peers.

// sizesInFleet shows typical causes: 1492 is PPPoE, 1476 GRE, 1280 the minimum of IPv6.
func sizesInFleet() panel {
	return panel{
		title: "Path MTUs in the fleet", unit: count, w: 8, h: 12, min: new(0.0), noValue: "nothing measured",
		about:   "Number of paths by path MTU, the 15 most frequent. 1492 indicates PPPoE, 1476 GRE; 1280 is the minimum of IPv6.",
		queries: []query{latest("{{bytes}} B", `topk(15, count_values("bytes", min by (`+perPeer+`) (`+sel("mtu_bytes", many)+`)))`)},
	}.bars()
}

func smallestPaths(p exporterPages) panel {
	smallest := fmt.Sprintf("min by (%[1]s) (%[2]s) < min by (%[1]s) (%[3]s)",
		perPeer, sel("mtu_bytes", many), sel("mtu_link_bytes", many))
	return panel{
		title: "Smallest path MTU", unit: packetSize, decimals: new(0.0), w: 8, h: 12, min: new(500.0), max: new(1500.0), noValue: noneKnown,
		about:      "The 15 smallest paths that carry less than the exporter's own link.",
		queries:    []query{latest(ofPeer, "sort("+distinct("bottomk(15, "+smallest+")")+")")},
		thresholds: limits(neutral), links: p.peerLinks(ofSeries),
	}.bars()
}

// ranked shows a bar for each of the peers with the largest values.
func ranked(p exporterPages, title, about, unit, expr string, w uint32) panel {
	return panel{
		title: title, about: about, unit: unit, w: w, h: 12, min: new(0.0), noValue: noneKnown, links: p.peerLinks(ofSeries),
		queries: []query{latest(ofPeer, "sort_desc("+distinct("topk(15, "+expr+")")+")")}, thresholds: limits(neutral),
	}.bars()
}

func mostChanges(p exporterPages) panel {
	return ranked(p, "Most changes of path MTU", "The 15 peers with the most changes of the path MTU or its state in the time range.", count,
		"round(sum by ("+perPeer+") (increase("+sel("mtu_changes_total", many)+"[$__range]))) > 0", 8)
}

func mostLoss(p exporterPages) panel {
	answering := " and on (" + perPeer + ") " + sel("icmp_reachable", many) + " == 1"
	return ranked(p, "Most echo loss", "The 15 peers with the largest echo loss in the last five minutes, among peers that answer echo.", share,
		"(max by ("+perPeer+") ("+lost(many, "5m")+")"+answering+") > 0", 12)
}

func slowestIKE(p exporterPages) panel {
	return ranked(p, "Slowest IKE answers", "The 15 peers with the longest round-trip time of the newest IKE probe on either port.", seconds,
		"max by ("+perPeer+") ("+sel("ike_round_trip_seconds", many)+")", 12)
}

func restless(p exporterPages) panel {
	return ranked(p, "Most changes of diagnoses", "The 15 peers whose diagnoses were raised or cleared most often in the time range.", count,
		"round(sum by ("+perPeer+") ("+turns("diagnosis_changes_total", many)+")) > 0", 12)
}

func overdue(p exporterPages) panel {
	return ranked(p, "Not measured in time", "The 15 peers with most collectors that are more than three intervals late; their results are old or absent.", count,
		"sum by ("+perPeer+") ("+sel("peer_overdue_collectors", many)+") > 0", 12)
}

// fromRules is what the panels say that read recorded series.
const fromRules = "Of all peers, this reads what the rules in alerts/ record."

// fleetRoundTrips is the distribution of the round trips of all chosen peers.
func fleetRoundTrips() panel {
	p := roundTrips(many, "of all chosen peers")
	p.about += " " + fromRules
	p.noValue = "no echo reply, or the rules are not loaded"
	const metric = "icmp_round_trip_seconds"
	recorded := fmt.Sprintf("sum(%s) or on () sum by (le) (%s)", record(metric+":rate5m", many), record(metric+"_bucket:rate5m", many))
	p.queries[0].expr = fleetwide(many, recorded, func(labels string) string { return distribution(metric, labels).expr })
	return p
}

// fleetQuantiles are quantiles of the round trips of all chosen peers.
func fleetQuantiles() panel {
	p := roundTripQuantiles(many, "of all chosen peers")
	p.about += " " + fromRules
	p.noValue = "no echo reply, or the rules are not loaded"
	const metric = "icmp_round_trip_seconds"
	for i, q := range []float64{0.5, 0.9, 0.99} {
		recorded := fmt.Sprintf("(histogram_quantile(%[1]g, sum(%[2]s)) > 0) or (histogram_quantile(%[1]g, sum by (le) (%[3]s)) > 0)",
			q, record(metric+":rate5m", many), record(metric+"_bucket:rate5m", many))
		p.queries[i].expr = fleetwide(many, recorded, func(labels string) string { return quantile(q, metric, labels, "$__rate_interval") })
	}
	return p
}

// roundTrips is the distribution of ICMP round trips.
func roundTrips(labels, whose string) panel {
	return panel{
		title: "Round-trip times of ICMP echo", unit: seconds, w: 12, h: 9, noValue: "no echo reply",
		about:   "Echo replies per second by round-trip time, " + whose + ". From native histograms if Prometheus has them, else from the classic buckets.",
		queries: []query{distribution("icmp_round_trip_seconds", labels)},
	}.heat()
}

// roundTripQuantiles are the quantiles of ICMP round trips.
func roundTripQuantiles(labels, whose string) panel {
	return panel{
		title: "Round-trip time of ICMP echo", unit: seconds, w: 12, h: 9, min: new(0.0), noValue: "no echo reply",
		about: "Median, 90th and 99th percentile of the round-trip time, " + whose + ". From native histograms if Prometheus has them; " +
			"the classic buckets are coarse.",
		queries: []query{
			series("median", quantile(0.5, "icmp_round_trip_seconds", labels, "$__rate_interval")),
			series("90 %", quantile(0.9, "icmp_round_trip_seconds", labels, "$__rate_interval")),
			series("99 %", quantile(0.99, "icmp_round_trip_seconds", labels, "$__rate_interval")),
		},
	}
}
