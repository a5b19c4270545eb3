package main

import "fmt"

// exporterBoard is about the exporters themselves: whether what the other boards show can be trusted.
func exporterBoard() board {
	return board{
		uid: uidExporter, title: "IPsec path / Exporter", from: "now-6h",
		about:     "The exporters themselves: whether they run and keep to their schedule, what they send, what they could not measure, and what this costs.",
		variables: manyPeers(), annotations: processAnnotations(),
		rows: []row{
			{title: "Now", panels: append(exporterNumbers(), builds(), rights())},
			{title: "Schedule", panels: []panel{lag(), pacing(), late(), searches()}},
			{title: "Measurements", panels: []panel{runs(), failures(), sentPackets(), sentBytes()}},
			{title: "Search for the path MTU", panels: []panel{searchCost(), searchTime(), icmpErrors(), rejected()}},
			{title: "This host", panels: []panel{localDrops(), strays(), underWay(), scrape()}},
			{title: "The process", panels: []panel{cpu(), memory(), goroutines(), files()}},
		},
	}
}

// perInstance gives a panel with one series for each exporter.
func perInstance(title, about, unit, expr string, w uint32) panel {
	return panel{title: title, about: about, unit: unit, w: w, h: 7, min: new(0.0), queries: []query{series("{{instance}}", expr)}, noValue: "no data"}
}

// rateOf is how fast a counter of the process grows.
func rateOf(metric string) string { return "rate(" + sel(metric, process) + "[$__rate_interval])" }

func exporterNumbers() []panel {
	red := limits(good, step{1, bad})
	number := func(title, about, unit, expr string, p panel) panel {
		p.title, p.about, p.unit, p.w, p.h = title, about, unit, 4, 4
		p.queries = []query{latest(title, expr)}
		return p.number()
	}
	up := "up{" + process + "}"
	reload := sel("config_last_reload_successful", process)
	return []panel{
		number("Not scraped", "Exporters that Prometheus could not read last time.", count, countOf(up+" == 0", up), panel{thresholds: red}),
		number("Reload failed", "Exporters whose last reload found a bad configuration: they go on with the old one.", count, countOf(reload+" == 0", reload),
			panel{thresholds: red}),
		number("Rights missing", "Exporters without raw sockets or without the bypass of IPsec policies: they measure less, or through the tunnel.", count,
			countOf("count by (instance) ("+sel("capability", process, `name=~"raw_icmp|raw_ip|policy_bypass"`)+" == 0)", sel("capability", process)),
			panel{thresholds: red}),
		number("Behind schedule", "The most that any exporter's schedule runs late.", seconds, "max("+sel("schedule_lag_seconds", process)+")",
			panel{thresholds: limits(good, step{5, notice}, step{30, bad})}),
		number("Peers not measured in time", "Paths with a collector that is more than three intervals late.", count,
			countOf(sel("peer_overdue_collectors", many)+" > 0", sel("peer_overdue_collectors", many)), panel{thresholds: red}),
		number("Bugs caught", "Measurements that ended in a bug of the exporter, since it started. Worth a report, with the log.", count,
			"sum("+sel("schedule_panics_total", process)+")", panel{thresholds: red}),
	}
}

func builds() panel {
	return panel{
		title: "Exporters", unit: date, w: 14, h: 8, noValue: "none",
		about: "Version, start, and when the configuration was last loaded; the 100 that started last.",
		queries: []query{
			columns("topk(100, max by (instance, version, goversion) (" + sel("exporter_build_info", process) + " * on (job, instance) group_left () process_start_time_seconds{" + process + "})) * 1000"),
			columns("max by (instance) (" + sel("config_last_reload_success_timestamp_seconds", process) + ") * 1000"),
			columns("count by (instance) (" + sel("peer_info", process) + ")"),
		},
	}.table("started",
		column{field: "instance", title: "exporter"}, column{field: "version", title: "version"}, column{field: "goversion", title: "Go"},
		column{field: value(0), title: "started", unit: date}, column{field: value(1), title: "configuration loaded", unit: date},
		column{field: value(2), title: "peers", unit: count, decimals: new(0.0)},
	)
}

func rights() panel {
	return panel{
		title: "What exporters may not do", unit: count, decimals: new(0.0), w: 10, h: 8, min: new(0.0), noValue: "nothing is missing",
		about: "How many exporters lack each capability. Without raw_icmp and raw_ip an exporter runs in a degraded mode; ping_socket is needed only then; ipv6 only " +
			"for IPv6 peers.",
		queries:    []query{latest("{{name}}", "count by (name) ("+sel("capability", process)+" == 0)")},
		thresholds: limits(warning),
	}.bars()
}

func lag() panel {
	return perInstance("How late the schedule runs", "The largest lateness of the last minute or two. It grows when limits are too low for the configured intervals.", seconds,
		sel("schedule_lag_seconds", process), 8).graph()
}

func pacing() panel {
	return perInstance("Waiting for the packet budget", "How long probes wait, all together, per second: the limits stretch the intervals evenly.", seconds,
		rateOf("pacing_delay_seconds_total"), 8).graph()
}

func late() panel {
	return perInstance("Peers not measured in time", "Paths with a collector that is more than three intervals late.", count,
		"count by (instance) ("+sel("peer_overdue_collectors", many)+" > 0) or 0 * count by (instance) ("+sel("peer_overdue_collectors", many)+")", 8).graph()
}

func searches() panel {
	return panel{
		title: "Searches at the same time", unit: count, decimals: new(0.0), w: 24, h: 7, min: new(0.0), noValue: "no data",
		about: "Path MTU measurements that run, and that wait for others to end (limits.searches).",
		queries: []query{
			series("{{instance}}: run", sel("searches_running", process)), series("{{instance}}: wait", sel("searches_waiting", process)),
		},
	}.stepGraph()
}

// byLabel gives a panel with one series for each value of some labels, over all chosen exporters.
func byLabel(title, about, unit, metric, labels, legend string, w uint32) panel {
	p := perInstance(title, about, unit, "sum by ("+labels+") ("+rateOf(metric)+")", w)
	p.queries[0].legend = legend
	return p
}

// grown is byLabel for counters of what should not happen: without those that stood still in the time range.
func grown(title, about, metric, labels, legend string, w uint32) panel {
	p := byLabel(title, about, "ops", metric, labels, legend, w)
	p.queries[0].expr += fmt.Sprintf(" and on (%[1]s) (sum by (%[1]s) (increase(%[2]s[$__range] @ end())) > 0)", labels, sel(metric, process))
	p.noValue = "none in this time"
	return p
}

func runs() panel {
	return byLabel("Measurements", "Measurements per second, by collector.", "ops", "collector_runs_total", "collector", "{{collector}}", 12).graph()
}

func failures() panel {
	return grown("Measurements that could not be made", "Per second, by collector and reason. All reasons are on this host; no answer from the path is not one.", "collector_errors_total", "collector, reason", "{{collector}}: {{reason}}", 12).graph()
}

func sentPackets() panel {
	return byLabel("Packets sent", "Packets per second that the exporters put on the wire, by collector.", perSecond, "probe_packets_total", "collector",
		"{{collector}}", 12).stacked()
}

func sentBytes() panel {
	return byLabel("Bytes sent", "Bytes per second that the exporters put on the wire, IP headers included, by collector.", bytesRate, "probe_bytes_total",
		"collector", "{{collector}}", 12).stacked()
}
