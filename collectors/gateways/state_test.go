package gateways_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

func TestStates(t *testing.T) {
	var names, up, negotiating []string
	for s := gateways.IKEUnknown + 1; s <= gateways.IKEClosing; s++ {
		names = append(names, s.String())
		if s.Up() {
			up = append(up, s.String())
		}
		if s.Negotiating() {
			negotiating = append(negotiating, s.String())
		}
	}
	want := [][]string{
		{"connecting", "xauth", "modecfg", "established", "rekeying", "closing"},
		{"established", "rekeying"},
		{"connecting", "xauth", "modecfg"},
	}
	if diff := cmp.Diff(want, [][]string{names, up, negotiating}); diff != "" {
		t.Error(diff)
	}
	if s := gateways.IKEUnknown; s.String() != "unknown" || s.Up() || s.Negotiating() {
		t.Error("an unknown word says something")
	}
	names = nil
	for _, s := range gateways.ChildStates() {
		names = append(names, s.String())
		if s.Up() != slices.Contains([]string{"installed", "rekeying"}, s.String()) {
			t.Errorf("%s: up is %v", s, s.Up())
		}
	}
	if diff := cmp.Diff([]string{"installing", "installed", "rekeying", "closing"}, names); diff != "" {
		t.Error(diff)
	}
	if s := gateways.ChildUnknown; s.String() != "unknown" || s.Up() {
		t.Error("an unknown word says something")
	}
}

// TestStatesOutsideTheSets: a value that no constant names is unknown.
func TestStatesOutsideTheSets(t *testing.T) {
	for i, s := range []fmt.Stringer{gateways.IKEClosing + 1, gateways.ChildClosing + 1, gateways.No + 1, gateways.Answer(255)} {
		if s.String() != "unknown" {
			t.Errorf("%d: %q", i, s)
		}
	}
}

func TestIdentityString(t *testing.T) {
	for want, id := range map[string]gateways.Identity{
		"192.0.2.1": {Address: netip.MustParseAddr("192.0.2.1"), Name: "hub", Username: "ann"},
		"hub":       {Name: "hub", Username: "ann"},
		"ann":       {Username: "ann", Group: "branches"},
		"unknown":   {},
	} {
		if got := id.String(); got != want {
			t.Errorf("%+v is shown as %q, want %q", id, got, want)
		}
	}
}
