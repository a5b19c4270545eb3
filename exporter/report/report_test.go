package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/diagnosis"
)

// update writes the golden files anew: go test ./exporter/report -update.
var update = flag.Bool("update", false, "write the golden files anew")

func ms(v float64) *float64 { v /= 1e3; return &v }

// well is a report of a path without a fault.
func well() *Report {
	return &Report{
		Peer: "hq", Address: "203.0.113.10", Family: "ip4", Source: "198.51.100.7", Interface: "wan0",
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 0.8, Healthy: true, Measured: true, Diagnoses: []Diagnosis{},
		ICMP: &ICMP{State: "reachable", Sent: 5, Received: 5, RoundTrip: ms(20)},
		IKE: []IKE{
			{Method: "ike", Port: 500, State: "responding", Version: 2, Probe: "v2-badke", Reply: "INVALID_KE_PAYLOAD", RoundTrip: ms(21)},
			{Method: "natt", Port: 4500, State: "responding", Version: 2, Probe: "v2-badke", Reply: "INVALID_KE_PAYLOAD", RoundTrip: ms(21)},
		},
		MTU: []MTU{
			{Method: "icmp", State: "clean", Bytes: 1500, LinkBytes: 1500, Packets: 1},
			{Method: "ike", State: "clean", Bytes: 1500, LinkBytes: 1500, Packets: 1},
			{Method: "natt", State: "clean", Bytes: 1500, LinkBytes: 1500, Packets: 1},
		},
		Tunnel: &Tunnel{MTUBytes: 1422, MSSBytes: 1382, Cipher: "aes-cbc-sha1", Encapsulation: "udp"},
	}
}

// faulty is a report with diagnoses, changed by what is wrong.
func faulty(change func(*Report), names ...string) *Report {
	r := well()
	r.Healthy, r.Seconds = false, 19.6
	for _, n := range names {
		r.Diagnoses = append(r.Diagnoses, Diagnosis{Name: n, Summary: "What the rule says of " + n + ".", Evidence: []string{"a measurement", "another one"}})
	}
	change(r)
	return r
}

func hole(r *Report, methods ...string) {
	for i := range r.MTU {
		if m := &r.MTU[i]; slices.Contains(methods, m.Method) {
			m.State, m.Bytes, m.Packets, m.Seconds = "black_hole", 1400, 44, 2.6
		}
	}
}

// noICMP is scenario S3: all ICMP dropped at the provider's edge, in front of a link of 1400 bytes.
func noICMP(r *Report) {
	r.ICMP = &ICMP{State: "silent", Sent: 5}
	r.MTU[0] = MTU{Method: "icmp", State: "unreachable", Reason: "small packets were not answered either", LinkBytes: 1500, Packets: 16, Seconds: 9}
	hole(r, "ike", "natt")
	r.Tunnel = &Tunnel{MTUBytes: 1326, MSSBytes: 1286, Cipher: "aes-cbc-sha1", Encapsulation: "udp"}
}

