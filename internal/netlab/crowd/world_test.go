package crowd

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

var prefix6 = netip.MustParsePrefix("fd64::/64")

// worldOf returns a world of both families whose peers are of one kind.
func worldOf(tb testing.TB, k Kind) *World {
	tb.Helper()
	w, err := NewWorld(Config{
		Seed: 7, Count: 3, IPv6: prefix6, Mix: []Share{{k, 1}}, Delay: Distribution{Low: 20 * time.Millisecond, High: 20 * time.Millisecond},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// A probe is a packet to peer 1.
type probe struct {
	v6    bool
	ttl   uint8
	proto uint8
	body  []byte
	cut   int // size of fragments, 0 for one packet
}

func (p probe) ends(w *World) (src, dst netip.Addr) {
	if p.v6 {
		return local6, w.config.Addr(1, true)
	}
	return local4, w.config.Addr(1, false)
}

// packets returns the probe as IP packets, with DF unless it is cut.
func (p probe) packets(w *World) [][]byte {
	src, dst := p.ends(w)
	var whole []byte
	if p.v6 {
		h := ip.IPv6{PayloadLength: len(p.body), HopLimit: p.ttl, NextHeader: p.proto, Src: src, Dst: dst}
		whole = append(h.Append(nil), p.body...)
	} else {
		h := ip.IPv4{TotalLength: 20 + len(p.body), DontFragment: p.cut == 0, TTL: p.ttl, Protocol: p.proto, Src: src, Dst: dst}
		whole = append(h.Append(nil), p.body...)
	}
	if p.cut == 0 {
		return [][]byte{whole}
	}
	var all [][]byte
	cut(whole, p.cut, 99, func(b []byte) { all = append(all, slices.Clone(b)) })
	return all
}

// echo returns an echo request of size bytes, IP header included.
func echo(w *World, v6 bool, size int) probe {
	p := probe{v6: v6, ttl: 64, proto: ip.ProtocolICMP}
	src, dst := p.ends(w)
	if v6 {
		p.proto = ip.ProtocolICMPv6
		p.body = icmp.AppendEcho6(nil, src, dst, 5, 6, make([]byte, size-48))
	} else {
		p.body = icmp.AppendEcho4(nil, 5, 6, make([]byte, size-28))
	}
	return p
}

const initiate = "a1a2a3a4a5a6a7a80000000000000000212022080000000000000020" + "00000004"

// ike returns an IKE_SA_INIT request.
func ike(t *testing.T, w *World, v6 bool, port uint16) probe {
	t.Helper()
	message, err := hex.DecodeString(initiate)
	if err != nil {
		t.Fatal(err)
	}
	if port == 4500 {
		message = append(make([]byte, 4), message...)
	}
	p := probe{v6: v6, ttl: 64, proto: ip.ProtocolUDP}
	src, dst := p.ends(w)
	p.body = ip.AppendUDP(nil, netip.AddrPortFrom(src, 33333), netip.AddrPortFrom(dst, port), message)
	return p
}

// send gives a probe to the world and describes each packet that comes back. It checks addresses and
// checksums.
func send(t *testing.T, w *World, p probe) (answers []string) {
	t.Helper()
	for _, b := range p.packets(w) {
		w.Handle(b, func(out []byte, delay time.Duration) {
			answer, ok := parse(out)
			if !ok || answer.dst != local4 && answer.dst != local6 {
				t.Fatalf("malformed answer % x", out)
			}
			answers = append(answers, describe(t, &answer)+fmt.Sprintf(" after %v", delay))
		})
	}
	return answers
}

func describe(t *testing.T, a *packet) string {
	t.Helper()
	if !a.v6 && ip.Checksum(a.whole[:20]) != 0 {
		t.Errorf("IP checksum of % x", a.whole)
	}
	if a.fragment {
		return fmt.Sprintf("%s: fragment at %d, %d bytes, more %t", a.src, a.offset, len(a.whole), a.more)
	}
	switch a.protocol {
	case ip.ProtocolICMP, ip.ProtocolICMPv6:
		m, err := icmp.ParseIPv4(a.payload)
		sum := ip.Checksum(a.payload)
		if a.v6 {
			m, err = icmp.ParseIPv6(a.payload)
			sum = ip.PseudoChecksum(a.src, a.dst, a.protocol, a.payload)
		}
		if err != nil || sum != 0 {
			t.Errorf("ICMP % x: %v, sum %x", a.payload, err, sum)
		}
		if m.ID == 5 && m.Seq == 6 {
			return fmt.Sprintf("%s: echo reply of %d", a.src, len(a.whole))
		}
		return fmt.Sprintf("%s: %s, MTU %d, quotes %d", a.src, icmp.ErrorName(a.v6, m.Type, m.Code), m.MTU, m.Quote.TotalLength)
	case ip.ProtocolUDP:
		h, payload, err := ip.ParseUDP(a.payload)
		if err != nil || ip.PseudoChecksum(a.src, a.dst, a.protocol, a.payload) != 0 {
			t.Errorf("UDP % x: %v", a.payload, err)
		}
		return fmt.Sprintf("%s: UDP %d to %d, notify %d", a.src, h.Src, h.Dst, binary.BigEndian.Uint16(payload[len(payload)-4:]))
	}
	return fmt.Sprintf("protocol %d", a.protocol)
}

func TestCleanPeer(t *testing.T) {
	w := worldOf(t, Clean)
	for name, tt := range map[string]struct {
		probe probe
		want  []string
	}{
		"echo":          {echo(w, false, 84), []string{"10.64.0.2: echo reply of 84 after 20ms"}},
		"echo6":         {echo(w, true, 104), []string{"fd64::2: echo reply of 104 after 20ms"}},
		"largest":       {echo(w, false, 1500), []string{"10.64.0.2: echo reply of 1500 after 20ms"}},
		"ike":           {ike(t, w, false, 500), []string{"10.64.0.2: UDP 500 to 33333, notify 17 after 20ms"}},
		"natt":          {ike(t, w, false, 4500), []string{"10.64.0.2: UDP 4500 to 33333, notify 17 after 20ms"}},
		"natt6":         {ike(t, w, true, 4500), []string{"fd64::2: UDP 4500 to 33333, notify 17 after 20ms"}},
		"another port":  {ike(t, w, false, 33434), []string{"10.64.0.2: port_unreachable, MTU 0, quotes 60 after 20ms"}},
		"another port6": {ike(t, w, true, 33434), []string{"fd64::2: port_unreachable, MTU 0, quotes 80 after 20ms"}},
		"esp":           {probe{ttl: 64, proto: ip.ProtocolESP, body: make([]byte, 20)}, nil},
	} {
		if diff := cmp.Diff(tt.want, send(t, w, tt.probe)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := w.Identifier(); got != 5 {
		t.Errorf("identifier %d", got)
	}
	if w.Handle([]byte{0x45, 0}, nil); w.Counters()["foreign"] != 1 {
		t.Errorf("a malformed packet is not counted: %v", w.Counters())
	}
}

func TestRouters(t *testing.T) {
	w := worldOf(t, Clean)
	for _, v6 := range []bool{false, true} {
		for ttl, want := range map[uint8]string{1: "5ms", 2: "10ms", 3: "15ms"} {
			p := echo(w, v6, 84)
			p.ttl = ttl
			router := fmt.Sprintf("10.63.255.%d: ttl_exceeded, MTU 0, quotes 84 after %s", ttl, want)
			if v6 {
				router = fmt.Sprintf("fd63:ffff::%d: ttl_exceeded, MTU 0, quotes 84 after %s", ttl, want)
			}
			if diff := cmp.Diff([]string{router}, send(t, w, p)); diff != "" {
				t.Errorf("TTL %d: %s", ttl, diff)
			}
		}
	}
}

// TestFragments: requests in fragments are put together, and large replies come in fragments.
func TestFragments(t *testing.T) {
	w := worldOf(t, Clean)
	for v6, want := range map[bool][]string{
		false: {"10.64.0.2: fragment at 0, 1500 bytes, more true after 20ms", "10.64.0.2: fragment at 1480, 520 bytes, more false after 20ms"},
		true:  {"fd64::2: fragment at 0, 1496 bytes, more true after 20ms", "fd64::2: fragment at 1448, 560 bytes, more false after 20ms"},
	} {
		p := echo(w, v6, 1980+map[bool]int{false: 20, true: 20}[v6])
		p.cut = 1300
		if diff := cmp.Diff(want, send(t, w, p)); diff != "" {
			t.Errorf("IPv6 %t: %s", v6, diff)
		}
	}
	dropping := worldOf(t, NoFragments)
	p := ike(t, dropping, false, 500)
	p.cut = 36
	if got := send(t, dropping, p); got != nil || dropping.Counters()["fragments_dropped"] != 3 {
		t.Errorf("fragments pass: %q, %v", got, dropping.Counters())
	}
}

// TestKinds: what packets of three sizes by three methods bring at each kind of peer.
func TestKinds(t *testing.T) {
	tooBig := "10.63.255.2: packet_too_big, MTU 1400, quotes 1500 after 10ms"
	small, large := "10.64.0.2: echo reply of 84 after 20ms", "10.64.0.2: echo reply of 1500 after 20ms"
	ike500, natt := "10.64.0.2: UDP 500 to 33333, notify 17 after 20ms", "10.64.0.2: UDP 4500 to 33333, notify 17 after 20ms"
	closed, missing := "10.64.0.2: port_unreachable, MTU 0, quotes %d after 20ms", "10.63.255.3: host_unreachable, MTU 0, quotes %d after 15ms"
	for k, want := range map[Kind][4][]string{
		Clean:       {{small}, {large}, {ike500}, {natt}},
		Small:       {{small}, {tooBig}, {ike500}, {natt}},
		Hole:        {{small}, nil, {ike500}, {natt}},
		SilentHole:  {nil, nil, {ike500}, {natt}},
		ReverseHole: {{small}, nil, {ike500}, {natt}},
		NoEcho:      {nil, nil, {ike500}, {natt}},
		Dead:        {},
		OneWay:      {},
		NoRoute:     {{fmt.Sprintf(missing, 84)}, {fmt.Sprintf(missing, 1500)}, {fmt.Sprintf(missing, 60)}, {fmt.Sprintf(missing, 64)}},
		NoUDP500:    {{small}, {large}, nil, {natt}},
		NoUDP4500:   {{small}, {large}, {ike500}, nil},
		Refused:     {{small}, {large}, {fmt.Sprintf(closed, 60)}, {fmt.Sprintf(closed, 64)}},
		IKEv1:       {{small}, {large}, nil, nil},
	} {
		w := worldOf(t, k)
		got := [4][]string{
			send(t, w, echo(w, false, 84)), send(t, w, echo(w, false, 1500)), send(t, w, ike(t, w, false, 500)), send(t, w, ike(t, w, false, 4500)),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
	}
	w := worldOf(t, Prohibited)
	got := send(t, w, probe{ttl: 64, proto: ip.ProtocolESP, body: make([]byte, 20)})
	if diff := cmp.Diff([]string{"10.63.255.3: admin_prohibited, MTU 0, quotes 40 after 15ms"}, got); diff != "" {
		t.Errorf("prohibited: %s", diff)
	}
}

// TestLoss: the share of lost echoes, and the counts of the peer.
func TestLoss(t *testing.T) {
	w := worldOf(t, Lossy)
	const sent = 20_000
	answered := 0
	for range sent {
		answered += len(send(t, w, echo(w, false, 84)))
	}
	var counts Echoes
	for e := range w.Echoes {
		if e.Requests > 0 {
			counts = e
		}
	}
	if counts.Requests != sent || int(counts.Replies) != answered || counts.Lost+counts.Replies != sent {
		t.Errorf("%d of %d answered, counted %+v", answered, sent, counts)
	}
	// 200 are expected, with a standard deviation of 14.
	if counts.Lost < 130 || counts.Lost > 270 {
		t.Errorf("%d of %d lost at %g", counts.Lost, sent, slightLoss)
	}
}

// TestProfilesAreAFunctionOfSeedAndAddress: another order or number of peers changes no profile, and
// another seed does.
func TestProfilesAreAFunctionOfSeedAndAddress(t *testing.T) {
	mix, err := ParseMix("clean:60,small:10,hole:10,dead:20")
	if err != nil {
		t.Fatal(err)
	}
	delay, err := ParseDistribution("5ms-80ms+exp:2ms")
	if err != nil {
		t.Fatal(err)
	}
	all := func(seed uint64, count int) map[netip.Addr]Profile {
		c := Config{Seed: seed, Count: count, IPv6: prefix6, Mix: mix, Delay: delay, Narrow: []int{1280, 1400, 1438}}
		if err := c.Complete(); err != nil {
			t.Fatal(err)
		}
		profiles := make(map[netip.Addr]Profile)
		for p := range c.Profiles {
			profiles[p.Address] = p
		}
		return profiles
	}
	few, many, other := all(1, 100), all(1, 3000), all(2, 3000)
	for a, p := range few {
		if p != many[a] {
			t.Errorf("%s: %+v among few, %+v among many", a, p, many[a])
		}
	}
	if maps.Equal(many, other) {
		t.Error("another seed gives the same profiles")
	}
	kinds := make(map[Kind]int)
	for _, p := range many {
		kinds[p.Kind]++
		if p.Delay < 5*time.Millisecond {
			t.Errorf("delay %v", p.Delay)
		}
	}
	for k, share := range map[Kind]float64{Clean: 0.6, Small: 0.1, Hole: 0.1, Dead: 0.2} {
		if got := float64(kinds[k]) / 6000; got < share-0.03 || got > share+0.03 {
			t.Errorf("%s: share %.3f, want %.1f", k, got, share)
		}
	}
}

// TestExpect: the verdicts of kinds that differ most.
func TestExpect(t *testing.T) {
	yes, no := true, false
	for k, want := range map[Kind]Expectation{
		Clean: {
			nil,
			&yes,
			map[string]bool{"ike": true, "natt": true},
			map[string]string{"icmp": "clean", "ike": "clean", "natt": "clean"},
			map[string]int{"icmp": 1500, "ike": 1500, "natt": 1500},
		},
		SilentHole: {
			[]string{"icmp_blocked", "pmtu_black_hole"},
			&no,
			map[string]bool{"ike": true, "natt": true},
			map[string]string{"icmp": "unreachable", "ike": "black_hole", "natt": "black_hole"},
			map[string]int{"ike": 1400, "natt": 1400},
		},
		ReverseHole: {
			[]string{"pmtu_black_hole_reverse"},
			&yes,
			map[string]bool{"ike": true, "natt": true},
			map[string]string{"icmp": "black_hole", "ike": "clean", "natt": "clean"},
			map[string]int{"icmp": 1400, "ike": 1500, "natt": 1500},
		},
		OneWay: {
			[]string{"peer_silent"},
			&no,
			map[string]bool{"ike": false, "natt": false},
			map[string]string{"icmp": "unreachable", "ike": "unreachable", "natt": "unreachable"},
			map[string]int{},
		},
		HeavyLoss: {
			[]string{"loss_high"}, nil, map[string]bool{}, map[string]string{}, map[string]int{},
		},
	} {
		w := worldOf(t, k)
		if diff := cmp.Diff(want, w.peers[0][0].Expect()); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
	}
}

func TestParsers(t *testing.T) {
	for _, s := range []string{"20ms", "5ms-80ms", "0s+exp:3ms", "1ms-2ms+exp:3ms"} {
		if d, err := ParseDistribution(s); err != nil || d.String() != s {
			t.Errorf("%s: %s, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "20", "80ms-5ms", "exp:x", "5ms-"} {
		if _, err := ParseDistribution(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	for _, s := range []string{"", "cleanest", "clean:x", "clean:-1"} {
		if _, err := ParseMix(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	for name, c := range map[string]Config{
		"too many peers": {IPv4: netip.MustParsePrefix("10.64.0.0/24"), Count: 255},
		"one router":     {Hops: 1},
	} {
		if _, err := NewWorld(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	w := worldOf(b, Clean)
	packet := echo(w, false, 84).packets(w)[0]
	b.ReportAllocs()
	for b.Loop() {
		w.Handle(packet, func([]byte, time.Duration) {})
	}
}
