package exporter

import (
	"net/http"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/exportertest"
)

// TestBaselineIsThatOfHealth: what is remembered of the healthy path is not overwritten while a
// fault waits for its confirmation.
func TestBaselineIsThatOfHealth(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"peers: [{name: hq, address: "+l.Address(false)+"}]\n")
	s.await(t, soon, `peer_healthy{peer="hq"}`, 1)
	exportertest.Eventually(t, soon, "a baseline", func() bool { _, ok := s.history.Baseline("hq"); return ok })
	before, _ := s.history.Baseline("hq")
	if before.Bytes["ike"] != 1500 {
		t.Fatalf("the healthy path: %+v", before)
	}
	l.Apply(t, "S2")
	s.await(t, 2*soon, `diagnosis{diagnosis="pmtu_black_hole",peer="hq",severity="critical"}`, 1)
	if after, ok := s.history.Baseline("hq"); !ok || after.Bytes["ike"] != 1500 {
		t.Errorf("with a black hole: %+v", after)
	}
	if _, _, report := get(t, s.site(t), "/peers/hq/report"); !strings.Contains(report, "1500 bytes passed until") {
		t.Errorf("the report does not say what passed:\n%s", report)
	}
}

// TestPageOfAnIPv6Peer: the address is the name, and its colons are none of a URL scheme.
func TestPageOfAnIPv6Peer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	name := l.Address(true)
	s := l.serve(t, quick+"peers: [{address: '"+name+"'}]\n")
	code, _, page := get(t, s.site(t), "/peers/"+name)
	if code != http.StatusOK || !strings.Contains(page, `href="./`+name+`/report"`) {
		t.Errorf("status %d:\n%s", code, page)
	}
}