// everything has every field.
func everything() *Report {
	return faulty(func(r *Report) {
		r.Address, r.Family, r.Source = "2001:db8:10::1", "ip6", "2001:db8:7::1"
		hole(r, "ike", "natt")
		for i := range r.MTU {
			m := &r.MTU[i]
			if m.State == "black_hole" {
				m.LastHopPassed, m.FirstHopFailed = "2001:db8:a::2", "2001:db8:a::3"
			}
		}
		r.MTU[0] = MTU{
			Method: "icmp", State: "reduced", Bytes: 1400, LinkBytes: 1500, Packets: 3, PTBReceived: 2, PTBFrom: "2001:db8:a::2", PTBMTU: 1400,
		}
		r.IKE[0].Fragments = "dropped"
		r.IKE[1].Fragments, r.IKE[1].FragmentsReason = "unknown", "the peer stopped answering"
		r.IKE[1].Error, r.IKE[1].ErrorFrom = "admin_prohibited", "2001:db8:a::3"
		r.Protocols = []Protocol{
			{Protocol: "icmp", State: "passes", LastHop: 5, Hops: 5},
			{Protocol: "udp500", State: "passes", LastHop: 5, Hops: 5},
			{Protocol: "esp", State: "blocked", LastHop: 3, Hops: 5},
			{Protocol: "ah", State: "unknown", Reason: "no router beyond hop 1 answers", LastHop: 1},
		}
		r.Reverse = &Reverse{State: "reduced", LowerBytes: 1396, UpperBytes: 1403}
		r.Hops = []Hop{{1, "2001:db8:7::2"}, {2, ""}, {3, "2001:db8:a::2"}}
		r.Tunnel = &Tunnel{MTUBytes: 1310, MSSBytes: 1270, Cipher: "aes-cbc-sha1", Encapsulation: "udp"}
		r.History = &History{Baseline: []string{"well for 30 days: 1500 bytes, 20 ms"}, Changes: []string{"2026-01-02T02:00:00Z: path MTU from 1500 to 1400 bytes"}}
		established, in, out := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), uint64(7), uint64(40)
		r.Gateways = []Gateway{{
			Gateway: "hub", Type: "cisco_asa", Version: "9.8(4)10", Read: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Expected: true, Up: "yes",
			IKESAs: []IKESAs{{1, "established", 1}, {1, "connecting", 2}}, VendorStates: map[string]int{"MM_ACTIVE": 1, "MM_WAIT_MSG2": 2},
			ChildSAs: map[string]int{"installed": 2, "closing": 1}, Established: &established,
			PacketsIn: &in, PacketsOut: &out, BytesOut: &out, PathMTUBytes: 1500, Encapsulation: "none",
		}, {Gateway: "kernel", Read: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Up: "unknown", IKESAs: []IKESAs{}, ChildSAs: map[string]int{"installed": 1}}}
		r.Errors = []string{"path MTU by natt: ran out of time"}
	}, "pmtu_black_hole", "fragments_dropped", "esp_blocked")
}

// strange is what came from elsewhere and wants to be more than text.
func strange() *Report {
	r := faulty(func(*Report) {}, "peer_silent")
	r.Peer, r.Via, r.Interface = "*hq* <b>[x](y)", "wan`0", "wan`0;id"
	r.Errors = []string{"two\nlines \x1b[31mred\x1b[0m | and a ` tick"}
	return r
}

func over(r *Report, via, source string) *Report {
	r.Via, r.Source, r.Interface = via, source, via
	return r
}

func scenarios() map[string][]*Report {
	reduced := well()
	reduced.MTU[1] = MTU{Method: "ike", State: "reduced", Bytes: 1492, LinkBytes: 1500, Packets: 3, PTBReceived: 1, PTBFrom: "198.51.100.1", PTBMTU: 1492}
	return map[string][]*Report{
		"s0":  {well()},
		"s3":  {faulty(noICMP, "icmp_blocked", "pmtu_black_hole")},
		"s6b": {faulty(func(r *Report) { hole(r, "icmp") }, "pmtu_black_hole")},
		"s11b": {faulty(func(r *Report) {
			r.Source = "192.168.1.5"
			r.IKE[1] = IKE{Method: "natt", Port: 4500, State: "silent"}
			r.MTU[2] = MTU{Method: "natt", State: "unreachable", Reason: "small packets were not answered either", LinkBytes: 1500, Packets: 16, Seconds: 9}
		}, "udp4500_blocked")},
		"reverse": {faulty(func(r *Report) {
			hole(r, "icmp")
			r.Reverse = &Reverse{State: "black_hole", LowerBytes: 1400, UpperBytes: 1400}
		}, "pmtu_black_hole_reverse")},
		"fragments": {faulty(func(r *Report) {
			r.IKE[0].Fragments, r.IKE[1].Fragments = "dropped", "dropped"
		}, "fragments_dropped")},
		"another way for UDP": {faulty(func(r *Report) { hole(r, "ike") }, "pmtu_black_hole")},
		"lying": {faulty(func(r *Report) {
			hole(r, "icmp", "ike", "natt")
			for i := range r.MTU {
				m := &r.MTU[i]
				m.PTBReceived, m.PTBRejected, m.PTBFrom, m.PTBMTU = 20, 20, "198.51.100.1", 1450
			}
		}, "pmtu_black_hole")},
		"nothing":    {{Peer: "lost", Started: well().Started, Errors: []string{`cannot resolve "lost.example": no such host`}, Diagnoses: []Diagnosis{}}},
		"everything": {everything()},
		"strange":    {strange()},
		"via": {
			over(faulty(noICMP, "icmp_blocked", "pmtu_black_hole"), "wan0", "198.51.100.7"), over(well(), "lte0", "100.64.3.2"),
			over(reduced, "dsl0", "192.0.2.8"),
		},
	}
}

