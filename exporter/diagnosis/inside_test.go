package diagnosis

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

var protectedHost = netip.MustParseAddr("10.1.0.1")

// throughTunnel is a result about a target that answers.
func throughTunnel(state search.State, bytes, mss int) inside.Result {
	r := inside.Result{Target: inside.Target{Address: protectedHost, Port: 443}, At: start, Sent: 5, Answered: 5, Heard: start}
	r.Size = search.Verdict{State: state, Bytes: bytes, Link: 1500}
	if r.MSS = mss; mss > 0 {
		r.TCP = inside.TCPAnswered
	}
	return r
}

// noAnswer is a result about a target that answers nothing.
func noAnswer(heard time.Time) inside.Result {
	return inside.Result{Target: inside.Target{Address: protectedHost, Port: 443}, At: start, Sent: 5, TCP: inside.TCPSilent, Heard: heard}
}

// tunnelFacts are a peer that answers outside, and what was found inside.
func tunnelFacts(results ...inside.Result) Facts {
	f := reaching([methods]reaction{answers, answers, answers})
	f.Inside = &inside.Results{At: start, Results: results}
	return f
}

func TestInsideSizes(t *testing.T) {
	for name, tt := range map[string]struct {
		results []inside.Result
		want    []string
	}{
		"everything passes":               {[]inside.Result{throughTunnel(search.Clean, 1500, 1460)}, nil},
		"packet too big corrects the MSS": {[]inside.Result{throughTunnel(search.Reduced, 1364, 1460)}, nil},
		"vanish, TCP fits":                {[]inside.Result{throughTunnel(search.BlackHole, 1364, 1324)}, []string{InsideBlackHole}},
		"vanish, TCP unknown":             {[]inside.Result{throughTunnel(search.BlackHole, 1364, 0)}, []string{InsideBlackHole}},
		"vanish, MSS one byte too large":  {[]inside.Result{throughTunnel(search.BlackHole, 1364, 1325)}, []string{InsideBlackHole, MSSTooLarge}},
		"one of two":                      {[]inside.Result{throughTunnel(search.Clean, 1500, 1460), throughTunnel(search.BlackHole, 1364, 1460)}, []string{InsideBlackHole, MSSTooLarge}},
		"inconclusive":                    {[]inside.Result{throughTunnel(search.Inconclusive, 1364, 1460)}, nil},
		"no result":                       {nil, nil},
	} {
		if got := held(Evaluate(tunnelFacts(tt.results...))); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	v := verdictOn(t, tunnelFacts(throughTunnel(search.BlackHole, 1364, 1460)), MSSTooLarge, "")
	if !strings.Contains(v.Summary, "Clamp the MSS to 1324") || !strings.Contains(v.Summary, "packets of 1500 bytes") {
		t.Errorf("summary %q", v.Summary)
	}
	six := throughTunnel(search.BlackHole, 1364, 1440)
	six.Target.Address = netip.MustParseAddr("2001:db8::1")
	if v := verdictOn(t, tunnelFacts(six), MSSTooLarge, ""); !strings.Contains(v.Summary, "Clamp the MSS to 1304") {
		t.Errorf("summary %q", v.Summary)
	}
	compared := tunnelFacts(throughTunnel(search.BlackHole, 1364, 0))
	compared.PMTU = searched([methods]pmtu.Result{{}, ended(search.Clean)})
	hub := Gateway{Name: "hub"}
	hub.Add(&gateways.Observation{At: start, PathMTU: 1500})
	compared.Gateways = []Gateway{hub}
	lines := verdictOn(t, compared, InsideBlackHole, "").Evidence
	if len(lines) != 3 || !strings.Contains(lines[1], "outside the tunnel pass 1400 bytes by ike") || !strings.Contains(lines[2], "gateway hub: uses a path MTU of 1500") {
		t.Errorf("evidence %q", lines)
	}
	if v := verdictOn(t, Facts{}, InsideBlackHole, ""); v.State != Undecided {
		t.Errorf("without targets: %v", v.State)
	}
}

func TestTunnelDead(t *testing.T) {
	with := func(f Facts, g ...Gateway) Facts {
		f.Gateways = g
		return f
	}
	// Readings of a gateway with the tunnel up, and packets that came in meanwhile, or none.
	up := func(in uint64) Gateway {
		g := Gateway{Name: "hub"}
		for i := range 4 {
			g.Add(&gateways.Observation{
				At: start.Add(time.Duration(i-3) * 30 * time.Second), Up: gateways.Yes, IKEUp: true, ChildUp: true,
				IKESAs: 1, ChildSAs: 1, In: gateways.Counted(in * uint64(i)), Out: gateways.Counted(uint64(i)),
			})
		}
		return g
	}
	down := Gateway{Name: "hub"}
	down.Add(&gateways.Observation{At: start, Up: gateways.No})
	kernel := Gateway{Name: "kernel"}
	kernel.Add(&gateways.Observation{At: start, NoIKE: true, ChildUp: true, ChildSAs: 2})
	before := start.Add(-time.Hour)
	silentPeer := reaching([methods]reaction{silent, silent, silent})
	silentPeer.Inside = &inside.Results{At: start, Results: []inside.Result{noAnswer(before)}}
	for name, tt := range map[string]struct {
		f    Facts
		want State
	}{
		"dead":                            {with(tunnelFacts(noAnswer(before)), up(0)), Holds},
		"dead, by the kernel":             {with(tunnelFacts(noAnswer(before)), kernel), Holds},
		"two that were never heard":       {with(tunnelFacts(noAnswer(time.Time{}), noAnswer(time.Time{})), up(0)), Holds},
		"one that was never heard":        {with(tunnelFacts(noAnswer(time.Time{})), up(0)), Undecided},
		"one of two answers":              {with(tunnelFacts(noAnswer(before), throughTunnel(search.Clean, 1500, 0)), up(0)), Absent},
		"packets come in":                 {with(tunnelFacts(noAnswer(before)), up(5)), Absent},
		"no SA":                           {with(tunnelFacts(noAnswer(before)), down), Absent},
		"no gateway is read":              {tunnelFacts(noAnswer(before)), Undecided},
		"the peer is silent":              {with(silentPeer, up(0)), Undecided},
		"no targets":                      {with(tunnelFacts(), up(0)), Undecided},
		"a closed port is an answer, too": {with(tunnelFacts(inside.Result{At: start, Sent: 5, TCP: inside.TCPRefused, Heard: start}), up(0)), Absent},
	} {
		if v := verdictOn(t, tt.f, TunnelDead, ""); v.State != tt.want {
			t.Errorf("%s: %v, want %v", name, v.State, tt.want)
		}
	}
	v := verdictOn(t, with(tunnelFacts(noAnswer(before)), up(0)), TunnelDead, "")
	if !strings.Contains(v.Summary, "10.1.0.1 alone may be down") || len(v.Evidence) != 2 || !strings.Contains(v.Evidence[0], "last answered at") {
		t.Errorf("%q, %q", v.Summary, v.Evidence)
	}
}
