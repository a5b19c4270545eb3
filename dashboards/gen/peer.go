package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func peerBoard(p exporterPages) board {
	return board{
		uid: uidPeer, title: "IPsec path / Peer", from: "now-24h",
		about:     "The path to one VPN gateway as measured by one exporter: active faults and their start, path MTU, answers, round-trip times, SAs at gateways.",
		variables: onePeer(), annotations: oneAnnotations(), more: []dashboard.DashboardLink{help(), p.paper()},
		rows: []row{
			{title: "$peer, seen from $instance", panels: append([]panel{whoItIs(24, 3)}, append(peerNumbers(), diagnosesOf(p, 24, 6))...)},
			{title: "History", panels: []panel{diagnosisSpans(12, 8), answers(12, 8)}},
			{title: "Path MTU", panels: []panel{pathMTU(16, 9), mtuStateSpans(8, 9)}},
			{title: "Round-trip time and loss", panels: []panel{
				roundTrips(one, "to this peer"), roundTripQuantiles(one, "to this peer").graph(), echoLoss(7), ikeRoundTrip(),
			}},
			{title: "Protocols (collector protocols)", collapsed: true, panels: []panel{protocolSpans(12, 7), lastHops(12, 7)}},
			{title: "Flows (collector flows)", collapsed: true, panels: []panel{comparedFlows(24, 7)}},
			{title: "Inside the tunnel (addresses in inside)", collapsed: true, panels: insidePath()},
			{title: "SAs at gateways", collapsed: true, panels: peerSAs()},
			{title: "Measurement", collapsed: true, panels: append(measurementNumbers(), ikeForms(12, 7), sinceRun(), packetTooBig(8), ikeExchange(), extraEchoes())},
		},
	}
}

// whoItIs names the peer: where it is, and whose path leads there.
func whoItIs(w, h uint32) panel {
	return panel{
		title: "Peer", unit: states, w: w, h: h, noValue: "not measured by this exporter",
		about:   "The address that is measured now, the provider and the site of the peer, and where it is measured from. Site is the configured label of this name.",
		queries: []query{columns("max by (address, isp, site, source, instance) (" + sel("peer_info", one) + ")")},
	}.table("",
		column{field: "address", title: "address", least: 150}, column{field: "isp", title: "provider", width: 200}, column{field: "site", title: "site", width: 200},
		column{field: "source", title: "measured via", width: 200}, column{field: "instance", title: "measured by", width: 300},
		column{field: "Value", title: "configured", width: 100, mappings: byValue([]state{{"1", "yes", unknown}})},
	)
}

// peerNumbers are the most important values.
func peerNumbers() []panel {
	number := func(title, about, unit, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, unit, 4, 4
		p.queries = []query{latest(title, expr)}
		return p
	}
	return []panel{
		number("Verdict", "Whether a diagnosis holds for the path or for the peer's SAs.", states, sel("peer_healthy", one),
			panel{mappings: byValue(yesNo("healthy", "FAULT")), noValue: "unknown"}).verdict(),
		number("Black hole", "Whether packets above the path MTU vanish without an ICMP error, by any method.", states, sel("mtu_black_hole", one),
			panel{mappings: byValue([]state{{"0", "none", good}, {"1", "BLACK HOLE", bad}}), noValue: "unknown"}).verdict(),
		number("Path MTU", "The largest whole IP packet that is proven to pass, the smallest of all methods.", packetSize, "min("+sel("mtu_bytes", one)+")",
			panel{decimals: new(0.0), noValue: "unknown"}).number(),
		number("Tunnel MTU", "The largest MTU for the ESP tunnel, computed for the configured cipher.", packetSize, sel("tunnel_mtu_bytes", one),
			panel{decimals: new(0.0), noValue: "unknown"}).number(),
		number("MSS to set", "The TCP MSS to clamp to inside the tunnel, for IPv4.", packetSize, sel("tunnel_mss_bytes", one),
			panel{decimals: new(0.0), noValue: "unknown"}).number(),
		number("Echo loss, 5 min", "Share of ICMP echo requests without an answer. Filtered: only echo is not answered, IKE is.", share, lossNow(),
			panel{
				decimals: new(1.0), thresholds: limits(good, step{0.02, notice}, step{0.1, bad}), mappings: byValue([]state{{nothingHere, "filtered", unknown}}),
				noValue: "unknown",
			}).number(),
	}
}

