package check

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// gatewayLab is a provider with strongSwan behind it.
func gatewayLab(t *testing.T) *lab {
	t.Helper()
	daemons.NeedStrongSwan(t)
	l := &lab{&exportertest.Lab{Provider: netlab.NewProvider(t)}}
	daemons.StartStrongSwan(t, l.Server, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, l.ServerAddr(false), l.ClientAddr(false))})
	return l
}

// A fault is what a check has to report about a path: all diagnoses, and between which hops the
// black hole is, if that can be known (4 is the peer).
type fault struct {
	diagnoses   string
	last, first int
}

// TestFaultsInFrontOfAGateway: each classic fault in front of a real strongSwan ends in exactly the
// right diagnoses, and at the right place.
func TestFaultsInFrontOfAGateway(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	same := func(f fault) [2]fault { return [2]fault{f, f} }
	for scenario, want := range map[string][2]fault{
		"S0": same(fault{}),
		// Over IPv6 the router's "packet too big" for the reply is dropped too: the reverse path is
		// a black hole as well.
		"S2":   {{"pmtu_black_hole", 2, 3}, {"pmtu_black_hole pmtu_black_hole_reverse", 2, 3}},
		"S2b":  same(fault{"pmtu_black_hole pmtu_black_hole_reverse", 2, 3}),
		"S3":   same(fault{"icmp_blocked pmtu_black_hole", 1, 4}),
		"S4":   same(fault{"fragments_dropped", 0, 0}),
		"S5":   same(fault{"icmp_blocked pmtu_black_hole fragments_dropped", 1, 4}),
		"S6b":  same(fault{"pmtu_black_hole_reverse", 0, 0}),
		"S6c":  same(fault{"pmtu_black_hole", 2, 3}),
		"S11a": same(fault{"udp500_blocked", 0, 0}),
		"S11b": same(fault{"udp4500_blocked", 0, 0}),
		"S11c": same(fault{"udp500_blocked udp4500_blocked", 0, 0}),
		"S11d": same(fault{"udp500_blocked udp4500_blocked", 0, 0}),
		"S12":  same(fault{"esp_blocked ah_blocked", 0, 0}),
		"S12b": same(fault{"esp_udp_blocked", 0, 0}),
		"S16":  same(fault{"peer_refuses", 0, 0}),
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := gatewayLab(t)
			l.Apply(t, scenario)
			report, _, _ := l.check(t, "json", false, "four="+l.Address(false), "six="+l.Address(true))
			for i, d := range decode(t, report) {
				v6 := i == 1
				if diff := cmp.Diff(l.words(want[i], v6), summarize(&d)); diff != "" {
					t.Errorf("IPv6 %t (-want +got):\n%s\n%s", v6, diff, report)
				}
			}
		})
	}
}

// TestDirectionWithoutIKE: where nothing answers IKE, a size limit is diagnosed in the direction in
// which it is.
func TestDirectionWithoutIKE(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	const ports = "udp500_blocked udp4500_blocked"
	for scenario, want := range map[string][3]string{ // diagnoses, direction, place to the peer
		"S6c": {"pmtu_black_hole " + ports, "forward", "2 3"},
		"S6b": {"pmtu_black_hole_reverse " + ports, "reverse", "3 0"},
		"S2b": {"pmtu_black_hole pmtu_black_hole_reverse " + ports, "both", "2 3"},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, scenario)
			l.DropUDPPort(t, 500)
			l.DropUDPPort(t, 4500)
			report, _, _ := l.check(t, "json", false, "four="+l.Address(false), "six="+l.Address(true))
			for i, d := range decode(t, report) {
				hop := map[string]int{"": 0, l.HopAddr(2, i == 1).String(): 2, l.HopAddr(3, i == 1).String(): 3}
				names, _, _ := strings.Cut(summarize(&d), ";")
				got := [3]string{names, d.Direction}
				if d.Forward != nil {
					got[2] = fmt.Sprint(hop[d.Forward.LastHopPassed], hop[d.Forward.FirstHopFailed])
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s\n%s", d.Peer, diff, report)
				}
			}
		})
	}
}

