package main

import "fmt"

// Panels of the fleet board that rank peers.

// sizesInFleet is a fingerprint: 1492 is PPPoE, 1476 GRE, 1280 the least of IPv6.
func sizesInFleet() panel {
	return panel{
		title: "Path MTUs in the fleet", unit: count, w: 8, h: 12, min: new(0.0), noValue: "nothing measured",
		about:   "How many paths have which MTU: the 15 most frequent. 1492 comes from PPPoE, 1476 from GRE, 1280 is the least that IPv6 allows.",
		queries: []query{latest("{{bytes}} B", `topk(15, count_values("bytes", min by (`+perPeer+`) (`+sel("mtu_bytes", many)+`)))`)},
	}.bars()
}

func smallestPaths(p exporterPages) panel {
	smallest := fmt.Sprintf("min by (%[1]s) (%[2]s) < min by (%[1]s) (%[3]s)",
		perPeer, sel("mtu_bytes", many), sel("mtu_link_bytes", many))
	return panel{
		title: "Smallest path MTU", unit: packetSize, decimals: new(0.0), w: 8, h: 12, min: new(500.0), max: new(1500.0), noValue: "none is smaller than its link",
		about:      "The 20 smallest paths, of those that carry less than the exporter's own link.",
		queries:    []query{latest("{{peer}} from {{instance}}", "bottomk(20, "+smallest+")")},
		thresholds: limits(bad, step{1280, warning}, step{1400, notice}), links: p.peerLinks(ofSeries),
	}.bars()
}

// ranked is a bar for each of the peers where something is largest.
func ranked(p exporterPages, title, about, unit, expr string, w uint32) panel {
	return panel{
		title: title, about: about, unit: unit, w: w, h: 12, min: new(0.0), noValue: "none", links: p.peerLinks(ofSeries),
		queries: []query{latest("{{peer}} from {{instance}}", "topk(20, "+expr+")")}, thresholds: limits(warning),
	}.bars()
}

func mostChanges(p exporterPages) panel {
	return ranked(p, "Most changes of path MTU", "The 20 peers whose path MTU, or its state, changed most often in the time range.", count,
		"round(sum by ("+perPeer+") (increase("+sel("mtu_changes_total", many)+"[$__range]))) > 0", 8)
}

func mostLoss(p exporterPages) panel {
	answering := " and on (" + perPeer + ") " + sel("icmp_reachable", many) + " == 1"
	return ranked(p, "Most echo loss", "The 20 peers that lost the largest share of ICMP echoes in the last five minutes, of those that answer echo at all.", share,
		"(max by ("+perPeer+") ("+lost(many, "5m")+")"+answering+") > 0", 12)
}

func slowestIKE(p exporterPages) panel {
	return ranked(p, "Slowest IKE answers", "The 20 peers with the longest round trip of an IKE probe, the newest one by either port.", seconds,
		"max by ("+perPeer+") ("+sel("ike_round_trip_seconds", many)+")", 12)
}

func restless(p exporterPages) panel {
	return ranked(p, "Most changes of diagnoses", "The 20 peers whose diagnoses turned on or off most often in the time range.", count,
		"round(sum by ("+perPeer+") (increase("+sel("diagnosis_changes_total", many)+"[$__range]))) > 0", 12)
}

func overdue(p exporterPages) panel {
	return ranked(p, "Not measured in time", "The 20 peers with most collectors that are more than three intervals late: what is shown of them is old, or absent.", count,
		"sum by ("+perPeer+") ("+sel("peer_overdue_collectors", many)+") > 0", 12)
}

// roundTrips is the distribution of ICMP round trips.
func roundTrips(labels, whose string) panel {
	return panel{
		title: "Round trips of ICMP echo", unit: seconds, w: 12, h: 9,
		about:   "How many echoes per second took how long, " + whose + ". Drawn from native histograms where Prometheus has them, else from the classic buckets.",
		queries: []query{distribution("icmp_round_trip_seconds", labels)},
	}.heat()
}

// roundTripQuantiles are the quantiles of ICMP round trips.
func roundTripQuantiles(labels, whose string) panel {
	return panel{
		title: "Round trip of ICMP echo", unit: seconds, w: 12, h: 9, min: new(0.0), noValue: "no echo was answered",
		about: "Half, nine in ten, and 99 in a hundred echoes were answered within this time, " + whose + ". From native histograms where Prometheus has them; " +
			"the classic buckets are coarse.",
		queries: []query{
			series("median", quantile(0.5, "icmp_round_trip_seconds", labels, "$__rate_interval")),
			series("90 %", quantile(0.9, "icmp_round_trip_seconds", labels, "$__rate_interval")),
			series("99 %", quantile(0.99, "icmp_round_trip_seconds", labels, "$__rate_interval")),
		},
	}
}
