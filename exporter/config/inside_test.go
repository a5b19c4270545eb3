package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
)

// TestInside: targets are addresses or mappings, and their collector runs where there are any.
func TestInside(t *testing.T) {
	cfg := parse(t, `
peers:
  - {address: 203.0.113.1, inside: [10.1.0.1, {address: 10.1.0.2, source: 10.2.0.1, tcp_port: 443}, "2001:db8::1"]}
  - {address: 203.0.113.2}
`)
	want := []inside.Target{
		{Address: netip.MustParseAddr("10.1.0.1")},
		{Address: netip.MustParseAddr("10.1.0.2"), Source: netip.MustParseAddr("10.2.0.1"), Port: 443},
		{Address: netip.MustParseAddr("2001:db8::1")},
	}
	if got := cfg.Peers[0]; !slices.Equal(got.Inside, want) || !got.Collectors.Has(suite.Inside) {
		t.Errorf("%+v", got)
	}
	if got := cfg.Peers[1]; got.Inside != nil || got.Collectors.Has(suite.Inside) {
		t.Errorf("%+v", got)
	}
	other := cfg.Peers[0]
	if other.Inside = want[:1]; other.SamePath(cfg.Peers[0]) {
		t.Error("other targets are the same path")
	}
}

func TestBadInside(t *testing.T) {
	for text, want := range map[string]string{
		"inside: 10.1.0.1":                                       "inside: must be a list",
		"inside: [vpn.example.net]":                              `inside[0]: "vpn.example.net" is a host name`,
		"inside: [10.1.0.1, {address: 10.1.0.1}]":                "inside[1]: 10.1.0.1 is listed twice",
		"inside: [{tcp_port: 443}]":                              "inside[0].address: is missing",
		"inside: [{address: 10.1.0.1, port: 443}]":               `unknown key "port"`,
		"inside: [{address: 10.1.0.1, tcp_port: 0}]":             "inside[0].tcp_port",
		"inside: [{address: 10.1.0.1, source: \"2001:db8::1\"}]": "is not of the same family",
		"inside: [1.0.0.1, 1.0.0.2, 1.0.0.3, 1.0.0.4, 1.0.0.5, 1.0.0.6, 1.0.0.7, 1.0.0.8, 1.0.0.9]": "inside[8]: is beyond the 8 targets",
		"collectors: [inside]": `unknown value "inside"`,
	} {
		_, err := config.Parse("f.yml", []byte("peers: [{address: 203.0.113.1, "+text+"}]"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestSetInside: the same on a command line.
func TestSetInside(t *testing.T) {
	p := parse(t, "peers: [{address: 203.0.113.1, inside: [10.9.9.9]}]").Peers[0]
	if err := p.SetInside([]string{"10.1.0.1:443", "10.1.0.2", "[2001:db8::1]:22"}); err != nil {
		t.Fatal(err)
	}
	want := []inside.Target{
		{Address: netip.MustParseAddr("10.1.0.1"), Port: 443}, {Address: netip.MustParseAddr("10.1.0.2")}, {Address: netip.MustParseAddr("2001:db8::1"), Port: 22},
	}
	if !slices.Equal(p.Inside, want) || !p.Collectors.Has(suite.Inside) {
		t.Errorf("%+v", p)
	}
	for text, want := range map[string]string{
		"vpn.example.net": "is not an IP address", "0.0.0.0": "is not a unicast address", "10.1.0.1:99999": "is not an IP address",
	} {
		if err := p.SetInside([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := p.SetInside([]string{"10.1.0.1", "10.1.0.1:443"}); err == nil || !strings.Contains(err.Error(), "listed twice") {
		t.Errorf("%v", err)
	}
}