// TestGolden compares whole reports with those that people have read and found good.
func TestGolden(t *testing.T) {
	for name, reports := range scenarios() {
		Conclude(reports)
		for ext, write := range map[string]func(*bytes.Buffer) error{
			"txt":  func(b *bytes.Buffer) error { return WriteText(b, reports) },
			"md":   func(b *bytes.Buffer) error { return WriteMarkdown(b, reports) },
			"json": func(b *bytes.Buffer) error { return WriteJSON(b, reports) },
		} {
			if ext == "json" && name != "everything" {
				continue
			}
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+"."+ext)
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		}
	}
}

// contract are the names of all diagnoses that there are or will be.
func contract() []string {
	return []string{
		"peer_silent", "icmp_blocked", "pmtu_black_hole", "pmtu_black_hole_reverse", "tunnel_oversized", "fragments_dropped", "udp500_blocked",
		"udp4500_blocked", "esp_blocked", "esp_one_way", "ah_blocked", "negotiation_stuck", "child_missing", "no_sa", "ike_lockout", "vantage_suspect",
	}
}

// TestEveryDiagnosisHasAdvice: whatever is known, something can be said, and no brace is left open.
func TestEveryDiagnosisHasAdvice(t *testing.T) {
	names := contract()
	for _, n := range diagnosis.Names() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	bare := &Report{Peer: "hq", Address: "203.0.113.10", Family: "ip4"}
	for _, r := range []*Report{bare, well(), faulty(noICMP), faulty(func(r *Report) { hole(r, "icmp") }), everything()} {
		for _, n := range names {
			a, ok := r.advise(n)
			if !ok || len(a.Ask) == 0 || len(a.Meanwhile) == 0 || len(a.Confirm) == 0 {
				t.Errorf("%s: advice %+v", n, a)
			}
			if a.Provider == "" && r != bare {
				t.Errorf("%s: nothing for the provider", n)
			}
			for _, s := range slices.Concat([]string{a.Provider}, a.Ask, a.Meanwhile, a.Confirm) {
				if strings.ContainsAny(s, "{}") || strings.Count(s, "`")%2 != 0 {
					t.Errorf("%s: %s", n, s)
				}
			}
		}
	}
}

// TestAdviceUsesWhatIsKnown: every brace has a value in some report, so a misspelt one is found.
func TestAdviceUsesWhatIsKnown(t *testing.T) {
	known := values{}
	reversed := faulty(func(r *Report) {
		hole(r, "icmp")
		r.Reverse = &Reverse{State: "black_hole", LowerBytes: 1400}
	})
	for _, r := range []*Report{reversed, scenarios()["lying"][0]} {
		maps.Copy(known, r.values())
	}
	for _, a := range allAdvice() {
		for _, list := range [][]string{{a.Provider}, a.Ask, a.Meanwhile, a.Confirm} {
			if got := known.fill(list); len(got) != len(list) {
				t.Errorf("%s: only %d of %q", a.Diagnosis, len(got), list)
			}
		}
	}
}

func TestNoBlackHoleWithoutProof(t *testing.T) {
	r := faulty(func(r *Report) { hole(r, "icmp") }, "pmtu_black_hole")
	Conclude([]*Report{r})
	if p := r.Advice[0].Provider; strings.Contains(p, "arrive at 203.0.113.10, those of") || r.Advice[0].Diagnosis != "pmtu_black_hole" {
		t.Errorf("echoes alone are taken for the way there: %s", p)
	}
	if slices.ContainsFunc(r.Advice[0].Meanwhile, func(s string) bool { return strings.Contains(s, "1422") }) {
		t.Errorf("the tunnel is set as if the way back were well: %q", r.Advice[0].Meanwhile)
	}
}

func TestJSONIsNeverNull(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, []*Report{{Peer: "hq", Diagnoses: []Diagnosis{}}}); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"peer": "hq", "address": "", "family": "", "via": "", "started": "0001-01-01T00:00:00Z", "seconds": 0.0, "healthy": false, "diagnoses": []any{},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
