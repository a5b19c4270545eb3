package ip_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/ip"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Captured: an ESP packet (protocol 50, DF) of 40 bytes.
const goldenIPv4 = "45000028fec14000403225460a4d01020a4d0101" + "deadbeef00000001000000000000000000000000"

func TestParseIPv4(t *testing.T) {
	want := ip.IPv4{
		HeaderLength: 20, TotalLength: 40, ID: 0xfec1, DontFragment: true, TTL: 64, Protocol: ip.ProtocolESP, Checksum: 0x2546,
		Src: netip.MustParseAddr("10.77.1.2"), Dst: netip.MustParseAddr("10.77.1.1"),
	}
	packet := unhex(t, goldenIPv4)
	got, rest, err := ip.ParseIPv4(append(packet, 0, 0, 0)) // with Ethernet padding
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(rest, packet[20:]) {
		t.Errorf("rest is %x", rest)
	}
	if back := got.Append(nil); !bytes.Equal(back, packet[:20]) {
		t.Errorf("appended %x, want %x", back, packet[:20])
	}
}

func TestParseIPv4Fields(t *testing.T) {
	h := ip.IPv4{
		HeaderLength: 20, TotalLength: 20, TOS: 0xb8, ID: 7, MoreFragments: true, FragmentOffset: 1480, TTL: 3,
		Protocol: ip.ProtocolUDP, Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("198.51.100.7"),
	}
	b := h.Append([]byte{0xaa})
	if b[0] != 0xaa || len(b) != 21 || ip.Checksum(b[1:]) != 0 {
		t.Fatalf("appended %x", b)
	}
	got, _, err := ip.ParseIPv4(b[1:])
	if err != nil {
		t.Fatal(err)
	}
	h.Checksum = got.Checksum
	if diff := cmp.Diff(h, got, compareAddr); diff != "" {
		t.Error(diff)
	}
}

func TestParseIPv4Options(t *testing.T) {
	b := unhex(t, goldenIPv4)
	b[0] = 0x46
	got, rest, err := ip.ParseIPv4(b)
	if err != nil || got.HeaderLength != 24 || len(rest) != 16 {
		t.Errorf("got %+v, %d bytes, %v", got, len(rest), err)
	}
}

func TestParseIPv4Errors(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"empty":           {func([]byte) []byte { return nil }, ip.ErrTruncated},
		"cut header":      {func(b []byte) []byte { return b[:19] }, ip.ErrTruncated},
		"cut options":     {func(b []byte) []byte { b[0] = 0x4f; b[3] = 60; return b }, ip.ErrTruncated},
		"IPv6":            {func(b []byte) []byte { b[0] = 0x65; return b }, ip.ErrVersion},
		"header too long": {func(b []byte) []byte { b[0] = 0x4f; return b }, ip.ErrMalformed},
		"header of 16":    {func(b []byte) []byte { b[0] = 0x44; return b }, ip.ErrMalformed},
		"total of 19":     {func(b []byte) []byte { b[3] = 19; return b }, ip.ErrMalformed},
	} {
		if _, rest, err := ip.ParseIPv4(c.change(unhex(t, goldenIPv4))); !errors.Is(err, c.want) || rest != nil {
			t.Errorf("%s: got %x, %v, want %v", name, rest, err, c.want)
		}
	}
}

// Captured: a UDP datagram of 5 bytes over IPv6. The checksum is put right (the capture had an
// offloaded one).
const goldenIPv6 = "600b42ea000d1140fd770000000000000000000000000002fd770000000000000000000000000001" + "db6f0009000de5f668656c6c6f"

func TestParseIPv6(t *testing.T) {
	packet := unhex(t, goldenIPv6)
	want := ip.IPv6{
		PayloadLength: 13, HeaderLength: 40, HopLimit: 64, NextHeader: ip.ProtocolUDP, Protocol: ip.ProtocolUDP, FlowLabel: 0xb42ea,
		Src: netip.MustParseAddr("fd77::2"), Dst: netip.MustParseAddr("fd77::1"),
	}
	got, rest, err := ip.ParseIPv6(append(packet, 0))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(rest, packet[40:]) {
		t.Errorf("rest is %x", rest)
	}
	if back := got.Append(nil); !bytes.Equal(back, packet[:40]) {
		t.Errorf("appended %x, want %x", back, packet[:40])
	}
}

