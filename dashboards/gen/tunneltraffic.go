package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Panels of the tunnel board about single tunnels and their traffic.

func linksToPeer() []dashboard.DashboardLink {
	return []dashboard.DashboardLink{toPeer("Peer board", uidPeer, ofRow)}
}

func tunnelsDown() panel {
	by := perPeer + ", gateway"
	down := "topk(100, max by (" + by + ", isp, site) (" + sel("tunnel_up", tunnels) + " == 0))"
	why := "max by (" + by + ", isp, site, diagnosis) (" + sel("diagnosis", tunnels) + ")"
	return panel{
		title: "Tunnels that are down", unit: states, w: 14, h: 9, noValue: "none", known: allGatewaysRead(gateways), unknown: notRead,
		about:   "Expected tunnels without an IKE SA and a child SA, at most 100, with the reason if the gateway's table shows one. The path may have a fault too.",
		queries: []query{columns(fmt.Sprintf(`label_join(topk(100, (%[1]s and on (%[2]s) %[3]s) or on (%[2]s) %[3]s), "meaning", "", "diagnosis")`, why, by, down))},
	}.table("", column{field: "peer", title: "peer", links: linksToPeer(), least: 120}, column{field: "gateway", title: "gateway", width: 90},
		column{field: "isp", title: "provider", width: 80}, column{field: "site", title: "site", width: 80},
		column{field: "diagnosis", title: "diagnosis", mappings: byValue(short(diagnoses())), cell: "color-text", width: 150, links: []dashboard.DashboardLink{runbook()}, tooltip: "meaning"},
		column{field: "meaning", title: "meaning", mappings: byValue(diagnoses()), hidden: true},
		column{field: "instance", title: "read by", width: 120},
		column{field: "Value", title: "reason", mappings: byValue([]state{{"0", "unknown", unknown}, {"1", "known", bad}}), cell: "color-text", width: 80})
}

// sasBy counts the SAs of all chosen tunnels.
func sasBy(labels, metric string, more ...string) string {
	recorded := "sum by (" + labels + ") (" + record(metric+":sum", strings.Join(append([]string{tunnels}, more...), ",")) + ")"
	return fleetwide(tunnels, recorded, func(selected string) string {
		return "sum by (" + labels + ") (" + sel(metric, selected, more...) + ")"
	})
}

func childStates() panel {
	return panel{
		title: "Child SAs by state", unit: count, decimals: new(0.0), w: 12, h: 8, min: new(0.0), noValue: "none known, or the rules are not loaded",
		about:   "Child (IPsec) SAs at all chosen gateways by class of their state; a gateway that two exporters read counts twice.",
		queries: []query{series("{{state}}", sasBy("state", "child_sas"))},
	}.stacked()
}

// rankedTunnels shows a bar for each of the tunnels with the largest values.
func rankedTunnels(title, about, unit, expr string, w uint32) panel {
	return panel{
		title: title, about: about, unit: unit, w: w, h: 9, min: new(0.0), noValue: noneKnown,
		links:   []dashboard.DashboardLink{toPeer("Peer board", uidPeer, ofSeries)},
		queries: []query{latest("{{peer}} at {{gateway}} {{from}}", "sort_desc("+distinct("topk(10, "+expr+")")+")")}, thresholds: limits(neutral),
	}.bars()
}

func flapping() panel {
	return rankedTunnels("Flapping tunnels", "The 10 tunnels that went down most often in the time range.", count,
		"round(sum by ("+perPeer+", gateway) (increase("+sel("tunnel_downs_total", tunnels)+"[$__range]))) > 0", 12)
}

// oneWay compares sent and received packets of the SAs.
func oneWay() panel {
	by := perPeer + ", gateway"
	rate := func(direction string) string {
		return fmt.Sprintf("sum by (%s) (rate(%s[5m]))", by, sel("sa_packets_total", tunnels, `direction="`+direction+`"`))
	}
	return rankedTunnels("Packets out and none in", "Tunnels that sent packets in the last five minutes and received none, the 10 with the highest rate. The loss is on the reverse path or at "+
		"the peer. The confirmed diagnosis is esp_one_way.", perSecond, fmt.Sprintf("(%[1]s > 0) unless on (%[3]s) (%[2]s > 0)", rate("out"), rate("in"), by), 12)
}

