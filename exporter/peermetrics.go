package exporter

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
)

var (
	familyPeerInfo = collectors.GaugeFamily(namespace+"_peer_info",
		"1 for every peer, with the address that is measured now, its family, and the configured source address or interface.").
		WithVarying("address", "family", "source")
	familyLastRun = collectors.GaugeFamily(namespace+"_collector_last_run_timestamp_seconds",
		"When a collector last ended a measurement of the peer, in seconds since the epoch.", "collector")
	familyOverdue = collectors.GaugeFamily(namespace+"_peer_overdue_collectors",
		"Enabled collectors of the peer that are more than three intervals late.")
	familyBackoff = collectors.GaugeFamily(namespace+"_probe_backoff_seconds",
		"Time between the last probe of a collector to the peer and the next one, in seconds, while the peer stays silent and is asked less often; absent at full pace.", "collector")
	familyTunnelMTU = collectors.GaugeFamily(namespace+"_tunnel_mtu_bytes",
		"Recommended MTU of an ESP tunnel to the peer in bytes, computed from the smallest path MTU for the configured cipher.")
	familyTunnelMSS = collectors.GaugeFamily(namespace+"_tunnel_mss_bytes",
		"Recommended TCP MSS inside an ESP tunnel to the peer in bytes, for IPv4 inside and without TCP options.")
)

// Families returns the families about a peer that belong to no single collector.
func Families() []*collectors.Family {
	return []*collectors.Family{familyPeerInfo, familyLastRun, familyOverdue, familyBackoff, familyTunnelMTU, familyTunnelMSS}
}

// expose makes the peer's series, only of its configured collectors.
func (p *peer) expose() {
	p.series.Attach(newPeerExposer(p))
	for c := range p.Config.Collectors.All() {
		p.series.Attach(p.Expose(c, p.series, p.Config.Intervals[c]))
	}
	if p.Config.Collectors.Has(suite.PMTU) {
		p.series.Attach(&tunnelExposer{p.Subject, p.series.Series(familyTunnelMTU), p.series.Series(familyTunnelMSS)})
	}
	p.diagnoses = diagnosis.NewMetrics(p.series, &p.Tracker)
	p.series.Attach(p.diagnoses)
}

// peerExposer exposes what the peer is and how its schedule goes.
type peerExposer struct {
	p          *peer
	what       infoSeries
	overdue    collectors.Series
	collectors [len(suite.Intervals{})]collectorSeries // zero for those that do not run
}

type collectorSeries struct{ lastRun, backoff collectors.Series }

func newPeerExposer(p *peer) *peerExposer {
	e := &peerExposer{
		p: p, what: newInfoSeries(p.Subject, p.series), overdue: p.series.Series(familyOverdue),
	}
	for c := range p.Config.Collectors.All() {
		e.collectors[c] = collectorSeries{p.series.Series(familyLastRun, c.String()), p.series.Series(familyBackoff, c.String())}
	}
	return e
}

// Expose implements collectors.Exposer.
func (e *peerExposer) Expose(to collectors.Row, _ time.Time) {
	e.what.expose(to)
	for c := range e.p.Config.Collectors.All() {
		at, pause := e.p.app.schedule.LastRun(e.p.rounds.key(c.String())), e.p.Backoff(c)
		to.SetIf(e.collectors[c].lastRun, !at.IsZero(), float64(at.UnixMilli())/1e3)
		to.SetIf(e.collectors[c].backoff, pause > 0, pause.Seconds())
	}
	to.Set(e.overdue, float64(e.p.app.schedule.Overdue(e.p.Config.Name)))
}

// infoSeries is the series of what a subject is. Its texts are made once.
type infoSeries struct {
	s               *subject.Subject
	info            collectors.Series
	source, address string
	addr            netip.Addr // of address
}

func newInfoSeries(s *subject.Subject, to collectors.Scope) infoSeries {
	return infoSeries{s: s, info: to.Series(familyPeerInfo), source: subject.Via(s.Config)}
}

func (e *infoSeries) expose(to collectors.Row) {
	to.Set(e.info, 1)
	to.SetLabel(e.info, "source", e.source)
	if t := e.s.Target(); t.Path.Dst.IsValid() {
		if e.addr != t.Path.Dst {
			e.addr, e.address = t.Path.Dst, t.Path.Dst.String()
		}
		to.SetLabel(e.info, "address", e.address)
		to.SetLabel(e.info, "family", subject.Family(t))
	}
}

// tunnelExposer exposes the recommended settings of a tunnel to the peer.
type tunnelExposer struct {
	s        *subject.Subject
	mtu, mss collectors.Series
}

// Expose implements collectors.Exposer.
func (e *tunnelExposer) Expose(to collectors.Row, now time.Time) {
	t, ok := e.s.NewestTunnel(now)
	to.SetIf(e.mtu, ok, float64(t.MTUBytes))
	to.SetIf(e.mss, ok, float64(t.MSSBytes))
}
