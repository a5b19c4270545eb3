package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/ipsec"
)

var addr = netip.MustParseAddr

// measured is when everything in the tests was measured.
var measured = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// recommend fills in the tunnel over the path.
func recommend(t *testing.T, r *Report) *Report {
	t.Helper()
	cipher, ok := ipsec.CipherByName("aes-cbc-sha1")
	if !ok {
		t.Fatal("no such cipher")
	}
	r.Tunnel = tunnelmtu.ESP{Cipher: cipher, UDP: true, IPv6: r.V6()}.Over(tunnelmtu.PathMTU(r.searches()))
	return r
}

// well is a report of a path without a fault.
func well(t *testing.T) *Report {
	t.Helper()
	responding := func(port uint16) ike.Result {
		return ike.Result{
			State: ike.Responding, Port: port, Version: 2, Form: ikeprobe.V2BadKE, Reply: "INVALID_KE_PAYLOAD", RoundTrip: 21 * time.Millisecond,
			Sent: 1, At: measured,
		}
	}
	clean := func(m collectors.Method) pmtu.Result {
		return pmtu.Result{Method: m, State: search.Clean, Bytes: 1500, LinkBytes: 1500, Packets: 1, At: measured}
	}
	return recommend(t, &Report{
		Peer: "hq", Address: addr("203.0.113.10"), Source: addr("198.51.100.7"), Interface: "wan0",
		Started: measured, Took: 800 * time.Millisecond, Healthy: true, Measured: true,
		Findings: suite.Findings{
			ICMP: &icmp.Result{
				State: icmp.Reachable, Sent: 5, Received: 5, Min: 19 * time.Millisecond, Avg: 20 * time.Millisecond, Max: 22 * time.Millisecond,
				Jitter: time.Millisecond, Loss: collectors.Sample{Sent: 5, Since: measured}, At: measured.Add(time.Second),
			},
			IKE:  &ike.Results{IKE: responding(500), NATT: responding(4500)},
			PMTU: &pmtu.Snapshot{Results: []pmtu.Result{clean(collectors.ICMP), clean(collectors.IKE), clean(collectors.NATT)}, At: measured},
		},
	})
}

// faulty is a report with diagnoses, changed by what is wrong.
func faulty(t *testing.T, change func(*Report), names ...string) *Report {
	t.Helper()
	r := well(t)
	r.Healthy, r.Took = false, 19600*time.Millisecond
	change(r)
	judge(r, &diagnosis.Facts{}, names...)
	return recommend(t, r)
}

// judge adds diagnoses in the words of their rules. Where the findings and further facts do not
// show one, its words stand for them.
func judge(r *Report, f *diagnosis.Facts, names ...string) {
	f.Findings, f.Address = r.Findings, r.Address
	verdicts := diagnosis.Evaluate(*f)
	for _, n := range names {
		h := diagnosis.Held{
			Diagnosis: diagnosis.Diagnosis{Name: n, Severity: diagnosis.SeverityOf(n), Summary: "What the rule says of " + n + ".", Evidence: []string{"a measurement"}},
			Since:     measured.Add(-time.Hour), Appeared: true, Confirmed: measured,
		}
		parts := 0
		for i := range verdicts {
			if v := &verdicts[i]; v.Name == n && v.State == diagnosis.Holds {
				if parts++; parts == 1 {
					h.Diagnosis = v.Diagnosis
					continue
				}
				h.Evidence = append(h.Evidence, v.Evidence...)
			}
		}
		r.Diagnoses = append(r.Diagnoses, h)
	}
}

func hole(r *Report, methods ...collectors.Method) {
	for i := range r.PMTU.Results {
		if s := &r.PMTU.Results[i]; slices.Contains(methods, s.Method) {
			s.State, s.Bytes, s.Packets, s.Duration = search.BlackHole, 1400, 3, 200*time.Millisecond
			s.ProvedPackets, s.ProvedAt = 44, measured.Add(-time.Hour)
		}
	}
}

// echoHole is a black hole that only echoes show, ikeHole one that only IKE messages show.
func echoHole(r *Report) { hole(r, collectors.ICMP) }

func ikeHole(r *Report) { hole(r, collectors.IKE, collectors.NATT) }

func unreachable(m collectors.Method) pmtu.Result {
	return pmtu.Result{
		Method: m, State: search.Unreachable, Reason: "small packets were not answered either", LinkBytes: 1500, Packets: 16, At: measured,
	}
}

func silentEcho() *icmp.Result {
	return &icmp.Result{State: icmp.Silent, Sent: 300, Received: 40, Unanswered: 3, Since: measured.Add(-time.Minute), At: measured}
}