// throughTunnels is the rate of bytes or packets through all chosen tunnels.
func throughTunnels(what string) string {
	recorded := "sum by (direction) (" + record("sa_"+what+":rate5m", tunnels) + ")"
	return fleetwide(tunnels, recorded, func(labels string) string {
		return "sum by (direction) (rate(" + sel("sa_"+what+"_total", labels) + "[$__rate_interval]))"
	})
}

// allTraffic is the traffic through all chosen tunnels.
func allTraffic() panel {
	p := traffic("Traffic through all tunnels", tunnels, "direction", "{{direction}}", 8)
	p.about += " " + fromRules
	p.noValue = "no SA, or the rules are not loaded"
	p.queries = []query{series("{{direction}}", throughTunnels("bytes"))}
	return p
}

func packets() panel {
	p := allTraffic()
	p.title, p.unit = "Packets through all tunnels", perSecond
	p.about = "Packets per second through the SAs; outgoing packets are below zero. " + fromRules
	p.queries = []query{series("{{direction}}", throughTunnels("packets"))}
	return p
}

func busiest() panel {
	p := rankedTunnels("Busiest tunnels", "The 10 tunnels with the most traffic in the last five minutes, in both directions.", bytesRate,
		wholeBytes("sum by ("+perPeer+", gateway) (rate("+sel("sa_bytes_total", tunnels)+"[5m]))")+" > 0", 8)
	p.h, p.thresholds = 7, limits(neutral)
	return p
}

// lossiest ranks the tunnels by the loss of their own packets.
func lossiest() panel {
	p := rankedTunnels("Tunnels that lose packets", "The 10 tunnels with the largest share of packets lost on the path to the gateway in the last five minutes, by the sequence "+
		"numbers of their SAs (gateways of type xfrm).", share, "("+lostInside(tunnels, perPeer+", gateway", "5m")+") > 0", 24)
	p.h, p.max = 7, new(1.0)
	return p
}

// oversized compares the path MTU of a gateway with the measured one.
func oversized() panel {
	by := perPeer + ", gateway"
	used := "max by (" + by + ") (" + sel("gateway_path_mtu_bytes", tunnels) + ")"
	measured := "min by (" + perPeer + ") (" + sel("mtu_bytes", many) + ")"
	excess := fmt.Sprintf("topk(50, %s - on (%s) group_left () %s > 0)", used, perPeer, measured)
	among := " and on (" + by + ") " + excess
	return panel{
		title: "Gateways with a path MTU that is too large", unit: packetSize, decimals: new(0.0), w: 14, h: 9, noValue: "none", known: allGatewaysRead(gateways),
		unknown: notRead,
		about:   "Gateways whose path MTU exceeds the smallest measured path MTU to the same peer, the 50 largest differences. If packets of that size vanish, the diagnosis is tunnel_oversized.",
		queries: []query{columns(excess), columns(used + among), columns(used + " * 0 + on (" + perPeer + ") group_left () " + measured + among)},
	}.table("too large by", column{field: "peer", title: "peer", links: linksToPeer(), least: 150}, column{field: "gateway", title: "gateway", width: 110},
		column{field: value(1), title: "gateway uses", unit: packetSize, decimals: new(0.0), width: 120},
		column{field: value(2), title: "path carries", unit: packetSize, decimals: new(0.0), width: 120},
		column{field: value(0), title: "too large by", unit: packetSize, decimals: new(0.0), cell: "color-text", thresholds: limits(warning), width: 120},
		column{field: "instance", title: "read by", width: 130})
}

func deviceErrors() panel {
	return panel{
		title: "Error counters of gateways", unit: count, w: 10, h: 9, min: new(0.0), noValue: noneKnown,
		about:   "Errors per hour by the gateway's own counters, the 20 kinds that grew most in this time.",
		queries: []query{series("{{gateway}} ({{instance}}): {{kind}}", "rate("+sel("gateway_errors_total", gateways)+"[$__rate_interval]) * 3600 and on (instance, gateway, kind) topk(20, increase("+sel("gateway_errors_total", gateways)+"[$__range] @ end()) > 0)")},
	}.graph()
}
