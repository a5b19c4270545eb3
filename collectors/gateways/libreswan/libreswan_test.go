package libreswan

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

// status4 is an answer of version 4: a site, a road warrior with XAUTH, one of IKEv1 that is stuck,
// and one that connects.
const status4 = `000 using kernel interface: xfrm
000  
000 pluto_version=4.10, pluto_vendorid=OE-Libreswan-4.10, audit-log=no
000  
000 Connection list:
000  
000 "site": 10.2.0.0/24===198.51.100.2[@hub]...192.0.2.2[@branch]===10.1.0.0/24; erouted; eroute owner: #2
000 "site":     oriented; my_ip=unset; their_ip=unset; my_updown=ipsec _updown;
000 "site":   xauth us:none, xauth them:none,  my_username=[any]; their_username=[any]
000 "site":   our idtype: ID_FQDN; our id=@hub; their idtype: ID_FQDN; their id=@branch
000 "road": 0.0.0.0/0===198.51.100.2[MS+XS+S=C]...%any[@[group],+MC+XC+S=C]; unrouted; eroute owner: #0
000 "road":   our idtype: ID_IPV4_ADDR; our id=198.51.100.2; their idtype: ID_KEY_ID; their id=@[group]
000 "road"[1]: 0.0.0.0/0===198.51.100.2[MS+XS+S=C]...203.0.113.9[@[group],+MC+XC+S=C]===10.98.0.10/32; erouted; eroute owner: #4
000 "road"[1]:   our idtype: ID_IPV4_ADDR; our id=198.51.100.2; their idtype: ID_KEY_ID; their id=@[group]
000 "named": 198.51.100.2<hub.example.net>[@hub]---198.51.100.1...203.0.113.1---vpn.example.net<192.0.2.44>[@other]:17/1701; unrouted; eroute owner: #0
000 "lost": 198.51.100.2...gone.example.net; unrouted; eroute owner: #0
000  
000 Total IPsec connections: loaded 3, active 2
000  
000 State Information: DDoS cookies not required, Accepting new IKE connections
000 IKE SAs: total(4), half-open(1), open(0), authenticated(2), anonymous(0)
000  
000 #1: "site":500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); REKEY in 27768s; REPLACE in 28799s; newest; idle;
000 #2: "site":500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); REKEY in 27499s; REPLACE in 28087s; newest; eroute owner; IKE SA #1; idle;
000 #2: "site" esp.248d1071@192.0.2.2 esp.4e68b7a9@198.51.100.2 tun.0@192.0.2.2 tun.0@198.51.100.2 Traffic: ESPin=8KB ESPout=4KB ESPmax=2^63B
000 #3: "road"[1] 203.0.113.9:4500 STATE_MODE_CFG_R1 (ModeCfg Set sent, expecting Ack); REPLACE in 3000s; newest; lastdpd=-1s(seq in:0 out:0); idle;
000 #4: "road"[1] 203.0.113.9:4500 STATE_QUICK_R2 (IPsec SA established); REPLACE in 28526s; newest; eroute owner; isakmp#3; idle;
000 #5: "road"[2] 203.0.113.10:4500 STATE_XAUTH_R0 (XAUTH responder - optional CFG exchange); RETRANSMIT in 3s; lastdpd=-1s(seq in:0 out:0); idle;
000 #6: "named":500 STATE_V2_PARENT_I1 (sent IKE_SA_INIT request); RETRANSMIT in 3s; idle;
000 #6: pending CHILD SA for "named"
000 #7: "named":4500 STATE_V2_IKE_AUTH_CHILD_I0 (ephemeral: initiator creating child from IKE exchange); idle;
000  
000 Bare Shunt list:
`

const traffic4 = `006 #2: "site", type=ESP, add_time=1700000000, inBytes=8200, outBytes=4100, maxBytes=2^63B, id='@branch'
006 #4: "road"[1] 203.0.113.9, username=joe, type=ESP, add_time=1700000100, inBytes=84, outBytes=168, maxBytes=2^63B, lease=10.98.0.10/32
`

