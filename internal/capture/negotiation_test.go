package capture_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

type finding = capture.Finding

// A step is one message of a negotiation: when, who, what, on UDP 4500 or not.
type step struct {
	at   float64
	from netip.Addr
	m    ikeMessage
	natt bool
}

// play sends the messages, each with an identification of its own.
func play(steps ...step) (t trace) {
	for i, s := range steps {
		to := hq
		if s.from == hq {
			to = branch
		}
		payload := s.m.on500(s.from, to)
		if s.natt {
			payload = s.m.on4500(s.from, to)
		}
		t.add(s.at, datagram(s.from, to, 500+uint16(i), 60, ip.ProtocolUDP, payload))
	}
	return t
}

// v1 is a message of IKEv1 that differs from others by its number.
func v1(exchange uint8, id uint32, number uint8) ikeMessage {
	return ikeMessage{exchange: exchange, id: id, size: 100 + int(number), fill: number, reply: number > 1, flags: ike.FlagEncryption}
}

// aggressive is aggressive mode; the choice of the responder is with or without XAUTH.
func aggressive(method uint16) (t trace) {
	first := v1(ike.ExchangeAggressive, 0, 1)
	answer := ike.Message{
		Header: ike.Header{InitiatorSPI: [8]byte{1, 2, 3, 4, 5, 6, 7}, ResponderSPI: [8]byte{9, 9, 9, 9, 9, 9, 9}, Major: 1, Exchange: ike.ExchangeAggressive},
		Payloads: []ike.Payload{{Type: ike.PayloadSA1, Body: ike.AppendSA1(nil, ike.Proposal{Number: 1, Protocol: ike.ProtocolIKE, Transforms: []ike.Transform{
			{Type: 1, ID: ike.TransformKeyIKE, Attributes: []ike.Attribute{{Type: ike.AttributeEncryption, Value: 7}, {Type: ike.AttributeAuth, Value: method}}},
		}})}, {Type: ike.PayloadKE1, Body: make([]byte, 128)}},
	}
	b, err := answer.Append(nil)
	if err != nil {
		panic(err)
	}
	t = play(step{0, branch, first, false})
	t.add(0.1, datagram(hq, branch, 601, 60, ip.ProtocolUDP, udp(hq, branch, 500, b)))
	return append(t, play(step{0.2, branch, v1(ike.ExchangeAggressive, 0, 3), true})...)
}

func sentAgain(m step, times int, every float64) (all []step) {
	for i := range times {
		s := m
		s.at += float64(i) * every
		all = append(all, s)
	}
	return all
}

