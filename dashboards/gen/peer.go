package main

// peerBoard is about one path, as one exporter sees it.
func peerBoard(p exporterPages) board {
	return board{
		uid: uidPeer, title: "IPsec path / Peer", from: "now-24h",
		about:     "The path to one VPN gateway as one exporter sees it: what is wrong and since when, path MTU, what answers, round trips, SAs at gateways.",
		variables: onePeer(), annotations: oneAnnotations(),
		rows: []row{
			{title: "$peer, seen from $instance", panels: append(peerNumbers(), diagnosesOf(p, 24, 6))},
			{title: "Course", panels: []panel{diagnosisSpans(12, 8), answers(12, 8)}},
			{title: "Path MTU", panels: []panel{pathMTU(16, 9), mtuStateSpans(8, 9)}},
			{title: "Round trip and loss", panels: []panel{
				roundTrips(one, "to this peer"), roundTripQuantiles(one, "to this peer").graph(), echoLoss(7), ikeRoundTrip(),
			}},
			{title: "Protocols (collector protocols)", panels: []panel{protocolSpans(12, 7), lastHops(12, 7)}},
			{title: "SAs at gateways", panels: peerSAs()},
			{title: "How it is measured", panels: []panel{ikeForms(12, 7), sinceRun(), packetTooBig(8), ikeExchange(), extraEchoes()}},
		},
	}
}

// peerNumbers are what one has to know first.
func peerNumbers() []panel {
	size := limits(bad, step{1280, warning}, step{1400, notice}, step{1500, good})
	number := func(title, about, unit, expr string, w uint32, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, unit, w, 4
		p.queries = []query{latest(title, expr)}
		return p
	}
	return []panel{
		number("Verdict", "Whether any diagnosis holds for the path, or for the peer's SAs.", states, sel("peer_healthy", one), 4,
			panel{mappings: byValue(yesNo("healthy", "FAULT")), noValue: "not known"}).verdict(),
		number("Black hole", "Whether packets above the path MTU vanish without a word, by any method.", states, sel("mtu_black_hole", one), 4,
			panel{mappings: byValue([]state{{"0", "none", good}, {"1", "BLACK HOLE", bad}}), noValue: "not known"}).verdict(),
		number("Path MTU", "The smallest of all methods: the largest whole IP packet that is proven to pass.", packetSize, "min("+sel("mtu_bytes", one)+")", 3,
			panel{decimals: new(0.0), thresholds: size, noValue: "not known"}).number(),
		number("MTU for the tunnel", "What the ESP tunnel's MTU should be at most, computed for the configured cipher.", packetSize, sel("tunnel_mtu_bytes", one), 3,
			panel{decimals: new(0.0), noValue: "not known"}).number(),
		number("TCP MSS in the tunnel", "What to clamp the MSS to inside the tunnel, for IPv4.", packetSize, sel("tunnel_mss_bytes", one), 3,
			panel{decimals: new(0.0), noValue: "not known"}).number(),
		number("Echo loss, 5 minutes", "Share of ICMP echoes without an answer; 100 % where echo is filtered.", share, lost(one, "5m"), 3,
			panel{decimals: new(1.0), thresholds: limits(good, step{0.02, notice}, step{0.1, bad}), noValue: "not known"}).number(),
		number("Hops", "TTL with which the peer was reached: routers on the way, plus one. From the collector protocols.", count, sel("hops", one), 2,
			panel{decimals: new(0.0), noValue: "-"}).number(),
		number("Late", "Collectors of this peer that are more than three intervals late.", count, sel("peer_overdue_collectors", one), 2,
			panel{decimals: new(0.0), thresholds: limits(good, step{1, bad}), noValue: "-"}).number(),
	}
}

