package config_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// address compares netip.Addr, whose fields are hidden.
var address = cmpopts.EquateComparable(netip.Addr{})

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c
}

func TestOneAddressIsEnough(t *testing.T) {
	got := parse(t, "peers: [{address: 203.0.113.10}]")
	want := &config.Config{
		Peers: []config.Peer{{
			Name: "203.0.113.10", Address: "203.0.113.10", Addr: netip.MustParseAddr("203.0.113.10"), Settings: config.Defaults(),
		}},
		Modules: map[string]config.Settings{"default": config.Defaults()},
		Limits:  config.DefaultLimits(),
	}
	if diff := cmp.Diff(want, got, address); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	got := config.Defaults()
	var want config.Settings
	want.IKE.Port, want.IKE.NATTPort = 500, 4500
	want.ESP.Cipher = ipsec.Cipher{Name: "aes-cbc-sha1", IV: 16, Block: 16, ICV: 12}
	want.Collectors = suite.NewSet(suite.ICMP, suite.IKE, suite.PMTU, suite.Fragments, suite.Flows)
	want.Intervals = suite.Intervals{
		suite.ICMP: 5 * time.Second, suite.IKE: 30 * time.Second, suite.PMTU: time.Minute,
		suite.Fragments: 5 * time.Minute, suite.Protocols: 15 * time.Minute, suite.Flows: 15 * time.Minute, suite.Inside: time.Minute,
		suite.Partner: 30 * time.Second,
	}
	want.PMTURaise = 10 * time.Minute
	if diff := cmp.Diff(want, got, address); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestReference(t *testing.T) {
	got, err := config.Load("../../examples/reference.yml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Defaults(), got.Modules[config.DefaultModule], address); diff != "" {
		t.Errorf("documented defaults (-built-in +reference.yml):\n%s", diff)
	}
	if diff := cmp.Diff(config.DefaultLimits(), got.Limits); diff != "" {
		t.Errorf("documented limits (-built-in +reference.yml):\n%s", diff)
	}
	asa := config.Defaults()
	asa.IKE.Version, asa.IKE.Auth = ikeprobe.V1, ikeprobe.XAUTH
	asa.ESP.Cipher, _ = ipsec.CipherByName("3des-sha1")
	asa.ESP.NATT = config.NATTNever
	branch := config.Defaults()
	branch.Family = config.FamilyIP6
	branch.Collectors = suite.NewSet(suite.ICMP, suite.PMTU, suite.Inside)
	branch.Intervals[suite.ICMP] = time.Second
	branch.OnDemand = true
	colo := config.Defaults()
	colo.Collectors = colo.Collectors.With(suite.Partner)
	colo.Partner = config.Partner{
		Addr: netip.MustParseAddr("203.0.113.31"), Port: 10862, KeyFile: "../../examples/colo.key", NextKeyFile: "../../examples/colo.next.key", DSCP: 10, Marks: true,
	}
	want := []config.Peer{
		{Name: "203.0.113.10", Address: "203.0.113.10", Addr: netip.MustParseAddr("203.0.113.10"), Settings: config.Defaults()},
		{Name: "hq", Address: "vpn.example.net", Labels: map[string]string{"site": "haiti", "isp": "acme"}, Settings: asa},
		{
			Name: "branch", Address: "2001:db8::1", Addr: netip.MustParseAddr("2001:db8::1"), Settings: branch, Gateways: []string{"hub"},
			Inside: []inside.Target{
				{Address: netip.MustParseAddr("10.1.0.1"), Source: netip.MustParseAddr("10.2.0.1"), Port: 443}, {Address: netip.MustParseAddr("10.1.0.2")},
			},
			Match: gateways.Match{
				Addresses: []string{"198.51.100.0/24", "branch-outside"}, IDs: []string{"branch.example.net"}, Usernames: []string{"branch"},
				Groups: []string{"branches"},
			},
		},
		{Name: "colo", Address: "203.0.113.30", Addr: netip.MustParseAddr("203.0.113.30"), Settings: colo},
	}
	if want := (config.Partners{Addr: netip.IPv6Unspecified(), Port: 10862, Limits: session.DefaultLimits()}); got.Partners != want {
		t.Errorf("partners %+v, want %+v", got.Partners, want)
	}
	if diff := cmp.Diff(want, got.Peers, address); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.53")}; !slices.Equal(got.Controls, want) {
		t.Errorf("controls %v", got.Controls)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
}

// TestReferenceIsComplete takes the known keys from the problem of an unknown one.
func TestReferenceIsComplete(t *testing.T) {
	data, err := os.ReadFile("../../examples/reference.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"zzzzzz: 0", "limits: {zzzzzz: 0}", "peers: [{zzzzzz: 0}]", "gateways: [{zzzzzz: 0}]", "peers: [{match: {zzzzzz: 0}}]",
		"modules: {default: {ike: {zzzzzz: 0}}}", "modules: {default: {esp: {zzzzzz: 0}}}", "partners: {zzzzzz: 0}", "peers: [{partner: {zzzzzz: 0}}]", "modules: {default: {intervals: {zzzzzz: 0}}}",
	} {
		_, err := config.Parse("", []byte(text))
		if err == nil {
			t.Fatalf("%s: no error", text)
		}
		_, list, _ := strings.Cut(err.Error(), `unknown key "zzzzzz": must be one of: `)
		list, _, _ = strings.Cut(list, "\n")
		keys := strings.Split(list, ", ")
		if len(keys) < 2 {
			t.Errorf("%s: keys %q in %v", text, keys, err)
		}
		for _, key := range keys {
			if !strings.Contains(string(data), key+":") {
				t.Errorf("reference.yml lacks %s", key)
			}
		}
	}
}

func TestOverrides(t *testing.T) {
	c := parse(t, `
modules:
  slow: {intervals: {icmp: 1m, ike: 1d}}
  default: {family: ip4, intervals: {icmp: 2s, pmtu: 1m30s}, source_address: 192.0.2.1}
  empty:
peers:
  - {name: a, address: a.example, module: slow, intervals: {ike: 12.5s}, source_address: ""}
  - {name: b, address: b.example, module: empty, interface: vrf-blue}
`)
	want := map[string]suite.Intervals{
		"a": {time.Minute, 12500 * time.Millisecond, 90 * time.Second, 5 * time.Minute, 15 * time.Minute, 15 * time.Minute, time.Minute, 30 * time.Second},
		"b": {2 * time.Second, 30 * time.Second, 90 * time.Second, 5 * time.Minute, 15 * time.Minute, 15 * time.Minute, time.Minute, 30 * time.Second},
	}
	for _, p := range c.Peers {
		if diff := cmp.Diff(want[p.Name], p.Intervals); diff != "" || p.PMTURaise != 10*time.Minute || p.Family != config.FamilyIP4 {
			t.Errorf("%s: family %v, intervals (-want +got):\n%s", p.Name, p.Family, diff)
		}
	}
	if a, b := c.Peers[0].SourceAddress, c.Peers[1].SourceAddress; a.IsValid() || b != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("source addresses %v and %v", a, b)
	}
	if c.Peers[1].Interface != "vrf-blue" || len(c.Modules) != 3 || c.Modules["slow"].Intervals[suite.IKE] != 24*time.Hour {
		t.Errorf("interface %q, modules %v", c.Peers[1].Interface, c.Modules)
	}
}

