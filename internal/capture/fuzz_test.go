package capture_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

// exported compares what is printed.
var exported = cmp.Options{
	cmpopts.IgnoreUnexported(capture.Analysis{}, capture.Direction{}, capture.ICMPError{}, capture.Negotiation{}, capture.Exchange{}, capture.Crossing{}, capture.SPI{}),
	cmpopts.IgnoreFields(capture.Analysis{}, "Links"),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// report draws all conclusions of two captures and prints them.
func report(t *testing.T, a, b *capture.Analysis) {
	t.Helper()
	r := capture.NewReport(a, b)
	if err := r.WriteText(io.Discard); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil || !json.Valid(out.Bytes()) || bytes.Contains(out.Bytes(), []byte(": null")) {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	for _, x := range []*capture.Analysis{a, b} {
		for _, p := range x.Pairs {
			f := p.Forward
			if n := f.Whole + f.Incomplete + f.Headless + f.Undecided; n > f.FirstFragments+f.LaterFragments {
				t.Fatalf("%d fragmented datagrams of %d fragments", n, f.FirstFragments+f.LaterFragments)
			}
		}
	}
}

// FuzzAnalyze: any file, from its first byte to the conclusions, alone and compared with a good
// one.
func FuzzAnalyze(f *testing.F) {
	packets := negotiated()
	packets.lost(2, firstOnly)
	packets.add(35, reassemblyError(0))
	good := packets.file(f, ethernet(), 0)
	f.Add(good)
	f.Add(packets.pcapng(f, ethernet(0x81, 0, 0, 7)))
	f.Add(packets[:4].file(f, ethernet(), 96))
	f.Add(zip(f, good))
	f.Add(packets.ng(ethernet(), 1<<62, layers.LinkTypeIEEE80211Radio, layers.LinkTypeEthernet))
	fragments := inTurn(0, initRequest, initResponse)
	fragments.add(0.1, cut(branch, hq, request(1, 0, 0), ike.PayloadIDi, 300, 300)...)
	fragments.add(0.2, cut(hq, branch, answer(1, 0, 0), ike.PayloadIDr, 300, 300)...)
	f.Add(fragments.file(f, tunnel(ip.ProtocolGRE, 0, 0, 8, 0), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := capture.Analyze("fuzzed", bytes.NewReader(b))
		if err != nil {
			return
		}
		if a.Related > a.Frames+a.LaterFragments {
			t.Fatalf("%d of %d frames", a.Related, a.Frames)
		}
		report(t, a, analyze(t, "good", good))
	})
}

// FuzzFrame: any frame of any kind of link, among good packets.
func FuzzFrame(f *testing.F) {
	inner := datagram(branch, hq, 1, 64, ip.ProtocolUDP, initRequest.on500(branch, hq))
	for _, l := range []link{
		ethernet(0x88, 0x47, 0, 1, 1, 64), tunnel(ip.ProtocolGRE, 0xb0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), tunnel(ip.ProtocolIPv6),
		overUDP(2152, always(0x34, 0xff, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 9, 0)),
	} {
		f.Add(uint16(l.typ), l.wrap(inner))
	}
	for _, typ := range []uint16{50, 51, 104, 109, 117, 166, 178, 204, 239, 258, 284} {
		f.Add(typ, append([]byte{0x4d, 0x47, 0x43, 0, 12, 0, 9, 0, 1, 0, 0, 0}, inner...))
	}
	f.Fuzz(func(t *testing.T, typ uint16, frame []byte) {
		if len(frame) > 4000 {
			return
		}
		p := trace{{at(0), frame}, {at(40), frame}, {at(41), frame[:len(frame)/2]}}
		file := p.file(t, link{layers.LinkType(typ), func(b []byte) []byte { return b }}, 0)
		a, err := capture.Analyze("fuzzed", bytes.NewReader(file))
		if err != nil {
			return // the link cannot be read
		}
		report(t, a, negotiated().analysis(t, "good"))
	})
}

// FuzzQuote: any ICMP message, in a capture of what it may be about.
func FuzzQuote(f *testing.F) {
	f.Add(reassemblyError(0)[20:], false)
	f.Add(icmpError(router, branch, icmp.V4DestinationUnreachable, icmp.V4FragmentationNeeded, 1400, datagram(branch, hq, 1, 64, ip.ProtocolAH, make([]byte, 24)))[20:], false)
	f.Add(icmpError(hq6, branch6, icmp.V6PacketTooBig, 0, 1280, pieces(branch6, hq6, 1, 9, ip.ProtocolUDP, authRequest.on4500(branch6, hq6), 1232)[0])[40:], true)
	f.Fuzz(func(t *testing.T, message []byte, v6 bool) {
		if len(message) > 1400 {
			return
		}
		p := negotiated()
		p.lost(2, firstOnly)
		if v6 {
			p.add(31, datagram(hq6, branch6, 1, 60, ip.ProtocolICMPv6, message))
		} else {
			p.add(31, datagram(hq, branch, 1, 60, ip.ProtocolICMP, message))
		}
		report(t, p.analysis(t, "fuzzed"), p[:5].analysis(t, "good"))
	})
}