func TestParseIPv6Extensions(t *testing.T) {
	const (
		hopByHop    = "2b00050200000000" // then routing
		routing     = "3c01040000000000" + "0102030405060708"
		destination = "2c00010400000000" // then fragment
		first       = "3200000101020304" // then ESP, offset 0, more
		later       = "320005a801020304" // then ESP, offset 1448
		ah          = "3204000011111111" + "22222222" + "000000000000000000000000"
	)
	for name, c := range map[string]struct {
		next       uint8
		extensions string
		want       ip.IPv6
		rest       int
	}{
		"all": {
			ip.ProtocolHopByHop, hopByHop + routing + destination + first,
			ip.IPv6{Protocol: ip.ProtocolESP, Fragment: true, MoreFragments: true, FragmentID: 0x01020304, HeaderLength: 80},
			8,
		},
		"later fragment": {
			ip.ProtocolFragment, later,
			ip.IPv6{Protocol: ip.ProtocolESP, Fragment: true, FragmentOffset: 1448, FragmentID: 0x01020304, HeaderLength: 48},
			8,
		},
		"later fragment of what begins with an extension header": {
			ip.ProtocolFragment, "3c0005a801020304",
			ip.IPv6{Protocol: ip.ProtocolDestinationOptions, Fragment: true, FragmentOffset: 1448, FragmentID: 0x01020304, HeaderLength: 48},
			8,
		},
		"AH is an upper layer": {ip.ProtocolAH, ah, ip.IPv6{Protocol: ip.ProtocolAH, HeaderLength: 40}, 8 + 24},
		"nothing":              {ip.ProtocolNoNextHeader, "", ip.IPv6{Protocol: ip.ProtocolNoNextHeader, HeaderLength: 40}, 8},
	} {
		body := unhex(t, c.extensions+"deadbeef00000001")
		fixed := ip.IPv6{
			PayloadLength: len(body), NextHeader: c.next, HopLimit: 9, TrafficClass: 0xb8,
			Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"),
		}
		c.want.PayloadLength, c.want.NextHeader, c.want.HopLimit, c.want.TrafficClass = len(body), c.next, 9, 0xb8
		c.want.Src, c.want.Dst = fixed.Src, fixed.Dst
		packet := append(fixed.Append(nil), body...)
		got, rest, err := ip.ParseIPv6(packet)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got, compareAddr); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(rest) != c.rest {
			t.Errorf("%s: rest is %x", name, rest)
		}
		for n := range packet[:len(packet)-c.rest] {
			if _, rest, err := ip.ParseIPv6(packet[:n]); !errors.Is(err, ip.ErrTruncated) || rest != nil {
				t.Errorf("%s: cut to %d bytes: %x, %v", name, n, rest, err)
			}
		}
	}
}

func TestParseIPv6Errors(t *testing.T) {
	if _, _, err := ip.ParseIPv6(unhex(t, goldenIPv4)); !errors.Is(err, ip.ErrVersion) {
		t.Errorf("IPv4: %v", err)
	}
	endless := bytes.Repeat(unhex(t, "3c00010400000000"), 100)
	h := ip.IPv6{PayloadLength: len(endless), NextHeader: ip.ProtocolDestinationOptions}
	if _, _, err := ip.ParseIPv6(append(h.Append(nil), endless...)); !errors.Is(err, ip.ErrMalformed) {
		t.Errorf("100 extension headers: %v", err)
	}
}

func TestAppendIPv6Fragment(t *testing.T) {
	h := ip.IPv6{
		PayloadLength: 8, HeaderLength: 48, HopLimit: 64, NextHeader: ip.ProtocolFragment, Protocol: ip.ProtocolUDP, Fragment: true,
		MoreFragments: true, FragmentOffset: 1232, FragmentID: 77, Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"),
	}
	got, _, err := ip.ParseIPv6(h.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, got, compareAddr); diff != "" {
		t.Error(diff)
	}
}

func TestChecksum(t *testing.T) {
	for in, want := range map[string]uint16{
		"0001f203f4f5f6f7": 0x220d, // RFC 1071, section 3
		"":                 0xffff,
		"01":               0xfeff,
		"0102":             0xfefd,
		"010203":           0xfbfd,
		"ffffffffffff":     0,
	} {
		if got := ip.Checksum(unhex(t, in)); got != want {
			t.Errorf("%s: %04x, want %04x", in, got, want)
		}
	}
	if got := ip.Checksum(unhex(t, goldenIPv4)[:20]); got != 0 {
		t.Errorf("over a right header: %04x", got)
	}
}

