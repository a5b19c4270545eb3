package exporter

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
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
