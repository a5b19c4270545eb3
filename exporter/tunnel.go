package exporter

import (
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// mtuStale is after how many intervals a path MTU is not built upon any more.
const mtuStale = 3

// recommend computes a tunnel's MTU from the smallest path MTU of the methods that measure the way there only. An echo comes back as
// large as it went, so a small way back would shrink its result: it counts only where IKE knows nothing.
//
// seen are what gateways show about the peer: where its encapsulation is left to them, and they agree, it is theirs.
func recommend(cfg *config.Peer, t collectors.Target, s pmtu.Snapshot, seen []diagnosis.Gateway, now time.Time) (report.Tunnel, bool) {
	smallest, byEcho := 0, 0
	for i := range s.Results {
		r := &s.Results[i]
		if r.State != pmtu.Clean && r.State != pmtu.Reduced && r.State != pmtu.BlackHole || now.Sub(r.At) > mtuStale*cfg.Intervals.PMTU {
			continue
		}
		switch {
		case r.Method == collectors.ICMP:
			byEcho = r.Bytes
		case smallest == 0 || r.Bytes < smallest:
			smallest = r.Bytes
		}
	}
	if smallest == 0 {
		smallest = byEcho
	}
	udp := cfg.ESP.NATT == config.NATTAlways || cfg.ESP.NATT == config.NATTAuto && !bare(seen)
	mtu := cfg.ESP.Cipher.TunnelMTU(smallest, t.Path.IPv6(), udp)
	mss := ipsec.MSS(mtu, false)
	if smallest == 0 || mss <= 0 {
		return report.Tunnel{}, false
	}
	encapsulation := "none"
	if udp {
		encapsulation = "udp"
	}
	return report.Tunnel{MTUBytes: mtu, MSSBytes: mss, Cipher: cfg.ESP.Cipher.Name, Encapsulation: encapsulation}, true
}

// bare tells whether ESP travels without UDP, as far as any gateway shows it, and none shows something else.
func bare(seen []diagnosis.Gateway) bool {
	without := false
	for i := range seen {
		switch seen[i].Encapsulation {
		case diagnosis.InUDP:
			return false
		case diagnosis.Bare:
			without = true
		case diagnosis.EncapsulationUnknown:
		}
	}
	return without
}
