package capture_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// payloadEAP is the EAP payload.
const payloadEAP = 48

// sealed is an encrypted message whose first payload is inner.
func sealed(exchange uint8, id uint32, response bool, inner uint8, size int) ikeMessage {
	m := ikeMessage{exchange: exchange, id: id, flags: ike.FlagInitiator, reply: true, size: size, fill: inner}
	if response {
		m.flags = ike.FlagResponse
	}
	return m
}

// request and answer are messages of IKE_AUTH, inform one of INFORMATIONAL.
func request(id uint32, inner uint8, size int) ikeMessage {
	return sealed(ike.ExchangeIKEAuth, id, false, inner, size)
}

func answer(id uint32, inner uint8, size int) ikeMessage {
	return sealed(ike.ExchangeIKEAuth, id, true, inner, size)
}

func inform(id uint32, response bool, inner uint8, size int) ikeMessage {
	return sealed(ike.ExchangeInformational, id, response, inner, size)
}

// inTurn plays messages 50 ms apart, responses from the head-end.
func inTurn(start float64, messages ...ikeMessage) (t trace) {
	for i, m := range messages {
		from, to := branch, hq
		if m.flags&ike.FlagResponse != 0 {
			from, to = hq, branch
		}
		t.add(start+0.05*float64(i), datagram(from, to, 700+uint16(i), 60, ip.ProtocolUDP, m.on500(from, to)))
	}
	return t
}

// traffic is ESP both ways.
func traffic(start float64) (t trace) {
	t.add(start, datagram(branch, hq, 900, 60, ip.ProtocolESP, esp(0xa, 1, 100)))
	t.add(start+0.1, datagram(hq, branch, 901, 60, ip.ProtocolESP, esp(0xb, 1, 100)))
	return t
}

func TestAuthentication(t *testing.T) {
	const to = " 192.0.2.2 198.51.100.2"
	begin := inTurn(0, initRequest, initResponse)
	after := func(parts ...trace) trace { return slices.Concat(append([]trace{begin}, parts...)...) }
	accepted := inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 240))
	refused := inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadNotify, 80))
	eap := inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 1200), request(2, payloadEAP, 90), answer(2, payloadEAP, 150), request(3, payloadEAP, 130), answer(3, payloadEAP, 76))
	for name, c := range map[string]struct {
		packets trace
		stage   string
		want    []string
		says    string
	}{
		"accepted":                    {after(accepted), "established", []string{}, ""},
		"only the request":            {after(accepted[:1]), "IKE_AUTH", []string{}, ""},
		"refused":                     {after(refused), "IKE_AUTH", []string{"IKE_AUTH_REFUSED" + to}, "198.51.100.2 refused IKE_AUTH of 192.0.2.2: its encrypted answer of 80 bytes"},
		"a vendor's payload first":    {after(inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadVendorID, 260))), "IKE_AUTH", []string{}, ""},
		"the same, with traffic":      {after(inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadVendorID, 260)), traffic(1)), "established", []string{}, ""},
		"a long notification":         {after(inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadNotify, 260))), "IKE_AUTH", []string{}, ""},
		"EAP fails":                   {after(eap), "EAP", []string{"EAP_FAILED" + to}, "EAP of 192.0.2.2 ended without success"},
		"EAP fails beside another SA": {after(traffic(0.08), eap, traffic(1)), "EAP", []string{"EAP_FAILED" + to}, ""},
		"a notification after older traffic": {
			slices.Concat(traffic(-5), begin, accepted, inTurn(0.3, inform(2, false, ike.PayloadNotify, 80))), "IKE_AUTH", []string{"IKE_AUTH_REFUSED" + to}, "",
		},
		"EAP is under way":              {after(eap[:4]), "IKE_AUTH", []string{}, ""},
		"EAP succeeds":                  {after(eap, inTurn(0.5, request(4, ike.PayloadAuth, 90), answer(4, ike.PayloadAuth, 220))), "established", []string{}, ""},
		"EAP succeeds, child refused":   {after(eap, inTurn(0.5, request(4, ike.PayloadAuth, 90), answer(4, ike.PayloadNotify, 80))), "IKE_AUTH", []string{"IKE_AUTH_REFUSED" + to}, ""},
		"deleted at once":               {after(accepted, inTurn(0.3, inform(2, false, ike.PayloadDelete, 76), inform(2, true, 0, 68))), "deleted", []string{"IKE_DELETED_AT_ONCE" + to}, "192.0.2.2 deleted the SA with 198.51.100.2 0.150 s after"},
		"deleted at once after traffic": {after(accepted, traffic(0.3), inTurn(0.6, inform(2, false, ike.PayloadDelete, 76))), "deleted", []string{"IKE_DELETED_AT_ONCE" + to}, ""},
		"deleted later":                 {after(accepted, inTurn(40, inform(2, false, ike.PayloadDelete, 76), inform(2, true, 0, 68))), "established", []string{}, ""},
		"deleted after rekeying": {
			after(accepted, inTurn(1, sealed(ike.ExchangeCreateChildSA, 2, false, ike.PayloadSA, 300), sealed(ike.ExchangeCreateChildSA, 2, true, ike.PayloadSA, 300), inform(3, false, ike.PayloadDelete, 76))),
			"established",
			[]string{},
			"",
		},
		"the initiator objects": {after(accepted, inTurn(0.3, inform(2, false, ike.PayloadNotify, 80), inform(2, true, 0, 68))), "IKE_AUTH", []string{"IKE_AUTH_REFUSED" + to}, "192.0.2.2 did not accept the answer of 198.51.100.2"},
		"a notification, and traffic": {
			after(accepted, inTurn(0.3, inform(2, false, ike.PayloadNotify, 80), inform(2, true, 0, 68)), traffic(1)), "established", []string{}, "",
		},
		"a notification of the responder": {
			after(accepted, inTurn(0.3, inform(0, true, ike.PayloadNotify, 80))), "established", []string{}, "",
		},
		"dead peer detection":    {after(accepted, inTurn(0.3, inform(2, false, 0, 68), inform(2, true, 0, 68))), "established", []string{}, ""},
		"the answer is cut off":  {after(inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, 0, 240))), "IKE_AUTH", []string{}, ""},
		"too short to say":       {after(inTurn(0.1, request(1, ike.PayloadIDi, 300), answer(1, 0, 68))), "IKE_AUTH", []string{}, ""},
		"AH after it":            {after(accepted, trace{{at(1), datagram(branch, hq, 5, 60, ip.ProtocolAH, ah(1, 1, 6, nil))}, {at(2), datagram(hq, branch, 5, 60, ip.ProtocolAH, ah(2, 1, 6, nil))}}), "established", []string{}, ""},
		"accepted, but repeated": {after(accepted, inTurn(4, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 240)), inTurn(12, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 240))), "IKE_AUTH", []string{"NEGOTIATION_STUCK 198.51.100.2 192.0.2.2"}, "twice after 198.51.100.2 had answered it"},
	} {
		a := c.packets.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(a.Negotiations) != 1 || a.Negotiations[0].Stage != c.stage || a.Negotiations[0].Established != (c.stage == "established") {
			t.Errorf("%s: %+v", name, a.Negotiations[0])
		}
		if c.says != "" {
			says(t, a.Findings, c.says)
		}
	}
}

