package stamp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/wire/stamp"
)

// octets decodes the rows of a figure: four octets each, as the RFC draws them.
func octets(t *testing.T, rows string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(rows), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	estimate = stamp.ErrorEstimate{Synchronized: true, Scale: 5, Multiplier: 0x11}
	request  = stamp.Test{Sequence: 0x01020304, Timestamp: 0xe6a1b2c380000000, Error: estimate, SSID: 0x0a0b}
	reply    = stamp.Reply{
		Test:     stamp.Test{Sequence: 7, Timestamp: 0xe6a1b2c4c0000000, Error: stamp.ErrorEstimate{PTP: true, Multiplier: 1}, SSID: 0x0a0b},
		Received: 0xe6a1b2c4b0000000,
		Sender:   stamp.Test{Sequence: 0x01020304, Timestamp: 0xe6a1b2c380000000, Error: estimate},
		TTL:      61,
	}
	key = []byte("a key of thirty-two bytes, really")
)

const (
	zero12 = "00000000 00000000 00000000 "
	zero28 = zero12 + zero12 + "00000000 "
)

// figures are the packets of RFC 8762, figures 2, 4, 5 and 7, with the SSID of RFC 8972, figures 1
// and 2. The HMACs were computed with another implementation: openssl dgst -sha256 -mac HMAC.
var figures = []struct {
	name string
	mode stamp.Mode
	test bool
	rows string
}{
	{"request", stamp.Unauthenticated, true, "01020304 e6a1b2c3 80000000 85110a0b" + zero28},
	{"authenticated request", stamp.Authenticated, true, "01020304" + zero12 + "e6a1b2c3 80000000 85110a0b" + zero28 + zero28 + zero12},
	{"reply", stamp.Unauthenticated, false, "00000007 e6a1b2c4 c0000000 40010a0b e6a1b2c4 b0000000 01020304 e6a1b2c3 80000000 85110000 3d000000"},
	{
		"authenticated reply", stamp.Authenticated, false, "00000007" + zero12 + "e6a1b2c4 c0000000 40010a0b 00000000" +
			"e6a1b2c4 b0000000 00000000 00000000 01020304" + zero12 + "e6a1b2c3 80000000 85110000 00000000 3d000000" + zero12,
	},
}

// hmacs has the HMACs of the authenticated packets.
var hmacs = map[string]string{
	"authenticated request": "bf175826120ac6095d828fa3b74f7d71",
	"authenticated reply":   "83cc744820d19a3c628aca728e19c4fa",
}

func TestFigures(t *testing.T) {
	for _, f := range figures {
		want := append(octets(t, f.rows), octets(t, hmacs[f.name])...)
		prefix := []byte("before")
		var got []byte
		if f.test {
			got = request.Append(prefix, f.mode, key)[len(prefix):]
		} else {
			got = reply.Append(prefix, f.mode, key)[len(prefix):]
		}
		if !bytes.Equal(got, want) || len(got) != f.mode.Size() {
			t.Errorf("%s: %d bytes %x\nwant %d bytes %x", f.name, len(got), got, len(want), want)
		}
		if f.mode == stamp.Authenticated && (!stamp.Verify(want, key) || stamp.Verify(want, []byte("other")) || stamp.Verify(want[1:], key)) {
			t.Errorf("%s: HMAC not verified", f.name)
		}
		if stamp.OnlyTest(want, f.mode) != f.test {
			t.Errorf("%s: taken for the other kind of packet", f.name)
		}
	}
}

func TestParse(t *testing.T) {
	for _, f := range figures {
		b := append(octets(t, f.rows), octets(t, hmacs[f.name])...)
		b = append(b, 1, 2, 3)
		if f.test {
			got, rest, err := stamp.ParseTest(b, f.mode)
			if err != nil || got != request || !bytes.Equal(rest, []byte{1, 2, 3}) {
				t.Errorf("%s: %+v, %x, %v", f.name, got, rest, err)
			}
		} else {
			got, rest, err := stamp.ParseReply(b, f.mode)
			if err != nil || got != reply || !bytes.Equal(rest, []byte{1, 2, 3}) {
				t.Errorf("%s: %+v, %x, %v", f.name, got, rest, err)
			}
		}
		short := b[:f.mode.Size()-1]
		if _, _, err := stamp.ParseTest(short, f.mode); !errors.Is(err, stamp.ErrTruncated) {
			t.Errorf("%s cut short: %v", f.name, err)
		}
		if _, _, err := stamp.ParseReply(short, f.mode); !errors.Is(err, stamp.ErrTruncated) {
			t.Errorf("%s cut short: %v", f.name, err)
		}
		if stamp.OnlyTest(short, f.mode) {
			t.Errorf("%s cut short is a request", f.name)
		}
	}
}

