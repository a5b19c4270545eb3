package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab"
)

// check runs a check of these peers from the client's place.
func (l *lab) check(t *testing.T, output string, unprivileged bool, peers ...string) (report, notes string, err error) {
	t.Helper()
	cfg, err := config.FromArguments(peers)
	if err != nil {
		t.Fatal(err)
	}
	return runReport(t, l.app(t, cfg, slog.New(slog.DiscardHandler), unprivileged), cfg, output)
}

func runReport(t *testing.T, a *app, cfg *config.Config, output string) (report, notes string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err = a.checkOnce(t.Context(), cfg, &CheckOptions{Output: output, Timeout: 2 * time.Minute, Stdout: &stdout, Stderr: &stderr})
	return stdout.String(), stderr.String(), err
}

// document is the JSON report as docs and users know it, written down independently of the code that makes it.
type document []documentOf

// mtuOf is the result of one method in it.
type mtuOf struct {
	Method, State, Reason string
	Bytes                 int
	LinkBytes             int `json:"link_bytes"`
	Packets               int
	Seconds               float64
	PTBReceived           int    `json:"ptb_received"`
	PTBRejected           int    `json:"ptb_rejected"`
	PTBFrom               string `json:"ptb_from"`
	PTBMTU                int    `json:"ptb_mtu"`
	LastHopPassed         string `json:"last_hop_passed"`
	FirstHopFailed        string `json:"first_hop_failed"`
}

