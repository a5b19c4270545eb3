package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
)

// badFiles returns the problems of each file of testdata/bad, one file per kind of mistake.
func badFiles() map[string][]string {
	long := strings.Repeat("x", 256)
	return map[string][]string{
		"address_list": {
			`config.yml:2: peers[0]: address: must be a single value, not a list`,
		},
		"bad_address": {
			`config.yml:2: peers[0] ("203.0.113.300"): address: "203.0.113.300" is not a valid IPv4 address`,
			`config.yml:3: peers[1] ("203.0.113"): address: "203.0.113" is not a valid IPv4 address`,
			`config.yml:4: peers[2] ("203.0.113.10:500"): address: "203.0.113.10:500" has a port: set ike.port instead`,
			`config.yml:5: peers[3] ("vpn.example.net:500"): address: "vpn.example.net:500" has a port: set ike.port instead`,
			`config.yml:6: peers[4] ("[2001:db8::1]:500"): address: "[2001:db8::1]:500" has a port: set ike.port instead`,
			`config.yml:7: peers[5] ("[2001:db8::1]"): address: "[2001:db8::1]" has brackets: write the IPv6 address without them`,
			`config.yml:8: peers[6] ("2001:db8::1::2"): address: "2001:db8::1::2" is not a valid IPv6 address`,
			`config.yml:9: peers[7] ("203.0.113.0/24"): address: "203.0.113.0/24" is a URL or a prefix: must be a host name or IP address`,
			`config.yml:10: peers[8] ("https://vpn.example.net"): address: "https://vpn.example.net" is a URL or a prefix: must be a host name or IP address`,
			`config.yml:11: peers[9] ("-vpn.example.net"): address: "-vpn.example.net" is not a host name or IP address`,
			`config.yml:12: peers[10] ("vpn..example.net"): address: "vpn..example.net" is not a host name: the name or a label is empty or too long`,
			`config.yml:13: peers[11] ("vpn example"): address: "vpn example" is not a host name or IP address`,
			`config.yml:14: peers[12] ("münchen.example"): address: "münchen.example" is not a host name in ASCII form (xn--...)`,
			`config.yml:15: peers[13] ("::ffff:203.0.113.10"): address: "::ffff:203.0.113.10" is an IPv4-mapped IPv6 address: write 203.0.113.10`,
			`config.yml:16: peers[14] ("0.0.0.0"): address: "0.0.0.0" is not a unicast address`,
			`config.yml:17: peers[15] ("239.1.1.1"): address: "239.1.1.1" is not a unicast address`,
			`config.yml:18: peers[16] ("255.255.255.255"): address: "255.255.255.255" is not a unicast address`,
			`config.yml:19: peers[17] ("::"): address: "::" is not a unicast address`,
		},
		"bad_name": {
			`config.yml:2: peers[0] ("a/b"): name: "a/b" cannot be part of a URL`,
			`config.yml:3: peers[1] ("a\tb"): name: "a\tb" has unprintable characters`,
			`config.yml:4: peers[2] (" a"): name: " a" begins or ends with a space`,
			`config.yml:5: peers[3] (".."): name: ".." cannot be part of a URL`,
			`config.yml:6: peers[4] ("_unmatched"): name: "_unmatched" is reserved for SAs without a peer`,
			`config.yml:7: peers[5] ("` + long + `"): name: "` + long + `" is longer than 255 bytes`,
		},
		"collectors": {
			`config.yml:3: modules.default: collectors[1]: "icmp" is listed twice`,
			`config.yml:3: modules.default: collectors[2]: unknown value "ping": must be one of: icmp, ike, pmtu, fragments, protocols, flows, partner`,
			`config.yml:5: modules.a: collectors: is empty: a peer needs at least one collector`,
			`config.yml:7: modules.b: collectors: must be a list, not the single value "icmp"`,
		},
		"controls": {
			`config.yml:2: controls[1]: "one.example.net" is a host name: controls must be IP addresses, to work without DNS`,
			`config.yml:2: controls[2]: "192.0.2.53" is listed twice`,
			`config.yml:2: controls[3]: "fe80::1%eth0" has a zone: write fe80::1, and interface: eth0`,
			`config.yml:2: controls[4]: must be a single value, not a mapping`,
		},
		"comment_only": {
			`config.yml: no peers: write for example ` + "`" + `peers: [{address: 203.0.113.10}]` + "`" + `, or give --peer=203.0.113.10`,
		},
		"duplicate_key": {
			`config.yml:4: peers[0] ("a"): duplicate key "address" (first on line 2)`,
		},
		"duplicate_name": {
			`config.yml:4: peers[2] ("hq"): name: "hq" is already the name of peers[0] (config.yml:2)`,
			`config.yml:5: peers[3] ("203.0.113.11"): name: "203.0.113.11" is already the name of peers[1] (config.yml:3)`,
		},
		"empty": {
			`config.yml: no peers: write for example ` + "`" + `peers: [{address: 203.0.113.10}]` + "`" + `, or give --peer=203.0.113.10`,
		},
		"esp": {
			`config.yml:3: modules.default: esp.cipher: unknown cipher "aes-cbc-sha-1": did you mean "aes-cbc-sha1"?`,
			`config.yml:3: modules.default: esp.natt: unknown value "maybe": must be one of: auto, always, never`,
			`config.yml:5: modules.a: esp.cipher: unknown cipher "blowfish": must be one of: aes-cbc-md5, aes-cbc-sha1, aes-cbc-sha256, aes-cbc-sha384, aes-cbc-sha512, 3des-md5, 3des-sha1, 3des-sha256, 3des-sha384, 3des-sha512, aes-gcm-16, aes-gcm-12, aes-gcm-8, chacha20-poly1305, null-md5, null-sha1, null-sha256, null-sha384, null-sha512`,
		},
		"everything_at_once": {
			`config.yml:3: modules.default: ike.version: unknown value "3": must be one of: auto, 1, 2`,
			`config.yml:5: peers[0] ("203.0.113.300"): address: "203.0.113.300" is not a valid IPv4 address`,
			`config.yml:6: peers[0] ("203.0.113.300"): module: unknown module "none": must be one of: default`,
			`config.yml:7: peers[1] ("hq"): address: is missing: must be a host name or IP address`,
			`config.yml:8: peers[1] ("hq"): labels.le: is reserved by Prometheus or by the exporter's own series`,
			`config.yml:9: limits.searches: "none" is not a whole number from 1 to 10000`,
		},
		"family": {
			`config.yml:4: peers[0] ("203.0.113.10"): address: "203.0.113.10" is not of family ip6`,
			`config.yml:5: peers[1] ("2001:db8::1"): address: "2001:db8::1" is not of family ip4`,
			`config.yml:6: peers[2] ("vpn.example.net"): family: unknown value "ipv4": must be one of: any, ip4, ip6, both`,
		},
		"fwmark": {
			`config.yml:2: modules.default: fwmark: "-1" is not a firewall mark: 0 to 4294967295, or hexadecimal like 0x10`,
			`config.yml:4: peers[0] ("203.0.113.10"): fwmark: "0x100000000" is not a firewall mark: 0 to 4294967295, or hexadecimal like 0x10`,
			`config.yml:5: peers[1] ("203.0.113.11"): fwmark: "wan0" is not a firewall mark: 0 to 4294967295, or hexadecimal like 0x10`,
		},
		"gateways": {
			`config.yml:2: gateways[0]: name: is missing: peers refer to gateways by name`,
			`config.yml:3: gateways[1] ("a/b"): name: "a/b" cannot be part of a URL`,
			`config.yml:4: gateways[2] ("hub"): enable: unknown value "16": must be login or a privilege level from 1 to 15`,
			`config.yml:4: gateways[2] ("hub"): socket: is not supported by type cisco_asa with transport ssh`,
			`config.yml:4: gateways[2] ("hub"): address: is missing: required by type cisco_asa with transport ssh`,
			`config.yml:4: gateways[2] ("hub"): username: is missing: required by type cisco_asa with transport ssh`,
			`config.yml:4: gateways[2] ("hub"): password_file: is missing: required by type cisco_asa with transport ssh`,
			`config.yml:4: gateways[2] ("hub"): known_hosts_file: is missing: required by type cisco_asa with transport ssh`,
			`config.yml:4: gateways[2] ("hub"): enable: requires enable_password_file`,
			`config.yml:5: gateways[3] ("hub"): interval: "100ms" is below the minimum of 1s`,
			`config.yml:5: gateways[3] ("hub"): name: "hub" is already the name of another gateway`,
			`config.yml:5: gateways[3] ("hub"): address: is not supported by type strongswan`,
			`config.yml:6: gateways[4] ("c"): address: "192.0.2.1:" has the port "": must be a whole number from 1 to 65535`,
			`config.yml:6: gateways[4] ("c"): username: must be one line and not empty`,
			`config.yml:6: gateways[4] ("c"): insecure: unknown value "maybe": must be one of: true, false`,
			`config.yml:6: gateways[4] ("c"): context: is not supported by type cisco_ios with transport https`,
			`config.yml:6: gateways[4] ("c"): transport: must be ssh for type cisco_ios`,
			`config.yml:7: gateways[5] ("d"): type: unknown value "asa": must be one of: cisco_asa, cisco_ios, strongswan, libreswan, openiked, xfrm`,
			`config.yml:8: gateways[6] ("e"): type: is missing: must be one of: cisco_asa, cisco_ios, strongswan, libreswan, openiked, xfrm`,
			`config.yml:9: gateways[7] ("f"): transport: unknown value "telnet": must be one of: ssh, https`,
			`config.yml:9: gateways[7] ("f"): address: "192.0.2.1/32" is a URL or a prefix: must be a host name or IP address`,
			`config.yml:9: gateways[7] ("f"): enable: requires enable_password_file`,
			`config.yml:9: gateways[7] ("f"): interval: 1s is below the minimum of 5s for devices`,
			`config.yml:10: gateways[8] ("g"): unmatched: unknown value "some": must be one of: count, each`,
			`config.yml:10: gateways[8] ("g"): timeout: 10s is longer than the interval of 5s`,
			`config.yml:11: gateways[9]: must be a mapping of keys to values, not the single value "xfrm"`,
			`config.yml:12: gateways[10] ("h"): insecure: trusts any certificate: remove it or ca_file`,
			`config.yml:13: gateways[11] ("i"): address: "192.0.2.1:99999" has the port "99999": must be a whole number from 1 to 65535`,
			`config.yml:13: gateways[11] ("i"): context: "a b" is not a context name: remove the spaces`,
			`config.yml:14: gateways[12] ("j"): address: "asa:ssh" has the port "ssh": must be a whole number from 1 to 65535`,
			`config.yml:15: gateways[13] ("k"): address: "fe80::1%eth0" is a link-local address: use a routed address of the gateway`,
			`config.yml:16: gateways[14] ("l"): socket: "unix://run/charon.vici" must have the form unix:///path`,
			`config.yml:17: gateways[15] ("m"): socket: "tcp://192.0.2.1" must have the form tcp://address:port`,
			`config.yml:18: gateways[16] ("n"): socket: "192.0.2.1:0" has the port "0": must be a whole number from 1 to 65535`,
			`config.yml:19: gateways[17] ("o"): socket: "http://192.0.2.1:80" must have the form unix:///path or tcp://address:port, or be a path`,
			`config.yml:20: gateways[18] ("p"): socket: must be the path of a socket, not a URL`,
			`config.yml:22: peers[0] ("203.0.113.10"): gateways[1]: unknown gateway "hubb": did you mean "hub"?`,
			`config.yml:22: peers[0] ("203.0.113.10"): gateways[2]: "hub" is listed twice`,
			`config.yml:22: peers[0] ("203.0.113.10"): gateways[3]: must be a single value, not a list`,
			`config.yml:23: peers[1] ("203.0.113.11"): gateways: must be a list, not the single value "hub"`,
			`config.yml:23: peers[1] ("203.0.113.11"): on_demand: unknown value "sometimes": must be one of: true, false`,
			`config.yml:24: peers[2] ("203.0.113.12"): match: unknown key "adresses": did you mean "addresses"?`,
			`config.yml:24: peers[2] ("203.0.113.12"): match.ids: must be a list, not the single value "one"`,
			`config.yml:24: peers[2] ("203.0.113.12"): match.groups[0]: must be one line and not empty`,
		},
		"no_gateways": {
			`config.yml:2: peers[0] ("203.0.113.10"): gateways[0]: unknown gateway "hub": no gateways are configured`,
		},
		"ike": {
			`config.yml:3: modules.default: ike.version: unknown value "3": must be one of: auto, 1, 2`,
			`config.yml:3: modules.default: ike.port: "0" is not a whole number from 1 to 65535`,
			`config.yml:3: modules.default: ike.natt_port: "65536" is not a whole number from 1 to 65535`,
			`config.yml:3: modules.default: ike.auth: unknown value "eap": must be one of: psk, xauth, rsa`,
		},
		"interface": {
			`config.yml:2: modules.default: interface: "this-is-too-long" is not a valid interface name`,
			`config.yml:3: modules.a: interface: "a/b" is not a valid interface name`,
		},
		"intervals": {
			`config.yml:3: modules.default: intervals.icmp: "10ms" is below the minimum of 100ms`,
			`config.yml:3: modules.default: intervals.ike: "5s" is below the minimum of 10s: with more frequent IKE messages the gateway may lock out the real peer`,
			`config.yml:3: modules.default: intervals.pmtu: "1s" is below the minimum of 10s: with more frequent IKE messages the gateway may lock out the real peer`,
			`config.yml:3: modules.default: intervals.pmtu_raise: "2w" is above the maximum of 1w`,
			`config.yml:5: modules.a: intervals.icmp: "5" is not a duration (examples: 5s, 1m30s, 1d)`,
			`config.yml:5: modules.a: intervals.ike: "often" is not a duration (examples: 5s, 1m30s, 1d)`,
			`config.yml:5: modules.a: intervals.pmtu: "-1m" is below the minimum of 10s: with more frequent IKE messages the gateway may lock out the real peer`,
			`config.yml:5: modules.a: intervals.pmtu_raise: "0" is below the minimum of 10s`,
		},
		"labels": {
			`config.yml:3: peers[0] ("203.0.113.10"): labels.job: is reserved by Prometheus or by the exporter's own series`,
			`config.yml:3: peers[0] ("203.0.113.10"): labels.__meta: is reserved by Prometheus, like all names that begin with __`,
			`config.yml:3: peers[0] ("203.0.113.10"): labels.peer: is reserved by Prometheus or by the exporter's own series`,
			`config.yml:3: peers[0] ("203.0.113.10"): labels.1st: is not a valid label name (letters, digits and underscores, no leading digit)`,
			`config.yml:3: peers[0] ("203.0.113.10"): labels.my-site: is not a valid label name (letters, digits and underscores, no leading digit)`,
			`config.yml:3: peers[0] ("203.0.113.10"): labels.site: must be a single value, not a list`,
			`config.yml:5: peers[1] ("203.0.113.11"): labels: must be a mapping of keys to values, not the single value "site"`,
			`config.yml:7: peers[2] ("203.0.113.12"): labels: duplicate key "site" (first on line 7)`,
		},
		"limits": {
			`config.yml:2: limits.packets_per_second: "0" is not a whole number from 1 to 1000000`,
			`config.yml:2: limits.bytes_per_second: "fast" is not a number of bytes (examples: 500kB, 2MB, 2000000)`,
			`config.yml:2: limits.searches: "1.5" is not a whole number from 1 to 10000`,
		},
		"limits_bytes": {
			`config.yml:2: limits.bytes_per_second: "1kB" is below the minimum of 10kB: a path MTU search sends large packets`,
		},
		"limits_list": {
			`config.yml:2: limits: must be a mapping of keys to values, not a list`,
		},
		"link_local": {
			`config.yml:2: peers[0] ("fe80::1"): address: "fe80::1" is a link-local address: it requires interface`,
		},
		"merge_key": {
			`config.yml:4: modules.b: merge keys (<<) are not supported: use a module for shared settings`,
		},
		"no_address": {
			`config.yml:2: peers[0] ("hq"): address: is missing: must be a host name or IP address`,
			`config.yml:3: peers[1]: address: is missing: must be a host name or IP address`,
		},
		"no_peers": {
			`config.yml: no peers: write for example ` + "`" + `peers: [{address: 203.0.113.10}]` + "`" + `, or give --peer=203.0.113.10`,
		},
		"not_utf8": {
			`config.yml: invalid YAML: invalid leading UTF-8 octet`,
		},
		"not_yaml": {
			`config.yml:3: invalid YAML: did not find expected ',' or '}'`,
		},
		"not_yaml_first_line": {
			`config.yml:1: invalid YAML: did not find expected node content`,
		},
		"not_yaml_mapping": {
			`config.yml:2: invalid YAML: did not find expected key`,
		},
		"peer_scalar": {
			`config.yml:2: peers[0]: must be a mapping of keys to values, not the single value "203.0.113.10"`,
			`config.yml:3: peers[1]: must be a mapping of keys to values, not nothing`,
		},
		"peers_mapping": {
			`config.yml:2: peers: must be a list, not a mapping`,
		},
		"raise": {
			`config.yml:2: modules.default: intervals.pmtu_raise: 10m is shorter than the pmtu interval of 20m`,
			`config.yml:7: peers[1] ("203.0.113.11"): intervals.pmtu_raise: 10m is shorter than the pmtu interval of 15m`,
		},
		"same_ports": {
			`config.yml:2: modules.default: ike.natt_port: 4500 is also ike.port: messages with and without the non-ESP marker need different ports`,
			`config.yml:8: peers[2] ("203.0.113.12"): ike.natt_port: 500 is also ike.port: messages with and without the non-ESP marker need different ports`,
		},
		"partner": {
			`config.yml:2: modules.default: collectors: has partner, and no partner is configured (set partner.key_file)`,
			`config.yml:6: peers[0] ("203.0.113.10"): partner.key_file: is missing (a partner needs a key, or mode: unauthenticated)`,
			`config.yml:7: peers[1] ("203.0.113.11"): partner.mode: is unauthenticated, and there is a key file (remove one of them)`,
			`config.yml:8: peers[2] ("203.0.113.12"): partner.address: 2001:db8::1 does not fit the family ip4`,
			`config.yml:9: peers[3] ("203.0.113.13"): partner.dscp: "64" is not a whole number from 0 to 63`,
			`config.yml:9: peers[3] ("203.0.113.13"): partner.mode: unknown value "secret": must be one of: authenticated, unauthenticated`,
			`config.yml:10: peers[4] ("203.0.113.14"): partner: unknown key "keyfile": did you mean "key_file"?`,
			`config.yml:11: partners.listen: "10862" must have the form :PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT`,
			`config.yml:11: partners: unknown key "port": must be one of: listen, unauthenticated, packets_per_second, partner_packets_per_second`,
		},
		"partners": {
			`config.yml:2: partners.listen: is missing (example: ":10862")`,
		},
		"source_address": {
			`config.yml:2: peers[0] ("203.0.113.10"): source_address: "eth0" is not an IP address`,
			`config.yml:3: peers[1] ("203.0.113.11"): address: "203.0.113.11" is not of the same family as the source address 2001:db8::1`,
			`config.yml:4: peers[2] ("203.0.113.12"): source_address: "fe80::1%eth0" has a zone: write fe80::1, and interface: eth0`,
			`config.yml:5: peers[3] ("203.0.113.13"): source_address: "0.0.0.0" is not a unicast address`,
		},
		"source_family": {
			`config.yml:2: modules.default: source_address: 2001:db8::1 is not of family ip4`,
			`config.yml:7: peers[2] ("vpn3.example.net"): source_address: 2001:db8::2 is not of family ip4`,
		},
		"tab": {
			`config.yml:2: invalid YAML: found character that cannot start any token`,
		},
		"top_level_list": {
			`config.yml:1: must be a mapping of keys to values, not a list`,
		},
		"two_documents": {
			`config.yml:2: second YAML document: only one is supported`,
		},
		"unknown_key_nested": {
			`config.yml:3: modules.default: intervals: unknown key "ipmtu": did you mean "pmtu"?`,
		},
		"unknown_key_peer": {
			`config.yml:3: peers[0] ("203.0.113.10"): unknown key "adresss": did you mean "address"?`,
			`config.yml:4: peers[0] ("203.0.113.10"): unknown key "colour": must be one of: name, address, module, labels, gateways, match, inside, family, source_address, interface, fwmark, ike, esp, collectors, on_demand, intervals, partner`,
		},
		"unknown_key_top": {
			`config.yml:1: unknown key "peer": did you mean "peers"?`,
		},
		"unknown_module": {
			`config.yml:4: peers[0] ("203.0.113.10"): module: unknown module "branch": did you mean "branches"?`,
			`config.yml:5: peers[1] ("203.0.113.11"): module: unknown module "x": must be one of: branches, default`,
		},
		"zone": {
			`config.yml:2: peers[0] ("fe80::1%eth0"): address: "fe80::1%eth0" has a zone: write fe80::1, and interface: eth0`,
		},
	}
}

func TestBadFiles(t *testing.T) {
	want := badFiles()
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) != len(want) {
		t.Errorf("%d files, %d expectations: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Parse("config.yml", data)
			if err == nil || got != nil {
				t.Fatalf("Parse gave %v, %v; want an error", got, err)
			}
			if diff := cmp.Diff(want[name], strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
