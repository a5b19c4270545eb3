package libreswan

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
)

// TestStateLines reads the lines about states as each version of pluto prints them (show_state and
// fmt_state in programs/pluto).
func TestStateLines(t *testing.T) {
	for _, c := range []struct{ version, line, want string }{
		{"3.12", `000 #1: "c":500 STATE_PARENT_I3 (PARENT SA established); EVENT_SA_REPLACE in 3s; newest ISAKMP; isakmp#0; idle; import:admin initiate`, "v2 established"},
		{"3.12", `000 #2: "c":500 STATE_PARENT_I3 (PARENT SA established); EVENT_SA_REPLACE in 3s; newest IPSEC; eroute owner; isakmp#1; idle; import:admin initiate`, "installed natt no"},
		{"3.12", `000 #2: "c":500 STATE_PARENT_R2 (received v2I2, PARENT SA established); EVENT_SA_REPLACE in 3s; isakmp#1; idle; import:respond to stranger`, "installed natt no"},
		{"3.12", `000 #1: "c":500 STATE_PARENT_I2 (sent v2I2, expected v2R2); EVENT_SA_REPLACE in 0s; idle; import:admin initiate`, "v2 connecting"},
		{"3.12", `000 #1: "c":500 STATE_MAIN_R3 (sent MR3, ISAKMP SA established); EVENT_SA_REPLACE in 3s; newest ISAKMP; nodpd; idle; import:admin initiate`, "v1 established"},
		{"3.12", `000 #1: "c":4500 STATE_XAUTH_I0 (XAUTH client - awaiting CFG_request); EVENT_RETRANSMIT in 3s; nodpd; idle; import:admin initiate`, "v1 xauth"},
		{"3.20", `000 #2: "c":500 STATE_V2_IPSEC_R (IPsec SA established); EVENT_SA_REPLACE in 3s; isakmp#1; idle; import:respond to stranger`, "installed natt no"},
		{"3.20", `000 #3: "c":500 STATE_V2_CREATE_I (sent IPSec Child req wait response); EVENT_v2_RETRANSMIT in 3s; idle; import:admin initiate`, "installing natt unknown"},
		{"3.20", `000 #3: "c":500 STATE_V2_REKEY_IKE_I (STATE_V2_REKEY_IKE_I); EVENT_v2_RETRANSMIT in 3s; idle; import:admin initiate`, "v2 connecting"},
		{"3.20", `000 #3: "c":500 STATE_CHILDSA_DEL (STATE_CHILDSA_DEL); none in -1s; idle; import:admin initiate`, "closing natt unknown"},
		{"3.32", `000 #3: "c":500 STATE_QUICK_I1 (sent QI1, expecting QR1); EVENT_RETRANSMIT in 3s; nodpd; idle;`, "installing natt unknown"},
		{"4.0", `000 #1: "c":500 STATE_MAIN_I4 (IKE SA established); EVENT_SA_REPLACE in 3s; newest ISAKMP; nodpd; idle;`, "v1 established"},
		{"4.4", `000 #2: "c":4500(tcp) STATE_V2_ESTABLISHED_CHILD_SA (IPsec SA established); EVENT_SA_REKEY in 3s; newest IPSEC; isakmp#1; idle;`, "installed natt unknown"},
		{"4.6", `000 #1: "road"[1] 192.0.2.2:4500 STATE_MODE_CFG_R1 (sent ModeCfg reply, expecting Ack); REPLACE in 3s; newest; idle;`, "v1 modecfg"},
		{"4.10", `000 #1: "c":500 STATE_V2_PARENT_R_EAP (sent EAP request); DISCARD in 3s; idle;`, "v2 connecting"},
		{"4.10", `000 #1: "c":500 STATE_V2_IKE_SA_DELETE (STATE_IKESA_DEL); idle;`, "v2 closing"},
		{"5.0", `#1: "c":500 STATE_V2_PARENT_R1 (sent IKE_SA_INIT (or IKE_INTERMEDIATE) response); DISCARD in 3s; idle;`, "v2 connecting"},
		{"5.1", `#1: "c":500 IKE_SA_INIT_R (sent IKE_SA_INIT response, waiting for IKE_INTERMEDIATE or IKE_AUTH request); DISCARD in 3s; idle;`, "v2 connecting"},
		{"5.2", `#1: "c":500 IKE_SESSION_RESUME_IR (processed IKE_SESSION_RESUME response, initiating IKE_AUTH); REPLACE in 3s; idle;`, "v2 connecting"},
		{"5.3", `#2: "labeled"[1][1] 192.0.2.2:500 ESTABLISHED_CHILD_SA (established Child SA); REKEY in 3s; newest; eroute owner; IKE SA #1; idle;`, "installed natt no"},
		{"5.3", `#1: "c":500 ZOMBIE (deleted state); idle;`, "v2 closing"},
		{"5.4", `#1: "c":500 established IKE SA; REKEY in 3s; REPLACE in 4s; newest; idle;`, "v2 established"},
		{"5.4", `#2: "c":4500(tcp) established Child SA; REKEY in 3s; newest; eroute owner; IKE SA #1; idle;`, "installed natt unknown"},
		{"5.4", `#1: "c":4500 ISAKMP SA established; REPLACE in 3s; newest; nodpd; idle;`, "v1 established"},
		{"5.4", `#2: "c":4500 IPsec SA established; REPLACE in 3s; newest; eroute owner; ISAKMP SA #1; idle;`, "installed natt yes"},
		{"5.4", `#1: "c":500 sent IKE_SA_INIT request; RETRANSMIT in 0s; idle;`, "v2 connecting"},
		{"5.4", `#1: "c":500 sent IKE_AUTH request; RETRANSMIT in 0s; idle;`, "v2 connecting"},
		{"5.4", `#1: "c":500 sent IKE_AUTH(EAP) response; DISCARD in 3s; idle;`, "v2 connecting"},
		{"5.4", `#1: "c":500 waiting for KE to finish; idle;`, "v2 connecting"},
		{"5.4", `#3: "c":500 STATE_V2_REKEY_CHILD_I0; idle;`, "installing natt unknown"},
		{"5.4", `#3: "c":500 sent CREATE_CHILD_SA request for new IPsec SA; REPLACE in 3s; idle;`, "installing natt unknown"},
		{"5.4", `#3: "c":500 sent Quick Mode reply, inbound IPsec SA installed, expecting confirmation; RETRANSMIT in 3s; idle;`, "installing natt unknown"},
		{"5.4", `#3: "oe#192.0.2.0/24"[1] 10.0.0.1/32=== ...192.0.2.2===10.9.0.0/16:4500 established IKE SA; REKEY in 3s; newest; idle;`, "v2 established"},
		{"main", `#3: "c":500 process IKE_FOLLOWUP_KE rekey IKE SA request (larval); idle;`, "v2 connecting"},
		{"main", `#1: "six"[2] 2001:db8::7:4500 sent Main Mode I3; RETRANSMIT in 3s; nodpd; idle;`, "v1 connecting"},
	} {
		table := parseStatus(t.Context(), c.line).assemble(t.Context(), nil, nil)
		var got string
		for _, sa := range table.IKE {
			got = fmt.Sprintf("v%d %s", sa.Version, sa.State)
		}
		for _, sa := range table.Children {
			got = fmt.Sprintf("%s natt %s", sa.State, sa.NATT)
		}
		if got != c.want || len(table.IKE)+len(table.Children) != 1 || table.Unparsed != 0 {
			t.Errorf("%s: %s: %q, want %q, first line not understood %q", c.version, c.line, got, c.want, table.FirstUnparsed)
		}
		if m := regexp.MustCompile(`2001:db8::7|192\.0\.2\.2\b`).FindString(c.line); m != "" {
			if peer := append(table.IKE, gateways.IKESA{})[0].Peer.Address; peer.IsValid() && peer != netip.MustParseAddr(m) {
				t.Errorf("%s: peer %s, want %s", c.line, peer, m)
			}
		}
	}
}

