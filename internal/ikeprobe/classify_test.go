package ikeprobe_test

import (
	"errors"
	"regexp"
	"testing"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ike"
)

// reply makes a message of the responder to testSPI.
func reply(tb testing.TB, h ike.Header, payloads ...ike.Payload) []byte {
	tb.Helper()
	h.InitiatorSPI = testSPI
	m := ike.Message{Header: h, Payloads: payloads}
	b, err := m.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func notify2(typ uint16, data ...byte) ike.Payload {
	return ike.Payload{Type: ike.PayloadNotify, Body: append([]byte{0, 0, byte(typ >> 8), byte(typ)}, data...)}
}

func notify1(typ uint16) ike.Payload {
	return ike.Payload{Type: ike.PayloadNotify1, Body: []byte{0, 0, 0, 1, 1, 0, byte(typ >> 8), byte(typ)}}
}

// Replies captured from strongSwan 5.9.8 and OpenIKED 7.2.
func TestClassifyCaptured(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		marker bool
		want   ikeprobe.Reply
	}{
		"strongSwan, bad KE": {
			"c6caa0b772cf2e8e" + zeros + "2920222000000000" + "00000026" + "0000000a00000011000e", false,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "INVALID_KE_PAYLOAD", Exchange: 34, Detail: "group 14"},
		},
		"strongSwan, bad KE, port 4500": {
			"00000000" + "8d26a8375cf61087" + zeros + "2920222000000000" + "00000026" + "0000000a00000011000e", true,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "INVALID_KE_PAYLOAD", Exchange: 34, Detail: "group 14"},
		},
		"strongSwan, version 3": {
			"c5598f1fa0a827d9" + zeros + "2920222000000000" + "00000024" + "0000000800000005", false,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "INVALID_MAJOR_VERSION", Exchange: 34},
		},
		"OpenIKED, version 3": {
			"488d824ef6d05362" + "c681af9bc4d829e2" + "2920222000000000" + "00000026" + "0000000a00000011001f", false,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "INVALID_KE_PAYLOAD", Exchange: 34, Detail: "group 31"},
		},
		"strongSwan, no proposal": {
			"be57c1163a184780" + zeros + "2920222000000000" + "00000024" + "000000080000000e", false,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "NO_PROPOSAL_CHOSEN", Exchange: 34},
		},
		"strongSwan, main mode": {
			"daa4a75f31509d0b" + "2593bd59907be21d" + "0b100500728db433" + "00000028" + "0000000c000000010100000e", false,
			ikeprobe.Reply{Version: ikeprobe.V1, Name: "NO-PROPOSAL-CHOSEN", Exchange: 5},
		},
		"strongSwan, cookie": {
			"6eebce7d05241b80" + zeros + "2920222000000000" + "0000003c" + "0000002000004006d1050000312c7f5b379615133275a8e2bee3bea31e8ea307", false,
			ikeprobe.Reply{Version: ikeprobe.V2, Name: "COOKIE", Exchange: 34},
		},
	} {
		b := unhex(t, c.in)
		spi := [8]byte(b)
		if c.marker {
			spi = [8]byte(b[4:])
		}
		got, err := ikeprobe.Classify(b, spi, c.marker)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, err := ikeprobe.Classify(b, testSPI, c.marker); !errors.Is(err, ikeprobe.ErrForeign) {
			t.Errorf("%s: with another SPI: %v", name, err)
		}
		if _, err := ikeprobe.Classify(b, spi, !c.marker); !errors.Is(err, ikeprobe.ErrForeign) {
			t.Errorf("%s: on the other port: %v", name, err)
		}
	}
}