func TestNegotiations(t *testing.T) {
	const stuck, stuckBack = "NEGOTIATION_STUCK 192.0.2.2 198.51.100.2", "NEGOTIATION_STUCK 198.51.100.2 192.0.2.2"
	request, response := step{0, branch, initRequest, false}, step{0.1, hq, initResponse, false}
	small := authRequest
	small.size = 200
	sa := func(from netip.Addr, at float64, exchange uint8, id uint32, number uint8) step {
		return step{at, from, v1(exchange, id, number), number > 4}
	}
	refused := ike.Message{
		Header:   ike.Header{InitiatorSPI: [8]byte{1, 2, 3, 4, 5, 6, 7}, Major: 2, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagResponse},
		Payloads: []ike.Payload{{Type: ike.PayloadNotify, Body: []byte{0, 0, 0, byte(ike.NotifyNoProposalChosen)}}},
	}
	no, err := refused.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		packets trace
		until   float64
		stage   string
		want    []string
		says    string
	}{
		"nobody answers": {
			play(sentAgain(request, 4, 4)...), 30, "IKE_SA_INIT",
			[]string{"PEER_SILENT 192.0.2.2 198.51.100.2"},
			"IKEv2 hangs in IKE_SA_INIT: the request IKE_SA_INIT of 192.0.2.2 (400 bytes of IKE) was sent 4 times, and no answer of 198.51.100.2 is in this capture",
		},
		"a scanner asks once":   {play(request), 60, "IKE_SA_INIT", []string{}, ""},
		"the capture ends soon": {play(sentAgain(request, 2, 4)...), 5, "IKE_SA_INIT", []string{}, ""},
		"a copy is not sent again": {
			append(append(play(request), play(request)...), play(request)...), 60, "IKE_SA_INIT", []string{}, "",
		},
		"refused": {
			append(play(request), trace{{at(0.1), datagram(hq, branch, 1, 60, ip.ProtocolUDP, udp(hq, branch, 500, no))}}...), 60, "IKE_SA_INIT",
			[]string{"ike_refused 192.0.2.2 198.51.100.2"},
			"refused unencrypted with NO_PROPOSAL_CHOSEN: the messages pass",
		},
		"the small IKE_AUTH is not answered": {
			play(append([]step{request, response}, sentAgain(step{0.2, branch, small, true}, 3, 4)...)...), 30, "IKE_AUTH", []string{stuck}, "hangs in IKE_AUTH",
		},
		"the answer does not arrive": {
			play(append([]step{request, response, {0.25, hq, authResponse, true}}, sentAgain(step{0.2, branch, small, true}, 3, 4)...)...), 30, "IKE_AUTH", []string{stuck}, "",
		},
		"the answer is here, and is asked for again": {
			play(
				request, response, step{0.2, branch, small, true}, step{0.25, hq, authResponse, true}, step{4, branch, small, true}, step{4.1, hq, authResponse, true},
				step{9, branch, small, true}, step{9.1, hq, authResponse, true},
			), 30, "IKE_AUTH",
			[]string{stuckBack},
			"192.0.2.2 sent its IKE_AUTH 3 times, twice after 198.51.100.2 had answered it: the answer is in this capture but does not reach 192.0.2.2",
		},
		"main mode, third message": {
			play(append([]step{sa(branch, 0, ike.ExchangeMain, 0, 1), sa(hq, 0.1, ike.ExchangeMain, 0, 2)},
				sentAgain(sa(branch, 0.2, ike.ExchangeMain, 0, 3), 3, 8)...)...), 40, "main mode", []string{stuck}, "IKEv1 hangs in main mode",
		},
		"main mode, waiting for the last message of the initiator": {
			play(append([]step{
				sa(branch, 0, ike.ExchangeMain, 0, 1), sa(hq, 0.1, ike.ExchangeMain, 0, 2), sa(branch, 0.2, ike.ExchangeMain, 0, 3),
			}, sentAgain(sa(hq, 0.3, ike.ExchangeMain, 0, 4), 3, 8)...)...), 40, "main mode", []string{stuckBack}, "of 198.51.100.2",
		},
		"IKEv1 up": {
			play(
				sa(branch, 0, ike.ExchangeMain, 0, 1), sa(hq, 0.1, ike.ExchangeMain, 0, 2), sa(branch, 0.2, ike.ExchangeMain, 0, 3),
				sa(hq, 0.3, ike.ExchangeMain, 0, 4), sa(branch, 0.4, ike.ExchangeMain, 0, 5), sa(hq, 0.5, ike.ExchangeMain, 0, 6),
				sa(branch, 0.6, ike.ExchangeQuick, 77, 7), sa(hq, 0.7, ike.ExchangeQuick, 77, 8), sa(branch, 0.8, ike.ExchangeQuick, 77, 9),
			), 60, "established", []string{}, "",
		},
		"quick mode": {
			append(aggressive(1), play(sentAgain(sa(branch, 1, ike.ExchangeQuick, 77, 7), 3, 8)...)...), 60, "quick mode", []string{stuck}, "hangs in quick mode",
		},
		"no XAUTH request": {
			aggressive(65001), 30, "aggressive mode", []string{stuckBack}, "no XAUTH request of 198.51.100.2 is in this capture in the 29.8 s that follow",
		},
		"no XAUTH agreed on": {aggressive(1), 30, "aggressive mode", []string{}, ""},
		"the XAUTH request is not answered": {
			append(aggressive(65001), play(sentAgain(sa(hq, 1, ike.ExchangeTransaction, 5, 7), 3, 8)...)...), 30, "XAUTH", []string{stuckBack}, "IKEv1 hangs in XAUTH",
		},
		"mode config": {
			append(aggressive(65001), play(append([]step{sa(hq, 1, ike.ExchangeTransaction, 5, 7), sa(branch, 1.1, ike.ExchangeTransaction, 5, 8)},
				sentAgain(sa(branch, 1.2, ike.ExchangeTransaction, 6, 9), 3, 8)...)...)...), 30, "mode config", []string{stuck}, "hangs in mode config",
		},
		"the capture begins with the last message": {
			play(sa(hq, 0, ike.ExchangeMain, 0, 6), sa(hq, 3, ike.ExchangeMain, 0, 6)), 60, "main mode", []string{}, "",
		},
	} {
		c.packets.until(c.until)
		a := c.packets.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s\n%+v", name, diff, a.Findings)
		}
		if len(a.Negotiations) != 1 || a.Negotiations[0].Stage != c.stage {
			t.Errorf("%s: %+v", name, a.Negotiations)
		}
		if c.says != "" {
			says(t, a.Findings, c.says)
		}
	}
}