// diagnosesOf lists what is wrong with the peer.
func diagnosesOf(p exporterPages, w, h uint32) panel {
	since := "max by (diagnosis, gateway) (" + sel("diagnosis_since_timestamp_seconds", one) + ") * 1000"
	turns := "sum by (diagnosis, gateway) (increase(" + sel("diagnosis_changes_total", one) + "[$__range]))"
	return panel{
		title: "What is wrong", unit: date, w: w, h: h, noValue: "nothing",
		about: "Diagnoses that hold now, each confirmed by a second measurement. The links lead to what shows them: every probe and answer, " +
			"a report to send to the provider, and the packets.",
		queries: []query{columns(since), columns(since), columns("round(" + turns + ") and on (diagnosis, gateway) " + sel("diagnosis", one))},
	}.table("since",
		column{field: "diagnosis", title: "diagnosis", mappings: byValue(diagnoses()), cell: "color-text", links: p.pageLinks(), width: 520},
		column{field: "gateway", title: "gateway"},
		column{field: value(0), title: "since", unit: date},
		column{field: value(1), title: "that is", unit: ago},
		column{field: value(2), title: "turned in this time", unit: count, decimals: new(0.0)},
	)
}

// diagnosisSpans shows when each diagnosis held, of those that held at any time in the range. A diagnosis has no series while it does not
// hold: whether that is known, the peer's health tells.
func diagnosisSpans(w, h uint32) panel {
	d := sel("diagnosis", one)
	held := "max by (diagnosis, gateway) (max_over_time(" + d + "[$__rate_interval]))"
	others := "0 * max by (diagnosis, gateway) (present_over_time(" + d + "[$__range] @ end())) and on () " + sel("peer_healthy", one)
	return panel{
		title: "Diagnoses", unit: states, w: w, h: h, noValue: "none",
		about:    "When each diagnosis held, of those that did in this time. A gap is a time at which it was not known. Without any row there was none.",
		queries:  []query{series("{{diagnosis}} {{gateway}}", held+" or "+others)},
		mappings: byValue([]state{{"0", "no", good}, {"1", "holds", bad}}),
	}.timeline()
}

// answers shows what was answered. However coarse the time is, a failure between two points of it shows.
func answers(w, h uint32) panel {
	lowest := func(metric string) string { return "min_over_time(" + sel(metric, one) + "[$__rate_interval])" }
	return panel{
		title: "What answers", unit: states, w: w, h: h, noValue: "not measured",
		about: "ICMP echo, IKE on UDP 500 (ike) and on UDP 4500 (natt), and IKE messages that are sent as IP fragments. A gap is a time at which it was not known.",
		queries: []query{
			series("ICMP echo", lowest("icmp_reachable")),
			series("IKE, {{method}}", lowest("ike_responding")),
			series("fragments, {{method}}", lowest("ike_fragments_pass")),
		},
		mappings: byValue(yesNo("yes", "no")),
	}.timeline()
}

// pathMTU compares all sizes that are known of the path.
func pathMTU(w, h uint32) panel {
	return panel{
		title: "Path MTU", unit: packetSize, decimals: new(0.0), w: w, h: h, noValue: "not known",
		about: "Largest whole IP packet proven to pass, by method; the local link, which is the most that could be measured; bounds of the way back; " +
			"what this host's kernel believes, where that differs from its link; and what each gateway believes and builds packets for. " +
			"A gateway above the measured lines loses packets.",
		queries: []query{
			series("measured, {{method}}", sel("mtu_bytes", one)),
			series("local link", sel("mtu_link_bytes", one)),
			series("way back, at least", sel("mtu_reverse_lower_bytes", one)),
			series("way back, at most", sel("mtu_reverse_upper_bytes", one)),
			series("this host's kernel believes", sel("mtu_kernel_cached_bytes", one)),
			series("{{gateway}} believes", sel("gateway_path_mtu_bytes", one)),
		},
	}.stepGraph()
}