func TestVerifyCoversEveryByte(t *testing.T) {
	good := request.Append(nil, stamp.Authenticated, key)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if stamp.Verify(bad, key) {
			t.Errorf("byte %d is not covered", i)
		}
	}
}

// values are the TLVs of RFC 8972, section 4, and of draft-ietf-ippm-asymmetrical-pkts, with their
// bytes.
var values = []struct {
	name string
	tlv  stamp.TLV
	rows string
}{
	{"location", stamp.Location{DestinationPort: 862, SourcePort: 4500, Sub: []stamp.TLV{{Type: stamp.SubSourceIPv4, Value: make([]byte, 16)}}}.
		TLV(stamp.Unrecognized), "80020018 035e1194 00080010 00000000" + zero12},
	{"time stamps", stamp.TimestampInformation{SyncIn: 1, MethodIn: 2, SyncOut: 3, MethodOut: 4}.TLV(0), "00030004 01020304"},
	{"class of service", stamp.ClassOfService{Reply: 46, Received: 10, ECN: 2, ReversePath: 1}.TLV(0), "00040004 b8a90000"},
	{"direct measurement", stamp.DirectMeasurement{Sent: 1, Received: 2, Replies: 3}.TLV(stamp.Malformed), "4005000c 00000001 00000002 00000003"},
	{"access report", stamp.AccessReport{ID: 2, Code: 1}.TLV(0), "00060004 20010000"},
	{"follow-up", stamp.FollowUpTelemetry{Sequence: 9, Timestamp: 0x0102030405060708, Method: 2}.TLV(0), "00070010 00000009 01020304 05060708 02000000"},
	{"reflected control", stamp.ReflectedControl{Length: 1472, Number: 2, Interval: 1e6}.TLV(stamp.Nonconformant), "100c000c 05c00002 000f4240 00000000"},
	{"padding", stamp.TLV{Type: stamp.TypeExtraPadding, Value: make([]byte, 4)}, "00010004 00000000"},
}

func TestTLVs(t *testing.T) {
	var all []byte
	for _, v := range values {
		want := octets(t, v.rows)
		if got := v.tlv.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", v.name, got, want)
		}
		if err := v.tlv.Check(); err != nil {
			t.Errorf("%s: %v", v.name, err)
		}
		all = append(all, want...)
	}
	got, rest := stamp.ParseTLVs(append(all, 0, 0, 0, 0, 0))
	if len(got) != len(values) || len(rest) != 5 {
		t.Fatalf("%d TLVs and %d bytes", len(got), len(rest))
	}
	for i, v := range values {
		if got[i].Flags != v.tlv.Flags || got[i].Type != v.tlv.Type || !bytes.Equal(got[i].Value, v.tlv.Value) {
			t.Errorf("%s: %+v", v.name, got[i])
		}
	}
	if found, ok := stamp.Find(got, stamp.TypeAccessReport); !ok || found.Value[1] != 1 {
		t.Errorf("found %+v, %v", found, ok)
	}
	if _, ok := stamp.Find(got, stamp.TypeHMAC); ok {
		t.Error("found a TLV that is not there")
	}
}

