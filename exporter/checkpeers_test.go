package exporter

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/report"
)

func addrs(all ...string) []netip.Addr {
	out := make([]netip.Addr, len(all))
	for i, a := range all {
		out[i] = netip.MustParseAddr(a)
	}
	return out
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOutcomeIsTheWorst(t *testing.T) {
	healthy, unknown := &report.Report{Peer: "healthy", Healthy: true, Measured: true}, &report.Report{Peer: "unknown"}
	faulty := &report.Report{Peer: "faulty", Measured: true, Diagnoses: []report.Diagnosis{{Name: "peer_silent"}}}
	for _, tt := range []struct {
		name    string
		reports []*report.Report
		want    error
		text    string
	}{
		{"healthy", []*report.Report{healthy, healthy}, nil, ""},
		{"a fault", []*report.Report{healthy, faulty, healthy}, ErrFault, "a fault was found"},
		{"unmeasured", []*report.Report{healthy, unknown}, errUnmeasured, "could not measure: unknown"},
		{"unmeasured outweighs a fault", []*report.Report{faulty, unknown, faulty, unknown}, errUnmeasured, "could not measure: unknown, unknown"},
	} {
		err := outcome(tt.reports)
		if !errors.Is(err, tt.want) || err != nil && err.Error() != tt.text {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestCheckedPeers(t *testing.T) {
	file := configFile(t, "peers:\n- {name: hq, address: 203.0.113.10}\n- {name: lab, address: 203.0.113.11}\n- {address: 203.0.113.12}\n")
	for _, tt := range []struct {
		name    string
		options CheckOptions
		peers   []string
		err     string
	}{
		{"addresses", CheckOptions{Targets: []string{"203.0.113.1", "2001:db8::1"}}, []string{"203.0.113.1", "2001:db8::1"}, ""},
		{"all of a file", CheckOptions{ConfigFile: file}, []string{"hq", "lab", "203.0.113.12"}, ""},
		{"some of a file, in its order", CheckOptions{ConfigFile: file, Targets: []string{"203.0.113.12", "hq"}}, []string{"hq", "203.0.113.12"}, ""},
		{"nothing", CheckOptions{}, nil, "nothing to check: give an address, or --config.file"},
		{
			"unknown names",
			CheckOptions{ConfigFile: file, Targets: []string{"hq", "ha", "203.0.113.10"}},
			nil,
			file + ` has no peer named "ha"` + "\n" + file + ` has no peer named "203.0.113.10"`,
		},
		{
			"bad addresses",
			CheckOptions{Targets: []string{"203.0.113.300", "203.0.113.1", "203.0.113.1"}},
			nil,
			`"203.0.113.300": address: "203.0.113.300" is not a valid IPv4 address` + "\n" +
				`"203.0.113.1": name: "203.0.113.1" is already the name of "203.0.113.1"`,
		},
		{
			"unreadable file",
			CheckOptions{ConfigFile: file + ".none"},
			nil,
			"cannot read the configuration: open " + file + ".none: no such file or directory",
		},
	} {
		cfg, err := checkedPeers(tt.options)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: error %q, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, p := range cfg.Peers {
			got = append(got, p.Name)
		}
		if diff := cmp.Diff(tt.peers, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	r := &names{}
	r.set("both.example", addrs("2001:db8::2", "203.0.113.9", "203.0.113.2", "2001:db8::1")...)
	r.set("mapped.example", addrs("::ffff:203.0.113.7")...)
	r.set("six.example", addrs("2001:db8::6")...)
	for _, tt := range []struct {
		host   string
		family config.Family
		now    string
		want   string
		err    error
	}{
		{host: "both.example", want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP4, want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP6, want: "2001:db8::1"},
		// The address in use stays as long as the name has it, also where another one would be chosen today.
		{host: "both.example", now: "203.0.113.9", want: "203.0.113.9"},
		{host: "both.example", now: "2001:db8::2", want: "2001:db8::2"},
		{host: "both.example", now: "203.0.113.3", want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP6, now: "203.0.113.9", want: "2001:db8::1"},
		{host: "mapped.example", want: "203.0.113.7"},
		{host: "six.example", want: "2001:db8::6"},
		{host: "six.example", family: config.FamilyIP4, err: errNoAddress},
		{host: "none.example", err: errNoAddress},
	} {
		var now netip.Addr
		if tt.now != "" {
			now = netip.MustParseAddr(tt.now)
		}
		p := &config.Peer{Address: tt.host}
		p.Family = tt.family
		got, err := resolve(t.Context(), r, p, now)
		if !errors.Is(err, tt.err) || got.IsValid() && got.String() != tt.want || !got.IsValid() && tt.want != "" {
			t.Errorf("%s %s now %s: %v %v, want %s %v", tt.host, tt.family, tt.now, got, err, tt.want, tt.err)
		}
	}
	r.fail(&net.DNSError{Err: "no such host", Name: "both.example", IsNotFound: true})
	_, err := resolve(t.Context(), r, &config.Peer{Address: "both.example"}, netip.Addr{})
	if want := `cannot resolve "both.example": lookup both.example: no such host`; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

// TestCheckByName: one peer's name does not resolve; the others are measured, and the exit code is that of the one.
func TestCheckByName(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.Parse("config.yml", []byte(`
peers:
- {name: four, address: gateway.example}
- {name: six, address: gateway.example, family: ip6}
- {name: lost, address: lost.example}
- {name: wrong, address: only6.example, family: ip4}
`))
	if err != nil {
		t.Fatal(err)
	}
	a := l.app(t, cfg, slog.New(slog.DiscardHandler), false)
	r := &names{}
	r.set("gateway.example", l.ServerAddr(true), l.ServerAddr(false))
	r.set("only6.example", l.ServerAddr(true))
	a.resolver = r
	report, _, err := runReport(t, a, cfg, "json")
	if !errors.Is(err, errUnmeasured) || err.Error() != "could not measure: lost, wrong" {
		t.Errorf("error %v", err)
	}
	d := decode(t, report)
	if len(d) != 4 {
		t.Fatalf("%d reports", len(d))
	}
	for i, want := range []string{l.address(false), l.address(true)} {
		if d[i].Address != want || !d[i].Healthy || d[i].Via == nil || *d[i].Via != "" {
			t.Errorf("report %d: address %s, healthy %t, via %v; want %s", i, d[i].Address, d[i].Healthy, d[i].Via, want)
		}
	}
	for i, want := range map[int]string{
		2: `cannot resolve "lost.example": no address of the wanted family (any)`,
		3: `cannot resolve "only6.example": no address of the wanted family (ip4)`,
	} {
		if diff := cmp.Diff([]string{want}, d[i].Errors); diff != "" || d[i].Address != "" || d[i].ICMP != nil || d[i].MTU != nil {
			t.Errorf("report %d (-want +got):\n%s\n%s", i, diff, report)
		}
	}
	text, _, _ := runReport(t, a, cfg, "text")
	want := "lost: unknown\n  not measured     cannot resolve \"lost.example\": no address of the wanted family (any)\n"
	if !strings.Contains(text, want) {
		t.Errorf("want %q in:\n%s", want, text)
	}
}

// TestCheckFromASource: the way out is in the report, and a source that this host does not have is an error with its reason.
func TestCheckFromASource(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.Parse("config.yml", []byte(`
peers:
- {name: hq, address: `+l.address(false)+`, source_address: `+l.ClientAddr(false).String()+`}
- {name: elsewhere, address: `+l.address(false)+`, source_address: 192.0.2.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := runReport(t, l.app(t, cfg, slog.New(slog.DiscardHandler), false), cfg, "json")
	if !errors.Is(err, errUnmeasured) || err.Error() != "could not measure: elsewhere via 192.0.2.1" {
		t.Errorf("error %v", err)
	}
	d := decode(t, report)
	if !d[0].Healthy || *d[0].Via != l.ClientAddr(false).String() {
		t.Errorf("from %s: %+v", *d[0].Via, d[0])
	}
	const why = ": route to 10.77.4.2 from 192.0.2.1: network is unreachable"
	slices.Sort(d[1].Errors) // echoes and IKE go side by side
	if diff := cmp.Diff([]string{"fragments" + why, "icmp" + why, "ike" + why, "path MTU" + why, "protocols" + why}, d[1].Errors); diff != "" || len(d[1].Diagnoses) != 0 {
		t.Errorf("a source of somebody else (-want +got):\n%s\n%s", diff, report)
	}
}
