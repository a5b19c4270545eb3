package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// peerSAs are panels about the SAs of one peer at every gateway.
func peerSAs() []panel {
	return []panel{
		panel{
			title: "Tunnel", unit: states, w: 8, h: 7, noValue: "expected at no gateway", known: allGatewaysRead(process),
			unknown:  notRead,
			about:    "Whether an IKE SA is established and a child SA installed, at each gateway where the peer is expected.",
			queries:  []query{series("{{gateway}}", sel("tunnel_up", one))},
			mappings: byValue(yesNo("up", "DOWN")),
		}.timeline("gateway"),
		panel{
			title: "IKE SAs by state", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: noneKnown,
			about:   "IKE SAs with the peer by class of their state. connecting, xauth and modecfg are transient; an SA that stays in one of them is stuck.",
			queries: []query{series("{{gateway}}: {{state}}, IKEv{{version}}", sel("ike_sas", one))},
		}.stacked(),
		panel{
			title: "Vendor state of IKE SAs", unit: count, decimals: new(0.0), w: 8, h: 7, noValue: "none", known: allGatewaysRead(process),
			unknown: notRead,
			about:   "IKE SAs with the peer by the gateway's own name of their state. docs/ike-states.md explains the states of Cisco devices.",
			queries: []query{series("{{gateway}} {{vendor_state}}", sel("ike_sas_vendor_state", one))},
		}.timeline("gateway"),
		panel{
			title: "Child SAs by state", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: noneKnown,
			about:   "Child (IPsec) SAs with the peer by class of their state.",
			queries: []query{series("{{gateway}}: {{state}}", sel("child_sas", one))},
		}.stacked(),
		traffic("Traffic through the tunnel", one, "gateway, direction", "{{gateway}}: {{direction}}", 8),
		panel{
			title: "Tunnel changes", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: "not monitored",
			about: "How often the tunnel went up and down within an hour.",
			queries: []query{
				series("{{gateway}}: up", "increase("+sel("tunnel_ups_total", one)+"[1h])"),
				series("{{gateway}}: down", "increase("+sel("tunnel_downs_total", one)+"[1h])"),
			},
		}.graph(),
		tunnelLoss("ESP lost before it arrives", one, "gateway", "{{gateway}}", 12),
		panel{
			title: "ESP refused on arrival", unit: perSecond, w: 12, h: 7, min: new(0.0), noValue: "not counted",
			about: "Packets of the peer that an SA did not accept: duplicates, packets older than the replay window, failed integrity checks. receive is the device's own sum.",
			queries: []query{
				series("{{gateway}}: {{kind}}", "rate("+sel("sa_receive_errors_total", one)+"[$__rate_interval])"),
			},
		}.graph(),
	}
}

// insidePath are panels about the addresses behind the tunnel.
func insidePath() []panel {
	const why = "no address in `inside` of the peer"
	return []panel{
		panel{
			title: "Answers inside the tunnel", unit: states, w: 8, h: 7, noValue: why,
			about:    "Whether each address behind the tunnel answers echo or TCP.",
			queries:  []query{series("{{target}}", "min_over_time("+sel("inside_reachable", one)+"[$__rate_interval])")},
			mappings: byValue(yesNo("yes", "no")),
		}.timeline("target"),
		panel{
			title: "Sizes inside the tunnel", unit: packetSize, decimals: new(0.0), w: 8, h: 7, noValue: why,
			about: "Largest packet that passes the tunnel, before encryption, and the TCP MSS that arrives here. The MSS and its headers (40 bytes, IPv6 60) have to fit. " +
				"Computed: what fits into the measured path with the configured cipher.",
			queries: []query{
				series("{{target}}: path MTU", sel("inside_mtu_bytes", one)), series("{{target}}: MSS", sel("inside_mss_bytes", one)),
				series("computed: tunnel MTU", sel("tunnel_mtu_bytes", one)+" and on (peer) "+sel("inside_reachable", one)),
			},
		}.graph(),
		panel{
			title: "Round trip inside", unit: seconds, w: 4, h: 7, min: new(0.0), noValue: why,
			about:   "Shortest round trip of echo in each round.",
			queries: []query{series("{{target}}", sel("inside_round_trip_seconds", one))},
		}.graph(),
		panel{
			title: "Loss inside", unit: share, w: 4, h: 7, min: new(0.0), max: new(1.0), noValue: why,
			about:   "Share of the echo requests through the tunnel without an answer, over 15 minutes.",
			queries: []query{series("{{target}}", "1 - rate("+sel("inside_replies_total", one)+"[15m]) / (rate("+sel("inside_requests_total", one)+"[15m]) > 0)")},
		}.graph(),
	}
}

// lostInside is the share of the packets to a gateway that were lost on the way, by labels.
func lostInside(labels, groups, window string) string {
	missing := "sum by (" + groups + ") (rate(" + sel("sa_lost_packets_total", labels) + "[" + window + "]))"
	arrived := "sum by (" + groups + ") (rate(" + sel("sa_packets_total", labels, `direction="in"`) + "[" + window + "]))"
	return missing + " / (" + missing + " + " + arrived + " > 0)"
}

// tunnelLoss is the loss of the tunnel's own packets.
func tunnelLoss(title, labels, groups, legend string, w uint32) panel {
	return panel{
		title: title, unit: share, w: w, h: 7, min: new(0.0), noValue: "no traffic, or not counted",
		about: "Share of the peer's ESP and AH packets that were lost on the path to the gateway, by the sequence numbers of the SAs (gateways of type xfrm). " +
			"A path that loses everything shows nothing here, because no number arrives.",
		queries: []query{series(legend, lostInside(labels, groups, "$__rate_interval"))},
	}.graph()
}

// traffic is the traffic through SAs; outgoing traffic is below zero.
func traffic(title, labels, groups, legend string, w uint32) panel {
	return panel{
		title: title, unit: bytesRate, w: w, h: 7, noValue: "no SA",
		about:   "Bytes per second through the SAs; outgoing traffic is below zero. If one direction is missing, the tunnel works in one direction only.",
		queries: []query{series(legend, wholeBytes("sum by ("+groups+") (rate("+sel("sa_bytes_total", labels)+"[$__rate_interval]))"))},
		overrides: []dashboard.DashboardFieldConfigSourceOverrides{{
			Matcher:    dashboard.MatcherConfig{Id: "byRegexp", Options: ".*out$"},
			Properties: []dashboard.DynamicConfigValue{{Id: "custom.transform", Value: "negative-Y"}},
		}},
	}.graph()
}
