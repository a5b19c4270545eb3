package netio

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

var (
	testPeer   = netip.MustParseAddr("192.0.2.1")
	testPeer6  = netip.MustParseAddr("2001:db8::1")
	testRouter = netip.MustParseAddr("198.51.100.1")
	testSelf   = netip.MustParseAddr("203.0.113.1")
)

const testPort = 40000

// testFlow is the flow of all flights.
var testFlow = &flow{echoID: 4711, port4: testPort, port6: testPort}

// matching is a Stack without sockets: what is received is fed by hand.
func matching(t *testing.T) *Stack {
	t.Helper()
	drops, record := &dropCounts{}, silence.New()
	return &Stack{
		silence: record, flights: newFlights(drops, record, func() {}), errors: newCounters(icmp.ErrorNames()), rejected: newCounters(RejectReasons()), drops: drops,
		pacer: newPacer(DefaultLimits), ports: map[uint16]bool{testPort: true},
	}
}

// launch enters a probe as if it had been sent and collects its answers.
func launch(s *Stack, f *flight) *[]Answer {
	var got []Answer
	f.flow, f.answer = testFlow, func(a Answer) { got = append(got, a) }
	f.charge, _ = s.silence.Admit(Lane(Path{Dst: f.dst}, f.protocol, f.port), time.Now(), silence.Probe{Packets: 1})
	s.flights.add(f, time.Now(), time.Minute, time.Minute)
	s.flights.departed(f, f.sent)
	return &got
}

func echoFlight(size int) *flight { return &flight{dst: testPeer, size: size} }

func ikeFlight(size int) *flight {
	return &flight{dst: testPeer, protocol: UDP, port: 500, size: size, token: Token{'s', 'e', 'c', 'r', 'e', 't', '!', '!'}}
}

// probeBytes rebuilds the IPv4 packet that a flight was.
func probeBytes(f *flight) []byte {
	h := ip.IPv4{
		HeaderLength: 20, TotalLength: f.size, ID: f.ipID, DontFragment: true, TTL: 64, Protocol: ip.ProtocolICMP, Src: testSelf, Dst: f.dst,
	}
	if f.isEcho() {
		data := make([]byte, f.size-HeaderIPv4-HeaderEcho)
		copy(data, f.token[:])
		return icmp.AppendEcho4(h.Append(nil), testFlow.echoID, f.seq, data)
	}
	h.Protocol = ip.ProtocolUDP
	payload := make([]byte, f.size-HeaderIPv4-HeaderUDP)
	copy(payload[f.offset:], f.token[:])
	b := ip.AppendUDP(h.Append(nil), netip.AddrPortFrom(testSelf, testPort), netip.AddrPortFrom(f.dst, f.port), payload)
	f.checksum = binary.BigEndian.Uint16(b[26:])
	return b
}