// What hung once is no fault any more when a later negotiation got through.
func TestLaterSuccess(t *testing.T) {
	hung := initRequest
	hung.spi = 5
	p := play(sentAgain(step{0, branch, hung, false}, 4, 4)...)
	for _, s := range negotiated() {
		s.at = s.at.Add(60e9)
		p = append(p, s)
	}
	again := initRequest
	again.spi = 7
	p = append(p, play(sentAgain(step{100, branch, again, false}, 4, 4)...)...)
	p.until(140)
	a := p.analysis(t, "x")
	if len(a.Negotiations) != 3 {
		t.Fatalf("%d negotiations", len(a.Negotiations))
	}
	want := []string{"packet_too_big 192.0.2.2 198.51.100.2", "negotiation_stuck 192.0.2.2 198.51.100.2", "NEGOTIATION_STUCK 192.0.2.2 198.51.100.2"}
	if diff := cmp.Diff(want, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestESPOneWay(t *testing.T) {
	for name, c := range map[string]struct {
		there, back int
		every       float64
		want        []string
	}{
		"no reverse path": {20, 0, 1, []string{"ESP_ONE_WAY 192.0.2.2 198.51.100.2"}},
		"too few":         {9, 0, 2, []string{}},
		"too short":       {50, 0, 0.01, []string{}},
		"both ways":       {20, 1, 1, []string{"esp_one_way 192.0.2.2 198.51.100.2"}},
		"a late reply":    {20, 20, 1, []string{}},
	} {
		var p trace
		for i := range c.there {
			p.add(float64(i)*c.every, datagram(branch, hq, uint16(i), 60, ip.ProtocolESP, esp(1, uint32(i), 100)))
			if i < c.back {
				p.add(float64(i)*c.every, datagram(hq, branch, uint16(i), 60, ip.ProtocolUDP, udp(hq, branch, 4500, esp(2, uint32(i), 100))))
			}
		}
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if s := a.Pairs[0].Forward.SPIs; len(s) != 1 || s[0].Packets != c.there || s[0].SPI != "0x00000001" || s[0].LastSeq != uint32(c.there-1) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestICMPErrors(t *testing.T) {
	large := func(n, size int) (all [][]byte) {
		for i := range n {
			all = append(all, datagram(branch, hq, uint16(i), 64, ip.ProtocolESP, esp(1, uint32(i), size-20)))
		}
		return all
	}
	request := datagram(branch, hq, 1, 64, ip.ProtocolUDP, initRequest.on500(branch, hq))
	reply := datagram(hq, branch, 1, 64, ip.ProtocolUDP, initResponse.on500(hq, branch))
	request6 := datagram(branch6, hq6, 1, 64, ip.ProtocolUDP, initRequest.on500(branch6, hq6))
	tooBig := icmpError(router, branch, icmp.V4DestinationUnreachable, icmp.V4FragmentationNeeded, 1400, large(1, 1500)[0])
	port := icmpError(hq, branch, icmp.V4DestinationUnreachable, icmp.V4PortUnreachable, 0, request)
	for name, c := range map[string]struct {
		build func(*trace)
		want  []string
		says  string
	}{
		"obeyed": {
			func(p *trace) { p.add(0, large(1, 1500)...); p.add(0.1, tooBig); p.add(3, large(5, 1400)...) },
			[]string{"packet_too_big 192.0.2.2 198.51.100.2"},
			"a router named 1400 bytes",
		},
		"not obeyed": {
			func(p *trace) { p.add(0, large(1, 1500)...); p.add(0.1, tooBig); p.add(3, large(5, 1401)...) },
			[]string{"TUNNEL_OVERSIZED 192.0.2.2 198.51.100.2"},
			"a router named 1400 bytes, and 5 packets above that, with DF, followed",
		},
		"nobody listens": {
			func(p *trace) { p.add(0, request); p.add(0.1, port) },
			[]string{"ICMP_PORT_UNREACHABLE 192.0.2.2 198.51.100.2"},
			"198.51.100.2 answers IKE on UDP 500 from 192.0.2.2 to 198.51.100.2 with ICMP port unreachable",
		},
		"somebody listens later": {
			func(p *trace) { p.add(0, request); p.add(0.1, port); p.add(4, request); p.add(4.1, reply) }, []string{"icmp_port_unreachable 192.0.2.2 198.51.100.2"}, "",
		},
		"prohibited, IPv6": {
			func(p *trace) {
				p.add(0, request6)
				p.add(0.1, icmpError(hq6, branch6, icmp.V6DestinationUnreachable, icmp.V6AdministrativelyProhibited, 0, request6))
			},
			[]string{"ICMP_ADMIN_PROHIBITED 2001:db8::2 2001:db8:1::2"},
			"",
		},
		"a loop": {
			func(p *trace) {
				p.add(0, request)
				p.add(0.1, icmpError(router, branch, icmp.V4TimeExceeded, 0, 0, request))
			},
			[]string{"ICMP_TTL_EXCEEDED 192.0.2.2 198.51.100.2"},
			"",
		},
		"a trace of the path": {
			func(p *trace) {
				traced := datagram(branch, hq, 1, 3, ip.ProtocolUDP, initRequest.on500(branch, hq))
				p.add(0, traced)
				p.add(0.1, icmpError(router, branch, icmp.V4TimeExceeded, 0, 0, traced))
			},
			[]string{"icmp_ttl_exceeded 192.0.2.2 198.51.100.2"},
			"sent with a TTL this small on purpose",
		},
		"about somebody else": {
			func(p *trace) {
				p.add(0, icmpError(router, branch, icmp.V4DestinationUnreachable, icmp.V4PortUnreachable, 0, datagram(branch, hq, 1, 64, ip.ProtocolTCP, make([]byte, 20))))
			},
			[]string{},
			"",
		},
	} {
		var p trace
		c.build(&p)
		p.until(5)
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if c.says != "" {
			says(t, a.Findings, c.says)
		}
	}
}

// A flood of addresses and negotiations does not fill the memory, and the report says
// that not all were kept.
func TestManyPeers(t *testing.T) {
	var p trace
	for i := range 5000 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		p.add(float64(i)/1000, datagram(from, hq, 1, 60, ip.ProtocolUDP, initRequest.on500(from, hq)))
	}
	a := p.analysis(t, "x")
	if len(a.Pairs) != 4096 || len(a.Negotiations) != 4096 || fmt.Sprint(a.Forgotten) != "map[pairs:904]" {
		t.Errorf("%d pairs, %d negotiations, %v", len(a.Pairs), len(a.Negotiations), a.Forgotten)
	}
}