// measurementNumbers are values about the measurement of the peer.
func measurementNumbers() []panel {
	number := func(title, about, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h, p.decimals, p.noValue = title, about, count, 12, 4, new(0.0), "unknown"
		p.queries = []query{latest(title, expr)}
		return p.number()
	}
	return []panel{
		number("Hops", "TTL that reaches the peer: number of routers on the path, plus one. From the collector protocols.", sel("hops", one), panel{}),
		number("Late collectors", "Collectors of this peer that are more than three intervals late.", sel("peer_overdue_collectors", one),
			panel{thresholds: limits(good, step{1, bad})}),
	}
}

// lossNow is the loss of the last minutes, or the value for nothing where a filter of ICMP explains it.
func lossNow() string {
	filtered := fmt.Sprintf("%s + 0 * count(%s == 1) and on () %s == 0", nothingHere, sel("ike_responding", one), sel("icmp_reachable", one))
	return fmt.Sprintf("(%s) or on () (%s)", filtered, lost(one, "5m"))
}

// diagnosesOf lists the active diagnoses of the peer.
func diagnosesOf(p exporterPages, w, h uint32) panel {
	since := "max by (diagnosis, gateway) (" + sel("diagnosis_since_timestamp_seconds", one) + ") * 1000"
	changes := "sum by (diagnosis, gateway) " + turns("diagnosis_changes_total", one)
	return panel{
		title: "Active diagnoses", unit: date, w: w, h: h, noValue: "none", known: sel("peer_healthy", one),
		about: "Diagnoses that hold now, each confirmed by a second measurement. The links lead to the evidence: every probe and answer, " +
			"a report for the provider, and the packets.",
		queries: []query{columns(since), columns(since), columns("round(" + changes + ") and on (diagnosis, gateway) " + sel("diagnosis", one))},
	}.table("since",
		column{field: "diagnosis", title: "diagnosis", mappings: byValue(diagnoses()), cell: "color-text", links: append([]dashboard.DashboardLink{runbook()}, p.pageLinks()...), least: 460},
		column{field: "gateway", title: "gateway", width: 160},
		column{field: value(0), title: "since", unit: date, width: 180},
		column{field: value(1), title: "age", unit: ago, width: 130},
		column{field: value(2), title: "changes in this time", unit: count, decimals: new(0.0), width: 170},
	)
}

// diagnosisSpans shows when each diagnosis of the range held. A diagnosis has no series while it
// does not hold; the peer's health shows whether that is known.
func diagnosisSpans(w, h uint32) panel {
	d := sel("diagnosis", one)
	held := "max by (diagnosis, gateway) (max_over_time(" + d + "[$__rate_interval]))"
	others := "0 * max by (diagnosis, gateway) (present_over_time(" + d + "[$__range] @ end())) and on () " + sel("peer_healthy", one)
	return panel{
		title: "Diagnoses", unit: states, w: w, h: h, noValue: "none", known: sel("peer_healthy", one),
		about:    "When each diagnosis held in this time. A gap is a time at which it was unknown.",
		queries:  []query{series("{{diagnosis}} {{gateway}}", held+" or "+others)},
		mappings: byValue([]state{{"0", "no", good}, {"1", "holds", bad}}),
	}.timeline("diagnosis")
}

