package config_test

import (
	"slices"
	"testing"

	"ipsec_path_exporter/exporter/config"
)

// families are the peers of a configuration with their groups and families.
func families(c *config.Config) (out []string) {
	for _, p := range c.Peers {
		out = append(out, p.Name+" "+p.Group+" "+p.Family.String())
	}
	return out
}

// TestFamilyBoth: a name is measured as two peers, an address as one.
func TestFamilyBoth(t *testing.T) {
	c := parse(t, `
gateways: [{name: hub, type: xfrm}]
modules: {default: {family: both}, six: {family: ip6}}
peers:
- {name: hq, address: vpn.example.net, labels: {site: haiti}, gateways: [hub]}
- {address: 203.0.113.10}
- {name: other, address: vpn.example.net, module: six}
`)
	want := []string{"hq@ip4 hq ip4", "hq@ip6 hq ip6", "203.0.113.10  any", "other  ip6"}
	if got := families(c); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	if p := &c.Peers[0]; !p.Named("hq") || !p.Named("hq@ip4") || p.Named("hq@ip6") || p.Named("") || p.Labels["site"] != "haiti" {
		t.Errorf("%+v", p)
	}
	if p := &c.Peers[2]; p.Named("") {
		t.Errorf("%+v", p)
	}
	for text, problem := range map[string]string{
		"peers: [{name: hq@ip6, address: 203.0.113.1}, {name: hq, address: vpn.example.net, family: both}]": `config.yml:1: peers[1] ("hq"): name: "hq@ip6" is already the name of peers[0] (config.yml:1)`,
		"peers: [{name: hq, address: vpn.example.net, family: both}, {name: hq, address: 203.0.113.1}]":     `config.yml:1: peers[1] ("hq"): name: "hq" is already the name of peers[0] (config.yml:1)`,
		"peers: [{address: vpn.example.net, family: both, source_address: 192.0.2.1}]":                      `config.yml:1: peers[0] ("vpn.example.net"): source_address: 192.0.2.1 is of one family, and family is both (set interface instead)`,
	} {
		if _, err := config.Parse("config.yml", []byte(text)); err == nil || err.Error() != problem {
			t.Errorf("%s: %v, want %s", text, err, problem)
		}
	}
}

func TestSetFamily(t *testing.T) {
	const text = `
peers:
- {name: hq, address: vpn.example.net, family: both}
- {name: branch, address: branch.example.net}
- {name: four, address: 203.0.113.10}
- {name: pinned, address: pinned.example.net, source_address: 192.0.2.1}
`
	for _, tt := range []struct {
		family config.Family
		want   []string
		err    string
	}{
		{config.FamilyIP4, []string{"hq@ip4 hq ip4", "branch  ip4", "four  ip4", "pinned  ip4"}, ""},
		{config.FamilyAny, []string{"hq@ip4 hq ip4", "hq@ip6 hq ip6", "branch  any", "four  any", "pinned  any"}, ""},
		{
			config.FamilyIP6,
			[]string{"hq@ip6 hq ip6", "branch  ip6"},
			`peer four: "203.0.113.10" is not of family ip6` + "\n" + `peer pinned: 192.0.2.1 is not of family ip6`,
		},
		{
			config.FamilyBoth,
			[]string{"hq@ip4 hq ip4", "hq@ip6 hq ip6", "branch@ip4 branch ip4", "branch@ip6 branch ip6", "four  any"},
			`peer pinned: 192.0.2.1 is of one family, and family is both (set interface instead)`,
		},
	} {
		c := parse(t, text)
		err := c.SetFamily(tt.family)
		if got := families(c); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.family, got, tt.want)
		}
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %v, want %s", tt.family, err, tt.err)
		}
	}
}
