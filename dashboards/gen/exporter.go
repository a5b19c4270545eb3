package main

import "fmt"

// exporterBoard shows whether the data of the other boards can be trusted.
func exporterBoard() board {
	return board{
		uid: uidExporter, title: "IPsec path / Exporter", from: "now-6h",
		about:     "The exporters: health, schedule, traffic, failed measurements and resource use.",
		variables: manyPeers(), annotations: processAnnotations(),
		rows: []row{
			{title: "Now", panels: append(exporterNumbers(), builds(), rights())},
			{title: "Schedule", panels: []panel{lag(), pacing(), late(), searches()}},
			{title: "Measurements", panels: []panel{runs(), failures(), sentPackets(), sentBytes()}},
			{title: "Path MTU search", collapsed: true, panels: []panel{searchCost(), searchTime(), icmpErrors(), rejected()}},
			{title: "Shards, peer files and requests", collapsed: true, panels: []panel{shards(), peerFiles(), requests()}},
			{title: "This host", collapsed: true, panels: []panel{localDrops(), strays(), underWay(), withheld(), scrape()}},
			{title: "The process", collapsed: true, panels: []panel{cpu(), memory(), goroutines(), files()}},
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
		number("Not scraped", "Exporters whose last scrape failed.", count, countOf(up+" == 0", up), panel{thresholds: red}),
		number("Reload failed", "Exporters whose last reload failed; they keep the current configuration.", count, countOf(reload+" == 0", reload),
			panel{thresholds: red}),
		number("Missing privileges", "Exporters without raw sockets or without the bypass of IPsec policies; they run with reduced capabilities.", count,
			countOf("count by (instance) ("+sel("capability", process, `name=~"raw_icmp|raw_ip|policy_bypass"`)+" == 0)", sel("capability", process)),
			panel{thresholds: red}),
		number("Behind schedule", "The largest schedule lag of any exporter.", age, "max("+sel("schedule_lag_seconds", process)+")",
			panel{thresholds: limits(good, step{5, notice}, step{30, bad})}),
		number("Peers not in time", "Paths with a collector that is more than three intervals late.", count,
			countOf(sel("peer_overdue_collectors", many)+" > 0", sel("peer_overdue_collectors", many)), panel{thresholds: red}),
		number("Panics", "Measurements that ended in a panic since the start of the exporter. Please report them with the log.", count,
			"sum("+sel("schedule_panics_total", process)+")", panel{thresholds: red}),
	}
}

func builds() panel {
	return panel{
		title: "Exporters", unit: date, w: 14, h: 8, noValue: "unknown",
		about: "Version, start time and time of the last configuration load, of the 100 exporters that started last.",
		queries: []query{
			columns("topk(100, max by (instance, version, goversion) (" + sel("exporter_build_info", process) + " * on (job, instance) group_left () process_start_time_seconds{" + process + "})) * 1000"),
			columns("max by (instance) (" + sel("config_last_reload_success_timestamp_seconds", process) + ") * 1000"),
			columns("count by (instance) (" + sel("peer_info", process) + ")"),
		},
	}.table("started",
		column{field: "instance", title: "exporter", least: 130}, column{field: "version", title: "version", width: 80}, column{field: "goversion", title: "Go", width: 80},
		column{field: value(0), title: "started", unit: date, width: 170}, column{field: value(1), title: "configuration loaded", unit: date, width: 170},
		column{field: value(2), title: "peers", unit: count, decimals: new(0.0), width: 70},
	)
}

func rights() panel {
	return panel{
		title: "Missing capabilities", unit: count, decimals: new(0.0), w: 10, h: 8, min: new(0.0), noValue: noneKnown,
		about: "Number of exporters without each capability. Without raw_icmp and raw_ip an exporter runs with reduced capabilities; only then it needs ping_socket. ipv6 is needed only " +
			"for IPv6 peers.",
		queries:    []query{latest("{{name}}", "count by (name) ("+sel("capability", process)+" == 0)")},
		thresholds: limits(warning),
	}.bars()
}

func lag() panel {
	return perInstance("Schedule lag", "The largest lag of the last one to two minutes. It grows if the limits are too low for the configured intervals.", age,
		sel("schedule_lag_seconds", process), 8).graph()
}

func pacing() panel {
	return perInstance("Waiting for the packet budget", "Total waiting time of probes per second. The limits stretch all intervals evenly.", seconds,
		rateOf("pacing_delay_seconds_total"), 8).graph()
}

func late() panel {
	return perInstance("Peers not measured in time", "Paths with a collector that is more than three intervals late.", count,
		fleetwide(many, "sum by (instance) ("+record("peer_overdue_collectors:peers", many)+")", func(labels string) string {
			return "sum by (instance) (" + sel("peer_overdue_collectors", labels) + " > bool 0)"
		}), 8).graph()
}

func searches() panel {
	return panel{
		title: "Concurrent searches", unit: count, decimals: new(0.0), w: 24, h: 7, min: new(0.0), noValue: "no data",
		about: "Path MTU measurements that are running, and that wait for a free slot (limits.searches).",
		queries: []query{
			series("{{instance}}: running", sel("searches_running", process)), series("{{instance}}: waiting", sel("searches_waiting", process)),
		},
	}.stepGraph()
}

// byLabel returns a panel with one series for each value of the labels, over all selected
// exporters.
func byLabel(title, about, unit, metric, labels, legend string, w uint32) panel {
	p := perInstance(title, about, unit, "sum by ("+labels+") ("+rateOf(metric)+")", w)
	p.queries[0].legend = legend
	return p
}

// grown is byLabel for counters of faults, without counters that did not grow in the time range.
func grown(title, about, metric, labels, legend string, w uint32) panel {
	p := byLabel(title, about, perSecond, metric, labels, legend, w)
	p.queries[0].expr += fmt.Sprintf(" and on (%[1]s) (sum by (%[1]s) (increase(%[2]s[$__range] @ end())) > 0)", labels, sel(metric, process))
	p.noValue = "none known in this time"
	return p
}

func shards() panel {
	return panel{
		title: "Shards", unit: count, decimals: new(0.0), w: 9, h: 7, noValue: "unknown", others: sel("peer_info", process),
		about: "The shard of each exporter, the number of shards, and how many of the configured peers each measures and leaves to others.",
		queries: []query{
			columns("max by (instance, shard) (" + sel("shard_info", process) + " * on (job, instance) group_left () " + sel("shards", process) + ")"),
			columns("count by (instance) (" + sel("peer_info", process) + ")"),
			columns("max by (instance) (" + sel("shard_other_peers", process) + ")"),
		},
	}.table("shard",
		column{field: "instance", title: "exporter", least: 130}, column{field: "shard", title: "shard", width: 60},
		column{field: value(0), title: "shards", unit: count, decimals: new(0.0), width: 70}, column{field: value(1), title: "peers", unit: count, decimals: new(0.0), width: 70},
		column{field: value(2), title: "of others", unit: count, decimals: new(0.0), width: 90},
	)
}

func peerFiles() panel {
	return panel{
		title: "Broken peer files", unit: count, decimals: new(0.0), w: 8, h: 7, noValue: "none", known: sel("exporter_build_info", process),
		about: "Files of peer_files whose newest content is not in use, and the peers of their last good content.",
		queries: []query{
			columns("topk(100, max by (instance, file) (" + sel("peer_file_peers", process) + " and on (job, instance, file) " + sel("peer_file_valid", process) + " == 0))"),
		},
	}.table("file",
		column{field: "instance", title: "exporter", width: 140}, column{field: "file", title: "file", least: 150},
		column{field: "Value", title: "peers", unit: count, decimals: new(0.0), width: 70},
	)
}

func requests() panel {
	return byLabel("Requests of /probe", "Requests per second, by how they end.", perSecond, "probe_requests_total", "result", "{{result}}", 7).graph()
}

func runs() panel {
	return byLabel("Measurements", "Measurements per second, by collector.", perSecond, "collector_runs_total", "collector", "{{collector}}", 12).graph()
}

func failures() panel {
	return grown("Failed measurements", "Failures per second, by collector and reason. All reasons are on this host; silence of the path is not a failure.", "collector_errors_total", "collector, reason", "{{collector}}: {{reason}}", 12).graph()
}

func sentPackets() panel {
	return byLabel("Packets sent", "Packets per second that the exporters send, by collector.", perSecond, "probe_packets_total", "collector",
		"{{collector}}", 12).stacked()
}

func sentBytes() panel {
	p := byLabel("Bytes sent", "Bytes per second that the exporters send, IP headers included, by collector.", bytesRate, "probe_bytes_total",
		"collector", "{{collector}}", 12)
	p.queries[0].expr = wholeBytes(p.queries[0].expr)
	return p.stacked()
}