func TestAppendUDP(t *testing.T) {
	const from4, to4, from6, to6 = "192.0.2.1:33333", "198.51.100.7:500", "[2001:db8::1]:33333", "[2001:db8::2]:4500"
	for name, c := range map[string]struct{ from, to, payload, want string }{
		"IPv4":          {from4, to4, "68656c6c6f", "823501f4000d4b9c68656c6c6f"},
		"IPv6":          {from6, to6, "68656c6c6f", "82351194000dccc368656c6c6f"},
		"checksum of 0": {from4, to4, "8f74", "823501f4000affff8f74"},
	} {
		from, to := netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to)
		got := ip.AppendUDP([]byte{0xaa}, from, to, unhex(t, c.payload))
		if hex.EncodeToString(got) != "aa"+c.want {
			t.Errorf("%s: %x, want %s", name, got, c.want)
		}
		if sum := ip.PseudoChecksum(from.Addr(), to.Addr(), ip.ProtocolUDP, got[1:]); sum != 0 {
			t.Errorf("%s: checksum over it is %04x", name, sum)
		}
		h, payload, err := ip.ParseUDP(got[1:])
		if err != nil || h.Src != from.Port() || h.Dst != to.Port() || h.Length != len(got)-1 || hex.EncodeToString(payload) != c.payload {
			t.Errorf("%s: %+v, %x, %v", name, h, payload, err)
		}
	}
}

func TestParseUDP(t *testing.T) {
	b := unhex(t, "823501f4000d0000"+"68656c6c6f"+"0000")
	for n := range len(b) + 1 {
		h, payload, err := ip.ParseUDP(b[:n])
		if n < 8 {
			if !errors.Is(err, ip.ErrTruncated) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		want := ip.UDP{Src: 33333, Dst: 500, Length: 13}
		if err != nil || h != want || string(payload) != "hello"[:min(n-8, 5)] {
			t.Errorf("%d bytes: %+v, %q, %v", n, h, payload, err)
		}
	}
	b[5] = 7
	if _, _, err := ip.ParseUDP(b); !errors.Is(err, ip.ErrMalformed) {
		t.Errorf("length 7: %v", err)
	}
}

func FuzzParseIPv4(f *testing.F) {
	f.Add(unhex(f, goldenIPv4))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := ip.ParseIPv4(b)
		if err != nil {
			return
		}
		if len(rest) > len(b)-h.HeaderLength || len(rest) > h.TotalLength-h.HeaderLength {
			t.Fatalf("%d bytes of payload in %d bytes with %+v", len(rest), len(b), h)
		}
		again, _, err := ip.ParseIPv4(append(h.Append(nil), make([]byte, 40)...))
		again.HeaderLength, again.Checksum = h.HeaderLength, h.Checksum
		if err != nil || again != h {
			t.Fatalf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

func FuzzParseIPv6(f *testing.F) {
	f.Add(unhex(f, goldenIPv6))
	f.Add(unhex(f, "6000000000180040"+"fd770000000000000000000000000002"+"fd770000000000000000000000000001"+"2c00010400000000"+"3200000101020304"+"0000000000000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := ip.ParseIPv6(b)
		if err != nil {
			return
		}
		if h.HeaderLength+len(rest) > len(b) || h.HeaderLength+len(rest) > 40+h.PayloadLength {
			t.Fatalf("%d bytes of payload in %d bytes with %+v", len(rest), len(b), h)
		}
		if !bytes.Equal(rest, b[h.HeaderLength:h.HeaderLength+len(rest)]) {
			t.Fatal("the payload does not follow the headers")
		}
	})
}

func FuzzParseUDP(f *testing.F) {
	f.Add(unhex(f, "823501f4000d000068656c6c6f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, payload, err := ip.ParseUDP(b); err == nil && (len(payload) > len(b)-8 || len(payload) > h.Length-8) {
			t.Fatalf("%d bytes of payload in %d bytes with %+v", len(payload), len(b), h)
		}
	})
}

func BenchmarkChecksum1500(b *testing.B) {
	packet := make([]byte, 1500)
	b.SetBytes(int64(len(packet)))
	for b.Loop() {
		ip.Checksum(packet)
	}
}