// icmpError wraps a quote of n bytes into an ICMPv4 error from a router.
func icmpError(from netip.Addr, typ, code uint8, mtu int, quote []byte, n int) []byte {
	m := []byte{typ, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	m = append(m, quote[:min(n, len(quote))]...)
	binary.BigEndian.PutUint16(m[2:], ip.Checksum(m))
	h := ip.IPv4{HeaderLength: 20, TotalLength: 20 + len(m), TTL: 60, Protocol: ip.ProtocolICMP, Src: from, Dst: testSelf}
	return append(h.Append(nil), m...)
}

func tooBig(mtu int, quote []byte, n int) []byte { return icmpError(testRouter, 3, 4, mtu, quote, n) }

func TestPacketTooBigValidation(t *testing.T) {
	edit := func(b []byte, f func([]byte)) []byte {
		c := append([]byte(nil), b...)
		f(c)
		return c
	}
	for name, tt := range map[string]struct {
		flight *flight
		forge  func(probe []byte) []byte
		reason string // "": believed
	}{
		"echo whole quote":           {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, p, 548) }, ""},
		"echo shortest quote":        {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, p, 28) }, ""},
		"udp whole quote":            {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, p, 548) }, ""},
		"udp shortest quote":         {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, p, 28) }, ""},
		"udp token, IP ID rewritten": {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[4]++ }), 548) }, ""},
		"other echo":                 {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[27]++ }), 548) }, RejectUnknownProbe},
		"echo token guessed":         {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[30]++ }), 548) }, RejectToken},
		"echo IP ID guessed":         {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[5]++ }), 28) }, RejectIPID},
		"echo other size":            {echoFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[3]-- }), 548) }, RejectSize},
		"udp token guessed":          {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[28]++ }), 548) }, RejectToken},
		"udp checksum guessed":       {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[26]++ }), 28) }, RejectUnknownProbe},
		"udp IP ID guessed":          {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[4]++ }), 28) }, RejectUnknownProbe},
		"udp other size":             {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, edit(p, func(b []byte) { b[3]-- }), 548) }, RejectSize},
		"cut quote":                  {ikeFlight(1500), func(p []byte) []byte { return tooBig(1400, p, 12) }, RejectMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			s := matching(t)
			got := launch(s, tt.flight)
			s.onICMPv4(nil, tt.forge(probeBytes(tt.flight)), reception{at: time.Now()})
			want := make(map[string]uint64)
			for _, r := range RejectReasons() {
				want[r] = 0
			}
			if tt.reason != "" {
				want[tt.reason] = 1
			}
			if d := cmp.Diff(want, s.Stats().Rejected); d != "" {
				t.Errorf("rejected (-want +got):\n%s", d)
			}
			if believed := len(*got) == 1; believed != (tt.reason == "") {
				t.Fatalf("answers: %+v", *got)
			}
			if tt.reason == "" && ((*got)[0].Outcome != TooBig || (*got)[0].MTU != 1400 || (*got)[0].From != testRouter) {
				t.Errorf("answer: %+v", (*got)[0])
			}
		})
	}
}

// TestOwnPacketTooBig: where a packet filter diverts a probe to a smaller link, the kernel tells
// the sender both by EMSGSIZE and by an ICMP error from its own address, in any order.
func TestOwnPacketTooBig(t *testing.T) {
	s := matching(t)
	f := ikeFlight(1500)
	got := launch(s, f)
	s.onICMPv4(nil, icmpError(testSelf, 3, 4, 1492, probeBytes(f), 548), reception{at: time.Now()})
	if len(*got) != 1 || (*got)[0].Outcome != TooBigLocally || (*got)[0].MTU != 1492 || !errors.Is((*got)[0].Err, unix.EMSGSIZE) {
		t.Errorf("answers: %+v", *got)
	}
}

func TestOtherProgramsErrorsAreNotOurs(t *testing.T) {
	s := matching(t)
	got := launch(s, echoFlight(1500))
	other := echoFlight(1500)
	other.dst, other.seq = netip.MustParseAddr("192.0.2.99"), 77
	s.onICMPv4(nil, tooBig(1400, probeBytes(other), 548), reception{at: time.Now()})
	dns := ikeFlight(1500)
	b := probeBytes(dns)
	binary.BigEndian.PutUint16(b[20:], 53535) // not our port
	s.onICMPv4(nil, tooBig(1400, b, 28), reception{at: time.Now()})
	for reason, n := range s.Stats().Rejected {
		if n != 0 {
			t.Errorf("rejected %q: %d", reason, n)
		}
	}
	if len(*got) != 0 {
		t.Errorf("answers: %+v", *got)
	}
}

func TestBadChecksumIsIgnored(t *testing.T) {
	s := matching(t)
	f := echoFlight(1500)
	got := launch(s, f)
	p := tooBig(1400, probeBytes(f), 548)
	p[26]++ // the MTU
	s.onICMPv4(nil, p, reception{at: time.Now()})
	if len(*got) != 0 {
		t.Errorf("answers: %+v", *got)
	}
}

