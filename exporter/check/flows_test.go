package check

import (
	"errors"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab"
)

// TestDeadLink: where the source port decides, that is what a check says, whichever port it draws,
// and no port or protocol is called filtered.
func TestDeadLink(t *testing.T) {
	t.Parallel()
	l := gatewayLab(t)
	l.Apply(t, "S18")
	var peers []string
	for _, v6 := range []bool{false, true} {
		for _, name := range []string{"a", "b", "c"} {
			peers = append(peers, name+l.Address(v6)[:2]+"="+l.Address(v6))
		}
	}
	found := false
	for range 3 { // all seven source ports of a check take the good link once in 128 times
		report, _, err := l.check(t, "json", false, peers...)
		for _, d := range decode(t, report) {
			got, _, _ := strings.Cut(summarize(&d), ";")
			found = found || got == "flows_lost" && errors.Is(err, ErrFault)
			if got != "flows_lost" && got != "" {
				t.Errorf("%s: %q\n%s", d.Peer, got, report)
			}
		}
		if found {
			return
		}
	}
	t.Error("no check finds the lost flows")
}

// TestSourcePortFilter: a peer that accepts IKE from the source ports 500 and 4500 alone has no
// fault, and the report says what to set. With that set, everything is measured.
func TestSourcePortFilter(t *testing.T) {
	t.Parallel()
	l := gatewayLab(t)
	l.Apply(t, "S11e")
	cfg, err := config.FromArguments([]string{"four=" + l.Address(false), "six=" + l.Address(true)})
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := runReport(t, l.checker(t, cfg, false), cfg, "text")
	if err != nil || strings.Count(report, "set `ike.source_port: fixed`") != 2 {
		t.Errorf("%v\n%s", err, report)
	}
	(&Options{SourcePort: collectors.FixedPort.String()}).overrideSourcePort(cfg.Peers)
	report, _, err = runReport(t, l.checker(t, cfg, false), cfg, "json")
	if err != nil {
		t.Errorf("from fixed ports: %v", err)
	}
	for _, d := range decode(t, report) {
		for _, i := range d.IKE {
			if i.State != "responding" {
				t.Errorf("%s: UDP %d is %s\n%s", d.Peer, i.Port, i.State, report)
			}
		}
		for _, m := range d.MTU {
			if m.State != "clean" || m.Bytes != netlab.DefaultMTU {
				t.Errorf("%s: path MTU by %s is %d, %s", d.Peer, m.Method, m.Bytes, m.State)
			}
		}
	}
}
