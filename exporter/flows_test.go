package exporter

import (
	"strings"
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

// TestStuckFlow: a NAT that keeps the mapping of our flow to a dead uplink is called that, and never
// a silent peer; the flow is given up, and the peer is measured by another one.
func TestStuckFlow(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	l := newLab(t)
	fault := l.RememberFlows(t)
	s := l.serve(t, quick+"peers: [{name: hq, address: "+l.Address(false)+"}]")
	s.await(t, soon, `peer_healthy{peer="hq"}`, 1)
	if l.Dropped(t, fault) == 0 {
		t.Fatal("no flow is remembered")
	}
	l.DropKnownFlows(t)
	s.await(t, soon, `icmp_reachable{peer="hq"}`, 0)
	s.await(t, 2*soon, `diagnosis{diagnosis="flow_stuck",peer="hq",severity="warning"}`, 1)
	for _, answered := range []string{`icmp_reachable{peer="hq"}`, `ike_responding{method="ike",peer="hq"}`, `ike_responding{method="natt",peer="hq"}`} {
		s.await(t, soon, answered, 1)
	}
	for line := range strings.Lines(s.logged.String()) {
		if strings.Contains(line, "raised") && !strings.Contains(line, "flow_stuck") {
			t.Errorf("raised as well: %s", line)
		}
	}
}
