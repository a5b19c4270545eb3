package icmp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/icmp"
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

// Messages captured from a Linux router and a Linux host, without their IP header. Long quotes are
// cut where noted.
const (
	capturedNeedFrag  = "0304f7ab00000578" + "450005dc0000400040111f620a4d01020a580009" + "823501f405c81b89" + "4142434445464748" // cut
	capturedExceeded  = "0b00846c00000000" + "45000030fe6a4000011165a30a4d01020a580009" + "82351194001c15dd" + "4142434445464748494a4b4c4d4e4f5041424344"
	capturedPort      = "0303be3c00000000" + "450000288925400040119b030a4d01020a4d0101" + "82350009001416c2" + "4142434445464748494a4b4c"
	capturedProtocol  = "03025f5f00000000" + "45000028fec14000403225460a4d01020a4d0101" + "deadbeef00000001" + "000000000000000000000000"
	capturedEcho      = "0800542f12340007" + "6162636465666768"
	capturedEchoReply = "00005c2f12340007" + "6162636465666768"

	capturedTooBig6 = "0200ab0200000578" + "6006275405b41140" + "fd770000000000000000000000000002" + "fd880000000000000000000000000009" + "823501f405b400d1" + "41424344" // cut
	capturedPort6   = "010439f300000000" + "600b42ea000d1140" + "fd770000000000000000000000000002" + "fd770000000000000000000000000001" + "db6f0009000dfb10" + "68656c6c6f"
	capturedHeader6 = "0401d27100000006" + "600fc71400183340" + "fd770000000000000000000000000002" + "fd770000000000000000000000000001" +
		"3b040000deadbeef" + "00000001000000000000000000000000"
)