func TestValuesThatLookLikeOthers(t *testing.T) {
	c := parse(t, `
peers:
  - {name: 010, address: 203.0.113.10, labels: &labels {asn: 065000, up: yes, number: 1.10, empty: "", tilde: ~, nothing: }}
  - {name: 1.20, address: vpn_1.example.net., labels: *labels, ike: , module: default, interface: ~}
  - {name: same address again, address: 203.0.113.10}
`)
	labels := map[string]string{"asn": "065000", "up": "yes", "number": "1.10"}
	for i, name := range []string{"010", "1.20"} {
		if p := c.Peers[i]; p.Name != name || !cmp.Equal(p.Labels, labels) || p.Settings != config.Defaults() {
			t.Errorf("peer %d is %+v, want name %s and labels %v", i, p, name, labels)
		}
	}
	if len(c.Peers) != 3 || c.Peers[2].Labels != nil {
		t.Errorf("peers: %+v", c.Peers)
	}
}

func TestReadErrors(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "missing.yml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot read the configuration: open ") {
		t.Errorf("missing file: %v", err)
	}
	_, err = config.Parse("config.yml", []byte("peers: [{address: a.example}, {naem: b}]"))
	var problem *config.Error
	if !errors.As(err, &problem) {
		t.Fatalf("error has no config.Error: %v", err)
	}
	want := &config.Error{File: "config.yml", Line: 1, Place: "peers[1]", Text: `unknown key "naem": did you mean "name"?`}
	if diff := cmp.Diff(want, problem); diff != "" {
		t.Errorf("first problem (-want +got):\n%s", diff)
	}
}

