package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// The two ends of every trace, and a router between them.
var (
	branch, hq   = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.2")
	branch6, hq6 = netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:1::2")
	router       = netip.MustParseAddr("203.0.113.1")
)

// start is when every trace begins.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// A stamped packet is an IP packet and when it was captured.
type stamped struct {
	at     time.Time
	packet []byte
}

// A trace is packets in order.
type trace []stamped

func (t *trace) add(seconds float64, packets ...[]byte) {
	for _, p := range packets {
		*t = append(*t, stamped{at(seconds), p})
	}
}

// until lets the capture end this late, by a packet of no interest.
func (t *trace) until(seconds float64) {
	t.add(seconds, datagram(branch, hq, 1, 64, ip.ProtocolGRE, make([]byte, 8)))
}

// datagram is an IP packet of either family. Only IPv4 has room for the identification.
func datagram(src, dst netip.Addr, id uint16, ttl, protocol uint8, payload []byte) []byte {
	if src.Is6() {
		h := ip.IPv6{PayloadLength: len(payload), HopLimit: ttl, NextHeader: protocol, Src: src, Dst: dst}
		return append(h.Append(nil), payload...)
	}
	h := ip.IPv4{TotalLength: 20 + len(payload), ID: id, DontFragment: true, TTL: ttl, Protocol: protocol, Src: src, Dst: dst}
	return append(h.Append(nil), payload...)
}

// pieces cuts a payload into fragments of at most size bytes.
func pieces(src, dst netip.Addr, id uint16, ttl, protocol uint8, payload []byte, size int) [][]byte {
	var out [][]byte
	size -= size % 8
	for offset := 0; offset < len(payload); offset += size {
		part := payload[offset:min(offset+size, len(payload))]
		more := offset+size < len(payload)
		if src.Is6() {
			h := ip.IPv6{
				PayloadLength: 8 + len(part), HopLimit: ttl, Protocol: protocol, Fragment: true, MoreFragments: more,
				FragmentOffset: offset, FragmentID: uint32(id), Src: src, Dst: dst,
			}
			out = append(out, append(h.Append(nil), part...))
			continue
		}
		h := ip.IPv4{
			TotalLength: 20 + len(part), ID: id, TTL: ttl, Protocol: protocol, MoreFragments: more, FragmentOffset: offset, Src: src, Dst: dst,
		}
		out = append(out, append(h.Append(nil), part...))
	}
	return out
}

// udp is a UDP datagram without its IP header. On UDP 4500 the payload needs its marker.
func udp(src, dst netip.Addr, port uint16, payload []byte) []byte {
	return ip.AppendUDP(nil, netip.AddrPortFrom(src, port), netip.AddrPortFrom(dst, port), payload)
}

// An ikeMessage is a message with unreadable payloads.
type ikeMessage struct {
	spi, exchange, flags, next uint8
	reply                      bool // the responder's SPI is there
	id                         uint32
	size                       int
	fill                       uint8
}

func (m ikeMessage) bytes() []byte {
	h := ike.Header{
		InitiatorSPI: [8]byte{1, 2, 3, 4, 5, 6, 7, m.spi}, Major: 2, Exchange: m.exchange, Flags: m.flags, MessageID: m.id, Length: uint32(m.size),
		NextPayload: m.next,
	}
	if m.exchange < ike.ExchangeIKESAInit {
		h.Major = 1
	}
	if m.next == 0 {
		h.NextPayload = ike.PayloadEncrypted
	}
	if m.reply {
		h.ResponderSPI = [8]byte{9, 9, 9, 9, 9, 9, 9, m.spi}
	}
	return append(h.Append(nil), bytes.Repeat([]byte{m.fill}, m.size-ike.HeaderLength)...)
}

// on500 and on4500 are the message as UDP datagrams.
func (m ikeMessage) on500(src, dst netip.Addr) []byte { return udp(src, dst, 500, m.bytes()) }

func (m ikeMessage) on4500(src, dst netip.Addr) []byte {
	return udp(src, dst, 4500, append(make([]byte, ipsec.MarkerLength), m.bytes()...))
}

// Messages of an IKEv2 negotiation.
var (
	initRequest  = ikeMessage{exchange: ike.ExchangeIKESAInit, flags: ike.FlagInitiator, size: 400, fill: 1}
	initResponse = ikeMessage{exchange: ike.ExchangeIKESAInit, flags: ike.FlagResponse, reply: true, size: 420, fill: 2}
	authRequest  = ikeMessage{exchange: ike.ExchangeIKEAuth, flags: ike.FlagInitiator, reply: true, id: 1, size: 2272, fill: 3}
	authResponse = ikeMessage{exchange: ike.ExchangeIKEAuth, flags: ike.FlagResponse, reply: true, id: 1, size: 300, fill: 4}
)

