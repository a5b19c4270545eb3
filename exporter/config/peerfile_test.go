package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// filesBase is what peer files refer to.
const filesBase = `
modules:
  default: {intervals: {icmp: 1s}}
  old: {ike: {version: 1}}
gateways: [{name: hub, type: xfrm}, {name: spare, type: strongswan}]
peer_files: ["*.yml"]
peers: [{name: hq, address: 203.0.113.1}]
`

// everyLabel sets every key that a label can set, in YAML and in JSON.
var everyLabel = map[string]string{
	"a.yml": `
- targets: [vpn.example.net]
  labels:
    __peer__: branch
    __module__: old
    __gateways__: hub, spare
    __match_addresses__: 198.51.100.0/24,branch-outside
    __match_ids__: branch.example.net
    __match_usernames__: branch
    __match_groups__: branches
    __family__: ip4
    __source_address__: 192.0.2.9
    __interface__: wan0
    __fwmark__: 0x10
    __ike_version__: auto
    __ike_port__: 1500
    __ike_natt_port__: "14500"
    __ike_source_port__: fixed
    __ike_auth__: rsa
    __esp_cipher__: aes-gcm-16
    __esp_natt__: never
    __collectors__: icmp, pmtu
    __inside__: 10.1.0.1, 10.1.0.2
    __intervals_inside__: 2m
    __on_demand__: true
    __intervals_icmp__: 2s
    __intervals_ike__: 40s
    __intervals_pmtu__: 2m
    __intervals_fragments__: 6m
    __intervals_protocols__: 20m
    __intervals_flows__: 21m
    __intervals_partner__: 23s
    __partner_address__: 203.0.113.31
    __partner_port__: 1862
    __partner_mode__: authenticated
    __partner_key_file__: one.key
    __partner_key_file_next__: two.key
    __partner_dscp__: 46
    __intervals_pmtu_raise__: 22m
    __meta_datacenter: x
    __param_module: x
    __scheme__: https
    site: haiti
    isp: ""
`,
	"a.json": `[{"targets": ["vpn.example.net"], "labels": {
	"__peer__": "branch", "__module__": "old", "__gateways__": "hub, spare",
	"__match_addresses__": "198.51.100.0\/24,branch-outside", "__match_ids__": "branch.example.net",
	"__match_usernames__": "branch", "__match_groups__": "branches",
	"__family__": "ip4", "__source_address__": "192.0.2.9", "__interface__": "wan0", "__fwmark__": "0x10",
	"__ike_version__": "auto", "__ike_port__": 1500, "__ike_natt_port__": "14500", "__ike_source_port__": "fixed", "__ike_auth__": "rsa",
	"__esp_cipher__": "aes-gcm-16", "__esp_natt__": "never",
	"__collectors__": "icmp, pmtu", "__inside__": "10.1.0.1, 10.1.0.2", "__intervals_inside__": "2m", "__on_demand__": true,
	"__intervals_icmp__": "2s", "__intervals_ike__": "40s", "__intervals_pmtu__": "2m", "__intervals_fragments__": "6m",
	"__intervals_protocols__": "20m", "__intervals_flows__": "21m", "__intervals_partner__": "23s",
	"__partner_address__": "203.0.113.31", "__partner_port__": 1862, "__partner_mode__": "authenticated",
	"__partner_key_file__": "one.key", "__partner_key_file_next__": "two.key", "__partner_dscp__": "46",
	"__intervals_pmtu_raise__": "22m",
	"__tmp_x": "x", "__metrics_path__": "/x", "__scrape_interval__": null,
	"site": "h\u0061iti", "isp": null
}}]`,
}

