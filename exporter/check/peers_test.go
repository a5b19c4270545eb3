package check

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/report"
)

func TestOutcomeIsTheWorst(t *testing.T) {
	healthy, unknown := &report.Report{Peer: "healthy", Healthy: true, Measured: true}, &report.Report{Peer: "unknown"}
	faulty := &report.Report{Peer: "faulty", Measured: true, Diagnoses: []diagnosis.Held{{Diagnosis: diagnosis.Diagnosis{Name: "peer_silent", Severity: diagnosis.Critical}}}}
	informed := &report.Report{Peer: "informed", Measured: true, Diagnoses: []diagnosis.Held{{Diagnosis: diagnosis.Diagnosis{Name: "icmp_blocked", Severity: diagnosis.Info}}}}
	for _, tt := range []struct {
		name    string
		reports []*report.Report
		least   diagnosis.Severity
		want    error
		text    string
	}{
		{"healthy", []*report.Report{healthy, healthy}, diagnosis.Info, nil, ""},
		{"a fault", []*report.Report{healthy, faulty, healthy}, diagnosis.Warning, ErrFault, "a fault was found"},
		{"for information", []*report.Report{healthy, informed}, diagnosis.Warning, nil, ""},
		{"for information, which counts", []*report.Report{healthy, informed}, diagnosis.Info, ErrFault, "a fault was found"},
		{"unmeasured", []*report.Report{healthy, unknown}, diagnosis.Warning, ErrUnmeasured, "could not measure: unknown"},
		{
			"unmeasured outweighs a fault",
			[]*report.Report{faulty, unknown, faulty, unknown},
			diagnosis.Warning,
			ErrUnmeasured, "could not measure: unknown, unknown",
		},
	} {
		err := outcome(tt.reports, tt.least)
		if !errors.Is(err, tt.want) || err != nil && err.Error() != tt.text {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestReportFails: a report that cannot be rendered is an error, not a fault, and prints nothing.
func TestReportFails(t *testing.T) {
	r := &report.Report{Peer: "hq", Measured: true, Diagnoses: []diagnosis.Held{{Diagnosis: diagnosis.Diagnosis{Name: "without_advice"}}}}
	for format := range report.Formats() {
		var out bytes.Buffer
		err := (&Options{Output: format, Stdout: &out}).Conclude([]*report.Report{r})
		if err == nil || errors.Is(err, ErrFault) || !strings.HasPrefix(err.Error(), "report not written: text advice/without_advice: ") || out.Len() > 0 {
			t.Errorf("%s: %v, output %q", format, err, out.String())
		}
	}
}

// noGateway is the rest of an error on a host without a VPN gateway.
const noGateway = "on a VPN gateway neither is needed: the peers of strongSwan, Libreswan or the kernel are measured, but none was found here"

func TestCheckedPeers(t *testing.T) {
	file := exportertest.ConfigFile(t, "peers:\n- {name: hq, address: 203.0.113.10}\n- {name: lab, address: 203.0.113.11}\n- {address: 203.0.113.12}\n")
	for _, tt := range []struct {
		name    string
		options Options
		peers   []string
		err     string
	}{
		{"addresses", Options{Targets: []string{"203.0.113.1", "2001:db8::1"}}, []string{"203.0.113.1", "2001:db8::1"}, ""},
		{"all of a file", Options{ConfigFile: file}, []string{"hq", "lab", "203.0.113.12"}, ""},
		{"some of a file, in its order", Options{ConfigFile: file, Targets: []string{"203.0.113.12", "hq"}}, []string{"hq", "203.0.113.12"}, ""},
		{"nothing", Options{}, nil, "nothing to check: give an address, or --config.file; " + noGateway},
		{
			"unknown names",
			Options{ConfigFile: file, Targets: []string{"hq", "ha", "203.0.113.10"}},
			nil,
			file + ` has no peer named "ha"` + "\n" + file + ` has no peer named "203.0.113.10"`,
		},
		{
			"bad addresses",
			Options{Targets: []string{"203.0.113.300", "203.0.113.1", "203.0.113.1"}},
			nil,
			`"203.0.113.300": address: "203.0.113.300" is not a valid IPv4 address` + "\n" +
				`"203.0.113.1": name: "203.0.113.1" is already the name of "203.0.113.1"`,
		},
		{
			"unreadable file",
			Options{ConfigFile: file + ".none"},
			nil,
			"cannot read the configuration: open " + file + ".none: no such file or directory",
		},
	} {
		cfg, err := tt.options.peers(t.Context())
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

// TestCheckByName: one peer's name does not resolve; the others are measured, and the exit code is
// that of the one.
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
	c := l.checker(t, cfg, false)
	r := &exportertest.Names{}
	r.Set("gateway.example", l.ServerAddr(true), l.ServerAddr(false))
	r.Set("only6.example", l.ServerAddr(true))
	c.resolver = r
	report, _, err := runReport(t, c, cfg, "json")
	if !errors.Is(err, ErrUnmeasured) || err.Error() != "could not measure: lost, wrong" {
		t.Errorf("error %v", err)
	}
	d := decode(t, report)
	if len(d) != 4 {
		t.Fatalf("%d reports", len(d))
	}
	for i, want := range []string{l.Address(false), l.Address(true)} {
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
	text, _, _ := runReport(t, c, cfg, "text")
	want := "lost: unknown RESULTS not measured cannot resolve \"lost.example\": no address of the wanted family (any) "
	if !strings.Contains(flat(text), want) {
		t.Errorf("want %q in:\n%s", want, text)
	}
}

// TestCheckFromASource: the way out is in the report, and a source that this host does not have is
// an error with its reason.
func TestCheckFromASource(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.Parse("config.yml", []byte(`
peers:
- {name: hq, address: `+l.Address(false)+`, source_address: `+l.ClientAddr(false).String()+`}
- {name: elsewhere, address: `+l.Address(false)+`, source_address: 192.0.2.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := runReport(t, l.checker(t, cfg, false), cfg, "json")
	if !errors.Is(err, ErrUnmeasured) || err.Error() != "could not measure: elsewhere via 192.0.2.1" {
		t.Errorf("error %v", err)
	}
	d := decode(t, report)
	if !d[0].Healthy || *d[0].Via != l.ClientAddr(false).String() {
		t.Errorf("from %s: %+v", *d[0].Via, d[0])
	}
	const why = ": route to 10.77.4.2 from 192.0.2.1: network is unreachable"
	slices.Sort(d[1].Errors) // echoes and IKE go side by side
	if diff := cmp.Diff([]string{"flows" + why, "fragments" + why, "icmp" + why, "ike" + why, "path MTU" + why, "protocols" + why}, d[1].Errors); diff != "" || len(d[1].Diagnoses) != 0 {
		t.Errorf("a source of another host (-want +got):\n%s\n%s", diff, report)
	}
}

// TestPeersOfFiles: a check knows the peers of peer files by their names, and says what is wrong
// there.
func TestPeersOfFiles(t *testing.T) {
	t.Parallel()
	file := exportertest.ConfigFile(t, "peer_files: ['*.json']\n")
	list := filepath.Join(filepath.Dir(file), "peers.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"targets": ["203.0.113.1"], "labels": {"__peer__": "one"}}, {"targets": ["203.0.113.2"]}]`)
	cfg, err := (&Options{ConfigFile: file, Targets: []string{"one"}}).peers(t.Context())
	if err != nil || len(cfg.Peers) != 1 || cfg.Peers[0].Name != "one" || len(cfg.Known) != 2 {
		t.Errorf("%+v, %v", cfg, err)
	}
	write("[]")
	if _, err := (&Options{ConfigFile: file}).peers(t.Context()); err == nil || !strings.Contains(err.Error(), "no peers") {
		t.Errorf("without peers: %v", err)
	}
	write("nonsense")
	if _, err := (&Options{ConfigFile: file}).peers(t.Context()); err == nil || !strings.HasPrefix(err.Error(), list+":1: invalid JSON") {
		t.Errorf("a broken file: %v", err)
	}
}
