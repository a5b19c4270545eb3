package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// TestDiscovery: the peers of a charon, which is not configured anywhere, which stay when it stops.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	charon := daemons.StartStrongSwan(t, p.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, p.ClientAddr(false), p.ServerAddr(false))})
	d := New(slog.New(slog.DiscardHandler))
	d.local[0].Socket = "unix://" + charon.Socket()
	base, err := config.ReadAny(exportertest.ConfigFile(t, "modules: {default: {intervals: {icmp: 1s}}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	complete := func() (cfg *config.Config) {
		t.Helper()
		p.Client.Do(t, func() { cfg, err = d.Complete(t.Context(), base) })
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	for _, when := range []string{"while charon runs", "while it is stopped"} {
		cfg := complete()
		if len(cfg.Peers) != 1 || cfg.Gateways[0].Name != "strongswan" {
			t.Fatalf("%s: %+v", when, cfg)
		}
		peer := &cfg.Peers[0]
		if peer.Name != p.ServerAddr(false).String() || peer.Addr != p.ServerAddr(false) || !peer.OnDemand || peer.Intervals[suite.ICMP] != 1e9 ||
			!cmp.Equal(peer.Gateways, []string{"strongswan"}) {
			t.Errorf("%s: %+v", when, peer)
		}
		if when == "while charon runs" {
			charon.Stop(t)
		}
	}
	if len(base.Peers)+len(base.Gateways) != 0 {
		t.Errorf("the base was changed: %+v", base)
	}
}

// A fakeHost is a host that is asked for its gateways.
type fakeHost struct {
	*Discovery
	*exportertest.FakeGateways
	logged *exportertest.Page
}

func newFakeHost() *fakeHost {
	logged, f := &exportertest.Page{}, exportertest.NewFakeGateways()
	d := New(slog.New(slog.NewTextHandler(logged, nil)))
	d.Host = Host{Open: f.Open, Resolver: &f.Names, Now: f.Now, Addresses: f.Addresses, Source: f.RoutedSource}
	return &fakeHost{d, f, logged}
}

// find asks all gateways.
func (s *fakeHost) find(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := s.Complete(t.Context(), peerless())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func peerless() *config.Config {
	return &config.Config{Modules: map[string]config.Settings{config.DefaultModule: config.Defaults()}}
}

// peerLines are the peers as "name from source at gateways".
func peerLines(cfg *config.Config) []string {
	var out []string
	for i := range cfg.Peers {
		p := &cfg.Peers[i]
		line := p.Name
		if p.SourceAddress.IsValid() {
			line += fmt.Sprintf(" from %s (%s)", p.SourceAddress, p.Family)
		}
		if len(p.Gateways) > 0 {
			line += " at " + strings.Join(p.Gateways, " ")
		}
		out = append(out, line)
	}
	return out
}

func wantPeers(t *testing.T, when string, cfg *config.Config, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, peerLines(cfg)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// TestDiscoveryWithoutGateways: nothing is made up.
func TestDiscoveryWithoutGateways(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	_, err := s.Complete(t.Context(), peerless())
	if err == nil || !strings.HasSuffix(err.Error(), "but none was found here") {
		t.Errorf("error: %v", err)
	}
	s.Refuse("strongswan", fs.ErrPermission)
	s.List("xfrm") // which every Linux has
	if _, err := s.Complete(t.Context(), peerless()); err == nil || !strings.HasSuffix(err.Error(), "but none was found here (strongswan: permission denied)") {
		t.Errorf("error: %v", err)
	}
	configured := peerless()
	configured.Gateways = []config.Gateway{{Name: "mine", Type: config.StrongSwan}}
	if got, err := s.Complete(t.Context(), configured); err != nil || len(got.Peers) != 0 || len(got.Gateways) != 1 {
		t.Errorf("a configured gateway that is not there: %+v, %v", got, err)
	}
	s.List("mine", "vpn.example.net", "no such name")
	got, err := s.Complete(t.Context(), configured)
	if err != nil || len(got.Gateways) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	wantPeers(t, "configured", got, "vpn.example.net at mine")
}

// TestDiscoveryWhileTunnelsFail: that is when their peers must go on to be measured, and nothing
// about them may change.
func TestDiscoveryWhileTunnelsFail(t *testing.T) {
	t.Parallel()
	a, us, other := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	t.Run("of a daemon and the kernel", func(t *testing.T) {
		t.Parallel()
		s := newFakeHost()
		configured := gateways.Found{Address: a, Name: "hq"}
		up := gateways.Found{Address: a, Name: "hq", Local: us, Active: true}
		s.Source = other // inside the tunnel
		s.Show("strongswan", configured)
		wantPeers(t, "before", s.find(t), "203.0.113.5 at strongswan")
		s.Show("strongswan", up)
		s.Show("xfrm", gateways.Found{Address: a, Local: us, Active: true})
		first := s.find(t)
		wantPeers(t, "up", first, "203.0.113.5 from 192.0.2.1 (ip4) at strongswan")
		s.Source = us
		for when, change := range map[string]func(){
			"down":                     func() { s.Show("strongswan", configured); s.List("xfrm") },
			"up again":                 func() { s.Show("strongswan", up); s.Show("xfrm", gateways.Found{Address: a, Active: true}) },
			"the daemon has no tunnel": func() { s.List("strongswan") },
			"the daemon hangs":         func() { s.Refuse("strongswan", context.DeadlineExceeded) },
			"all are gone":             func() { s.Refuse("strongswan", fs.ErrNotExist); s.Refuse("xfrm", fs.ErrPermission) },
		} {
			change()
			if cfg := s.find(t); !slices.EqualFunc(cfg.Peers, first.Peers, config.Peer.Equal) || !slices.Equal(cfg.Gateways, first.Gateways) {
				t.Errorf("%s: %q, %d gateways; want %q, %d", when, peerLines(cfg), len(cfg.Gateways), peerLines(first), len(first.Gateways))
			}
		}
	})
	t.Run("of the kernel alone", func(t *testing.T) {
		t.Parallel()
		s := newFakeHost()
		s.List("xfrm", "203.0.113.5")
		wantPeers(t, "up", s.find(t), "203.0.113.5")
		s.List("xfrm")
		wantPeers(t, "down", s.find(t), "203.0.113.5")
		s.Clock = s.Clock.Add(keepFor - time.Second)
		wantPeers(t, "for long", s.find(t), "203.0.113.5")
		s.List("xfrm", "203.0.113.5")
		wantPeers(t, "up again", s.find(t), "203.0.113.5")
		s.List("xfrm")
		s.Clock = s.Clock.Add(time.Hour) // without a look meanwhile
		wantPeers(t, "down again", s.find(t), "203.0.113.5")
		s.Clock = s.Clock.Add(keepFor)
		if cfg := s.find(t); len(cfg.Peers) != 0 || len(cfg.Gateways) != 1 {
			t.Errorf("gone: %q, %d gateways", peerLines(cfg), len(cfg.Gateways))
		}
	})
}

// TestDiscoveryOfNames: a peer that is configured by its name is one peer, whichever gateway shows
// its address.
func TestDiscoveryOfNames(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	s.Names.Set("vpn.example.net", netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("203.0.113.5"))
	s.Names.Set("me.example.net", netip.MustParseAddr("192.0.2.1"))
	s.Show("strongswan",
		gateways.Found{Host: "VPN.example.net.", Name: "hq"},
		gateways.Found{Host: "vpn.example.net", Address: netip.MustParseAddr("203.0.113.7"), Name: "hq", Active: true}, // before it moved
		gateways.Found{Host: "me.example.net"},
		gateways.Found{Host: "dead.example.net"})
	s.List("libreswan", "203.0.113.5", "203.0.113.7", "203.0.113.8")
	wantPeers(t, "names", s.find(t), "203.0.113.8 at libreswan", "dead.example.net at strongswan", "vpn.example.net at strongswan libreswan")
	s.Names.Fail(errors.New("no name server"))
	s.Clock = s.Clock.Add(time.Hour)
	wantPeers(t, "later", s.find(t), "203.0.113.8 at libreswan", "dead.example.net at strongswan", "vpn.example.net at strongswan libreswan")
}

// TestDiscoveryAtTheHost: its own addresses are no peers, and others are measured from where their
// tunnels go.
func TestDiscoveryAtTheHost(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	found := func(remote, local string) gateways.Found {
		return gateways.Found{Address: netip.MustParseAddr(remote), Local: netip.MustParseAddr(local)}
	}
	s.Show("strongswan", found("192.0.2.1", "192.0.2.1"), found("127.0.0.1", "127.0.0.1"), found("2001:db8::1", "2001:db8::1"),
		found("203.0.113.1", "192.0.2.1"), found("203.0.113.2", "192.0.2.99"), found("2001:db8::2", "2001:db8::1"))
	wantPeers(t, "routed as their tunnels", s.find(t), "2001:db8::2 from 2001:db8::1 (ip6) at strongswan", "203.0.113.1 at strongswan", "203.0.113.2 at strongswan")
	s.Source = netip.MustParseAddr("10.9.0.1")
	wantPeers(t, "routed into a tunnel", s.find(t), "2001:db8::2 from 2001:db8::1 (ip6) at strongswan", "203.0.113.1 from 192.0.2.1 (ip4) at strongswan", "203.0.113.2 at strongswan")
	base := peerless()
	settings := base.Modules[config.DefaultModule]
	settings.Interface = "wan0"
	base.Modules[config.DefaultModule] = settings
	if cfg, err := s.Complete(t.Context(), base); err != nil || cfg.Peers[0].SourceAddress.IsValid() {
		t.Errorf("the module says where packets leave: %+v, %v", cfg, err)
	}
}

// TestDiscoveryOfConcentrators: who only connects is not probed, where that is known, and not
// endlessly many.
func TestDiscoveryOfConcentrators(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	many := make([]string, 2000)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
	}
	s.List("xfrm", many...)
	first := s.find(t)
	s.List("xfrm", append([]string{"10.0.0.0"}, many[1000:]...)...)
	again := s.find(t)
	if len(first.Peers) != maxDiscovered || !slices.EqualFunc(first.Peers, again.Peers, config.Peer.Equal) {
		t.Errorf("%d peers, then %d others", len(first.Peers), len(again.Peers))
	}
	if n := s.logged.Count("left_out=1500"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, s.logged)
	}
	s.List("strongswan", "203.0.113.5")
	if cfg := s.find(t); !slices.Equal(peerLines(cfg), []string{"203.0.113.5 at strongswan"}) || len(cfg.Gateways) != 2 {
		t.Errorf("beside a daemon: %q, %d gateways", peerLines(cfg), len(cfg.Gateways))
	}
}

// TestDiscoveryLogsPeers: each change once, also that a daemon has none, and not more than fits a line.
func TestDiscoveryLogsPeers(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	want := func(line string) {
		t.Helper()
		for range 2 {
			s.find(t)
		}
		line = `msg="gateway lists peers" gateway=` + line + "\n"
		if n := s.logged.Count(line); n != 1 {
			t.Errorf("%d times %s in:\n%s", n, line, s.logged)
		}
	}
	s.List("strongswan")
	want(`strongswan type=strongswan peers=0 added="" removed=""`)
	s.List("strongswan", "203.0.113.5", "203.0.113.6", "no such name")
	want(`strongswan type=strongswan peers=2 added="203.0.113.5, 203.0.113.6" removed=""`)
	s.List("libreswan", "203.0.113.6")
	want(`libreswan type=libreswan peers=1 added=203.0.113.6 removed=""`)
	s.List("strongswan", "203.0.113.6")
	s.find(t)
	s.Clock = s.Clock.Add(keepFor)
	want(`strongswan type=strongswan peers=1 added="" removed=203.0.113.5`)
	var many []string
	for i := range maxNamed + 3 {
		many = append(many, fmt.Sprintf("198.51.100.%d", 100+i))
	}
	s.List("strongswan", append(many, "203.0.113.6")...)
	s.find(t)
	if n := s.logged.Count(`198.51.100.119 and 3 more" removed=""`); n != 1 {
		t.Errorf("%d times in:\n%s", n, s.logged)
	}
	if n := s.logged.Count("gateway lists peers"); n != 5 {
		t.Errorf("%d lines:\n%s", n, s.logged)
	}
}

// TestDiscoveryLogsWhatWasRefused: once, and again when the refusal is over.
func TestDiscoveryLogsWhatWasRefused(t *testing.T) {
	t.Parallel()
	s := newFakeHost()
	const refused, over = "level=WARN msg=\"asking the gateway for its peers failed\" gateway=strongswan err=\"permission denied\"", "msg=\"gateway lists its peers again\" gateway=strongswan"
	s.List("xfrm", "203.0.113.5")
	for range 3 {
		s.Refuse("strongswan", fs.ErrPermission)
		s.find(t)
	}
	if s.logged.Count(refused) != 1 || s.logged.Count("level=WARN") != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	s.List("strongswan")
	s.find(t)
	s.find(t)
	if s.logged.Count(over) != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	s.Refuse("strongswan", fs.ErrNotExist)
	s.find(t)
	s.find(t)
	if s.logged.Count("keeping the last ones") != 1 || s.logged.Count("level=WARN") != 2 {
		t.Errorf("log:\n%s", s.logged)
	}
}