// TestAnswerOrder walks the life of a probe as the drawing at flight has it.
func TestAnswerOrder(t *testing.T) {
	s := matching(t)
	f := ikeFlight(300)
	got := launch(s, f)
	from := netip.AddrPortFrom(testPeer, 500)
	reply := append(f.token[:], 1, 2, 3)
	s.flights.expire(f.at)
	s.onUDP(from, reply, reception{at: time.Now()})
	s.onUDP(from, reply, reception{at: time.Now()})
	s.onICMPv4(nil, icmpError(testPeer, 3, 3, 0, probeBytes(f), 100), reception{at: time.Now()})
	type seen struct {
		Outcome         Outcome
		Late, Duplicate bool
	}
	var order []seen
	for _, a := range *got {
		order = append(order, seen{a.Outcome, a.Late, a.Duplicate})
	}
	want := []seen{{Silent, false, false}, {Delivered, true, false}, {Delivered, false, true}}
	if d := cmp.Diff(want, order); d != "" {
		t.Errorf("answers (-want +got):\n%s", d)
	}
	s.flights.expire(f.forget)
	s.onUDP(from, reply, reception{at: time.Now()})
	if n := s.Stats().Stray; n != 1 {
		t.Errorf("stray packets after the probe is forgotten: %d, want 1", n)
	}
	if n := s.flights.len() + len(s.flights.tokens) + len(s.flights.quotes) + len(s.flights.targets); n != 0 {
		t.Errorf("%d entries left behind", n)
	}
}

func TestRefusedOnlyByThePeerItself(t *testing.T) {
	for from, want := range map[netip.Addr]Outcome{testPeer: Refused, testRouter: Unreachable} {
		s := matching(t)
		f := ikeFlight(300)
		got := launch(s, f)
		s.onICMPv4(nil, icmpError(from, 3, 3, 0, probeBytes(f), 100), reception{at: time.Now()})
		if len(*got) != 1 || (*got)[0].Outcome != want {
			t.Errorf("port unreachable from %s: %+v, want %s", from, *got, want)
		}
	}
}

func TestRepliesFromElsewhereAreStray(t *testing.T) {
	s := matching(t)
	f := ikeFlight(300)
	got := launch(s, f)
	s.onUDP(netip.AddrPortFrom(testRouter, 500), f.token[:], reception{at: time.Now()})
	s.onUDP(netip.AddrPortFrom(testPeer, 4500), f.token[:], reception{at: time.Now()})
	s.onUDP(netip.AddrPortFrom(testPeer, 500), append(make([]byte, 4), f.token[:]...), reception{at: time.Now()})
	if len(*got) != 0 || s.Stats().Stray != 3 {
		t.Errorf("answers %+v, stray %d", *got, s.Stats().Stray)
	}
}

// TestSameTokenTwice: a size that is probed twice has the same token; each reply answers one of
// them, the younger first.
func TestSameTokenTwice(t *testing.T) {
	s := matching(t)
	first, second := ikeFlight(1400), ikeFlight(1400)
	a, b := launch(s, first), launch(s, second)
	from := netip.AddrPortFrom(testPeer, 500)
	s.onUDP(from, first.token[:], reception{at: time.Now()})
	if len(*a) != 0 || len(*b) != 1 {
		t.Fatalf("after one reply: %d and %d answers", len(*a), len(*b))
	}
	s.onUDP(from, first.token[:], reception{at: time.Now()})
	if len(*a) != 1 || len(*b) != 1 {
		t.Fatalf("after two replies: %d and %d answers", len(*a), len(*b))
	}
	if first.ipID == second.ipID {
		t.Error("two probes to one address share an IP identification")
	}
}

