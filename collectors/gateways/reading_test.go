package gateways

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func at(s string) Identity { return Identity{Address: addr(s)} }

func TestAttribution(t *testing.T) {
	a := NewAttribution([]Peer{
		{Name: "plain", Address: addr("192.0.2.1")},
		{Name: "nat-a", Address: addr("192.0.2.9"), Match: Match{Usernames: []string{"Branch-A"}}},
		{Name: "nat-b", Address: addr("192.0.2.9"), Match: Match{Usernames: []string{"branch-b"}}},
		{Name: "dynamic", Match: Match{IDs: []string{"branch.example.net"}, Groups: []string{"BRANCHES"}}},
		{Name: "named", Match: Match{Addresses: []string{"Fujitsu-SydAX", "198.51.100.0/24", "198.51.100.7"}}},
		{Name: "narrow", Match: Match{Addresses: []string{"198.51.100.128/25"}}},
		{Name: "six", Address: addr("fe80::1%eth0")},
		{Name: "not-here", Address: addr("203.0.113.5")},
		{Name: "here", Address: addr("203.0.113.5"), Expected: true},
	})
	for _, c := range []struct {
		id   Identity
		want string
	}{
		{at("192.0.2.1"), "plain"},
		{at("::ffff:192.0.2.1"), "plain"},
		{Identity{Address: addr("192.0.2.9"), Username: "BRANCH-B"}, "nat-b"},
		{Identity{Address: addr("192.0.2.9"), Username: "stranger"}, "nat-a"},
		{Identity{Address: addr("192.0.2.1"), ID: "Branch.Example.net"}, "dynamic"},
		{Identity{Address: addr("192.0.2.77"), Group: "branches"}, "dynamic"},
		{Identity{Name: "fujitsu-sydax"}, "named"},
		{at("198.51.100.7"), "named"},
		{at("198.51.100.8"), "named"},
		{at("198.51.100.200"), "narrow"},
		{at("fe80::1"), "six"},
		{at("203.0.113.5"), "here"},
		{at("192.0.2.77"), ""},
		{Identity{}, ""},
		{Identity{Name: "plain"}, ""}, // A name at the device is not the name of a peer, unless match says so.
	} {
		got := ""
		if p := a.Find(c.id); p != nil {
			got = p.Name
		}
		if got != c.want {
			t.Errorf("%+v belongs to %q, want %q", c.id, got, c.want)
		}
	}
}

// established is an IKE SA in use.
func established(id Identity) IKESA {
	return IKESA{Peer: id, Version: 1, State: Established, VendorState: "MM_ACTIVE"}
}

func installed(id Identity) ChildSA { return ChildSA{Peer: id, State: Installed} }

func TestTunnelUp(t *testing.T) {
	id := at("192.0.2.1")
	ike := func(s IKEState) []IKESA { return []IKESA{{Peer: id, State: s, VendorState: "WORD"}} }
	child := func(s ChildState) []ChildSA { return []ChildSA{{Peer: id, State: s}} }
	for name, c := range map[string]struct {
		table Table
		want  Answer
	}{
		"nothing":                            {Table{}, No},
		"both":                               {Table{IKE: ike(Established), Children: child(Installed)}, Yes},
		"IKE rekeying":                       {Table{IKE: ike(IKERekeying), Children: child(Installed)}, Yes},
		"child rekeying":                     {Table{IKE: ike(Established), Children: child(ChildRekeying)}, Yes},
		"new one beside the old one":         {Table{IKE: append(ike(Connecting), ike(Established)...), Children: child(Installed)}, Yes},
		"no child":                           {Table{IKE: ike(Established)}, No},
		"child of an SA that is closing":     {Table{IKE: ike(IKEClosing), Children: child(Installed)}, No},
		"child without IKE":                  {Table{Children: child(Installed)}, No},
		"unknown word":                       {Table{IKE: ike(IKEUnknown), Children: child(Installed)}, Unknown},
		"unknown word without a child":       {Table{IKE: ike(IKEUnknown)}, No},
		"unknown word of a child":            {Table{IKE: ike(Established), Children: child(ChildUnknown)}, Unknown},
		"unknown word beside one that is up": {Table{IKE: append(ike(IKEUnknown), ike(Established)...), Children: child(Installed)}, Yes},
		"no IKE to be seen":                  {Table{NoIKE: true, Children: child(Installed)}, Unknown},
	} {
		r := NewReading(&c.table, NewAttribution([]Peer{{Name: "hq", Address: id.Address, Expected: true}}), false)
		if got := r.Find("hq").Up; got != c.want {
			t.Errorf("%s: up is %s, want %s", name, got, c.want)
		}
	}
}