// TestOwnFilter: what this host itself drops is no fault of the path.
func TestOwnFilter(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	for scenario, want := range map[string]struct {
		names string
		err   error
	}{
		"S17":  {"local_filter", ErrFault},
		"S17b": {"", ErrUnmeasured},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, scenario)
			report, _, err := l.check(t, "json", false, "four="+l.Address(false), "six="+l.Address(true))
			if !errors.Is(err, want.err) {
				t.Errorf("error %v, want %v", err, want.err)
			}
			for _, d := range decode(t, report) {
				if got, _, _ := strings.Cut(summarize(&d), ";"); got != want.names {
					t.Errorf("%s: %q, want %q\n%s", d.Peer, got, want.names, report)
				}
			}
		})
	}
}

// words is a fault as summarize writes it.
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

// summarize returns the diagnoses of a report, and the place of its black hole.
func summarize(d *documentOf) string {
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

// many checks a path n times at once, half of them over IPv6.
func (l *lab) many(t *testing.T, n int) []documentOf {
	t.Helper()
	var peers []string
	for i := range n / 2 {
		peers = append(peers, fmt.Sprintf("four%d=%s", i, l.Address(false)), fmt.Sprintf("six%d=%s", i, l.Address(true)))
	}
	cfg, err := config.FromArguments(peers)
	if err != nil {
		t.Fatal(err)
	}
	report, _, _ := runReport(t, l.checker(t, cfg, false), cfg, "json")
	return decode(t, report)
}

// apart checks both families n/2 times at once, each pair by a program of its own: one that has
// asked an address without an answer asks it less often.
func (l *lab) apart(t *testing.T, n int) []documentOf {
	t.Helper()
	reports := make([]string, n/2)
	var all sync.WaitGroup
	for i := range reports {
		cfg, err := config.FromArguments([]string{fmt.Sprintf("four%d=%s", i, l.Address(false)), fmt.Sprintf("six%d=%s", i, l.Address(true))})
		if err != nil {
			t.Fatal(err)
		}
		c := l.checker(t, cfg, false)
		all.Go(func() { reports[i], _, _ = runReport(t, c, cfg, "json") })
	}
	all.Wait()
	var out []documentOf
	for _, r := range reports {
		out = append(out, decode(t, r)...)
	}
	return out
}

// TestHealthyUnderLoss: a path that loses a packet in twenty each way has no fault, twenty times
// out of twenty.
func TestHealthyUnderLoss(t *testing.T) {
	t.Parallel()
	l := gatewayLab(t)
	l.Apply(t, "S8-5")
	healthy := 0
	for _, d := range l.many(t, 20) {
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

// TestHeavyLoss: two lost packets in five each way are loss_high and nothing else; one in five may
// be; where echo alone is lost, they are not. Loss may hide from a check: the first five echoes may
// all be answered.
func TestHeavyLoss(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	const checks = 6
	for name, tt := range map[string]struct {
		share, limit, least, most int
	}{
		"a fifth":            {share: 20, most: checks},
		"two fifths":         {share: 40, least: checks / 2, most: checks},
		"a limit for echoes": {limit: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := gatewayLab(t)
			if tt.limit > 0 {
				l.LimitEchoReplies(t, tt.limit)
			} else {
				l.Loss(t, tt.share)
			}
			checked := l.apart
			if tt.limit > 0 {
				checked = l.many // or they would share the limit
			}
			found := 0
			for _, d := range checked(t, checks) {
				for _, x := range d.Diagnoses {
					if x.Name != diagnosis.LossHigh {
						t.Errorf("%s: %+v", d.Peer, x)
					}
					found++
				}
				t.Logf("%s: %.0f s, %d of %d echoes, %d diagnoses, errors %q", d.Peer, d.Seconds, d.ICMP.Received, d.ICMP.Sent, len(d.Diagnoses), d.Errors)
			}
			if found < tt.least || found > tt.most {
				t.Errorf("loss_high found %d times, want %d to %d", found, tt.least, tt.most)
			}
		})
	}
}
