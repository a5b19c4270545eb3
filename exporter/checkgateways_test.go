package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/web"
)

// TestCheckReadsGateways: those at which an SA of a checked peer is expected, and no others.
func TestCheckReadsGateways(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	transcript := asaGateway("MM_ACTIVE", l.address(false), 1500)
	text := "gateways: [{name: hub, type: xfrm}, {name: broken, type: xfrm}, {name: other, type: xfrm}]\n" +
		"peers: [{name: branch, address: " + l.address(false) + ", gateways: [hub, broken]}, {name: elsewhere, address: 203.0.113.9, gateways: [other]}]\n"
	cfg, err := checkedPeers(CheckOptions{ConfigFile: configFile(t, text), Targets: []string{"branch"}})
	if err != nil {
		t.Fatal(err)
	}
	a := l.app(t, cfg, slog.New(slog.DiscardHandler), false)
	a.readers.open = func(g *config.Gateway) (gateways.Source, error) {
		switch g.Name {
		case "hub":
			return ciscoasa.Replay(transcript)
		case "broken":
			return nil, errors.New("no such device")
		}
		t.Errorf("gateway %s is read", g.Name)
		return nil, errors.New("not asked for")
	}
	out, _, err := runReport(t, a, cfg, "text")
	if !errors.Is(err, ErrFault) {
		t.Errorf("ends with %v", err)
	}
	for _, line := range []string{
		"FAULT pmtu_black_hole, tunnel_oversized\n",
		"  gateway hub      up: IKEv1 established (MM_ACTIVE) since ",
		"; child installed (ESP in UDP); 3 packets in, 15 out; builds packets for a path MTU of 1500 bytes\n",
		"  not measured     gateway broken: no such device\n",
		"    - gateway hub: believes a path MTU of 1500 bytes\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is missing in:\n%s", line, out)
		}
	}
}

// TestSourceThatOpensLate: what cannot be opened is tried again at each reading.
func TestSourceThatOpensLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	transcript := asaGateway("MM_ACTIVE", l.address(false), 1500)
	var tries atomic.Int32
	l.open = func(*config.Gateway) (gateways.Source, error) {
		if tries.Add(1) < 3 {
			return nil, errors.New("not there yet")
		}
		return ciscoasa.Replay(transcript)
	}
	s := l.serve(t, replayed(l.address(false), ", collectors: [icmp]"))
	s.await(t, soon, `gateway_up{gateway="hub"}`, 0)
	s.await(t, soon, `tunnel_up{gateway="hub",peer="branch"}`, 1)
	p, _ := s.find("branch")
	r := p.report(time.Now())
	if len(r.Gateways) != 1 || r.Gateways[0].Gateway != "hub" || r.Gateways[0].Up != "yes" || len(r.Errors) > 0 {
		t.Errorf("report: %+v, errors %q", r.Gateways, r.Errors)
	}
	detail, _ := dossiers{s.app}.Detail("branch")
	if !slices.ContainsFunc(detail.Results, func(l web.Line) bool {
		return l.Label == "gateway hub" && strings.HasPrefix(l.Text, "up: IKEv1 established (MM_ACTIVE)")
	}) {
		t.Errorf("the page shows %q", detail.Results)
	}
}

// TestCheckAttributesAsServeDoes: an SA at the address of another peer is that one's, also where only one peer is checked.
func TestCheckAttributesAsServeDoes(t *testing.T) {
	t.Parallel()
	cfg, err := checkedPeers(CheckOptions{Targets: []string{"branch"}, ConfigFile: configFile(t, "gateways: [{name: hub, type: xfrm}]\npeers:\n"+
		"- {name: branch, address: 203.0.113.10, gateways: [hub], match: {addresses: [203.0.113.0/24]}}\n- {name: other, address: 203.0.113.20}\n")})
	if err != nil || len(cfg.Peers) != 1 {
		t.Fatalf("%v, %v", cfg, err)
	}
	found := gateways.NewAttribution(expectedPeers(cfg, whereabouts(t.Context(), nil, cfg, &bytes.Buffer{}), "hub"))
	for address, want := range map[string]string{"203.0.113.10": "branch", "203.0.113.20": "other", "203.0.113.30": "branch"} {
		if p := found.Find(gateways.Identity{Address: netip.MustParseAddr(address)}); p == nil || p.Name != want {
			t.Errorf("%s is that of %+v, want %s", address, p, want)
		}
	}
}

// TestNamesAreLookedUpTogether: name servers that do not answer cost the time of one name.
func TestNamesAreLookedUpTogether(t *testing.T) {
	var text strings.Builder
	text.WriteString("peers:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "- {address: vpn%d.example.net}\n", i)
	}
	cfg, err := config.Load(configFile(t, text.String()))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var notes bytes.Buffer
		began := time.Now()
		whereabouts(t.Context(), silentNames{}, cfg, &notes)
		if took := time.Since(began); took != resolveTimeout {
			t.Errorf("it took %v", took)
		}
		if n := strings.Count(notes.String(), "warning: peer vpn"); n != 100 {
			t.Errorf("%d warnings", n)
		}
	})
}

// silentNames are name servers that do not answer.
type silentNames struct{}

// LookupNetIP implements resolver.
func (silentNames) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestTrustThatIsMissing is told like a missing secret.
func TestTrustThatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("PLANTED\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := secretProblems(&config.Config{Gateways: []config.Gateway{{Name: "hub", Login: config.Login{PasswordFile: secret, KnownHostsFile: filepath.Join(dir, "k")}}}})
	if want := "gateway hub: " + filepath.Join(dir, "k") + " does not exist: the gateway cannot be read until it does"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestOutcomeOfAView: only where all expected tunnels are known to be up, all is well.
func TestOutcomeOfAView(t *testing.T) {
	t.Parallel()
	up, down, unknown, idle := expectedView{Up: "yes"}, expectedView{Up: "no"}, expectedView{Up: "unknown"}, expectedView{Up: "unknown", idle: true}
	for _, tt := range []struct {
		expected []expectedView
		want     error
	}{
		{nil, nil}, {[]expectedView{up, idle}, nil}, {[]expectedView{up, unknown}, errTunnelUnknown}, {[]expectedView{unknown, down}, ErrTunnelDown},
	} {
		if err := (&gatewayView{Expected: tt.expected}).outcome(); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.expected, err, tt.want)
		}
	}
}
