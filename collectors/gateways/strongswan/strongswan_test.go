package strongswan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

func source(t *testing.T, f *fakeCharon) *Source {
	t.Helper()
	s, err := New(Config{Socket: f.socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t *testing.T, s *Source) gateways.Table {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	table, err := s.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRead(t *testing.T) {
	f := newFakeCharon(t)
	f.streams["list-sas"] = []*vici.Message{parseRaw(established), parseRaw(stuckServer)}
	f.replies["get-counters"] = "{counters {hub {invalid=2 invalid-spi=1} branch {invalid=3 invalid-spi=0}} success=yes}"
	table := read(t, source(t, f))
	if want := (gateways.Info{Type: "strongswan", Version: "5.9.8"}); table.Info != want {
		t.Errorf("info %v, want %v", table.Info, want)
	}
	if len(table.IKE) != 2 || len(table.Children) != 1 || table.NoIKE || table.Unparsed != 0 {
		t.Errorf("table %+v", table)
	}
	sums := map[string]uint64{}
	for _, c := range table.Counters {
		sums[c.Kind] += c.Value
	}
	if diff := cmp.Diff(map[string]uint64{"ike_invalid_message": 5, "ike_invalid_spi": 1}, sums); diff != "" {
		t.Error(diff)
	}
}

// TestReadLosesNothing sends far more SAs than the library's own buffer holds.
func TestReadLosesNothing(t *testing.T) {
	const n = 20000
	f := newFakeCharon(t)
	for i := range n {
		f.streams["list-sas"] = append(f.streams["list-sas"], parseRaw(strings.ReplaceAll(established, "1b7261481de90853", fmt.Sprintf("%016x", i))))
	}
	s := source(t, f)
	began := time.Now()
	table := read(t, s)
	t.Logf("%d IKE SAs in %s", len(table.IKE), time.Since(began))
	keys := map[string]bool{}
	for i := range table.IKE {
		keys[table.IKE[i].Key] = true
	}
	if len(keys) != n || len(table.Children) != n {
		t.Errorf("%d IKE SAs, %d children, want %d", len(keys), len(table.Children), n)
	}
}

func TestReadAfterRestart(t *testing.T) {
	f := newFakeCharon(t)
	s := source(t, f)
	read(t, s)
	f.hangUp()
	read(t, s) // The daemon is there again: the broken connection is no failure.
	f.listener.Close()
	f.hangUp()
	if _, err := s.Read(t.Context()); err == nil {
		t.Error("no error without a daemon")
	}
	s.Close()
	if _, err := s.Read(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	// It takes connections and says nothing.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "v"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Config{Socket: "unix://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.Read(ctx); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestErrorsOfCommands(t *testing.T) {
	f := newFakeCharon(t)
	f.replies["list-sas"] = "{success=no errmsg=busy}"
	s := source(t, f)
	if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("error %v", err)
	}
	delete(f.replies, "stats")
	if _, err := s.Read(t.Context()); err == nil {
		t.Error("no error from a daemon that lacks a command")
	}
}

func TestWatch(t *testing.T) {
	f := newFakeCharon(t)
	s := source(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan gateways.Event)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func(e gateways.Event) { events <- e })
	}()
	peer := gateways.Identity{Address: netip.MustParseAddr("192.0.2.2"), Name: "branch", Group: "branch", ID: "a.example.test"}
	ike := " {remote-host=192.0.2.2 remote-id=a.example.test child-sas {net "
	for _, tt := range []struct {
		event, raw string
		want       []gateways.Event
	}{
		{"child-updown", "{up=yes branch" + ike + "{uniqueid=7 name=net state=INSTALLED spi-in=01}}}}", []gateways.Event{{Peer: peer, Key: "7", Up: true}}},
		{"child-rekey", "{branch" + ike + "{old {uniqueid=7} new {uniqueid=8}}}}}", []gateways.Event{{Peer: peer, Key: "8", Up: true}, {Peer: peer, Key: "7"}}},
		{"child-updown", "{branch" + ike + "{uniqueid=8 name=net state=DELETING}}}}", []gateways.Event{{Peer: peer, Key: "8"}}},
	} {
		for f.raise(tt.event, tt.raw) == 0 { // until it listens
			time.Sleep(time.Millisecond)
		}
		for _, want := range tt.want {
			got := <-events
			if time.Since(got.When) > time.Minute {
				t.Errorf("when: %s", got.When)
			}
			got.When = time.Time{}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: %s", tt.event, diff)
			}
		}
	}
	f.hangUp()
	if err := <-ended; !errors.Is(err, errBroken) {
		t.Errorf("after a restart: %v", err)
	}
}

