package ciscoasa

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
)

// child is an entry of `show crypto ipsec sa` of ASA 9.16, which names the VRF before the selectors.
func child(peer, net string) string {
	return strings.NewReplacer("PEER", peer, "NET", net).Replace(`    Crypto map tag: outside_map, seq num: 10, local addr: 198.51.100.2

      access-list acl extended permit ip 10.2.0.0 255.255.255.0 NET 255.255.255.0
      Protected vrf (ivrf): Global
      local ident (addr/mask/prot/port): (10.2.0.0/255.255.255.0/0/0)
      remote ident (addr/mask/prot/port): (NET/255.255.255.0/0/0)
      current_peer: PEER

      #pkts encaps: 5, #pkts encrypt: 5, #pkts digest: 5
      #pkts decaps: 6, #pkts decrypt: 6, #pkts verify: 6
      #pkts not offload decrypted: 0

      local crypto endpt.: 198.51.100.2/0, remote crypto endpt.: PEER/0
      path mtu 1500, ipsec overhead 74(44), media mtu 1500

    inbound esp sas:
      spi: 0x11111111 (286331153)
         in use settings ={L2L, Tunnel, IKEv1, }
    outbound esp sas:
      spi: 0x22222222 (572662306)
         in use settings ={L2L, Tunnel, IKEv1, }
`)
}