// A refusal is no fault any more when the next negotiation got through.
func TestRefusedThenAccepted(t *testing.T) {
	p := slices.Concat(inTurn(0, initRequest, initResponse, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadNotify, 80)))
	for _, m := range []ikeMessage{initRequest, initResponse, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 240)} {
		m.spi = 9
		p = append(p, inTurn(10+float64(len(p)), m)...)
	}
	a := p.analysis(t, "x")
	if diff := cmp.Diff([]string{"ike_auth_refused 192.0.2.2 198.51.100.2"}, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
}

// notified is a response of IKE_SA_INIT with a notification in the clear.
func notified(typ uint16, data []byte) []byte {
	m := ike.Message{
		Header:   ike.Header{InitiatorSPI: [8]byte{1, 2, 3, 4, 5, 6, 7}, Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse},
		Payloads: []ike.Payload{{Type: ike.PayloadNotify, Body: append([]byte{0, 0, byte(typ >> 8), byte(typ)}, data...)}},
	}
	b, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return datagram(hq, branch, 1, 60, ip.ProtocolUDP, udp(hq, branch, 500, b))
}

// A first request that is asked for again is no refusal, unless nothing follows.
func TestRetries(t *testing.T) {
	second := initRequest
	second.fill, second.size = 9, 432
	third := second
	third.fill = 10
	cookie, group := notified(ike.NotifyCookie, make([]byte, 20)), notified(ike.NotifyInvalidKEPayload, []byte{0, 14})
	rest := inTurn(2, initResponse, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadIDr, 240))
	for name, c := range map[string]struct {
		packets trace
		retries []string
		want    []string
		up      bool
	}{
		"group":           {slices.Concat(inTurn(0, initRequest), trace{{at(0.1), group}}, inTurn(0.2, second), rest), []string{"INVALID_KE_PAYLOAD"}, []string{}, true},
		"cookie":          {slices.Concat(inTurn(0, initRequest), trace{{at(0.1), cookie}}, inTurn(0.2, second), rest), []string{"COOKIE"}, []string{}, true},
		"both":            {slices.Concat(inTurn(0, initRequest), trace{{at(0.1), cookie}}, inTurn(0.2, second), trace{{at(0.3), group}}, inTurn(0.4, third), rest), []string{"COOKIE", "INVALID_KE_PAYLOAD"}, []string{}, true},
		"nothing follows": {slices.Concat(inTurn(0, initRequest), trace{{at(0.1), group}}), []string{"INVALID_KE_PAYLOAD"}, []string{"ike_refused 192.0.2.2 198.51.100.2"}, false},
		"cookie only":     {slices.Concat(inTurn(0, initRequest), trace{{at(0.1), cookie}}), []string{"COOKIE"}, []string{}, false},
	} {
		a := c.packets.analysis(t, "x")
		n := a.Negotiations[0]
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" || len(a.Negotiations) != 1 || n.Established != c.up || c.up && n.Refused != "" {
			t.Errorf("%s: %+v %s", name, n, diff)
		}
		if diff := cmp.Diff(c.retries, n.Retries); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// cut cuts an encrypted message into IKE fragments (RFC 7383) in UDP datagrams on port 4500.
