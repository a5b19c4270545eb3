package check

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/resolve"
)

// TestCheckReadsGateways: those at which an SA of a checked peer is expected, and no others.
func TestCheckReadsGateways(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2")
	transcript := exportertest.ASAGateway("MM_ACTIVE", l.Address(false), 1500)
	text := "gateways: [{name: hub, type: xfrm}, {name: broken, type: xfrm}, {name: other, type: xfrm}]\n" +
		"peers: [{name: branch, address: " + l.Address(false) + ", gateways: [hub, broken]}, {name: elsewhere, address: 203.0.113.9, gateways: [other]}, " +
		"{name: lost, address: lost.example}]\n"
	o := Options{ConfigFile: exportertest.ConfigFile(t, text), Targets: []string{"branch"}}
	cfg, err := o.peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	c.readers.Open = func(g *config.Gateway) (gateways.Source, error) {
		switch g.Name {
		case "hub":
			return ciscoasa.Replay(transcript)
		case "broken":
			return nil, errors.New("no such device")
		}
		t.Errorf("gateway %s is read", g.Name)
		return nil, errors.New("not asked for")
	}
	c.resolver = &exportertest.Names{}
	out, notes, err := runReport(t, c, cfg, "text")
	if !errors.Is(err, ErrFault) {
		t.Errorf("ends with %v", err)
	}
	if want := "warning: peer lost: cannot resolve \"lost.example\": no address of the wanted family (any)\n"; notes != want {
		t.Errorf("notes %q, want %q", notes, want)
	}
	for _, line := range []string{
		"FAULT pmtu_black_hole, tunnel_oversized ",
		" gateway hub up: IKEv1 established (MM_ACTIVE) since ",
		"; child installed (ESP in UDP); 3 packets in, 15 out so far; builds packets for a path MTU of 1500 bytes ",
		" not measured gateway broken: no such device ",
		" - gateway hub: uses a path MTU of 1500 bytes ", " OBSERVE ON THE LINUX GATEWAY ", "To the administrator of this site",
	} {
		if !strings.Contains(flat(out), line) {
			t.Errorf("%q is missing in:\n%s", line, out)
		}
	}
}

// TestTunnelIsDown: a path without a fault, and a gateway whose negotiation does not complete.
func TestTunnelIsDown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	text := "gateways: [{name: hub, type: xfrm}]\npeers: [{name: branch, address: " + l.Address(false) + ", gateways: [hub]}]\n"
	cfg, err := (&Options{ConfigFile: exportertest.ConfigFile(t, text)}).peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := l.checker(t, cfg, false)
	c.readers.Open = func(*config.Gateway) (gateways.Source, error) {
		return ciscoasa.Replay(exportertest.ASAGateway("MM_WAIT_MSG2", l.Address(false), 1500))
	}
	out, _, err := runReport(t, c, cfg, "text")
	if !errors.Is(err, ErrFault) || !strings.Contains(out, "branch ("+l.Address(false)+"): FAULT negotiation_stuck\n") {
		t.Errorf("ends with %v:\n%s", err, out)
	}
}

// TestCheckAttributesAsServeDoes: an SA at the address of another peer is that one's, also where
// only one peer is checked.
func TestCheckAttributesAsServeDoes(t *testing.T) {
	t.Parallel()
	o := Options{Targets: []string{"branch"}, ConfigFile: exportertest.ConfigFile(t, "gateways: [{name: hub, type: xfrm}]\npeers:\n"+
		"- {name: branch, address: 203.0.113.10, gateways: [hub], match: {addresses: [203.0.113.0/24]}}\n- {name: other, address: 203.0.113.20}\n")}
	cfg, err := o.peers(t.Context())
	if err != nil || len(cfg.Peers) != 1 {
		t.Fatalf("%v, %v", cfg, err)
	}
	peers := known(cfg)
	addresses, _ := resolve.Peers(t.Context(), nil, peers)
	found := gateways.NewAttribution(readers.Expected(peers, addresses, "hub"))
	for address, want := range map[string]string{"203.0.113.10": "branch", "203.0.113.20": "other", "203.0.113.30": "branch"} {
		if p := found.Find(gateways.Identity{Address: netip.MustParseAddr(address)}); p == nil || p.Name != want {
			t.Errorf("%s is that of %+v, want %s", address, p, want)
		}
	}
}