func TestParse(t *testing.T) {
	a, b, far := netip.MustParseAddr("10.77.1.2"), netip.MustParseAddr("10.77.1.1"), netip.MustParseAddr("10.88.0.9")
	a6, b6, far6 := netip.MustParseAddr("fd77::2"), netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd88::9")
	for name, c := range map[string]struct {
		in   string
		v6   bool
		want icmp.Message
		data string // of Data or Quote.Transport
	}{
		"fragmentation needed": {capturedNeedFrag, false, icmp.Message{
			Type: icmp.V4DestinationUnreachable, Code: icmp.V4FragmentationNeeded, Checksum: 0xf7ab, MTU: 1400,
			Quote: icmp.Quote{Src: a, Dst: far, Protocol: ip.ProtocolUDP, TotalLength: 1500, TTL: 64},
		}, capturedNeedFrag[56:]},
		"time exceeded": {capturedExceeded, false, icmp.Message{
			Type: icmp.V4TimeExceeded, Checksum: 0x846c,
			Quote: icmp.Quote{Src: a, Dst: far, Protocol: ip.ProtocolUDP, IPID: 0xfe6a, TotalLength: 48, TTL: 1},
		}, capturedExceeded[56:]},
		"port unreachable": {capturedPort, false, icmp.Message{
			Type: icmp.V4DestinationUnreachable, Code: icmp.V4PortUnreachable, Checksum: 0xbe3c,
			Quote: icmp.Quote{Src: a, Dst: b, Protocol: ip.ProtocolUDP, IPID: 0x8925, TotalLength: 40, TTL: 64},
		}, capturedPort[56:]},
		"protocol unreachable": {capturedProtocol, false, icmp.Message{
			Type: icmp.V4DestinationUnreachable, Code: icmp.V4ProtocolUnreachable, Checksum: 0x5f5f,
			Quote: icmp.Quote{Src: a, Dst: b, Protocol: ip.ProtocolESP, IPID: 0xfec1, TotalLength: 40, TTL: 64},
		}, capturedProtocol[56:]},
		"echo":       {capturedEcho, false, icmp.Message{Type: icmp.V4Echo, Checksum: 0x542f, ID: 0x1234, Seq: 7}, capturedEcho[16:]},
		"echo reply": {capturedEchoReply, false, icmp.Message{Type: icmp.V4EchoReply, Checksum: 0x5c2f, ID: 0x1234, Seq: 7}, capturedEchoReply[16:]},
		"timestamp":  {"0d00000012340007" + strings.Repeat("00", 12), false, icmp.Message{Type: 13}, ""},
		"packet too big 6": {capturedTooBig6, true, icmp.Message{
			Type: icmp.V6PacketTooBig, Checksum: 0xab02, MTU: 1400,
			Quote: icmp.Quote{Src: a6, Dst: far6, Protocol: ip.ProtocolUDP, TotalLength: 1500, TTL: 64},
		}, capturedTooBig6[96:]},
		"port unreachable 6": {capturedPort6, true, icmp.Message{
			Type: icmp.V6DestinationUnreachable, Code: icmp.V6PortUnreachable, Checksum: 0x39f3,
			Quote: icmp.Quote{Src: a6, Dst: b6, Protocol: ip.ProtocolUDP, TotalLength: 53, TTL: 64},
		}, capturedPort6[96:]},
		"unknown protocol 6 (AH)": {capturedHeader6, true, icmp.Message{
			Type: icmp.V6ParameterProblem, Code: icmp.V6UnrecognizedNextHeader, Checksum: 0xd271,
			Quote: icmp.Quote{Src: a6, Dst: b6, Protocol: ip.ProtocolAH, TotalLength: 64, TTL: 64},
		}, capturedHeader6[96:]},
		"echo reply 6": {"8100000012340007" + "6162", true, icmp.Message{Type: icmp.V6EchoReply, ID: 0x1234, Seq: 7}, "6162"},
	} {
		t.Run(name, func(t *testing.T) {
			parse := icmp.ParseIPv4
			if c.v6 {
				parse = icmp.ParseIPv6
			}
			got, err := parse(unhex(t, c.in))
			if err != nil {
				t.Fatal(err)
			}
			if data := hex.EncodeToString(got.Data) + hex.EncodeToString(got.Quote.Transport); data != c.data {
				t.Errorf("data or transport is %s, want %s", data, c.data)
			}
			got.Data, got.Quote.Transport = nil, nil
			if diff := cmp.Diff(c.want, got, compareAddr); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A quote may end anywhere. Whatever is left of it, the type, the code and the MTU stay readable.
func TestParseTruncated(t *testing.T) {
	for _, c := range []struct {
		in     string
		parse  func([]byte) (icmp.Message, error)
		header int
	}{
		{capturedNeedFrag, icmp.ParseIPv4, ip.HeaderLengthIPv4},
		{capturedTooBig6, icmp.ParseIPv6, ip.HeaderLengthIPv6},
	} {
		b := unhex(t, c.in)
		for n := range b {
			m, err := c.parse(b[:n])
			switch {
			case n < icmp.HeaderLength:
				if !errors.Is(err, icmp.ErrTruncated) {
					t.Errorf("%d bytes: %v", n, err)
				}
			case n < icmp.HeaderLength+c.header:
				if !errors.Is(err, ip.ErrTruncated) || m.MTU != 1400 || m.Quote.Src.IsValid() {
					t.Errorf("%d bytes: %+v, %v", n, m, err)
				}
			case err != nil || len(m.Quote.Transport) != n-icmp.HeaderLength-c.header || m.Quote.TotalLength != 1500:
				t.Errorf("%d bytes: %+v, %v", n, m, err)
			}
		}
	}
}

func TestParseFragmentQuotes(t *testing.T) {
	b := unhex(t, capturedExceeded)
	b[14] = 0x20 // more fragments, offset 0
	if m, err := icmp.ParseIPv4(b); err != nil || !m.Quote.Fragmented || len(m.Quote.Transport) != 28 {
		t.Errorf("first fragment: %+v, %v", m.Quote, err)
	}
	b[14], b[15] = 0, 0xb9 // last fragment, offset 1480
	if m, err := icmp.ParseIPv4(b); err != nil || !m.Quote.Fragmented || m.Quote.Transport != nil {
		t.Errorf("later fragment: %+v, %v", m.Quote, err)
	}
	b6 := unhex(t, capturedPort6)
	b6[14] = ip.ProtocolFragment
	copy(b6[48:], unhex(t, "110005a801020304"))
	if m, err := icmp.ParseIPv6(b6); err != nil || !m.Quote.Fragmented || m.Quote.Transport != nil || m.Quote.Protocol != ip.ProtocolUDP {
		t.Errorf("later fragment of IPv6: %+v, %v", m.Quote, err)
	}
}

// The original datagram is cut to 128 bytes, and an MPLS label follows (RFC 4884 and RFC 4950).
func TestParseExtensions(t *testing.T) {
	const extension = "2000c57f00080101fc7f01ff"
	original := append(unhex(t, capturedNeedFrag)[8:], make([]byte, 128-36)...)
	for name, c := range map[string]struct {
		length uint8
		want   int
	}{
		"with length":             {32, 128 - 20},
		"without (before 4884)":   {0, 128 - 20 + 12},
		"left-over, too short":    {1, 128 - 20 + 12},
		"left-over, out of range": {255, 128 - 20 + 12},
	} {
		b := slices.Concat([]byte{3, 4, 0, 0, 0, c.length, 5, 120}, original, unhex(t, extension))
		m, err := icmp.ParseIPv4(b)
		if err != nil || len(m.Quote.Transport) != c.want || m.MTU != 1400 {
			t.Errorf("%s: MTU %d, %d bytes of transport instead of %d, %v", name, m.MTU, len(m.Quote.Transport), c.want, err)
		}
	}
	original6 := append(unhex(t, capturedTooBig6)[8:], make([]byte, 128-52)...)
	m, err := icmp.ParseIPv6(slices.Concat([]byte{3, 0, 0, 0, 16, 0, 0, 0}, original6, unhex(t, extension)))
	if err != nil || len(m.Quote.Transport) != 128-40 {
		t.Errorf("IPv6: %d bytes of transport, %v", len(m.Quote.Transport), err)
	}
}

func TestParseHugeMTU(t *testing.T) {
	b := unhex(t, capturedTooBig6)
	binary.BigEndian.PutUint32(b[4:], 0xffffffff)
	if m, err := icmp.ParseIPv6(b); err != nil || m.MTU != 1<<31-1 {
		t.Errorf("MTU %d, %v", m.MTU, err)
	}
}

func TestAppendEcho(t *testing.T) {
	got := icmp.AppendEcho4([]byte{0xaa}, 0x1234, 7, []byte("abcdefgh"))
	if hex.EncodeToString(got) != "aa"+capturedEcho {
		t.Errorf("IPv4: %x", got)
	}
	if !icmp.ValidIPv4(got[1:]) {
		t.Error("IPv4: checksum is wrong")
	}
	from, to := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	got = icmp.AppendEcho6([]byte{0xaa}, from, to, 0x1234, 7, []byte("abcdefgh"))
	if want := "aa8000806f123400076162636465666768"; hex.EncodeToString(got) != want {
		t.Errorf("IPv6: %x, want %s", got, want)
	}
}

func TestValidIPv4(t *testing.T) {
	b := unhex(t, capturedPort)
	if !icmp.ValidIPv4(b) {
		t.Error("a right checksum is refused")
	}
	for i := range b {
		b[i] ^= 0x10
		if icmp.ValidIPv4(b) {
			t.Errorf("a changed byte %d is not seen", i)
		}
		b[i] ^= 0x10
	}
	if icmp.ValidIPv4([]byte{0, 0, 0xff, 0xff}) {
		t.Error("4 bytes are no message")
	}
}

func TestErrorName(t *testing.T) {
	for _, c := range []struct {
		v6        bool
		typ, code uint8
		want      string
	}{
		{false, 3, 0, "network_unreachable"},
		{false, 3, 1, "host_unreachable"},
		{false, 3, 2, "protocol_unreachable"},
		{false, 3, 3, "port_unreachable"},
		{false, 3, 4, "packet_too_big"},
		{false, 3, 5, "source_route_failed"},
		{false, 3, 6, "network_unreachable"},
		{false, 3, 7, "host_unreachable"},
		{false, 3, 8, "host_unreachable"},
		{false, 3, 9, "admin_prohibited"},
		{false, 3, 10, "admin_prohibited"},
		{false, 3, 11, "network_unreachable"},
		{false, 3, 12, "host_unreachable"},
		{false, 3, 13, "admin_prohibited"},
		{false, 3, 14, "other"},
		{false, 11, 0, "ttl_exceeded"},
		{false, 11, 1, "reassembly_timeout"},
		{false, 11, 2, "other"},
		{false, 12, 0, "parameter_problem"},
		{false, 4, 0, "other"},
		{true, 1, 0, "network_unreachable"},
		{true, 1, 1, "admin_prohibited"},
		{true, 1, 2, "host_unreachable"},
		{true, 1, 3, "host_unreachable"},
		{true, 1, 4, "port_unreachable"},
		{true, 1, 5, "admin_prohibited"},
		{true, 1, 6, "admin_prohibited"},
		{true, 1, 7, "source_route_failed"},
		{true, 1, 8, "other"},
		{true, 2, 0, "packet_too_big"},
		{true, 3, 0, "ttl_exceeded"},
		{true, 3, 1, "reassembly_timeout"},
		{true, 4, 0, "parameter_problem"},
		{true, 4, 1, "protocol_unreachable"},
		{true, 100, 0, "other"},
	} {
		if got := icmp.ErrorName(c.v6, c.typ, c.code); got != c.want {
			t.Errorf("v6 %t, type %d, code %d: %s, want %s", c.v6, c.typ, c.code, got, c.want)
		}
	}
}

// The names are exactly those that are listed, so that counters can be made beforehand.
func TestErrorNames(t *testing.T) {
	seen := map[string]bool{}
	for n := range 1 << 17 {
		seen[icmp.ErrorName(n>>16 == 1, uint8(n>>8), uint8(n))] = true
	}
	listed := map[string]bool{}
	for _, name := range icmp.ErrorNames() {
		listed[name] = true
	}
	if diff := cmp.Diff(listed, seen); diff != "" {
		t.Error(diff)
	}
}

func fuzz(f *testing.F, parse func([]byte) (icmp.Message, error), corpus ...string) {
	f.Helper()
	for _, s := range corpus {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if m.MTU < 0 || len(m.Data)+len(m.Quote.Transport) > len(b) {
			t.Fatalf("%+v out of %d bytes", m, len(b))
		}
		if err != nil && m.Quote.Transport != nil {
			t.Fatalf("a quote that cannot be read: %+v, %v", m.Quote, err)
		}
		if !bytes.Contains(b, m.Quote.Transport) || !bytes.Contains(b, m.Data) {
			t.Fatal("what was read is not in the message")
		}
	})
}

func FuzzICMPv4(f *testing.F) {
	fuzz(f, icmp.ParseIPv4, capturedNeedFrag, capturedExceeded, capturedPort, capturedProtocol, capturedEcho, capturedEchoReply)
}

func FuzzICMPv6(f *testing.F) {
	fuzz(f, icmp.ParseIPv6, capturedTooBig6, capturedPort6, capturedHeader6)
}

func BenchmarkParseIPv4(b *testing.B) {
	message := unhex(b, capturedNeedFrag)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := icmp.ParseIPv4(message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseIPv6(b *testing.B) {
	message := unhex(b, capturedTooBig6)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := icmp.ParseIPv6(message); err != nil {
			b.Fatal(err)
		}
	}
}