func silentPort(port uint16) ike.Result {
	return ike.Result{Port: port, State: ike.Silent, Sent: 5, At: measured}
}

func refusedPort(port uint16, by *collectors.PathError) ike.Result {
	r := silentPort(port)
	r.Error = *by
	return r
}

// noICMP is scenario S3: all ICMP dropped at the provider's edge, in front of a link of 1400 bytes.
func noICMP(r *Report) {
	r.ICMP = silentEcho()
	r.PMTU.Results[0] = unreachable(collectors.ICMP)
	ikeHole(r)
}

// reversed is a black hole on the reverse path.
func reversed(r *Report) {
	echoHole(r)
	r.PMTU.Reverse = pmtu.Reverse{State: search.BlackHole, LowerBytes: 1400, UpperBytes: 1400, At: measured}
}

// silentIKE is a black hole of echoes at a peer that ignores IKE, with what routers show of both
// directions.
func silentIKE(out pmtu.Forward, back pmtu.Reverse) func(r *Report) {
	return func(r *Report) {
		echoHole(r)
		r.IKE = &ike.Results{IKE: silentPort(500), NATT: silentPort(4500)}
		r.PMTU.Results[1], r.PMTU.Results[2] = unreachable(collectors.IKE), unreachable(collectors.NATT)
		out.At, back.At = measured, measured
		r.PMTU.Forward, r.PMTU.Reverse = out, back
	}
}

// reachesLastRouter is what routers show of a path to the peer without a limit.
func reachesLastRouter() pmtu.Forward {
	return pmtu.Forward{State: search.Clean, LowerBytes: 1500, LastHopPassed: addr("198.51.100.5"), Packets: 40}
}

func returnOnly(r *Report) {
	silentIKE(reachesLastRouter(), pmtu.Reverse{
		State: search.BlackHole, LowerBytes: 1400, UpperBytes: 1400, ByRouters: true,
		LastHopPassed: addr("198.51.100.1"), FirstHopFailed: addr("198.51.100.5"),
	})(r)
}

func bothDirections(r *Report) {
	silentIKE(
		pmtu.Forward{
			State: search.BlackHole, LowerBytes: 1450, UpperBytes: 1450, Packets: 80,
			LastHopPassed: addr("198.51.100.1"), FirstHopFailed: addr("198.51.100.5"),
		},
		pmtu.Reverse{State: search.BlackHole, LowerBytes: 1400, UpperBytes: 1400},
	)(r)
}

func eitherDirection(r *Report) {
	silentIKE(reachesLastRouter(), pmtu.Reverse{LowerBytes: 1400, Reason: "echo requests in fragments are not answered"})(r)
}

// lying is a router that names a size that does not pass.
func lying(r *Report) {
	hole(r, collectors.Methods()...)
	for i := range r.PMTU.Results {
		s := &r.PMTU.Results[i]
		s.PTBReceived, s.PTBRejected, s.PTBFrom, s.PTBMTU = 20, 20, addr("198.51.100.1"), 1450
	}
}

func dropped(r *Report) {
	lost := func(m collectors.Method) fragments.Result {
		return fragments.Result{Method: m, State: fragments.Dropped, Size: 1000, Piece: 576, Sent: 5, Controls: 5, ControlsAnswered: 5, At: measured}
	}
	r.Fragments = &fragments.Results{Results: []fragments.Result{lost(collectors.IKE), lost(collectors.NATT)}, At: measured}
}

// filtered is UDP 500 and 4500 refused by a router, and ESP in UDP dropped; echo requests reach the
// last router only.
func filtered(r *Report) {
	by := collectors.PathError{Outcome: netio.Unreachable, Type: 3, Code: 13, From: addr("198.51.100.2"), Count: 4}
	r.IKE = &ike.Results{IKE: refusedPort(500, &by), NATT: silentPort(4500)}
	r.ICMP = silentEcho()
	r.Protocols = &protocols.Results{
		Results: []protocols.Result{
			{Protocol: protocols.ICMP, LastHop: 4},
			{Protocol: protocols.UDP4500, State: protocols.Blocked, LastHop: 1},
			{Protocol: protocols.ESPInUDP, State: protocols.Blocked, LastHop: 2},
		},
		Hops: []netip.Addr{addr("198.51.100.1"), addr("198.51.100.2"), {}, {}, {}}, Distance: 5, At: measured,
	}
}

