package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab"
)

// document is the JSON report as docs and users know it, written down independently of the code
// that makes it.
type document []documentOf

// mtuOf is the result of one method in it.
type mtuOf struct {
	Method, State, Reason string
	Note                  string
	Bytes                 int
	LinkBytes             int `json:"link_bytes"`
	Packets               int
	Seconds               float64
	PTBReceived           int    `json:"ptb_received"`
	PTBRejected           int    `json:"ptb_rejected"`
	PTBInexact            int    `json:"ptb_inexact"`
	PTBFrom               string `json:"ptb_from"`
	PTBMTU                int    `json:"ptb_mtu"`
	LastHopPassed         string `json:"last_hop_passed"`
	FirstHopFailed        string `json:"first_hop_failed"`
}

// documentOf is the report of one peer over one way.
type documentOf struct {
	Peer, Address, Family string
	Addresses             []struct{ Address, State, Reason string } `json:"other_addresses"`
	Via                   *string
	Started               time.Time
	Seconds               float64
	Healthy               bool
	Diagnoses             []struct {
		Name, Severity, Summary string
		Evidence                []string
	}
	ICMP *struct {
		State, Reason  string
		Sent, Received int
		RoundTrip      *float64 `json:"round_trip_seconds"`
		Loss           *float64 `json:"loss_ratio"`
		Min            *float64 `json:"round_trip_min_seconds"`
		Max            *float64 `json:"round_trip_max_seconds"`
		Jitter         *float64 `json:"jitter_seconds"`
		Error          string
		ErrorFrom      string `json:"error_from"`
	}
	MTU []mtuOf
	IKE []struct {
		Method        string
		Port          int
		State, Reason string
		Version       int
		Probe, Reply  string
		RoundTrip     *float64 `json:"round_trip_seconds"`
		Error         string
		ErrorFrom     string `json:"error_from"`
		Fragments     string
		FragmentsWhy  string `json:"fragments_reason"`
		FragmentsLong string `json:"fragments_long"`
		Reversed      string `json:"fragments_reversed"`
	}
	Tunnel *struct {
		MTUBytes      int `json:"mtu_bytes"`
		MSSBytes      int `json:"mss_bytes"`
		Cipher        string
		Encapsulation string
	}
	Source, Interface string
	Flows             []struct {
		Method, State, Reason string
		Bytes, Tested, Lost   int
		FixedOnly             bool `json:"fixed_source_port_only"`
	}
	Ways []struct {
		Method, Way string
		Apart       bool
	}
	Protocols []struct {
		Protocol, State, Reason, Error string
		Way                            string
		LastHop                        int `json:"last_hop"`
		Hops                           int
		BlockedBy                      string `json:"blocked_by"`
	}
	Direction string `json:"mtu_direction"`
	Forward   *wayOf
	Reverse   *wayOf
	Hops      []struct {
		TTL     int
		Address string
	}
	History    *struct{ Baseline, Changes []string }
	Comparison string
	Advice     []struct {
		Diagnosis, Provider     string
		Addressee               string
		Ask, Meanwhile, Confirm []string
	}
	Unknown []struct{ What, Why string }
	Errors  []string
}

// wayOf is what is known of one direction.
type wayOf struct {
	State, Reason  string
	LowerBytes     int    `json:"lower_bytes"`
	UpperBytes     int    `json:"upper_bytes"`
	LastHopPassed  string `json:"last_hop_passed"`
	FirstHopFailed string `json:"first_hop_failed"`
}

func decode(t *testing.T, report string) document {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(report))
	d.DisallowUnknownFields()
	var out document
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%v in:\n%s", err, report)
	}
	return out
}

// facts are what a report says, as far as it is not a matter of chance, a line for each part.
func (d document) facts() []string {
	var out []string
	for _, p := range d {
		add := func(format string, args ...any) { out = append(out, p.Peer+" "+fmt.Sprintf(format, args...)) }
		add("%s healthy %t", p.Family, p.Healthy)
		for _, x := range p.Diagnoses {
			add("diagnosis %s", x.Name)
		}
		if p.ICMP != nil {
			add("icmp %s, round trip %t", p.ICMP.State, p.ICMP.RoundTrip != nil)
		}
		for _, m := range p.MTU {
			add("mtu %s %s %d of %d", m.Method, m.State, m.Bytes, m.LinkBytes)
		}
		for _, i := range p.IKE {
			add("ike %s %d %s %s", i.Method, i.Port, i.State, i.Reply)
		}
		if p.Tunnel != nil {
			add("tunnel %d %d %s %s", p.Tunnel.MTUBytes, p.Tunnel.MSSBytes, p.Tunnel.Cipher, p.Tunnel.Encapsulation)
		}
		for _, e := range p.Errors {
			add("error %s", e)
		}
	}
	return out
}

