package exporter

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestDiscoveryWithoutGateways: nothing is made up, and configured peers are left alone.
func TestDiscoveryWithoutGateways(t *testing.T) {
	t.Parallel()
	d := newDiscovery(slog.New(slog.DiscardHandler))
	d.local = d.local[:1]
	d.local[0].Socket = "unix:///nowhere/charon.vici"
	_, err := d.complete(t.Context(), &config.Config{}, "f.yml")
	if err == nil || !strings.HasPrefix(err.Error(), "f.yml: no peers: ") || !strings.HasSuffix(err.Error(), "but none was found here") {
		t.Errorf("error: %v", err)
	}
	cfg, err := config.FromFlags([]string{"203.0.113.10"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.complete(t.Context(), cfg, ""); got != cfg || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	configured := &config.Config{
		Modules:  map[string]config.Settings{config.DefaultModule: config.Defaults()},
		Gateways: []config.Gateway{{Name: "down", Type: config.StrongSwan, Socket: "unix:///nowhere/charon.vici"}},
	}
	d.last["down"] = []gateways.Found{{Host: "vpn.example.net"}, {Host: "no such name"}}
	got, err := d.complete(t.Context(), configured, "")
	if err != nil || len(got.Peers) != 1 || got.Peers[0].Name != "vpn.example.net" || len(got.Gateways) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDiscoveredPeersComeAndGo, in the program that runs.
func TestDiscoveredPeersComeAndGo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"gateways: [{name: local, type: strongswan, socket: 'unix:///nowhere/charon.vici'}]\npeers: [{address: "+l.address(false)+"}]\n")
	found := func(addresses ...string) {
		s.reload.discovery.last["local"] = nil
		for _, a := range addresses {
			s.reload.discovery.last["local"] = append(s.reload.discovery.last["local"], gateways.Found{Host: a})
		}
	}
	found("a.example", "b.example")
	if err := s.configure(t, quick+"gateways: [{name: local, type: strongswan, socket: 'unix:///nowhere/charon.vici'}]\n"); err != nil {
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
	found("b.example", "c.example")
	s.reload.discover(t.Context())
	if diff := cmp.Diff([]string{"b.example", "c.example"}, names()); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
	if after, _ := s.find("b.example"); after != before {
		t.Error("a peer that did not change was started again")
	}
}
