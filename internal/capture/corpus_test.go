package capture_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/capture"
)

// corpus is the folder of captures of real daemons, which is not part of the repository.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("IPSEC_CORPUS")
	if dir == "" {
		t.Skip("SKIPPED: IPSEC_CORPUS does not name a folder with captures")
	}
	return filepath.Join(dir, "pcap")
}

func read(t *testing.T, path string) *capture.Analysis {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return analyze(t, filepath.Base(path), b)
}

const (
	there = " 192.0.2.2 198.51.100.2"
	back  = " 198.51.100.2 192.0.2.2"
)

// Every capture of the corpus has its findings.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	cases := map[string]struct {
		want []string
		says string
	}{
		"clean_ikev1_aggressive_xauth_natt.initiator.pcap": {},
		"clean_ikev1_aggressive_xauth_natt.responder.pcap": {},
		"fragmented_intact_ikev2_cert.initiator.pcap":      {},
		"fragmented_intact_ikev2_cert.responder.pcap":      {},
		"fragmented_lost_ikev2_cert.initiator.pcap": {
			[]string{"FRAGMENTS_DROPPED" + there, "NEGOTIATION_STUCK" + there},
			"4 datagrams from 192.0.2.2 to 198.51.100.2 passed this capture with all their fragments, and 198.51.100.2 did not receive all of them: its ICMP errors " +
				"\"fragment reassembly time exceeded\" quote 3 of them",
		},
		"fragmented_lost_ikev2_cert.responder.pcap": {
			[]string{"FRAGMENTS_DROPPED" + there, "NEGOTIATION_STUCK" + there},
			// The fourth is younger than a receiver waits.
			"fragments from 192.0.2.2 to 198.51.100.2 are dropped before this capture: of 3 datagrams only the first fragment arrived",
		},
		"stuck_xauth_natt_return_lost.initiator.pcap": {
			[]string{"earlier_fragments_dropped" + there, "NEGOTIATION_STUCK" + back},
			"IKEv1 hangs in XAUTH: aggressive mode is complete and both ends agreed on XAUTH, but no XAUTH request of 198.51.100.2 is in this capture",
		},
		"stuck_xauth_natt_return_lost.responder.pcap": {
			[]string{"earlier_fragments_dropped" + there, "NEGOTIATION_STUCK" + back},
			"IKEv1 hangs in XAUTH: the message TRANSACTION of 198.51.100.2 (76 bytes of IKE) was sent 3 times, and no answer of 192.0.2.2 is in this capture",
		},
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if err != nil || len(files) != len(cases) {
		t.Fatalf("%d files, %d cases, %v", len(files), len(cases), err)
	}
	for _, file := range files {
		want, ok := cases[filepath.Base(file)]
		a := read(t, file)
		if diff := cmp.Diff(append([]string{}, want.want...), verdicts(a.Findings)); diff != "" || !ok {
			t.Errorf("%s: %s", file, diff)
		}
		if want.says != "" {
			says(t, a.Findings, want.says)
		}
		if len(a.Negotiations) != 1 || a.Damage != "" {
			t.Errorf("%s: %d negotiations, %s", file, len(a.Negotiations), a.Damage)
		}
		if up := strings.HasPrefix(a.Name, "clean") || strings.Contains(a.Name, "intact"); a.Negotiations[0].Established != up {
			t.Errorf("%s: %+v", file, a.Negotiations[0])
		}
	}
}

// Both ends together tell where.
func TestCorpusBothEnds(t *testing.T) {
	dir := corpus(t)
	for name, c := range map[string]struct {
		common int
		want   []string
		says   string
	}{
		"clean_ikev1_aggressive_xauth_natt": {18, nil, ""},
		"fragmented_intact_ikev2_cert":      {10, nil, ""},
		"fragmented_lost_ikev2_cert": {
			9,
			[]string{"FRAGMENTS_DROPPED" + there},
			"later fragments of all 4 fragmented IKE datagrams from 192.0.2.2 to 198.51.100.2 left initiator and never reached responder: their first fragments arrived, " +
				"with the same IP ids in both captures",
		},
		"stuck_xauth_natt_return_lost": {
			6,
			[]string{"UDP4500_BLOCKED" + back},
			"3 of 7 datagrams from 198.51.100.2 to 192.0.2.2 left responder and never reached initiator: all of them are IKE on UDP 4500, of which none arrived, " +
				"while everything else did (4 datagrams)",
		},
	} {
		initiator, responder := read(t, filepath.Join(dir, name+".initiator.pcap")), read(t, filepath.Join(dir, name+".responder.pcap"))
		initiator.Name, responder.Name = "initiator", "responder"
		for _, both := range [][2]*capture.Analysis{{initiator, responder}, {responder, initiator}} {
			got := capture.Compare(both[0], both[1])
			if diff := cmp.Diff(append([]string{}, c.want...), verdicts(got.Findings)); diff != "" || got.Common != c.common {
				t.Errorf("%s: %d in both, %s", name, got.Common, diff)
			}
			if c.says != "" {
				says(t, got.Findings, c.says)
			}
			if got.ClockOffset < -0.001 || got.ClockOffset > 0.001 {
				t.Errorf("%s: %v s", name, got.ClockOffset)
			}
		}
	}
}