// outcomeOf is what a whole report of one peer says, in the short form of facts.
type outcomeOf struct {
	diagnoses        []string
	icmp             string
	mtu              [3]string // by echo, IKE, NAT-T
	ike, natt        string
	tunnel4, tunnel6 string
}

func (o outcomeOf) facts(peer, family string) []string {
	out := []string{fmt.Sprintf("%s healthy %t", family, len(o.diagnoses) == 0)}
	for _, d := range o.diagnoses {
		out = append(out, "diagnosis "+d)
	}
	out = append(out, fmt.Sprintf("icmp %s, round trip %t", o.icmp, o.icmp == "reachable"))
	for i, method := range []string{"icmp", "ike", "natt"} {
		out = append(out, "mtu "+method+" "+o.mtu[i])
	}
	out = append(out, "ike ike 500 "+o.ike, "ike natt 4500 "+o.natt)
	tunnel := o.tunnel4
	if family == "ip6" {
		tunnel = o.tunnel6
	}
	if tunnel != "" {
		out = append(out, "tunnel "+tunnel+" aes-cbc-sha1 udp")
	}
	for i := range out {
		out[i] = peer + " " + out[i]
	}
	return out
}

func TestCheckFindsEveryFault(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	const (
		responding = "responding INVALID_KE_PAYLOAD"
		silent     = "silent "
		clean      = "clean 1500 of 1500"
		reduced    = "reduced 1400 of 1500"
		hole       = "black_hole 1400 of 1500"
		nothing    = "unreachable 0 of 1500"
		// 1500 and 1400 bytes less the headers of IP, UDP, ESP and its trailer, AES-CBC in whole
		// blocks, HMAC-SHA1-96.
		full4, full6   = "1422 1382", "1406 1366"
		small4, small6 = "1326 1286", "1310 1270"
	)
	for scenario, want := range map[string]outcomeOf{
		"S0":  {nil, "reachable", [3]string{clean, clean, clean}, responding, responding, full4, full6},
		"S1":  {nil, "reachable", [3]string{reduced, reduced, reduced}, responding, responding, small4, small6},
		"S2b": {[]string{"pmtu_black_hole", "pmtu_black_hole_reverse"}, "reachable", [3]string{hole, hole, hole}, responding, responding, small4, small6},
		"S3":  {[]string{"icmp_blocked", "pmtu_black_hole"}, "silent", [3]string{nothing, hole, hole}, responding, responding, small4, small6},
		// Only the reverse path is small. The tunnel's recommendation does not mind.
		"S6b":  {[]string{"pmtu_black_hole_reverse"}, "reachable", [3]string{hole, clean, clean}, responding, responding, full4, full6},
		"S11a": {[]string{"udp500_blocked"}, "reachable", [3]string{clean, nothing, clean}, silent, responding, full4, full6},
		"S11b": {[]string{"udp4500_blocked"}, "reachable", [3]string{clean, clean, nothing}, responding, silent, full4, full6},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, scenario)
			report, notes, err := l.check(t, "json", false, "four="+l.Address(false), "six="+l.Address(true))
			if fault := len(want.diagnoses) > 0; errors.Is(err, ErrFault) != fault || err != nil && !fault {
				t.Errorf("error %v", err)
			}
			if notes != "" {
				t.Errorf("notes on standard error: %s", notes)
			}
			got := decode(t, report).facts()
			if diff := cmp.Diff(slices.Concat(want.facts("four", "ip4"), want.facts("six", "ip6")), got); diff != "" {
				t.Errorf("report (-want +got):\n%s\n%s", diff, report)
			}
		})
	}
}

func TestCheckOfADeadAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	report, _, err := l.check(t, "json", false, l.Address(false), "dead="+l.dead())
	if !errors.Is(err, ErrFault) {
		t.Errorf("error %v, want ErrFault", err)
	}
	d := decode(t, report)
	if len(d) != 2 || !d[0].Healthy || d[1].Healthy {
		t.Fatalf("want a healthy and a faulty peer:\n%s", report)
	}
	if len(d[1].Diagnoses) != 1 || d[1].Diagnoses[0].Name != "no_route" {
		t.Errorf("diagnoses of a dead address:\n%s", report)
	}
	// The router in front of it says so, and that is the best evidence there is.
	if d[1].IKE[0].Error != "host_unreachable" || d[1].IKE[0].ErrorFrom != l.HopAddr(3, false).String() {
		t.Errorf("IKE does not name the router's complaint:\n%s", report)
	}
}

