package ciscoasa

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors/gateways"
)

// What of the hub's answers must not be in a transcript.
func telling() []string {
	return []string{
		"203.0.113.", "198.51.100.", "192.0.2.", "10.1.0.", "10.2.0.", "10.9.0.", "9AKJ3WEXAMPLE", "outside_map", "acl-10", "branch", "ipsecmon",
		"PLANTED", "1B2C3D4E", "1b2c3d4e", "5F60718A", "Fujitsu", "sydney", "joe", "hub.example.org", "BRANCHES", "Call Ann", "0011.2233.4455",
	}
}

func TestRecordAndReplay(t *testing.T) {
	f := newFake()
	// The stuck one is shown by a name, and the file has more than the exporter needs.
	for k, v := range f.answers {
		f.answers[k] = strings.ReplaceAll(v, "203.0.113.20", "Fujitsu-sydney")
	}
	f.answers["show vpn-sessiondb ra-ikev1-ipsec"] = `
Session Type: IKEv1 IPsec

Username     : joe                    Index        : 99
Assigned IP  : 10.8.0.1               Public IP    : 203.0.113.77
Protocol     : IKEv1 IPsecOverNatT
Bytes Tx     : 10                     Bytes Rx     : 20
Group Policy : hub.example.org        Tunnel Group : BRANCHES
Client Ver   : 0011.2233.4455
`
	f.listen(t)
	s := open(t, f.config(t))
	live, err := read(t, s)
	if err != nil {
		t.Fatal(err)
	}
	transcript, err := s.Record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := transcript.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	for _, w := range telling() {
		if strings.Contains(text.String(), w) {
			t.Errorf("%q is in the transcript", w)
		}
	}
	loaded, err := gateways.ReadTranscript(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	replayed, err := Replay(&loaded)
	if err != nil {
		t.Fatal(err)
	}
	table, err := replayed.Read(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	same := []cmp.Option{
		cmpopts.IgnoreFields(gateways.IKESA{}, "Key", "Peer", "Established"), cmpopts.IgnoreFields(gateways.ChildSA{}, "Key", "Peer", "Name"),
		cmpopts.IgnoreFields(gateways.DeviceCounter{}, "Key"), cmpopts.IgnoreFields(gateways.Flow{}, "Peer"),
		cmpopts.SortSlices(func(a, b gateways.DeviceCounter) bool {
			return a.Kind < b.Kind || a.Kind == b.Kind && a.Value < b.Value
		}),
	}
	if diff := cmp.Diff(live, table, same...); diff != "" {
		t.Errorf("the transcript says something else than the device:\n%s\n%s", diff, &text)
	}
	// What belonged together still does.
	if table.IKE[0].Peer.Address != table.Children[0].Peer.Address || table.IKE[0].Peer.Address == table.IKE[2].Peer.Address {
		t.Errorf("addresses: %v, %v, %v", table.IKE[0].Peer, table.Children[0].Peer, table.IKE[2].Peer)
	}
	if n := table.IKE[1].Peer.Name; !strings.HasPrefix(n, "name-") {
		t.Errorf("the name became %q", n)
	}
}

func TestReplayOfAFailure(t *testing.T) {
	f := newFake()
	f.answers = map[string]string{"show version": "Cisco Adaptive Security Appliance Software Version 9.1(7)\n"}
	f.listen(t)
	s := open(t, f.config(t))
	transcript, err := s.Record(t.Context())
	if err == nil {
		t.Fatal("a device that refuses everything is read")
	}
	again, replayErr := Replay(&transcript)
	if replayErr != nil {
		t.Fatal(replayErr)
	}
	if _, replayErr = again.Read(t.Context()); replayErr == nil || !strings.Contains(replayErr.Error(), "not readable") {
		t.Errorf("%v, replayed: %v", err, replayErr)
	}
	if _, err := Replay(&gateways.Transcript{Type: "strongswan"}); err == nil {
		t.Error("a transcript of another type is taken")
	}
}
