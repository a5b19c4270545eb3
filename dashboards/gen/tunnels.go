package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func tunnelsBoard() board {
	return board{
		uid: uidTunnels, title: "IPsec path / Tunnels and gateways", from: "now-6h",
		about:     "The SA tables of the gateways: tunnels, IKE and child SAs by state, traffic, flaps, and the path MTU that each gateway uses.",
		variables: manyPeers(gatewayVariable()), annotations: manyAnnotations(), more: []dashboard.DashboardLink{help()},
		rows: []row{
			{title: "Gateways", panels: append(tunnelNumbers(), gatewayTable(), gatewaysUp())},
			{title: "Unfinished and down", panels: []panel{tunnelsDown(), unfinished(), oneWay(), flapping()}},
			{title: "Path MTU of gateways", panels: []panel{oversized(), deviceErrors()}},
			{title: "SAs by state", collapsed: true, panels: []panel{ikeStates(), vendorWords(), childStates(), youngest(), sessions()}},
			{title: "Traffic", collapsed: true, panels: []panel{allTraffic(), packets(), busiest(), lossiest()}},
		},
	}
}

func tunnelNumbers() []panel {
	red := limits(good, step{1, bad})
	number := func(title, about, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, count, 4, 4
		// Without a gateway there is nothing to count, which is known if an exporter is.
		p.queries = []query{latest(title, expr+" or on () "+nothingHere+" + 0 * count("+sel("peer_info", process)+")")}
		p.mappings, p.noValue = byValue([]state{{nothingHere, "no gateway", unknown}}), "unknown"
		return p.number()
	}
	up := sel("tunnel_up", tunnels)
	holds := func(names string) string {
		return countOf(sel("diagnosis", tunnels, `diagnosis=~"`+names+`"`), sel("gateway_up", gateways))
	}
	return []panel{
		number("Gateways not read", "Gateways whose SA table could not be read; the state of their tunnels is unknown.",
			countOf(sel("gateway_up", gateways)+" == 0", sel("gateway_up", gateways)), panel{thresholds: red}),
		number("Tunnels up", "Expected tunnels with an IKE SA and a child SA.", countOf(up+" == 1", up), panel{}),
		number("Tunnels down", "Expected tunnels without an IKE SA and a child SA. An idle tunnel on demand is not a fault.", countOf(up+" == 0", up),
			panel{thresholds: limits(good, step{1, warning})}),
		number("Stuck negotiations", "Negotiations that do not complete (negotiation_stuck).", holds("negotiation_stuck"), panel{thresholds: red}),
		number("Other faults", "no_sa, child_missing and esp_one_way.", holds("no_sa|child_missing|esp_one_way"),
			panel{thresholds: red}),
		number("Oversized", "Gateways that build packets that are too large for the path to a peer (tunnel_oversized).", holds("tunnel_oversized"),
			panel{thresholds: red}),
	}
}

func gatewayTable() panel {
	by := "instance, gateway"
	return panel{
		title: "Gateways", unit: count, w: 14, h: 8, noValue: "none configured: see docs/gateways.md", known: sel("peer_info", process),
		about: "The 50 worst gateways: unreadable gateways first. Please report lines that were not parsed if they concern SAs.",
		queries: []query{
			columns(fmt.Sprintf("topk(50, 1 - (max by (%[1]s, type, version) (%[2]s * on (%[1]s) group_right () %[3]s) or on (%[1]s) max by (%[1]s) (%[2]s)))",
				by, sel("gateway_up", gateways), sel("gateway_info", gateways))),
			columns("max by (" + by + ") (" + sel("gateway_read_duration_seconds", gateways) + ")"),
			columns("max by (" + by + ") (" + sel("gateway_unparsed_lines", gateways) + ")"),
		},
	}.table("SA table",
		column{field: "gateway", title: "gateway", least: 120}, column{field: "type", title: "type", width: 100}, column{field: "version", title: "version", width: 80},
		column{field: "instance", title: "read by", width: 150},
		column{field: value(0), title: "SA table", unit: states, mappings: byValue([]state{{"0", "read", good}, {"1", "NOT READ", bad}}), cell: "color-text", width: 100},
		column{field: value(1), title: "read in", unit: seconds, decimals: new(2.0), width: 90},
		column{field: value(2), title: "not parsed", unit: count, decimals: new(0.0), cell: "color-text", thresholds: limits(unknown, step{1, notice}), width: 100},
	)
}

