package main

import (
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

// captured writes a capture of n IKE requests, 4 s apart, that come in two fragments or without the
// second one.
func captured(t *testing.T, name string, n int, lost bool) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	src, dst := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.2")
	ttl := uint8(64)
	if lost {
		ttl = 50
	}
	header := ike.Header{
		InitiatorSPI: [8]byte{1}, ResponderSPI: [8]byte{2}, NextPayload: ike.PayloadEncrypted, Major: 2, Exchange: ike.ExchangeIKEAuth,
		Flags: ike.FlagInitiator, MessageID: 1, Length: 2000,
	}
	payload := ip.AppendUDP(nil, netip.AddrPortFrom(src, 4500), netip.AddrPortFrom(dst, 4500), append(header.Append(make([]byte, 4)), make([]byte, 1972)...))
	write := func(seconds int, h ip.IPv4, part []byte) {
		h.TotalLength, h.TTL, h.Src, h.Dst = 20+len(part), ttl, src, dst
		p := append(h.Append(nil), part...)
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1_700_000_000+int64(seconds), 0), CaptureLength: len(p), Length: len(p)}
		if err := w.WritePacket(ci, p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		id := uint16(100 + i)
		write(4*i, ip.IPv4{ID: id, Protocol: ip.ProtocolUDP, MoreFragments: true}, payload[:1480])
		if !lost {
			write(4*i, ip.IPv4{ID: id, Protocol: ip.ProtocolUDP, FragmentOffset: 1480}, payload[1480:])
		}
	}
	write(60, ip.IPv4{ID: 1, Protocol: ip.ProtocolESP}, make([]byte, 100))
	return f.Name()
}

