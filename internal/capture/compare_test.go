package capture_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// ends are the captures of both ends of one path.
type ends struct{ branch, hq trace }

// delay is how long a packet takes, in seconds.
const delay = 0.02

// cross sends packets from one end to the other. arrive is which of them do; the time to live is 10
// less there.
func (e *ends) cross(seconds float64, packets [][]byte, arrive func([][]byte) [][]byte) {
	from, to := &e.branch, &e.hq
	if src := sourceOf(packets[0]); src == hq || src == hq6 {
		from, to = to, from
	}
	from.add(seconds, packets...)
	for _, p := range arrive(packets) {
		p = bytes.Clone(p)
		if p[0]>>4 == 6 {
			p[7] -= 10
		} else {
			p[8] -= 10
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], ip.Checksum(p[:20]))
		}
		to.add(seconds+delay, p)
	}
}

func sourceOf(packet []byte) netip.Addr {
	if packet[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(packet[8:24]))
	}
	return netip.AddrFrom4([4]byte(packet[12:16]))
}

func nothing([][]byte) [][]byte { return nil }

// negotiation is that of a healthy path, with ESP both ways for as many seconds.
func (e *ends) negotiation(seconds int) {
	e.cross(0, [][]byte{datagram(branch, hq, 100, 64, ip.ProtocolUDP, initRequest.on500(branch, hq))}, allOf)
	e.cross(0.1, [][]byte{datagram(hq, branch, 200, 64, ip.ProtocolUDP, initResponse.on500(hq, branch))}, allOf)
	e.cross(0.2, auth(0), allOf)
	e.cross(0.3, [][]byte{datagram(hq, branch, 201, 64, ip.ProtocolUDP, authResponse.on4500(hq, branch))}, allOf)
	for i := range seconds {
		e.cross(1+float64(i), espPackets(branch, i, 1, 100), allOf)
		e.cross(1.5+float64(i), espPackets(hq, i, 1, 100), allOf)
	}
}

// espPackets are n ESP packets of a size, from a sequence number on.
func espPackets(src netip.Addr, seq, n, size int) (all [][]byte) {
	dst, spi := hq, uint32(0xaaaa)
	if src == hq {
		dst, spi = branch, 0xbbbb
	}
	for i := range n {
		all = append(all, datagram(src, dst, uint16(5000+seq+i), 64, ip.ProtocolESP, esp(spi, uint32(seq+i), size-20)))
	}
	return all
}

func (e *ends) compare(t *testing.T) *capture.Comparison {
	t.Helper()
	a, b := e.branch.analysis(t, "branch"), e.hq.analysis(t, "hq")
	hold(t, capture.NewReport(a, b))
	return capture.Compare(a, b)
}

