package capture_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

const (
	dropped     = "FRAGMENTS_DROPPED 192.0.2.2 198.51.100.2"
	maybeChance = "fragments_dropped 192.0.2.2 198.51.100.2"
	stuckAuth   = "NEGOTIATION_STUCK 192.0.2.2 198.51.100.2"
)

// auth is IKE_AUTH number n of the branch, in two fragments.
func auth(n uint16) [][]byte {
	return pieces(branch, hq, 1000+n, 60, ip.ProtocolUDP, authRequest.on4500(branch, hq), 1480)
}

// begun is the first exchange of IKEv2, which is small.
func begun() (t trace) {
	t.add(0, datagram(branch, hq, 100, 64, ip.ProtocolUDP, initRequest.on500(branch, hq)))
	t.add(0.01, datagram(hq, branch, 200, 60, ip.ProtocolUDP, initResponse.on500(hq, branch)))
	return t
}

// otherFragments shows that the capture's filter lets later fragments through.
func (t *trace) otherFragments() {
	t.add(0.02, pieces(hq, branch, 300, 60, ip.ProtocolGRE, make([]byte, 2000), 1480)...)
}

// lost sends IKE_AUTH n times, 4 s apart, and hands over what comes of each.
func (t *trace) lost(n uint16, come func(parts [][]byte) [][]byte) {
	for i := range n {
		t.add(0.1+4*float64(i), come(auth(i))...)
	}
}

func firstOnly(parts [][]byte) [][]byte { return parts[:1] }

func laterOnly(parts [][]byte) [][]byte { return parts[1:] }

func allOf(parts [][]byte) [][]byte { return parts }

func reassemblyError(n uint16) []byte {
	return icmpError(hq, branch, icmp.V4TimeExceeded, icmp.V4ReassemblyTimeoutExceeded, 0, auth(n)[0])
}

func TestFragments(t *testing.T) {
	for name, c := range map[string]struct {
		build func(*trace)
		want  []string
		says  string
	}{
		"the rest does not come": {
			func(p *trace) { p.otherFragments(); p.lost(4, firstOnly); p.until(60) },
			[]string{dropped, stuckAuth},
			"of 4 datagrams from 192.0.2.2 to 198.51.100.2 only the first fragment is in this capture, and not the rest within 30 s: fragments are dropped before this capture",
		},
		"no later fragment in the whole capture": {
			func(p *trace) { p.lost(4, firstOnly); p.until(60) },
			[]string{dropped, stuckAuth},
			"unless its filter is by port",
		},
		"a filter by port, and an answer": {
			func(p *trace) {
				p.lost(2, firstOnly)
				p.add(4.2, datagram(hq, branch, 201, 60, ip.ProtocolUDP, authResponse.on4500(hq, branch)))
				p.until(60)
			},
			[]string{"capture_without_later_fragments 192.0.2.2 198.51.100.2"},
			"Capture by address, not by port",
		},
		"one alone": {
			func(p *trace) { p.otherFragments(); p.lost(1, firstOnly); p.until(60) }, []string{maybeChance}, "may be chance",
		},
		"one of many": {
			func(p *trace) {
				p.otherFragments()
				p.lost(2, firstOnly)
				for i := range uint16(60) {
					p.add(10+float64(i), pieces(branch, hq, 2000+i, 60, ip.ProtocolESP, esp(1, uint32(i), 2000), 1480)...)
				}
				p.add(80, datagram(hq, branch, 201, 60, ip.ProtocolUDP, authResponse.on4500(hq, branch)))
				p.until(100)
			},
			[]string{maybeChance, "ESP_ONE_WAY 192.0.2.2 198.51.100.2"},
			"60 others arrived whole",
		},
		"the capture ends too early to tell": {
			func(p *trace) { p.otherFragments(); p.lost(2, firstOnly); p.until(20) }, []string{stuckAuth}, "",
		},
		"the first does not come": {
			func(p *trace) { p.lost(4, laterOnly); p.until(60) }, []string{dropped}, "first fragments are dropped before it",
		},
		"all come": {
			func(p *trace) { p.lost(1, allOf); p.until(14) }, []string{}, "",
		},
		"the wrong way round, and some twice": {
			func(p *trace) {
				p.lost(1, func(parts [][]byte) [][]byte { return [][]byte{parts[1], parts[1], parts[0], parts[1], parts[0]} })
				p.until(14)
			},
			[]string{},
			"",
		},
		"all come here, but the peer says otherwise": {
			func(p *trace) {
				p.lost(3, allOf)
				p.add(30.1, reassemblyError(0))
				p.add(34.1, reassemblyError(1))
				p.until(50)
			},
			[]string{dropped, stuckAuth},
			"3 datagrams from 192.0.2.2 to 198.51.100.2 passed this capture with all their fragments, and 198.51.100.2 did not receive all of them: its ICMP errors " +
				"\"fragment reassembly time exceeded\" quote 2 of them. Fragments are dropped between this capture and 198.51.100.2",
		},
		"the rest does not come, and the peer says so": {
			func(p *trace) { p.lost(1, firstOnly); p.add(30.2, reassemblyError(0)); p.until(50) }, []string{dropped}, "confirms it",
		},
		"the peer speaks of others": {
			func(p *trace) { p.add(3, reassemblyError(0)); p.until(50) },
			[]string{"earlier_fragments_dropped 192.0.2.2 198.51.100.2"},
			"are not in this capture",
		},
	} {
		p := begun()
		c.build(&p)
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if c.says != "" {
			says(t, a.Findings, c.says)
		}
	}
}

