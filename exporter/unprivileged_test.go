package exporter

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without raw sockets, and where the kernel grants no ping sockets either, IKE still measures; what needs more is unknown.
const noRaw = "no raw sockets (CAP_NET_RAW): path MTU is measured by IKE only, by a UDP socket that leaves an entry in this host's path MTU cache" +
	"; no echoes, because net.ipv4.ping_group_range does not include this process's group"

func TestUnprivilegedService(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serveAs(t, quick+"peers:\n- {name: hq, address: "+l.address(false)+"}\n", true, nil)
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
	s.await(t, soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq"}`, 1)
	s.await(t, soon, `mtu_bytes{method="ike",peer="hq"}`, 1400)
	if s.is(t, `diagnosis{diagnosis="icmp_blocked",peer="hq"}`, 1) {
		t.Error("ICMP is diagnosed though no echo could be sent")
	}
}

func TestUnprivilegedCheck(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for scenario, want := range map[string]error{"S0": nil, "S3": ErrFault} {
		l.Apply(t, scenario)
		report, notes, err := l.check(t, "json", true, "hq="+l.address(false))
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", scenario, err, want)
		}
		if first, _, _ := strings.Cut(notes, "\n"); first != "note: "+noRaw {
			t.Errorf("%s: notes:\n%s", scenario, notes)
		}
		d := decode(t, report)
		wantMTU, diagnoses := "clean 1500 of 1500", 0
		if want != nil {
			wantMTU, diagnoses = "black_hole 1400 of 1500", 1
		}
		var got []string
		for _, line := range d.facts() {
			if strings.HasPrefix(line, "hq mtu") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff([]string{"hq mtu ike " + wantMTU, "hq mtu natt " + wantMTU}, got); diff != "" || len(d[0].Diagnoses) != diagnoses {
			t.Errorf("%s (-want +got):\n%s\n%s", scenario, diff, report)
		}
		if i := d[0].ICMP; i == nil || i.State != "unknown" || !strings.Contains(i.Reason, "ping_group_range") {
			t.Errorf("%s: ICMP %+v", scenario, i)
		}
	}
}