func TestValues(t *testing.T) {
	if v, err := stamp.ParseLocation(values[0].tlv); err != nil || v.DestinationPort != 862 || v.SourcePort != 4500 || len(v.Sub) != 1 {
		t.Errorf("location %+v, %v", v, err)
	}
	if v, err := stamp.ParseTimestampInformation(values[1].tlv); err != nil || v != (stamp.TimestampInformation{SyncIn: 1, MethodIn: 2, SyncOut: 3, MethodOut: 4}) {
		t.Errorf("time stamps %+v, %v", v, err)
	}
	if v, err := stamp.ParseClassOfService(values[2].tlv); err != nil || v != (stamp.ClassOfService{Reply: 46, Received: 10, ECN: 2, ReversePath: 1}) {
		t.Errorf("class of service %+v, %v", v, err)
	}
	if v, err := stamp.ParseDirectMeasurement(values[3].tlv); err != nil || v != (stamp.DirectMeasurement{Sent: 1, Received: 2, Replies: 3}) {
		t.Errorf("direct measurement %+v, %v", v, err)
	}
	if v, err := stamp.ParseAccessReport(values[4].tlv); err != nil || v != (stamp.AccessReport{ID: 2, Code: 1}) {
		t.Errorf("access report %+v, %v", v, err)
	}
	if v, err := stamp.ParseFollowUpTelemetry(values[5].tlv); err != nil || v != (stamp.FollowUpTelemetry{Sequence: 9, Timestamp: 0x0102030405060708, Method: 2}) {
		t.Errorf("follow-up %+v, %v", v, err)
	}
	if v, err := stamp.ParseReflectedControl(values[6].tlv); err != nil || v.Length != 1472 || v.Number != 2 || v.Interval != 1e6 || len(v.Sub) != 4 {
		t.Errorf("reflected control %+v, %v", v, err)
	}
	for i, parse := range []func(stamp.TLV) error{
		func(t stamp.TLV) error { _, err := stamp.ParseLocation(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseTimestampInformation(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseClassOfService(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseDirectMeasurement(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseAccessReport(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseFollowUpTelemetry(t); return err },
		func(t stamp.TLV) error { _, err := stamp.ParseReflectedControl(t); return err },
	} {
		short := values[i].tlv
		short.Value = short.Value[:3]
		if err := parse(short); !errors.Is(err, stamp.ErrMalformed) {
			t.Errorf("%s cut short: %v", values[i].name, err)
		}
		if err := parse(stamp.TLV{Type: 200, Value: values[i].tlv.Value}); !errors.Is(err, stamp.ErrMalformed) {
			t.Errorf("%s of another type: %v", values[i].name, err)
		}
	}
}

// sealed is a request with TLVs, padding, and an HMAC TLV between.
func sealed() []byte {
	b := request.Append(nil, stamp.Authenticated, key)
	b = stamp.ClassOfService{Reply: 46}.TLV(stamp.Unrecognized).Append(b)
	b = stamp.DirectMeasurement{Sent: 3}.TLV(stamp.Unrecognized).Append(b)
	b = stamp.SealTLVs(b, stamp.Authenticated, stamp.Unrecognized, key)
	return stamp.Pad(b, 0, 400, stamp.Unrecognized)
}

func TestSealedTLVs(t *testing.T) {
	const m, protected = stamp.Authenticated, 112 + 8 + 16 + 20
	good := sealed()
	if len(good) != 400 || !stamp.VerifyTLVs(good, m, key) || stamp.VerifyTLVs(good, m, []byte("other")) {
		t.Fatalf("%d bytes %x", len(good), good)
	}
	for i := range protected {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		// Bytes 4 to 111 are the rest of the packet, which has an HMAC of its own.
		if covered := i < 4 || i >= 112; stamp.VerifyTLVs(bad, m, key) == covered && !flagOfHMAC(i) {
			t.Errorf("byte %d: covered %v", i, !covered)
		}
	}
	more := stamp.AccessReport{ID: 1}.TLV(0).Append(bytes.Clone(good[:protected]))
	if stamp.VerifyTLVs(more, m, key) {
		t.Error("a TLV behind the HMAC TLV is accepted")
	}
	for name, b := range map[string][]byte{
		"no TLV": good[:112], "no HMAC TLV": good[:112+8+16], "a cut HMAC TLV": good[:protected-1], "cut padding": good[:399], "half a packet": good[:50],
	} {
		if stamp.VerifyTLVs(b, m, key) {
			t.Errorf("%s is accepted", name)
		}
	}
}

// flagOfHMAC reports whether a byte is the flags of the HMAC TLV itself, which it does not cover.
func flagOfHMAC(i int) bool { return i == 112+8+16 }

func TestPad(t *testing.T) {
	b := request.Append([]byte("before"), stamp.Unauthenticated, nil)
	for size, want := range map[int]int{0: 44, 44: 44, 47: 44, 48: 48, 1472: 1472} {
		if got := len(stamp.Pad(b, 6, size, 0)) - 6; got != want {
			t.Errorf("padded to %d bytes: %d, want %d", size, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	for _, tt := range []struct {
		seconds int64
		ns      uint32
		ptp     bool
		want    stamp.Timestamp
	}{
		{0, 0, false, 2208988800 << 32},
		{1767225600, 500_000_000, false, (1767225600+2208988800)<<32 | 1<<31},
		{1767225600, 999_999_999, true, 1767225600<<32 | 999_999_999},
		{2085978496, 1, false, 5}, // the first second of the next era (RFC 5905, section 6)
	} {
		got := stamp.FromUnix(tt.seconds, tt.ns, tt.ptp)
		if got != tt.want {
			t.Errorf("%d.%09d: %#x, want %#x", tt.seconds, tt.ns, got, tt.want)
		}
		if s, ns := got.Unix(tt.ptp); s != tt.seconds || ns != tt.ns {
			t.Errorf("%d.%09d returned as %d.%09d", tt.seconds, tt.ns, s, ns)
		}
	}
}

func TestErrorEstimate(t *testing.T) {
	for _, ns := range []uint64{0, 1, 5, 999, 1e3, 1e6, 16e6, 500e6, 1e9, 3600e9, 1 << 61} {
		e := stamp.Estimate(ns, true)
		got, ok := e.Nanoseconds()
		if !ok || got < ns || got > ns+ns/64+1 || !e.Synchronized {
			t.Errorf("%d ns: %+v are %d ns, %v", ns, e, got, ok)
		}
	}
	if _, ok := (stamp.ErrorEstimate{Scale: 3}).Nanoseconds(); ok {
		t.Error("a multiplier of 0 is valid")
	}
	if ns, _ := (stamp.ErrorEstimate{Scale: 63, Multiplier: 255}).Nanoseconds(); ns != 1<<63-1 {
		t.Errorf("the largest estimate is %d ns", ns)
	}
	// RFC 4656, section 4.1.2: Multiplier * 2^(-32) * 2^Scale seconds.
	if ns, _ := (stamp.ErrorEstimate{Scale: 32, Multiplier: 2}).Nanoseconds(); ns != 2e9 {
		t.Errorf("2 * 2^32 * 2^-32 s are %d ns", ns)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(sealed(), true)
	f.Add(reply.Append(nil, stamp.Unauthenticated, nil), false)
	f.Add(reply.Append(nil, stamp.Authenticated, key), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, authenticated bool) {
		m := stamp.Unauthenticated
		if authenticated {
			m = stamp.Authenticated
		}
		stamp.VerifyTLVs(b, m, key)
		req, rest, err := stamp.ParseTest(b, m)
		if (err == nil) != (len(b) >= m.Size()) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		if got, _, err := stamp.ParseTest(req.Append(nil, m, key), m); err != nil || got != req {
			t.Errorf("request %+v returned as %+v, %v", req, got, err)
		}
		rep, _, _ := stamp.ParseReply(b, m)
		if got, _, err := stamp.ParseReply(rep.Append(nil, m, key), m); err != nil || got != rep {
			t.Errorf("reply %+v returned as %+v, %v", rep, got, err)
		}
		all, left := stamp.ParseTLVs(rest)
		var again []byte
		for _, one := range all {
			again = one.Append(again)
			readValue(one)
		}
		if !bytes.Equal(append(again, left...), rest) {
			t.Errorf("TLVs %x returned as %x and %x", rest, again, left)
		}
		seal := stamp.SealTLVs(append(bytes.Clone(b[:m.Size()]), again...), m, 0, key)
		if _, before := stamp.Find(all, stamp.TypeHMAC); !before && !stamp.VerifyTLVs(seal, m, key) {
			t.Errorf("%x is sealed and not verified", seal)
		}
	})
}

// readValue reads the value of a TLV as every type.
func readValue(one stamp.TLV) {
	_, _ = stamp.ParseLocation(one)
	_, _ = stamp.ParseTimestampInformation(one)
	_, _ = stamp.ParseClassOfService(one)
	_, _ = stamp.ParseDirectMeasurement(one)
	_, _ = stamp.ParseAccessReport(one)
	_, _ = stamp.ParseFollowUpTelemetry(one)
	_, _ = stamp.ParseReflectedControl(one)
}

func FuzzTime(f *testing.F) {
	f.Add(uint64(0xe6a1b2c380000000), uint16(0x8511))
	f.Fuzz(func(t *testing.T, v uint64, e uint16) {
		got := stamp.Timestamp(v)
		for _, ptp := range []bool{false, true} {
			s, ns := got.Unix(ptp)
			again := stamp.FromUnix(s, ns, ptp)
			if s2, ns2 := again.Unix(ptp); s2 != s || ns2 != ns {
				t.Errorf("%#x: %d.%09d returned as %d.%09d", v, s, ns, s2, ns2)
			}
		}
		est := stamp.ParseErrorEstimate(e)
		if est.Bits() != e {
			t.Errorf("estimate %#x returned as %#x", e, est.Bits())
		}
		if ns, ok := est.Nanoseconds(); ok && ns <= 1<<61 {
			if more, _ := stamp.Estimate(ns, est.Synchronized).Nanoseconds(); more < ns {
				t.Errorf("%d ns estimated as %d", ns, more)
			}
		}
	})
}
