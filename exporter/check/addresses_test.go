package check

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
)

const gatewayName = "gateway.example"

// checkName checks a name with these addresses from the client's place.
func (l *lab) checkName(t *testing.T, output string, addrs ...netip.Addr) (report string, err error) {
	t.Helper()
	cfg, err := config.FromArguments([]string{gatewayName})
	if err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	r := &exportertest.Names{}
	r.Set(gatewayName, addrs...)
	c.resolver = r
	report, _, err = runReport(t, c, cfg, output)
	return report, err
}

// TestUnroutableFamily: on a host that has one address family, the address of that one is measured,
// and the report says why the other one is not.
func TestUnroutableFamily(t *testing.T) {
	t.Parallel()
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "without IPv4", true: "without IPv6"}[v6], func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Client.RemoveFamily(t, v6)
			gone, there := l.Address(v6), l.Address(!v6)
			report, err := l.checkName(t, "text", l.ServerAddr(false), l.ServerAddr(true))
			if err != nil || !strings.HasPrefix(flat(report), gatewayName+" ("+there+"): no fault found RESULTS other address "+gone+" not measured: route to "+gone+": ") {
				t.Errorf("%v\n%s", err, report)
			}
			// An address of that family alone remains an error with its reason.
			report, _, err = l.check(t, "text", false, gone)
			if !errors.Is(err, ErrUnmeasured) || !strings.Contains(flat(report), "not measured icmp: route to "+gone+": ") {
				t.Errorf("%v\n%s", err, report)
			}
			report, err = l.checkName(t, "text", l.ServerAddr(v6))
			if !errors.Is(err, ErrUnmeasured) || !strings.Contains(flat(report), "not measured icmp: route to "+gone+": ") {
				t.Errorf("%v\n%s", err, report)
			}
		})
	}
}

// TestDeadAddress: the first address does not answer; the next one is measured, and both are named.
func TestDeadAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead, alive := netip.MustParseAddr(l.dead()), l.ServerAddr(true)
	report, err := l.checkName(t, "json", dead, alive)
	if !errors.Is(err, ErrFault) {
		t.Errorf("error %v", err)
	}
	d := decode(t, report)
	if len(d) != 1 || d[0].Address != alive.String() || len(d[0].MTU) != 3 || d[0].MTU[0].State != "clean" {
		t.Fatalf("%s", report)
	}
	want := dead.String() + " does not answer; " + alive.String() + " does (measured)."
	if len(d[0].Diagnoses) != 1 || d[0].Diagnoses[0].Name != "address_silent" || d[0].Diagnoses[0].Summary != want ||
		!slices.ContainsFunc(d[0].Diagnoses[0].Evidence, func(s string) bool { return strings.HasPrefix(s, dead.String()+": icmp: echo silent") }) {
		t.Errorf("%+v, want %q", d[0].Diagnoses, want)
	}
	if len(d[0].Addresses) != 1 || d[0].Addresses[0].Address != dead.String() || d[0].Addresses[0].State != "silent" {
		t.Errorf("other addresses %+v", d[0].Addresses)
	}
}

// TestUnsendableAddress: there is a route to the first address, and its next hop is dead, so
// nothing is sent; the next address is measured.
func TestUnsendableAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Client.Route(t, netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: l.HopAddr(1, false).Next().Next()})
	report, err := l.checkName(t, "json", l.ServerAddr(false), l.ServerAddr(true))
	d := decode(t, report)
	if err != nil || d[0].Address != l.Address(true) || !d[0].Healthy || d[0].Addresses[0].State != "unknown" ||
		!strings.Contains(d[0].Addresses[0].Reason, "this host") {
		t.Errorf("%v\n%s", err, report)
	}
}

// TestAllAddressesDead: where no address answers, the first one is reported, and the others beside
// it.
func TestAllAddressesDead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := netip.MustParseAddr(l.dead())
	report, err := l.checkName(t, "json", first.Next(), first)
	d := decode(t, report)
	if !errors.Is(err, ErrFault) || d[0].Address != first.String() || d[0].Addresses[0].State != "silent" ||
		slices.ContainsFunc(d.facts(), func(s string) bool { return strings.HasSuffix(s, "diagnosis address_silent") }) {
		t.Errorf("%v\n%s", err, report)
	}
}

// TestOtherAddressIsLeftAlone: nothing is sent to other addresses while the first one answers.
func TestOtherAddressIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	report, err := l.checkName(t, "json", l.ServerAddr(true), netip.MustParseAddr(l.dead()), l.ServerAddr(false))
	d := decode(t, report)
	if err != nil || d[0].Address != l.Address(false) || len(d[0].Addresses) != 2 ||
		d[0].Addresses[0].State != "untried" || d[0].Addresses[1].State != "untried" {
		t.Errorf("%v\n%s", err, report)
	}
}

// TestBothFamilies: --family=both makes a report for each address family.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.FromArguments([]string{gatewayName, l.Address(true)})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.SetFamily(config.FamilyBoth); err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	r := &exportertest.Names{}
	r.Set(gatewayName, l.ServerAddr(true), l.ServerAddr(false))
	c.resolver = r
	report, _, err := runReport(t, c, cfg, "json")
	d := decode(t, report)
	if err != nil || len(d) != 3 {
		t.Fatalf("%v\n%s", err, report)
	}
	for i, want := range []struct{ peer, address, family string }{
		{gatewayName + "@ip4", l.Address(false), "ip4"}, {gatewayName + "@ip6", l.Address(true), "ip6"}, {l.Address(true), l.Address(true), "ip6"},
	} {
		if d[i].Peer != want.peer || d[i].Address != want.address || d[i].Family != want.family || !d[i].Healthy || len(d[i].Addresses) > 0 {
			t.Errorf("report %d: %+v, want %+v", i, d[i], want)
		}
	}
}

func TestFamilyFlag(t *testing.T) {
	file := exportertest.ConfigFile(t, "peers:\n- {name: hq, address: vpn.example, family: both}\n- {name: four, address: 203.0.113.10}\n")
	o := Options{Targets: []string{"hq"}, ConfigFile: file}
	cfg, err := o.peers(t.Context())
	if err != nil || len(cfg.Peers) != 2 || cfg.Peers[0].Name != "hq@ip4" || cfg.Peers[1].Name != "hq@ip6" {
		t.Errorf("%+v, %v", cfg, err)
	}
	for family, want := range map[string]string{
		"ipv6": "--family=ipv6: must be one of: any, ip4, ip6, both",
		"ip6":  `--family=ip6: peer four: "203.0.113.10" is not of family ip6`,
	} {
		err := Run(t.Context(), Options{ConfigFile: file, Family: family, Output: "text", Timeout: minTimeout})
		if err == nil || err.Error() != want {
			t.Errorf("--family=%s: %v, want %s", family, err, want)
		}
	}
}
