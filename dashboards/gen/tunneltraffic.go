package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Panels of the board of tunnels about single tunnels and what goes through them.

// linksToPeer lead to the board about the peer of a row.
func linksToPeer() []dashboard.DashboardLink {
	return []dashboard.DashboardLink{toPeer("Peer board", uidPeer, ofRow)}
}

func tunnelsDown() panel {
	by := perPeer + ", gateway"
	down := "topk(100, max by (" + by + ", isp, site) (" + sel("tunnel_up", tunnels) + " == 0))"
	why := "max by (" + by + ", isp, site, diagnosis) (" + sel("diagnosis", tunnels) + ")"
	return panel{
		title: "Tunnels that are down", unit: states, w: 14, h: 9, noValue: "none",
		about:   "Expected tunnels without an IKE SA and a child SA, at most 100, with what is known of the reason from the gateway's table: the path may have one, too.",
		queries: []query{columns(fmt.Sprintf("topk(100, (%[1]s and on (%[2]s) %[3]s) or on (%[2]s) %[3]s)", why, by, down))},
	}.table("", column{field: "peer", title: "peer", links: linksToPeer()}, column{field: "gateway", title: "gateway"}, column{field: "isp", title: "provider"},
		column{field: "site", title: "site"}, column{field: "diagnosis", title: "diagnosis", mappings: byValue(diagnoses()), cell: "color-text", width: 380},
		column{field: "instance", title: "read by"},
		column{field: "Value", title: "reason", mappings: byValue([]state{{"0", "not known here", unknown}, {"1", "known", bad}}), cell: "color-text"})
}

func childStates() panel {
	return panel{
		title: "Child SAs by state", unit: count, decimals: new(0.0), w: 10, h: 9, min: new(0.0), noValue: "none",
		about:   "Child (IPsec) SAs at all chosen gateways by class of their state; a gateway that two exporters read counts twice.",
		queries: []query{series("{{state}}", "sum by (state) ("+sel("child_sas", tunnels)+")")},
	}.stacked()
}

// rankedTunnels is a bar for each of the tunnels where something is largest.
func rankedTunnels(title, about, unit, expr string, w uint32) panel {
	return panel{
		title: title, about: about, unit: unit, w: w, h: 9, min: new(0.0), noValue: "none",
		links:   []dashboard.DashboardLink{toPeer("Peer board", uidPeer, ofSeries)},
		queries: []query{latest("{{peer}} at {{gateway}} ({{instance}})", "topk(20, "+expr+")")}, thresholds: limits(warning),
	}.bars()
}

func flapping() panel {
	return rankedTunnels("Tunnels that flap", "The 20 tunnels that went down most often in the time range.", count,
		"round(sum by ("+perPeer+", gateway) (increase("+sel("tunnel_downs_total", tunnels)+"[$__range]))) > 0", 12)
}

// oneWay compares what the SAs sent with what came in.
func oneWay() panel {
	by := perPeer + ", gateway"
	rate := func(direction string) string {
		return fmt.Sprintf("sum by (%s) (rate(%s[5m]))", by, sel("sa_packets_total", tunnels, `direction="`+direction+`"`))
	}
	return rankedTunnels("Packets out and none in", "Tunnels that sent packets in the last five minutes and got none: the 20 with most. Cut off on the way back, or by "+
		"the peer; confirmed as esp_one_way.", perSecond, fmt.Sprintf("(%[1]s > 0) unless on (%[3]s) (%[2]s > 0)", rate("out"), rate("in"), by), 12)
}

func packets() panel {
	p := traffic("Packets through all tunnels", tunnels, "direction", "{{direction}}", 8)
	p.unit, p.about = perSecond, "Packets per second through the SAs, what goes out below zero."
	p.queries = []query{series("{{direction}}", "sum by (direction) (rate("+sel("sa_packets_total", tunnels)+"[$__rate_interval]))")}
	return p
}

func busiest() panel {
	p := rankedTunnels("Busiest tunnels", "The 20 tunnels with most traffic in the last five minutes, both directions together.", bytesRate,
		"sum by ("+perPeer+", gateway) (rate("+sel("sa_bytes_total", tunnels)+"[5m])) > 0", 8)
	p.h, p.thresholds = 7, limits(neutral)
	return p
}

// believed compares the size that a gateway builds packets for with what passes.
func believed() panel {
	by := perPeer + ", gateway"
	believes := "max by (" + by + ") (" + sel("gateway_path_mtu_bytes", tunnels) + ")"
	measured := "min by (" + perPeer + ") (" + sel("mtu_bytes", many) + ")"
	excess := fmt.Sprintf("topk(50, %s - on (%s) group_left () %s > 0)", believes, perPeer, measured)
	among := " and on (" + by + ") " + excess
	return panel{
		title: "Gateways that believe in more than passes", unit: packetSize, decimals: new(0.0), w: 14, h: 9, noValue: "none",
		about:   "The path MTU that a gateway believes, above the smallest that was measured to the same peer: the 50 largest differences. Where packets of that size vanish, the diagnosis is tunnel_oversized.",
		queries: []query{columns(excess), columns(believes + among), columns(believes + " * 0 + on (" + perPeer + ") group_left () " + measured + among)},
	}.table("too large by", column{field: "peer", title: "peer", links: linksToPeer()}, column{field: "gateway", title: "gateway"},
		column{field: value(1), title: "gateway believes", unit: packetSize, decimals: new(0.0)}, column{field: value(2), title: "passes", unit: packetSize, decimals: new(0.0)},
		column{field: value(0), title: "too large by", unit: packetSize, decimals: new(0.0), cell: "color-text", thresholds: limits(warning)},
		column{field: "instance", title: "read by"})
}

func deviceErrors() panel {
	return panel{
		title: "What gateways count as errors", unit: count, w: 10, h: 9, min: new(0.0), noValue: "none",
		about:   "Errors per hour by the gateway's own counters: the 20 kinds that grew most in this time.",
		queries: []query{series("{{gateway}} ({{instance}}): {{kind}}", "rate("+sel("gateway_errors_total", gateways)+"[$__rate_interval]) * 3600 and on (instance, gateway, kind) topk(20, increase("+sel("gateway_errors_total", gateways)+"[$__range] @ end()) > 0)")},
	}.graph()
}