// answers shows the answered probes. The lowest value of each step counts, so a short failure stays
// visible.
func answers(w, h uint32) panel {
	lowest := func(metric, name string) string {
		return fmt.Sprintf(`label_replace(min_over_time(%s[$__rate_interval]), "answer", %q, "", "")`, sel(metric, one), name)
	}
	return panel{
		title: "Answers", unit: states, w: w, h: h, noValue: "not measured",
		about: "ICMP echo, IKE on UDP 500 (ike) and on UDP 4500 (natt), and IKE messages in IP fragments. A gap is a time at which the answer was unknown.",
		queries: []query{series("{{answer}} {{method}}", strings.Join([]string{
			lowest("icmp_reachable", "ICMP echo"), lowest("ike_responding", "IKE"), lowest("ike_fragments_pass", "fragments"),
		}, " or "))},
		mappings: byValue(yesNo("yes", "no")),
	}.timeline("answer")
}

// pathMTU compares all known sizes of the path.
func pathMTU(w, h uint32) panel {
	return panel{
		title: "Path MTU", unit: packetSize, decimals: new(0.0), w: w, h: h, noValue: "unknown",
		about: "Largest whole IP packet proven to pass, by method; the MTU of the local link, which is the upper limit; bounds of the reverse path; " +
			"the kernel's cached path MTU, if it differs from the link; and the path MTU that each gateway uses. " +
			"A gateway above the measured lines loses packets.",
		queries: []query{
			series("measured, {{method}}", sel("mtu_bytes", one)),
			series("local link", sel("mtu_link_bytes", one)),
			series("reverse path, at least", sel("mtu_reverse_lower_bytes", one)),
			series("reverse path, at most", sel("mtu_reverse_upper_bytes", one)),
			series("kernel's cached path MTU", sel("mtu_kernel_cached_bytes", one)),
			series("{{gateway}} uses", sel("gateway_path_mtu_bytes", one)),
		},
		overrides: dashed("^(local link|reverse path|kernel).*"),
	}.sizeGraph()
}

func mtuStateSpans(w, h uint32) panel {
	return panel{
		title: "State of the path MTU", unit: states, w: w, h: h, noValue: "unknown",
		about: "Result of the last search, by method. clean: as large as the local link. reduced: smaller, with correct ICMP errors. BLACK HOLE: smaller, and larger " +
			"packets vanish. unreachable: small packets are not answered either.",
		queries:  []query{series("{{method}}", stateCode("method", "mtu_state", one, mtuStates()))},
		mappings: byCode(mtuStates()),
	}.timeline("method")
}

func echoLoss(h uint32) panel {
	return panel{
		title: "Loss of ICMP echo", unit: share, w: 12, h: h, min: new(0.0), max: new(1.0), noValue: "not measured",
		about:   "Share of echo requests without an answer. Late answers count as answers.",
		queries: []query{series("lost", lost(one, "$__rate_interval"))},
	}.graph()
}

func ikeRoundTrip() panel {
	return panel{
		title: "Round-trip time of IKE", unit: seconds, w: 12, h: 7, min: new(0.0), noValue: "not answered",
		about:   "Round-trip time of the newest IKE probe on UDP 500 (ike) and UDP 4500 (natt), including the processing time of the peer.",
		queries: []query{series("{{method}}", sel("ike_round_trip_seconds", one))},
	}.graph()
}

func protocolSpans(w, h uint32) panel {
	return panel{
		title: "Protocols", unit: states, w: w, h: h, noValue: "not measured",
		about: "Whether each protocol passes on the path to the peer. esp is IP protocol 50, ah 51, esp_udp ESP in UDP 4500. Silence proves nothing: without evidence from routers " +
			"the state is unknown.",
		queries:  []query{series("{{protocol}}", stateCode("protocol", "protocol_state", one, protocolStates()))},
		mappings: byCode(protocolStates()),
	}.timeline("protocol")
}