// Answers of 3.12, 4.10 and 5.4 about a tunnel that is up, and one by IKEv1 with mode config.
var good = map[string]struct{ status, traffic string }{
	"3.12": {`000 pluto_version=3.12, pluto_vendorid=OE-Libreswan-3.12
000 "site": 10.2.0.0/24===198.51.100.2<198.51.100.2>[@hq]...192.0.2.2<192.0.2.2>[@branch]===10.1.0.0/24; erouted; eroute owner: #2
000 "site":   newest ISAKMP SA: #1; newest IPsec SA: #2;
000 State list:
000 #2: "site":500 STATE_PARENT_I3 (PARENT SA established); EVENT_SA_REPLACE in 3s; newest IPSEC; eroute owner; isakmp#1; idle; import:admin initiate
000 #2: "site" esp.1111aaaa@192.0.2.2 esp.2222bbbb@198.51.100.2 ref=0 refhim=4294901761 Traffic: ESPin=84B ESPout=84B! ESPmax=4194303B
000 #1: "site":500 STATE_PARENT_I3 (PARENT SA established); EVENT_SA_REPLACE in 3s; newest ISAKMP; isakmp#0; idle; import:admin initiate
000 #1: "site"  ref=0 refhim=0 Traffic:
`, `006 #2: "site", type=ESP,  add_time=1700000000, inBytes=84, outBytes=168`},
	"4.10": {`000 pluto_version=4.10, pluto_vendorid=OE-Libreswan-4.10
000 "site": 10.2.0.0/24===198.51.100.2[@hq,MS+XS+S=C]...%any[@road,+MC+XC+S=C]; unrouted; eroute owner: #0
000 "site"[1]: 10.2.0.0/24===198.51.100.2[@hq,MS+XS+S=C]...192.0.2.2[@road,+MC+XC+S=C]===10.9.9.1/32; erouted; eroute owner: #2
000 #1: "site"[1] 192.0.2.2:4500 STATE_MODE_CFG_R1 (sent ModeCfg reply, expecting Ack); REPLACE in 2859s; newest; lastdpd=-1s(seq in:0 out:0); idle;
000 #2: "site"[1] 192.0.2.2:4500 STATE_QUICK_R2 (IPsec SA established); REPLACE in 28059s; newest; eroute owner; ISAKMP SA #1; idle;
`, `006 #2: "site"[1] 192.0.2.2, username=joe, type=ESP, add_time=1700000000, inBytes=84, outBytes=168, lease=10.9.9.1/32`},
	"5.4": {`pluto_version=5.4, pluto_vendorid=OE-Libreswan-5.4
"site": 10.2.0.0/24===198.51.100.2[@hq]...192.0.2.2[@branch]===10.1.0.0/24; routed-tunnel; my_ip=unset; their_ip=unset;
"site":   host: oriented; local: 198.51.100.2; remote: 192.0.2.2; established IKE SA: #1; established Child SA: #2;
State list:
#1: "site":500 established IKE SA; REKEY in 28000s; REPLACE in 28800s; newest; idle;
#2: "site":500 established Child SA; REKEY in 28000s; REPLACE in 28800s; newest; eroute owner; IKE SA #1; idle;
#2: "site" esp.1111aaaa@192.0.2.2 esp.2222bbbb@198.51.100.2 tun.0@192.0.2.2 tun.0@198.51.100.2 Traffic: ESPin=84B ESPout=84B ESPmax=2^63B
`, `#2: "site", type=ESP(nic-offload=packet), add_time=1700000000, inBytes=84, outBytes=168, maxBytes=2^63B, id='@branch'`},
}