func TestPeerFileSetsEveryKey(t *testing.T) {
	base := parse(t, filesBase)
	gcm, _ := ipsec.CipherByName("aes-gcm-16")
	want := []config.Peer{{
		Name: "branch", Address: "vpn.example.net", Labels: map[string]string{"site": "haiti"}, Gateways: []string{"hub", "spare"},
		Match: gateways.Match{
			Addresses: []string{"198.51.100.0/24", "branch-outside"}, IDs: []string{"branch.example.net"},
			Usernames: []string{"branch"}, Groups: []string{"branches"},
		},
		Inside: []inside.Target{{Address: netip.MustParseAddr("10.1.0.1")}, {Address: netip.MustParseAddr("10.1.0.2")}},
		Settings: config.Settings{
			Family: config.FamilyIP4, SourceAddress: netip.MustParseAddr("192.0.2.9"), Interface: "wan0", Mark: 16,
			IKE: collectors.IKESettings{Version: ikeprobe.Auto, Port: 1500, NATTPort: 14500, SourcePort: collectors.FixedPort, Auth: ikeprobe.RSA},
			ESP: config.ESP{Cipher: gcm, NATT: config.NATTNever}, Collectors: suite.NewSet(suite.ICMP, suite.PMTU, suite.Inside, suite.Partner), OnDemand: true,
			Intervals: suite.Intervals{
				suite.ICMP: 2 * time.Second, suite.IKE: 40 * time.Second, suite.PMTU: 2 * time.Minute, suite.Fragments: 6 * time.Minute,
				suite.Protocols: 20 * time.Minute, suite.Flows: 21 * time.Minute, suite.Inside: 2 * time.Minute, suite.Partner: 23 * time.Second,
			},
			PMTURaise: 22 * time.Minute,
			Partner: config.Partner{
				Addr: netip.MustParseAddr("203.0.113.31"), Port: 1862, KeyFile: "one.key", NextKeyFile: "two.key", DSCP: 46, Marks: true,
			},
		},
	}}
	for file, text := range everyLabel {
		got, err := base.ReadPeers(file, []byte(text), nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(want, got, address); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// TestEveryKeyHasALabel: whatever a peer may set in the configuration, a label sets in a file, and is
// in the file above.
func TestEveryKeyHasALabel(t *testing.T) {
	base := parse(t, filesBase)
	_, err := base.ReadPeers("a.yml", []byte("[{targets: [a.example], labels: {__zzzzzzzzzz__: x}}]"), nil)
	if err == nil {
		t.Fatal("an unknown label is accepted")
	}
	labels := regexp.MustCompile(`__[a-z_]+?__`).FindAllString(strings.SplitN(err.Error(), "must be one of", 2)[1], -1)
	keys := map[string]string{"peers: [{zzzzzz: 0}]": "", "peers: [{match: {zzzzzz: 0}}]": "match_"}
	for _, group := range []string{"ike", "esp", "intervals", "partner"} {
		keys["peers: [{"+group+": {zzzzzz: 0}}]"] = group + "_"
	}
	n := 0
	for text, prefix := range keys {
		_, err := config.Parse("", []byte(text))
		if err == nil {
			t.Fatalf("%s: no error", text)
		}
		_, known, _ := strings.Cut(strings.Split(err.Error(), "\n")[0], "must be one of: ")
		for key := range strings.SplitSeq(known, ", ") {
			label := "__" + prefix + key + "__"
			switch prefix + "." + key {
			case ".name":
				label = "__peer__"
			case ".address", ".labels", ".match", ".ike", ".esp", ".intervals", ".partner":
				continue
			}
			n++
			if !slices.Contains(labels, label) || !strings.Contains(everyLabel["a.yml"], label+":") || !strings.Contains(everyLabel["a.json"], `"`+label+`"`) {
				t.Errorf("no label %s, or no test of it", label)
			}
		}
	}
	if n != len(labels) || n < 20 {
		t.Errorf("%d keys and %d labels", n, len(labels))
	}
}

// TestPeerFileProblems: each with its place, all at once, and each line once.
func TestPeerFileProblems(t *testing.T) {
	base := parse(t, filesBase)
	taken := func(name string) (string, bool) { return "b.yml", name == "lab" }
	many := "[{targets: [" + strings.Repeat("'a b',", 30) + "], labels: {}}]"
	for _, tt := range []struct{ file, text, want string }{
		{"a.yml", "", "a.yml: is empty: write [] for no peers"},
		{"a.json", " \n", "a.json: is empty: write [] for no peers"},
		{"a.yml", "# soon\n", "a.yml: has no list: write [] for no peers"},
		{"a.yml", "targets: []", "a.yml:1: must be a list, not a mapping"},
		{"a.json", `{"targets": []}`, "a.json:1: must be a list, not a mapping"},
		{"a.json", `null`, "a.json:1: must be a list, not nothing"},
		{"a.yml", "- targets: [a.example\n", "a.yml:2: invalid YAML: did not find expected ',' or ']'"},
		{"a.json", "[\n{\"targets\":\n[\"a.example\"\n", "a.json:3: invalid JSON: the file ends within a value"},
		{"a.json", "[\n{\"targets\":\n[,]}]", "a.json:3: invalid JSON: invalid character ',' looking for beginning of value"},
		{"a.json", "[]\n[]", "a.json:2: invalid JSON: more follows the list"},
		{"a.json", strings.Repeat("[", 1_000_000), "a.json:1: invalid JSON: values are nested too deeply"},
		{"a.yml", "- labels: {a: b}\n- a.example\n", "a.yml:1: [0].targets: is missing: a group is {targets: [ADDRESS], labels: {...}}\n" +
			`a.yml:2: [1]: must be a mapping of keys to values, not the single value "a.example"`},
		{"a.yml", "- target: [a.example]\n", `a.yml:1: [0]: unknown key "target": did you mean "targets"?` + "\n" +
			"a.yml:1: [0].targets: is missing: a group is {targets: [ADDRESS], labels: {...}}"},
		{"a.json", "[{\n\"targets\": [\"a.example\"],\n\"targets\": []}]", `a.json:3: [0]: duplicate key "targets" (first on line 2)`},
		{"a.yml", "- targets: [203.0.113.300, [x], 203.0.113.1:500]", `a.yml:1: [0].targets[0] ("203.0.113.300"): address: "203.0.113.300" is not a valid IPv4 address` +
			"\na.yml:1: [0].targets[1]: must be a single value, not a list\n" +
			`a.yml:1: [0].targets[2] ("203.0.113.1:500"): address: "203.0.113.1:500" has a port: set ike.port instead`},
		{
			"a.yml", "- targets: [a.example, b.example, c.example]\n  labels: {__ike_port__: 0}\n",
			`a.yml:2: [0].targets[0] ("a.example"): ike.port: "0" is not a whole number from 1 to 65535`,
		},
		{
			"a.yml", "- targets: [a.example]\n  labels:\n    job: a\n    __modul__: old\n    __gateways__: hup\n    __collectors__: ','\n",
			`a.yml:3: [0].labels.job: is reserved by Prometheus or by the exporter's own series` + "\n" +
				`a.yml:4: [0].labels: unknown label "__modul__": did you mean "__module__"?` + "\n" +
				`a.yml:5: [0].targets[0] ("a.example"): gateways[0]: unknown gateway "hup": did you mean "hub"?` + "\n" +
				`a.yml:6: [0].targets[0] ("a.example"): collectors[0]: unknown value "": must be one of: icmp, ike, pmtu, fragments, protocols, flows, partner`,
		},
		{"a.yml", "- targets: [a.example, b.example]\n  labels: {__peer__: x}\n", `a.yml:2: [0].targets[1] ("x"): name: "x" is already the name of [0].targets[0] (a.yml:1)`},
		{"a.yml", "[]\n---\n[]\n", "a.yml:2: second YAML document: only one is supported"},
		{"a.yml", "- targets: [lab]", `a.yml:1: [0].targets[0] ("lab"): name: "lab" is already the name of b.yml`},
		{
			"a.yml", "- targets: [a.example]\n  labels: {__peer__: lab@ip4, __family__: both}\n- targets: [c.example]\n  labels: {__peer__: lab@ip4@ip6}\n",
			`a.yml:4: [1].targets[0] ("lab@ip4@ip6"): name: "lab@ip4@ip6" is already the name of [0].targets[0] (a.yml:1)`,
		},
		{"a.yml", many, `a.yml:1: [0].targets[0] ("a b"): address: "a b" is not a host name or IP address`},
	} {
		got, err := base.ReadPeers(tt.file, []byte(tt.text), taken)
		if err == nil {
			t.Errorf("%q is accepted: %v", tt.text, got)
		} else if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%.80q (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestPeerFileLimits(t *testing.T) {
	base := parse(t, filesBase)
	var many strings.Builder
	for i := range 30 {
		fmt.Fprintf(&many, "- targets: ['%d b']\n", i)
	}
	_, err := base.ReadPeers("a.yml", []byte(many.String()), nil)
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 21 || lines[20] != "a.yml: 10 more problems" {
		t.Errorf("%d lines, the last one is %q", len(lines), lines[len(lines)-1])
	}
	var aliases strings.Builder // 10,000 peers, eleven times
	aliases.WriteString("- targets: &all [")
	for i := range 10_000 {
		fmt.Fprintf(&aliases, "h%d.example,", i)
	}
	aliases.WriteString("]\n")
	for range 10 {
		aliases.WriteString("- targets: *all\n")
	}
	if _, err = base.ReadPeers("a.yml", []byte(aliases.String()), nil); err == nil || len(err.Error()) > 10_000 {
		t.Errorf("many aliases: %.200v", err)
	}
	var large strings.Builder
	large.WriteString("[")
	for i := range 100_001 {
		fmt.Fprintf(&large, "{\"targets\":[\"10.%d.%d.%d\"]},\n", i>>16, i>>8&255, i&255)
	}
	text := strings.TrimSuffix(large.String(), ",\n") + "]"
	const want = "a.json:100001: [100000].targets[0]: is beyond the 100000 peers that one file may have"
	if _, err = base.ReadPeers("a.json", []byte(text), nil); err == nil || err.Error() != want {
		t.Errorf("too many peers: %.200v", err)
	}
}

// TestPeerFilePatterns: what Prometheus accepts, and an error for the rest.
func TestPeerFilePatterns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte("peer_files: ['peers.d/*.yml', /etc/x.JSON, one.yaml]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.ReadAny(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	if want := []string{dir + "/peers.d/*.yml", "/etc/x.JSON", dir + "/one.yaml"}; !slices.Equal(c.PeerFiles, want) {
		t.Errorf("patterns %q, want %q", c.PeerFiles, want)
	}
	_, err = config.Parse("config.yml", []byte("peers: [{address: a.example}]\npeer_files: [a.txt, 'd*/a.yml', '[a.yml', a.yml, a.yml, '', [x]]\n"))
	want := strings.Join([]string{
		`config.yml:2: peer_files[0]: "a.txt" must end in .json, .yml or .yaml`,
		`config.yml:2: peer_files[1]: "d*/a.yml" has a pattern in a directory: only the file name may have one`,
		`config.yml:2: peer_files[2]: "[a.yml" is not a valid pattern (example: peers.d/*.yml)`,
		`config.yml:2: peer_files[4]: "a.yml" is listed twice`,
		`config.yml:2: peer_files[5]: must be one line and not empty`,
		`config.yml:2: peer_files[6]: must be a single value, not a list`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("problems (-want +got):\n%s", cmp.Diff(want, fmt.Sprint(err)))
	}
}

// TestPlaceOf: the places of both peers of one name are known.
func TestPlaceOf(t *testing.T) {
	base := parse(t, filesBase)
	if got := base.Places["hq"]; got != "peers[0] (config.yml:7)" {
		t.Errorf("place of hq: %q", got)
	}
	text := []byte("- targets: [a.example]\n- targets:\n  - b.example\n")
	if got := base.PlaceOf("b.example", "a.yml", text); got != "[1].targets[0] (a.yml:3)" {
		t.Errorf("place of b.example: %q", got)
	}
	if got := base.PlaceOf("none", "a.yml", text); got != "a.yml" {
		t.Errorf("place of no peer: %q", got)
	}
}

// FuzzPeerFile looks for panics, for unusable peers, and for peers that JSON and YAML give
// differently.
func FuzzPeerFile(f *testing.F) {
	base, err := config.Parse("config.yml", []byte(filesBase))
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range everyLabel {
		f.Add([]byte(text))
	}
	for _, text := range []string{
		"", "[]", "[{}]", `[{"targets": ["a.example"]}]`, "- targets: &a [a.example, *a]\n", "- &b {targets: [x.example], labels: *b}\n",
		`[{"targets": ["\ud83d\ude00", "a"], "labels": {"a": 1e3}}] 1`, "- targets: [a.example]\n  labels: {__family__: both}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range []string{"a.yml", "a.json"} {
			peers, err := base.ReadPeers(file, data, func(name string) (string, bool) { return "elsewhere", name == "hq" })
			if err != nil {
				if peers != nil || err.Error() == "" || !strings.HasPrefix(err.Error(), file) {
					t.Errorf("%s: %d peers with error %q", file, len(peers), err)
				}
				continue
			}
			names := make(map[string]bool)
			for i := range peers {
				p := &peers[i]
				if p.Name == "" || p.Name == "hq" || p.Address == "" || names[p.Name] || p.Collectors == 0 || p.IKE.Port == p.IKE.NATTPort || p.Addr.Zone() != "" {
					t.Errorf("%s: accepted %+v", file, p)
				}
				names[p.Name] = true
				if place := base.PlaceOf(p.Key(), file, data); !strings.Contains(place, file+":") {
					t.Errorf("%s: %q is at %q", file, p.Name, place)
				}
			}
		}
	})
}

// BenchmarkPeerFile reads 10,000 peers with three labels each.
func BenchmarkPeerFile(b *testing.B) {
	base, err := config.Parse("config.yml", []byte(filesBase))
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("[")
	const peers = 10_000
	for i := range peers {
		fmt.Fprintf(&text, "{\"targets\":[\"10.0.%d.%d\"],\"labels\":{\"__peer__\":\"branch-%05d\",\"site\":\"s%d\",\"isp\":\"acme\"}},\n", i>>8, i&255, i, i)
	}
	data := []byte(strings.TrimSuffix(text.String(), ",\n") + "]")
	for _, file := range []string{"a.json", "a.yml"} {
		b.Run(filepath.Ext(file), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got, err := base.ReadPeers(file, data, nil)
				if err != nil || len(got) != peers {
					b.Fatalf("%d peers, %v", len(got), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/peers, "us/peer")
		})
	}
}
