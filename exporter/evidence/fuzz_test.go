package evidence

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

func TestSnap(t *testing.T) {
	src, dst := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	v6 := func(protocol uint8, payload []byte) []byte {
		h := ip.IPv6{PayloadLength: len(payload), NextHeader: protocol, Protocol: protocol, HopLimit: 64, Src: src, Dst: dst}
		return append(h.Append(nil), payload...)
	}
	echo4 := packet4(ip.ProtocolICMP, 1500)
	fragment := packet4(ip.ProtocolICMP, 1500)
	fragment[7] = 1
	quote := append([]byte{icmp.V6PacketTooBig, 0, 0, 0, 0, 0, 5, 120}, v6(ip.ProtocolUDP, make([]byte, 1180))...)
	for name, tt := range map[string]struct {
		packet []byte
		want   int
	}{
		"echo": {echo4, 36}, "echo over IPv6": {v6(ip.ProtocolICMPv6, icmp.AppendEcho6(nil, src, dst, 1, 2, make([]byte, 1400))), 56},
		"later fragment of an echo": {fragment, snapLength}, "short echo": {echo4[:30], 30}, "datagram": {packet4(ip.ProtocolUDP, 1401), snapLength},
		"small datagram": {packet4(ip.ProtocolUDP, 90), 90}, "error": {v6(ip.ProtocolICMPv6, quote), snapLength}, "nothing": {nil, 0},
		"no IP": {[]byte{0xff, 1}, 2},
	} {
		if got := snap(tt.packet); len(got) != tt.want || !bytes.HasPrefix(tt.packet, got) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), tt.want)
		}
	}
}

func FuzzSnap(f *testing.F) {
	f.Add(packet4(ip.ProtocolICMP, 100))
	f.Add(packet4(ip.ProtocolUDP, 1500))
	f.Add([]byte{0x60, 0, 0, 0, 0, 8, 58, 64, 39: 1, 40: 128, 47: 1})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if got := snap(packet); len(got) > snapLength || !bytes.HasPrefix(packet, got) {
			t.Errorf("%d of %d bytes", len(got), len(packet))
		}
	})
}

// FuzzDecode: nothing that is stored can hurt whoever reads or exports it.
func FuzzDecode(f *testing.F) {
	g := NewTrace(1 << 16)
	at := began()
	for _, a := range []netio.Answer{
		{Outcome: netio.Silent, Sent: at},
		{Outcome: netio.TooBig, From: router, MTU: 1400, Sent: at, Received: at.Add(time.Second), RoundTrip: time.Second, Wire: packet4(1, 84)},
	} {
		send(f, g, a, "seed")
	}
	f.Add(bytes.Clone(g.faults.b))
	f.Add([]byte{2, 0, 0, 0, kindExchange, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		all := decode(b)
		if len(all) > len(b)/prefix {
			t.Fatalf("%d exchanges of %d bytes", len(all), len(b))
		}
		for i := range all {
			all[i].order()
			_, _ = all[i].What(), all[i].Result()
			if _, err := all[i].MarshalJSON(); err != nil {
				// Years beyond 9999 cannot come from a clock, and all numbers are finite.
				if y := all[i].Sent.Year(); y >= 0 && y <= 9999 {
					t.Error(err)
				}
			}
		}
		if err := WritePcapng(new(bytes.Buffer), all, "test"); err != nil {
			t.Error(err)
		}
	})
}

// FuzzQueue: a queue keeps the newest records in order and within its limit, whatever happens to it.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{10, 200, 3, 0, 77, 250})
	f.Fuzz(func(t *testing.T, script []byte) {
		q := queue{limit: 256}
		var n uint32
		for _, c := range script {
			if c >= 0xf0 {
				q.resize(int(c&15) * 64)
			} else {
				n++
				q.push(binary.LittleEndian.AppendUint32(make([]byte, c), n))
			}
			if len(q.b) > q.limit || cap(q.b) > max(q.limit, 512) && cap(q.b) > q.limit+q.limit/4 {
				t.Fatalf("%d of %d bytes with a limit of %d", len(q.b), cap(q.b), q.limit)
			}
			last, kept := uint32(0), uint64(0)
			records(q.b, func(r []byte) {
				id := binary.LittleEndian.Uint32(r[len(r)-4:])
				if id <= last {
					t.Fatalf("record %d behind %d", id, last)
				}
				last = id
				kept++
			})
			if kept+q.lost != uint64(n) {
				t.Fatalf("%d kept and %d lost of %d", kept, q.lost, n)
			}
		}
	})
}
