package diagnosis

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

func TestGateways(t *testing.T) {
	const half = 29500 * time.Millisecond // three readings take 59 s
	unexpected := func(g *Gateway, _ *gateways.Observation) { g.Expected = false }
	onDemand := func(g *Gateway, _ *gateways.Observation) { g.OnDemand = true }
	well := map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent}
	stuck := map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent}
	busy := map[string]State{ChildMissing: Absent, NoSA: Absent}
	childless := map[string]State{NegotiationStuck: Absent, ChildMissing: Holds, NoSA: Absent}
	with := func(esp State) map[string]State {
		return map[string]State{ESPOneWay: esp, NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent}
	}
	for name, tt := range map[string]struct {
		gateway Gateway
		want    map[string]State
	}{
		"up":                        {hub("UUUUU"), well},
		"up at the first reading":   {hub("U"), well},
		"not read":                  {hub(""), map[string]State{}},
		"no IKE to be seen (xfrm)":  {hub("KKKKK"), map[string]State{}},
		"a word that no rule knows": {hub("?????"), map[string]State{}},
		"stuck":                     {hub("ccccc"), stuck},
		"negotiating, seen often in a short time": {
			watched(strings.Repeat("c", 100), 119*time.Second/99, start), busy,
		},
		"stuck, between two attempts at times":   {hub("c.c.c"), stuck},
		"between two attempts for the most part": {hub("c...c"), well},
		"stuck, up once":                         {hub("Ucccc"), stuck},
		"stuck, on demand: it has traffic and does not come up": {
			watched("ccccc", 30*time.Second, start, onDemand), stuck,
		},
		"stuck, not expected":                                   {watched("ccccc", 30*time.Second, start, unexpected), stuck},
		"stuck until just now":                                  {hub("ccccU"), well},
		"up more often than not":                                {hub("UUUcc"), well},
		"up twice in five readings":                             {hub("UUccc"), well},
		"negotiating, not watched for long":                     {hub("cccc"), busy},
		"a renewal that makes the new before it breaks the old": {hub("UUURR"), well},
		"a renewal that breaks the old before it makes the new": {
			hub("UUUU."), map[string]State{NegotiationStuck: Absent, ChildMissing: Absent},
		},
		"child missing": {hub("UUIII"), childless},
		"child missing for a moment": {
			watched("UUUIII", half, start), map[string]State{NegotiationStuck: Absent, NoSA: Absent},
		},
		"child missing, not expected":    {watched("IIIII", 30*time.Second, start, unexpected), childless},
		"child missing, on demand: idle": {watched("IIIII", 30*time.Second, start, onDemand), well},
		"no SA":                          {hub("UU..."), map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Holds}},
		"no SA for a moment":             {watched("UUU...", half, start), map[string]State{NegotiationStuck: Absent, ChildMissing: Absent}},
		"no SA, on demand: idle":         {watched(".....", 30*time.Second, start, onDemand), well},
		"no SA, not expected":            {watched(".....", 30*time.Second, start, unexpected), well},
		"ESP both ways":                  {watched("UUUUU", 30*time.Second, start, counting(1, 50)), with(Absent)},
		"ESP in only":                    {watched("UUUUU", 30*time.Second, start, counting(1, 0)), with(Absent)},
		"ESP out only":                   {watched("UUUUU", 30*time.Second, start, counting(0, 10)), with(Holds)},
		"ESP out only, of a gateway that shows no IKE": {
			watched("KKKKK", 30*time.Second, start, counting(0, 10)), map[string]State{ESPOneWay: Holds},
		},
		"ESP out only, not for long":         {watched("UUU", half, start, counting(0, 100)), well},
		"ESP out only, without child before": {watched("..UU", 30*time.Second, start, counting(0, 100)), well},
		"ESP out only, a few":                {watched("UUUUU", 30*time.Second, start, counting(0, 9)), well},
		"idle":                               {watched("UUUUU", 30*time.Second, start, counting(0, 0)), well},
	} {
		t.Run(name, func(t *testing.T) {
			got := states(Evaluate(Facts{Gateways: []Gateway{tt.gateway}}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// A second verdict on esp_one_way must rest on packets that were counted after the first.
func TestOneWayIsAsOldAsItsWindow(t *testing.T) {
	f := Facts{Gateways: []Gateway{watched("UUUUU", 30*time.Second, start, counting(0, 10))}}
	for _, v := range Evaluate(f) {
		if v.Name == ESPOneWay && !v.Basis.Equal(ago(60)) {
			t.Errorf("rests on %v, want %v", v.Basis, ago(60))
		}
	}
}

// What readings every 30 s come to, from the words of a gateway to the diagnosis.
func TestHistories(t *testing.T) {
	up := func(in, out uint64) gateways.Observation {
		return gateways.Observation{
			Up: gateways.Yes, IKEUp: true, ChildUp: true, IKESAs: 1, ChildSAs: 1, In: gateways.Counted(in), Out: gateways.Counted(out),
			PathMTU: 1500, NATT: gateways.Yes,
		}
	}
	none := gateways.Observation{Up: gateways.No}
	bare := gateways.Observation{Up: gateways.No, IKEUp: true, IKESAs: 1}
	tries := gateways.Observation{Up: gateways.No, IKESAs: 1, State: gateways.XAuth, VendorState: "AM_TM_INIT_XAUTH_V6C"}
	kernel := gateways.Observation{Up: gateways.Unknown, NoIKE: true, ChildUp: true, ChildSAs: 1, In: gateways.Counted(0), Out: gateways.Counted(0)}
	odd := gateways.Observation{Up: gateways.Unknown, IKESAs: 1, ChildSAs: 1}
	for name, tt := range map[string]struct {
		seen     []gateways.Observation
		onDemand bool
		want     string
	}{
		"nothing read":              {nil, false, ""},
		"up":                        {[]gateways.Observation{up(1, 1), up(2, 2), up(3, 3), up(4, 4), up(5, 5)}, false, ""},
		"no SA, for a while":        {[]gateways.Observation{up(1, 1), none, none, none}, false, "no_sa"},
		"no SA, only just":          {[]gateways.Observation{up(1, 1), none, none}, false, ""},
		"no SA, on demand":          {[]gateways.Observation{none, none, none, none}, true, ""},
		"no child, for a while":     {[]gateways.Observation{bare, bare, bare}, false, "child_missing"},
		"no child, only just":       {[]gateways.Observation{up(1, 1), bare, bare}, false, ""},
		"stuck":                     {[]gateways.Observation{tries, none, tries, none, tries}, false, "negotiation_stuck"},
		"one attempt":               {[]gateways.Observation{none, tries, tries, tries}, false, ""},
		"up at last":                {[]gateways.Observation{tries, tries, tries, tries, up(1, 1)}, false, ""},
		"long up, then an attempt":  {[]gateways.Observation{up(1, 1), up(2, 2), up(3, 3), up(4, 4), up(5, 5), tries, tries}, false, ""},
		"one way":                   {[]gateways.Observation{up(7, 0), up(7, 5), up(7, 10)}, false, "esp_one_way"},
		"one way, too few":          {[]gateways.Observation{up(7, 0), up(7, 5), up(7, 9)}, false, ""},
		"one way, too short":        {[]gateways.Observation{up(7, 0), up(7, 50)}, false, ""},
		"one way, but not just now": {[]gateways.Observation{up(7, 0), up(7, 50), up(8, 100)}, false, ""},
		"the kernel knows no IKE":   {[]gateways.Observation{kernel, kernel, kernel, kernel, kernel}, false, ""},
		"a word that is not known":  {[]gateways.Observation{odd, odd, odd, odd, odd}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := Gateway{Name: "hub", History: gateways.History{Expected: true, OnDemand: tt.onDemand}}
			for i, o := range tt.seen {
				o.At = start.Add(time.Duration(i) * 30 * time.Second)
				g.Add(&o)
			}
			if diff := cmp.Diff(tt.want, strings.Join(held(Evaluate(Facts{Gateways: []Gateway{g}})), " ")); diff != "" {
				t.Errorf("(-want +got):\n%s%+v", diff, g)
			}
		})
	}
}

func TestTunnelOversized(t *testing.T) {
	hole, clean := sized(search.BlackHole, 1400), sized(search.Clean, 1500)
	reduced, nothing := sized(search.Reduced, 1400), sized(search.Unreachable, 0)
	const bare, inUDP = gateways.No, gateways.Yes
	for name, tt := range map[string]struct {
		mtu     [methods]pmtu.Result
		back    pmtu.Reverse
		natt    gateways.Answer
		pathMTU int
		want    State
	}{
		"nothing known":                     {pathMTU: 1500, want: Undecided},
		"black hole":                        {mtu: [methods]pmtu.Result{hole, hole, hole}, pathMTU: 1500, want: Holds},
		"black hole, echo filtered":         {mtu: [methods]pmtu.Result{nothing, hole, hole}, pathMTU: 1500, want: Holds},
		"the gateway uses what passes":      {mtu: [methods]pmtu.Result{hole, hole, hole}, pathMTU: 1400, want: Absent},
		"the gateway does not say":          {mtu: [methods]pmtu.Result{hole, hole, hole}, want: Undecided},
		"clean":                             {mtu: [methods]pmtu.Result{clean, clean, clean}, pathMTU: 1500, want: Absent},
		"clean, the gateway does not say":   {mtu: [methods]pmtu.Result{clean, clean, clean}, want: Absent},
		"reduced, and it says so":           {mtu: [methods]pmtu.Result{reduced, reduced, reduced}, pathMTU: 1500, want: Absent},
		"on the reverse path only":          {mtu: [methods]pmtu.Result{hole, clean, clean}, back: back(search.BlackHole), pathMTU: 1500, want: Absent},
		"on the reverse path, perhaps both": {mtu: [methods]pmtu.Result{hole, {}, {}}, back: back(search.BlackHole), pathMTU: 1500, want: Undecided},
		"passes by IKE, larger than echo":   {mtu: [methods]pmtu.Result{hole, clean, sized(search.BlackHole, 1450)}, pathMTU: 1420, want: Absent},
		"one way of two":                    {mtu: [methods]pmtu.Result{{}, hole, clean}, pathMTU: 1500, want: Undecided},
		"one way of two, bare":              {mtu: [methods]pmtu.Result{{}, clean, hole}, natt: bare, pathMTU: 1500, want: Undecided},
		"one way of two, and it is in UDP":  {mtu: [methods]pmtu.Result{{}, clean, hole}, natt: inUDP, pathMTU: 1500, want: Holds},
		"the other way, and it is in UDP":   {mtu: [methods]pmtu.Result{{}, hole, clean}, natt: inUDP, pathMTU: 1500, want: Absent},
		"in UDP, of which nothing is known": {mtu: [methods]pmtu.Result{{}, hole, nothing}, natt: inUDP, pathMTU: 1500, want: Holds},
		"two black holes, between them":     {mtu: [methods]pmtu.Result{{}, hole, sized(search.BlackHole, 1300)}, pathMTU: 1350, want: Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			g := watched("U", 0, start, func(_ *Gateway, o *gateways.Observation) { o.PathMTU, o.NATT = tt.pathMTU, tt.natt })
			f := Facts{Gateways: []Gateway{g}}
			f.PMTU = searched(tt.mtu)
			f.PMTU.Reverse = tt.back
			if got := states(Evaluate(f))[TunnelOversized]; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			mute := reaching([methods]reaction{silent, silent, silent})
			f.ICMP, f.IKE = mute.ICMP, mute.IKE
			if got := states(Evaluate(f))[TunnelOversized]; got != Undecided {
				t.Errorf("%v of a silent peer", got)
			}
		})
	}
	f := Facts{Gateways: []Gateway{hub("")}}
	f.PMTU = searched([methods]pmtu.Result{clean, clean, clean})
	if got := states(Evaluate(f))[TunnelOversized]; got != Undecided {
		t.Errorf("%v of a gateway that was not read", got)
	}
}

// Of a pair of gateways one has the tunnel. That the other one has no SA is a fault only while
// neither has the tunnel.
func TestStandby(t *testing.T) {
	unexpected := func(g *Gateway, _ *gateways.Observation) { g.Expected = false }
	for name, tt := range map[string]struct {
		active Gateway
		want   State
	}{
		"the active one has it":                 {hub("UUUUU"), Absent},
		"it has none either":                    {hub("ccccc"), Holds},
		"it has one that is not expected there": {watched("UUUUU", 30*time.Second, start, unexpected), Holds},
		"it was not read":                       {hub(""), Holds},
	} {
		standby := hub(".....")
		tt.active.Name = "other"
		judged := false
		for _, v := range Evaluate(Facts{Gateways: []Gateway{tt.active, standby}}) {
			if v.Name == NoSA && v.Gateway == standby.Name {
				judged = true
				if v.State != tt.want {
					t.Errorf("%s: %v, want %v", name, v.State, tt.want)
				}
			}
		}
		if !judged {
			t.Errorf("%s: not judged", name)
		}
	}
}

func TestYoung(t *testing.T) {
	unexpected, idle := hub(".."), hub("..")
	unexpected.Expected, idle.OnDemand = false, true
	for name, tt := range map[string]struct {
		gateway Gateway
		want    bool
	}{
		"up":                   {hub("UU"), false},
		"no SA yet":            {hub(".."), true},
		"no SA for a while":    {hub("..."), false},
		"negotiating":          {hub("..c"), true},
		"negotiating for long": {hub("ccccc"), false},
		"idle on demand":       {idle, false},
		"not expected":         {unexpected, false},
		"no IKE to be seen":    {hub("KK"), false},
		"it could not be read": {hub(""), false},
	} {
		if got := tt.gateway.Young(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestGatewayText(t *testing.T) {
	named := func(name string, g Gateway) Gateway { g.Name = name; return g }
	f := Facts{Gateways: []Gateway{
		named("large", watched("U", 0, start, func(_ *Gateway, o *gateways.Observation) { o.PathMTU = 1500 })),
		named("oneway", watched("UUU", time.Minute, start, counting(0, 120))),
		named("stuck", hub("xxxxx")), named("unnamed", hub("ccccc")), named("bare", hub("IIIII")), named("gone", hub(".....")),
	}}
	for i := range f.Gateways {
		f.Gateways[i].Expected = f.Gateways[i].Name == "gone" // none stands by for another
	}
	f.PMTU = searched([methods]pmtu.Result{udp4500: sized(search.BlackHole, 1400)})
	f.Gateways[3].Observations[4].State, f.Gateways[3].Observations[4].VendorState = gateways.ModeCfg, ""
	var got []string
	for _, v := range Evaluate(f) {
		if v.State == Holds && v.Gateway != "" {
			got = append(append(got, v.Gateway+" "+v.Name+": "+v.Summary), v.Evidence...)
		}
	}
	want := []string{
		"large tunnel_oversized: The gateway builds packets for a path MTU of 1500 bytes, but packets that large vanish on the path to the peer.",
		"gateway large: uses a path MTU of 1500 bytes",
		`natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 0`,
		"oneway esp_one_way: The gateway sends ESP packets to the peer, and none come in: ESP is blocked one way, or the peer has lost its SA.",
		"gateway oneway: 120 packets out, 0 in, from 2026-01-02T03:03:05Z to 2026-01-02T03:04:05Z",
		"stuck negotiation_stuck: The negotiation of the tunnel is stuck after phase 1, while user name and password are asked for (XAUTH).",
		"gateway stuck: up in 0 of the last 5 readings, negotiating in 5, last state AM_TM_INIT_XAUTH_V6C",
		"unnamed negotiation_stuck: The negotiation of the tunnel is stuck after phase 1, while addresses are handed out (mode config).",
		"gateway unnamed: up in 0 of the last 5 readings, negotiating in 5",
		"bare child_missing: IKE is established with the peer, but there is no child SA: no traffic is carried.",
		"gateway bare: IKE established without a child from 2026-01-02T03:02:05Z to 2026-01-02T03:04:05Z",
		"gone no_sa: The gateway has no SA of the peer, and none is being negotiated.",
		"gateway gone: no SA from 2026-01-02T03:02:05Z to 2026-01-02T03:04:05Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestStages(t *testing.T) {
	for state, want := range map[gateways.IKEState]string{
		gateways.Connecting: "before the peers have authenticated each other",
		gateways.IKEUnknown: "at an unknown stage",
	} {
		if got := stage(state); got != want {
			t.Errorf("%v is %q, want %q", state, got, want)
		}
	}
}
