package exporter

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/schedule"
)

// The families about a peer that belong to no single collector.
var (
	familyPeerInfo = &collectors.Family{
		Name:   namespace + "_peer_info",
		Help:   "1 for every peer, with the address that is measured now, its family, and the configured source address or interface.",
		Kind:   collectors.Gauge,
		Labels: []string{"address", "family", "source"},
	}
	familyLastRun = &collectors.Family{
		Name:   namespace + "_collector_last_run_timestamp_seconds",
		Help:   "When a collector last ended a measurement of the peer, in seconds since the epoch.",
		Kind:   collectors.Gauge,
		Labels: []string{"collector"},
	}
	familyOverdue = &collectors.Family{
		Name: namespace + "_peer_overdue_collectors",
		Help: "Enabled collectors of the peer that are more than three intervals late.",
		Kind: collectors.Gauge,
	}
	familyTunnelMTU = &collectors.Family{
		Name: namespace + "_tunnel_mtu_bytes",
		Help: "Recommended MTU of an ESP tunnel to the peer in bytes, computed from the smallest path MTU for the configured cipher.",
		Kind: collectors.Gauge,
	}
	familyTunnelMSS = &collectors.Family{
		Name: namespace + "_tunnel_mss_bytes",
		Help: "Recommended TCP MSS inside an ESP tunnel to the peer in bytes, for IPv4 inside and without TCP options.",
		Kind: collectors.Gauge,
	}
)

// Families are the families about a peer that belong to no single collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyPeerInfo, familyLastRun, familyOverdue, familyTunnelMTU, familyTunnelMSS}
}

// peerExposer shows what the peer is and how its schedule goes.
type peerExposer struct {
	p             *peer
	info, overdue *collectors.Series
	lastRun       map[string]*collectors.Series
}

func newPeerExposer(p *peer) *peerExposer {
	e := &peerExposer{
		p: p, info: p.series.Series(familyPeerInfo, "", "", ""), overdue: p.series.Series(familyOverdue),
		lastRun: make(map[string]*collectors.Series),
	}
	for c := range p.cfg.Collectors.All() {
		e.lastRun[c.String()] = p.series.Series(familyLastRun, c.String())
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *peerExposer) Expose() {
	t := e.p.current()
	e.info.SetLabel("source", source(&e.p.cfg))
	if t.Path.Dst.IsValid() {
		e.info.SetLabel("address", t.Path.Dst.String())
		e.info.SetLabel("family", family(t))
	}
	e.info.Set(1)
	for name, s := range e.lastRun {
		if at := e.p.app.schedule.LastRun(e.p.key(name)); !at.IsZero() {
			s.Set(float64(at.UnixMilli()) / 1e3)
		}
	}
	e.overdue.Set(float64(e.p.app.schedule.Overdue(e.p.cfg.Name)))
}

// family is how an address family is shown.
func family(t collectors.Target) string {
	if t.Path.IPv6() {
		return config.FamilyIP6.String()
	}
	return config.FamilyIP4.String()
}

// source is what was configured about the way out.
func source(p *config.Peer) string {
	var parts []string
	if p.SourceAddress.IsValid() {
		parts = append(parts, p.SourceAddress.String())
	}
	if p.Interface != "" {
		parts = append(parts, p.Interface)
	}
	return strings.Join(parts, "%")
}

// tunnelExposer shows what a tunnel to the peer should be set to.
type tunnelExposer struct {
	p        *peer
	mtu, mss *collectors.Series
}

func newTunnelExposer(p *peer) *tunnelExposer {
	return &tunnelExposer{p: p, mtu: p.series.Series(familyTunnelMTU), mss: p.series.Series(familyTunnelMSS)}
}

// Expose implements collectors.Exposer.
func (e *tunnelExposer) Expose() {
	t, ok := recommend(&e.p.cfg, e.p.current(), e.p.pmtu.Snapshot(), e.p.stories(), time.Now())
	if !ok {
		e.mtu.Clear()
		e.mss.Clear()
		return
	}
	e.mtu.Set(float64(t.MTUBytes))
	e.mss.Set(float64(t.MSSBytes))
}

// scheduleMetrics shows how the schedule goes.
type scheduleMetrics struct {
	schedule      *schedule.Scheduler
	lag, panics   *prometheus.Desc
	tasks, queued *prometheus.Desc
}

func newScheduleMetrics(s *schedule.Scheduler) *scheduleMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
	}
	return &scheduleMetrics{
		schedule: s,
		lag:      desc("schedule_lag_seconds", "How late the schedule runs: the largest lateness of the last minute or two."),
		panics:   desc("schedule_panics_total", "Measurements that ended in a bug of this program; the others went on."),
		tasks:    desc("searches_running", "Path MTU measurements that run now."),
		queued:   desc("searches_waiting", "Path MTU measurements that wait for others to end (limits.searches)."),
	}
}

// Describe implements prometheus.Collector.
func (m *scheduleMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.lag, m.panics, m.tasks, m.queued} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *scheduleMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.schedule.Stats()
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(m.lag, m.schedule.Lag().Seconds())
	gauge(m.tasks, float64(s.Running))
	gauge(m.queued, float64(s.Waiting))
	ch <- prometheus.MustNewConstMetric(m.panics, prometheus.CounterValue, float64(s.Panics))
}