func (p program) capture(t *testing.T) {
	t.Parallel()
	branch, hq := captured(t, "branch.pcap", 4, false), captured(t, "hq.pcap", 4, true)
	quiet := captured(t, "quiet.pcap", 0, false)
	whole, err := os.ReadFile(quiet)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.pcap")
	if err := os.WriteFile(cut, whole[:len(whole)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	config := file(t, "peers: []\n")
	for _, tt := range []struct {
		args       []string
		code       int
		out, error string
	}{
		{[]string{branch, hq}, exitFault, "FAULT fragments_dropped, negotiation_stuck\n\n[1] FAULT fragments_dropped, 192.0.2.2 -> 198.51.100.2\n" +
			"    later fragments of all 4 fragmented IKE datagrams from 192.0.2.2 to 198.51.100.2 left branch.pcap and never reached hq.pcap", ""},
		{[]string{branch}, exitFault, "FAULT negotiation_stuck\n", ""},
		{[]string{quiet}, exitOK, "no fault found\n\nquiet.pcap: frames: 1 (raw IP), of a VPN: 1, 2023-11-14", ""},
		{
			[]string{cut},
			exitUnable, "no fault found in the readable part\n",
			"ipsec_path_exporter: error: cut.pcap: damaged: packet 1, at byte 24: unexpected EOF\n",
		},
		{nil, exitUnable, "", "ipsec_path_exporter: error: no capture: give one or two files, or --asa\n"},
		{[]string{"-"}, exitUnable, "", "ipsec_path_exporter: error: standard input: neither pcap nor pcapng: it is empty\n"},
		{[]string{branch, hq, quiet}, exitUnable, "", "ipsec_path_exporter: error: 3 captures: give one, or two of the same traffic\n"},
		{[]string{"--output=xml", hq}, exitUnable, "", "ipsec_path_exporter: error: --output=xml: must be one of: text, json\n"},
		{[]string{"/nonexistent.pcap"}, exitUnable, "", "ipsec_path_exporter: error: open /nonexistent.pcap: no such file or directory\n"},
		{[]string{config}, exitUnable, "", "ipsec_path_exporter: error: config.yml: neither pcap nor pcapng: it starts with \"peer\"\n"},
		{[]string{"--asa=http://192.0.2.1/capture/X/pcap"}, exitUnable, "", "ipsec_path_exporter: error: --asa=http://192.0.2.1/capture/X/pcap: must be like https://HOST/capture/NAME/pcap\n"},
	} {
		got := p.run(t, here, append([]string{"capture"}, tt.args...)...)
		if got.Code != tt.code || !strings.HasPrefix(got.Stdout, tt.out) || tt.out == "" && got.Stdout != "" || got.Stderr != tt.error {
			t.Errorf("%q: %d\n%s\n%s", tt.args, got.Code, got.Stderr, got.Stdout)
		}
	}
	var report struct {
		Faults   bool
		Findings []struct {
			Name  string
			Fault bool
		}
	}
	got := p.run(t, here, "capture", "--output=json", branch, hq)
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil || !report.Faults || len(report.Findings) != 2 || report.Findings[0].Name != "fragments_dropped" {
		t.Errorf("%v, %s", err, got.Stdout)
	}
}

// A capture that an ASA serves gives the same report as a file, and no output contains the
// password.
func (p program) captureASA(t *testing.T) {
	t.Parallel()
	const password = "s3cret-of-the-device"
	branch, hq := captured(t, "branch.pcap", 4, false), captured(t, "hq.pcap", 4, true)
	device := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, got, _ := r.BasicAuth(); got != password {
			http.Error(w, "wrong: "+got, http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/capture/BRANCH/pcap":
			http.ServeFile(w, r, branch)
		case "/capture/HQ/pcap":
			http.ServeFile(w, r, hq)
		default:
			_, _ = w.Write([]byte("<html>" + password)) // the client reports what arrived
		}
	}))
	device.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	device.StartTLS()
	defer device.Close()
	dir := t.TempDir()
	secret, wrong, ca := filepath.Join(dir, "password"), filepath.Join(dir, "wrong"), filepath.Join(dir, "ca.pem")
	for name, text := range map[string]string{
		secret: password + "\n", wrong: password + "-not", ca: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: device.Certificate().Raw})),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host := strings.TrimPrefix(device.URL, "https://")
	for _, tt := range []struct {
		args  []string
		code  int
		wants []string
	}{
		{
			[]string{"--ca-file=" + ca, "--asa=" + device.URL + "/capture/BRANCH/pcap", "--asa=" + device.URL + "/capture/HQ/pcap"},
			exitFault,
			[]string{"left " + host + "/capture/BRANCH/pcap and never reached " + host + "/capture/HQ/pcap"},
		},
		{
			[]string{"--insecure", "--asa=" + device.URL + "/capture/HQ/pcap", branch},
			exitFault,
			[]string{"left branch.pcap and never reached " + host + "/capture/HQ/pcap"},
		},
		{[]string{"--asa=" + device.URL + "/capture/HQ/pcap"}, exitUnable, []string{"certificate signed by unknown authority (give its certificate with --ca-file)"}},
		{[]string{"--ca-file=" + ca, "--asa=" + device.URL + "/capture/NONE/pcap"}, exitUnable, []string{"answers with text or a web page, not with a capture"}},
		{[]string{"--ca-file=" + ca, "--password-file=" + wrong, "--asa=" + device.URL + "/capture/HQ/pcap"}, exitUnable, []string{"does not accept the user or the password (401)"}},
	} {
		args := append([]string{"capture", "--username=ipsecmon"}, tt.args...)
		if !strings.Contains(strings.Join(args, " "), "--password-file") {
			args = append(args, "--password-file="+secret)
		}
		for _, form := range []string{"--output=text", "--output=json"} {
			got := p.run(t, here, append(args, form)...)
			all := got.Stdout + got.Stderr
			for _, want := range tt.wants {
				if got.Code != tt.code || !strings.Contains(all, want) {
					t.Errorf("%q: %d\n%s", args, got.Code, all)
				}
			}
			if strings.Contains(all, password) {
				t.Errorf("%q: the password is in\n%s", args, all)
			}
		}
	}
}

// The contract promises `capture FILE...` in the list of commands.
func (p program) captureHelp(t *testing.T) {
	t.Parallel()
	got := p.run(t, here, "capture", "--help")
	if diff := cmp.Diff(exitOK, got.Code); diff != "" || !strings.Contains(got.Stdout, "usage: ipsec_path_exporter capture [<flags>] [<file>...]") {
		t.Errorf("%s%s", diff, got.Stdout)
	}
}
