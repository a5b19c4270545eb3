package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

var update = flag.Bool("update", false, "write testdata")

var peer6, host6 = netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("2001:db8::1")

// A sent is a probe with what the network makes of it.
type sent struct {
	packet  netio.Packet
	timeout time.Duration
	wire    [][]byte
	answers []netio.Answer
}

// at gives each answer its times, counted from when the probe was sent.
func at(start time.Time, after time.Duration, a netio.Answer) netio.Answer {
	a.Sent = start
	if a.Outcome != netio.Silent && a.Outcome != netio.NotSent && a.Outcome != netio.TooBigLocally {
		a.Received, a.RoundTrip = start.Add(after), after
	}
	return a
}

// echo6 is an ICMPv6 echo between the host and the peer.
func echo6(sequence uint16, size int, reply bool) []byte {
	src, dst := host6, peer6
	if reply {
		src, dst = peer6, host6
	}
	data := make([]byte, size-48)
	binary.BigEndian.PutUint64(data, 0x0102030405060708+uint64(sequence))
	b := icmp.AppendEcho6(nil, src, dst, 0x1234, sequence, data)
	if reply {
		b[0] = echoReply6
	}
	h := ip.IPv6{PayloadLength: len(b), NextHeader: ip.ProtocolICMPv6, Protocol: ip.ProtocolICMPv6, HopLimit: 61, Src: src, Dst: dst}
	return append(h.Append(nil), b...)
}

// recorded are probes of every kind, as collectors send them.
func recorded() (all []sent) {
	start := began()
	next := func() time.Time { start = start.Add(1234567 * time.Microsecond); return start }
	for i := range 20 { // routine
		when := next()
		reply := packet4(1, 84)
		reply[4], reply[5], reply[8] = byte(i), byte(77*i), 61
		copy(reply[12:20], []byte{203, 0, 113, 10, 192, 0, 2, 1})
		reply[20] = echoReply4
		request := packet4(1, 84)
		request[5], request[27], request[28] = byte(i), byte(i), byte(3*i)
		reply[27], reply[28] = byte(i), byte(3*i)
		all = append(all, sent{
			netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84, Purpose: "echo: does the peer answer?"},
			2 * time.Second,
			[][]byte{request},
			[]netio.Answer{at(when, 20*time.Millisecond+time.Duration(i*i)*time.Microsecond, netio.Answer{Outcome: netio.Delivered, From: peer4, TTL: 61, Wire: reply})},
		})
		when = next()
		all = append(all, sent{
			netio.Packet{Path: netio.Path{Dst: peer6, Interface: "wan0"}, Size: 104, Purpose: "echo: does the peer answer?"},
			2 * time.Second,
			[][]byte{echo6(uint16(i), 104, false)},
			[]netio.Answer{at(when, 30*time.Millisecond, netio.Answer{Outcome: netio.Delivered, From: peer6, Wire: echo6(uint16(i), 104, true)})},
		})
	}
	silent := at(next(), 0, netio.Answer{Outcome: netio.Silent})
	late := at(silent.Sent, 2500*time.Millisecond, netio.Answer{Outcome: netio.Delivered, Late: true, From: peer4, Wire: packet4(1, 84)})
	duplicate := late
	duplicate.Duplicate, duplicate.Late = true, false
	all = append(all, sent{
		netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84, Purpose: "echo: does the peer answer?"},
		2 * time.Second,
		[][]byte{packet4(1, 84)},
		[]netio.Answer{silent, late, duplicate},
	})
	all = append(all, ikeExchanges(next)...)
	return append(all, oddExchanges(next)...)
}

