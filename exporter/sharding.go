package exporter

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
)

// foreignPeers returns the peers of other shards as gateways have to know them: those that name the
// gateway or, where no peer names it, all whose SAs are recognised. Names are not resolved for them.
func foreignPeers(cfg *config.Config) map[string][]gateways.Peer {
	if len(cfg.Others) == 0 || len(cfg.Gateways) == 0 {
		return nil
	}
	named := make(map[string]bool)
	for i := range cfg.Peers {
		for _, g := range cfg.Peers[i].Gateways {
			named[g] = true
		}
	}
	all := make(map[string][]gateways.Peer)
	var anywhere []gateways.Peer
	unnamed := slices.ContainsFunc(cfg.Gateways, func(g config.Gateway) bool { return !named[g.Name] })
	for i := range cfg.Others {
		o := &cfg.Others[i]
		p := gateways.Peer{Name: o.Name, Group: o.Group, Address: o.Addr, Expected: true, Foreign: true}
		if o.Match != nil {
			p.Match = *o.Match
		}
		for _, g := range o.Gateways {
			if named[g] {
				all[g] = append(all[g], p)
			}
		}
		if p.Expected = false; unnamed && (o.Addr.IsValid() || o.Match != nil) {
			anywhere = append(anywhere, p)
		}
	}
	for _, g := range cfg.Gateways {
		if !named[g.Name] {
			all[g.Name] = anywhere
		}
	}
	return all
}

// foreignAt returns the peers of other shards that a gateway may show.
func (a *app) foreignAt(gateway string) []gateways.Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.foreign[gateway]
}

// shardMetrics exposes which of the peers are measured here.
func shardMetrics(a *app) prometheus.Collector {
	info := desc("shard_info", "1 for the shard of this exporter, counted from 0, and the number of shards (--shard, --total-shards).", "shard", "total")
	shards := desc("shards", "Number of exporters that share the configured peers (--total-shards).")
	others := desc("shard_other_peers", "Configured peers that are left to other shards.")
	return prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		total := max(a.shard.Total, 1)
		gauge(ch, info, 1, strconv.Itoa(a.shard.Index), strconv.Itoa(total))
		gauge(ch, shards, float64(total))
		gauge(ch, others, float64(len(a.current.Load().Others)))
	})
}

// peerFileMetrics exposes whether the files of peer_files are in use as they are.
func peerFileMetrics(a *app) prometheus.Collector {
	valid := desc("peer_file_valid",
		"1 if the newest content of a peer file is in use; 0 if it is broken or cannot be read, and its last good content stays in use.", "file")
	peers := desc("peer_file_peers", "Peers of a peer file that are measured by this exporter.", "file")
	return prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		for _, s := range a.files.Status() {
			file := strings.ToValidUTF8(s.Path, "\uFFFD") // Prometheus takes no other
			gauge(ch, valid, collectors.Bool(s.Problem == nil), file)
			gauge(ch, peers, float64(s.Peers), file)
		}
	})
}

// loadedPeers records that peers were loaded again by a change of their file.
func (m *processMetrics) loadedPeers() { m.reloadSuccess.SetToCurrentTime() }
