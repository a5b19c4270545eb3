package readers

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/schematest"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// TestSchema holds the JSON of gateways of every type to docs/schemas/gateway.schema.json.
func TestSchema(t *testing.T) {
	schema := schematest.Open("gateway")
	for _, answer := range []struct{ kind, text string }{
		{"cisco_asa", readGateway(t, configOf(t, "cisco_asa", ""), replay(t, exportertest.ASAGateway("MM_ACTIVE", "192.0.2.2", 1500)))},
		{"cisco_asa", readGateway(t, configOf(t, "cisco_asa", ""), replay(t, remoteAccess()))},
		{"cisco_asa", readGateway(t, configOf(t, "cisco_asa", ""), replay(t, exportertest.ASAGateway("AM_TM_INIT_MODECFG_V6H", "192.0.2.2", 0)))},
		{"cisco_ios", readGateway(t, configOf(t, "cisco_ios", ""), replay(t, ios()))},
		{"cisco_ios", readGateway(t, configOf(t, "cisco_ios", ""), losing{replay(t, ios())})},
		{"libreswan", readGateway(t, configOf(t, "libreswan", "program: "+program(t, map[string]string{"--status": libreswan4, "--trafficstatus": libreswanTraffic})), nil)},
		{"libreswan", readGateway(t, configOf(t, "libreswan", "program: "+program(t, map[string]string{"--status": libreswan5})), nil)},
		{"openiked", readGateway(t, configOf(t, "openiked", "program: "+program(t, map[string]string{"show sa": openiked7})), nil)},
		{"strongswan", readGateway(t, configOf(t, "strongswan", "socket: unix://"+charon(t)), nil)},
		{"xfrm", larval(t)},
	} {
		if !strings.Contains(answer.text, `"type": "`+answer.kind+`"`) {
			t.Errorf("%s: the type is missing in %s", answer.kind, answer.text)
		}
		schema.Check(t, answer.kind, []byte(answer.text))
	}
	schema.AllUsed(t)
}

// A losing source knows of losses, as that of a kernel with SAs does.
type losing struct{ gateways.Source }

func (s losing) Read(ctx context.Context) (gateways.Table, error) {
	t, err := s.Source.Read(ctx)
	for i := range t.Children {
		t.Children[i].Lost = gateways.Counted(3)
	}
	return t, err
}

