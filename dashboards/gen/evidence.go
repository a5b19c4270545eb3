package main

import "strings"

// evidenceBoard is for the engineer of the provider: one path, one time range, nothing that needs to know the exporter. It is made to be
// printed, so it is one column of facts in the order of an argument.
func evidenceBoard(p exporterPages) board {
	return board{
		uid: uidEvidence, title: "IPsec path / Evidence for the provider", from: "now-24h",
		about: "What shows a fault of the path to one VPN gateway, for the provider who has to find it: what was measured and how, what passes and what vanishes, " +
			"how far each protocol gets, and since when.",
		variables: onePeer(), annotations: oneAnnotations(),
		rows: []row{
			{title: "Path from $instance to $peer", panels: []panel{method(), endpoints(), diagnosesOf(p, 24, 6)}},
			{title: "Large packets", panels: []panel{sizes(p), mtuStateSpans(8, 8), pathMTU(24, 9), packetTooBig(12), wayBack()}},
			{title: "Fragments, ports and protocols", panels: []panel{answers(12, 8), protocolSpans(12, 8), reach(12, 7), ikeForms(12, 7)}},
			{title: "Loss and delay", panels: []panel{echoLoss(9), roundTripQuantiles(one, "to this address").graph()}},
		},
	}
}

// method says how the numbers came about. A paragraph is one line: Grafana may take a new line for a break.
func method() panel {
	return words("How this was measured", "The method in short; the exporter's documentation has it in full.", strings.Join([]string{
		"**Path MTU**: the largest whole IP packet, header included, with DF set, that was *answered*. Methods: **icmp** echo, **ike** an IKE message to UDP 500, **natt** one to UDP 4500. " +
			"A size counts as lost only in matched pairs: a smaller packet passes and a larger one does not, alternately, until loss by chance is ruled out. A **black hole** is a path on which " +
			"larger packets vanish and no valid ICMP \"fragmentation needed\" (type 3 code 4; IPv6 \"packet too big\") comes back.",
		"**Fragments**: the same IKE message whole and as two IP fragments, in turns. **Protocols**: packets with a small TTL; a protocol is called blocked only where a router prohibits it, " +
			"or where others get further past the same routers. **Diagnoses** hold after a second measurement has confirmed the first.",
		"Every probe and answer with its time, the routers named, and the packets for Wireshark: links at the diagnoses below.",
	}, "\n\n"), 12, 8)
}

func endpoints() panel {
	return panel{
		title: "Between", unit: states, w: 12, h: 8, noValue: "not measured",
		about:   "The address that is measured, and the address or interface that it is measured from, where one is configured.",
		queries: []query{columns("max by (instance, peer, address, family, source) (" + sel("peer_info", one) + ")")},
	}.table("",
		column{field: "instance", title: "exporter"}, column{field: "source", title: "from"}, column{field: "peer", title: "peer"},
		column{field: "address", title: "address"}, column{field: "family", title: "family"},
		column{field: "Value", title: "configured", mappings: byValue([]state{{"1", "yes", unknown}})},
	)
}

// sizes is the newest result of each method.
func sizes(p exporterPages) panel {
	of := func(metric string) string { return "max by (method) (" + sel(metric, one) + ")" }
	return panel{
		title: "What passes now", unit: packetSize, decimals: new(0.0), w: 16, h: 8, noValue: "not measured",
		about: "Largest whole IP packet that is proven to pass, by method, and what happens to larger ones. Which sizes were tried, one by one, is on the exporter's page.",
		queries: []query{
			columns(of("mtu_bytes")),
			columns(stateCode("method", "mtu_state", one, mtuStates())),
			columns(of("ike_responding")),
			columns(of("ike_fragments_pass")),
		},
	}.table("",
		column{field: "method", title: "method", links: p.pageLinks()},
		mtuColumn(value(0)),
		column{field: value(1), title: "larger ones", unit: states, mappings: byCode(mtuStates()), cell: "color-text"},
		column{field: value(2), title: "answers IKE", unit: states, mappings: byValue(yesNo("yes", "no")), cell: "color-text"},
		column{field: value(3), title: "fragments", unit: states, mappings: byValue(yesNo("pass", "DROPPED")), cell: "color-text"},
	)
}

func wayBack() panel {
	return panel{
		title: "The way back", unit: packetSize, decimals: new(0.0), w: 12, h: 7, noValue: "not known",
		about: "Path MTU from the peer to here, by the size of echo replies: at least the lower line, at most the upper one, where a limit was found. An exporter at the " +
			"peer's end shows more.",
		queries: []query{series("at least", sel("mtu_reverse_lower_bytes", one)), series("at most", sel("mtu_reverse_upper_bytes", one))},
	}.stepGraph()
}

// reach is the newest result for each protocol.
func reach(w, h uint32) panel {
	return panel{
		title: "How far each protocol gets now", unit: count, w: w, h: h, noValue: "not measured",
		about: "Highest TTL with which each protocol was answered, beside the one that reaches the peer. From the collector protocols.",
		queries: []query{
			columns(stateCode("protocol", "protocol_state", one, protocolStates())),
			columns("max by (protocol) (" + sel("protocol_last_hop", one) + ")"),
			columns("max by (protocol) (" + sel("protocol_last_hop", one) + " * 0 + on (instance, peer) group_left () max by (instance, peer) (" + sel("hops", one) + "))"),
		},
	}.table("",
		column{field: "protocol", title: "protocol"},
		column{field: value(0), title: "state", unit: states, mappings: byCode(protocolStates()), cell: "color-text"},
		column{field: value(1), title: "answered up to hop", unit: count, decimals: new(0.0)},
		column{field: value(2), title: "the peer is hop", unit: count, decimals: new(0.0)},
	)
}