func mtuStateSpans(w, h uint32) panel {
	return panel{
		title: "State of the path MTU", unit: states, w: w, h: h, noValue: "not known",
		about: "What the last search found, by method. clean: as large as the local link. reduced: smaller, and the path says so. BLACK HOLE: smaller, and larger " +
			"packets vanish. unreachable: small packets are not answered either.",
		queries:  []query{series("{{method}}", stateCode("method", "mtu_state", one, mtuStates()))},
		mappings: byCode(mtuStates()),
	}.timeline()
}

func echoLoss(h uint32) panel {
	return panel{
		title: "Loss of ICMP echo", unit: share, w: 12, h: h, min: new(0.0), max: new(1.0), noValue: "not measured",
		about:   "Share of echoes without an answer. Late answers count as answers.",
		queries: []query{series("lost", lost(one, "$__rate_interval"))},
	}.graph()
}

func ikeRoundTrip() panel {
	return panel{
		title: "Round trip of IKE", unit: seconds, w: 12, h: 7, min: new(0.0), noValue: "not answered",
		about:   "Round trip of the newest IKE probe on UDP 500 (ike) and UDP 4500 (natt), the peer's own time included.",
		queries: []query{series("{{method}}", sel("ike_round_trip_seconds", one))},
	}.graph()
}

func protocolSpans(w, h uint32) panel {
	return panel{
		title: "Protocols", unit: states, w: w, h: h, noValue: "not measured",
		about: "Whether each protocol passes on the way to the peer. esp is IP protocol 50, ah 51, esp_udp ESP in UDP 4500. Silence proves nothing: where no router " +
			"shows more, it is unknown.",
		queries:  []query{series("{{protocol}}", stateCode("protocol", "protocol_state", one, protocolStates()))},
		mappings: byCode(protocolStates()),
	}.timeline()
}

func lastHops(w, h uint32) panel {
	return panel{
		title: "How far each protocol gets", unit: count, decimals: new(0.0), w: w, h: h, min: new(0.0), noValue: "not measured",
		about: "Highest TTL with which each protocol was answered, and the one that reaches the peer. A protocol that ends below the others is dropped there, " +
			"or by routers that do not report it.",
		queries: []query{series("{{protocol}}", sel("protocol_last_hop", one)), series("the peer", sel("hops", one))},
	}.stepGraph()
}

// ikeForms lists which form of probe the peer answers.
func ikeForms(w, h uint32) panel {
	return panel{
		title: "How IKE is answered", unit: states, w: w, h: h, noValue: "IKE is not answered",
		about:   "Which form of probe the peer answers now, in which IKE version, and with what.",
		queries: []query{columns("max by (method, port, version, probe, reply) (" + sel("ike_response_info", one) + ")")},
	}.table("",
		column{field: "method", title: "method"}, column{field: "port", title: "UDP port"}, column{field: "version", title: "IKE version"},
		column{field: "probe", title: "probe"}, column{field: "reply", title: "reply"},
		column{field: "Value", title: "answered", mappings: byValue([]state{{"1", "yes", good}})},
	)
}

func sinceRun() panel {
	return panel{
		title: "Age of the newest measurement", unit: seconds, w: 12, h: 7, min: new(0.0), noValue: "not measured",
		about:   "Time since each collector last ended a measurement of this peer. Results older than three intervals are not shown.",
		queries: []query{series("{{collector}}", "time() - "+sel("collector_last_run_timestamp_seconds", one))},
	}.graph()
}

func packetTooBig(w uint32) panel {
	return panel{
		title: `"Packet too big" from the path`, unit: count, w: w, h: 7, min: new(0.0), noValue: "not measured",
		about:   "Valid ICMP messages that say so, in answer to path MTU probes, per hour. None at a path that is smaller than its link: it is a black hole.",
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
		about:   "Further copies of echo replies per hour. The path or the peer doubles packets where there are many.",
		queries: []query{series("duplicates per hour", "rate("+sel("icmp_duplicates_total", one)+"[$__rate_interval]) * 3600")},
	}.graph()
}