func TestClassify(t *testing.T) {
	response := ike.Header{ResponderSPI: [8]byte{9}, Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse}
	info1 := ike.Header{Major: 1, Exchange: ike.ExchangeInformational1}
	main1 := ike.Header{ResponderSPI: [8]byte{9}, Major: 1, Exchange: ike.ExchangeMain}
	sa := ike.Payload{Type: ike.PayloadSA, Body: ike.AppendSA(nil, ike.Proposal{Number: 1})}
	sa1 := ike.Payload{Type: ike.PayloadSA1, Body: ike.AppendSA1(nil, ike.Proposal{Number: 1})}
	with := func(h ike.Header, change func(*ike.Header)) ike.Header { change(&h); return h }

	for name, c := range map[string]struct {
		in           []byte
		name, detail string
		version      ikeprobe.Version
	}{
		"accepted":               {reply(t, response, sa, notify2(16388), notify2(16430)), "SA", "", ikeprobe.V2},
		"SA without content":     {reply(t, response, ike.Payload{Type: ike.PayloadSA}), "OTHER", "", ikeprobe.V2},
		"cookie":                 {reply(t, response, notify2(16390, 1, 2, 3)), "COOKIE", "", ikeprobe.V2},
		"first status":           {reply(t, response, notify2(16407), notify2(16430)), "REDIRECT", "", ikeprobe.V2},
		"error behind a status":  {reply(t, response, notify2(16430), notify2(7)), "INVALID_SYNTAX", "", ikeprobe.V2},
		"critical payload":       {reply(t, response, notify2(1, 200)), "UNSUPPORTED_CRITICAL_PAYLOAD", "payload 200", ikeprobe.V2},
		"bad KE without group":   {reply(t, response, notify2(17, 0)), "INVALID_KE_PAYLOAD", "", ikeprobe.V2},
		"unknown error":          {reply(t, response, notify2(8192)), "NOTIFY_8192", "", ikeprobe.V2},
		"unknown status":         {reply(t, response, notify2(65535)), "NOTIFY_65535", "", ikeprobe.V2},
		"nothing":                {reply(t, response), "OTHER", "", ikeprobe.V2},
		"notify cut":             {reply(t, response, ike.Payload{Type: ike.PayloadNotify, Body: []byte{0, 0, 0}}), "OTHER", "", ikeprobe.V2},
		"notify with odd SPI":    {reply(t, response, ike.Payload{Type: ike.PayloadNotify, Body: []byte{0, 9, 0, 14}}), "NO_PROPOSAL_CHOSEN", "", ikeprobe.V2},
		"encrypted":              {reply(t, response, ike.Payload{Type: ike.PayloadEncrypted, Body: []byte{1, 2}}), "OTHER", "", ikeprobe.V2},
		"message cut":            {reply(t, response, notify2(14))[:30], "OTHER", "", ikeprobe.V2},
		"header only, cut":       {reply(t, response, notify2(14))[:28], "OTHER", "", ikeprobe.V2},
		"version 3 kept":         {reply(t, with(response, func(h *ike.Header) { h.Major = 3 }), notify2(5)), "INVALID_MAJOR_VERSION", "", ikeprobe.V2},
		"both flags":             {reply(t, with(response, func(h *ike.Header) { h.Flags |= ike.FlagInitiator }), notify2(5)), "INVALID_MAJOR_VERSION", "", ikeprobe.V2},
		"informational":          {reply(t, ike.Header{Major: 2, Exchange: ike.ExchangeInformational}, notify2(11)), "INVALID_SPI", "", ikeprobe.V2},
		"main mode accepted":     {reply(t, main1, sa1), "SA", "", ikeprobe.V1},
		"minor version":          {reply(t, info1, notify1(6)), "INVALID-MINOR-VERSION", "", ikeprobe.V1},
		"IKEv1 only":             {reply(t, info1, notify1(5)), "INVALID-MAJOR-VERSION", "", ikeprobe.V1},
		"unknown IKEv1 error":    {reply(t, info1, notify1(9000)), "NOTIFY_9000", "", ikeprobe.V1},
		"IKEv1 17 has no detail": {reply(t, info1, notify1(17)), "INVALID-KEY-INFORMATION", "", ikeprobe.V1},
		"IKEv1 encrypted":        {reply(t, with(info1, func(h *ike.Header) { h.Flags = ike.FlagEncryption }), notify1(14)), "OTHER", "", ikeprobe.V1},
		"version 0":              {reply(t, with(info1, func(h *ike.Header) { h.Major = 0 }), notify1(5)), "INVALID-MAJOR-VERSION", "", ikeprobe.V1},
	} {
		got, err := ikeprobe.Classify(c.in, testSPI, false)
		if err != nil || got.Name != c.name || got.Detail != c.detail || got.Version != c.version {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestClassifyNoReply(t *testing.T) {
	good := reply(t, ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse}, notify2(14))
	request := ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagInitiator}
	for n := range 28 {
		if _, err := ikeprobe.Classify(good[:n], testSPI, false); !errors.Is(err, ikeprobe.ErrForeign) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		in     []byte
		marker bool
		want   error
	}{
		"empty with marker": {nil, true, ikeprobe.ErrForeign},
		"marker only":       {make([]byte, 4), true, ikeprobe.ErrForeign},
		"keepalive":         {[]byte{0xff}, true, ikeprobe.ErrForeign},
		"no marker":         {good, true, ikeprobe.ErrForeign},
		"request":           {reply(t, request, notify2(14)), false, ikeprobe.ErrReflected},
		"request, no flags": {reply(t, ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit}), false, ikeprobe.ErrReflected},
		"main mode request": {reply(t, ike.Header{Major: 1, Exchange: ike.ExchangeMain}), false, ikeprobe.ErrReflected},
	} {
		if got, err := ikeprobe.Classify(c.in, testSPI, c.marker); !errors.Is(err, c.want) || got != (ikeprobe.Reply{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What is sent back unchanged, whole or cut, proves nothing about the peer.
func TestClassifyReflection(t *testing.T) {
	for _, form := range ikeprobe.Ladder(ikeprobe.Auto) {
		for _, marker := range []bool{false, true} {
			b, err := ikeprobe.Build(form, ikeprobe.XAUTH, testSPI, marker, 0, testNonce)
			if err != nil {
				t.Fatal(err)
			}
			for n := range len(b) + 1 {
				if got, err := ikeprobe.Classify(b[:n], testSPI, marker); err == nil {
					t.Fatalf("%s, %d bytes: %+v", form, n, got)
				}
			}
			if _, err := ikeprobe.Classify(b, testSPI, marker); !errors.Is(err, ikeprobe.ErrReflected) {
				t.Errorf("%s: %v", form, err)
			}
		}
	}
}

func FuzzClassify(f *testing.F) {
	response := ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse}
	f.Add(reply(f, response, notify2(17, 0, 14)), false)
	f.Add(append(make([]byte, 4), reply(f, ike.Header{Major: 1, Exchange: 5}, notify1(14))...), true)
	name := regexp.MustCompile(`^[A-Z][A-Z0-9_-]{1,39}$`)
	f.Fuzz(func(t *testing.T, b []byte, marker bool) {
		r, err := ikeprobe.Classify(b, testSPI, marker)
		if err != nil {
			if !errors.Is(err, ikeprobe.ErrForeign) && !errors.Is(err, ikeprobe.ErrReflected) {
				t.Fatal(err)
			}
			return
		}
		if !name.MatchString(r.Name) || len(r.Detail) > 20 || r.Version != ikeprobe.V1 && r.Version != ikeprobe.V2 {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	in := reply(b, ike.Header{Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse}, notify2(17, 0, 14))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ikeprobe.Classify(in, testSPI, false); err != nil {
			b.Fatal(err)
		}
	}
}