func TestCompare(t *testing.T) {
	const there, back = " 192.0.2.2 198.51.100.2", " 198.51.100.2 192.0.2.2"
	espInUDP := func(n int) (all [][]byte) {
		for i := range n {
			all = append(all, datagram(branch, hq, uint16(7000+i), 64, ip.ProtocolUDP, udp(branch, hq, 4500, esp(3, uint32(i), 100))))
		}
		return all
	}
	for name, c := range map[string]struct {
		build func(*ends)
		want  []string
		says  string
	}{
		"all well": {func(*ends) {}, []string{}, ""},
		"later fragments": {
			func(e *ends) {
				for i := range uint16(4) {
					e.cross(2+4*float64(i), auth(1+i), firstOnly)
				}
			},
			[]string{"FRAGMENTS_DROPPED" + there},
			"later fragments of 4 of 5 fragmented IKE datagrams from 192.0.2.2 to 198.51.100.2 left branch and never reached hq: their first fragments arrived, " +
				"with the same IP ids in both captures. Fragments are dropped between the two",
		},
		"first fragments": {
			func(e *ends) { e.cross(2, auth(1), laterOnly); e.cross(6, auth(2), laterOnly) },
			[]string{"FRAGMENTS_DROPPED" + there},
			"first fragments of 2 of 3 fragmented IKE datagrams",
		},
		"one datagram in part": {
			func(e *ends) { e.cross(2, auth(1), firstOnly) }, []string{"fragments_dropped" + there}, "A single one may be chance",
		},
		"AH": {
			func(e *ends) {
				for i := range 30 {
					e.cross(40+float64(i), [][]byte{datagram(branch, hq, uint16(7000+i), 64, ip.ProtocolAH, append([]byte{50, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, byte(i)}, make([]byte, 12)...))}, nothing)
				}
			},
			[]string{"AH_BLOCKED" + there},
			"30 of 63 datagrams from 192.0.2.2 to 198.51.100.2 left branch and never reached hq: all of them are AH, of which none arrived, while everything else did (33 datagrams)",
		},
		"ESP in UDP": {
			func(e *ends) { e.cross(10, espInUDP(12), nothing) }, []string{"UDP4500_BLOCKED" + there}, "all of them are ESP in UDP",
		},
		"everything above a size": {
			func(e *ends) {
				e.cross(10, espPackets(hq, 900, 5, 1400), allOf)
				e.cross(11, espPackets(hq, 950, 5, 1401), nothing)
			},
			[]string{"PMTU_BLACK_HOLE" + back},
			"all of them are packets of 1401 bytes and more, and everything up to 1400 bytes arrived",
		},
		"now and then": {
			func(e *ends) {
				for i := range 30 {
					e.cross(10.2+float64(i), espPackets(branch, 1000+i, 1, 100), map[bool]func([][]byte) [][]byte{true: nothing, false: allOf}[i%6 == 0])
				}
			},
			[]string{"PACKET_LOSS" + there},
			"5 of 63 datagrams from 192.0.2.2 to 198.51.100.2 left branch and never reached hq: 5 of 61 ESP, without a pattern",
		},
		"a single one": {
			func(e *ends) { e.cross(10.2, espPackets(branch, 1000, 1, 100), nothing) }, []string{"packet_loss" + there}, "",
		},
		"the other capture had ended": {
			func(e *ends) { e.cross(100, espPackets(branch, 1000, 50, 100), nothing) }, []string{}, "",
		},
		"not captured where it was sent": {
			func(e *ends) {
				for i := range 5 {
					p := espPackets(branch, 2000+i, 1, 100)[0]
					p[8] -= 10
					e.hq.add(10.2+float64(i), p)
				}
			},
			[]string{"capture_incomplete" + there},
			"5 datagrams from 192.0.2.2 to 198.51.100.2 are in hq and not in branch",
		},
		"captured twice on one side": {
			func(e *ends) {
				var twice trace
				for _, s := range e.branch {
					twice = append(twice, s, s)
				}
				e.branch = twice
			},
			[]string{},
			"",
		},
		"cut into other fragments on the path": {
			func(e *ends) {
				e.branch.add(20, auth(9)...)
				e.hq.add(20.02, pieces(branch, hq, 1009, 50, ip.ProtocolUDP, authRequest.on4500(branch, hq), 800)...)
			},
			[]string{},
			"",
		},
		"put together by the receiver's device": {
			func(e *ends) {
				e.branch.add(20, auth(9)...)
				e.hq.add(20.02, datagram(branch, hq, 1009, 50, ip.ProtocolUDP, authRequest.on4500(branch, hq)))
			},
			[]string{},
			"",
		},
		"joined by the receiver's card": {
			func(e *ends) {
				e.cross(10.2, espPackets(branch, 1000, 6, 100), nothing)
				e.hq.add(10.22, datagram(branch, hq, 1, 50, ip.ProtocolESP, esp(0xaaaa, 9, 9000)))
			},
			[]string{"packet_loss" + there, "capture_incomplete" + there},
			"ethtool -K INTERFACE gro off",
		},
	} {
		var e ends
		e.negotiation(30)
		c.build(&e)
		e.cross(90, espPackets(branch, 3000, 1, 100), allOf)
		e.cross(90.5, espPackets(hq, 3000, 1, 100), allOf)
		got := e.compare(t)
		if diff := cmp.Diff(c.want, verdicts(got.Findings)); diff != "" {
			t.Errorf("%s: %s\n%+v", name, diff, got.Findings)
		}
		if c.says != "" {
			says(t, got.Findings, c.says)
		}
		if !got.Exact || math.Abs(got.ClockOffset) > 0.0005 {
			t.Errorf("%s: the clocks are %v s apart", name, got.ClockOffset)
		}
	}
}

