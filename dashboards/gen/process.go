package main

// Panels of the exporters' board about what measuring costs, and about the process.

// cost are the quantiles of a histogram of the process, over half an hour, because searches are few.
func cost(title, about, unit, metric string) panel {
	return panel{
		title: title, about: about, unit: unit, w: 12, h: 7, min: new(0.0), noValue: "no search ended",
		queries: []query{series("median", quantile(0.5, metric, process, "30m")), series("90 %", quantile(0.9, metric, process, "30m"))},
	}.graph()
}

func searchCost() panel {
	return cost("Packets of a search", "Packets sent by one search for a path MTU: half and nine in ten needed at most this many, in half an hour.", count, "mtu_search_packets")
}

func searchTime() panel {
	return cost("Time of a search", "How long one search for a path MTU took: half and nine in ten took at most this, in half an hour.", seconds, "mtu_search_duration_seconds")
}

func icmpErrors() panel {
	return grown("ICMP errors received", "ICMP errors per second that quote a probe, by kind, for all peers of the exporters. ttl_exceeded is wanted: it shows how far probes get.",
		"icmp_errors_total", "error", "{{error}}", 12).graph()
}

func rejected() panel {
	return grown(`"Packet too big" that was not believed`, "Per second, by reason: forged, or of no use. wrong_token and unknown_probe come from somebody who guesses.",
		"ptb_rejected_total", "reason", "{{reason}}", 12).graph()
}

func localDrops() panel {
	return grown("Answers lost on this host", "Per second, by socket: its receive buffer was full. Searches that met this are not counted as loss of the path.", "local_drops_total", "instance, socket", "{{instance}}: {{socket}}", 8).graph()
}

func strays() panel {
	return perInstance("Stray packets", "UDP packets per second that came to the probes' port and answer no probe.", perSecond, rateOf("stray_packets_total"), 8).graph()
}

func underWay() panel {
	return perInstance("Probes under way", "Probes that were sent and are not forgotten yet.", count, sel("probes_under_way", process), 8).graph()
}

func scrape() panel {
	p := perInstance("Scrape", "How long Prometheus took to read the exporter, and how many samples it got.", seconds, "scrape_duration_seconds{"+process+"}", 24)
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
	return perInstance("Goroutines", "Goroutines of the process. They grow with searches that run, and not for ever.", count, "go_goroutines{"+process+"}", 6).graph()
}

func files() panel {
	return perInstance("Open files", "Open file descriptors. Sockets are shared by all peers, so they do not grow with them.", count, "process_open_fds{"+process+"}", 6).graph()
}