// tally is what tshark counts too.
type tally struct {
	ISAKMP, NATT, ESP, AH, Keepalives, First, Later, ICMP int
}

func ours(a *capture.Analysis) (n tally) {
	for _, p := range a.Pairs {
		for _, d := range []*capture.Direction{&p.Forward, &p.Back} {
			n.ISAKMP += d.IKE
			n.NATT += d.NATT
			n.ESP += d.ESP + d.ESPinUDP
			n.AH += d.AH
			n.Keepalives += d.Keepalives
			n.First += d.FirstFragments
			n.Later += d.LaterFragments
			for _, e := range d.Errors {
				n.ICMP += e.Count
			}
		}
	}
	return n
}

// theirs asks tshark. It must not put fragments together, or it counts them where the last one is;
// what ICMP quotes is no packet.
func theirs(t *testing.T, tshark, file string) (n tally) {
	t.Helper()
	const packet = " && !icmp && !icmpv6"
	columns := []struct {
		to     *int
		filter string
	}{
		{&n.ISAKMP, "isakmp && udp.port == 500" + packet},
		{&n.NATT, "isakmp && udp.port == 4500" + packet},
		{&n.ESP, "esp && !ah && !(ip.frag_offset > 0) && !(ipv6.fraghdr.offset > 0)" + packet},
		{&n.AH, "ah" + packet},
		{&n.Keepalives, "udpencap.nat_keepalive" + packet},
		{&n.First, "((ip.flags.mf == 1 && ip.frag_offset == 0) || (ipv6.fraghdr.more == 1 && ipv6.fraghdr.offset == 0))" + packet},
		{&n.Later, "(ip.frag_offset > 0 || ipv6.fraghdr.offset > 0)" + packet},
		{&n.ICMP, "icmp.type == 3 || icmp.type == 11 || icmp.type == 12 || icmpv6.type < 128"},
	}
	table := []string{"io,stat,0"}
	for _, c := range columns {
		table = append(table, c.filter)
	}
	cmd := exec.CommandContext(t.Context(), tshark, "-n", "-q", "-r", file, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-z", strings.Join(table, ","))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	// | Interval | Frames | Bytes | Frames | Bytes | ...
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(line, "|")
		if !strings.Contains(line, "<>") || len(cells) != 3+2*len(columns) {
			continue
		}
		for i, c := range columns {
			if *c.to, err = strconv.Atoi(strings.TrimSpace(cells[2+2*i])); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	t.Fatalf("no counts in:\n%s", out)
	return n
}

// tshark counts the same.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("tshark is required: %v", err)
		}
		t.Skipf("SKIPPED: %v", err)
	}
	var files []string
	if dir := os.Getenv("IPSEC_CORPUS"); dir != "" {
		if files, err = filepath.Glob(filepath.Join(dir, "pcap", "*.pcap")); err != nil || len(files) == 0 {
			t.Fatalf("%d captures in %s, %v", len(files), dir, err)
		}
	} else {
		t.Log("SKIPPED the corpus: IPSEC_CORPUS does not name it")
	}
	dir := t.TempDir()
	packets := negotiated()
	var v6 trace
	v6.add(0, pieces(branch6, hq6, 9, 60, 17, authRequest.on4500(branch6, hq6), 1232)...)
	v6.add(1, icmpError(hq6, branch6, 3, 1, 0, v6[0].packet))
	for name, b := range map[string][]byte{
		"built.pcap": packets.file(t, ethernet(), 0), "vlan.pcap": packets.file(t, ethernet(0x88, 0xa8, 0, 7, 0x81, 0, 0, 9), 0), "built.pcapng": packets.pcapng(t, ethernet()),
		"v6.pcap": v6.file(t, ethernet(), 0),
	} {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	for _, file := range files {
		if diff := cmp.Diff(theirs(t, tshark, file), ours(read(t, file))); diff != "" {
			t.Errorf("%s: tshark (-) and this (+) disagree:\n%s", filepath.Base(file), diff)
		}
	}
}