// Devices that put fragments together before they capture show nothing of a datagram that lacks
// one.
func TestCompareAfterReassembly(t *testing.T) {
	var e ends
	e.negotiation(30)
	e.branch, e.hq = withoutFragments(e.branch), withoutFragments(e.hq)
	for i := range uint16(3) {
		e.cross(2+4*float64(i), auth(1+i), nothing)
	}
	got := e.compare(t)
	if diff := cmp.Diff([]string{"FRAGMENTS_DROPPED 192.0.2.2 198.51.100.2"}, verdicts(got.Findings)); diff != "" {
		t.Error(diff)
	}
	says(t, got.Findings, "all of them were sent in fragments, and everything that was sent unfragmented (up to 428 bytes) arrived. Not even their first fragments are in hq")
}

func withoutFragments(in trace) (out trace) {
	for _, s := range in {
		if binary.BigEndian.Uint16(s.packet[6:])&0x3fff == 0 {
			out = append(out, s)
		}
	}
	return out
}

// A capture by port has no later fragments. That they arrived shows in the answers.
func TestCompareFilteredByPort(t *testing.T) {
	var e ends
	e.negotiation(30)
	e.cross(3, auth(1), firstOnly)
	e.hq.add(4, datagram(hq, branch, 203, 64, ip.ProtocolUDP, authResponse.on4500(hq, branch)))
	var filtered trace
	for _, s := range e.hq {
		if binary.BigEndian.Uint16(s.packet[6:])&0x1fff == 0 {
			filtered = append(filtered, s)
		}
	}
	e.hq = filtered
	got := e.compare(t)
	want := []string{"capture_without_later_fragments 192.0.2.2 198.51.100.2", "packet_loss 198.51.100.2 192.0.2.2"}
	if diff := cmp.Diff(want, verdicts(got.Findings)); diff != "" {
		t.Error(diff)
	}
	// With the receiver's own word, they did not.
	e.hq.add(35, icmpError(hq, branch, icmp.V4TimeExceeded, icmp.V4ReassemblyTimeoutExceeded, 0, auth(1)[0]))
	if got := verdicts(e.compare(t).Findings); got[0] != "FRAGMENTS_DROPPED 192.0.2.2 198.51.100.2" {
		t.Errorf("%v", got)
	}
}

// The clocks of devices differ, and a NAT changes addresses, ports and identifications. What IKE
// and ESP say stays.
func TestCompareBehindNAT(t *testing.T) {
	outside := netip.MustParseAddr("203.0.113.77")
	for _, ahead := range []float64{0, 3600.5, -86400} {
		var e ends
		e.negotiation(20)
		for i := range 4 {
			e.cross(30+float64(i), espPackets(branch, 100+i, 1, 100), map[bool]func([][]byte) [][]byte{true: nothing, false: allOf}[i > 0])
		}
		e.cross(40, espPackets(hq, 100, 1, 100), allOf)
		for i := range e.hq {
			s := &e.hq[i]
			s.at = s.at.Add(at(ahead).Sub(start))
			if sourceOf(s.packet) == branch {
				copy(s.packet[12:], outside.AsSlice())
				binary.BigEndian.PutUint16(s.packet[4:], 40000+uint16(i/2)) // both fragments have the same
				if s.packet[9] == ip.ProtocolUDP && binary.BigEndian.Uint16(s.packet[6:])&0x1fff == 0 {
					binary.BigEndian.PutUint16(s.packet[20:], 61000)
				}
			} else {
				copy(s.packet[16:], outside.AsSlice())
			}
		}
		// The fragments of IKE_AUTH must share their identification.
		fragmentIDs(e.hq, 39999)
		got := e.compare(t)
		if math.Abs(got.ClockOffset-ahead) > 0.001 || !got.Exact {
			t.Errorf("%v s ahead: %v", ahead, got.ClockOffset)
		}
		if diff := cmp.Diff(map[string]string{"203.0.113.77": "192.0.2.2"}, got.Translated); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"PACKET_LOSS 192.0.2.2 198.51.100.2"}, verdicts(got.Findings)); diff != "" {
			t.Errorf("%v s ahead: %s%+v", ahead, diff, got.Findings)
		}
		says(t, got.Findings, "3 of 26 datagrams from 192.0.2.2 to 198.51.100.2 left branch and never reached hq")
	}
}

func fragmentIDs(t trace, id uint16) {
	for _, s := range t {
		if binary.BigEndian.Uint16(s.packet[6:])&0x3fff != 0 {
			binary.BigEndian.PutUint16(s.packet[4:], id)
		}
	}
}