// configOf is a gateway of a type with three peers, of which a device has an SA with some.
func configOf(t *testing.T, kind, more string) *config.Config {
	t.Helper()
	if strings.HasPrefix(kind, "cisco") {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("PLANTED\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		more = "address: 192.0.2.254, transport: ssh, username: u, password_file: " + secret + ", known_hosts_file: " + secret
	}
	file := exportertest.ConfigFile(t, "gateways: [{"+strings.Join([]string{"name: hub", "type: " + kind, more}, ", ")+"}]\n"+
		"peers:\n- {name: branch, address: 192.0.2.2, gateways: [hub]}\n- {name: lost, address: 203.0.113.99, gateways: [hub]}\n"+
		"- {name: vague, address: '2001:db8::7', gateways: [hub]}\n")
	cfg, err := config.ReadAny(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// readGateway is what the command prints, of the configured gateway or of a source in its place.
func readGateway(t *testing.T, cfg *config.Config, source gateways.Source) string {
	t.Helper()
	if source == nil {
		var err error
		if source, err = NewSource(&cfg.Gateways[0], nil); err != nil {
			t.Fatal(err)
		}
		defer source.Close()
	}
	var out bytes.Buffer
	_ = printGateway(t.Context(), source, cfg, &cfg.Gateways[0], &Options{Output: "json", Stdout: &out, Stderr: io.Discard}) // a tunnel is down
	return out.String()
}

func replay(t *testing.T, transcript *gateways.Transcript) gateways.Source {
	t.Helper()
	source, err := ciscoasa.Replay(transcript)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// remoteAccess is an ASA with a hardware client that stops in XAUTH, and its session.
func remoteAccess() *gateways.Transcript {
	t := exportertest.ASAGateway("AM_TM_INIT_XAUTH_V6C", "203.0.113.10", 0)
	t.Exchanges = append(t.Exchanges, gateways.Exchange{Request: "show vpn-sessiondb ra-ikev1-ipsec", Response: `
Session Type: IKEv1 IPsec

Username     : branch1                Index        : 7
Assigned IP  : 10.98.0.10             Public IP    : 203.0.113.10
Protocol     : IKEv1 IPsec
Encryption   : IKEv1: (1)AES256  IPsec: (1)AES256
Bytes Tx     : 1000                   Bytes Rx     : 2000
Group Policy : EZ                     Tunnel Group : EZVPN
Login Time   : 09:00:00 UTC Fri Jan 2 2026
Duration     : 0h:10m:00s
`})
	return t
}

// ios is an IOS router with IKEv1 in use, and one SA that was deleted.
func ios() *gateways.Transcript {
	return &gateways.Transcript{Type: "cisco_ios", Exchanges: []gateways.Exchange{
		{Request: "show version", Response: "Cisco IOS XE Software, Version 17.03.04a\nCisco IOS Software [Amsterdam], ...\n"},
		{Request: "show crypto isakmp sa", Response: "IPv4 Crypto ISAKMP SA\ndst             src             state          conn-id status\n" +
			"192.0.2.1       192.0.2.2       QM_IDLE           1001 ACTIVE\n203.0.113.20    192.0.2.1       MM_NO_STATE          0 ACTIVE (deleted)\n"},
		{Request: "show crypto ikev2 sa detailed"},
		{Request: "show crypto session detail"},
		{Request: "show crypto ipsec sa", Response: `
interface: GigabitEthernet0/0
    Crypto map tag: MAP, local addr 192.0.2.1

   protected vrf: (none)
   local  ident (addr/mask/prot/port): (10.1.0.0/255.255.255.0/0/0)
   remote ident (addr/mask/prot/port): (10.2.0.0/255.255.255.0/0/0)
   current_peer 192.0.2.2 port 500
    #pkts encaps: 5, #pkts encrypt: 5, #pkts digest: 5
    #pkts decaps: 6, #pkts decrypt: 6, #pkts verify: 6

     local crypto endpt.: 192.0.2.1, remote crypto endpt.: 192.0.2.2
     plaintext mtu 1438, path mtu 1500, ip mtu 1500, ip mtu idb GigabitEthernet0/0
     current outbound spi: 0x22222222(572662306)

     inbound esp sas:
      spi: 0x11111111(286331153)
        in use settings ={Tunnel, }
        Status: ACTIVE(ACTIVE)

     outbound esp sas:
      spi: 0x22222222(572662306)
        in use settings ={Tunnel, }
        Status: ACTIVE(ACTIVE)
`},
	}}
}

// Answers of daemons, in the format of their versions.
const (
	libreswan4 = `000 pluto_version=4.10, pluto_vendorid=OE-Libreswan-4.10, audit-log=no
000 "site": 10.2.0.0/24===198.51.100.2[@hub]...192.0.2.2[@branch]===10.1.0.0/24; erouted; eroute owner: #2
000 "site":   our idtype: ID_FQDN; our id=@hub; their idtype: ID_FQDN; their id=@branch
000 "road": 0.0.0.0/0===198.51.100.2[MS+XS+S=C]...%any[@[group],+MC+XC+S=C]; unrouted; eroute owner: #0
000 "road":   our idtype: ID_IPV4_ADDR; our id=198.51.100.2; their idtype: ID_KEY_ID; their id=@[group]
000 #1: "site":500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); REKEY in 27768s; REPLACE in 28799s; newest; idle;
000 #2: "site":500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); REKEY in 27499s; REPLACE in 28087s; newest; eroute owner; IKE SA #1; idle;
000 #3: "road"[1] 203.0.113.9:4500 STATE_MODE_CFG_R1 (ModeCfg Set sent, expecting Ack); REPLACE in 3000s; newest; lastdpd=-1s(seq in:0 out:0); idle;
000 #4: "road"[1] 203.0.113.9:4500 STATE_QUICK_R2 (IPsec SA established); REPLACE in 28526s; newest; eroute owner; isakmp#3; idle;
000 #5: "road"[2] 203.0.113.10:4500 STATE_XAUTH_R0 (XAUTH responder - optional CFG exchange); RETRANSMIT in 3s; lastdpd=-1s(seq in:0 out:0); idle;
`
	libreswanTraffic = `006 #2: "site", type=ESP, add_time=1700000000, inBytes=8200, outBytes=4100, maxBytes=2^63B, id='@branch'
006 #4: "road"[1] 203.0.113.9, username=joe, type=ESP, add_time=1700000100, inBytes=84, outBytes=168, maxBytes=2^63B, lease=10.98.0.10/32
`
	libreswan5 = `pluto_version=5.3, pluto_vendorid=OE-Libreswan-5.3, audit-log=yes
"6in6": 2001:db8::1...2001:db8::7; routed-tunnel, tunnel, owner: Child SA #5; negotiating IKE SA #6;
#5: "6in6":4500 ESTABLISHED_CHILD_SA (established Child SA); REKEY in 10284s; REPLACE in 11212s; newest; eroute owner; IKE SA #6; idle;
#6: "6in6":4500 PONDERING (a word of tomorrow); idle;
#7: "any"[3] 2001:db8::99:500 IKE_SA_INIT_R (sent IKE_SA_INIT response); DISCARD in 194s; idle;
`
	openiked7 = `iked_sas: 0x55a1 rspi 0xa1 ispi 0xb1 192.0.2.1:4500->192.0.2.2:4500<FQDN/b.example.test>[10.9.9.1] ESTABLISHED i natt udpecap nexti (nil) pol 0x55ff
  sa_childsas: 0x66a1 ESP 0x3f52449e out 192.0.2.1:4500 -> 192.0.2.2:4500 (L) B=(nil) P=0x66a2 @0x55a1
  sa_childsas: 0x66a2 ESP 0x9bbfc7dd in 192.0.2.2:4500 -> 192.0.2.1:4500 (LA) B=(nil) P=0x66a1 @0x55a1
iked_sas: 0x55a3 rspi 0xa3 ispi 0xb3 [2001:db8::1]:500->[2001:db8::7]:500<>[] ESTABLISHED r nexti 0x55a9 pol 0x55ff
  sa_childsas: 0x66a3 ESP 0x01 in [2001:db8::7]:500 -> [2001:db8::1]:500 (LRA) B=0x0 P=0x66a4 @0x55a3
iked_sas: 0x55a4 rspi 0xa4 ispi 0xb4 10.0.0.3:500->10.0.0.1:500 CLOSING r nexti 0x0 pol 0xfd9dbf9000
  sa_childsas: 0x66a6 ESP 0x03 in 10.0.0.1:500 -> 10.0.0.3:500 (LA) B=0x0 P=0x66a7 @0x55a4
`
)

// program is a control program that answers by its arguments.
func program(t *testing.T, answers map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var script strings.Builder
	script.WriteString("#!/bin/sh\ncase \"$*\" in\n")
	n := 'a'
	for arguments, answer := range answers {
		file := filepath.Join(dir, string(n))
		n++
		if err := os.WriteFile(file, []byte(answer), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "*'%s') exec cat %s;;\n", arguments, file)
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte(script.String()+"esac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A section is part of a message of VICI, in order: keys with values or sections.
type section []any

// encode is a section on the wire (strongSwan's src/libcharon/plugins/vici/README.md, "Message
// format").
func (s section) encode() (b []byte) {
	for i := 0; i < len(s); i += 2 {
		name := s[i].(string)
		switch v := s[i+1].(type) {
		case section:
			b = append(append(append(b, 1, byte(len(name))), name...), v.encode()...)
			b = append(b, 2)
		case string:
			b = append(append(b, 3, byte(len(name))), name...)
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
		}
	}
	return b
}

// charon is the socket of a strongSwan with an EZVPN client in use, and a child in a state that no
// rule knows.
func charon(t *testing.T) string {
	t.Helper()
	child := func(state string) section {
		return section{
			"name", "net", "uniqueid", "2", "state", state, "encap", "no", "spi-in", "0a", "spi-out", "0b",
			"bytes-in", "10", "packets-in", "1", "bytes-out", "20", "packets-out", "2",
		}
	}
	sa := section{"ez", section{
		"uniqueid", "3", "version", "1", "state", "ESTABLISHED", "local-host", "198.51.100.2", "remote-host", "192.0.2.2", "remote-id", "EZGROUP", "remote-xauth-id", "hwclient",
		"initiator-spi", "01", "responder-spi", "02", "established", "3", "child-sas",
		section{"net-1", child("INSTALLED"), "net-2", child("PONDERING"), "net-3", child("CREATED")},
	}}
	path := filepath.Join(t.TempDir(), "v")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveVICI(c, map[string]section{"version": {"daemon", "charon", "version", "5.9.8"}}, sa)
		}
	}()
	return path
}

// serveVICI answers commands until the client closes its connection.
func serveVICI(c net.Conn, replies map[string]section, sa section) {
	defer c.Close()
	send := func(b []byte) { _, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)) }
	for {
		var length uint32
		if binary.Read(c, binary.BigEndian, &length) != nil {
			return
		}
		b := make([]byte, length)
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		switch name := string(b[2 : 2+int(b[1])]); b[0] {
		case 3, 4: // an event is registered, or no longer
			send([]byte{5})
		case 0:
			if name == "list-sas" {
				send(append([]byte("\x07\x07list-sa"), sa.encode()...))
			}
			send(append([]byte{1}, replies[name].encode()...))
		}
	}
}

// larval is the answer of a kernel that negotiates one SA.
func larval(t *testing.T) (text string) {
	t.Helper()
	ns := netlab.New(t)
	ns.Do(t, func() {
		if _, err := netlink.XfrmStateAllocSpi(&netlink.XfrmState{
			Src: netip.MustParseAddr("192.0.2.2").AsSlice(), Dst: netip.MustParseAddr("192.0.2.1").AsSlice(),
			Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 7,
		}); err != nil {
			t.Fatal(err)
		}
		text = readGateway(t, configOf(t, "xfrm", ""), nil)
	})
	return text
}
