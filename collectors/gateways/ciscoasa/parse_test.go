package ciscoasa

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

func TestStates(t *testing.T) {
	for word, want := range map[string]gateways.IKEState{
		"MM_WAIT_MSG2": gateways.Connecting, "MM_WAIT_MSG6": gateways.Connecting, "AM_WAIT_MSG3": gateways.Connecting, "MM_START": gateways.Connecting,
		"MM_SND_MSG6_H": gateways.Connecting, "MM_BLD_MSG4": gateways.Connecting, "AM_PROC_MSG2": gateways.Connecting, "AM_SND_MSG1": gateways.Connecting,
		"AM_TM_INIT_XAUTH_V6C": gateways.XAuth, "AM_TM_INIT_XAUTH": gateways.XAuth, "MM_TM_INIT_XAUTH_V6H": gateways.XAuth,
		"AM_TM_INIT_MODECFG_V6H": gateways.ModeCfg, "MM_TM_INIT_MODECFG": gateways.ModeCfg, "AM_TM_PEND_QM": gateways.ModeCfg,
		"MM_ACTIVE": gateways.Established, "AM_ACTIVE": gateways.Established,
		"MM_ACTIVE_REKEY": gateways.IKERekeying, "MM_REKEY_DONE_H2": gateways.IKERekeying, "AM_REKEY_DONE_H2": gateways.IKERekeying,
		"MM_WAIT_DELETE": gateways.IKEClosing, "AM_WAIT_DELETE": gateways.IKEClosing, "MM_FREE": gateways.IKEClosing, "MM_DONE": gateways.IKEClosing,
		"MM_SOMETHING": gateways.IKEUnknown, "QM_ACTIVE": gateways.IKEUnknown, "": gateways.IKEUnknown,
	} {
		if got := asaState(word); got != want {
			t.Errorf("%s is %s, want %s", word, got, want)
		}
	}
	for _, c := range []struct {
		word, status string
		want         gateways.IKEState
	}{
		{"QM_IDLE", "ACTIVE", gateways.Established},
		{"MM_NO_STATE", "ACTIVE", gateways.Connecting},
		{"MM_NO_STATE", "ACTIVE (deleted)", gateways.IKEClosing},
		{"QM_IDLE", "ACTIVE (deleted)", gateways.IKEClosing},
		{"QM_IDLE", "STDBY", gateways.IKEUnknown},
		{"MM_KEY_EXCH", "ACTIVE", gateways.Connecting},
		{"CONF_XAUTH", "ACTIVE", gateways.XAuth},
		{"CONF_ADDR", "ACTIVE", gateways.ModeCfg},
		{"XX_YY", "ACTIVE", gateways.IKEUnknown},
	} {
		if got := iosState(c.word, c.status); got != c.want {
			t.Errorf("%s %s is %s, want %s", c.word, c.status, got, c.want)
		}
	}
	for word, want := range map[string]gateways.IKEState{
		"READY": gateways.Established, "IN-NEG": gateways.Connecting, "REKEY": gateways.IKERekeying, "DELETE": gateways.IKEClosing, "NEW": gateways.IKEUnknown,
	} {
		if got := ikev2State(word); got != want {
			t.Errorf("%s is %s, want %s", word, got, want)
		}
	}
}