// status5 is one of version 5: no codes, shorter words, IPv6.
const status5 = `config setup options:
configdir=/etc, configfile=/etc/ipsec.conf
pluto_version=5.3, pluto_vendorid=OE-Libreswan-5.3, audit-log=yes
"6in6": 2001:db8::1...2001:db8::7; routed-tunnel, tunnel, owner: Child SA #5; negotiating IKE SA #6;
"6in6":   our idtype: ID_IPV6_ADDR; our id=2001:db8::1; their idtype: ID_IPV6_ADDR; their id=2001:db8::7
#5: "6in6":4500 ESTABLISHED_CHILD_SA (established Child SA); REKEY in 10284s; REPLACE in 11212s; newest; eroute owner; IKE SA #6; idle;
#6: "6in6":4500 ESTABLISHED_IKE_SA (established IKE SA); REKEY in 10219s; REPLACE in 11255s; newest; idle;
#7: "any"[3] 2001:db8::99:500 IKE_SA_INIT_R (sent IKE_SA_INIT response); DISCARD in 194s; idle;
#8: "6in6":4500 PONDERING (a word of tomorrow); idle;
#9: a line of tomorrow
`

// rows shows a table as lines that can be compared.
func rows(t gateways.Table) []string {
	var out []string
	for i := range t.IKE {
		s := &t.IKE[i]
		out = append(out, strings.Join([]string{s.Key, s.Peer.Name, s.Peer.String(), s.Peer.ID, s.Peer.Username, "v" + string(rune('0'+s.Version)), s.State.String(), s.VendorState}, "|"))
	}
	for i := range t.Children {
		c := &t.Children[i]
		out = append(out, strings.Join([]string{c.Key, c.Peer.Name, c.Peer.String(), c.Peer.ID, c.Peer.Username, c.State.String(), "natt " + c.NATT.String()}, "|"))
	}
	return out
}

func TestTable(t *testing.T) {
	for name, tt := range map[string]struct {
		status, traffic, version string
		unparsed                 int
		want                     []string
	}{
		"version 4": {status4, traffic4, "4.10", 0, []string{
			"#1|site|192.0.2.2|@branch||v2|established|STATE_V2_ESTABLISHED_IKE_SA",
			"#3|road|203.0.113.9|@[group]|joe|v1|established|STATE_MODE_CFG_R1",
			"#5|road|203.0.113.10|@[group]||v1|xauth|STATE_XAUTH_R0",
			"#6|named|192.0.2.44|||v2|connecting|STATE_V2_PARENT_I1",
			"#2|site|192.0.2.2|@branch||installed|natt no",
			"#4|road|203.0.113.9|@[group]|joe|installed|natt yes",
			"#7|named|192.0.2.44|||installing|natt unknown",
		}},
		"version 5": {status5, "", "5.3", 2, []string{
			"#6|6in6|2001:db8::7|2001:db8::7||v2|established|ESTABLISHED_IKE_SA",
			"#7|any|2001:db8::99|||v2|connecting|IKE_SA_INIT_R",
			"#8|6in6|2001:db8::7|2001:db8::7||v0|unknown|PONDERING",
			"#5|6in6|2001:db8::7|2001:db8::7||installed|natt yes",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			st := parseStatus(t.Context(), tt.status)
			table := st.assemble(t.Context(), parseTraffic(t.Context(), tt.traffic), nil)
			if diff := cmp.Diff(tt.want, rows(table)); diff != "" {
				t.Error(diff)
			}
			if table.Info.Version != tt.version || table.Unparsed != tt.unparsed {
				t.Errorf("version %q, %d not parsed", table.Info.Version, table.Unparsed)
			}
		})
	}
}

func TestTraffic(t *testing.T) {
	table := parseStatus(t.Context(), status4).assemble(t.Context(), parseTraffic(t.Context(), traffic4), func(local, remote netip.Addr) int {
		if local != netip.MustParseAddr("198.51.100.2") || !remote.IsValid() {
			t.Errorf("path MTU from %s to %s", local, remote)
		}
		return 1400
	})
	c := table.Children[0]
	if c.In.Bytes != gateways.Counted(8200) || c.Out.Bytes != gateways.Counted(4100) || c.In.Packets.Known || c.CounterKey != "#2 1700000000" || c.PathMTU != 1400 {
		t.Errorf("%+v", c)
	}
	if c := table.Children[2]; c.In.Bytes.Known || c.PathMTU != 0 {
		t.Errorf("of a child in the making: %+v", c)
	}
}

