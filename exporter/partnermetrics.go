package exporter

import (
	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/internal/session"
)

// partnered returns how partners are answered, and the peers that have one.
func (a *app) partnered() (config.Partners, []partners.Peer) {
	var all []partners.Peer
	for _, p := range a.running() {
		if p.Config.Partner.Configured() {
			all = append(all, partners.Peer{Name: p.Config.Name, Addr: p.Target().Path.Dst, Partner: p.Config.Partner})
		}
	}
	return a.current.Load().Partners, all
}

// partnerMetrics exposes what the reflector has received and sent.
func partnerMetrics(r *partners.Reflector) prometheus.Collector {
	requests := desc("partner_reflector_requests_total",
		"STAMP requests that arrived at partners.listen, by result: reflected, refused, stranger, forged, replayed, malformed or limited.", "result")
	traffic := desc("partner_reflector_bytes_total",
		"Bytes of STAMP that arrived at partners.listen (direction in) and were sent from there (out); state is authenticated or unauthenticated.", "direction", "state")
	return prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		c := r.Count()
		for i, fate := range session.Fates() {
			counter(ch, requests, float64(c.Fates[i]), fate.String())
		}
		for state, t := range map[string]session.Traffic{"authenticated": c.Known, "unauthenticated": c.Unproven} {
			counter(ch, traffic, float64(t.In), "in", state)
			counter(ch, traffic, float64(t.Out), "out", state)
		}
	})
}
