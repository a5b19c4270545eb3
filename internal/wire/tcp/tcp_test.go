package tcp

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"ipsec_path_exporter/internal/wire/ip"
)

func TestAppendSYN(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.1:40000", "198.51.100.7:443"}, {"[2001:db8::1]:40000", "[2001:db8::7]:443"}} {
		from, to := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		b := AppendSYN([]byte{1, 2}, from, to, 0x01020304, 1460)[2:]
		got, err := Parse(b)
		if want := (Segment{Src: 40000, Dst: 443, Seq: 0x01020304, Flags: SYN, MSS: 1460}); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if sum := ip.PseudoChecksum(from.Addr(), to.Addr(), ip.ProtocolTCP, b); sum != 0 {
			t.Errorf("checksum is off by %#x", sum)
		}
	}
}

// TestParse: a SYN-ACK as Linux sends it, with MSS, SACK permitted, timestamps, no-operation and
// window scale, and what is not a segment.
func TestParse(t *testing.T) {
	const synAck = "01bb9c40a1b2c3d401020305a012fe88" + "00000000" + "020405460402080a" + "0102030405060708" + "01030307"
	b, err := hex.DecodeString(synAck)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	want := Segment{Src: 443, Dst: 40000, Seq: 0xa1b2c3d4, Ack: 0x01020305, Flags: SYN | ACK, MSS: 1350}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	b[20], b[21] = 5, 0 // an option of no length: nothing after it is read
	if got, err := Parse(b); err != nil || got.MSS != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, n := range []int{0, 19, 30} {
		if _, err := Parse(b[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	b[12] = 0x40
	if _, err := Parse(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("a header of 16 bytes: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendSYN(nil, netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443"), 1, 1460))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil && (s.MSS < 0 || s.MSS > 0xffff) {
			t.Errorf("%+v", s)
		}
	})
}