func lastHops(w, h uint32) panel {
	return panel{
		title: "How far each protocol gets", unit: count, decimals: new(0.0), w: w, h: h, min: new(0.0), noValue: "not measured",
		about: "Highest TTL with which each protocol was answered, and the TTL that reaches the peer. A protocol that ends below the others is dropped there, " +
			"or the routers after that hop do not answer it.",
		queries: []query{series("{{protocol}}", sel("protocol_last_hop", one)), series("the peer", sel("hops", one))},
	}.stepGraph()
}

// comparedFlows shows how many flows are lost, and of how many that is.
func comparedFlows(w, h uint32) panel {
	return panel{
		title: "Lost flows", unit: count, decimals: new(0.0), w: w, h: h, min: new(0.0), noValue: "not compared",
		about: "Flows (source ports, echo identifiers) that get no answer, and the number of flows asked, by method. If some are lost and others pass, one of " +
			"several equal-cost links, or one device behind a load balancer, drops packets. If all are lost, the path or the peer is silent.",
		queries: []query{series("lost, {{method}}", sel("flows_lost", one)), series("asked, {{method}}", sel("flows_tested", one))},
	}.stepGraph()
}

// ikeForms lists the form of probe that the peer answers.
func ikeForms(w, h uint32) panel {
	return panel{
		title: "Answered form of IKE", unit: states, w: w, h: h, noValue: "IKE is not answered", known: sel("ike_responding", one),
		about:   "Form of probe that the peer answers now, the IKE version and the reply.",
		queries: []query{columns("max by (method, port, version, probe, reply) (" + sel("ike_response_info", one) + ")")},
	}.table("",
		column{field: "method", title: "method", width: 80}, column{field: "port", title: "UDP port", width: 80}, column{field: "version", title: "IKE version", width: 90},
		column{field: "probe", title: "probe", width: 130}, column{field: "reply", title: "reply", least: 120},
		column{field: "Value", title: "answered", width: 90, mappings: byValue([]state{{"1", "yes", good}})},
	)
}

func sinceRun() panel {
	return panel{
		title: "Age of the newest measurement", unit: age, w: 12, h: 7, min: new(0.0), noValue: "not measured",
		about: "Time since the last measurement of this peer by each collector, and the pause between two probes while the peer stays silent and is asked less often. " +
			"Results older than three intervals, or three pauses, are not shown.",
		queries: []query{
			series("{{collector}}", "time() - "+sel("collector_last_run_timestamp_seconds", one)),
			series("{{collector}}: pause", sel("probe_backoff_seconds", one)),
		},
	}.graph()
}

func packetTooBig(w uint32) panel {
	return panel{
		title: `"Packet too big" from the path`, unit: count, w: w, h: 7, min: new(0.0), noValue: "not measured",
		about:   "Valid messages per hour in answer to path MTU probes. A path that is smaller than its link and sends none is a black hole.",
		queries: []query{series("received per hour", "rate("+sel("ptb_received_total", one)+"[$__rate_interval]) * 3600")},
	}.graph()
}

func ikeExchange() panel {
	return panel{
		title: "IKE probes without an answer", unit: share, w: 8, h: 7, min: new(0.0), max: new(1.0), noValue: "not measured",
		about: "Share of IKE probes that were not answered, by method.",
		queries: []query{series("{{method}}", "clamp_min(1 - rate("+sel("ike_responses_total", one)+"[$__rate_interval]) / rate("+
			sel("ike_requests_total", one)+"[$__rate_interval]), 0)")},
	}.graph()
}

func extraEchoes() panel {
	return panel{
		title: "Duplicate echo replies", unit: count, w: 8, h: 7, min: new(0.0), noValue: "not measured",
		about:   "Duplicates of echo replies per hour. Many duplicates mean that the path or the peer duplicates packets.",
		queries: []query{series("duplicates per hour", "rate("+sel("icmp_duplicates_total", one)+"[$__rate_interval]) * 3600")},
	}.graph()
}
