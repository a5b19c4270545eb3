package check

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/exportertest"
)

// TestCheckPcap: the packets of a check open in tshark without a malformed one, each with a
// comment.
func TestCheckPcap(t *testing.T) {
	t.Parallel()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatal(err)
		}
		t.Skip("no tshark")
	}
	l := newLab(t)
	l.Apply(t, "S2")
	path := filepath.Join(t.TempDir(), "check.pcapng")
	l.Client.Do(t, func() {
		o := Options{
			Targets: []string{"four=" + l.Address(false), "six=" + l.Address(true)}, Output: "text", Timeout: time.Minute, Pcap: path,
			Stdout: io.Discard, Stderr: io.Discard,
		}
		if err := Run(t.Context(), o); !errors.Is(err, ErrFault) {
			t.Errorf("error %v", err)
		}
	})
	run := func(args ...string) []string {
		out, err := exec.CommandContext(t.Context(), tshark, append([]string{"-r", path}, args...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	}
	if bad := run("-Y", "_ws.malformed"); len(bad) > 0 {
		t.Errorf("malformed:\n%s", strings.Join(bad, "\n"))
	}
	if bad := run("-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y",
		"(ip.checksum.status == 0 && ip.src == "+l.ClientAddr(false).String()+") || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"); len(bad) > 0 {
		t.Errorf("wrong checksums:\n%s", strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
	comments := run("-T", "fields", "-e", "frame.comment", "-e", "frame.len")
	f, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := exportertest.CountPackets(t, bytes.NewReader(f)); n != len(comments) || n < 300 {
		t.Errorf("%d packets, %d comments", n, len(comments))
	}
	for _, want := range []string{"path MTU by ike", "1401 bytes with DF", "no answer within", "how far does esp get?", "reverse path", "IP fragments"} {
		if !slices.ContainsFunc(comments, func(c string) bool { return strings.Contains(c, want) }) {
			t.Errorf("no comment says %q", want)
		}
	}
	for _, c := range comments {
		if strings.HasPrefix(c, "\t") {
			t.Errorf("a packet without a comment: %q", c)
		}
	}
}
