package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watched is an expected pair whose table was read n times, the last time at start.
func watched(n int) Gateway {
	return Gateway{Name: "hub", Measured: start, Expected: true, Readings: n, Watched: time.Duration(n-1) * 30 * time.Second}
}

// ago is so many seconds before the newest reading.
func ago(seconds int) time.Time { return start.Add(-time.Duration(seconds) * time.Second) }

func TestGateways(t *testing.T) {
	up := func(g *Gateway) { g.Up, g.UpReadings = true, g.Readings }
	flow := func(seconds int, in, out uint64) Traffic {
		return Traffic{From: ago(seconds), To: start, In: in, Out: out}
	}
	for name, tt := range map[string]struct {
		readings int
		change   func(*Gateway)
		want     map[string]State
	}{
		"up":                      {5, up, map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent}},
		"up at the first reading": {1, up, map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent}},
		"not read": {5, func(g *Gateway) {
			*g = Gateway{Name: "hub", Expected: true, Readings: 5, NegotiatingReadings: 5, NoSASince: ago(600), Traffic: flow(300, 0, 50)}
		}, map[string]State{}},
		"no IKE to be seen (xfrm)": {5, func(g *Gateway) { g.NoIKE, g.NoSASince, g.NegotiatingReadings = true, ago(600), 5 }, map[string]State{}},
		"stuck":                    {5, func(g *Gateway) { g.NegotiatingReadings = 5 }, map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent}},
		"negotiating, seen often in a short time": {
			100, func(g *Gateway) { g.NegotiatingReadings, g.Watched = 100, 119*time.Second },
			map[string]State{ChildMissing: Absent, NoSA: Absent},
		},
		"stuck, between two attempts at times": {
			5, func(g *Gateway) { g.NegotiatingReadings = 3 },
			map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent},
		},
		"stuck, up once": {
			5, func(g *Gateway) { g.UpReadings, g.NegotiatingReadings = 1, 4 },
			map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent},
		},
		"stuck, on demand: it has traffic and does not come up": {
			5, func(g *Gateway) { g.OnDemand, g.NegotiatingReadings = true, 5 },
			map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent},
		},
		"stuck, not expected": {
			5, func(g *Gateway) { g.Expected, g.NegotiatingReadings = false, 5 },
			map[string]State{NegotiationStuck: Holds, ChildMissing: Absent, NoSA: Absent},
		},
		"stuck until just now": {
			5, func(g *Gateway) { g.Up, g.UpReadings, g.NegotiatingReadings = true, 1, 4 },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"up more often than not": {
			5, func(g *Gateway) { g.UpReadings, g.NegotiatingReadings = 3, 2 },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"negotiating, not watched for long":                     {4, func(g *Gateway) { g.NegotiatingReadings = 4 }, map[string]State{ChildMissing: Absent, NoSA: Absent}},
		"a renewal that makes the new before it breaks the old": {5, up, map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent}},
		"a renewal that breaks the old before it makes the new": {
			5, func(g *Gateway) { g.UpReadings, g.NoSASince = 4, ago(20) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent},
		},
		"child missing": {
			5, func(g *Gateway) { g.ChildMissingSince = ago(60) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Holds, NoSA: Absent},
		},
		"child missing for a moment": {
			5, func(g *Gateway) { g.UpReadings, g.ChildMissingSince = 4, ago(59) },
			map[string]State{NegotiationStuck: Absent, NoSA: Absent},
		},
		"child missing, not expected": {
			5, func(g *Gateway) { g.Expected, g.ChildMissingSince = false, ago(600) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Holds, NoSA: Absent},
		},
		"child missing, on demand: idle": {
			5, func(g *Gateway) { g.OnDemand, g.ChildMissingSince = true, ago(600) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"no SA": {5, func(g *Gateway) { g.NoSASince = ago(60) }, map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Holds}},
		"no SA, on demand: idle": {
			5, func(g *Gateway) { g.OnDemand, g.NoSASince = true, ago(600) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"no SA, not expected": {
			5, func(g *Gateway) { g.Expected, g.NoSASince = false, ago(600) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"ESP both ways": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(60, 1, 50) },
			map[string]State{ESPOneWay: Absent, NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"ESP in only": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(10, 1, 0) },
			map[string]State{ESPOneWay: Absent, NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"ESP out only": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(60, 0, 10) },
			map[string]State{ESPOneWay: Holds, NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"ESP out only, of a gateway that shows no IKE": {5, func(g *Gateway) { g.NoIKE = true; g.Traffic = flow(60, 0, 10) }, map[string]State{ESPOneWay: Holds}},
		"ESP out only, not for long": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(59, 0, 100) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"ESP out only, a few": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(600, 0, 9) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
		"idle": {
			5, func(g *Gateway) { up(g); g.Traffic = flow(600, 0, 0) },
			map[string]State{NegotiationStuck: Absent, ChildMissing: Absent, NoSA: Absent},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := watched(tt.readings)
			tt.change(&g)
			got := states(Evaluate(Facts{Gateways: []Gateway{g}}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTunnelOversized(t *testing.T) {
	hole, clean, reduced, nothing := sized(BlackHole, 1400), sized(Clean, 1500), sized(Reduced, 1400), sized(Unreachable, 0)
	for name, tt := range map[string]struct {
		mtu      [methods]MTU
		back     Reverse
		encap    Encapsulation
		believed int
		want     State
	}{
		"nothing known":                     {believed: 1500, want: Undecided},
		"black hole":                        {mtu: [methods]MTU{hole, hole, hole}, believed: 1500, want: Holds},
		"black hole, echo filtered":         {mtu: [methods]MTU{nothing, hole, hole}, believed: 1500, want: Holds},
		"the gateway believes what passes":  {mtu: [methods]MTU{hole, hole, hole}, believed: 1400, want: Absent},
		"the gateway does not say":          {mtu: [methods]MTU{hole, hole, hole}, want: Undecided},
		"clean":                             {mtu: [methods]MTU{clean, clean, clean}, believed: 1500, want: Absent},
		"clean, the gateway does not say":   {mtu: [methods]MTU{clean, clean, clean}, want: Absent},
		"told so":                           {mtu: [methods]MTU{reduced, reduced, reduced}, believed: 1500, want: Absent},
		"on the way back only":              {mtu: [methods]MTU{hole, clean, clean}, back: back(ReverseBlackHole), believed: 1500, want: Absent},
		"on the way back, perhaps both":     {mtu: [methods]MTU{hole, {}, {}}, back: back(ReverseBlackHole), believed: 1500, want: Undecided},
		"one way of two":                    {mtu: [methods]MTU{{}, hole, clean}, believed: 1500, want: Undecided},
		"one way of two, bare":              {mtu: [methods]MTU{{}, clean, hole}, encap: Bare, believed: 1500, want: Undecided},
		"one way of two, and it is in UDP":  {mtu: [methods]MTU{{}, clean, hole}, encap: InUDP, believed: 1500, want: Holds},
		"the other way, and it is in UDP":   {mtu: [methods]MTU{{}, hole, clean}, encap: InUDP, believed: 1500, want: Absent},
		"in UDP, of which nothing is known": {mtu: [methods]MTU{{}, hole, nothing}, encap: InUDP, believed: 1500, want: Holds},
		"two black holes, between them":     {mtu: [methods]MTU{{}, hole, sized(BlackHole, 1300)}, believed: 1350, want: Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			g := Gateway{Name: "hub", Measured: start, PathMTU: tt.believed, Encapsulation: tt.encap}
			f := Facts{MTU: tt.mtu, Reverse: tt.back, Gateways: []Gateway{g}}
			if got := states(Evaluate(f))[TunnelOversized]; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			f.Reach = [methods]Reach{silent(), silent(), silent()}
			if got := states(Evaluate(f))[TunnelOversized]; got != Undecided {
				t.Errorf("%v of a silent peer", got)
			}
		})
	}
}

// TestStandby: of a pair of gateways one has the tunnel. That the other has none is a fault only while neither has.
func TestStandby(t *testing.T) {
	for name, tt := range map[string]struct {
		active func(*Gateway)
		want   State
	}{
		"the active one has it":                 {func(g *Gateway) { g.Up = true }, Absent},
		"it has none either":                    {func(*Gateway) {}, Holds},
		"it has one that is not expected there": {func(g *Gateway) { g.Up, g.Expected = true, false }, Holds},
		"it was not read":                       {func(g *Gateway) { g.Up, g.Measured = true, time.Time{} }, Holds},
	} {
		active, standby := watched(5), watched(5)
		active.Name, standby.NoSASince = "other", ago(600)
		tt.active(&active)
		for _, v := range Evaluate(Facts{Gateways: []Gateway{active, standby}}) {
			if v.Name == NoSA && v.Gateway == standby.Name && v.State != tt.want {
				t.Errorf("%s: %v, want %v", name, v.State, tt.want)
			}
		}
	}
}

func TestYoung(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Gateway)
		want   bool
	}{
		"up":                   {func(g *Gateway) { g.Up = true }, false},
		"no SA yet":            {func(*Gateway) {}, true},
		"no SA for a while":    {func(g *Gateway) { g.Watched = time.Minute }, false},
		"negotiating":          {func(g *Gateway) { g.Watched, g.NegotiatingReadings = time.Minute, 1 }, true},
		"negotiating for long": {func(g *Gateway) { *g = watched(5); g.NegotiatingReadings = 5 }, false},
		"idle on demand":       {func(g *Gateway) { g.OnDemand = true }, false},
		"not expected":         {func(g *Gateway) { g.Expected = false }, false},
		"no IKE to be seen":    {func(g *Gateway) { g.NoIKE = true }, false},
		"it could not be read": {func(g *Gateway) { g.Measured = time.Time{} }, false},
	} {
		g := watched(2)
		tt.change(&g)
		if got := g.Young(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestGatewayText(t *testing.T) {
	g := Gateway{
		Name: "hub", Measured: start, Readings: 5, NegotiatingReadings: 5, Watched: 2 * time.Minute, Negotiation: XAuth, VendorState: "AM_TM_INIT_XAUTH_V6C",
		ChildMissingSince: ago(300), NoSASince: ago(300), Expected: true, PathMTU: 1500,
		Traffic: Traffic{From: ago(120), To: start, Out: 120},
	}
	var got []string
	for _, v := range Evaluate(Facts{MTU: [methods]MTU{natt: sized(BlackHole, 1400)}, Gateways: []Gateway{g}}) {
		if v.State == Holds && v.Gateway != "" {
			got = append(append(got, v.Gateway+" "+v.Name+": "+v.Summary), v.Evidence...)
		}
	}
	want := []string{
		"hub tunnel_oversized: The gateway builds packets for a path MTU of 1500 bytes, but packets that large vanish on the way to the peer.",
		"gateway hub: believes a path MTU of 1500 bytes",
		`natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 0`,
		"hub esp_one_way: The gateway sends ESP packets to the peer, and none come in: ESP is blocked one way, or the peer has lost its SA.",
		"gateway hub: 120 packets out, 0 in, from 2026-01-02T03:02:05Z to 2026-01-02T03:04:05Z",
		"hub negotiation_stuck: The negotiation of the tunnel is stuck after phase 1, while user name and password are asked for (XAUTH).",
		"gateway hub: up in 0 of the last 5 readings, negotiating in 5, last state AM_TM_INIT_XAUTH_V6C",
		"hub child_missing: IKE is established with the peer, but there is no child SA: no traffic is carried.",
		"gateway hub: IKE established without a child from 2026-01-02T02:59:05Z to 2026-01-02T03:04:05Z",
		"hub no_sa: The gateway has no SA of the peer, and none is being negotiated.",
		"gateway hub: no SA from 2026-01-02T02:59:05Z to 2026-01-02T03:04:05Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}