func TestFlags(t *testing.T) {
	c, err := config.ReadAny("", []string{"203.0.113.10", "2001:db8::1", "hq=vpn.example.net", "v6=2001:db8::2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Peer{
		{Name: "203.0.113.10", Address: "203.0.113.10", Addr: netip.MustParseAddr("203.0.113.10"), Settings: config.Defaults()},
		{Name: "2001:db8::1", Address: "2001:db8::1", Addr: netip.MustParseAddr("2001:db8::1"), Settings: config.Defaults()},
		{Name: "hq", Address: "vpn.example.net", Settings: config.Defaults()},
		{Name: "v6", Address: "2001:db8::2", Addr: netip.MustParseAddr("2001:db8::2"), Settings: config.Defaults()},
	}
	if diff := cmp.Diff(want, c.Peers, address); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if c.Limits != config.DefaultLimits() {
		t.Errorf("limits %+v", c.Limits)
	}
}

func TestBadFlags(t *testing.T) {
	_, err := config.ReadAny("", []string{
		"", "hq=", "=203.0.113.10", "hq=203.0.113.300", "hq=203.0.113.1", "a=fe80::1%eth0", "\xff=b.example", "[::1]",
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`--peer=: address: is missing: must be a host name or IP address`,
		`--peer=hq=: address: is missing: must be a host name or IP address`,
		`--peer=hq=203.0.113.300: address: "203.0.113.300" is not a valid IPv4 address`,
		`--peer=hq=203.0.113.300: name: "hq" is already the name of --peer=hq=`,
		`--peer=hq=203.0.113.1: name: "hq" is already the name of --peer=hq=`,
		`--peer=a=fe80::1%eth0: address: "fe80::1%eth0" has a zone: write fe80::1, and interface: eth0`,
		"--peer=\xff=b.example: name: \"\\xff\" has unprintable characters",
		`--peer=[::1]: address: "[::1]" has brackets: write the IPv6 address without them`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestNoPeers(t *testing.T) {
	const want = "no peers: give --peer=203.0.113.10 or a file with --config.file"
	if _, err := config.Parse("", nil); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if c, err := config.ReadAny("", nil); err != nil || len(c.Peers) != 0 {
		t.Errorf("ReadAny: %+v, %v", c, err)
	}
}

func TestFileAndFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("modules: {default: {intervals: {icmp: 1s}}}")
	c, err := config.ReadAny(file, []string{"hq=203.0.113.10"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Peers) != 1 || c.Peers[0].Intervals[suite.ICMP] != time.Second {
		t.Errorf("peers %+v, want one with the file's default module", c.Peers)
	}
	write("peers:\n  - {name: hq, address: 203.0.113.11}\n  - {}\n")
	_, err = config.ReadAny(file, []string{"hq=203.0.113.10", "x=y z"})
	want := strings.Join([]string{
		file + `:3: peers[1]: address: is missing: must be a host name or IP address`,
		`--peer=hq=203.0.113.10: name: "hq" is already the name of peers[0] (` + file + `:2)`,
		`--peer=x=y z: address: "y z" is not a host name or IP address`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestEqual(t *testing.T) {
	const text = `peers: [{name: a, address: 203.0.113.10, labels: {site: x, isp: y}}]`
	p := parse(t, text).Peers[0]
	if !p.Equal(parse(t, text).Peers[0]) {
		t.Error("the same peer is not equal")
	}
	for _, other := range []string{
		`{name: b, address: 203.0.113.10, labels: {site: x, isp: y}}`,
		`{name: a, address: 203.0.113.11, labels: {site: x, isp: y}}`,
		`{name: a, address: 203.0.113.10, labels: {site: x}}`,
		`{name: a, address: 203.0.113.10, labels: {site: x, isp: z}}`,
		`{name: a, address: 203.0.113.10, labels: {site: x, isp: y}, ike: {port: 501}}`,
		`{name: a, address: 203.0.113.10, labels: {site: x, isp: y}, on_demand: true}`,
		`{name: a, address: 203.0.113.10, labels: {site: x, isp: y}, gateways: [g]}`,
		`{name: a, address: 203.0.113.10, labels: {site: x, isp: y}, match: {ids: [a]}}`,
	} {
		if p.Equal(parse(t, "gateways: [{name: g, type: xfrm}]\npeers: ["+other+"]").Peers[0]) {
			t.Errorf("equal to %s", other)
		}
	}
}