func cut(from, to netip.Addr, m ikeMessage, inner uint8, sizes ...int) (out [][]byte) {
	for i, size := range sizes {
		part := m
		part.next, part.size, part.fill = ike.PayloadEncryptedFragment, size, uint8(i)
		b := part.bytes()
		binary.BigEndian.PutUint32(b[28:], uint32(inner)<<24|uint32(size-28))
		binary.BigEndian.PutUint32(b[32:], uint32(i+1)<<16|uint32(len(sizes)))
		inner = 0
		out = append(out, datagram(from, to, 800+uint16(i), 60, ip.ProtocolUDP, udp(from, to, 4500, append(make([]byte, ipsec.MarkerLength), b...))))
	}
	return out
}

func TestIKEFragments(t *testing.T) {
	const stuckTo, stuckBack = "NEGOTIATION_STUCK 192.0.2.2 198.51.100.2", "NEGOTIATION_STUCK 198.51.100.2 192.0.2.2"
	parts := cut(branch, hq, request(1, 0, 0), ike.PayloadIDi, 1200, 1200, 300)
	replies := cut(hq, branch, answer(1, 0, 0), ike.PayloadIDr, 1200, 400)
	errorOnly := datagram(hq, branch, 9, 60, ip.ProtocolUDP, answer(1, ike.PayloadNotify, 80).on4500(hq, branch))
	for name, c := range map[string]struct {
		build    func(*trace)
		messages int // of the branch
		want     []string
		says     string
	}{
		"whole": {func(p *trace) { p.add(0.1, parts...); p.add(0.2, replies...) }, 2, []string{}, ""},
		"the wrong way round": {
			func(p *trace) { p.add(0.1, parts[2], parts[0], parts[1]); p.add(0.2, replies[1], replies[0]) }, 2, []string{}, "",
		},
		"refused": {func(p *trace) { p.add(0.1, parts...); p.add(0.2, errorOnly) }, 2, []string{"IKE_AUTH_REFUSED 192.0.2.2 198.51.100.2"}, ""},
		"the second is missing": {
			func(p *trace) {
				for i := range 4 {
					p.add(0.1+4*float64(i), parts[0], parts[2])
				}
			}, 2,
			[]string{stuckTo},
			"(1500 bytes of IKE in 2 of 3 IKE fragments) was sent 4 times, and no answer of 198.51.100.2 is in this capture until its end, 29.9 s later; " +
				"IKE fragment 2 of 3 of its IKE_AUTH never arrived here",
		},
		"the last of the answer is missing": {
			func(p *trace) {
				for i := range 4 {
					p.add(0.1+4*float64(i), append(slices.Clone(parts), replies[0])...)
				}
			}, 2,
			[]string{stuckBack},
			"of the answer of 198.51.100.2, IKE fragment 2 of 2 of its IKE_AUTH never arrived here",
		},
		"it comes when it is sent again": {
			func(p *trace) { p.add(0.1, parts[0], parts[2]); p.add(4, parts...); p.add(4.1, replies...) }, 2, []string{}, "",
		},
		"cut in smaller pieces later": {
			func(p *trace) {
				p.add(0.1, parts[:2]...)
				p.add(4, cut(branch, hq, request(1, 0, 0), ike.PayloadIDi, 600, 600, 600, 600, 300)...)
				p.add(4.1, replies...)
			}, 3, []string{}, "",
		},
	} {
		p := inTurn(0, initRequest, initResponse)
		c.build(&p)
		p.until(30)
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if f := a.Pairs[0].Forward; f.Messages != c.messages {
			t.Errorf("%s: %+v", name, f)
		}
		if c.says != "" {
			says(t, a.Findings, c.says)
		}
	}
}