// strangers is a peer that answers echo and ignores IKE from this source.
func strangers(r *Report) {
	r.IKE = &ike.Results{IKE: silentPort(500), NATT: silentPort(4500)}
	r.Flows = &flows.Results{At: measured, Results: []flows.Result{
		{Method: collectors.ICMP, State: flows.Even, Tested: 3, Own: true},
		{Method: collectors.IKE, State: flows.Silent, Tested: 9, Lost: 9, FixedTried: true},
		{Method: collectors.NATT, State: flows.Silent, Tested: 9, Lost: 9, FixedTried: true},
	}}
	r.Healthy = true
}

// everything has every field.
func everything(t *testing.T) *Report {
	t.Helper()
	return faulty(t, func(r *Report) {
		r.Address, r.Source = addr("2001:db8:10::1"), addr("2001:db8:7::1")
		router, next := addr("2001:db8:a::2"), addr("2001:db8:a::3")
		ikeHole(r)
		mssTooLarge(r)
		for i := range r.PMTU.Results {
			if s := &r.PMTU.Results[i]; s.State == search.BlackHole {
				s.LastHopPassed, s.FirstHopFailed = router, next
			}
		}
		r.PMTU.Results[0] = pmtu.Result{
			Method: collectors.ICMP, State: search.Reduced, Bytes: 1400, LinkBytes: 1500, Packets: 3, PTBReceived: 2, PTBFrom: router, PTBMTU: 1400, At: measured,
		}
		r.Fragments = &fragments.Results{Results: []fragments.Result{
			{Method: collectors.IKE, State: fragments.Dropped}, {Method: collectors.NATT, Reason: "the peer stopped answering"},
		}}
		r.IKE.NATT.Error.Outcome, r.IKE.NATT.Error.Type, r.IKE.NATT.Error.Code = netio.Unreachable, 1, 1
		r.IKE.NATT.Error.From = next
		r.Flows = &flows.Results{At: measured, Results: []flows.Result{
			{Method: collectors.ICMP, State: flows.Unknown, Reason: "too many packets are lost to distinguish one flow from another", Tested: 3},
			{Method: collectors.IKE, State: flows.Split, Tested: 4, Lost: 2, Own: true},
			{Method: collectors.NATT, State: flows.Split, Bytes: 1401, Tested: 7, Lost: 3},
		}}
		r.Protocols = &protocols.Results{
			Results: []protocols.Result{
				{Protocol: protocols.ICMP, State: protocols.Passes, LastHop: 5},
				{Protocol: protocols.UDP500, State: protocols.Passes, LastHop: 5},
				{Protocol: protocols.ESP, State: protocols.Blocked, LastHop: 3},
				{Protocol: protocols.AH, Reason: "no router beyond hop 1 answers", LastHop: 1},
			},
			Hops: []netip.Addr{addr("2001:db8:7::2"), {}, router}, Distance: 5, At: measured,
		}
		r.PMTU.Reverse = pmtu.Reverse{State: search.Reduced, LowerBytes: 1396, UpperBytes: 1403, At: measured}
		r.Baseline = "1500 bytes passed until 2026-01-02T02:00Z, now 1400"
		r.Changes = []history.Change{{At: measured.Add(-time.Hour), Diagnosis: "pmtu_black_hole", On: true, Summary: "Large packets vanish."}}
		r.Gateways, r.GatewayTypes = tables(), []string{"cisco_asa", "xfrm"}
		r.Errors = []string{"path MTU by natt: ran out of time"}
	}, "pmtu_black_hole", "fragments_dropped", "esp_blocked")
}

// tables are readings of a Cisco ASA and of a kernel, which shows no IKE SAs.
func tables() []gateways.Snapshot {
	hub := gateways.PeerSnapshot{
		PeerReading: gateways.PeerReading{
			Of: &gateways.Peer{Expected: true}, Up: gateways.Yes, PathMTU: 1500, NATT: gateways.No,
			IKE:         map[gateways.IKEClass]int{{Version: 1, State: gateways.Established}: 1, {Version: 1, State: gateways.Connecting}: 2},
			Vendor:      map[string]int{"MM_ACTIVE": 1, "MM_WAIT_MSG2": 2},
			Children:    map[gateways.ChildState]int{gateways.Installed: 2, gateways.ChildClosing: 1},
			Established: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		},
		In:  gateways.Traffic{Packets: gateways.Counted(7)},
		Out: gateways.Traffic{Packets: gateways.Counted(40), Bytes: gateways.Counted(40)},
	}
	kernel := gateways.PeerSnapshot{PeerReading: gateways.PeerReading{Children: map[gateways.ChildState]int{gateways.Installed: 1}}}
	read := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	return []gateways.Snapshot{
		{Gateway: "hub", Info: gateways.Info{Type: "cisco_asa", Version: "9.8(4)10"}, At: read, Up: true, Peers: []gateways.PeerSnapshot{hub}},
		{Gateway: "kernel", At: read, Up: true, Peers: []gateways.PeerSnapshot{kernel}},
	}
}

