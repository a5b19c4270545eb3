package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/discovery"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/shard"
)

// takeGateways puts the gateways of a test in the place of those of the host.
func takeGateways(d *discovery.Discovery, f *exportertest.FakeGateways) {
	d.Host = discovery.Host{Open: f.Open, Resolver: &f.Names, Now: f.Now, Addresses: f.Addresses, Source: f.RoutedSource}
}

// TestConfiguredPeersAreLeftAlone: where peers are configured, no gateway is asked for any.
func TestConfiguredPeersAreLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"peers: [{address: "+l.Address(false)+"}]\n")
	host := exportertest.NewFakeGateways()
	takeGateways(s.reload.discovery, host)
	host.Answer("strongswan", func(context.Context) ([]gateways.Found, error) {
		t.Error("the gateway is asked for its peers")
		return []gateways.Found{{Host: "a.example"}}, nil
	})
	before := s.running()
	if err := s.reload.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.reload.discover(t.Context())
	if after := s.running(); !slices.Equal(before, after) {
		t.Errorf("the running peers changed from %v to %v", before, after)
	}
}

// TestDiscoveryOfGatewaysThatHang: they are asked side by side, and delay no reload.
func TestDiscoveryOfGatewaysThatHang(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.serve(t, quick+"peers: [{address: "+l.Address(false)+"}]\n")
	host := exportertest.NewFakeGateways()
	takeGateways(s.reload.discovery, host)
	host.List("strongswan", "203.0.113.1")
	host.List("libreswan", "203.0.113.2")
	if err := s.configure(t, quick); err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan string), make(chan struct{})
	for _, g := range []string{"strongswan", "libreswan"} {
		host.Answer(g, func(ctx context.Context) ([]gateways.Found, error) {
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
		case <-time.After(discovery.Timeout / 2):
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
	case <-time.After(discovery.Timeout / 2):
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
	l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", "127.0.0.1", 1500))
	const gateway = "gateways: [{name: local, type: strongswan}]\n"
	s := l.serve(t, quick+gateway+"peers: [{address: "+l.Address(false)+"}]\n")
	host := exportertest.NewFakeGateways()
	takeGateways(s.reload.discovery, host)
	host.List("local", "a.example", "b.example")
	if err := s.configure(t, quick+gateway); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		for _, p := range s.running() {
			all = append(all, p.Config.Name)
		}
		return all
	}
	if diff := cmp.Diff([]string{"a.example", "b.example"}, names()); diff != "" {
		t.Errorf("after the reload (-want +got):\n%s", diff)
	}
	before, _ := s.find("b.example")
	host.List("local", "b.example", "c.example")
	s.reload.discover(t.Context())
	if diff := cmp.Diff([]string{"a.example", "b.example", "c.example"}, names()); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
	host.Clock = host.Clock.Add(time.Hour)
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
	l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", "127.0.0.1", 1500))
	s := l.serve(t, quick+"peers: [{address: "+l.Address(false)+"}]\n")
	host := exportertest.NewFakeGateways()
	takeGateways(s.reload.discovery, host)
	host.List("libreswan", "a.example")
	if err := s.configure(t, quick); err != nil {
		t.Fatal(err)
	}
	before, _ := s.find("a.example")
	host.List("strongswan")
	s.reload.discover(t.Context())
	s.await(t, soon, `gateway_up{gateway="strongswan"}`, 1)
	host.List("strongswan", "a.example")
	s.reload.discover(t.Context())
	if after, _ := s.find("a.example"); after != before {
		t.Error("a peer that another gateway shows too was started again")
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
		o := ServeOptions{ConfigFile: exportertest.ConfigFile(t, text), Web: &toolkit.FlagConfig{WebConfigFile: &web}, TelemetryPath: "/metrics", ClassicHistograms: true, TotalShards: 1}
		if err := CheckConfig(o, &out); err != nil || out.String() != "no peers: the peers of this host's gateways will be measured, as soon as there are any\n" {
			t.Errorf("%q, %v", &out, err)
		}
	}
}

// TestDiscoveryOfAShard: peers that gateways report are divided like configured ones.
func TestDiscoveryOfAShard(t *testing.T) {
	t.Parallel()
	const peers, total = 40, 2
	host := exportertest.NewFakeGateways()
	var addresses []string
	for i := range peers {
		addresses = append(addresses, fmt.Sprintf("203.0.113.%d", i+1))
	}
	host.List("strongswan", addresses...)
	var found []string
	for i := range total {
		r := newReloader(slog.New(slog.DiscardHandler), shard.Shard{Index: i, Total: total})
		takeGateways(r.discovery, host)
		base, err := config.ReadAny("", nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := r.first(t.Context(), base)
		if err != nil || len(cfg.Peers) < peers/4 || len(cfg.Peers)+len(cfg.Others) != peers || len(cfg.Gateways) != 1 {
			t.Fatalf("shard %d: %+v, %v", i, cfg, err)
		}
		for p := range slices.Values(cfg.Peers) {
			found = append(found, p.Name)
		}
	}
	slices.Sort(found)
	slices.Sort(addresses)
	if !slices.Equal(found, addresses) {
		t.Errorf("the shards have %q", found)
	}
}
