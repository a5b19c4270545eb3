package exporter

import (
	"github.com/prometheus/client_golang/prometheus"
	process "github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
)

const namespace = "ipsec_path"

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// processMetrics are the metrics about the program itself rather than about a peer.
type processMetrics struct {
	registry                *prometheus.Registry
	runs, errors            *prometheus.CounterVec
	run                     []prometheus.Counter // runs by suite.Collector
	reloadOK, reloadSuccess prometheus.Gauge
}

func newProcessMetrics() *processMetrics {
	m := &processMetrics{
		registry: prometheus.NewRegistry(),
		runs:     counters("collector_runs_total", "Measurements made, by collector.", "collector"),
		errors: counters("collector_errors_total",
			"Measurements that could not be made, for a reason on this host. No answer from the path is not an error.", "collector", "reason"),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_last_reload_successful", Help: "Whether the last reload of the configuration succeeded (1) or not (0).",
		}),
		reloadSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_last_reload_success_timestamp_seconds",
			Help: "When the configuration was last loaded successfully, in seconds since the epoch.",
		}),
	}
	m.registry.MustRegister(
		m.runs, m.errors, m.reloadOK, m.reloadSuccess,
		process.NewGoCollector(),
		process.NewProcessCollector(process.ProcessCollectorOpts{}),
		version.NewCollector(namespace+"_exporter"),
	)
	for collector, reasons := range errorReasons() {
		m.runs.WithLabelValues(collector)
		for _, reason := range reasons {
			m.errors.WithLabelValues(collector, reason)
		}
	}
	for _, c := range suite.All() {
		m.run = append(m.run, m.runs.WithLabelValues(c.String()))
	}
	return m
}

// Why a collector that blocks could not measure, and a name could not be resolved.
const (
	reasonTimeout     = "timeout"
	reasonAccepted    = "offer_accepted"
	reasonNoPrivilege = "no_privilege"
	reasonNoSocket    = "no_socket"
	reasonLocal       = "local"
	reasonName        = "name"
)

// errorReasons returns the reasons for which each collector may fail. Their counters start at 0: a
// counter that appeared with its first error would hide that error from rate().
func errorReasons() map[string][]string {
	all := map[string][]string{collectorResolve: {reasonName}}
	for _, c := range suite.All() {
		all[c.String()] = []string{
			reasonTimeout, reasonAccepted, reasonNoPrivilege, reasonNoSocket, collectors.ReasonBudget, collectors.ReasonQueueFull, collectors.ReasonLocalDrops, reasonLocal,
		}
		if own := c.Spec().Reasons; own != nil {
			all[c.String()] = own
		}
	}
	return all
}

// loaded records whether a reload succeeded.
func (m *processMetrics) loaded(ok bool) {
	m.reloadOK.Set(collectors.Bool(ok))
	if ok {
		m.reloadSuccess.SetToCurrentTime()
	}
}

const rejectedHelp = "Packet-too-big messages that were forged or of no use, by reason."

// newRejected counts the packet-too-big messages that the searches reject. It shares its name with
// the messages that netio rejects, so stackMetrics exposes it and it is not registered.
func newRejected() *prometheus.CounterVec {
	return counters("ptb_rejected_total", rejectedHelp, "reason")
}

// stackMetrics exposes what the sockets counted, and what the searches rejected. A scrape reads the
// counters without I/O.
func stackMetrics(tools *subject.Instruments, rejections prometheus.Collector) prometheus.Collector {
	errors := desc("icmp_errors_total", "ICMP errors received that quote a probe of ours, by kind.", "error")
	rejected := desc("ptb_rejected_total", rejectedHelp, "reason")
	drops := desc("local_drops_total", "Answers lost on this host because a socket's receive buffer was full, or because they were too old when they were read.", "socket")
	standstills := desc("standstills_total", "Times that this program or its host stood still for a second or longer, or that the clock was set. Silence during that time is unknown.")
	queue := desc("queue_drops_total", "Probes that a full queue of this host, as that of a shaper, dropped. They are not counted as sent.")
	stray := desc("stray_packets_total", "UDP packets that came to the probes' port and answer no probe.")
	withheld := desc("probes_withheld_total", "Probes that were not sent because their address stays silent and had been sent enough.")
	delayed := desc("pacing_delay_seconds_total", "How long probes have waited for the packet budget, all together.")
	underWay := desc("probes_under_way", "Probes that were sent and are not forgotten yet.")
	packets := desc("probe_packets_total", "Packets that this exporter put on the wire, by collector.", "collector")
	bytes := desc("probe_bytes_total", "Bytes that this exporter put on the wire, IP headers included, by collector.", "collector")
	capability := desc("capability",
		"What this process may do (1) or not (0); without raw_icmp and raw_ip it runs in a degraded mode.", "name")
	return prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		s := tools.Stack.Stats()
		for d, counts := range map[*prometheus.Desc]map[string]uint64{errors: s.Errors, rejected: s.Rejected, drops: s.Drops} {
			for label, n := range counts {
				counter(ch, d, float64(n), label)
			}
		}
		rejections.Collect(ch)
		counter(ch, queue, float64(s.QueueDrops))
		counter(ch, stray, float64(s.Stray))
		counter(ch, standstills, float64(s.Standstills))
		counter(ch, withheld, float64(tools.Stack.Silence().Withheld()))
		counter(ch, delayed, s.Delayed.Seconds())
		gauge(ch, underWay, float64(s.UnderWay))
		for i := range tools.Accounts {
			a, name := &tools.Accounts[i], suite.Collector(i).String()
			counter(ch, packets, float64(a.Packets.Load()), name)
			counter(ch, bytes, float64(a.Bytes.Load()), name)
		}
		for name, ok := range tools.Stack.Capabilities() {
			gauge(ch, capability, collectors.Bool(ok), string(name))
		}
	})
}

// scheduleMetrics exposes how the schedule goes.
func scheduleMetrics(s *schedule.Scheduler, pages *store.Store) prometheus.Collector {
	lag := desc("schedule_lag_seconds", "How late the schedule runs: the largest lateness of the last minute or two.")
	running := desc("searches_running", "Path MTU measurements that run now.")
	waiting := desc("searches_waiting", "Path MTU measurements that wait for others to end (limits.searches).")
	panics := desc("schedule_panics_total", "Measurements that ended in a bug of this program; the others went on.")
	exposures := desc("exposition_panics_total", "Scrapes of which a collector's series of one peer are missing because of a bug of this program.")
	return prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		stats := s.Stats()
		gauge(ch, lag, s.Lag().Seconds())
		gauge(ch, running, float64(stats.Running))
		gauge(ch, waiting, float64(stats.Waiting))
		counter(ch, panics, float64(stats.Panics))
		counter(ch, exposures, float64(pages.Panics()))
	})
}