func esp(spi, seq uint32, size int) []byte {
	return append(ipsec.ESP{SPI: spi, Seq: seq}.Append(nil), make([]byte, size-ipsec.HeaderLengthESP)...)
}

// icmpError is an ICMP error about a packet, of which it quotes as much as Linux does.
func icmpError(src, dst netip.Addr, typ, code uint8, field uint32, about []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, field)
	m = append(m, about[:min(len(about), 548)]...)
	protocol, sum := uint8(ip.ProtocolICMP), ip.Checksum(m)
	if src.Is6() {
		protocol, sum = ip.ProtocolICMPv6, ip.PseudoChecksum(src, dst, ip.ProtocolICMPv6, m)
	}
	binary.BigEndian.PutUint16(m[2:], sum)
	return datagram(src, dst, 77, 63, protocol, m)
}

// A link wraps IP packets for one kind of link.
type link struct {
	typ  layers.LinkType
	wrap func([]byte) []byte
}

func etherType(packet []byte) []byte {
	if packet[0]>>4 == 6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

func ethernet(tags ...byte) link {
	return link{layers.LinkTypeEthernet, func(p []byte) []byte {
		frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, tags...)
		frame = append(append(frame, etherType(p)...), p...)
		return append(frame, make([]byte, max(60-len(frame), 0))...) // short frames are padded
	}}
}

// file is a capture of whole packets; snaplen 0 cuts nothing.
func (t trace) file(tb testing.TB, l link, snaplen int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, l.typ); err != nil {
		tb.Fatal(err)
	}
	for _, p := range t {
		frame := l.wrap(p.packet)
		ci := gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(frame), Length: len(frame)}
		if snaplen > 0 {
			ci.CaptureLength = min(len(frame), snaplen)
		}
		if err := w.WritePacket(ci, frame[:ci.CaptureLength]); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// pcapng is the same in the other format.
func (t trace) pcapng(tb testing.TB, l link) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, l.typ)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range t {
		frame := l.wrap(p.packet)
		ci := gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(ci, frame); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func zip(tb testing.TB, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func analyze(tb testing.TB, name string, file []byte) *capture.Analysis {
	tb.Helper()
	a, err := capture.Analyze(name, bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	hold(tb, capture.NewReport(a))
	return a
}

// analysis is that of an ordinary capture.
func (t trace) analysis(tb testing.TB, name string) *capture.Analysis {
	tb.Helper()
	return analyze(tb, name, t.file(tb, ethernet(), 0))
}

// verdicts are the conclusions in short, faults in upper case.
func verdicts(findings []capture.Finding) []string {
	out := []string{}
	for _, f := range findings {
		name := f.Name
		if f.Fault {
			name = strings.ToUpper(name)
		}
		if f.Src.IsValid() {
			name += fmt.Sprintf(" %s %s", f.Src, f.Dst)
		}
		out = append(out, name)
	}
	return out
}

// says checks that one of the conclusions says this.
func says(t *testing.T, findings []capture.Finding, want string) {
	t.Helper()
	for _, f := range findings {
		if strings.Contains(f.Summary, want) {
			return
		}
	}
	t.Errorf("nothing says %q in:\n%+v", want, findings)
}

// negotiated is a whole IKEv2 negotiation with an IKE_AUTH that needs fragments, and traffic after
// it.
func negotiated() (t trace) {
	t.add(0, datagram(branch, hq, 100, 64, ip.ProtocolUDP, initRequest.on500(branch, hq)))
	t.add(0.01, datagram(hq, branch, 200, 60, ip.ProtocolUDP, initResponse.on500(hq, branch)))
	t.add(0.02, pieces(branch, hq, 101, 64, ip.ProtocolUDP, authRequest.on4500(branch, hq), 1480)...)
	t.add(0.03, datagram(hq, branch, 201, 60, ip.ProtocolUDP, authResponse.on4500(hq, branch)))
	for i := range uint32(3) {
		t.add(1+float64(i), datagram(branch, hq, 110+uint16(i), 64, ip.ProtocolESP, esp(0xaaaa, i+1, 120)))
		t.add(1.1+float64(i), datagram(hq, branch, 210+uint16(i), 60, ip.ProtocolESP, esp(0xbbbb, i+1, 120)))
	}
	t.add(5, datagram(branch, hq, 120, 64, ip.ProtocolUDP, udp(branch, hq, 4500, []byte{0xff})))
	t.add(6, datagram(branch, hq, 121, 64, ip.ProtocolUDP, udp(branch, hq, 4500, esp(0xcccc, 1, 100))))
	t.add(6.1, datagram(hq, branch, 221, 60, ip.ProtocolAH, (&ipsec.AH{NextHeader: ip.ProtocolESP, SPI: 7, Seq: 1, ICV: make([]byte, 12)}).Append(nil)))
	t.add(7, icmpError(router, branch, icmp.V4DestinationUnreachable, icmp.V4FragmentationNeeded, 1400, t[5].packet))
	return t
}