// ikeExchanges are IKE messages: answered, silent, in fragments, too big.
func ikeExchanges(next func() time.Time) (all []sent) {
	for i, size := range []int{404, 1500, 1400} {
		udp := netio.Packet{
			Path: netio.Path{Dst: peer4}, Protocol: netio.UDP, Port: 500, DontFragment: true, Purpose: "is IKE answered on this port?",
			Payload: make([]byte, size-28),
		}
		answer := netio.Answer{Outcome: netio.Delivered, From: peer4, TTL: 61, DontFragment: true, Wire: packet4(17, 66+i)}
		if i > 0 {
			quote := append(packet4(1, 28), packet4(17, 28)...)
			quote[20], quote[21], quote[26], quote[27] = 3, 4, 5, 120
			answer = netio.Answer{Outcome: netio.TooBig, MTU: 1400, From: router, Type: 3, Code: 4, Wire: quote}
		}
		all = append(all, sent{udp, time.Second, [][]byte{packet4(17, size)}, []netio.Answer{at(next(), 41*time.Millisecond, answer)}})
	}
	var pieces [][]byte
	for range 20 {
		pieces = append(pieces, packet4(17, 548))
	}
	fragmented := netio.Packet{
		Path: netio.Path{Dst: peer4}, Protocol: netio.UDP, Port: 4500, FragmentSize: 548, Payload: make([]byte, 9000),
		Purpose: "IKE message in IP fragments: do they arrive?",
	}
	all = append(all, sent{fragmented, 300 * time.Millisecond, pieces, []netio.Answer{at(next(), 0, netio.Answer{Outcome: netio.Silent, LocalDrops: true})}})
	return all
}

// oddExchanges are probes that do not leave this host, or are refused.
func oddExchanges(next func() time.Time) (all []sent) {
	ttl := netio.Packet{Path: netio.Path{Dst: peer6}, Protocol: netio.AH, TTL: 3, Payload: make([]byte, 60), Purpose: "how far does ah get? (rising TTL)"}
	for _, a := range []netio.Answer{
		{Outcome: netio.NotSent, Err: errors.New("send: no route to host")},
		{Outcome: netio.TooBigLocally, MTU: 1400, Err: errors.New("message too long")},
		{Outcome: netio.TimeExceeded, From: host6, Type: 3, Wire: echo6(1, 104, true)},
		{Outcome: netio.Refused, From: peer6, Type: 4, Code: 1},
		{Outcome: netio.Unreachable, From: host6, Type: 1, Code: 1, Cut: 300, FragmentSize: 1280},
	} {
		one := sent{ttl, 200 * time.Millisecond, nil, []netio.Answer{at(next(), 7*time.Millisecond, a)}}
		if a.Outcome != netio.NotSent && a.Outcome != netio.TooBigLocally {
			one.wire = [][]byte{echo6(9, 300, false)}
		}
		all = append(all, one)
	}
	return all
}

// Send implements collectors.Network.
func (s sent) Send(_ context.Context, p *netio.Packet, _ time.Duration, answer func(netio.Answer)) {
	for i, b := range s.wire {
		p.OnWire(s.answers[0].Sent.Add(time.Duration(i-1)*100*time.Microsecond), b)
	}
	for _, a := range s.answers {
		answer(a)
	}
}

// Route implements collectors.Network.
func (sent) Route(netio.Path) (netio.Route, error) { return netio.Route{}, nil }

var _ collectors.Network = sent{}

// TestExports compares the exports of all kinds of probes with files: whatever the memory looks like,
// they stay the same to the byte.
func TestExports(t *testing.T) {
	rings := map[string]*Ring{"snapped": NewRecorder(DefaultBytes).Open(), "whole": NewRing(DefaultBytes)}
	for name, ring := range rings {
		for _, s := range recorded() {
			ring.Watch(s).Send(t.Context(), &s.packet, s.timeout, func(netio.Answer) {})
		}
		text, err := json.MarshalIndent(ring.Exchanges(), "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		var packets bytes.Buffer
		if err := WritePcapng(&packets, ring.Exchanges(), "test"); err != nil {
			t.Fatal(err)
		}
		for file, have := range map[string][]byte{name + ".json": text, name + ".pcapng": packets.Bytes()} {
			file = filepath.Join("testdata", file)
			if *update {
				if err := os.WriteFile(file, have, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, have) {
				t.Errorf("%s differs: %s", file, cmp.Diff(string(want), string(have)))
			}
		}
	}
}