// Two captures show which IKE fragment is lost between them.
func TestLostIKEFragment(t *testing.T) {
	parts := cut(branch, hq, request(1, 0, 0), ike.PayloadIDi, 1200, 1200, 300)
	sent, arrived := inTurn(0, initRequest, initResponse), inTurn(0, initRequest, initResponse)
	for i := range 4 {
		sent.add(0.1+4*float64(i), parts...)
		arrived.add(0.1+4*float64(i), parts[0], parts[2])
	}
	sent.until(30)
	arrived.until(30)
	c := capture.Compare(sent.analysis(t, "a"), arrived.analysis(t, "b"))
	if diff := cmp.Diff([]string{"PACKET_LOSS 192.0.2.2 198.51.100.2"}, verdicts(c.Findings)); diff != "" {
		t.Fatal(diff)
	}
	says(t, c.Findings, "all of them are IKE fragment 2 of 3 of IKE_AUTH")
	if e := c.Findings[0].Evidence; len(e) != 4 || !strings.HasSuffix(e[0], ", IKE fragment 2 of 3") {
		t.Errorf("%q", e)
	}
}

// A message of IKEv1 in Cisco's fragments counts once.
func TestCiscoFragments(t *testing.T) {
	piece := func(number, last uint8) []byte {
		m := ikeMessage{exchange: ike.ExchangeMain, next: 132, reply: true, size: 400, fill: number}
		b := m.bytes()
		copy(b[28:], []byte{0, 0, 1, 116, 0, 1, number, last})
		return datagram(branch, hq, 40+uint16(number), 60, ip.ProtocolUDP, udp(branch, hq, 500, b))
	}
	p := trace{{at(0), piece(1, 0)}, {at(0), piece(2, 0)}, {at(0), piece(3, 1)}}
	p.until(1)
	a := p.analysis(t, "x")
	f, e := a.Pairs[0].Forward, a.Negotiations[0].Exchanges[0]
	if f.IKE != 3 || f.Messages != 1 || f.IKEFragments != 3 || e.FromInitiator != 1 {
		t.Errorf("%+v %+v", f, e)
	}
}