// What the snap length cut off was there: IP says how long the packet was.
func TestSnapLength(t *testing.T) {
	p := negotiated()
	a := analyze(t, "x", p.file(t, ethernet(), 96))
	want := []string{"packet_too_big 192.0.2.2 198.51.100.2", "truncated_capture"}
	if diff := cmp.Diff(want, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
	whole := p.analysis(t, "x")
	f, g := whole.Pairs[0].Forward, a.Pairs[0].Forward
	f.Errors, g.Errors = nil, nil // the quote is cut, too
	if diff := cmp.Diff(f, g, exported); diff != "" || a.Cut == 0 {
		t.Errorf("%d cut: %s", a.Cut, diff)
	}
	if n := a.Negotiations; len(n) != 1 || !n[0].Established {
		t.Errorf("%+v", n)
	}
	// So little that not even the IKE header is there: the ports say that it is IKE, and nothing is
	// concluded.
	a = analyze(t, "x", p.file(t, ethernet(), 50))
	if a.Pairs[0].Forward.IKE != 1 || len(a.Negotiations) != 0 || slices.ContainsFunc(a.Findings, func(f finding) bool { return f.Fault }) {
		t.Errorf("%+v", a)
	}
}

func TestIPv6Fragments(t *testing.T) {
	var p trace
	request := authRequest.on4500(branch6, hq6)
	for i := range uint16(4) {
		parts := pieces(branch6, hq6, 50+i, 60, ip.ProtocolUDP, request, 1232)
		p.add(4*float64(i), parts[0])
		if i == 3 {
			p.add(12.1, parts[1:]...)
		}
		p.add(60+4*float64(i), icmpError(hq6, branch6, icmp.V6TimeExceeded, icmp.V6ReassemblyTimeoutExceeded, 0, parts[0]))
	}
	p.until(100)
	a := p.analysis(t, "x")
	want := []string{"FRAGMENTS_DROPPED 2001:db8::2 2001:db8:1::2", "NEGOTIATION_STUCK 2001:db8::2 2001:db8:1::2"}
	if diff := cmp.Diff(want, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
	f := a.Pairs[0].Forward
	if f.NATT != 4 || f.FirstFragments != 4 || f.LaterFragments != 1 || f.Whole != 1 || f.Incomplete != 3 || f.Errors[0].Count != 4 {
		t.Errorf("%+v", f)
	}
	if e := a.Findings[0].Evidence; len(e) != 4 || !strings.Contains(e[0], "IKE_AUTH of 2272 bytes, IP id 0x0032: 1232 bytes arrived of 2284, 1052 are missing; ICMP reassembly time exceeded about it +60.000 s") {
		t.Errorf("%q", e)
	}
}

// An identification comes again after a while, and a clock may be set.
func TestReusedIdentifications(t *testing.T) {
	var p trace
	for i := range 4 {
		p.add(float64(i)*2, pieces(branch, hq, 7, 60, ip.ProtocolESP, esp(1, uint32(i), 2000), 1480)...)
	}
	p.add(10, pieces(branch, hq, 8, 60, ip.ProtocolESP, esp(1, 9, 2000), 1480)[:1]...)
	p.until(90000) // the clock leaps by a day: the packets in between are unknown
	a := p.analysis(t, "x")
	if f := a.Pairs[0].Forward; f.Whole != 4 || f.ESP != 5 || f.Undecided != 1 || f.Incomplete != 0 {
		t.Errorf("%+v", f)
	}
}

// Datagrams that never get complete do not fill the memory.
func TestManyOpenDatagrams(t *testing.T) {
	var p trace
	for i := range 6000 {
		p.add(float64(i)/1000, pieces(branch, hq, uint16(i), 60, ip.ProtocolESP, esp(1, uint32(i), 2000), 1480)[0])
	}
	p.until(20)
	f := p.analysis(t, "x").Pairs[0].Forward
	if f.ESP != 6000 || f.Undecided != 6000 {
		t.Errorf("%+v", f)
	}
}