// documentOf is the report of one peer over one way.
type documentOf struct {
	Peer, Address, Family string
	Via                   *string
	Started               time.Time
	Seconds               float64
	Healthy               bool
	Diagnoses             []struct {
		Name, Summary string
		Evidence      []string
	}
	ICMP *struct {
		State, Reason  string
		Sent, Received int
		RoundTrip      *float64 `json:"round_trip_seconds"`
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
	}
	Tunnel *struct {
		MTUBytes      int `json:"mtu_bytes"`
		MSSBytes      int `json:"mss_bytes"`
		Cipher        string
		Encapsulation string
	}
	Source, Interface string
	Protocols         []struct {
		Protocol, State, Reason string
		LastHop                 int `json:"last_hop"`
		Hops                    int
		BlockedBy               string `json:"blocked_by"`
	}
	Reverse *struct {
		State, Reason string
		LowerBytes    int `json:"lower_bytes"`
		UpperBytes    int `json:"upper_bytes"`
	}
	Hops []struct {
		TTL     int
		Address string
	}
	History    *struct{ Baseline, Changes []string }
	Comparison string
	Advice     []struct {
		Diagnosis, Provider     string
		Ask, Meanwhile, Confirm []string
	}
	Unknown []struct{ What, Why string }
	Errors  []string
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

func TestCheckTellsEveryFault(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	const (
		responding = "responding INVALID_KE_PAYLOAD"
		silent     = "silent "
		clean      = "clean 1500 of 1500"
		reduced    = "reduced 1400 of 1500"
		hole       = "black_hole 1400 of 1500"
		nothing    = "unreachable 0 of 1500"
		// 1500 and 1400 bytes less the headers of IP, UDP, ESP and its trailer, AES-CBC in whole blocks, HMAC-SHA1-96.
		full4, full6   = "1422 1382", "1406 1366"
		small4, small6 = "1326 1286", "1310 1270"
	)
	for scenario, want := range map[string]outcomeOf{
		"S0":  {nil, "reachable", [3]string{clean, clean, clean}, responding, responding, full4, full6},
		"S1":  {nil, "reachable", [3]string{reduced, reduced, reduced}, responding, responding, small4, small6},
		"S2b": {[]string{"pmtu_black_hole", "pmtu_black_hole_reverse"}, "reachable", [3]string{hole, hole, hole}, responding, responding, small4, small6},
		"S3":  {[]string{"icmp_blocked", "pmtu_black_hole"}, "silent", [3]string{nothing, hole, hole}, responding, responding, small4, small6},
		// Only the way back is small. The tunnel's recommendation does not mind.
		"S6b":  {[]string{"pmtu_black_hole_reverse"}, "reachable", [3]string{hole, clean, clean}, responding, responding, full4, full6},
		"S11a": {[]string{"udp500_blocked"}, "reachable", [3]string{clean, nothing, clean}, silent, responding, full4, full6},
		"S11b": {[]string{"udp4500_blocked"}, "reachable", [3]string{clean, clean, nothing}, responding, silent, full4, full6},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, scenario)
			report, notes, err := l.check(t, "json", false, "four="+l.address(false), "six="+l.address(true))
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
	report, _, err := l.check(t, "json", false, l.address(false), "dead="+l.dead())
	if !errors.Is(err, ErrFault) {
		t.Errorf("error %v, want ErrFault", err)
	}
	d := decode(t, report)
	if len(d) != 2 || !d[0].Healthy || d[1].Healthy {
		t.Fatalf("want a healthy and a faulty peer:\n%s", report)
	}
	if len(d[1].Diagnoses) != 1 || d[1].Diagnoses[0].Name != "peer_silent" {
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
	report, _, err := l.check(t, "json", false, l.address(false))
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
		"[].address string", "[].diagnoses[].evidence[] string", "[].diagnoses[].name string", "[].diagnoses[].summary string",
		"[].family string", "[].healthy bool",
		"[].icmp.received number", "[].icmp.round_trip_seconds null", "[].icmp.sent number", "[].icmp.state string",
		"[].ike[].method string", "[].ike[].port number", "[].ike[].probe string", "[].ike[].reply string",
		"[].ike[].round_trip_seconds number", "[].ike[].state string", "[].ike[].version number",
		"[].mtu[].bytes number", "[].mtu[].link_bytes number", "[].mtu[].method string", "[].mtu[].packets number",
		"[].mtu[].ptb_received number", "[].mtu[].ptb_rejected number", "[].mtu[].reason string", "[].mtu[].seconds number",
		"[].mtu[].state string",
		"[].peer string", "[].seconds number", "[].started string",
		"[].tunnel.cipher string", "[].tunnel.encapsulation string", "[].tunnel.mss_bytes number", "[].tunnel.mtu_bytes number",
		"[].via string",
		"[].advice[].ask[] string", "[].advice[].confirm[] string", "[].advice[].diagnosis string", "[].advice[].meanwhile[] string",
		"[].hops[].address string", "[].hops[].ttl number", "[].ike[].fragments string",
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

// steady takes out what differs from run to run.
func steady(report string) string {
	for _, r := range []struct{ from, to string }{
		{`\d+\.\d+ ms`, "N ms"},
		{`round trip [^ ]*s\b`, "round trip N"},
		{`\(\d+ packets?, \d+\.\d s\)`, "(N packets, N s)"},
		{`\d+ packets sent`, "N packets sent"},
		{`measured \S+, took \S+ s`, "measured T, took N s"},
		{`(?m)^  reach, (esp|ah).*\n`, ""}, // whether a host knows IPsec depends on its kernel
	} {
		report = regexp.MustCompile(r.from).ReplaceAllString(report, r.to)
	}
	return report
}

func TestTextReport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		scenario, want string
		provider       []string
	}{
		"reduced": {"S1", `hq (10.77.4.2): no fault found
  ICMP echo        reachable (5 of 5 answered, N ms)
  IKE, UDP 500     responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  IKE, UDP 4500    responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  fragments, 500   pass
  fragments, 4500  pass
  path MTU, icmp   1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets, N s)
  path MTU, ike    1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets, N s)
  path MTU, natt   1400 bytes, reduced; packet too big from 10.77.2.2 naming 1400 (N packets, N s)
  reach, icmp      passes: the peer itself answers (seen up to hop 4 of 4)
  reach, udp500    passes: the peer itself answers (seen up to hop 4 of 4)
  reach, udp4500   passes: the peer itself answers (seen up to hop 4 of 4)
  way back         reduced: 1396 bytes come back, more than 1403 do not
  tunnel           MTU 1326, TCP MSS 1286 recommended (aes-cbc-sha1, ESP in UDP)

  measured T, took N s
`, nil},
		"black hole without ICMP": {"S3", `hq (10.77.4.2): FAULT icmp_blocked, pmtu_black_hole
  ICMP echo        silent (0 of 5 answered)
  IKE, UDP 500     responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  IKE, UDP 4500    responding: IKEv2 INVALID_KE_PAYLOAD to v2-badke, N ms
  fragments, 500   pass
  fragments, 4500  pass
  path MTU, icmp   unreachable: small packets were not answered either (N packets, N s)
  path MTU, ike    1400 bytes, black hole; larger ones vanish between 10.77.1.2 and 10.77.4.2 (N packets, N s)
  path MTU, natt   1400 bytes, black hole (N packets, N s)
  reach, icmp      unknown: nobody behind the last answer reports packets whose TTL has run out, so nothing shows how far it gets (seen up to hop 1 of 4)
  reach, udp500    passes: the peer itself answers (seen up to hop 4 of 4)
  reach, udp4500   passes: the peer itself answers (seen up to hop 4 of 4)
  way back         unknown: no echo reply came back
  tunnel           MTU 1326, TCP MSS 1286 recommended (aes-cbc-sha1, ESP in UDP)

  icmp_blocked: The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer.
    - icmp: echo silent, 0 of 5 requests answered, never seen to answer
    - ike: UDP 500 answers, 1 of 1 requests answered, last reply INVALID_KE_PAYLOAD, round trip N
    - natt: UDP 4500 answers, 1 of 1 requests answered, last reply INVALID_KE_PAYLOAD, round trip N

  pmtu_black_hole: Packets above 1400 bytes vanish on the way to the peer, and no usable packet too big comes back.
    - ike: 1400 bytes pass, larger ones vanish (local link 1500 bytes); N packets sent, "packet too big" received: 0; lost after 10.77.1.2, before or at 10.77.4.2
    - natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); N packets sent, "packet too big" received: 0

  measured T, took N s
`, []string{
			"From 10.77.1.1 (interface `net1`) to 10.77.4.2", "IP packets of 1400 bytes with DF from 10.77.1.1 arrive at 10.77.4.2, those of 1401",
			"--vendor=$(printf '00%.0s' $(seq 1285)) 10.77.4.2\n", "Set the tunnel's MTU to 1326 and TCP MSS to 1286",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, tt.scenario)
			report, _, _ := l.check(t, "text", false, "hq="+l.address(false))
			short, long, fault := strings.Cut(report, "\n  WHAT WAS SENT, WHAT CAME BACK\n")
			if diff := cmp.Diff(tt.want, steady(short)); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if fault != strings.Contains(tt.want, "FAULT") {
				t.Errorf("text for the provider: %t", fault)
			}
			for _, want := range tt.provider {
				if !strings.Contains(long, want) {
					t.Errorf("the text for the provider lacks %q:\n%s", want, long)
				}
			}
		})
	}
}

