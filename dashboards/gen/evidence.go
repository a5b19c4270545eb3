package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// evidenceBoard is for the provider's engineer: one path, one time range, no knowledge of the
// exporter required. The facts are in the order of the argument. To print, the exporter has a report.
func evidenceBoard(p exporterPages) board {
	return board{
		uid: uidEvidence, title: "IPsec path / Evidence for the provider", from: "now-24h",
		about: "Evidence of a fault on the path to one VPN gateway, for its provider: the method, the results, the sizes that pass and vanish, " +
			"how far each protocol gets, and the start of the fault.",
		variables: onePeer(), annotations: oneAnnotations(), more: []dashboard.DashboardLink{help(), p.paper()},
		rows: []row{
			{title: "Path from $instance to $peer", panels: []panel{method(), endpoints(), diagnosesOf(p, 24, 6)}},
			{title: "Large packets", panels: []panel{sizes(p), mtuStateSpans(8, 8), pathMTU(24, 9), packetTooBig(12), wayBack()}},
			{title: "Fragments, ports and protocols", panels: []panel{answers(12, 8), protocolSpans(12, 8), reach(12, 7), ikeForms(12, 7)}},
			{title: "Loss and delay", collapsed: true, panels: []panel{echoLoss(9), roundTripQuantiles(one, "to this address").graph()}},
		},
	}
}

// method describes the method. A paragraph is one line, because Grafana may break at a line feed.
func method() panel {
	return words("Method", "Summary of the method; the exporter's documentation has the details.", strings.Join([]string{
		"**Path MTU**: the largest whole IP packet, header included, with DF set, that was *answered*. Methods: **icmp** echo, **ike** an IKE message to UDP 500, **natt** an IKE message to UDP 4500. " +
			"A size counts as lost only in matched pairs: a smaller packet passes and a larger one does not, alternately, until random loss is ruled out. A **black hole** is a path on which " +
			"larger packets vanish and no valid ICMP \"fragmentation needed\" (type 3 code 4; IPv6 \"packet too big\") comes back.",
		"**Fragments**: the same IKE message unfragmented and as two IP fragments, alternately. **Protocols**: packets with a small TTL; a protocol is blocked only if a router prohibits it, " +
			"or if other protocols get further past the same routers. A second measurement confirms each **diagnosis**.",
		"**To print**: the link *Report for the provider* above opens the exporter's report, made for paper (A4). The links at the diagnoses below lead to every probe and answer with its " +
			"time, the routers, and the packets for Wireshark.",
	}, "\n\n"), 12, 8)
}

func endpoints() panel {
	return panel{
		title: "Endpoints", unit: states, w: 12, h: 8, noValue: "not measured",
		about:   "The measured address, and the source address or interface of the probes, if one is configured.",
		queries: []query{columns("max by (instance, peer, address, family, source) (" + sel("peer_info", one) + ")")},
	}.table("",
		column{field: "instance", title: "exporter", width: 140}, column{field: "source", title: "from", width: 110}, column{field: "peer", title: "peer", least: 100},
		column{field: "address", title: "address", width: 120}, column{field: "family", title: "family", width: 60},
		column{field: "Value", title: "configured", width: 90, mappings: byValue([]state{{"1", "yes", unknown}})},
	)
}

// sizes shows the newest result of each method.
func sizes(p exporterPages) panel {
	of := func(metric string) string { return "max by (method) (" + sel(metric, one) + ")" }
	return panel{
		title: "Sizes that pass now", unit: packetSize, decimals: new(0.0), w: 16, h: 8, noValue: "not measured", others: "(" + of("mtu_state") + " or " + of("ike_responding") + ")",
		about: "Largest whole IP packet that is proven to pass, by method, and the fate of larger packets. The exporter's page lists every size that was tried.",
		queries: []query{
			columns(of("mtu_bytes")),
			columns(stateCode("method", "mtu_state", one, mtuStates())),
			columns(of("ike_responding")),
			columns(of("ike_fragments_pass")),
		},
	}.table("",
		column{field: "method", title: "method", links: p.pageLinks(), least: 120},
		mtuColumn(value(0)),
		column{field: value(1), title: "larger packets", width: 130, unit: states, mappings: byCode(mtuStates()), cell: "color-text"},
		column{field: value(2), title: "answers IKE", width: 110, unit: states, mappings: byValue(yesNo("yes", "no")), cell: "color-text"},
		column{field: value(3), title: "fragments", width: 110, unit: states, mappings: byValue(yesNo("pass", "DROPPED")), cell: "color-text"},
	)
}

func wayBack() panel {
	bound := func(metric, name string) string {
		return fmt.Sprintf(`label_replace(%s, "bound", %q, "", "")`, sel(metric, one), name)
	}
	return panel{
		title: "Each direction", unit: packetSize, decimals: new(0.0), w: 12, h: 7, noValue: "unknown",
		about: "Path MTU from the peer to this host, by the size of echo replies: between the lower and the upper line. The upper line exists only if a limit was found. " +
			"Where echoes find a black hole and no IKE message shows its direction, the same of the path to the peer, by the routers that received large packets. " +
			"An exporter at the peer's end shows more.",
		queries: []query{series("{{bound}}", strings.Join([]string{
			bound("mtu_reverse_lower_bytes", "back, at least"), bound("mtu_reverse_upper_bytes", "back, at most"),
			bound("mtu_forward_lower_bytes", "to the peer, at least"), bound("mtu_forward_upper_bytes", "to the peer, at most"),
		}, " or "))},
		overrides: dashed(".*at most$"),
	}.sizeGraph()
}

// reach shows the newest result of each protocol.
func reach(w, h uint32) panel {
	// The code after the codes of the states.
	answering := fmt.Sprintf("max by (protocol) (%d + 0 * (%s >= on (instance, peer) group_left () max by (instance, peer) (%s)))",
		len(protocolStates())+1, sel("protocol_last_hop", one), sel("hops", one))
	return panel{
		title: "How far each protocol gets now", unit: count, w: w, h: h, noValue: "not measured", others: sel("protocol_last_hop", one),
		about: "Highest TTL with which each protocol was answered, and the TTL that reaches the peer. A protocol that is answered at the hop of the peer answers. From the collector protocols.",
		queries: []query{
			columns(stateCode("protocol", "protocol_state", one, protocolStates()) + " or " + answering),
			columns("max by (protocol) (" + sel("protocol_last_hop", one) + ")"),
			columns("max by (protocol) (" + sel("protocol_last_hop", one) + " * 0 + on (instance, peer) group_left () max by (instance, peer) (" + sel("hops", one) + "))"),
		},
	}.table("",
		column{field: "protocol", title: "protocol", least: 120},
		column{field: value(0), title: "state", width: 140, unit: states, mappings: byCode(append(protocolStates(), state{"", "answers", good})), cell: "color-text"},
		column{field: value(1), title: "answered up to hop", unit: count, decimals: new(0.0), width: 150},
		column{field: value(2), title: "hop of the peer", unit: count, decimals: new(0.0), width: 130},
	)
}