// strange has strings from elsewhere that are more than text.
func strange(t *testing.T) *Report {
	t.Helper()
	r := faulty(t, func(*Report) {}, "peer_silent")
	r.Peer, r.Via, r.Interface = "*hq* <b>[x](y)", "wan`0", "wan`0;id"
	r.Errors = []string{"two\nlines \x1b[31mred\x1b[0m | and a ` tick"}
	return r
}

// lossy is a path that loses many packets.
func lossy(r *Report) {
	ms := time.Millisecond
	r.ICMP = &icmp.Result{
		State: icmp.Reachable, Sent: 30, Received: 11, Last: 21 * ms, Min: 20 * ms, Avg: 22 * ms, Max: 28 * ms, Jitter: 3 * ms,
		Loss: collectors.Sample{Sent: 30, Lost: 19, Since: measured}, At: measured.Add(30 * time.Second),
	}
}

// lost is a report of a peer whose name was not resolved.
func lost() *Report {
	return &Report{Peer: "lost", Started: measured, Errors: []string{`cannot resolve "lost.example": no such host`}}
}

func over(r *Report, via, source string) *Report {
	r.Via, r.Source, r.Interface = via, addr(source), via
	return r
}

func scenarios(t *testing.T) map[string][]*Report {
	t.Helper()
	reduced := well(t)
	reduced.PMTU.Results[1] = pmtu.Result{
		Method: collectors.IKE, State: search.Reduced, Bytes: 1492, LinkBytes: 1500, Packets: 3, PTBReceived: 1, PTBFrom: addr("198.51.100.1"), PTBMTU: 1492, At: measured,
	}
	return map[string][]*Report{
		"s0":  {well(t)},
		"s3":  {faulty(t, noICMP, "icmp_blocked", "pmtu_black_hole")},
		"s6b": {faulty(t, echoHole, "pmtu_black_hole")},
		"s11b": {faulty(t, func(r *Report) {
			r.Source = addr("192.168.1.5")
			r.IKE.NATT = silentPort(4500)
			r.PMTU.Results[2] = unreachable(collectors.NATT)
		}, "udp4500_blocked")},
		"filtered":            {faulty(t, filtered, "icmp_blocked", "udp500_blocked", "udp4500_blocked", "esp_udp_blocked")},
		"strangers":           {faulty(t, strangers)},
		"loss":                {faulty(t, lossy, "loss_high")},
		"reverse":             {faulty(t, reversed, "pmtu_black_hole_reverse")},
		"return only":         {faulty(t, returnOnly, "pmtu_black_hole_reverse")},
		"both directions":     {faulty(t, bothDirections, "pmtu_black_hole", "pmtu_black_hole_reverse")},
		"either direction":    {faulty(t, eitherDirection, "pmtu_black_hole")},
		"fragments":           {faulty(t, dropped, "fragments_dropped")},
		"another way for UDP": {faulty(t, func(r *Report) { hole(r, collectors.IKE) }, "pmtu_black_hole")},
		"lying":               {faulty(t, lying, "pmtu_black_hole")},
		"nothing":             {lost()},
		"everything":          {everything(t)},
		"strange":             {strange(t)},
		"via": {
			over(faulty(t, noICMP, "icmp_blocked", "pmtu_black_hole"), "wan0", "198.51.100.7"), over(well(t), "lte0", "100.64.3.2"),
			over(recommend(t, reduced), "dsl0", "192.0.2.8"),
		},
	}
}

func TestJSONIsNeverNull(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, []*Report{{Peer: "hq"}}); err != nil {
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

// TestFixedSourcePorts: where only the source ports 500 and 4500 are answered, the report says what
// to set, and nothing else about the silence.
func TestFixedSourcePorts(t *testing.T) {
	r := faulty(t, strangers)
	for i := range r.Flows.Results[1:] {
		r.Flows.Results[1+i].Fixed = true
	}
	var texts []string
	for _, e := range r.entries() {
		texts = append(texts, e.text)
	}
	all := strings.Join(texts, "\n")
	if !strings.Contains(all, "set `ike.source_port: fixed`") || strings.Contains(all, "ignore unknown sources") {
		t.Errorf("%s", all)
	}
	r.Flows = nil
	if got := r.undecidedPorts(); !strings.Contains(got, "--source-port=fixed") {
		t.Errorf("not tried yet: %q", got)
	}
}
