package gateways

import (
	"testing"
	"time"
)

// TestGroup: of one gateway that is measured at two addresses, an SA is expected at one only.
func TestGroup(t *testing.T) {
	four, six := at("192.0.2.1"), at("2001:db8::1")
	peers := NewAttribution([]Peer{
		{Name: "hq@ip4", Group: "hq", Address: four.Address, Expected: true, Match: Match{IDs: []string{"hq.example"}}},
		{Name: "hq@ip6", Group: "hq", Address: six.Address, Expected: true, Match: Match{IDs: []string{"hq.example"}}},
	})
	child := func(id Identity) ChildSA { return ChildSA{Peer: id, State: Installed} }
	hs := histories{maxAge: time.Hour, of: map[string]*History{}}
	now := time.Now().Add(-time.Minute)
	for _, step := range []struct {
		name  string
		table Table
		up    map[string]Answer // of the peers that an SA is expected of
		noSA  string
	}{
		{name: "no SA", up: map[string]Answer{"hq@ip4": No}, noSA: "hq@ip4"},
		{name: "over IPv6", table: Table{IKE: []IKESA{established(six)}, Children: []ChildSA{child(six)}}, up: map[string]Answer{"hq@ip6": Yes}},
		{
			name: "over IPv6, and an attempt over IPv4", up: map[string]Answer{"hq@ip6": Yes},
			table: Table{IKE: []IKESA{{Peer: four, State: Connecting}, established(six)}, Children: []ChildSA{child(six)}},
		},
		{
			name: "over IPv6, found by its identity", up: map[string]Answer{"hq@ip6": Yes},
			table: Table{
				IKE:      []IKESA{established(Identity{Address: six.Address, ID: "hq.example"})},
				Children: []ChildSA{child(Identity{Address: six.Address, ID: "hq.example"})},
			},
		},
		{name: "an attempt over IPv6", table: Table{IKE: []IKESA{{Peer: six, State: Connecting}}}, up: map[string]Answer{"hq@ip6": No}},
		{name: "over both", table: Table{
			IKE: []IKESA{established(four), established(six)}, Children: []ChildSA{child(four), child(six)},
		}, up: map[string]Answer{"hq@ip4": Yes}},
		{name: "no SA again", up: map[string]Answer{"hq@ip4": No}, noSA: "hq@ip4"},
	} {
		now = now.Add(time.Second)
		r := NewReading(&step.table, peers, false)
		hs.add(&r, NewAccumulator(), now)
		up := map[string]Answer{}
		for _, p := range r.Peers {
			if p.Of.Expected {
				up[p.Peer] = p.Up
			}
		}
		for _, name := range []string{"hq@ip4", "hq@ip6"} {
			got, expected := up[name]
			want, wanted := step.up[name]
			if got != want || expected != wanted {
				t.Errorf("%s: %s is up %v, expected %t; want %v, %t", step.name, name, got, expected, want, wanted)
			}
			h, _ := hs.get(name)
			if missing := !h.NoSA().IsZero(); missing != (step.noSA == name) || h.Expected != wanted {
				t.Errorf("%s: %s misses its SA %t, expected %t", step.name, name, missing, h.Expected)
			}
		}
	}
}