func TestCompareOthers(t *testing.T) {
	var e, other ends
	e.negotiation(5)
	for i := range 5 {
		other.cross(float64(i), [][]byte{datagram(branch, router, uint16(i), 64, ip.ProtocolESP, esp(9, uint32(i), 100))}, allOf)
	}
	got := capture.Compare(e.branch.analysis(t, "branch"), other.hq.analysis(t, "other"))
	if diff := cmp.Diff([]string{"captures_do_not_match"}, verdicts(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

// Without a router between the two captures, the time to live does not tell who is who; what is
// missing in one only does.
func TestCompareWithoutRouter(t *testing.T) {
	var e ends
	e.negotiation(30)
	for i := range e.hq {
		e.hq[i].packet[8] = 64
	}
	for i := range e.branch {
		e.branch[i].packet[8] = 64
	}
	e.branch.add(5, auth(1)...)
	e.hq.add(5.02, auth(1)[0])
	e.branch.add(9, auth(2)...)
	e.hq.add(9.02, auth(2)[0])
	for _, s := range [][2]trace{{e.branch, e.hq}, {e.hq, e.branch}} {
		got := capture.Compare(s[0].analysis(t, "a"), s[1].analysis(t, "b"))
		if diff := cmp.Diff([]string{"FRAGMENTS_DROPPED 192.0.2.2 198.51.100.2"}, verdicts(got.Findings)); diff != "" {
			t.Error(diff)
		}
	}
}

// Of a capture with more traffic than is kept, only the time until then is compared; signalling is
// compared to the end.
func TestCompareManyPackets(t *testing.T) {
	var e ends
	const n = 210_000
	packets := espPackets(branch, 0, n, 60)
	for i := range n / 1000 {
		arrive := allOf
		if i >= 205 {
			arrive = nothing
		}
		e.cross(float64(i), packets[1000*i:1000*(i+1)], arrive)
	}
	e.cross(206, auth(1), firstOnly)
	e.cross(208, auth(2), firstOnly)
	e.cross(280, [][]byte{datagram(hq, branch, 200, 64, ip.ProtocolUDP, initResponse.on500(hq, branch))}, allOf)
	got := e.compare(t)
	if diff := cmp.Diff([]string{"FRAGMENTS_DROPPED 192.0.2.2 198.51.100.2"}, verdicts(got.Findings)); diff != "" {
		t.Error(diff)
	}
	if got.TrafficTo.After(at(200)) || got.To.Before(at(279)) {
		t.Errorf("compared until %v and %v", got.TrafficTo, got.To)
	}
}

// Text and JSON hold the conclusions, and the text begins with them.
func TestReport(t *testing.T) {
	var e ends
	e.negotiation(5)
	for i := range uint16(4) {
		e.cross(6+4*float64(i), auth(1+i), firstOnly)
	}
	e.cross(60, espPackets(hq, 100, 1, 100), allOf)
	r := capture.NewReport(e.branch.analysis(t, "branch.pcap"), e.hq.analysis(t, "hq.pcap"))
	var text, json bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&json); err != nil {
		t.Fatal(err)
	}
	if !r.Faults || !strings.HasPrefix(text.String(), "FAULT fragments_dropped\n\n[1] FAULT fragments_dropped, 192.0.2.2 -> 198.51.100.2\n    later fragments of 4 of 5") {
		t.Errorf("%s", &text)
	}
	for _, want := range []string{
		"the clock of hq.pcap is 0s ahead, by packets of both directions", "remedy without the path: IKEv2 fragmentation (RFC 7383)",
		"  [1] 2026-01-02 03:04:11.000000: packet 16 of branch.pcap: IKE on UDP 4500, IP id 0x03e9, 2284 bytes in 2 fragments, IKE_AUTH message id 00000001; " +
			"in hq.pcap packet 16 on: 1480 bytes in 1 of the fragments, 804 bytes are missing\n",
		"IKEv2 0102030405060700, 192.0.2.2 -> 198.51.100.2: established",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, &text)
		}
	}
	if !strings.Contains(json.String(), `"name": "fragments_dropped",
      "fault": true,
      "src": "192.0.2.2",
      "dst": "198.51.100.2",`) {
		t.Errorf("%s", &json)
	}
}
