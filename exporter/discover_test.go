package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// TestDiscovery: the peers of a charon, which is not configured anywhere, and what becomes of them when it stops.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	charon := daemons.StartStrongSwan(t, p.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, p.ClientAddr(false), p.ServerAddr(false))})
	d := newDiscovery(slog.New(slog.DiscardHandler))
	d.local[0].Socket = "unix://" + charon.Socket()
	base, err := config.ReadAny(configFile(t, "modules: {default: {intervals: {icmp: 1s}}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	complete := func() (cfg *config.Config) {
		t.Helper()
		p.Client.Do(t, func() { cfg, err = d.complete(t.Context(), base, "f.yml") })
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
		if peer.Name != p.ServerAddr(false).String() || peer.Addr != p.ServerAddr(false) || !peer.OnDemand || peer.Intervals.ICMP != 1e9 ||
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

// A storyteller is the gateways of a host, as a test wants them, and its clock.
type storyteller struct {
	*discovery
	logged  *page
	names   *names
	clock   time.Time
	mu      sync.Mutex
	answers map[string]func(context.Context) ([]gateways.Found, error)
}

// newStoryteller is a host at 192.0.2.1 where no gateway runs.
func newStoryteller() *storyteller {
	s := &storyteller{logged: &page{}, names: &names{}, clock: time.Unix(1_800_000_000, 0), answers: make(map[string]func(context.Context) ([]gateways.Found, error))}
	s.discovery = newDiscovery(slog.New(slog.NewTextHandler(s.logged, nil)))
	s.take(s.discovery)
	return s
}

// take puts the gateways of the test in the place of those of the host.
func (s *storyteller) take(d *discovery) {
	s.discovery = d
	for i := range d.local {
		d.local[i].Socket = "" // there is no file to look for
	}
	d.open = s.open
	d.resolver, d.now = s.names, func() time.Time { return s.clock }
	d.addresses = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)}}, nil
	}
	d.source = func(netip.Addr) netip.Addr { return netip.MustParseAddr("192.0.2.1") }
}

func (s *storyteller) open(g *config.Gateway) (gateways.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := s.answers[g.Name]
	if answer == nil {
		return nil, fs.ErrNotExist
	}
	return talker{answer}, nil
}