// TestFragmentationOffer: the ends that announce IKE fragmentation are listed, each once.
func TestFragmentationOffer(t *testing.T) {
	const fragmentationSupported = 16430 // IKEV2_FRAGMENTATION_SUPPORTED, RFC 7383, section 2.3
	p := trace{{at(0), datagram(branch, hq, 100, 64, ip.ProtocolUDP, initRequest.on500(branch, hq))}}
	p.add(0.1, notified(fragmentationSupported, nil), notified(fragmentationSupported, nil))
	a := p.analysis(t, "x")
	if diff := cmp.Diff([]netip.Addr{hq}, a.Negotiations[0].OffersFragments, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
}

// Dead peer detection of IKEv1 without any answer is a fault; other notifications are not.
func TestDeadPeer(t *testing.T) {
	check := func(number uint8, size int) ikeMessage {
		return ikeMessage{exchange: ike.ExchangeInformational1, id: 100 + uint32(number), reply: true, flags: ike.FlagEncryption, size: size, fill: number}
	}
	for name, c := range map[string]struct {
		build func(*trace, int)
		want  []string
	}{
		"no answer": {func(*trace, int) {}, []string{"NEGOTIATION_STUCK 192.0.2.2 198.51.100.2"}},
		"answers": {func(p *trace, i int) {
			p.add(10*float64(i)+0.1, datagram(hq, branch, uint16(i), 60, ip.ProtocolUDP, check(uint8(50+i), 92).on500(hq, branch)))
		}, []string{}},
		"ESP arrives": {func(p *trace, i int) {
			p.add(10*float64(i)+0.1, datagram(hq, branch, uint16(i), 60, ip.ProtocolESP, esp(1, uint32(i), 100)))
		}, []string{}},
		"another peer": {func(p *trace, i int) {
			p.add(10*float64(i)+0.1, datagram(router, branch, uint16(i), 60, ip.ProtocolESP, esp(1, uint32(i), 100)))
		}, []string{"NEGOTIATION_STUCK 192.0.2.2 198.51.100.2"}},
	} {
		var p trace
		for i := range 6 {
			p.add(10*float64(i), datagram(branch, hq, uint16(i), 60, ip.ProtocolUDP, check(uint8(i), 92).on500(branch, hq)))
			c.build(&p, i)
		}
		if diff := cmp.Diff(c.want, verdicts(p.analysis(t, "x").Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var sizes trace
	for i := range 6 {
		sizes.add(10*float64(i), datagram(branch, hq, uint16(i), 60, ip.ProtocolUDP, check(uint8(i), 76+8*i).on500(branch, hq)))
	}
	if got := sizes.analysis(t, "x").Findings; len(got) > 0 {
		t.Errorf("sizes differ: %+v", got)
	}
}

// An answer from an address that was not asked belongs to the negotiation, and is reported.
func TestOtherAddress(t *testing.T) {
	other := netip.MustParseAddr("198.51.100.77")
	p := inTurn(0, initRequest)
	p.add(0.1, datagram(other, branch, 1, 60, ip.ProtocolUDP, initResponse.on500(other, branch)))
	p.add(0.2, datagram(branch, other, 2, 60, ip.ProtocolUDP, request(1, ike.PayloadIDi, 300).on500(branch, other)))
	p.add(0.3, datagram(other, branch, 3, 60, ip.ProtocolUDP, answer(1, ike.PayloadIDr, 240).on500(other, branch)))
	a := p.analysis(t, "x")
	if diff := cmp.Diff([]string{"answer_from_other_address 198.51.100.2 192.0.2.2"}, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
	says(t, a.Findings, "192.0.2.2 asked 198.51.100.2, and 198.51.100.77 answered")
	if len(a.Negotiations) != 1 || !a.Negotiations[0].Established || a.Negotiations[0].OtherResponder != other {
		t.Errorf("%+v", a.Negotiations)
	}
	for i := range uint32(20) {
		p.add(1+float64(i), datagram(branch, hq, uint16(i), 60, ip.ProtocolESP, esp(1, i, 100)))
		p.add(1.1+float64(i), datagram(other, branch, uint16(i), 60, ip.ProtocolESP, esp(2, i, 100)))
	}
	want := []string{"esp_one_way 192.0.2.2 198.51.100.2", "answer_from_other_address 198.51.100.2 192.0.2.2", "esp_one_way 198.51.100.77 192.0.2.2"}
	if diff := cmp.Diff(want, verdicts(p.analysis(t, "x").Findings)); diff != "" {
		t.Error(diff)
	}
	// An unrelated peer with the same SPI stays apart.
	q := inTurn(0, initRequest)
	q.add(0.1, datagram(other, router, 1, 60, ip.ProtocolUDP, initResponse.on500(other, router)))
	if a := q.analysis(t, "x"); len(a.Negotiations) != 2 {
		t.Errorf("%+v", a.Negotiations)
	}
}

// Probes of this exporter are recognised, and their refusals are no refusals of a gateway.
func TestOwnProbes(t *testing.T) {
	for name, c := range map[string]struct {
		form ikeprobe.Form
		size int
		want []string
	}{
		"IKEv1":              {ikeprobe.V1Main, 0, []string{"exporter_probes 192.0.2.2 198.51.100.2"}},
		"IKEv2, padded":      {ikeprobe.V2BadKE, 1200, []string{"exporter_probes 192.0.2.2 198.51.100.2"}},
		"IKEv2, as it comes": {ikeprobe.V2BadKE, 0, []string{"ike_refused 192.0.2.2 198.51.100.2"}},
	} {
		b, err := ikeprobe.Build(c.form, ikeprobe.PSK, [8]byte{1, 2, 3, 4, 5, 6, 7}, false, c.size, bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		p := trace{{at(0), datagram(branch, hq, 1, 60, ip.ProtocolUDP, udp(branch, hq, 500, b))}}
		if c.form == ikeprobe.V2BadKE {
			p.add(0.1, notified(ike.NotifyInvalidKEPayload, []byte{0, 14}))
		}
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Both ends of a negotiation that was refused agree.
func TestRefusedAtBothEnds(t *testing.T) {
	p := inTurn(0, initRequest, initResponse, request(1, ike.PayloadIDi, 300), answer(1, ike.PayloadNotify, 80))
	r := capture.NewReport(p.analysis(t, "a"), p.analysis(t, "b"))
	if diff := cmp.Diff([]string{"IKE_AUTH_REFUSED 192.0.2.2 198.51.100.2"}, verdicts(r.Findings)); diff != "" {
		t.Error(diff)
	}
}
