package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// peerSAs are panels about the SAs of one peer, at every gateway that has any.
func peerSAs() []panel {
	return []panel{
		panel{
			title: "Tunnel", unit: states, w: 8, h: 7, noValue: "expected at no gateway",
			about:    "Whether an IKE SA is established and a child SA installed, at each gateway where the peer is expected.",
			queries:  []query{series("{{gateway}}", sel("tunnel_up", one))},
			mappings: byValue(yesNo("up", "DOWN")),
		}.timeline(),
		panel{
			title: "IKE SAs by state", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: "none",
			about:   "IKE SAs with the peer by class of their state. connecting, xauth and modecfg are on the way; one that stays there is stuck.",
			queries: []query{series("{{gateway}}: {{state}}, IKEv{{version}}", sel("ike_sas", one))},
		}.stacked(),
		panel{
			title: "The gateway's own word for the state", unit: count, decimals: new(0.0), w: 8, h: 7, noValue: "none",
			about:   "IKE SAs with the peer by what the gateway calls their state: a row for each that was seen. What Cisco's words mean is in docs/ike-states.md.",
			queries: []query{series("{{gateway}}: {{vendor_state}}", sel("ike_sas_vendor_state", one))},
		}.timeline(),
		panel{
			title: "Child SAs by state", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: "none",
			about:   "Child (IPsec) SAs with the peer by class of their state.",
			queries: []query{series("{{gateway}}: {{state}}", sel("child_sas", one))},
		}.stacked(),
		traffic("Traffic through the tunnel", one, "gateway, direction", "{{gateway}}: {{direction}}", 8),
		panel{
			title: "Ups and downs", unit: count, decimals: new(0.0), w: 8, h: 7, min: new(0.0), noValue: "not watched",
			about: "How often the tunnel came up and went down within an hour.",
			queries: []query{
				series("{{gateway}}: up", "increase("+sel("tunnel_ups_total", one)+"[1h])"),
				series("{{gateway}}: down", "increase("+sel("tunnel_downs_total", one)+"[1h])"),
			},
		}.graph(),
	}
}

// traffic is what goes through SAs; out is drawn below zero.
func traffic(title, labels, groups, legend string, w uint32) panel {
	return panel{
		title: title, unit: bytesRate, w: w, h: 7, noValue: "no SA",
		about:   "Bytes per second through the SAs, what goes out below zero. Only one of the two: the tunnel works in one direction.",
		queries: []query{series(legend, "sum by ("+groups+") (rate("+sel("sa_bytes_total", labels)+"[$__rate_interval]))")},
		overrides: []dashboard.DashboardFieldConfigSourceOverrides{{
			Matcher:    dashboard.MatcherConfig{Id: "byRegexp", Options: ".*out$"},
			Properties: []dashboard.DynamicConfigValue{{Id: "custom.transform", Value: "negative-Y"}},
		}},
	}.graph()
}