// TestJSONForm compares names, nesting and nulls, with a peer that makes all of them appear.
func TestJSONForm(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S3")
	report, _, err := l.check(t, "json", false, l.Address(false))
	if !errors.Is(err, ErrFault) {
		t.Errorf("error %v", err)
	}
	var tree any
	if err := json.Unmarshal([]byte(report), &tree); err != nil {
		t.Fatal(err)
	}
	var got []string
	walkJSON("", tree, func(path string) {
		if !slices.Contains(got, path) {
			got = append(got, path)
		}
	})
	slices.Sort(got)
	want := []string{
		"[].address string", "[].diagnoses[].evidence[] string", "[].diagnoses[].name string", "[].diagnoses[].severity string",
		"[].diagnoses[].summary string",
		"[].family string", "[].flows[].bytes number", "[].flows[].lost number", "[].flows[].method string", "[].flows[].state string",
		"[].flows[].tested number", "[].healthy bool",
		"[].icmp.jitter_seconds null", "[].icmp.loss_ratio null", "[].icmp.received number",
		"[].icmp.round_trip_max_seconds null", "[].icmp.round_trip_min_seconds null", "[].icmp.round_trip_seconds null", "[].icmp.sent number", "[].icmp.state string",
		"[].ike[].method string", "[].ike[].port number", "[].ike[].probe string", "[].ike[].reply string",
		"[].ike[].round_trip_seconds number", "[].ike[].state string", "[].ike[].version number",
		"[].mtu[].bytes number", "[].mtu[].link_bytes number", "[].mtu[].method string", "[].mtu[].packets number",
		"[].mtu[].ptb_received number", "[].mtu[].ptb_rejected number", "[].mtu[].reason string", "[].mtu[].seconds number",
		"[].mtu[].state string", "[].mtu_direction string",
		"[].peer string", "[].seconds number", "[].started string",
		"[].tunnel.cipher string", "[].tunnel.encapsulation string", "[].tunnel.mss_bytes number", "[].tunnel.mtu_bytes number",
		"[].via string",
		"[].advice[].addressee string", "[].advice[].ask[] string", "[].advice[].confirm[] string", "[].advice[].diagnosis string", "[].advice[].meanwhile[] string",
		"[].hops[].address string", "[].hops[].ttl number", "[].ike[].fragments string",
		"[].ike[].fragments_long string", "[].ike[].fragments_reversed string",
		"[].mtu[].first_hop_failed string", "[].mtu[].last_hop_passed string",
		"[].protocols[].hops number", "[].protocols[].last_hop number", "[].protocols[].protocol string", "[].protocols[].reason string",
		"[].protocols[].state string", "[].reverse.reason string", "[].reverse.state string",
		"[].advice[].provider string", "[].interface string", "[].source string", "[].unknown[].what string", "[].unknown[].why string",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	d := decode(t, report)
	if time.Since(d[0].Started) > time.Minute || d[0].Started.Location() != time.UTC || d[0].Seconds <= 0 {
		t.Errorf("started %v, took %v s", d[0].Started, d[0].Seconds)
	}
	if m := d[0].MTU[1]; m.Packets < 10 || m.Packets > 70 {
		t.Errorf("a black hole was found and confirmed with %d packets", m.Packets)
	}
}

// walkJSON calls leaf with the path and kind of everything that holds no more.
func walkJSON(path string, v any, leaf func(path string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			walkJSON(strings.TrimPrefix(path+"."+k, "."), x, leaf)
		}
	case []any:
		for _, x := range v {
			walkJSON(path+"[]", x, leaf)
		}
	case nil:
		leaf(path + " null")
	case string:
		leaf(path + " string")
	case float64:
		leaf(path + " number")
	case bool:
		leaf(path + " bool")
	}
}

// providerText begins the part of a report that is for the provider.
// flat is a text without line breaks and indentation.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// steady takes out what differs from run to run, and the line breaks.
func steady(report string) string {
	// Whether a host knows IPsec depends on its kernel.
	report = regexp.MustCompile(`(?m)^  reach, (esp|ah).*\n(?: {19}.*\n)*`).ReplaceAllString(report, "")
	report = flat(report)
	for _, r := range []struct{ from, to string }{
		{`(\d+\.\d+/){2}\d+\.\d+ ms`, "N/N/N ms"},
		{`\d+\.\d+ ms`, "N ms"},
		{`round trip [^ ]*s\b`, "round trip N"},
		{`\(\d+ packets?\)`, "(N packets)"},
		{`\d+ packets sent`, "N packets sent"},
		{`(Since|Since at least|Measured|to) \d[^ ]*Z`, "$1 T"},
		{`Measured T to T`, "Measured T"},
	} {
		report = regexp.MustCompile(r.from).ReplaceAllString(report, r.to)
	}
	return report
}