// TestDiscover: peers are those who are configured, and where they connect from. Who merely
// connects is none.
func TestDiscover(t *testing.T) {
	f := newFakeCharon(t)
	f.streams["list-conns"] = []*vici.Message{
		parseRaw("{site {local_addrs=[192.0.2.2] remote_addrs=[198.51.100.2 vpn.example.net 2001:db8::1] version=IKEv2}}"),
		parseRaw("{road {local_addrs=[%any] remote_addrs=[%any 203.0.113.0/24 203.0.113.1-203.0.113.9 0.0.0.0 %dyn.example.net my-vpn 203.0.113.77]}}"),
		parseRaw("{anybody {remote_addrs=[]}}"),
	}
	sa := func(name, remote, more string) *vici.Message {
		return parseRaw("{" + name + " {state=ESTABLISHED local-host=192.0.2.3 remote-host=" + remote + " child-sas {} " + more + "}}")
	}
	f.streams["list-sas"] = []*vici.Message{
		parseRaw(established), parseRaw(stuckServer),
		sa("site", "192.0.2.50", "initiator=no"),
		sa("(unnamed)", "192.0.2.51", ""),
		sa("road", "192.0.2.52", "initiator=yes"), // since it was rekeyed
		sa("road", "203.0.113.77", ""),
		sa("anybody", "192.0.2.53", ""),
		sa("removed", "192.0.2.54", "initiator=yes"),
		parseRaw("{site {state=CONNECTING local-host=192.0.2.3 remote-host=192.0.2.55 initiator=yes child-sas {}}}"),
	}
	got, err := source(t, f).Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	us, us2 := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	want := []gateways.Found{
		{Host: "dyn.example.net", Name: "road"},
		{Host: "my-vpn", Name: "road"},
		{Host: "vpn.example.net", Name: "site", Local: us},
		{Address: netip.MustParseAddr("192.0.2.50"), Host: "vpn.example.net", Name: "site", Local: us2, Active: true},
		{Address: netip.MustParseAddr("198.51.100.2"), Name: "site", Local: us, Active: true},
		{Address: netip.MustParseAddr("203.0.113.77"), Name: "road", Local: us2, Active: true},
		{Address: netip.MustParseAddr("2001:db8::1"), Name: "site", Local: us},
	}
	if diff := cmp.Diff(want, got, addresses); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestSocketAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"": "unix /var/run/charon.vici", "unix:///run/x": "unix /run/x", "/run/x": "unix /run/x", "tcp://127.0.0.1:4502": "tcp 127.0.0.1:4502",
		"unix://relative": "", "http://x": "", "x": "unix x", "tcp://": "",
	} {
		network, address, err := parseSocket(in)
		if got := strings.TrimSpace(network + " " + address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestReadAfterPanic: a panic while the table is taken reaches who reads, and the next reading
// knows nothing of it.
func TestReadAfterPanic(t *testing.T) {
	f := newFakeCharon(t)
	f.streams["list-sas"] = []*vici.Message{parseRaw(established), parseRaw(stuckServer)}
	panics := false
	s, err := New(Config{Socket: f.socket(), PathMTU: func(_, _ netip.Addr) int {
		if panics {
			panic("index out of range")
		}
		return 1400
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for range 2 {
		if table := read(t, s); len(table.IKE) != 2 || len(table.Children) != 1 {
			t.Errorf("table %+v", table)
		}
		panics = true
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic came out")
				}
			}()
			read(t, s)
		}()
		panics = false
	}
	read(t, s)
}
