package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/capture"
)

// The same packets tell the same, whatever link they were captured on.
func TestLinks(t *testing.T) {
	packets := negotiated()
	want := packets.analysis(t, "x")
	if got := verdicts(want.Findings); !cmp.Equal(got, []string{"packet_too_big 192.0.2.2 198.51.100.2"}) || want.Related != 15 {
		t.Fatalf("%d packets tell %v", want.Related, got)
	}
	cooked := func(before int) func([]byte) []byte {
		return func(p []byte) []byte { return append(append(make([]byte, before), etherType(p)...), p...) }
	}
	front := func(b ...byte) func([]byte) []byte {
		return func(p []byte) []byte { return append(bytes.Clone(b), p...) }
	}
	for name, l := range map[string]link{
		"VLAN":                 ethernet(0x81, 0, 0, 7),
		"QinQ":                 ethernet(0x88, 0xa8, 0, 7, 0x81, 0, 0, 9),
		"old QinQ":             ethernet(0x91, 0, 0, 7, 0x81, 0, 0, 9),
		"PPPoE":                {layers.LinkTypeEthernet, front(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x64, 0x11, 0, 0, 1, 0, 99, 0, 0x21)},
		"PPP":                  {layers.LinkTypePPP, front(0xff, 3, 0, 0x21)},
		"raw IP":               {layers.LinkTypeRaw, front()},
		"raw IP of BSD":        {layers.LinkType(12), front()},
		"raw IPv4":             {layers.LinkTypeIPv4, front()},
		"Linux cooked":         {layers.LinkTypeLinuxSLL, cooked(14)},
		"Linux cooked v2":      {layers.LinkTypeLinuxSLL2, func(p []byte) []byte { return append(append(etherType(p), make([]byte, 18)...), p...) }},
		"loopback":             {layers.LinkTypeNull, front(2, 0, 0, 0)},
		"OpenBSD's":            {layers.LinkTypeLoop, front(0, 0, 0, 2)},
		"PPP, short protocol":  {layers.LinkTypePPP_HDLC, front(0xff, 3, 0x21)},
		"PPP, Cisco's framing": {layers.LinkTypePPP_HDLC, front(0x0f, 0, 0x08, 0)},
		"PPP with direction":   {204, front(1, 0xff, 3, 0, 0x21)},
		"PPP of pppd":          {166, front(0, 3, 0, 0x21)},
		"PPPoE without frame":  {layers.LinkTypePPPEthernet, front(0x11, 0, 0, 1, 0, 99, 0, 0x21)},
		"Cisco HDLC":           {layers.LinkTypeC_HDLC, front(0x0f, 0, 0x08, 0)},
		"ENC":                  {109, front(2, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0)},
		"PF log":               {layers.LinkTypePFLog, front(append([]byte{61}, make([]byte, 63)...)...)},
		"NFLOG": {239, func(p []byte) []byte {
			h := []byte{2, 0, 0, 7, 8, 0, 1, 0, 8, 0, 0, 0, 5, 0, 10, 0, 'x', 0, 0, 0}
			return append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(h, uint16(4+len(p))), 9), p...)
		}},
		"NFLOG of a big-endian host": {239, func(p []byte) []byte {
			h := []byte{2, 0, 0, 7, 0, 8, 0, 1, 8, 0, 0, 0, 0, 5, 0, 10, 'x', 0, 0, 0}
			return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(h, uint16(4+len(p))), 9), p...)
		}},
		"PKTAP": {258, front(append([]byte{108, 0, 0, 0, 1, 0, 0, 0, 12}, make([]byte, 99)...)...)},
		"Juniper, Ethernet": {178, func(p []byte) []byte {
			return append([]byte("MGC\x81\x00\x06\x01\x01\x08\x02\x01\x00"), ethernet().wrap(p)...)
		}},
		"Juniper without link":  {200, front('M', 'G', 'C', 0x03, 0, 0, 0, 2, 1, 2, 3)},
		"switch tag of Marvell": {284, front(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0xc0, 0, 0, 0, 8, 0)},
	} {
		got := analyze(t, "x", packets.file(t, l, 0))
		if diff := cmp.Diff(want.Pairs, got.Pairs, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(want.Findings, got.Findings, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := capture.Analyze("x", bytes.NewReader(packets.file(t, link{layers.LinkTypeIEEE802_11, front()}, 0))); err == nil ||
		err.Error() != "x: no VPN packet found: cannot read packets of WLAN (link type 105)" {
		t.Errorf("WLAN: %v", err)
	}
}

// The same packets tell the same in all formats.
func TestFormats(t *testing.T) {
	packets := negotiated()
	pcap := packets.file(t, ethernet(), 0)
	want := analyze(t, "x", pcap)
	other := bytes.Clone(pcap)
	swapHeaders(other)
	for name, file := range map[string][]byte{
		"other byte order": other, "pcapng": packets.pcapng(t, ethernet()), "pcap.gz": zip(t, pcap), "pcapng.gz": zip(t, packets.pcapng(t, ethernet())),
	} {
		got := analyze(t, "x", file)
		if diff := cmp.Diff(want, got, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":          {nil, "x: neither pcap nor pcapng: it is empty"},
		"one byte":       {[]byte{0xd4}, "x: neither pcap nor pcapng: EOF"},
		"a web page":     {[]byte("<html><body>Please log in</body></html>"), `x: neither pcap nor pcapng: it starts with "<htm"`},
		"half a header":  {pcap[:20], "x: neither pcap nor pcapng: unexpected EOF"},
		"gzip of a page": {zip(t, []byte("<html>")), `x: neither pcap nor pcapng: it starts with "<htm"`},
		"gzip twice":     {zip(t, zip(t, pcap)), `x: neither pcap nor pcapng: it starts with "\x1f\x8b\b\x00"`},
	} {
		_, err := capture.Analyze("x", bytes.NewReader(c.file))
		if !errors.Is(err, capture.ErrFormat) || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if a := analyze(t, "x", pcap[:24]); a.Frames != 0 || a.Damage != "" || len(a.Findings) > 0 {
		t.Errorf("no packets: %+v", a)
	}
}

// swapHeaders gives all headers of a pcap file the other byte order.
func swapHeaders(b []byte) {
	swap4 := func(b []byte) { binary.BigEndian.PutUint32(b, binary.LittleEndian.Uint32(b)) }
	swap4(b)
	binary.BigEndian.PutUint16(b[4:], binary.LittleEndian.Uint16(b[4:]))
	binary.BigEndian.PutUint16(b[6:], binary.LittleEndian.Uint16(b[6:]))
	for at := 8; at < 24; at += 4 {
		swap4(b[at:])
	}
	for at := 24; at < len(b); {
		length := int(binary.LittleEndian.Uint32(b[at+8:]))
		for i := range 4 {
			swap4(b[at+4*i:])
		}
		at += 16 + length
	}
}

// Everything before the damage counts, and the damage is reported with its place.
func TestDamage(t *testing.T) {
	packets := negotiated()
	pcap := packets.file(t, ethernet(), 0)
	third := 24
	for _, p := range packets[:2] {
		third += 16 + len(ethernet().wrap(p.packet))
	}
	garbage := bytes.Clone(pcap)
	copy(garbage[third:], bytes.Repeat([]byte{0xee}, 64))
	longer := bytes.Clone(pcap)
	binary.LittleEndian.PutUint32(longer[third+12:], 5) // captured more than there was
	ng := packets.pcapng(t, ethernet())
	zipped := zip(t, pcap)
	rotten := bytes.Clone(zipped)
	rotten[len(rotten)-6] ^= 1 // its checksum
	for name, c := range map[string]struct {
		file   []byte
		frames int
		want   string
	}{
		"inside a packet":     {pcap[:third+100], 2, "packet 3, at byte 960: unexpected EOF"},
		"inside its header":   {pcap[:third+7], 2, "packet 3, at byte 960: unexpected EOF"},
		"between both":        {pcap[:third+16], 2, "packet 3, at byte 960: unexpected EOF"},
		"between two packets": {pcap[:third], 2, ""},
		"garbage":             {garbage, 2, "packet 3, at byte 960: capture length exceeds snap length: 4008636142 > 65535"},
		"impossible length":   {longer, 2, "packet 3, at byte 960: capture length exceeds original packet length: 1514 > 5"},
		"pcapng":              {ng[:len(ng)-9], 14, fmt.Sprintf("packet 15, at byte %d: unexpected EOF", len(ng)-(32+184))},
		"compressed":          {zipped[:len(zipped)-100], -1, "unexpected EOF"},
		"wrong checksum":      {rotten, 15, fmt.Sprintf("packet 16, at byte %d: gzip: invalid checksum", len(pcap))},
	} {
		a := analyze(t, "x", c.file)
		if c.frames >= 0 && (a.Frames != c.frames || a.Damage != c.want) || !strings.HasSuffix(a.Damage, c.want) {
			t.Errorf("%s: %d frames, %q, want %d, %q", name, a.Frames, a.Damage, c.frames, c.want)
		}
		if a.Frames > 0 && (len(a.Pairs) != 1 || a.Pairs[0].Forward.IKE != 1) {
			t.Errorf("%s: %+v", name, a.Pairs)
		}
	}
}

// A reader that never ends with what is no packet does not fill the memory.
func TestEndlessFile(t *testing.T) {
	head := negotiated().pcapng(t, ethernet())
	iface := []byte{1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0}
	a, err := capture.Analyze("x", io.MultiReader(bytes.NewReader(head), &endless{b: iface}))
	if err != nil {
		t.Fatal(err)
	}
	if a.Frames != 15 || !strings.HasSuffix(a.Damage, "too many bytes that are not packets") {
		t.Errorf("%d frames, %s", a.Frames, a.Damage)
	}
	huge := negotiated().file(t, ethernet(), 0)[:24]
	binary.LittleEndian.PutUint32(huge[16:], 1<<31)
	huge = append(huge, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0x7f)
	a, err = capture.Analyze("x", io.MultiReader(bytes.NewReader(huge), &endless{b: iface}))
	if err != nil || !strings.HasSuffix(a.Damage, "too many bytes that are not packets") {
		t.Errorf("a packet of 2 GB: %v, %+v", err, a)
	}
}

// endless repeats its bytes for ever.
type endless struct {
	b    []byte
	next int
}

// Read implements io.Reader.
func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.b[e.next]
		e.next = (e.next + 1) % len(e.b)
	}
	return len(b), nil
}
