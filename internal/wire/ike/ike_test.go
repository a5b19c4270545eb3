package ike_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/ike"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Replies captured from strongSwan 5.9.8.
const (
	// INVALID_KE_PAYLOAD, asking for group 14.
	capturedBadKE = "c6caa0b772cf2e8e" + "0000000000000000" + "2920222000000000" + "00000026" + "0000000a00000011000e"
	// COOKIE of 24 bytes.
	capturedCookie = "6eebce7d05241b80" + "0000000000000000" + "2920222000000000" + "0000003c" +
		"0000002000004006" + "d1050000312c7f5b379615133275a8e2bee3bea31e8ea307"
	// NO-PROPOSAL-CHOSEN of IKEv1.
	captured1 = "daa4a75f31509d0b" + "2593bd59907be21d" + "0b100500728db433" + "00000028" + "0000000c000000010100000e"
	// An accepted offer. The public value and the nonce are shortened to 8 and 16 bytes.
	capturedSA = "681b7a0bb1e3328d" + "435a6118f9b441c6" + "2120222000000000" + "000000c0" +
		"220000300000002c01010004" + "0300000c0100000c800e0100" + "030000080300000c" + "0300000802000005" + "000000080400000e" +
		"28000010000e0000" + "4c104fa8bff43843" +
		"29000014" + "92edcbd208d4b7532b2022f4d13aa301" +
		"2900001c00004004" + "249d96487641725297dadad31ba261b8376ad2e7" +
		"2900001c00004005" + "3b467ab53d6b4f21f9c59203c63781619cdfebde" +
		"290000080000402e" + "2900000800004022" + "0000000800004014"
)