// documented returns the report that docs/check.md shows below a heading, about another address.
func documented(t *testing.T, heading, address string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
	_, sample, _ := strings.Cut(section, "\n$ ipsec_path_exporter check 203.0.113.10\n")
	sample, _, found := strings.Cut(sample, "```\n")
	if !found {
		t.Fatalf("docs/check.md shows no report below %q", heading)
	}
	return strings.ReplaceAll(sample, "203.0.113.10", address)
}

// TestTextReport: the program prints what docs/check.md shows. A "..." in a sample stands for any
// number of lines.
func TestTextReport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		scenario, heading, want string
		provider                []string
	}{
		"reduced": {"S1", "", `10.77.4.2: no fault found
RESULTS
  ICMP echo        reachable (5 of 5 answered, 0 % lost, min/avg/max N/N/N ms, jitter N ms)
  IKE, UDP 500     responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  IKE, UDP 4500    responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  fragments, 500   pass
  fragments, 4500  pass
  path MTU, icmp   1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets)
  path MTU, ike    1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets)
  path MTU, natt   1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets)
  flows            icmp: 3 of 3 answered, ike: 4 of 4 answered, natt: 4 of 4 answered
  reach, icmp      passes: the peer itself answers (seen up to hop 4 of 4)
  reach, udp500    passes: the peer itself answers (seen up to hop 4 of 4)
  reach, udp4500   passes: the peer itself answers (seen up to hop 4 of 4)
  reverse path     reduced: 1396 bytes come back, more than 1403 do not
  tunnel           MTU 1326, TCP MSS 1286 recommended (aes-cbc-sha1, ESP in UDP)
  Measured T.
`, nil},
		"healthy": {"S0", "A healthy path", "", nil},
		"black hole without ICMP": {"S3", "A path with a fault", "", []string{
			"Sent from 10.77.1.1 (interface `net1`) to 10.77.4.2", "IP packets of 1400 bytes with DF from 10.77.1.1 arrive at 10.77.4.2,",
			"--vendor=$(printf '00%.0s' $(seq 1285)) 10.77.4.2\n", "Set the tunnel's MTU to 1326 and TCP MSS to 1286",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, tt.scenario)
			want := tt.want
			if tt.heading != "" {
				want = documented(t, tt.heading, l.Address(false))
			}
			report, _, _ := l.check(t, "text", false, l.Address(false))
			report = steady(report)
			parts := strings.Split(want, "  ...\n")
			if len(parts) == 1 {
				if diff := cmp.Diff(steady(want), report); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
			}
			for _, want := range slices.Concat(tt.provider, parts) {
				if !strings.Contains(report, steady(want)) {
					t.Errorf("the report lacks %q:\n%s", steady(want), report)
				}
			}
		})
	}
}

// TestCheckOutOfTime: the time that the user gives is over before anything is certain. The report
// says what is known and what is not.
func TestCheckOutOfTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.FromArguments([]string{"dead=" + l.dead()})
	if err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	var stdout bytes.Buffer
	began := time.Now()
	err = c.run(t.Context(), cfg, &Options{Output: "text", Timeout: 4 * time.Second, Stdout: &stdout, Stderr: &bytes.Buffer{}})
	if !errors.Is(err, ErrUnmeasured) || time.Since(began) > 6*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
	const over = "--timeout=4s is over"
	want := `dead (10.77.4.4): unknown
RESULTS
  ICMP echo        silent (0 of 5 answered)
  IKE, UDP 500     unknown: ` + over + `
  IKE, UDP 4500    unknown: ` + over + `
  fragments, 500   unknown: no IKE message is known to be answered
  fragments, 4500  unknown: no IKE message is known to be answered
  not measured     ike: ` + over + `
  not measured     path MTU by icmp: ` + over + `
  not measured     protocols: ` + over + `
  not measured     flows: ` + over + `
  Measured T.
`
	// The last router gives up on a dead neighbour after about 3 s: before the end, or not.
	got := strings.ReplaceAll(steady(stdout.String()), "; ICMP host unreachable from 10.77.3.2", "")
	if diff := cmp.Diff(steady(want), got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestCheckWithoutPathMTU: an answered echo says nothing about large packets. Without time to find
// the path MTU, the report does not say that there is no fault.
func TestCheckWithoutPathMTU(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	cfg, err := config.FromArguments([]string{"hq=" + l.ServerAddr(false).String()})
	if err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	var stdout bytes.Buffer
	err = c.run(t.Context(), cfg, &Options{Output: "text", Timeout: 2 * time.Second, Stdout: &stdout, Stderr: &bytes.Buffer{}})
	if !errors.Is(err, ErrUnmeasured) || !strings.HasPrefix(stdout.String(), "hq (10.77.4.2): unknown\n") {
		t.Errorf("error %v, report:\n%s", err, stdout.String())
	}
}
