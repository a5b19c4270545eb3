package main

// Panels of the exporter board about the cost of measurements and the process.

// cost shows quantiles of a histogram over half an hour, because searches are rare.
func cost(title, about, unit, metric string) panel {
	return panel{
		title: title, about: about, unit: unit, w: 12, h: 7, min: new(0.0), noValue: "no search ended",
		queries: []query{series("median", quantile(0.5, metric, process, "30m")), series("90 %", quantile(0.9, metric, process, "30m"))},
	}.graph()
}

func searchCost() panel {
	return cost("Packets per search", "Packets per path MTU search: median and 90th percentile of half an hour.", count, "mtu_search_packets")
}

func searchTime() panel {
	return cost("Duration of a search", "Duration of a path MTU search: median and 90th percentile of half an hour.", seconds, "mtu_search_duration_seconds")
}

func icmpErrors() panel {
	return grown("ICMP errors received", "ICMP errors per second that quote a probe, by kind, for all peers of the exporters. ttl_exceeded is expected: it shows how far probes get.",
		"icmp_errors_total", "error", "{{error}}", 12).graph()
}

func rejected() panel {
	return grown(`Rejected "packet too big"`, "Messages per second, by reason: forged or unusable. wrong_token and unknown_probe indicate an attacker who guesses.",
		"ptb_rejected_total", "reason", "{{reason}}", 12).graph()
}

func localDrops() panel {
	p := grown("Packets dropped on this host", "Answers per second, by socket, because its receive buffer was full, probes that a full queue dropped, and standstills of the exporter. None counts as loss of the path.",
		"local_drops_total", "instance, socket", "{{instance}}: {{socket}}", 8)
	p.queries = append(p.queries, series("{{instance}}: full queue", rateOf("queue_drops_total")+" > 0"),
		series("{{instance}}: standstills", rateOf("standstills_total")+" > 0"))
	return p.graph()
}

func strays() panel {
	return perInstance("Stray packets", "UDP packets per second that arrive at the probes' port and answer no probe.", perSecond, rateOf("stray_packets_total"), 8).graph()
}

func withheld() panel {
	return perInstance("Withheld probes", "Probes per second that were not sent because their address stays silent and had been sent enough.", perSecond, rateOf("probes_withheld_total"), 24).graph()
}

func underWay() panel {
	return perInstance("Probes in flight", "Probes that were sent and are still tracked.", count, sel("probes_under_way", process), 8).graph()
}

func scrape() panel {
	p := perInstance("Scrape", "Duration of the scrape, and number of samples.", seconds, "scrape_duration_seconds{"+process+"}", 24)
	p.queries[0].legend = "{{instance}}: time"
	p.queries = append(p.queries, series("{{instance}}: samples", "scrape_samples_scraped{"+process+"}"))
	p.overrides = rightAxis(".*samples$", count)
	return p.graph()
}

func cpu() panel {
	return perInstance("CPU", "Share of one core.", share, "rate(process_cpu_seconds_total{"+process+"}[$__rate_interval])", 6).graph()
}

func memory() panel {
	return perInstance("Memory", "Resident memory.", "bytes", "process_resident_memory_bytes{"+process+"}", 6).graph()
}

func goroutines() panel {
	return perInstance("Goroutines", "Goroutines of the process. They grow with the number of running searches only.", count, "go_goroutines{"+process+"}", 6).graph()
}

func files() panel {
	return perInstance("Open files", "Open file descriptors. All peers share the sockets, so the number does not grow with the peers.", count, "process_open_fds{"+process+"}", 6).graph()
}