func TestParseHeader(t *testing.T) {
	b := unhex(t, captured1)
	want := ike.Header{
		InitiatorSPI: [8]byte(unhex(t, "daa4a75f31509d0b")), ResponderSPI: [8]byte(unhex(t, "2593bd59907be21d")),
		NextPayload: ike.PayloadNotify1, Major: 1, Exchange: ike.ExchangeInformational1, MessageID: 0x728db433, Length: 40,
	}
	got, err := ike.ParseHeader(b)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if back := got.Append([]byte{0xaa}); !bytes.Equal(back[1:], b[:28]) {
		t.Errorf("appended %x", back)
	}
	b[17], b[19] = 0x35, 0x28
	if got, _ := ike.ParseHeader(b); got.Major != 3 || got.Minor != 5 || got.Flags != ike.FlagInitiator|ike.FlagResponse {
		t.Errorf("got %+v", got)
	}
	b[27] = 27
	if _, err := ike.ParseHeader(b); !errors.Is(err, ike.ErrMalformed) {
		t.Errorf("length 27: %v", err)
	}
	for n := range 28 {
		if _, err := ike.ParseHeader(b[:n]); !errors.Is(err, ike.ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestParseMessage(t *testing.T) {
	for name, in := range map[string]string{"bad KE": capturedBadKE, "cookie": capturedCookie, "IKEv1": captured1, "SA": capturedSA} {
		b := unhex(t, in)
		m, err := ike.ParseMessage(append(b, 1, 2, 3)) // with trailing bytes that do not belong to it
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		back, err := m.Append([]byte{0xaa})
		if err != nil || !bytes.Equal(back[1:], b) {
			t.Errorf("%s: appended %x, %v", name, back, err)
		}
		if m.Size() != len(b) {
			t.Errorf("%s: size %d, want %d", name, m.Size(), len(b))
		}
	}
}

func TestParseAcceptedOffer(t *testing.T) {
	m, err := ike.ParseMessage(unhex(t, capturedSA))
	if err != nil || len(m.Payloads) != 8 || m.Encrypted {
		t.Fatalf("%d payloads, encrypted %t, %v", len(m.Payloads), m.Encrypted, err)
	}
	sa, _ := m.Find(ike.PayloadSA)
	want := ike.AppendSA(nil, ike.Proposal{Number: 1, Protocol: ike.ProtocolIKE, Transforms: []ike.Transform{
		{Type: ike.TransformEncryption, ID: 12, Attributes: []ike.Attribute{{Type: ike.AttributeKeyLength, Value: 256}}},
		{Type: ike.TransformIntegrity, ID: 12},
		{Type: ike.TransformPRF, ID: 5},
		{Type: ike.TransformGroup, ID: 14},
	}})
	if !bytes.Equal(want, sa.Body) {
		t.Errorf("appended %x, want %x", want, sa.Body)
	}
	ke, _ := m.Find(ike.PayloadKE)
	if got := ike.AppendKE(nil, 14, unhex(t, "4c104fa8bff43843")); !bytes.Equal(got, ke.Body) {
		t.Errorf("appended %x, want %x", got, ke.Body)
	}
	if _, ok := m.Find(ike.PayloadEncrypted); ok {
		t.Error("found a payload that is not there")
	}
}

// Cut anywhere, a message yields an error and the payloads that are whole (and the beginning of the
// next).
func TestParseMessageTruncated(t *testing.T) {
	b := unhex(t, capturedSA)
	whole, err := ike.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		m, err := ike.ParseMessage(b[:n])
		if !errors.Is(err, ike.ErrTruncated) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		end := ike.HeaderLength
		for i, p := range whole.Payloads {
			if end += 4 + len(p.Body); end > n {
				break
			}
			if diff := cmp.Diff(p, m.Payloads[i]); diff != "" {
				t.Fatalf("%d bytes, payload %d: %s", n, i, diff)
			}
		}
	}
}

func TestParseMessageErrors(t *testing.T) {
	header := func(next uint8, length uint32) []byte {
		h := ike.Header{NextPayload: next, Major: 2, Exchange: ike.ExchangeIKESAInit, Length: length}
		return h.Append(nil)
	}
	for name, c := range map[string]struct {
		in       []byte
		want     error
		payloads int
	}{
		"no payloads":             {header(0, 28), nil, 0},
		"length beyond the bytes": {header(0, 29), ike.ErrTruncated, 0},
		"length of 4 GB":          {header(0, 0xffffffff), ike.ErrTruncated, 0},
		"payload missing":         {header(41, 28), ike.ErrTruncated, 1},
		"payload of 3 bytes":      {append(header(41, 32), 0, 0, 0, 3), ike.ErrMalformed, 1},
		"payload beyond length":   {append(header(41, 32), 0, 0, 0, 8, 1, 2, 3, 4), ike.ErrTruncated, 1},
		"endless chain":           {append(header(43, 28+4*1000), bytes.Repeat([]byte{43, 0, 0, 4}, 1000)...), ike.ErrTooManyPayloads, 64},
	} {
		m, err := ike.ParseMessage(c.in)
		if !errors.Is(err, c.want) || len(m.Payloads) != c.payloads || m.Header.Major != 2 {
			t.Errorf("%s: %d payloads, %v, want %d, %v", name, len(m.Payloads), err, c.payloads, c.want)
		}
	}
}

func TestParseEncrypted(t *testing.T) {
	h := ike.Header{NextPayload: ike.PayloadEncrypted, Major: 2, Exchange: ike.ExchangeIKEAuth, Length: 36}
	m, err := ike.ParseMessage(append(h.Append(nil), ike.PayloadIDi, 0, 0, 8, 1, 2, 3, 4)) // IDi is inside of it
	if err != nil || !m.Encrypted || len(m.Payloads) != 1 || !bytes.Equal(m.Payloads[0].Body, []byte{1, 2, 3, 4}) {
		t.Errorf("IKEv2: %+v, %v", m, err)
	}
	h = ike.Header{NextPayload: ike.PayloadHash1, Major: 1, Exchange: ike.ExchangeQuick, Flags: ike.FlagEncryption, Length: 36}
	m, err = ike.ParseMessage(append(h.Append(nil), 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4))
	if err != nil || !m.Encrypted || len(m.Payloads) != 0 {
		t.Errorf("IKEv1: %+v, %v", m, err)
	}
}

func TestAppendMessage(t *testing.T) {
	m := ike.Message{
		Header:   ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit, NextPayload: 99, Length: 99},
		Payloads: []ike.Payload{{Type: 200, Critical: true, Body: []byte{1}}, {Type: ike.PayloadVendorID}},
	}
	got, err := m.Append(nil)
	want := strings.Repeat("00", 16) + "c820220000000000" + "00000025" + "2b80000501" + "00000004"
	if hex.EncodeToString(got) != want || err != nil {
		t.Errorf("%x, %v, want %s", got, err, want)
	}
	m.Payloads[0].Body = make([]byte, 0xffff-4)
	if got, err := m.Append(nil); err != nil || binary.BigEndian.Uint16(got[30:]) != 0xffff {
		t.Errorf("the longest payload: %v", err)
	}
	m.Payloads[0].Body = make([]byte, 0xffff-3)
	if got, err := m.Append([]byte{0xaa}); !errors.Is(err, ike.ErrTooLong) || len(got) != 1 {
		t.Errorf("a payload that is too long: %d bytes, %v", len(got), err)
	}
}

func TestNotify(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		v1     bool
		want   ike.Notify
		failed bool
	}{
		"invalid KE":       {capturedBadKE, false, ike.Notify{Type: ike.NotifyInvalidKEPayload, Data: []byte{0, 14}}, true},
		"cookie":           {capturedCookie, false, ike.Notify{Type: ike.NotifyCookie, Data: unhex(t, capturedCookie)[36:]}, false},
		"IKEv1":            {captured1, true, ike.Notify{Protocol: 1, Type: ike.Notify1NoProposalChosen}, true},
		"with SPI (IKEv1)": {strings.Repeat("00", 32) + "000000010104000e" + "01020304" + "05", true, ike.Notify{Protocol: 1, Type: 14, SPI: []byte{1, 2, 3, 4}, Data: []byte{5}}, true},
	} {
		body := unhex(t, c.in)[32:]
		parse := ike.ParseNotify
		if c.v1 {
			parse = ike.ParseNotify1
		}
		n, err := parse(body)
		if err != nil || n.Protocol != c.want.Protocol || n.Type != c.want.Type || !bytes.Equal(n.SPI, c.want.SPI) || !bytes.Equal(n.Data, c.want.Data) {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
		if n.IsError() != c.failed {
			t.Errorf("%s: IsError is %t", name, n.IsError())
		}
		for n := range 4 {
			if _, err := parse(body[:n]); !errors.Is(err, ike.ErrTruncated) {
				t.Errorf("%s: %d bytes: %v", name, n, err)
			}
		}
	}
	if n, err := ike.ParseNotify([]byte{1, 5, 0, 14, 1, 2, 3, 4}); !errors.Is(err, ike.ErrMalformed) || n.Type != 14 {
		t.Errorf("SPI beyond the end: %+v, %v", n, err)
	}
}

func proposals() []ike.Proposal {
	return []ike.Proposal{
		{Number: 1, Protocol: 3, SPI: []byte{1, 2, 3, 4}, Transforms: []ike.Transform{
			{Type: 1, ID: 12, Attributes: []ike.Attribute{{Type: ike.AttributeKeyLength, Value: 128}, {Type: 12, Data: []byte{0, 0, 0x70, 0x80}}}},
			{Type: 3, ID: 2},
		}},
		{Number: 2, Protocol: 3},
	}
}

func TestSA(t *testing.T) {
	const want = "02000028" + "01030402" + "01020304" + "03000014" + "0100000c" + "800e0080" + "000c0004" + "00007080" + "00000008" + "03000002" +
		"00000008" + "02030000"
	got := ike.AppendSA(nil, proposals()...)
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
	got = ike.AppendSA1(nil, proposals()...)
	back, err := ike.ParseSA1(got)
	if diff := cmp.Diff(proposals(), back); diff != "" || err != nil {
		t.Errorf("IKEv1: %v %s", err, diff)
	}
	for n := 1; n < len(got)-8; n++ {
		if n == 40 {
			continue // the first proposal, whole
		}
		if _, err := ike.ParseSA1(got[:8+n]); !errors.Is(err, ike.ErrTruncated) && !errors.Is(err, ike.ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := ike.ParseSA1(got[:7]); !errors.Is(err, ike.ErrTruncated) {
		t.Errorf("7 bytes: %v", err)
	}
}

func TestSAErrors(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"proposal of 7 bytes":       {"0000000701010000", ike.ErrMalformed},
		"proposal beyond the end":   {"0000000901010000", ike.ErrMalformed},
		"SPI beyond the end":        {"0000000801010100", ike.ErrMalformed},
		"transform of 7 bytes":      {"0000001001010001" + "0000000701000001", ike.ErrMalformed},
		"transform cut":             {"0000000c01010001" + "00000008", ike.ErrTruncated},
		"attribute cut":             {"0000001201010001" + "0000000a01000001" + "800e", ike.ErrTruncated},
		"attribute beyond the end":  {"0000001401010001" + "0000000c01000001" + "000c0001", ike.ErrTruncated},
		"256 proposals":             {strings.Repeat("0200000801010000", 256), ike.ErrMalformed},
		"256 transforms":            {"0000080801010000" + strings.Repeat("0300000801000001", 256), ike.ErrMalformed},
		"255 proposals are allowed": {strings.Repeat("0200000801010000", 255), nil},
	} {
		if _, err := ike.ParseSA1(unhex(t, "0000000100000001"+c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for typ, want := range map[uint16]string{
		1: "UNSUPPORTED_CRITICAL_PAYLOAD", 5: "INVALID_MAJOR_VERSION", 7: "INVALID_SYNTAX", 14: "NO_PROPOSAL_CHOSEN", 17: "INVALID_KE_PAYLOAD",
		24: "AUTHENTICATION_FAILED", 43: "TEMPORARY_FAILURE", 16390: "COOKIE", 16407: "REDIRECT", 16430: "IKEV2_FRAGMENTATION_SUPPORTED", 0: "", 65535: "", 16383: "",
	} {
		if got, ok := ike.NotifyName(typ); got != want || ok != (want != "") {
			t.Errorf("notify %d: %q, %t", typ, got, ok)
		}
	}
	for typ, want := range map[uint16]string{
		1: "INVALID-PAYLOAD-TYPE", 5: "INVALID-MAJOR-VERSION", 6: "INVALID-MINOR-VERSION", 14: "NO-PROPOSAL-CHOSEN", 24: "AUTHENTICATION-FAILED",
		30: "UNEQUAL-PAYLOAD-LENGTHS", 36136: "R-U-THERE", 0: "", 31: "", 65535: "",
	} {
		if got, ok := ike.Notify1Name(typ); got != want || ok != (want != "") {
			t.Errorf("IKEv1 notify %d: %q, %t", typ, got, ok)
		}
	}
	for typ, want := range map[uint8]string{2: "MAIN", 4: "AGGRESSIVE", 5: "INFORMATIONAL", 34: "IKE_SA_INIT", 37: "INFORMATIONAL", 240: ""} {
		if got, ok := ike.ExchangeName(typ); got != want || ok != (want != "") {
			t.Errorf("exchange %d: %q, %t", typ, got, ok)
		}
	}
}

// Names become metric labels: no two types of a version share one.
func TestNotifyNamesAreUnique(t *testing.T) {
	for version, name := range map[int]func(uint16) (string, bool){1: ike.Notify1Name, 2: ike.NotifyName} {
		seen := map[string]int{}
		for typ := range 1 << 16 {
			s, ok := name(uint16(typ))
			if before, twice := seen[s]; ok && twice {
				t.Errorf("IKEv%d: %d and %d are both %s", version, before, typ, s)
			}
			if ok {
				seen[s] = typ
			}
		}
		if len(seen) < 20 {
			t.Errorf("IKEv%d: only %d names", version, len(seen))
		}
	}
}

func FuzzIKE(f *testing.F) {
	for _, s := range []string{capturedBadKE, capturedCookie, captured1, capturedSA} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ike.ParseMessage(b)
		total := 0
		for _, p := range m.Payloads {
			total += len(p.Body)
		}
		if len(m.Payloads) > 64 || total > len(b) {
			t.Fatalf("%d payloads with %d bytes out of %d", len(m.Payloads), total, len(b))
		}
		if err != nil || m.Encrypted {
			return
		}
		out, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ike.ParseMessage(out)
		if err != nil {
			t.Fatal(err)
		}
		again.Header.Length = m.Header.Length // may have counted bytes behind the last payload
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// appendNotify returns the body of an IKEv2 notify payload.
func appendNotify(n ike.Notify) []byte {
	return slices.Concat([]byte{n.Protocol, byte(len(n.SPI)), byte(n.Type >> 8), byte(n.Type)}, n.SPI, n.Data)
}

func FuzzBodies(f *testing.F) {
	f.Add(ike.AppendSA1(nil, proposals()...))
	f.Add(unhex(f, capturedBadKE)[32:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ike.ParseSA1(b); err == nil {
			again, err := ike.ParseSA1(ike.AppendSA1(nil, p...))
			if diff := cmp.Diff(p, again); diff != "" || err != nil {
				t.Fatalf("%v %s", err, diff)
			}
		}
		if n, err := ike.ParseNotify(b); err == nil && !bytes.Equal(appendNotify(n), b) {
			t.Fatalf("notify came back as %+v", n)
		}
		if n, err := ike.ParseNotify1(b); err == nil && !bytes.Equal(appendNotify(n), b[4:]) {
			t.Fatalf("IKEv1 notify came back as %+v", n)
		}
	})
}

func BenchmarkParseMessage(b *testing.B) {
	for name, in := range map[string]string{"notify": capturedBadKE, "accepted": capturedSA} {
		b.Run(name, func(b *testing.B) {
			message := unhex(b, in)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ike.ParseMessage(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
