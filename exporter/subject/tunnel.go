package subject

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/tunnelmtu"
)

// Tunnel recommends the settings of a tunnel over the path; nil if its path MTU is unknown.
func (s *Subject) Tunnel(f *suite.Findings, now time.Time) *tunnelmtu.Settings {
	if f.PMTU == nil {
		return nil
	}
	if settings, ok := s.tunnel(slices.Clone(f.PMTU.Results), now); ok {
		return &settings
	}
	return nil
}

// NewestTunnel is Tunnel for the newest results. A scrape asks for it, so it does not allocate.
func (s *Subject) NewestTunnel(now time.Time) (settings tunnelmtu.Settings, ok bool) {
	var buffer [collectors.NATT + 1]pmtu.Result
	return s.tunnel(s.PathMTUs(buffer[:0]), now)
}

func (s *Subject) tunnel(results []pmtu.Result, now time.Time) (settings tunnelmtu.Settings, ok bool) {
	s.mu.Lock()
	apart, v6 := s.apart, s.target.Get().Path.IPv6()
	s.mu.Unlock()
	results = slices.DeleteFunc(results, func(r pmtu.Result) bool { return slices.Contains(apart, r.Method) })
	var buffer [4]diagnosis.Gateway
	return recommend(s.Config, v6, results, s.histories(buffer[:0]), now)
}

// recommend returns the settings for searches of the way that IKE takes, and a peer that gateways
// have seen. Where its encapsulation is not configured, and all gateways that show one agree, it is
// theirs. The results are changed.
func recommend(cfg *config.Peer, v6 bool, results []pmtu.Result, seen []diagnosis.Gateway, now time.Time) (tunnelmtu.Settings, bool) {
	fresh := slices.DeleteFunc(results, func(r pmtu.Result) bool {
		return !collectors.Fresh(r.At, now, cfg.Intervals[suite.PMTU])
	})
	esp := tunnelmtu.ESP{
		Cipher: cfg.ESP.Cipher, IPv6: v6, UDP: cfg.ESP.NATT == config.NATTAlways || cfg.ESP.NATT == config.NATTAuto && !bare(seen),
	}
	return esp.Fit(tunnelmtu.PathMTU(fresh))
}

// bare reports whether ESP is not encapsulated in UDP, as far as any gateway shows it.
func bare(seen []diagnosis.Gateway) bool {
	without := false
	for i := range seen {
		switch seen[i].Newest().NATT {
		case gateways.Yes:
			return false
		case gateways.No:
			without = true
		case gateways.Unknown:
		}
	}
	return without
}
