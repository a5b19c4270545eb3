package exporter

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/netio"
)

const namespace = "ipsec_path"

// processMetrics are those about the program itself rather than about a peer.
type processMetrics struct {
	registry      *prometheus.Registry
	runs          *prometheus.CounterVec
	errors        *prometheus.CounterVec
	reloadOK      prometheus.Gauge
	reloadSuccess prometheus.Gauge
}

func newProcessMetrics() *processMetrics {
	m := &processMetrics{
		registry: prometheus.NewRegistry(),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "collector_runs_total", Help: "Measurements made, by collector.",
		}, []string{"collector"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "collector_errors_total",
			Help: "Measurements that could not be made, for a reason on this host. No answer from the path is not an error.",
		}, []string{"collector", "reason"}),
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
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector(namespace+"_exporter"),
	)
	for collector, reasons := range errorReasons() {
		m.runs.WithLabelValues(collector)
		for _, reason := range reasons {
			m.errors.WithLabelValues(collector, reason)
		}
	}
	return m
}

// Why a collector that blocks could not measure, and a name not be resolved.
const (
	reasonTimeout     = "timeout"
	reasonAccepted    = "offer_accepted"
	reasonNoPrivilege = "no_privilege"
	reasonNoSocket    = "no_socket"
	reasonLocal       = "local"
	reasonName        = "name"
)

// errorReasons are the reasons for which each collector may fail. Their counters start at 0: one that appeared with its first error
// would hide that error from rate().
func errorReasons() map[string][]string {
	blocking := []string{reasonTimeout, reasonAccepted, reasonNoPrivilege, reasonNoSocket, reasonLocal}
	return map[string][]string{
		collectorICMP:      {icmp.ReasonNotSent, icmp.ReasonTooBig, icmp.ReasonTunnel, icmp.ReasonRoute, icmp.ReasonBusy, icmp.ReasonLocalDrops},
		collectorIKE:       {ike.ReasonNotSent, ike.ReasonTunnel, ike.ReasonRoute},
		collectorPMTU:      blocking,
		collectorFragments: blocking,
		collectorProtocols: blocking,
		collectorResolve:   {reasonName},
	}
}

// loaded notes how a reload went.
func (m *processMetrics) loaded(ok bool) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadSuccess.SetToCurrentTime()
}

// stackMetrics shows what the sockets counted. It asks when it is scraped; asking does no I/O.
type stackMetrics struct {
	stack    *netio.Stack
	accounts map[string]*netio.Account // by collector
	useless  prometheus.Collector      // what the searches rejected

	errors, rejected, drops, stray, delayed, underWay, packets, bytes, capability *prometheus.Desc
}

// newRejected counts the packet-too-big messages that the searches reject. It shares its name with those that netio rejects, so
// it is shown by stackMetrics and not registered.
func newRejected() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "ptb_rejected_total", Help: rejectedHelp,
	}, []string{"reason"})
}

const rejectedHelp = "Packet-too-big messages that were forged or of no use, by reason."

func newStackMetrics(stack *netio.Stack, accounts map[string]*netio.Account, useless prometheus.Collector) *stackMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	}
	return &stackMetrics{
		stack: stack, accounts: accounts, useless: useless,
		errors:   desc("icmp_errors_total", "ICMP errors received that quote a probe of ours, by kind.", "error"),
		rejected: desc("ptb_rejected_total", rejectedHelp, "reason"),
		drops:    desc("local_drops_total", "Answers lost on this host because a socket's receive buffer was full.", "socket"),
		stray:    desc("stray_packets_total", "UDP packets that came to the probes' port and answer no probe."),
		delayed:  desc("pacing_delay_seconds_total", "How long probes have waited for the packet budget, all together."),
		underWay: desc("probes_under_way", "Probes that were sent and are not forgotten yet."),
		packets:  desc("probe_packets_total", "Packets that this exporter put on the wire, by collector.", "collector"),
		bytes:    desc("probe_bytes_total", "Bytes that this exporter put on the wire, IP headers included, by collector.", "collector"),
		capability: desc("capability",
			"What this process may do (1) or not (0); without raw_icmp and raw_ip it runs in a degraded mode.", "name"),
	}
}

// Describe implements prometheus.Collector.
func (m *stackMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.errors, m.rejected, m.drops, m.stray, m.delayed, m.underWay, m.packets, m.bytes, m.capability,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *stackMetrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	s := m.stack.Stats()
	for _, set := range []struct {
		desc   *prometheus.Desc
		counts map[string]uint64
	}{{m.errors, s.Errors}, {m.rejected, s.Rejected}, {m.drops, s.Drops}} {
		for label, n := range set.counts {
			counter(set.desc, float64(n), label)
		}
	}
	m.useless.Collect(ch)
	counter(m.stray, float64(s.Stray))
	counter(m.delayed, s.Delayed.Seconds())
	ch <- prometheus.MustNewConstMetric(m.underWay, prometheus.GaugeValue, float64(s.UnderWay))
	for name, a := range m.accounts {
		counter(m.packets, float64(a.Packets.Load()), name)
		counter(m.bytes, float64(a.Bytes.Load()), name)
	}
	for name, ok := range m.stack.Capabilities() {
		v := 0.0
		if ok {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(m.capability, prometheus.GaugeValue, v, string(name))
	}
}
