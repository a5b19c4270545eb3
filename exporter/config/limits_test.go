package config_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/ikeprobe"
)

func TestBytesPerSecond(t *testing.T) {
	for text, want := range map[string]int{
		"2000000": 2_000_000, "2MB": 2_000_000, "2 MB": 2_000_000, "1.5MB": 1_500_000, "500kB": 500_000, "500KB": 500_000, "10000B": 10_000,
		"1GB": 1_000_000_000, "2MiB": 2 << 20, "64KiB": 64 << 10, "1GiB": 1 << 30,
	} {
		if got := parse(t, "peers: [{address: a.example}]\nlimits: {bytes_per_second: "+text+"}").Limits.BytesPerSecond; got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"2mb", "2Mb", "MB", "-2MB", "1e6", "2MBB", "0x100000", "NaN", "Inf", "3GB", "10000.5", `""`, "2M", "2iB"} {
		_, err := config.Parse("", []byte("peers: [{address: a.example}]\nlimits: {bytes_per_second: "+text+"}"))
		if err == nil || !strings.Contains(err.Error(), "is not a number of bytes") {
			t.Errorf("%s: error is %v", text, err)
		}
	}
}

func TestPacketRate(t *testing.T) {
	ike := func(f ikeprobe.Form) float64 { return float64(48 + ikeprobe.Size(f, ikeprobe.PSK, true)) }
	for _, tc := range []struct {
		name, peers    string
		packets, bytes float64
	}{
		{"default", `{address: a.example}`, 1.0/5 + 2.0/30 + 3.0/60 + 3.0/600 + 4.0/300 + 11.0/900, 104.0/5 + 2*ike(ikeprobe.V2BadKE)/30 + 4500.0/60 + 4500.0/600 + 3000.0/300 + 11*ike(ikeprobe.V2BadKE)/900},
		{"icmp only", `{address: a.example, collectors: [icmp], intervals: {icmp: 1s}}`, 1, 104},
		{"IKEv1 only", `{address: a.example, collectors: [ike], ike: {version: 1}}`, 2.0 / 30, 2 * ike(ikeprobe.V1Main) / 30},
		{"two", `{address: a.example, collectors: [pmtu]}, {address: b.example, collectors: [icmp]}`, 0.055 + 0.2, 82.5 + 20.8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			packets, bytes := parse(t, "peers: ["+tc.peers+"]").PacketRate()
			if math.Abs(packets-tc.packets) > 1e-9 || math.Abs(bytes-tc.bytes) > 1e-6 {
				t.Errorf("%v packets/s and %v bytes/s, want %v and %v", packets, bytes, tc.packets, tc.bytes)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	var fifteenPeers strings.Builder
	for i := range 15 {
		fmt.Fprintf(&fifteenPeers, "- {address: 192.0.2.%d}\n", i+1)
	}
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"none", "peers: [{address: a.example}, {name: b, address: a.example}]", nil},
		{
			"limits", "modules: {default: {collectors: [icmp], intervals: {icmp: 100ms}}}\npeers: [{address: a.example}, {address: b.example}]\n" +
				"limits: {packets_per_second: 8}",
			[]string{"limits.packets_per_second: 8 is below the 20 that the configuration needs: intervals will be 2.5 times as long"},
		},
		{
			"bytes", "modules: {default: {collectors: [icmp], intervals: {icmp: 100ms}}}\nlimits: {bytes_per_second: 10400}\npeers:\n" + fifteenPeers.String(),
			[]string{"limits.bytes_per_second: 10400 is below the 15600 that the configuration needs: intervals will be 1.5 times as long"},
		},
		{
			"crowded", "modules: {default: {intervals: {ike: 15s}}}\npeers: [{name: a, address: VPN.example}, {name: b, address: vpn.example.}, " +
				"{name: c, address: vpn.example, collectors: [icmp]}, {name: d, address: 2001:db8::1}, {name: e, address: '2001:DB8:0::1'}]",
			[]string{
				"peers a, b have the same address vpn.example, which gets IKE messages every 7s500ms: below 10s the gateway may lock out the real peer",
				"peers d, e have the same address 2001:db8::1, which gets IKE messages every 7s500ms: below 10s the gateway may lock out the real peer",
			},
		},
		{
			"shadowed", "gateways: [{name: hub, type: xfrm}, {name: other, type: xfrm}]\npeers: [{name: a, address: 192.0.2.1, gateways: [hub], interface: wan0}, " +
				"{name: b, address: 192.0.2.1, gateways: [hub, other], interface: lte0}, {name: c, address: 192.0.2.1, gateways: [hub], match: {ids: [c]}}]",
			[]string{"peers a and b have the same address 192.0.2.1 and gateway hub: SAs with this address are attributed to a " +
				"(remove the gateway from one of the peers, or set match)"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, parse(t, tc.text).Warnings()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