// TestCheckOutOfTime: the time that the user gives is over before anything is certain. What is known is told, and what is not.
func TestCheckOutOfTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg, err := config.FromArguments([]string{"dead=" + l.dead()})
	if err != nil {
		t.Fatal(err)
	}
	a := l.app(t, cfg, slog.New(slog.DiscardHandler), false)
	var stdout bytes.Buffer
	began := time.Now()
	err = a.checkOnce(t.Context(), cfg, &CheckOptions{Output: "text", Timeout: 4 * time.Second, Stdout: &stdout, Stderr: &bytes.Buffer{}})
	if !errors.Is(err, errUnmeasured) || time.Since(began) > 6*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
	const over = "--timeout=4s is over"
	want := `dead (10.77.4.4): unknown
  ICMP echo        silent (0 of 5 answered)
  IKE, UDP 500     unknown: ` + over + `
  IKE, UDP 4500    unknown: ` + over + `
  fragments, 500   unknown: no IKE message is known to be answered
  fragments, 4500  unknown: no IKE message is known to be answered
  not measured     ike: ` + over + `
  not measured     path MTU by icmp: ` + over + `
  not measured     protocols: ` + over + `

  measured T, took N s
`
	// The last router gives up on a dead neighbour after about 3 s: before the end, or not.
	got := strings.ReplaceAll(steady(stdout.String()), "; ICMP host unreachable from 10.77.3.2", "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestCheckWithoutPathMTU: an answered echo says nothing about large packets. Who has no time to find the path MTU is not told that there is no
// fault.
func TestCheckWithoutPathMTU(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	cfg, err := config.FromArguments([]string{"hq=" + l.ServerAddr(false).String()})
	if err != nil {
		t.Fatal(err)
	}
	a := l.app(t, cfg, slog.New(slog.DiscardHandler), false)
	var stdout bytes.Buffer
	err = a.checkOnce(t.Context(), cfg, &CheckOptions{Output: "text", Timeout: 2 * time.Second, Stdout: &stdout, Stderr: &bytes.Buffer{}})
	if !errors.Is(err, errUnmeasured) || !strings.HasPrefix(stdout.String(), "hq (10.77.4.2): unknown\n") {
		t.Errorf("error %v, report:\n%s", err, stdout.String())
	}
}