func TestIPv6PacketTooBig(t *testing.T) {
	s := matching(t)
	f := &flight{dst: testPeer6, protocol: UDP, port: 4500, size: 1500, offset: 4, token: Token{'s', 'e', 'c', 'r', 'e', 't', '!', '!'}}
	got := launch(s, f)
	self := netip.MustParseAddr("2001:db8::2")
	h := ip.IPv6{PayloadLength: f.size - HeaderIPv6, HopLimit: 64, NextHeader: ip.ProtocolUDP, Src: self, Dst: f.dst}
	payload := make([]byte, f.size-HeaderIPv6-HeaderUDP)
	copy(payload[4:], f.token[:])
	probe := ip.AppendUDP(h.Append(nil), netip.AddrPortFrom(self, testPort), netip.AddrPortFrom(f.dst, 4500), payload)
	message := append([]byte{2, 0, 0, 0, 0, 0, 0x05, 0x78}, probe[:1232]...)
	s.onICMPv6(nil, netip.MustParseAddr("2001:db8::3"), message, reception{at: time.Now()})
	if len(*got) != 1 || (*got)[0].Outcome != TooBig || (*got)[0].MTU != 1400 {
		t.Errorf("answers: %+v", *got)
	}
}

func TestReceiveTimeSurvivesClockSteps(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		kernel time.Time
		age    time.Duration
	}{
		"none":          {time.Time{}, 0},
		"just now":      {now.Round(0).Add(-3 * time.Millisecond), 3 * time.Millisecond},
		"clock stepped": {now.Round(0).Add(-time.Hour), 0},
		"from tomorrow": {now.Round(0).Add(time.Hour), 0},
	} {
		if d := now.Sub(received(tt.kernel)) - tt.age; d.Abs() > time.Second {
			t.Errorf("%s: off by %v", name, d)
		}
	}
}

func TestDropCounterWraps(t *testing.T) {
	d := &dropCounts{}
	var total uint32
	d.register(&dropSocket{name: "icmp4", read: func() (uint32, error) { return total, nil }})
	d.register(&dropSocket{name: "icmp4_suspects", suspects: true, read: func() (uint32, error) { return total, nil }})
	for _, total = range []uint32{5, ^uint32(0), 2} {
		d.answers(false)
	}
	const want = 1<<32 + 2
	if n := d.snapshot(); n["icmp4"] != want || n["icmp4_suspects"] != want || d.answers(false) != want {
		t.Errorf("drops %v, of answers %d, want %d", n, d.answers(false), uint64(want))
	}
	// Junk of a wrong checksum counts on both raw ICMPv6 sockets.
	junk, lost := uint32(7), uint32(3)
	d.register(&dropSocket{name: "icmp6", v6: true, read: func() (uint32, error) { return junk + lost, nil }})
	d.register(&dropSocket{name: "icmp6_suspects", v6: true, suspects: true, read: func() (uint32, error) { return junk, nil }})
	if n := d.answers(true); n != uint64(lost) {
		t.Errorf("%d answers of IPv6 lost, want %d", n, lost)
	}
}

func FuzzICMPv4(f *testing.F) {
	f.Add(tooBig(1400, probeBytes(ikeFlight(1500)), 548))
	f.Add(tooBig(1400, probeBytes(echoFlight(100)), 28))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := matching(t)
		got := launch(s, ikeFlight(1500))
		s.onICMPv4(nil, b, reception{at: time.Now()})
		s.onICMPv6(nil, testPeer6, b, reception{at: time.Now()})
		s.onUDP(netip.AddrPortFrom(testRouter, 500), b, reception{at: time.Now()})
		for _, a := range *got {
			if a.Outcome == Delivered {
				t.Fatalf("believed %x", b)
			}
		}
	})
}

func FuzzErrorQueue(f *testing.F) {
	f.Add(appendControl(nil, 0, 11, make([]byte, 48)), []byte("payload"))
	f.Fuzz(func(t *testing.T, oob, payload []byte) {
		s := matching(t)
		launch(s, ikeFlight(1500))
		if e, ok := parseQueued(oob); ok {
			s.onQueued(e, netip.AddrPortFrom(testPeer, 500), payload, reception{at: time.Now()})
		}
	})
}

