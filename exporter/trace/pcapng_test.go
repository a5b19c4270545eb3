package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// labelled gives every probe a purpose, as collectors do.
type labelled struct {
	collectors.Network
	purpose string
}

func (l labelled) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	if p.Purpose == "" {
		p.Purpose = l.purpose
	}
	l.Network.Send(ctx, p, timeout, answer)
}

// LocalDrops implements the optional method of a Network that the path MTU collector calls.
func (l labelled) LocalDrops(v6 bool) uint64 {
	d, ok := l.Network.(interface{ LocalDrops(v6 bool) uint64 })
	if !ok {
		return 0
	}
	return d.LocalDrops(v6)
}

// measureAll runs every collector once over the ring, and sends a fragmented IKE message and an ESP
// packet.
func measureAll(t *testing.T, network collectors.Network, path netio.Path) {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	target := collectors.Target{Peer: "peer", Path: path, IKE: collectors.IKESettings{Port: 500, NATTPort: 4500}}
	echo := func(size int) *netio.Packet {
		return &netio.Packet{Path: path, Size: size, Purpose: "echo", FragmentSize: 600}
	}
	esp := &netio.Packet{
		Path: path, Protocol: netio.ESP, TTL: 1, Purpose: "does ESP pass", Token: netio.Token{0xf0, 1, 2, 3, 0, 0, 0, 1},
		Payload: append([]byte{0xf0, 1, 2, 3, 0, 0, 0, 1}, make([]byte, 56)...),
	}
	for _, p := range []*netio.Packet{echo(84), echo(1500), esp} {
		decided := make(chan struct{}, 16)
		network.Send(t.Context(), p, 300*time.Millisecond, func(netio.Answer) { decided <- struct{}{} })
		<-decided
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := ike.New(ctx, labelled{network, "IKE"}, keys, target, ike.Options{}).Measure(ctx, target); err != nil {
		t.Error(err)
	}
	if _, err := pmtu.New(labelled{network, "path MTU"}, pmtu.Options{Keys: keys, Methods: []collectors.Method{collectors.IKE}, Slow: time.Second}).Measure(ctx, target); err != nil {
		t.Error(err)
	}
}

// TestPcapngOfRealPackets records all collectors on a real path and reads the file with two other
// programs.
func TestPcapngOfRealPackets(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	var stack *netio.Stack
	p.Server.Do(t, func() {
		if _, err := responder.Start(t.Context(), responder.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	p.Client.Do(t, func() {
		var err error
		if stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { stack.Close() })
	for _, scenario := range []string{"S0", "S1", "S3", "S6"} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s v6=%t", scenario, v6), func(t *testing.T) {
				p.Apply(t, scenario)
				whole, snapped := NewRing(64<<20), NewRecorder(DefaultBytes).Open()
				measureAll(t, snapped.Watch(whole.Watch(stack)), netio.Path{Dst: p.ServerAddr(v6)})
				t.Run("whole", func(t *testing.T) { checkFile(t, whole.Exchanges(), true) })
				t.Run("snapped", func(t *testing.T) { checkFile(t, snapped.Exchanges(), false) })
			})
		}
	}
}

// checkFile writes a file and reads it back.
func checkFile(t *testing.T, exchanges []Exchange, whole bool) {
	t.Helper()
	var file bytes.Buffer
	if err := WritePcapng(&file, exchanges, "ipsec_path_exporter test"); err != nil {
		t.Fatal(err)
	}
	want := frames(exchanges)
	if len(want) < 8 {
		t.Fatalf("only %d packets were recorded", len(want))
	}
	checkWithPcapgo(t, bytes.NewReader(file.Bytes()), want)
	checkWithTshark(t, file.Bytes(), want, whole)
}

func checkWithPcapgo(t *testing.T, file io.Reader, want []frame) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeRaw || r.SectionInfo().Application != "ipsec_path_exporter test" {
		t.Errorf("link type %s, written by %q", r.LinkType(), r.SectionInfo().Application)
	}
	for i, f := range want {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if !bytes.Equal(data, f.Bytes) || !info.Timestamp.Equal(f.At) || info.Length != f.Length || len(options.Comments) != 1 || options.Comments[0] != f.comment {
			t.Errorf("packet %d of %d bytes at %s: %v, want %d bytes at %s: %q", i, info.Length, info.Timestamp, options.Comments, f.Length, f.At, f.comment)
		}
		if i > 0 && f.At.Before(want[i-1].At) {
			t.Errorf("packet %d is out of order", i)
		}
	}
	if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last packet: %v", err)
	}
}

// tshark finds the program, or skips the test.
func tshark(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err == nil {
		return path
	}
	if os.Getenv("REQUIRE_DAEMONS") == "1" {
		t.Fatalf("tshark is required: %v", err)
	}
	netlab.Announce("evidence: SKIPPED reading files with tshark: " + err.Error())
	t.Skipf("no tshark: %v", err)
	return ""
}

func checkWithTshark(t *testing.T, file []byte, want []frame, whole bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evidence.pcapng")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-n", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE",
		"-T", "fields", "-E", "separator=/t", "-E", "occurrence=f",
	}
	fields := []string{"frame.number", "frame.comment", "_ws.malformed", "ip.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status", "frame.len"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(t.Context(), tshark(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("tshark sees %d packets, want %d", len(lines), len(want))
	}
	seen := map[string]int{}
	for i, line := range lines {
		got := strings.Split(line, "\t")
		if len(got) != len(fields) {
			t.Fatalf("packet %d: %q", i, line)
		}
		if got[1] != want[i].comment || got[2] != "" || got[7] != strconv.Itoa(want[i].Length) {
			t.Errorf("packet %d: comment %q, malformed %q, %s bytes; want %q, %d bytes", i, got[1], got[2], got[7], want[i].comment, want[i].Length)
		}
		for k, status := range got[3:7] {
			seen[fields[3+k]+"="+status]++
			if status == "0" { // bad; 1 is good, 2 not verified, 3 not present
				t.Errorf("packet %d (%s): %s is bad: % x", i, want[i].comment, fields[3+k], want[i].Bytes)
			}
		}
	}
	if whole && seen["udp.checksum.status=1"] == 0 {
		t.Errorf("no checksum of UDP was verified: %v", seen)
	}
}

// BenchmarkEcho measures one echo over loopback, the kernel included, without and with a ring.
func BenchmarkEcho(b *testing.B) {
	if err := netlab.Available(); err != nil {
		b.Skip(err)
	}
	limits := netio.Limits{PacketsPerSecond: 1e9, BytesPerSecond: 1e12}
	stack, err := netio.Open(netio.Config{Limits: limits, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer stack.Close()
	for name, network := range map[string]collectors.Network{"plain": stack, "watched": NewRecorder(DefaultBytes).Open().Watch(stack)} {
		b.Run(name, func(b *testing.B) {
			const window = 256
			slots := make(chan struct{}, window)
			answer := func(netio.Answer) { <-slots }
			b.ReportAllocs()
			for b.Loop() {
				slots <- struct{}{}
				network.Send(b.Context(), &netio.Packet{Path: netio.Path{Dst: netip.MustParseAddr("127.0.0.1")}, Size: 84}, time.Second, answer)
			}
			for range window {
				slots <- struct{}{}
			}
		})
	}
}
