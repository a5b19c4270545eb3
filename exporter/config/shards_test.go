package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
)

// TestDivide: the halves of one peer stay together, a shard reads the gateways that its peers name
// and those that no peer names, and what it knows of the others is what gateways need.
func TestDivide(t *testing.T) {
	const text = `
gateways:
- {name: west, type: xfrm}
- {name: east, type: xfrm}
- {name: shared, type: xfrm}
- {name: unnamed, type: xfrm}
peers:
- {name: a, address: 203.0.113.1, gateways: [west, shared]}
- {name: b, address: 203.0.113.2, gateways: [east, shared], match: {ids: [b]}}
- {name: both, address: vpn.example.net, family: both, gateways: [east]}
- {name: a2, address: 203.0.113.2}
`
	key := func(names ...string) func(string) bool {
		return func(s string) bool { return slices.Contains(names, s) }
	}
	for _, tt := range []struct {
		own                   []string
		peers, gateways, left string
		others                int
		warned                string
	}{
		{[]string{"a", "a2"}, "a a2", "west shared unnamed", "east", 3, "peer a2 has the address 203.0.113.2, and so has peer b of another shard"},
		{[]string{"both"}, "both@ip4 both@ip6", "east unnamed", "west shared", 3, ""},
		{[]string{"a", "b", "both", "a2"}, "a b both@ip4 both@ip6 a2", "west east shared unnamed", "", 0, ""},
		{nil, "", "unnamed", "west east shared", 5, ""},
	} {
		c := parse(t, text)
		c.Divide(key(tt.own...))
		left := c.KeepGateways()
		var peers, kept []string
		for i := range c.Peers {
			peers = append(peers, c.Peers[i].Name)
		}
		for i := range c.Gateways {
			kept = append(kept, c.Gateways[i].Name)
		}
		got := []string{strings.Join(peers, " "), strings.Join(kept, " "), strings.Join(left, " ")}
		if want := []string{tt.peers, tt.gateways, tt.left}; !slices.Equal(got, want) || len(c.Others) != tt.others {
			t.Errorf("%q: %q and %d others, want %q and %d", tt.own, got, len(c.Others), want, tt.others)
		}
		if w := strings.Join(c.Warnings(), "\n"); !strings.HasPrefix(w, tt.warned) || (w == "") != (tt.warned == "") {
			t.Errorf("%q: warnings %q", tt.own, w)
		}
	}
	c := parse(t, text)
	c.Divide(key("a", "a2", "both"))
	want := []config.Other{{
		Name: "b", Addr: netip.MustParseAddr("203.0.113.2"), Gateways: []string{"east", "shared"}, Match: &gateways.Match{IDs: []string{"b"}},
	}}
	if diff := cmp.Diff(want, c.Others, address); diff != "" {
		t.Errorf("others (-want +got):\n%s", diff)
	}
}