func up(status, traffic string) (gateways.Answer, gateways.Table) {
	table := parseStatus(context.Background(), status).assemble(context.Background(), parseTraffic(context.Background(), traffic), nil)
	peers := []gateways.Peer{{Name: "branch", Address: netip.MustParseAddr("192.0.2.2"), Expected: true}}
	r := gateways.NewReading(&table, gateways.NewAttribution(peers), false)
	return r.Find("branch").Up, table
}

func TestVersions(t *testing.T) {
	for version, a := range good {
		is, table := up(a.status, a.traffic)
		if is != gateways.Yes || table.Unparsed != 0 || len(table.Doubts) != 0 || len(table.IKE) != 1 || len(table.Children) != 1 {
			t.Errorf("%s: up is %s, first line not understood %q, doubts %v", version, is, table.FirstUnparsed, table.Doubts)
			continue
		}
		if c := table.Children[0]; c.In.Bytes != gateways.Counted(84) || c.Out.Bytes != gateways.Counted(168) || c.CounterKey != "#2 1700000000" {
			t.Errorf("%s: %+v", version, c)
		}
	}
}

// No line that is missing, cut off or changed makes the tunnel down.
func TestNoLineMakesATunnelDown(t *testing.T) {
	for version, a := range good {
		lines := strings.Split(strings.TrimSuffix(a.status, "\n"), "\n")
		for i, line := range lines {
			variants := []string{""}
			for at := range line {
				variants = append(variants, line[:at], line[:at]+"~"+line[at+1:])
			}
			for _, v := range variants {
				changed := append(append(append([]string(nil), lines[:i]...), v), lines[i+1:]...)
				if is, _ := up(strings.Join(changed, "\n"), a.traffic); is == gateways.No {
					t.Errorf("%s: down with the line %q in place of %q", version, v, line)
				}
			}
		}
	}
}

func TestNothingUnderstood(t *testing.T) {
	status := strings.NewReplacer("established IKE SA;", "blooming IKE SA", "established Child SA;", "blooming Child SA").Replace(good["5.4"].status)
	_, table := up(status, "")
	if len(table.IKE)+len(table.Children) != 0 {
		t.Errorf("%+v", table)
	}
	if _, err := table.Checked(); err == nil || !strings.Contains(err.Error(), "blooming IKE SA") {
		t.Errorf("%+v: %v", table, err)
	}
}