// devices are answers about the tunnels of 192.0.2.2 and 2001:db8::3, by the version that prints
// them.
func devices() map[string]scripted {
	asa := "interface: outside\n" + child("192.0.2.2", "10.1.0.0") + child("2001:db8::3", "10.3.0.0")
	return map[string]scripted{
		"ASA 9.16, IKEv1": {
			"show version": "Cisco Adaptive Security Appliance Software Version 9.16(4)\n",
			"show crypto isakmp sa detail": `IKEv1 SAs:

   Active SA: 2
    Rekey SA: 0 (A tunnel will report 1 Active and 1 Rekey SA during rekey)
Total IKE SA: 2

1   IKE Peer: 192.0.2.2
    Type    : L2L             Role    : initiator
    Rekey   : no              State   : MM_ACTIVE
2   IKE Peer: 2001:db8::3
    Type    : L2L             Role    : responder
    Rekey   : no              State   : MM_ACTIVE

There are no IKEv2 SAs
`,
			"show crypto ipsec sa": asa,
		},
		"FTD 7.4, IKEv2": {
			"show version": "Model : Cisco Firepower 1010 Threat Defense (78) Version 7.4.1 (Build 172)\n",
			"show crypto isakmp sa detail": `There are no IKEv1 SAs

IKEv2 SAs:

Session-id:1, Status:UP-ACTIVE, IKE count:1, CHILD count:1

Tunnel-id Local                                               Remote                                                  fvrf/ivrf              Status         Role
  3686011 198.51.100.2/500                                    192.0.2.2/500                                           Global/Global           READY    INITIATOR
      Encr: AES-CBC, keysize: 256, Hash: SHA512, DH Grp:14, Auth sign: PSK, Auth verify: PSK
      Life/Active Time: 86400/880 sec
Child sa: local selector  10.2.0.0/0 - 10.2.0.255/65535
          remote selector 10.1.0.0/0 - 10.1.0.255/65535
          ESP spi in/out: 0x11111111/0x22222222

Session-id:2, Status:UP-ACTIVE, IKE count:1, CHILD count:1

Tunnel-id Local                                               Remote                                                  fvrf/ivrf              Status         Role
  3686012 2001:db8::2/500                                     2001:db8::3/500                                         Global/Global           READY    RESPONDER
      Encr: AES-CBC, keysize: 256, Hash: SHA512, DH Grp:14, Auth sign: PSK, Auth verify: PSK
      Life/Active Time: 86400/881 sec
`,
			"show crypto ipsec sa": strings.ReplaceAll(asa, "ipsec overhead 74(44),", "ipsec overhead 74(44), override mtu 1500,"),
		},
		"IOS 15.7": {
			"show version": "Cisco IOS Software, C2900 Software (C2900-UNIVERSALK9-M), Version 15.7(3)M8, RELEASE SOFTWARE (fc1)\n",
			"show crypto isakmp sa": `IPv4 Crypto ISAKMP SA
dst             src             state          conn-id status
198.51.100.2    192.0.2.2       QM_IDLE           1002 ACTIVE

IPv6 Crypto ISAKMP SA

 dst: 2001:DB8::3
 src: 2001:DB8::2
 state: QM_IDLE         conn-id:   1005 status: ACTIVE

`,
			"show crypto ikev2 sa detailed": "",
			"show crypto session detail":    "",
			"show crypto ipsec sa": `
interface: Tunnel100
    Crypto map tag: Tunnel100-head-0, local addr 2001:DB8::2

   protected vrf: (none)
   local  ident (addr/mask/prot/port): (::/0/0/0)
   remote ident (addr/mask/prot/port): (::/0/0/0)
   current_peer 2001:DB8::3 port 500
     PERMIT, flags={origin_is_acl,}
    #pkts encaps: 5, #pkts encrypt: 5, #pkts digest: 5
    #pkts decaps: 6, #pkts decrypt: 6, #pkts verify: 6

     local crypto endpt.: 2001:DB8::2,
     remote crypto endpt.: 2001:DB8::3
     plaintext mtu 1438, path mtu 1500, ipv6 mtu 1500, ipv6 mtu idb FastEthernet0/0
     current outbound spi: 0x11111111(286331153)

     inbound esp sas:
      spi: 0x22222222(572662306)
        in use settings ={Tunnel, }
        Status: ACTIVE(ACTIVE)

     outbound esp sas:
      spi: 0x11111111(286331153)
        in use settings ={Tunnel, }
        Status: ACTIVE(ACTIVE)

interface: GigabitEthernet0
    Crypto map tag: vpn, local addr 198.51.100.2

   protected vrf: (none)
   local  ident (addr/mask/prot/port): (10.2.0.0/255.255.255.0/0/0)
   remote ident (addr/mask/prot/port): (10.1.0.0/255.255.255.0/0/0)
   current_peer 192.0.2.2 port 500
    #pkts encaps: 5, #pkts encrypt: 5, #pkts digest: 5
    #pkts decaps: 6, #pkts decrypt: 6, #pkts verify: 6

     local crypto endpt.: 198.51.100.2, remote crypto endpt.: 192.0.2.2
     plaintext mtu 1438, path mtu 1500, ip mtu 1500, ip mtu idb GigabitEthernet0

     inbound esp sas:
      spi: 0x33333333(858993459)
        in use settings ={Tunnel, }
     inbound ah sas:
     inbound pcp sas:
      spi: 0x1234(4660)
        in use settings ={Tunnel, }
     outbound esp sas:
      spi: 0x44444444(1145324612)
        in use settings ={Tunnel, }
     outbound ah sas:
     outbound pcp sas:
`,
		},
	}
}

// tunnels returns whether the two tunnels are up.
func tunnels(t *testing.T, s scripted) (map[string]gateways.Answer, gateways.Table, error) {
	t.Helper()
	d := device{expected: platformASA, over: s}
	table, err := d.read(t.Context())
	if err != nil {
		return nil, table, err
	}
	r := gateways.NewReading(&table, gateways.NewAttribution([]gateways.Peer{
		{Name: "four", Address: netip.MustParseAddr("192.0.2.2"), Expected: true},
		{Name: "six", Address: netip.MustParseAddr("2001:db8::3"), Expected: true},
	}), false)
	return map[string]gateways.Answer{"four": r.Find("four").Up, "six": r.Find("six").Up}, table, nil
}