func (s *storyteller) tell(gateway string, answer func(context.Context) ([]gateways.Found, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[gateway] = answer
}

// tells sets what a gateway answers: addresses and names.
func (s *storyteller) tells(gateway string, peers ...string) {
	found := make([]gateways.Found, 0, len(peers))
	for _, p := range peers {
		if a, err := netip.ParseAddr(p); err == nil {
			found = append(found, gateways.Found{Address: a})
		} else {
			found = append(found, gateways.Found{Host: p})
		}
	}
	s.shows(gateway, found...)
}

func (s *storyteller) shows(gateway string, found ...gateways.Found) {
	s.tell(gateway, func(context.Context) ([]gateways.Found, error) { return found, nil })
}

func (s *storyteller) refuses(gateway string, err error) {
	s.tell(gateway, func(context.Context) ([]gateways.Found, error) { return nil, err })
}

// find asks everybody.
func (s *storyteller) find(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := s.complete(t.Context(), peerless(), "")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func peerless() *config.Config {
	return &config.Config{Modules: map[string]config.Settings{config.DefaultModule: config.Defaults()}}
}

// talker is a gateway that can only be asked for its peers.
type talker struct {
	answer func(context.Context) ([]gateways.Found, error)
}

func (talker) Read(context.Context) (gateways.Table, error) { return gateways.Table{}, nil }
func (talker) Close() error                                 { return nil }

// Discover implements gateways.Discoverer.
func (t talker) Discover(ctx context.Context) ([]gateways.Found, error) { return t.answer(ctx) }

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

// TestDiscoveryWithoutGateways: nothing is made up, and configured peers are left alone.
func TestDiscoveryWithoutGateways(t *testing.T) {
	t.Parallel()
	s := newStoryteller()
	_, err := s.complete(t.Context(), peerless(), "f.yml")
	if err == nil || !strings.HasPrefix(err.Error(), "f.yml: no peers: ") || !strings.HasSuffix(err.Error(), "but none was found here") {
		t.Errorf("error: %v", err)
	}
	s.refuses("strongswan", fs.ErrPermission)
	s.tells("xfrm") // which every Linux has
	if _, err := s.complete(t.Context(), peerless(), ""); err == nil || !strings.HasSuffix(err.Error(), "but none was found here (strongswan: permission denied)") {
		t.Errorf("error: %v", err)
	}
	cfg, err := config.FromFlags([]string{"203.0.113.10"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.complete(t.Context(), cfg, ""); got != cfg || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	configured := peerless()
	configured.Gateways = []config.Gateway{{Name: "mine", Type: config.StrongSwan}}
	if got, err := s.complete(t.Context(), configured, ""); err != nil || len(got.Peers) != 0 || len(got.Gateways) != 1 {
		t.Errorf("a configured gateway that is not there: %+v, %v", got, err)
	}
	s.tells("mine", "vpn.example.net", "no such name")
	got, err := s.complete(t.Context(), configured, "")
	if err != nil || len(got.Gateways) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	wantPeers(t, "configured", got, "vpn.example.net at mine")
}

// TestDiscoveryWhileTunnelsFail: that is when their peers must go on to be measured, and nothing about them may change.
func TestDiscoveryWhileTunnelsFail(t *testing.T) {
	t.Parallel()
	a, us, other := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	t.Run("of a daemon and the kernel", func(t *testing.T) {
		t.Parallel()
		s := newStoryteller()
		configured := gateways.Found{Address: a, Name: "hq"}
		up := gateways.Found{Address: a, Name: "hq", Local: us, Active: true}
		s.source = func(netip.Addr) netip.Addr { return other } // inside the tunnel
		s.shows("strongswan", configured)
		wantPeers(t, "before", s.find(t), "203.0.113.5 at strongswan")
		s.shows("strongswan", up)
		s.shows("xfrm", gateways.Found{Address: a, Local: us, Active: true})
		first := s.find(t)
		wantPeers(t, "up", first, "203.0.113.5 from 192.0.2.1 (ip4) at strongswan")
		s.source = func(netip.Addr) netip.Addr { return us }
		for when, change := range map[string]func(){
			"down":                     func() { s.shows("strongswan", configured); s.tells("xfrm") },
			"up again":                 func() { s.shows("strongswan", up); s.shows("xfrm", gateways.Found{Address: a, Active: true}) },
			"the daemon has no tunnel": func() { s.tells("strongswan") },
			"the daemon hangs":         func() { s.refuses("strongswan", context.DeadlineExceeded) },
			"all are gone":             func() { s.refuses("strongswan", fs.ErrNotExist); s.refuses("xfrm", fs.ErrPermission) },
		} {
			change()
			if cfg := s.find(t); !slices.EqualFunc(cfg.Peers, first.Peers, config.Peer.Equal) || !slices.Equal(cfg.Gateways, first.Gateways) {
				t.Errorf("%s: %q, %d gateways; want %q, %d", when, peerLines(cfg), len(cfg.Gateways), peerLines(first), len(first.Gateways))
			}
		}
	})
	t.Run("of the kernel alone", func(t *testing.T) {
		t.Parallel()
		s := newStoryteller()
		s.tells("xfrm", "203.0.113.5")
		wantPeers(t, "up", s.find(t), "203.0.113.5")
		s.tells("xfrm")
		wantPeers(t, "down", s.find(t), "203.0.113.5")
		s.clock = s.clock.Add(keepFor - time.Second)
		wantPeers(t, "for long", s.find(t), "203.0.113.5")
		s.tells("xfrm", "203.0.113.5")
		wantPeers(t, "up again", s.find(t), "203.0.113.5")
		s.tells("xfrm")
		s.clock = s.clock.Add(time.Hour) // nobody looked meanwhile
		wantPeers(t, "down again", s.find(t), "203.0.113.5")
		s.clock = s.clock.Add(keepFor)
		if cfg := s.find(t); len(cfg.Peers) != 0 || len(cfg.Gateways) != 1 {
			t.Errorf("gone: %q, %d gateways", peerLines(cfg), len(cfg.Gateways))
		}
	})
}

// TestDiscoveryOfNames: a peer that is configured by its name is one peer, whoever shows its address.
func TestDiscoveryOfNames(t *testing.T) {
	t.Parallel()
	s := newStoryteller()
	s.names.set("vpn.example.net", netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("203.0.113.5"))
	s.names.set("me.example.net", netip.MustParseAddr("192.0.2.1"))
	s.shows("strongswan",
		gateways.Found{Host: "VPN.example.net.", Name: "hq"},
		gateways.Found{Host: "vpn.example.net", Address: netip.MustParseAddr("203.0.113.7"), Name: "hq", Active: true}, // before it moved
		gateways.Found{Host: "me.example.net"},
		gateways.Found{Host: "dead.example.net"})
	s.tells("libreswan", "203.0.113.5", "203.0.113.7", "203.0.113.8")
	wantPeers(t, "names", s.find(t), "203.0.113.8 at libreswan", "dead.example.net at strongswan", "vpn.example.net at strongswan libreswan")
	s.names.fail(errors.New("no name server"))
	s.clock = s.clock.Add(time.Hour)
	wantPeers(t, "later", s.find(t), "203.0.113.8 at libreswan", "dead.example.net at strongswan", "vpn.example.net at strongswan libreswan")
}

// TestDiscoveryAtTheHost: its own addresses are no peers, and others are measured from where their tunnels go.
func TestDiscoveryAtTheHost(t *testing.T) {
	t.Parallel()
	s := newStoryteller()
	found := func(remote, local string) gateways.Found {
		return gateways.Found{Address: netip.MustParseAddr(remote), Local: netip.MustParseAddr(local)}
	}
	s.shows("strongswan", found("192.0.2.1", "192.0.2.1"), found("127.0.0.1", "127.0.0.1"), found("2001:db8::1", "2001:db8::1"),
		found("203.0.113.1", "192.0.2.1"), found("203.0.113.2", "192.0.2.99"), found("2001:db8::2", "2001:db8::1"))
	wantPeers(t, "routed as their tunnels", s.find(t), "2001:db8::2 from 2001:db8::1 (ip6) at strongswan", "203.0.113.1 at strongswan", "203.0.113.2 at strongswan")
	s.source = func(netip.Addr) netip.Addr { return netip.MustParseAddr("10.9.0.1") }
	wantPeers(t, "routed into a tunnel", s.find(t), "2001:db8::2 from 2001:db8::1 (ip6) at strongswan", "203.0.113.1 from 192.0.2.1 (ip4) at strongswan", "203.0.113.2 at strongswan")
	base := peerless()
	settings := base.Modules[config.DefaultModule]
	settings.Interface = "wan0"
	base.Modules[config.DefaultModule] = settings
	if cfg, err := s.complete(t.Context(), base, ""); err != nil || cfg.Peers[0].SourceAddress.IsValid() {
		t.Errorf("the module says where packets leave: %+v, %v", cfg, err)
	}
}

// TestDiscoveryOfConcentrators: who only connects is not probed, where that is known, and not endlessly many.
func TestDiscoveryOfConcentrators(t *testing.T) {
	t.Parallel()
	s := newStoryteller()
	many := make([]string, 2000)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
	}
	s.tells("xfrm", many...)
	first := s.find(t)
	s.tells("xfrm", append([]string{"10.0.0.0"}, many[1000:]...)...)
	again := s.find(t)
	if len(first.Peers) != maxDiscovered || !slices.EqualFunc(first.Peers, again.Peers, config.Peer.Equal) {
		t.Errorf("%d peers, then %d others", len(first.Peers), len(again.Peers))
	}
	if n := s.logged.count("left_out=1500"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, s.logged)
	}
	s.tells("strongswan", "203.0.113.5")
	if cfg := s.find(t); !slices.Equal(peerLines(cfg), []string{"203.0.113.5 at strongswan"}) || len(cfg.Gateways) != 2 {
		t.Errorf("beside a daemon: %q, %d gateways", peerLines(cfg), len(cfg.Gateways))
	}
}

// TestDiscoveryTellsWhatWasRefused once, and when it is over.
func TestDiscoveryTellsWhatWasRefused(t *testing.T) {
	t.Parallel()
	s := newStoryteller()
	const refused, over = "level=WARN msg=\"the gateway cannot be asked for its peers\" gateway=strongswan err=\"permission denied\"", "msg=\"the gateway tells its peers again\" gateway=strongswan"
	s.tells("xfrm", "203.0.113.5")
	for range 3 {
		s.refuses("strongswan", fs.ErrPermission)
		s.find(t)
	}
	if s.logged.count(refused) != 1 || s.logged.count("level=WARN") != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	s.tells("strongswan")
	s.find(t)
	s.find(t)
	if s.logged.count(over) != 1 {
		t.Errorf("log:\n%s", s.logged)
	}
	s.refuses("strongswan", fs.ErrNotExist)
	s.find(t)
	s.find(t)
	if s.logged.count("those of before stay") != 1 || s.logged.count("level=WARN") != 2 {
		t.Errorf("log:\n%s", s.logged)
	}
}

// TestDiscoveryOfGatewaysThatHang: they are asked side by side, and delay no reload.
func TestDiscoveryOfGatewaysThatHang(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"peers: [{address: "+l.address(false)+"}]\n")
	host := newStoryteller()
	host.take(s.reload.discovery)
	host.tells("strongswan", "203.0.113.1")
	host.tells("libreswan", "203.0.113.2")
	if err := s.configure(t, quick); err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan string), make(chan struct{})
	for _, g := range []string{"strongswan", "libreswan"} {
		host.tell(g, func(ctx context.Context) ([]gateways.Found, error) {
			asked <- g
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, errors.New("hangs")
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.reload.discover(t.Context())
	}()
	for range 2 {
		select {
		case <-asked:
		case <-time.After(discoverTimeout / 2):
			t.Fatal("one is not asked while another one hangs")
		}
	}
	reloaded := make(chan error, 1)
	go func() { reloaded <- s.configure(t, quick) }()
	select {
	case err := <-reloaded:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(discoverTimeout / 2):
		t.Error("a reload waits for a gateway that hangs")
	}
	close(release)
	<-done
	if n := len(s.running()); n != 2 {
		t.Errorf("%d peers", n)
	}
}

// TestDiscoveredPeersComeAndGo, in the program that runs.
func TestDiscoveredPeersComeAndGo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = replay(asaGateway("MM_ACTIVE", "127.0.0.1", 1500))
	const gateway = "gateways: [{name: local, type: strongswan}]\n"
	s := l.serve(t, quick+gateway+"peers: [{address: "+l.address(false)+"}]\n")
	host := newStoryteller()
	host.take(s.reload.discovery)
	host.tells("local", "a.example", "b.example")
	if err := s.configure(t, quick+gateway); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		for _, p := range s.running() {
			all = append(all, p.cfg.Name)
		}
		return all
	}
	if diff := cmp.Diff([]string{"a.example", "b.example"}, names()); diff != "" {
		t.Errorf("after the reload (-want +got):\n%s", diff)
	}
	before, _ := s.find("b.example")
	host.tells("local", "b.example", "c.example")
	s.reload.discover(t.Context())
	if diff := cmp.Diff([]string{"a.example", "b.example", "c.example"}, names()); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
	host.clock = host.clock.Add(keepFor)
	s.reload.discover(t.Context())
	if diff := cmp.Diff([]string{"b.example", "c.example"}, names()); diff != "" {
		t.Errorf("much later (-want +got):\n%s", diff)
	}
	if after, _ := s.find("b.example"); after != before {
		t.Error("a peer that did not change was started again")
	}
}

