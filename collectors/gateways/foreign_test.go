package gateways

import (
	"testing"
	"time"
)

// TestForeignPeers: SAs of a peer that another exporter measures are no SAs of ours, also where one of
// ours claims them by a wider property, and no unmatched ones.
func TestForeignPeers(t *testing.T) {
	ours, theirs, strange := at("192.0.2.1"), at("192.0.2.2"), at("198.51.100.1")
	peers := NewAttribution([]Peer{
		{Name: "ours", Address: ours.Address, Expected: true, Match: Match{Addresses: []string{"192.0.2.0/24"}}},
		{Name: "theirs", Address: theirs.Address, Expected: true, Foreign: true},
		{Name: "without SA", Address: at("192.0.2.3").Address, Expected: true, Foreign: true},
	})
	for _, each := range []bool{false, true} {
		r := NewReading(&Table{
			IKE:      []IKESA{established(ours), established(theirs), established(strange)},
			Children: []ChildSA{installed(ours), {Peer: theirs, State: Installed, In: Traffic{Packets: Count{1, true}}}},
		}, peers, each)
		want := map[string]int{"ours": 1, Unmatched: 1}
		if each {
			want = map[string]int{"ours": 1, "198.51.100.1": 1}
		}
		if len(r.Peers) != len(want) {
			t.Errorf("each %t: %+v", each, r.Peers)
		}
		for peer, sas := range want {
			if p := r.Find(peer); p == nil || p.IKESAs != sas {
				t.Errorf("each %t: %s has %+v, want %d IKE SAs", each, peer, p, sas)
			}
		}
		hs := histories{maxAge: time.Hour, of: map[string]*History{}}
		hs.add(&r, NewAccumulator(), time.Now())
		if len(hs.of) != 1 || hs.of["ours"] == nil {
			t.Errorf("histories: %v", hs.of)
		}
		tracked := tunnels{of: map[string]*tunnel{}}
		tracked.read(&r, time.Now())
		if tracked.of["theirs"] != nil || tracked.of["without SA"] != nil || tracked.of["ours"] == nil {
			t.Errorf("tunnels: %v", tracked.of)
		}
	}
}