func TestScreen(t *testing.T) {
	for raw, want := range map[string][]string{
		"":                                       nil,
		"one\r\ntwo":                             {"one", "two"},
		"one\r\r\ntwo\r\r\n":                     {"one", "two"},
		"one\n\rtwo":                             {"one", "two"},
		"a\r\n<--- More --->\r              \rb": {"a", "b"},
		" --More-- \b\b\b\b\b\b\b\b\b\b          \b\b\b\b\b\b\b\b\b\bnext": {"next"},
		"cux\b \btter":         {"cutter"},
		"\x1b[2K\x1b[1;31mred": {"red"},
		"\b\b\r\x00\x07x\x1b":  {"x"},
		"bare <--- More --->":  {"bare <--- More --->"},
	} {
		if diff := cmp.Diff(want, slices.Collect(screen(raw))); diff != "" {
			t.Errorf("%q: %s", raw, diff)
		}
	}
	if got := slices.Collect(answerLines(t.Context(), "a\n<--- More --->b\n%ASA-6-602103: IPSEC: x\n*Mar  1 00:00:01.123: %CRYPTO-4-RECVD_PKT: x\nc")); cmp.Diff([]string{"a", "b", "c"}, got) != "" {
		t.Errorf("%q", got)
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"        ^\nERROR: % Invalid input detected at '^' marker.\n": "ERROR: % Invalid input detected at '^' marker.",
		"ERROR: Command authorization failed\n":                       "ERROR: Command authorization failed",
		"Command authorization failed.\n":                             "Command authorization failed.",
		"\n% Invalid input detected at '^' marker.\n\n":               "% Invalid input detected at '^' marker.",
		"\nThere are no IKEv1 SAs\n":                                  "",
		"a\nb\nERROR: % Invalid\n":                                    "", // Not at the beginning.
		"":                                                            "",
	} {
		if got := refused(answerLines(t.Context(), text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// scripted is a device that answers from a table.
type scripted map[string]string

func (d scripted) run(_ context.Context, command string) (string, error) {
	if a, ok := d[command]; ok {
		return a, nil
	}
	return "% Invalid input detected at '^' marker.\n", nil
}

func (scripted) close() error { return nil }

func TestOldASA(t *testing.T) {
	d := device{expected: platformASA, over: scripted{
		"show version": "\nCisco PIX Security Appliance Software Version 7.2(4)\n",
		"show crypto isakmp sa": `
   Active SA: 2
    Rekey SA: 1 (A tunnel will report 1 Active and 1 Rekey SA during rekey)
Total IKE SA: 3

1   IKE Peer: HEADEND
    Type    : user            Role    : initiator ` + `
    Rekey   : no              State   : AM_TM_INIT_XAUTH_V6C ` + `
2   IKE Peer: 2001:db8::7
    Type    : L2L             Role    : responder
    Rekey   : no              State   : MM_Active
3   IKE Peer: 2001:db8::7
    Type    : L2L             Role    : responder
    Rekey   : yes             State   : MM_ACTIVE
`,
		"show crypto ipsec sa": strings.ReplaceAll(asaEntry("HEADEND", "10.9.0.0", 15, 0), "remote crypto endpt.: HEADEND/4500", "remote crypto endpt.: 203.0.113.10"),
		"show fragment":        "Interface: outside\n    Size: 200, Chain: 24, Timeout: 5, Threshold: 133, Reassembly: virtual\n    Queue: 0, Assembled: 12, Fail: 37, Overflow: 2\n",
	}}
	table, err := d.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if table.Unparsed != 0 || len(table.IKE) != 3 || table.Info.Version != "7.2(4)" {
		t.Fatalf("%+v", table)
	}
	// The name gets the address that another output shows.
	if stuck := table.IKE[0]; stuck.State != gateways.XAuth || !stuck.Initiator || stuck.Peer.Name != "HEADEND" || stuck.Peer.Address != netip.MustParseAddr("203.0.113.10") {
		t.Errorf("%+v", stuck)
	}
	if a, b := table.IKE[1], table.IKE[2]; a.State != gateways.Established || a.VendorState != "MM_ACTIVE" || b.State != gateways.IKERekeying || !b.Rekey {
		t.Errorf("%+v and %+v", a, b)
	}
	counters := map[string]uint64{}
	for _, c := range table.Counters {
		counters[c.Kind] = c.Value
	}
	if counters["fragment_reassembly_failed"] != 37 || counters["fragment_overflow"] != 2 || counters["pmtu_received"] != 2 {
		t.Errorf("%v", counters)
	}
}

func TestASAWithoutSAs(t *testing.T) {
	for name, ike := range map[string]string{"9.x": "\nThere are no IKEv1 SAs\n\nThere are no IKEv2 SAs\n", "7.x": "\nThere are no isakmp sas\n"} {
		d := device{expected: platformASA, over: scripted{"show crypto isakmp sa detail": ike, "show crypto ipsec sa": "\nThere are no ipsec sas\n"}}
		table, err := d.read(t.Context())
		if err != nil || len(table.IKE)+len(table.Children)+table.Unparsed != 0 {
			t.Errorf("%s: %+v, %v", name, table, err)
		}
	}
}

func TestHalfATableIsNone(t *testing.T) {
	none := "There are no ipsec sas\n"
	for name, over := range map[string]scripted{
		"no IKE":              {"show crypto ipsec sa": none},
		"no IPsec":            {"show crypto isakmp sa": "There are no isakmp sas\n"},
		"rows not understood": {"show crypto isakmp sa": "Total IKE SA: 2\n\n1: HEADEND is MM_ACTIVE\n2: X is MM_ACTIVE\n", "show crypto ipsec sa": none},
	} {
		for _, p := range []platform{platformASA, platformIOS} {
			d := device{expected: p, over: over}
			if table, err := d.read(t.Context()); err == nil {
				t.Errorf("%s: %+v", name, table)
			}
		}
	}
}

func TestIOS(t *testing.T) {
	d := device{expected: platformASA, over: scripted{
		"show version":          "Cisco IOS XE Software, Version 17.03.04a\nCisco IOS Software [Amsterdam], ...\n",
		"show crypto isakmp sa": "IPv4 Crypto ISAKMP SA\ndst             src             state          conn-id status\n192.0.2.1       203.0.113.10    QM_IDLE           1001 ACTIVE\n203.0.113.20    192.0.2.1       MM_NO_STATE          0 ACTIVE\n203.0.113.20    192.0.2.1       MM_NO_STATE          0 ACTIVE (deleted)\n\nIPv6 Crypto ISAKMP SA\n\n",
		"show crypto ikev2 sa detailed": ` IPv4 Crypto IKEv2  SA

 IPv6 Crypto IKEv2  SA

Tunnel-id    fvrf/ivrf              Status
1          none/none             READY
Local  2001:DB8:1101::131/500
Remote  2001:DB8:1201::122/500
      Encr: AES-CBC, keysize: 256, PRF: SHA512, Hash: SHA512, DH Grp:21, Auth sign: PSK, Auth verify: PSK
      Life/Active Time: 86400/223 sec
      Local spi: 4CF87E32B25302C0       Remote spi: 96254131FD306002
      Local id: a.example.net
      Remote id: b.example.net
      Fragmentation not  configured.
      Initiator of SA : Yes
`,
		"show crypto ipsec sa": `
interface: GigabitEthernet3
    Crypto map tag: vpn, local addr 192.0.2.1

   protected vrf: (none)
   local  ident (addr/mask/prot/port): (20.20.20.0/255.255.255.0/0/0)
   remote ident (addr/mask/prot/port): (10.10.10.0/255.255.255.0/0/0)
   current_peer 203.0.113.10 port 500
     PERMIT, flags={origin_is_acl,}
    #pkts encaps: 4, #pkts encrypt: 4, #pkts digest: 4
    #pkts decaps: 5, #pkts decrypt: 5, #pkts verify: 5
    #pkts no sa (send) 0, #pkts invalid sa (rcv) 0
    #pkts invalid prot (recv) 0, #pkts verify failed: 1
    ##pkts replay failed (rcv): 2
    #send errors 0, #recv errors 3

     local crypto endpt.: 192.0.2.1, remote crypto endpt.: 203.0.113.10
     plaintext mtu 1438, path mtu 1500, ip mtu 1500, ip mtu idb GigabitEthernet3
     current outbound spi: 0x397C36EE(964441838)

     inbound esp sas:
      spi: 0x658F7C11(1703902225)
        Status: ACTIVE(ACTIVE)
      spi: 0x658F7C12(1703902226)
     inbound ah sas:
     inbound pcp sas:
     outbound esp sas:
      spi: 0x397C36EE(964441838)
        in use settings ={Tunnel UDP-Encaps, }

   protected vrf: (none)
   local  ident (addr/mask/prot/port): (40.40.40.0/255.255.255.0/0/0)
   remote ident (addr/mask/prot/port): (30.30.30.0/255.255.255.0/0/0)
   current_peer 203.0.113.10 port 500
    #pkts encaps: 0, #pkts encrypt: 0, #pkts digest: 0
     current outbound spi: 0x0(0)
     inbound esp sas:
     outbound esp sas:
`,
		"show crypto session detail": `Crypto session current status

Interface: Virtual-Access2
Username: ann
Group: branches
Uptime: 3d18h
Session status: UP-ACTIVE
Peer: 203.0.113.10 port 500 fvrf: (none) ivrf: (none)
      Phase1_id: a.example.org
      Desc: (none)
  IKEv1 SA: local 192.0.2.1/500 remote 203.0.113.10/500 Active
          Capabilities:D connid:1001 lifetime:05:50:03
`,
	}}
	table, err := d.read(t.Context())
	if err != nil || table.Unparsed != 0 {
		t.Fatalf("%d lines are not understood, %v", table.Unparsed, err)
	}
	var got []string
	for _, sa := range table.IKE {
		got = append(got, strings.Join([]string{sa.Peer.String(), sa.State.String(), sa.VendorState, sa.Peer.Username, sa.Peer.ID, sa.Fragmentation.String()}, " "))
	}
	want := []string{
		"203.0.113.10 established QM_IDLE ann a.example.org unknown", "203.0.113.20 connecting MM_NO_STATE   unknown",
		"203.0.113.20 closing MM_NO_STATE ACTIVE (deleted)   unknown", "2001:db8:1201::122 established READY  b.example.net no",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if table.IKE[0].Initiator || !table.IKE[1].Initiator || !table.IKE[3].Initiator {
		t.Error("who began is not understood")
	}
	if len(table.Children) != 1 {
		t.Fatalf("%d children", len(table.Children))
	}
	c := table.Children[0]
	if c.State != gateways.ChildRekeying || c.PathMTU != 1500 || c.Overhead != 62 || c.NATT != gateways.Yes || c.In.Packets != gateways.Counted(5) || c.Peer.Group != "branches" {
		t.Errorf("%+v", c)
	}
	if want := (gateways.Errors{gateways.Receive: gateways.Counted(3), gateways.Replay: gateways.Counted(2), gateways.Integrity: gateways.Counted(1)}); c.Errors != want {
		t.Errorf("errors %+v", c.Errors)
	}
	if table.Info != (gateways.Info{Type: "cisco_ios", Version: "17.03.04a"}) {
		t.Errorf("%+v", table.Info)
	}
}

// Behind one address there may be several: what is known about one is not said of another.
func TestPeopleBehindANAT(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	p := people{}
	p.learn(gateways.Identity{Address: a, Username: "ann", Group: "branches"})
	p.learn(gateways.Identity{Address: a, Username: "bob", Group: "branches"})
	if got := p.complete(gateways.Identity{Address: a}); got.Username != "" || got.Group != "branches" {
		t.Errorf("%+v", got)
	}
	if got := p.complete(gateways.Identity{Address: a, Username: "bob"}); got.Username != "bob" {
		t.Errorf("%+v", got)
	}
}

func FuzzParsers(f *testing.F) {
	for _, a := range asaAnswers() {
		f.Add(a)
	}
	f.Add("IPv4 Crypto ISAKMP SA\n192.0.2.1 203.0.113.10 QM_IDLE 1001 ACTIVE\nInterface: Tu1\nPeer: 1.1.1.1 port 500\n")
	f.Add("1 none/none READY\nLocal ::1/500\nRemote ::2/500\n <--- More --->\r\x1b[")
	f.Fuzz(func(t *testing.T, text string) {
		lines := len(slices.Collect(screen(text)))
		ike, ipsec, db, ios := parseIKE(t.Context(), text), parseIPsec(t.Context(), text), parseSessions(t.Context(), text), parseIOSSessions(t.Context(), text)
		stats, fragments := parseStats(t.Context(), text, ""), parseFragments(t.Context(), text)
		if len(ike.sas)+ike.unparsed() > lines || len(ipsec.entries)+ipsec.unparsed() > lines || len(ios.sessions)+ios.unparsed() > lines ||
			db.unparsed() > lines || stats.unparsed() > lines || fragments.unparsed() > lines {
			t.Errorf("more is found than there are %d lines", lines)
		}
		parseVersion(t.Context(), text)
		strip(text, "show version")
		lastLine([]byte(text))
		redact([]gateways.Exchange{{Request: "show version", Response: text}, {Request: "x", Response: text}}, []string{"secret"})
		d := device{expected: platformASA, over: scripted{"show crypto isakmp sa": text, "show crypto ipsec sa": text, "show vpn-sessiondb l2l": text}}
		if table, err := d.read(t.Context()); err == nil {
			gateways.NewReading(&table, gateways.NewAttribution(nil), true)
		}
	})
}
