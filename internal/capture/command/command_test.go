package command_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipsec_path_exporter/internal/capture/asa"
	"ipsec_path_exporter/internal/capture/command"
)

// quiet writes a capture of one ESP packet and returns its name and content.
func quiet(t *testing.T, name string) (string, []byte) {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	p := append([]byte{0x45, 0, 0, 60, 0, 1, 0, 0, 64, 50, 0, 0, 192, 0, 2, 2, 198, 51, 100, 2}, make([]byte, 40)...)
	info := gopacket.CaptureInfo{Timestamp: time.Unix(1_700_000_000, 0), CaptureLength: len(p), Length: len(p)}
	if err := errors.Join(w.WriteFileHeader(65535, layers.LinkTypeRaw), w.WritePacket(info, p)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, b.Bytes()
}

func TestRun(t *testing.T) {
	one, content := quiet(t, "same.pcap")
	other, _ := quiet(t, "same.pcap")
	cut, _ := quiet(t, "cut.pcap")
	if err := os.WriteFile(cut, content[:len(content)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	empty, _ := quiet(t, "empty.pcap")
	if err := os.WriteFile(empty, content[:24], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		options    command.Options
		out, error string
	}{
		"one file":       {command.Options{Files: []string{one}, Output: "text"}, "\nsame.pcap: ", ""},
		"equal names":    {command.Options{Files: []string{one, other}, Output: "text"}, "\n" + other + ": ", ""},
		"standard input": {command.Options{Files: []string{"-"}, Stdin: bytes.NewReader(content), Output: "text"}, "\nstandard input: ", ""},
		"input twice":    {command.Options{Files: []string{"-", "-"}, Output: "text"}, "", "standard input holds one capture only"},
		"no VPN":         {command.Options{Files: []string{empty}, Output: "text"}, "no VPN packet found\n", "empty.pcap: no VPN packet found: it has no frame"},
		"JSON":           {command.Options{Files: []string{one}, Output: "json"}, `"faults": false`, ""},
		"damaged":        {command.Options{Files: []string{cut}, Output: "text"}, "\ncut.pcap: ", "cut.pcap: damaged"},
		"none":           {command.Options{Output: "text"}, "", "no capture"},
		"three":          {command.Options{Files: []string{one, one}, ASAs: []string{"https://asa/x"}, Output: "text"}, "", "3 captures"},
		"unknown output": {command.Options{Files: []string{one}, Output: "xml"}, "", "must be one of: text, json"},
		"no such file":   {command.Options{Files: []string{"/nonexistent"}, Output: "text"}, "", "no such file"},
		"not https":      {command.Options{ASAs: []string{"http://asa/x"}, Output: "text"}, "", "must be like https://"},
		"user alone": {
			command.Options{ASAs: []string{"https://asa/x"}, Output: "text", Device: asa.Options{Username: "user"}},
			"", "--password-file belong together",
		},
	} {
		var out bytes.Buffer
		tt.options.Stdout = &out
		faults, err := command.Run(t.Context(), tt.options)
		if faults || !strings.Contains(out.String(), tt.out) || tt.out == "" && out.Len() > 0 {
			t.Errorf("%s: faults %v\n%s", name, faults, out.String())
		}
		if (err == nil) != (tt.error == "") || err != nil && !strings.Contains(err.Error(), tt.error) {
			t.Errorf("%s: %v, want %q", name, err, tt.error)
		}
	}
}