func TestDevices(t *testing.T) {
	for version, s := range devices() {
		up, table, err := tunnels(t, s)
		if err != nil || up["four"] != gateways.Yes || up["six"] != gateways.Yes || table.Unparsed != 0 || len(table.Doubts) != 0 {
			t.Errorf("%s: up %v, first line not understood %q, doubts %v, %v", version, up, table.FirstUnparsed, table.Doubts, err)
			continue
		}
		if len(table.IKE) != 2 || len(table.Children) != 2 {
			t.Errorf("%s: %+v", version, table)
		}
		for _, c := range table.Children {
			if c.PathMTU != 1500 || c.In.Packets != gateways.Counted(6) || c.Out.Packets != gateways.Counted(5) {
				t.Errorf("%s: %+v", version, c)
			}
		}
	}
}

// No line that is missing, cut off or changed makes a tunnel down.
func TestNoLineMakesATunnelDown(t *testing.T) {
	for version, good := range devices() {
		for _, command := range slices.Sorted(maps.Keys(good)) {
			if command == "show version" {
				continue
			}
			lines := strings.Split(good[command], "\n")
			for i, line := range lines {
				variants := []string{""}
				for at := i % 11; at < len(line); at += 11 {
					variants = append(variants, line[:at], line[:at]+"~"+line[at+1:])
				}
				for _, v := range variants {
					bad := maps.Clone(good)
					bad[command] = strings.Join(slices.Concat(lines[:i], []string{v}, lines[i+1:]), "\n")
					up, _, err := tunnels(t, bad)
					for peer, is := range up {
						if is == gateways.No {
							t.Errorf("%s: %s is down with the line %q in place of %q (%v)", version, peer, v, line, err)
						}
					}
				}
			}
		}
	}
}

func TestOverrideMTU(t *testing.T) {
	for line, want := range map[string]int{
		"path mtu 1500, ipsec overhead 74(44), media mtu 1500":                    1500,
		"path mtu 1500, ipsec overhead 74(44), override mtu 1500, media mtu 1500": 1500,
		// Which of them the device uses is not documented.
		"path mtu 1500, ipsec overhead 74(44), override mtu 1400, media mtu 1500":  0,
		"path mtu 1500, ipsec overhead 74(44), media mtu 1500\n override mtu 1400": 0,
	} {
		got := parseIPsec(t.Context(), "local ident (addr/mask/prot/port): (0/0/0/0)\ncurrent_peer: 192.0.2.2\n"+line)
		if got.unparsed() != 0 || got.entries[0].PathMTU != want || got.entries[0].Overhead != 74 {
			t.Errorf("%s: %+v", line, got.entries[0])
		}
	}
}

// Without a child SA it is unknown which end of an IKEv1 SA of IOS is the peer.
func TestEitherEnd(t *testing.T) {
	for row, want := range map[string]gateways.Answer{
		"198.51.100.2    192.0.2.2       QM_IDLE           1002 ACTIVE\n":           gateways.Unknown,
		"198.51.100.2    192.0.2.2       MM_NO_STATE          0 ACTIVE (deleted)\n": gateways.No,
		"198.51.100.2    192.0.2.9       QM_IDLE           1002 ACTIVE\n":           gateways.No,
	} {
		up, _, err := tunnels(t, scripted{
			"show version":          "Cisco IOS Software, C2900 Software (C2900-UNIVERSALK9-M), Version 15.7(3)M8\n",
			"show crypto isakmp sa": "dst             src             state          conn-id status\n" + row, "show crypto ipsec sa": "",
		})
		if err != nil || up["four"] != want {
			t.Errorf("%s: up is %s, want %s, %v", row, up["four"], want, err)
		}
	}
}

func TestTablesThatAreNotUnderstood(t *testing.T) {
	for version, good := range devices() {
		for _, command := range []string{"show crypto isakmp sa detail", "show crypto isakmp sa", "show crypto ipsec sa"} {
			if good[command] == "" {
				continue
			}
			bad := maps.Clone(good)
			bad[command] = strings.NewReplacer("e", "x", "r", "z", "s", "y", "E", "X").Replace(good[command])
			if up, table, err := tunnels(t, bad); err == nil {
				t.Errorf("%s: %s: %v, %+v", version, command, up, table)
			}
		}
	}
}