func TestReadingCounts(t *testing.T) {
	then := time.Unix(1000, 0)
	a, b, c := at("192.0.2.1"), at("192.0.2.2"), at("192.0.2.3")
	table := Table{
		IKE: []IKESA{
			{Peer: a, Version: 1, State: Established, VendorState: "MM_ACTIVE", Established: then},
			{Peer: a, Version: 1, State: IKERekeying, VendorState: "MM_REKEY_DONE_H2", Established: then.Add(-time.Hour)},
			{Peer: a, Version: 2, State: Connecting, VendorState: "IN-NEG"},
			{Peer: a, Version: 1, State: ModeCfg, VendorState: "AM_TM_INIT_MODECFG_V6H"},
			{Peer: a, Version: 1, VendorState: "QUITE\x00NEW" + strings.Repeat("é", 100)},
			established(b), established(c),
		},
		Children: []ChildSA{{Peer: a, State: Installed, PathMTU: 1400}, {Peer: a, State: Installed, PathMTU: 1500}, {Peer: a, State: ChildClosing, PathMTU: 9000}, installed(b)},
	}
	r := NewReading(&table, NewAttribution([]Peer{{Name: "hq", Address: a.Address}, {Name: "none", Address: at("192.0.2.9").Address, Expected: true}, {Name: "unresolved", Expected: true}}), false)
	var names []string
	for _, p := range r.Peers {
		names = append(names, p.Peer)
	}
	if diff := cmp.Diff([]string{Unmatched, "hq", "none", "unresolved"}, names); diff != "" {
		t.Fatal(diff)
	}
	hq := r.Find("hq")
	want := map[IKEClass]int{{1, Established}: 1, {1, IKERekeying}: 1, {2, Connecting}: 1, {1, ModeCfg}: 1}
	if diff := cmp.Diff(want, hq.IKE); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[ChildState]int{Installed: 2, ChildClosing: 1}, hq.Children); diff != "" {
		t.Error(diff)
	}
	if len(hq.Vendor) != 5 || hq.Vendor["QUITE?NEW"+strings.Repeat("é", 27)] != 1 {
		t.Errorf("words of the vendor: %v", hq.Vendor)
	}
	if hq.PathMTU != 1500 || hq.Established != then || hq.Negotiating.VendorState != "AM_TM_INIT_MODECFG_V6H" || hq.IKESAs != 5 {
		t.Errorf("path MTU %d, established %v, negotiating %+v, %d IKE SAs", hq.PathMTU, hq.Established, hq.Negotiating, hq.IKESAs)
	}
	if u := r.Find(Unmatched); u.IKESAs != 2 || u.ChildSAs != 1 || u.Of != nil {
		t.Errorf("unmatched: %+v", u)
	}
	if none := r.Find("none"); none.Up != No || none.IKESAs != 0 {
		t.Errorf("an expected peer without SA: %+v", none)
	}
	if lost := r.Find("unresolved"); lost.Up != Unknown {
		t.Errorf("an expected peer of unknown address: %+v", lost)
	}
}

func TestUnmatchedByAddress(t *testing.T) {
	var table Table
	for i := range maxListed + 10 {
		table.IKE = append(table.IKE, established(at(fmt.Sprintf("10.1.%d.%d", i/250, i%250))))
	}
	table.IKE = append(table.IKE, established(Identity{Name: "somebody"}), established(at("192.0.2.5")))
	// The name of the peer looks like the address of another host.
	r := NewReading(&table, NewAttribution([]Peer{{Name: "192.0.2.5", Address: addr("192.0.2.6")}}), true)
	if len(r.Peers) != maxListed+1 || r.Find("10.1.0.0") == nil || r.Find("10.1.0.0").Of != nil {
		t.Errorf("%d are listed", len(r.Peers))
	}
	if u := r.Find(Unmatched); u == nil || u.IKESAs != 12 {
		t.Errorf("unmatched: %+v", u)
	}
	if r.Find("192.0.2.5") != nil {
		t.Error("a stranger is taken for a configured peer")
	}
}
