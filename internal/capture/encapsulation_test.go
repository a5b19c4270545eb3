package capture_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// tunnel puts each packet behind a header in a packet between two routers.
func tunnel(protocol uint8, header ...byte) link {
	return link{layers.LinkTypeRaw, func(p []byte) []byte {
		return datagram(router, hq, 9, 64, protocol, append(bytes.Clone(header), p...))
	}}
}

// overUDP puts each packet behind a header in UDP between two routers.
func overUDP(port uint16, header func(p []byte) []byte) link {
	return link{layers.LinkTypeRaw, func(p []byte) []byte {
		u := binary.BigEndian.AppendUint16([]byte{0xc0, 1}, port)
		body := append(header(p), p...)
		u = append(binary.BigEndian.AppendUint16(u, uint16(8+len(body))), 0, 0)
		return datagram(router, hq, 9, 64, ip.ProtocolUDP, append(u, body...))
	}}
}

func always(b ...byte) func([]byte) []byte { return func([]byte) []byte { return bytes.Clone(b) } }

// Tunnels and tags around the packets change nothing in the report.
func TestEncapsulations(t *testing.T) {
	packets := negotiated()
	want := packets.analysis(t, "x")
	mac := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}
	for name, l := range map[string]link{
		"GRE":                   tunnel(ip.ProtocolGRE, 0, 0, 8, 0),
		"GRE, key and sequence": tunnel(ip.ProtocolGRE, 0x30, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 2),
		"GRE, checksum":         tunnel(ip.ProtocolGRE, 0x80, 0, 8, 0, 0, 0, 0, 0),
		"GRE, Ethernet":         tunnel(ip.ProtocolGRE, append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 1, 0}, mac...)...),
		"GRE, PPP":              tunnel(ip.ProtocolGRE, 0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21),
		"GRE, MPLS":             tunnel(ip.ProtocolGRE, 0, 0, 0x88, 0x47, 0, 1, 1, 64),
		"ERSPAN":                tunnel(ip.ProtocolGRE, append([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0}, mac...)...),
		"ERSPAN of the first":   tunnel(ip.ProtocolGRE, append([]byte{0, 0, 0x88, 0xbe}, mac...)...),
		"ERSPAN of the third":   tunnel(ip.ProtocolGRE, append([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, mac...)...),
		"IP in IP":              tunnel(ip.ProtocolIPv4),
		"twice":                 {layers.LinkTypeRaw, func(p []byte) []byte { return tunnel(ip.ProtocolIPv4).wrap(tunnel(ip.ProtocolGRE, 0, 0, 8, 0).wrap(p)) }},
		"MPLS in IP":            tunnel(137, 0, 1, 1, 64),
		"VXLAN":                 overUDP(4789, always(append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, mac...)...)),
		"VXLAN with VLAN":       overUDP(8472, always(append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, append(bytes.Clone(mac[:12]), 0x81, 0, 0, 7, 8, 0)...)...)),
		"Geneve":                overUDP(6081, always(append([]byte{1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4}, mac...)...)),
		"GTP-U":                 overUDP(2152, always(0x30, 0xff, 0, 1, 0, 0, 0, 7)),
		"GTP-U, sequence":       overUDP(2152, always(0x32, 0xff, 0, 1, 0, 0, 0, 7, 0, 1, 0, 0)),
		"GTP-U of 5G":           overUDP(2152, always(0x34, 0xff, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 9, 0)),
		"MPLS": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(bytes.Clone(mac[:12]), 0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64), p...)
		}},
		"MPLS, pseudowire": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(append(bytes.Clone(mac[:12]), 0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 0), mac...), p...)
		}},
		"SNAP": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(bytes.Clone(mac[:12]), 1, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0), p...)
		}},
		"VLAN, SNAP": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(bytes.Clone(mac[:12]), 0x81, 0, 0, 7, 1, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0), p...)
		}},
		"Cisco's security tag": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(bytes.Clone(mac[:12]), 0x89, 0x09, 1, 1, 0, 1, 0, 9, 8, 0), p...)
		}},
		"VLAN, then a security tag": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(bytes.Clone(mac[:12]), 0x81, 0, 0, 7, 0x89, 0x09, 1, 1, 0, 1, 0, 9, 8, 0), p...)
		}},
		"provider bridge": {layers.LinkTypeEthernet, func(p []byte) []byte {
			return append(append(append(bytes.Clone(mac[:12]), 0x88, 0xe7, 0, 0, 0, 7), mac...), p...)
		}},
	} {
		got := analyze(t, "x", packets.file(t, l, 0))
		if diff := cmp.Diff(want.Pairs, got.Pairs, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(want.Findings, got.Findings, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// IPv6 in a tunnel over IPv4, and the tunnels in the report.
func TestTunnelNames(t *testing.T) {
	var p trace
	p.add(0, datagram(branch6, hq6, 0, 64, ip.ProtocolUDP, initRequest.on500(branch6, hq6)))
	a := analyze(t, "x", p.file(t, tunnel(ip.ProtocolIPv6), 0))
	if len(a.Pairs) != 1 || a.Pairs[0].A != branch6 || !cmp.Equal(a.Tunnels, []string{"6in4"}) {
		t.Errorf("%+v", a)
	}
}

// Headers that end early, or lead nowhere, are no packets of a VPN.
func TestBrokenEncapsulations(t *testing.T) {
	inner := datagram(branch, hq, 1, 64, ip.ProtocolESP, esp(1, 1, 100))
	for name, header := range map[string][]byte{
		"GRE":         datagram(router, hq, 9, 64, ip.ProtocolGRE, []byte{0xb0, 0, 8, 0, 0}),
		"GTP-U":       overUDP(2152, always(0x34, 0xff, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0x85, 0)).wrap(inner),
		"VXLAN":       overUDP(4789, always(0, 0, 0, 0)).wrap(inner),
		"MPLS":        datagram(router, hq, 9, 64, 137, bytes.Repeat([]byte{0, 1, 0, 64}, 20)),
		"later piece": pieces(router, hq, 9, 64, ip.ProtocolGRE, append([]byte{0, 0, 8, 0}, make([]byte, 2000)...), 1000)[1],
	} {
		p := trace{{at(0), header}}
		a := analyze(t, "x", p.file(t, link{layers.LinkTypeRaw, func(b []byte) []byte { return b }}, 0))
		if a.Related != 0 || a.Frames != 1 {
			t.Errorf("%s: %d of %d frames", name, a.Related, a.Frames)
		}
	}
}

// The last destination of a routing header counts, and mobility headers are no upper layer.
func TestIPv6Headers(t *testing.T) {
	request := initRequest.on500(branch6, hq6)
	to := hq6.As16()
	route := func(typ byte, addresses ...byte) []byte {
		h := append([]byte{ip.ProtocolUDP, uint8(len(addresses) / 8), typ, 1, 0, 0, 0, 0}, addresses...)
		return datagram(branch6, branch6, 0, 64, ip.ProtocolRouting, append(h, request...))
	}
	for name, packet := range map[string][]byte{
		"mobile":   route(2, to[:]...),
		"segments": route(4, append(to[:], make([]byte, 16)...)...),
		"HIP":      datagram(branch6, hq6, 0, 64, 139, append([]byte{ip.ProtocolUDP, 0, 0, 0, 0, 0, 0, 0}, request...)),
		"both":     datagram(branch6, hq6, 0, 64, ip.ProtocolDestinationOptions, append([]byte{135, 0, 1, 4, 0, 0, 0, 0, ip.ProtocolUDP, 0, 0, 0, 0, 0, 0, 0}, request...)),
	} {
		p := trace{{at(0), packet}}
		a := p.analysis(t, "x")
		if len(a.Pairs) != 1 || a.Pairs[0].B != hq6 || a.Pairs[0].Forward.IKE != 1 {
			t.Errorf("%s: %+v", name, a.Pairs)
		}
	}
}

func ah(spi, seq uint32, next uint8, payload []byte) []byte {
	return append((&ipsec.AH{NextHeader: next, SPI: spi, Seq: seq, ICV: make([]byte, 12)}).Append(nil), payload...)
}

// AH and WESP are judged like ESP, and ESP inside AH has its SPI.
func TestOtherProtocols(t *testing.T) {
	wrapped := func(seq uint32) []byte { return append([]byte{0, 12, 0, 0}, esp(5, seq, 100)...) }
	for name, c := range map[string]struct {
		protocol uint8
		payload  func(seq uint32) []byte
		want     []string
		spis     []string
	}{
		"AH":            {ip.ProtocolAH, func(seq uint32) []byte { return ah(7, seq, ip.ProtocolTCP, make([]byte, 40)) }, []string{"AH_ONE_WAY 192.0.2.2 198.51.100.2"}, []string{"AH 0x00000007"}},
		"ESP inside AH": {ip.ProtocolAH, func(seq uint32) []byte { return ah(7, seq, ip.ProtocolESP, esp(5, seq, 100)) }, []string{"AH_ONE_WAY 192.0.2.2 198.51.100.2"}, []string{"AH 0x00000007", "ESP 0x00000005"}},
		"WESP":          {141, wrapped, []string{"ESP_ONE_WAY 192.0.2.2 198.51.100.2"}, []string{"WESP 0x00000005"}},
		"WESP, padded":  {141, func(seq uint32) []byte { return append([]byte{0, 16, 0, 0x10, 0, 0, 0, 0}, esp(5, seq, 100)...) }, []string{"ESP_ONE_WAY 192.0.2.2 198.51.100.2"}, []string{"WESP 0x00000005"}},
		"WESP in UDP": {
			ip.ProtocolUDP, func(seq uint32) []byte { return udp(branch, hq, 4500, append([]byte{0, 0, 0, 2}, wrapped(seq)...)) },
			[]string{"ESP_ONE_WAY 192.0.2.2 198.51.100.2"},
			[]string{"WESP 0x00000005"},
		},
	} {
		var p trace
		for i := range uint32(20) {
			p.add(float64(i), datagram(branch, hq, uint16(i), 60, c.protocol, c.payload(i)))
		}
		a := p.analysis(t, "x")
		if diff := cmp.Diff(c.want, verdicts(a.Findings)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var spis []string
		for _, s := range a.Pairs[0].Forward.SPIs {
			spis = append(spis, s.Protocol+" "+s.SPI)
			if s.Packets != 20 || s.LastSeq != 19 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if diff := cmp.Diff(c.spis, spis); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// stream is a TCP segment of an IKE connection.
func stream(src, dst uint16, prefix string, message []byte) []byte {
	h := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	h = append(h, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0)
	h = append(h, prefix...)
	return append(binary.BigEndian.AppendUint16(h, uint16(2+len(message))), message...)
}

func TestOverTCP(t *testing.T) {
	marked := func(m ikeMessage) []byte { return append(make([]byte, 4), m.bytes()...) }
	var p trace
	p.add(0, datagram(branch, hq, 1, 64, ip.ProtocolTCP, stream(40000, 443, "IKETCP", marked(initRequest))))
	p.add(0.1, datagram(hq, branch, 1, 64, ip.ProtocolTCP, stream(443, 40000, "", marked(initResponse))))
	p.add(0.2, datagram(branch, hq, 2, 64, ip.ProtocolTCP, stream(40000, 4500, "", esp(1, 1, 90))))
	p.add(0.3, datagram(branch, hq, 3, 64, ip.ProtocolTCP, stream(40000, 443, "", []byte("GET / HTTP/1.1 and some more bytes than a header"))))
	a := p.analysis(t, "x")
	if diff := cmp.Diff([]string{"ike_over_tcp 192.0.2.2 198.51.100.2"}, verdicts(a.Findings)); diff != "" {
		t.Error(diff)
	}
	says(t, a.Findings, "use TCP (RFC 9329): 2 packets there, 1 back")
	if a.Related != 3 || len(a.Negotiations) != 1 || a.Negotiations[0].Exchanges[0].FromResponder != 1 {
		t.Errorf("%d of a VPN, %+v", a.Related, a.Negotiations)
	}
}

// A capture without any packet of a VPN is a problem, with the reason.
func TestNoVPN(t *testing.T) {
	web := trace{{at(0), datagram(branch, hq, 1, 64, ip.ProtocolTCP, make([]byte, 20))}, {at(1), datagram(branch, hq, 2, 64, 89, make([]byte, 20))}}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"other protocols": {web.file(t, ethernet(), 0), "x: no VPN packet found: 2 frames with IP packets of other protocols (TCP: 1, protocol 89: 1)"},
		"with copies":     {append(slices.Clone(web), web...).file(t, ethernet(), 0), "x: no VPN packet found: 2 frames with IP packets of other protocols (TCP: 1, protocol 89: 1)"},
		"no frame":        {trace{}.file(t, ethernet(), 0), "x: no VPN packet found: it has no frame"},
		"not IP":          {web.file(t, ethernet(0x08, 0x06), 0), "x: no VPN packet found: 2 frames without an IP packet"},
	} {
		r := capture.NewReport(analyze(t, "x", c.file))
		if diff := cmp.Diff([]string{c.want}, r.Problems()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var b strings.Builder
		if err := r.WriteText(&b); err != nil || !strings.HasPrefix(b.String(), "no VPN packet found\n") {
			t.Errorf("%s: %v, %s", name, err, b.String())
		}
	}
}
