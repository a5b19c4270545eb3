package subject

import (
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
)

func TestBare(t *testing.T) {
	t.Parallel()
	const unknown, alone, udp = gateways.Unknown, gateways.No, gateways.Yes
	for _, tt := range []struct {
		seen []gateways.Answer
		want bool
	}{
		{nil, false},
		{[]gateways.Answer{unknown}, false},
		{[]gateways.Answer{unknown, alone}, true},
		{[]gateways.Answer{alone, udp}, false},
	} {
		if got := bare(showing(tt.seen...)); got != tt.want {
			t.Errorf("%v: %t", tt.seen, got)
		}
	}
}

// showing are gateways that show whether ESP is encapsulated in UDP.
func showing(all ...gateways.Answer) (out []diagnosis.Gateway) {
	for _, natt := range all {
		g := diagnosis.Gateway{}
		g.Add(&gateways.Observation{NATT: natt})
		out = append(out, g)
	}
	return out
}

// TestRecommend: results that are too old do not count, and gateways that agree decide about UDP.
func TestRecommend(t *testing.T) {
	t.Parallel()
	cfg, err := config.FromArguments([]string{"203.0.113.10"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old := now.Add(-4 * suite.PMTU.Spec().Every)
	found := func(m collectors.Method, bytes int, at time.Time) pmtu.Result {
		return pmtu.Result{Method: m, State: search.Reduced, Bytes: bytes, At: at}
	}
	for name, tt := range map[string]struct {
		results []pmtu.Result
		seen    []diagnosis.Gateway
		path    int
		udp     bool
	}{
		"no result":             {},
		"everything is too old": {results: []pmtu.Result{found(collectors.IKE, 1400, old)}},
		"one is too old":        {results: []pmtu.Result{found(collectors.IKE, 1300, old), found(collectors.NATT, 1400, now)}, path: 1400, udp: true},
		"an IKE result that is too old leaves the echo": {
			results: []pmtu.Result{found(collectors.ICMP, 1400, now), found(collectors.IKE, 1300, old)}, path: 1400, udp: true,
		},
		"gateways without UDP": {
			results: []pmtu.Result{found(collectors.IKE, 1400, now)}, seen: showing(gateways.No, gateways.Unknown), path: 1400,
		},
		"gateways that differ": {
			results: []pmtu.Result{found(collectors.IKE, 1400, now)}, seen: showing(gateways.No, gateways.Yes), path: 1400, udp: true,
		},
	} {
		got, ok := recommend(&cfg.Peers[0], false, tt.results, tt.seen, now)
		if ok != (tt.path != 0) || ok && (got.PathBytes != tt.path || got.UDP != tt.udp) {
			t.Errorf("%s: %+v, want a path of %d bytes, UDP %t", name, got, tt.path, tt.udp)
		}
	}
}