// TestDiscoveredGatewayWithoutPeers is read too, once it is there.
func TestDiscoveredGatewayWithoutPeers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = replay(asaGateway("MM_ACTIVE", "127.0.0.1", 1500))
	s := l.serve(t, quick+"peers: [{address: "+l.address(false)+"}]\n")
	host := newStoryteller()
	host.take(s.reload.discovery)
	host.tells("libreswan", "a.example")
	if err := s.configure(t, quick); err != nil {
		t.Fatal(err)
	}
	before, _ := s.find("a.example")
	host.tells("strongswan")
	s.reload.discover(t.Context())
	s.await(t, soon, `gateway_up{gateway="strongswan"}`, 1)
	host.tells("strongswan", "a.example")
	s.reload.discover(t.Context())
	if after, _ := s.find("a.example"); after != before {
		t.Error("a peer of which another gateway tells too was started again")
	} else if cfg := after.newest.Load(); !slices.Equal(cfg.Gateways, []string{"strongswan", "libreswan"}) {
		t.Errorf("its gateways: %q", cfg.Gateways)
	}
}

// TestCheckOfAFileWithoutPeers: what is served on a VPN gateway is a good configuration.
func TestCheckOfAFileWithoutPeers(t *testing.T) {
	t.Parallel()
	web := ""
	for _, text := range []string{"limits: {packets_per_second: 100}\n", quick + "gateways: [{name: local, type: strongswan}]\n"} {
		var out bytes.Buffer
		o := ServeOptions{ConfigFile: configFile(t, text), Web: &toolkit.FlagConfig{WebConfigFile: &web}, TelemetryPath: "/metrics", ClassicHistograms: true}
		if err := CheckConfig(o, &out); err != nil || out.String() != "no peers: those of this host's gateways are taken\n" {
			t.Errorf("%q, %v", &out, err)
		}
	}
}