// TestInexactQuotes: a PTB whose quote a router cut short and a NAT rewrote is a hint for the probe
// that it may be about, and decides nothing.
func TestInexactQuotes(t *testing.T) {
	newID := func(b []byte) { b[4]++ }
	for name, tt := range map[string]struct {
		flight *flight
		change func(b []byte)
		n      int
		want   bool
	}{
		"echo, IP ID":                    {echoFlight(1500), newID, 28, true},
		"echo, identifier and checksum":  {echoFlight(1500), func(b []byte) { b[22]++; b[24]++ }, 28, true},
		"echo, identifier, token quoted": {echoFlight(1500), func(b []byte) { b[24]++ }, 548, true},
		"echo, other token":              {echoFlight(1500), func(b []byte) { b[24]++; b[28]++ }, 548, false},
		"echo, other size":               {echoFlight(1500), func(b []byte) { newID(b); b[3]-- }, 28, false},
		"echo reply":                     {echoFlight(1500), func(b []byte) { newID(b); b[20] = 0 }, 28, false},
		"echo, 4 bytes":                  {echoFlight(1500), newID, 24, false},
		"udp, IP ID":                     {ikeFlight(1500), newID, 28, true},
		"udp, source port and checksum":  {ikeFlight(1500), func(b []byte) { newID(b); b[20]++; b[26]++ }, 28, true},
		"udp, other destination port":    {ikeFlight(1500), func(b []byte) { newID(b); b[23]++ }, 28, false},
		"udp, other payload":             {ikeFlight(1500), func(b []byte) { newID(b); b[20]++; b[28]++ }, 548, false},
		"other destination":              {ikeFlight(1500), func(b []byte) { newID(b); b[19]++ }, 28, false},
		"other protocol":                 {ikeFlight(1500), func(b []byte) { newID(b); b[9] = ip.ProtocolESP }, 28, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := matching(t)
			var hints []Hint
			tt.flight.hint = func(h Hint) { hints = append(hints, h) }
			answers := launch(s, tt.flight)
			quote := probeBytes(tt.flight)
			tt.change(quote)
			for range maxHints + 3 {
				s.onICMPv4(nil, tooBig(1400, quote, tt.n), reception{at: time.Now()})
			}
			if want := (Hint{From: testRouter, MTU: 1400}); tt.want && (len(hints) != maxHints || hints[0] != want) || !tt.want && len(hints) > 0 {
				t.Errorf("hints %+v", hints)
			}
			if len(*answers) > 0 || tt.flight.decided != 0 {
				t.Errorf("answers %+v", *answers)
			}
		})
	}
}

// TestInexactQuotesAreShared: probes of one size get one hint each before any gets a second one,
// and a probe that arrived gets none.
func TestInexactQuotesAreShared(t *testing.T) {
	s := matching(t)
	var hints [3]int
	for i := range hints {
		f := ikeFlight(1500)
		f.hint = func(Hint) { hints[i]++ }
		launch(s, f)
		if i == 0 {
			s.onUDP(netip.AddrPortFrom(testPeer, 500), f.token[:], reception{at: time.Now()})
		}
		if i == 2 {
			quote := probeBytes(f)
			quote[4], quote[20] = quote[4]^0xff, quote[20]^0xff
			for range 3 {
				s.onICMPv4(nil, tooBig(1400, quote, 28), reception{at: time.Now()})
			}
		}
	}
	if hints != [3]int{0, 2, 1} {
		t.Errorf("hints %v", hints)
	}
}

// TestQuotedFragment: an ICMP error that quotes the first fragment of a probe shows that the probe
// was cut.
func TestQuotedFragment(t *testing.T) {
	for _, f := range []*flight{echoFlight(1500), ikeFlight(1500)} {
		s := matching(t)
		got := launch(s, f)
		quote := probeBytes(f)
		s.onICMPv4(nil, icmpError(testRouter, 11, 0, 0, quote, 548), reception{at: time.Now()})
		binary.BigEndian.PutUint16(quote[2:], 1396)
		quote[6] = 0x20 // more fragments
		f.decided = 0
		s.onICMPv4(nil, icmpError(testRouter, 11, 0, 0, quote, 548), reception{at: time.Now()})
		if len(*got) != 2 || (*got)[0].Cut != 0 || (*got)[1].Cut != 1396 {
			t.Errorf("%s: %+v", f.protocol, *got)
		}
	}
}
