package trace

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

// FuzzDecode: no stored bytes make decoding or export fail.
func FuzzDecode(f *testing.F) {
	r := NewRecorder(LeastBytes)
	g := r.Open()
	at := began()
	for range 2 {
		for _, a := range []netio.Answer{
			{Outcome: netio.Silent, Sent: at},
			{Outcome: netio.TooBig, From: router, MTU: 1400, Sent: at, Received: at.Add(time.Second), RoundTrip: time.Second, Wire: packet4(1, 84)},
		} {
			send(f, g, a, "seed")
		}
	}
	f.Add(r.arena.read(nil, g.chains[searchFault]))
	f.Add([]byte{2, 1, 0})
	f.Add([]byte{5, 0, 0, 200, 1, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		all := r.bases.decode(b, peer4)
		if len(all) > len(b) {
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

// exchange makes an exchange of fuzzed bytes.
func exchange(data []byte) Exchange {
	r := reader{b: data}
	packet := func() Packet {
		p := Packet{At: began().Add(time.Duration(r.uint32())), Length: int(r.uint16())}
		p.Bytes = append([]byte{}, r.take(min(int(r.byte()), len(r.b)))...)
		return p
	}
	dst := peer4
	if r.byte()%2 == 1 {
		dst = peer6
	}
	e := Exchange{
		Sent: began().Add(time.Duration(r.uint32())), Dst: dst, Interface: string(head(r.b, 3)), Purpose: string(head(r.b, int(r.byte()))),
		Protocol: netio.Protocol(r.byte() % 4), Port: r.uint16(), Size: int(r.uint16()), FragmentSize: int(r.uint16()), TTL: r.byte(),
		DontFragment: r.byte()%2 == 1, Timeout: time.Duration(r.uint32()), Omitted: int(r.byte()),
	}
	for range r.byte() % 3 {
		e.Packets = append(e.Packets, packet())
	}
	for range 1 + r.byte()%3 {
		e.Answers = append(e.Answers, Answer{
			Outcome: netio.Outcome(1 + r.byte()%8), Late: r.byte()%2 == 1, From: []netip.Addr{{}, peer4, router, peer6, host6}[r.byte()%5],
			MTU: int(r.uint16()), RoundTrip: time.Duration(r.uint32()), Type: r.byte(), Code: r.byte(), FragmentSize: int(r.uint16()),
			TTL: r.byte(), LocalDrops: r.byte()%2 == 1, Err: string(head(r.b, int(r.byte())%200)), Packet: packet(),
		})
	}
	return e
}

// FuzzRecord: what is recorded comes back, also behind exchanges that are alike.
func FuzzRecord(f *testing.F) {
	for _, s := range recorded() {
		var seed []byte
		for _, b := range s.wire {
			seed = append(append(seed, byte(len(b))), b...)
		}
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		g := NewRing(LeastBytes)
		want := []Exchange{exchange(one), exchange(other), exchange(one)}
		for i := range want {
			want[i].Sent = want[i].Sent.Add(time.Duration(i) * time.Minute)
			g.Record(&want[i])
		}
		for i := range want {
			e := &want[i]
			e.Purpose = e.Purpose[:min(len(e.Purpose), maxText)]
			for k := range e.Answers {
				e.Answers[k].Err = e.Answers[k].Err[:min(len(e.Answers[k].Err), maxText)]
			}
			e.order()
		}
		same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if diff := cmp.Diff(want, g.Exchanges(), same, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzPack: a difference gives back the body, whatever the base.
func FuzzPack(f *testing.F) {
	f.Add(make([]byte, 100), packet4(1, 84))
	f.Add([]byte(nil), []byte{0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(packet4(1, 200), []byte{1})
	f.Fuzz(func(t *testing.T, base, body []byte) {
		packed := pack(nil, base, body)
		if most := len(body) + (len(body)+wordSize-1)/wordSize + (len(body)+groupSize-1)/groupSize; len(packed) > most {
			t.Errorf("%d bytes, want at most %d", len(packed), most)
		}
		if got, ok := unpack(nil, base, packed, len(body)); !ok || !bytes.Equal(got, body) {
			t.Errorf("%x, want %x", got, body)
		}
	})
}

// TestArena adds and drops records of all sizes at random: each chain keeps its newest records whole
// and in order, and no kind takes more than its share.
func TestArena(t *testing.T) {
	const most = 600 // chunks
	a, random := newArena(most*chunkSize), rand.New(rand.NewPCG(1, 2))
	chains := make([]*chain, 50)
	want := make([][][]byte, len(chains))
	for i := range chains {
		chains[i] = &chain{kind: kind(i) % kinds}
	}
	for n := range uint32(20_000) {
		i := random.IntN(len(chains))
		record := make([]byte, 2+random.IntN(40))
		if random.IntN(50) == 0 {
			record = make([]byte, 2+random.IntN(3000))
		}
		binary.LittleEndian.PutUint16(record, uint16(len(record)))
		for k := range record[2:] {
			record[2+k] = byte(n)
		}
		switch {
		case random.IntN(500) == 0:
			a.clear(chains[i])
			want[i] = nil
		case a.append(chains[i], 40, record):
			want[i] = append(want[i], record)
		case (len(record)+chunkBody-1)/chunkBody <= min(40, a.limit[chains[i].kind]):
			t.Fatalf("no room for %d bytes", len(record))
		}
		checkArena(t, a, most)
	}
	for i, c := range chains {
		var kept [][]byte
		for b := a.read(nil, c); len(b) > 0; {
			size := int(binary.LittleEndian.Uint16(b))
			kept, b = append(kept, b[:size]), b[size:]
		}
		if len(kept) == 0 || len(kept) > len(want[i]) {
			t.Fatalf("chain %d has %d of %d records", i, len(kept), len(want[i]))
		}
		if diff := cmp.Diff(want[i][len(want[i])-len(kept):], kept); diff != "" {
			t.Errorf("chain %d: %s", i, diff)
		}
	}
	for _, c := range chains {
		a.clear(c)
	}
	if a.bytes() != 0 || a.used != [kinds]int{} {
		t.Errorf("%d bytes are left, %v chunks", a.bytes(), a.used)
	}
}

// checkArena checks what an arena counts.
func checkArena(t *testing.T, a *arena, most int) {
	t.Helper()
	all := 0
	for k, used := range a.used {
		if all += used; used > a.limit[k] {
			t.Fatalf("kind %d takes %d chunks of %d", k, used, a.limit[k])
		}
		sum := 0
		for i, c := range a.longest[k] {
			if sum += int(c.chunks); int(c.place) != i || c.chunks > a.longest[k][0].chunks {
				t.Fatalf("chain of %d chunks at %d of the heap, and says %d", c.chunks, i, c.place)
			}
		}
		if sum != used {
			t.Fatalf("chains take %d chunks, %d are counted", sum, used)
		}
	}
	free := 0
	for n := a.free; n != 0; n = next(a.chunk(n)) {
		free++
	}
	if all+free != a.made || a.made > most {
		t.Fatalf("%d chunks are used and %d free of %d", all, free, a.made)
	}
}