func TestFound(t *testing.T) {
	us := netip.MustParseAddr("198.51.100.2")
	want := []gateways.Found{
		{Host: "gone.example.net", Name: "lost", Local: us},
		{Address: netip.MustParseAddr("192.0.2.2"), Name: "site", Local: us, Active: true},
		{Address: netip.MustParseAddr("192.0.2.44"), Host: "vpn.example.net", Name: "named", Local: us},
	}
	if got := parseStatus(t.Context(), status4).found(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	// "any" is a template: who tries to connect by it is an instance.
	us, them := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::7")
	if got := parseStatus(t.Context(), status5).found(); !slices.Equal(got, []gateways.Found{{Address: them, Name: "6in6", Local: us, Active: true}}) {
		t.Errorf("%+v", got)
	}
}

func TestGlobal(t *testing.T) {
	got := parseGlobal(t.Context(), "config.setup.ike.ddos_threshold=25000\ntotal.ike.ikev2.failed=3\ntotal.ike.ikev2.redirect.failed=9\ntotal.ike.ikev1.failed=1\n"+
		"total.ikev2.sent.notifies.error.NO_PROPOSAL_CHOSEN=2\ntotal.ikev1.recv.notifies.error.AUTHENTICATION_FAILED=4\ntotal.ikev1.recv.notifies.error.X=x\n")
	sums := map[string]uint64{}
	for _, c := range got {
		sums[c.Kind] += c.Value
	}
	if diff := cmp.Diff(map[string]uint64{"ike_failed": 4, "ike_error_notify_sent": 2, "ike_error_notify_received": 4}, sums); diff != "" {
		t.Error(diff)
	}
}

// TestCorpus reads what real plutos printed.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("IPSEC_CORPUS")
	if corpus == "" {
		t.Skip("IPSEC_CORPUS is not set")
	}
	for file, want := range map[string][]string{
		"libreswan-4.10/after-v2-initiate-b.status.txt":      {"#1|v2|192.0.2.2|192.0.2.2||v2|established|STATE_V2_ESTABLISHED_IKE_SA"},
		"libreswan-4.10/halfopen-blackhole-a.status.txt":     {"#3|v2|198.51.100.2|198.51.100.2||v2|connecting|STATE_V2_PARENT_I1"},
		"libreswan-4.10/halfopen-blackhole-b.status.txt":     {"#3|v2|192.0.2.2|192.0.2.2||v2|connecting|STATE_V2_PARENT_R1"},
		"libreswan-corpus/sergeymakinen__whack_status_3.txt": nil,
		"libreswan-4.10/stuck-ike-auth-a.status.txt": {
			"#4|v2|198.51.100.2|198.51.100.2||v2|connecting|STATE_V2_PARENT_I2", "#5|v2|198.51.100.2|198.51.100.2||installing|natt unknown",
		},
		"libreswan-corpus/sergeymakinen__whack_status_1.txt": {
			"#1|westnet-eastnet-ah|192.1.2.45|@west||v1|established|STATE_MAIN_R3", "#2|westnet-eastnet-ah|192.1.2.45|@west||installed|natt no",
		},
	} {
		b, err := os.ReadFile(filepath.Join(corpus, file))
		if err != nil {
			t.Fatal(err)
		}
		table := parseStatus(t.Context(), string(b)).assemble(t.Context(), nil, nil)
		if diff := cmp.Diff(want, rows(table)); diff != "" || table.Unparsed != 0 || table.Info.Version == "" {
			t.Errorf("%s: version %q, %d not parsed: %s", file, table.Info.Version, table.Unparsed, diff)
		}
	}
	b, err := os.ReadFile(filepath.Join(corpus, "libreswan-4.10/stuck-ike-auth-a.globalstatus.txt"))
	if err != nil || len(parseGlobal(t.Context(), string(b))) < 20 {
		t.Errorf("%d counters, %v", len(parseGlobal(t.Context(), string(b))), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(status4, traffic4)
	f.Add(status5, "total.ike.ikev2.failed=3\n")
	for _, a := range good {
		f.Add(a.status, a.traffic)
	}
	f.Fuzz(func(t *testing.T, status, other string) {
		st := parseStatus(t.Context(), status)
		st.assemble(t.Context(), parseTraffic(t.Context(), other), nil)
		st.found()
		parseGlobal(t.Context(), other)
	})
}
