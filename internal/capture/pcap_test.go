package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/wire/ip"
)

// records calls f with each record header of a pcap file.
func records(b []byte, f func(header []byte)) {
	for at := 24; at < len(b); {
		length := int(binary.LittleEndian.Uint32(b[at+8:]))
		f(b[at : at+16])
		at += 16 + length
	}
}

// Old and modified versions of pcap hold the same.
func TestOldPcap(t *testing.T) {
	packets := negotiated()
	pcap := packets.file(t, ethernet(), 96)
	want := analyze(t, "x", pcap)
	records(pcap, func(h []byte) { binary.LittleEndian.PutUint32(h[12:], 2000) }) // so that both lengths differ
	version := func(minor uint16, swap bool) []byte {
		b := bytes.Clone(pcap)
		binary.LittleEndian.PutUint16(b[6:], minor)
		records(b, func(h []byte) {
			if swap {
				captured := [4]byte(h[8:])
				defer copy(h[12:], captured[:])
				defer copy(h[8:], h[12:])
			}
		})
		return b
	}
	modified := bytes.Clone(pcap[:24])
	binary.LittleEndian.PutUint32(modified, 0xa1b2cd34)
	for rest := pcap[24:]; len(rest) > 0; {
		n := 16 + int(binary.LittleEndian.Uint32(rest[8:]))
		modified = append(append(append(modified, rest[:16]...), make([]byte, 8)...), rest[16:n]...)
		rest = rest[n:]
	}
	nanos := bytes.Clone(pcap)
	binary.LittleEndian.PutUint32(nanos, 0xa1b23c4d)
	records(nanos, func(h []byte) { binary.LittleEndian.PutUint32(h[4:], 1000*binary.LittleEndian.Uint32(h[4:])) })
	for name, file := range map[string][]byte{
		"2.1": version(1, true), "2.2": version(2, true), "2.3": version(3, false), "2.3 swapped": version(3, true),
		"modified": modified, "nanoseconds": nanos,
	} {
		got := analyze(t, "x", file)
		if diff := cmp.Diff(want, got, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	other := bytes.Clone(pcap)
	binary.LittleEndian.PutUint16(other[4:], 3)
	if _, err := capture.Analyze("x", bytes.NewReader(other)); err == nil || err.Error() != "x: neither pcap nor pcapng: pcap of version 3" {
		t.Errorf("%v", err)
	}
}

// ng is a pcapng file with one interface per link; each packet comes on all of them, so much later.
func (t trace) ng(l link, later uint64, links ...layers.LinkType) []byte {
	block := func(typ uint32, body []byte) []byte {
		body = append(body, make([]byte, -len(body)&3)...)
		b := binary.LittleEndian.AppendUint32(nil, typ)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(12+len(body))), body...)
		return binary.LittleEndian.AppendUint32(b, uint32(12+len(body)))
	}
	out := block(0x0a0d0d0a, []byte{0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	for _, typ := range links {
		out = append(out, block(1, []byte{byte(typ), byte(typ >> 8), 0, 0, 0, 0, 0, 0})...)
	}
	for _, p := range t {
		frame := l.wrap(p.packet)
		micros := uint64(p.at.UnixMicro()) + later
		for id := range links {
			body := make([]byte, 0, 20+len(frame))
			for _, field := range []uint32{uint32(id), uint32(micros >> 32), uint32(micros), uint32(len(frame)), uint32(len(frame))} {
				body = binary.LittleEndian.AppendUint32(body, field)
			}
			out = append(out, block(6, append(body, frame...))...)
		}
	}
	return out
}

// Times that JSON cannot express are moved, and the report says so.
func TestImpossibleTime(t *testing.T) {
	a := analyze(t, "x", negotiated().ng(ethernet(), 1<<64-1<<52, layers.LinkTypeEthernet))
	var out bytes.Buffer
	if err := capture.NewReport(a).WriteJSON(&out); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v", err)
	}
	says(t, a.Findings, "15 frames of 15 with a time beyond the year 9999")
	if span := a.Last.Sub(a.First).Seconds(); span != 7 || a.Last.Year() > 9999 {
		t.Errorf("%v to %v", a.First, a.Last)
	}
}

// No list of a report is null.
func TestJSONLists(t *testing.T) {
	p := negotiated()
	whole, none := p.analysis(t, "a"), trace{}.analysis(t, "b")
	later := trace{{at(9999), p[0].packet}}
	for name, r := range map[string]*capture.Report{
		"empty": capture.NewReport(none), "one": capture.NewReport(whole), "two": capture.NewReport(whole, p[:5].analysis(t, "c")),
		"two empty": capture.NewReport(none, none), "apart": capture.NewReport(whole, later.analysis(t, "d")),
	} {
		var b strings.Builder
		if err := r.WriteJSON(&b); err != nil || strings.Contains(b.String(), ": null") {
			t.Errorf("%s: %v\n%s", name, err, b.String())
		}
	}
}

// Frames of interfaces that cannot be read are counted by the name of their link, in any order.
func TestMixedLinks(t *testing.T) {
	for name, links := range map[string][]layers.LinkType{
		"unsupported later": {layers.LinkTypeEthernet, layers.LinkTypeIEEE80211Radio},
		"unsupported first": {layers.LinkTypeIEEE80211Radio, layers.LinkTypeEthernet},
	} {
		a := analyze(t, "x", negotiated().ng(ethernet(), 0, links...))
		if a.Frames != 30 || a.Related != 15 || a.NotIP != 0 || !cmp.Equal(a.Unread, map[string]int{"WLAN with radio header (link type 127)": 15}) {
			t.Errorf("%s: %+v", name, a)
		}
		says(t, a.Findings, "15 frames of 30 cannot be read: WLAN with radio header (link type 127)")
	}
}

// Copies of frames count once, and the report says so.
func TestDoubledFrames(t *testing.T) {
	p := negotiated()
	var doubled trace
	for _, s := range p {
		routed := bytes.Clone(s.packet) // mirrored on both sides of a router
		h, _, err := ip.ParseIPv4(routed)
		if err != nil {
			t.Fatal(err)
		}
		h.TTL--
		copy(routed, h.Append(nil))
		doubled = append(doubled, s, stamped{s.at.Add(5000), routed})
	}
	want, got := p.analysis(t, "x"), doubled.analysis(t, "x")
	if diff := cmp.Diff(want.Pairs, got.Pairs, exported); diff != "" || got.Doubled != 15 || want.Doubled != 0 {
		t.Errorf("%d copies: %s", got.Doubled, diff)
	}
	says(t, got.Findings, "15 frames of 30 are copies of another frame")
}