func gatewaysUp() panel {
	up := sel("gateway_up", gateways)
	return panel{
		title: "Failed readings", unit: share, w: 10, h: 8, min: new(0.0), max: new(1.0), noValue: noneKnown,
		about:   "Share of failed readings in the last 15 minutes, of the 20 gateways with most failures in this time.",
		queries: []query{series("{{gateway}} ({{instance}})", "1 - avg_over_time("+up+"[15m]) and on (instance, gateway) topk(20, 1 - avg_over_time("+up+"[$__range] @ end()) > 0)")},
	}.graph()
}

func sessions() panel {
	return panel{
		title: "Sessions by the gateways' own counters", unit: count, decimals: new(0.0), w: 24, h: 7, min: new(0.0), noValue: "no session counters",
		about:   "Active VPN sessions by the gateway's own kinds, the 20 largest of this time. Some kinds include others.",
		queries: []query{series("{{gateway}} ({{instance}}): {{kind}}", topOfRange(20, "instance, gateway, kind", sel("gateway_sessions", gateways)))},
	}.stepGraph()
}

// topOfRange keeps the series with the highest average over the time range.
func topOfRange(n int, by, metric string) string {
	return fmt.Sprintf("max by (%[1]s) (%[2]s) and on (%[1]s) topk(%[3]d, max by (%[1]s) (avg_over_time(%[2]s[$__range] @ end())))", by, metric, n)
}

func ikeStates() panel {
	return panel{
		title: "Unfinished IKE SAs", unit: count, decimals: new(0.0), w: 12, h: 8, min: new(0.0), noValue: "none known, or the rules are not loaded",
		about:   "IKE SAs that are not established, at all chosen gateways by class of their state; a gateway that two exporters read counts twice. A growing number of connecting, xauth or modecfg means that negotiations hang.",
		queries: []query{series("{{state}}, IKEv{{version}}", sasBy("state, version", "ike_sas", `state!="established"`))},
	}.stacked()
}

// unfinished ranks SAs that are not yet established.
func unfinished() panel {
	in := sel("ike_sas", tunnels, `state=~"connecting|xauth|modecfg"`, `peer!="_unmatched"`)
	sum := "sum by (" + perPeer + ", gateway, state) (" + in + ")"
	ranking := "sum by (" + perPeer + ", gateway, state) (sum_over_time(" + in + "[$__range] @ end()))"
	return panel{
		title: "Long negotiations", unit: count, w: 10, h: 9, noValue: "none", known: allGatewaysRead(gateways), unknown: notRead,
		about:   "Of known peers, the 20 peers with the most time in a state before established. A span as long as the panel is a negotiation that hangs in that state.",
		queries: []query{series("{{peer}} {{gateway}} {{from}} {{state}}", distinctOverTime(perPeer+", gateway, state", sum+" and on ("+perPeer+", gateway, state) topk(20, "+ranking+")"))},
	}.timeline("peer")
}

func vendorWords() panel {
	return panel{
		title: "Vendor states of IKE SAs", unit: count, decimals: new(0.0), w: 12, h: 8, min: new(0.0), noValue: noneKnown,
		about: "IKE SAs that are not established, by the gateway's own name of their state, the 10 most frequent. docs/ike-states.md explains the states of Cisco devices.",
		queries: []query{latest("{{vendor_state}} at {{gateway}}", "topk(10, sum by (gateway, vendor_state) ("+
			sel("ike_sas_vendor_state", tunnels, `vendor_state!~"(?i:.*established.*|.*active|ready|qm_idle)"`)+"))")},
	}.bars()
}

func youngest() panel {
	return panel{
		title: "Newest IKE SAs", unit: ago, w: 12, h: 8, noValue: "none", known: allGatewaysRead(gateways), unknown: notRead,
		about:   "The 50 most recently established IKE SAs. The same time for all SAs means that the gateway or its uplink was down.",
		queries: []query{columns("topk(50, max by (" + perPeer + ", gateway) (" + sel("ike_sa_established_timestamp_seconds", tunnels) + ")) * 1000")},
	}.table("established", column{field: "Value", title: "established", unit: ago, width: 130}, column{field: "peer", title: "peer", links: linksToPeer(), least: 150},
		column{field: "gateway", title: "gateway", width: 140}, column{field: "instance", title: "read by", width: 160})
}
