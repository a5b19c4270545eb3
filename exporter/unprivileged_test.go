package exporter

import (
	"strings"
	"testing"
)

func TestUnprivilegedService(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+l.Address(false)+"}\n", true, nil)
	s.await(t, soon, `mtu_bytes{method="natt",peer="hq"}`, 1500)
	s.await(t, soon, `ike_responding{method="natt",peer="hq"}`, 1)
	s.await(t, soon, `peer_healthy{peer="hq"}`, 1)
	p := s.scrape(t)
	for series, want := range map[string]float64{
		`capability{name="raw_icmp"}`: 0, `capability{name="raw_ip"}`: 0, `capability{name="ping_socket"}`: 0,
		`icmp_requests_total{peer="hq"}`: 0, `mtu_bytes{method="ike",peer="hq"}`: 1500, `ike_responding{method="natt",peer="hq"}`: 1,
		`mtu_black_hole{peer="hq"}`: 0, `tunnel_mtu_bytes{peer="hq"}`: 1422,
	} {
		if v, ok := p.value(series); !ok || v != want {
			t.Errorf("%s = %v (present %t), want %v", series, v, ok, want)
		}
	}
	if v, _ := p.value(`collector_errors_total{collector="icmp",reason="not_sent"}`); v == 0 {
		t.Error("echoes that could not be sent are not counted")
	}
	for _, series := range p.of("hq") {
		if strings.HasPrefix(series, "icmp_reachable") || strings.Contains(series, `method="icmp"`) {
			t.Errorf("%s was not measured", series)
		}
	}
	l.Apply(t, "S2")
	s.await(t, soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq",severity="critical"}`, 1)
	s.await(t, soon, `mtu_bytes{method="ike",peer="hq"}`, 1400)
	if s.is(t, `diagnosis{diagnosis="icmp_blocked",peer="hq",severity="info"}`, 1) {
		t.Error("ICMP is diagnosed though no echo could be sent")
	}
}
