package exporter

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// gatewayLab is a provider with strongSwan behind it.
func gatewayLab(t *testing.T) *lab {
	t.Helper()
	daemons.NeedStrongSwan(t)
	l := &lab{Provider: netlab.NewProvider(t)}
	daemons.StartStrongSwan(t, l.Server, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, l.ServerAddr(false), l.ClientAddr(false))})
	return l
}

// A fault is what a check is to say about a path: all diagnoses, and between which hops the black hole is, if that can be known (4 is the peer).
type fault struct {
	diagnoses   string
	last, first int
}

// TestFaultsInFrontOfAGateway: each classic fault in front of a real strongSwan ends in exactly the right diagnoses, and at the right place.
func TestFaultsInFrontOfAGateway(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	same := func(f fault) [2]fault { return [2]fault{f, f} }
	for scenario, want := range map[string][2]fault{
		"S0": same(fault{}),
		// Over IPv6 the router's "packet too big" for the reply is dropped too: the way back is a black hole as well.
		"S2":   {{"pmtu_black_hole", 2, 3}, {"pmtu_black_hole pmtu_black_hole_reverse", 2, 3}},
		"S2b":  same(fault{"pmtu_black_hole pmtu_black_hole_reverse", 2, 3}),
		"S3":   same(fault{"icmp_blocked pmtu_black_hole", 1, 4}),
		"S4":   same(fault{"fragments_dropped", 0, 0}),
		"S5":   same(fault{"icmp_blocked pmtu_black_hole fragments_dropped", 1, 4}),
		"S6b":  same(fault{"pmtu_black_hole_reverse", 0, 0}),
		"S6c":  same(fault{"pmtu_black_hole", 2, 3}),
		"S11a": same(fault{"udp500_blocked", 0, 0}),
		"S11b": same(fault{"udp4500_blocked", 0, 0}),
		"S12":  same(fault{"esp_blocked ah_blocked", 0, 0}),
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := gatewayLab(t)
			l.Apply(t, scenario)
			report, _, _ := l.check(t, "json", false, "four="+l.address(false), "six="+l.address(true))
			for i, d := range decode(t, report) {
				v6 := i == 1
				if diff := cmp.Diff(l.words(want[i], v6), told(&d)); diff != "" {
					t.Errorf("IPv6 %t (-want +got):\n%s\n%s", v6, diff, report)
				}
			}
		})
	}
}

// words are what a fault is told in.
func (l *lab) words(f fault, v6 bool) string {
	hop := func(n int) netip.Addr {
		if n == 4 {
			return l.ServerAddr(v6)
		}
		return l.HopAddr(n, v6)
	}
	out := f.diagnoses
	if f.last > 0 {
		out += fmt.Sprintf("; after %s, before or at %s", hop(f.last), hop(f.first))
	}
	return out
}

// told is what a report says in the same words.
func told(d *documentOf) string {
	var names []string
	for _, x := range d.Diagnoses {
		names = append(names, x.Name)
	}
	out := strings.Join(names, " ")
	if i := slices.IndexFunc(d.MTU, func(m mtuOf) bool { return m.Method == "ike" && m.State == "black_hole" }); i >= 0 {
		out += fmt.Sprintf("; after %s, before or at %s", d.MTU[i].LastHopPassed, d.MTU[i].FirstHopFailed)
	}
	return out
}

// TestHealthyUnderLoss: a path that loses a packet in twenty each way has no fault, twenty times out of twenty.
func TestHealthyUnderLoss(t *testing.T) {
	t.Parallel()
	l := gatewayLab(t)
	l.Apply(t, "S8-5")
	var peers []string
	for i := range 10 {
		peers = append(peers, fmt.Sprintf("four%d=%s", i, l.address(false)), fmt.Sprintf("six%d=%s", i, l.address(true)))
	}
	cfg, err := config.FromArguments(peers)
	if err != nil {
		t.Fatal(err)
	}
	report, _, _ := runReport(t, l.app(t, cfg, slog.New(slog.DiscardHandler), false), cfg, "json")
	healthy := 0
	for _, d := range decode(t, report) {
		if len(d.Diagnoses) > 0 {
			t.Errorf("%s: %+v", d.Peer, d.Diagnoses)
		}
		if d.Healthy {
			healthy++
		}
	}
	if healthy < 18 { // a search may end without a result where much is lost
		t.Errorf("%d of 20 are known to be healthy", healthy)
	}
}
