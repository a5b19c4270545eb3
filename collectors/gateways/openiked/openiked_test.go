package openiked

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

const answer = `iked_sas: 0x55a1 rspi 0x00000000000000a1 ispi 0x00000000000000b1 192.0.2.1:4500->198.51.100.7:4500<FQDN/b.example.test>[10.9.9.1] ESTABLISHED i natt udpecap nexti (nil) pol 0x55ff
  sa_childsas: 0x66a1 ESP 0x3f52449e out 192.0.2.1:4500 -> 198.51.100.7:4500 (L) B=(nil) P=0x66a2 @0x55a1
  sa_childsas: 0x66a2 ESP 0x9bbfc7dd in 198.51.100.7:4500 -> 192.0.2.1:4500 (LA) B=(nil) P=0x66a1 @0x55a1
  sa_flows: 0x77a1 ESP out 10.1.0.0/24 -> 10.2.0.0/24 [0]@-1 (L) @0x55a1
iked_sas: 0x55a2 rspi 0xa2 ispi 0xb2 any->any<>[] SA_INIT r natt nexti (nil) pol 0x55ff
iked_sas: 0x55a3 rspi 0xa3 ispi 0xb3 [2001:db8::1]:500->[2001:db8::7]:500<ASN1_DN//C=XX/CN=site b>[] ESTABLISHED r nexti 0x55a9 pol 0x55ff
  sa_childsas: 0x66a3 ESP 0x01 in [2001:db8::7]:500 -> [2001:db8::1]:500 (LRA) B=0x0 P=0x66a4 @0x55a3
  sa_childsas: 0x66a5 ESP 0x02 in [2001:db8::7]:500 -> [2001:db8::1]:500 (A) B=0x0 P=0x0 @0x55a3
iked_sas: 0x55a4 rspi 0xa4 ispi 0xb4 10.0.0.3:500->10.0.0.1:500 CLOSING r nexti 0x0 pol 0xfd9dbf9000
  sa_childsas: 0x66a6 ESP 0x03 in 10.0.0.1:500 -> 10.0.0.3:500 (LA) B=0x0 P=0x66a7 @0x55a4
iked_activesas: 0x66a1 ESP 0x3f52449e out 192.0.2.1:4500 -> 198.51.100.7:4500 (L) B=(nil) P=0x66a2 @0x55a1
iked_flows: 0x77a1 ESP out 10.1.0.0/24 -> 10.2.0.0/24 [0]@-1 (L) @0x55a1
iked_dstid_sas: 0x55a1 rspi 0xa1 ispi 0xb1 192.0.2.1:4500->198.51.100.7:4500<FQDN/b.example.test>[] ESTABLISHED i natt nexti (nil) pol 0x55ff
`

var addresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseSAs(t *testing.T) {
	got := parseSAs(t.Context(), answer, func(_, remote netip.Addr) int {
		if remote == netip.MustParseAddr("198.51.100.7") {
			return 1400
		}
		return 0
	})
	a := gateways.Identity{Address: netip.MustParseAddr("198.51.100.7"), ID: "b.example.test"}
	b := gateways.Identity{Address: netip.MustParseAddr("2001:db8::7"), ID: "/C=XX/CN=site b"}
	c := gateways.Identity{Address: netip.MustParseAddr("10.0.0.1")}
	want := gateways.Table{
		Info: gateways.Info{Type: "openiked"},
		IKE: []gateways.IKESA{
			{Key: "0x00000000000000b1 0x00000000000000a1", Peer: a, Version: 2, State: gateways.Established, VendorState: "ESTABLISHED", Initiator: true},
			{Key: "0xb2 0xa2", Version: 2, State: gateways.Connecting, VendorState: "SA_INIT"},
			{Key: "0xb3 0xa3", Peer: b, Version: 2, State: gateways.IKERekeying, VendorState: "ESTABLISHED"},
			{Key: "0xb4 0xa4", Peer: c, Version: 2, State: gateways.IKEClosing, VendorState: "CLOSING"},
		},
		Children: []gateways.ChildSA{
			{Key: "0x9bbfc7dd", Peer: a, State: gateways.Installed, VendorState: "LA", PathMTU: 1400, NATT: gateways.Yes},
			{Key: "0x01", Peer: b, State: gateways.ChildRekeying, VendorState: "LRA", NATT: gateways.No},
			{Key: "0x02", Peer: b, State: gateways.Installing, VendorState: "A"},
			{Key: "0x03", Peer: c, State: gateways.ChildClosing, VendorState: "LA"},
		},
	}
	if diff := cmp.Diff(want, got, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestParseWhatIsNotKnown(t *testing.T) {
	got := parseSAs(t.Context(), "iked_sas: nonsense\n  sa_childsas: 0x1 ESP 0x2 in a -> b (L) B=0x0 P=0x1\n\nnew_thing: 1\n", nil)
	if _, err := got.Checked(); err == nil || len(got.IKE) != 0 || len(got.Children) != 0 || got.Unparsed != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// bundled is an answer of iked 7 about a tunnel with IPCOMP (ikev2_info_csa in ikev2.c).
const bundled = `iked_sas: 0x55a1 rspi 0xa1 ispi 0xb1 192.0.2.1:4500->198.51.100.7:4500<FQDN/b.example.test>[] ESTABLISHED i natt udpecap nexti 0x0 pol 0x55ff
  sa_childsas: 0x66a1 ESP 0x3f52449e out 192.0.2.1:4500 -> 198.51.100.7:4500 (L) B=0x66b1 P=0x66a2 @0x55a1
             : 0x66b1 IPCOMP 0x1234 out 192.0.2.1:4500 -> 198.51.100.7:4500 (L) B=0x66a1 P=0x66b2 @0x55a1
  sa_childsas: 0x66a2 ESP 0x9bbfc7dd in 198.51.100.7:4500 -> 192.0.2.1:4500 (LA) B=0x66b2 P=0x66a1 @0x55a1
             : 0x66b2 IPCOMP 0x4321 in 198.51.100.7:4500 -> 192.0.2.1:4500 (LA) B=0x66a2 P=0x66b1 @0x55a1
  sa_flows: 0x77a1 ESP out 10.1.0.0/24 -> 10.2.0.0/24 [0]@-1 (L) @0x55a1
`

// No line that is missing, cut off or changed makes the tunnel down.
func TestNoLineMakesATunnelDown(t *testing.T) {
	peers := gateways.NewAttribution([]gateways.Peer{{Name: "branch", Address: netip.MustParseAddr("198.51.100.7"), Expected: true}})
	up := func(lines []string) (gateways.Answer, gateways.Table) {
		table := parseSAs(t.Context(), strings.Join(lines, "\n"), nil)
		r := gateways.NewReading(&table, peers, false)
		return r.Find("branch").Up, table
	}
	for _, text := range []string{bundled, answer} {
		lines := strings.Split(text, "\n")
		if is, table := up(lines); is != gateways.Yes || table.Unparsed != 0 || len(table.Doubts) != 0 {
			t.Fatalf("up is %s, first line not understood %q, doubts %v", is, table.FirstUnparsed, table.Doubts)
		}
		for i, line := range lines {
			variants := []string{""}
			for at := range line {
				variants = append(variants, line[:at], line[:at]+"~"+line[at+1:])
			}
			for _, v := range variants {
				changed := append(append(append([]string(nil), lines[:i]...), v), lines[i+1:]...)
				if is, _ := up(changed); is == gateways.No {
					t.Errorf("down with the line %q in place of %q", v, line)
				}
			}
		}
	}
}

func TestParseStats(t *testing.T) {
	got := parseStats(t.Context(), "ike:\n\t6 IKE SAs created\n\t1 IKE SA failed to establish\n\t2 failed proposal negotiations\n\t0 messages dropped\n\t3 requests timed out\n\t1 request retransmitted\n"+
		"\t4 fragments could not be reassembled\n\tx fragments dropped\n")
	want := map[string]uint64{
		"ike_failed": 1, "ike_proposal_failed": 2, "ike_message_dropped": 0, "ike_timed_out": 3, "ike_retransmitted": 1, "ike_fragment_reassembly_failed": 4,
	}
	sums := map[string]uint64{}
	for _, c := range got {
		sums[c.Kind] += c.Value
	}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(answer)
	f.Add("ike:\n\t1 IKE SA failed to establish\n")
	f.Fuzz(func(t *testing.T, out string) {
		parseSAs(t.Context(), out, nil)
		parseStats(t.Context(), out)
	})
}
