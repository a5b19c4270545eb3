package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
)

// TestScenarios: the faults of the laboratory, as the collectors see them.
func TestScenarios(t *testing.T) {
	all, noEcho := [methods]reaction{answers, answers, answers}, [methods]reaction{silent, answers, answers}
	clean, hole, nothing, small := sized(search.Clean, 1500), sized(search.BlackHole, 1400), sized(search.Unreachable, 0), sized(search.Reduced, 1400)
	pass := fragments.Result{State: fragments.Pass, At: start, Sent: 1, Answered: 1}
	dropped := fragments.Result{State: fragments.Dropped, At: start, Sent: 3, Controls: 3, ControlsAnswered: 3}
	through, lost := fragmented(pass, pass), fragmented(dropped, dropped)
	facts := func(by [methods]reaction, icmp, ike, natt pmtu.Result, way pmtu.Reverse, pieces *fragments.Results) Facts {
		f := reaching(by, icmp, ike, natt)
		f.PMTU.Reverse, f.Fragments = way, pieces
		return f
	}
	unknown := pmtu.Reverse{}
	blocked := facts(all, clean, clean, clean, unknown, nil)
	blocked.Protocols = climbed(overtaken(protocols.ESP), overtaken(protocols.AH))
	for name, tt := range map[string]struct {
		facts Facts
		want  []string
	}{
		"S0":    {facts(all, clean, clean, clean, back(search.Clean), through), nil},
		"S1":    {facts(all, small, small, small, unknown, through), nil},
		"S2":    {facts(all, hole, hole, hole, back(search.Reduced), through), []string{"pmtu_black_hole"}},
		"S2 v6": {facts(all, hole, hole, hole, back(search.BlackHole), nil), []string{"pmtu_black_hole", "pmtu_black_hole_reverse"}},
		"S2b":   {facts(all, hole, hole, hole, back(search.BlackHole), through), []string{"pmtu_black_hole", "pmtu_black_hole_reverse"}},
		"S3":    {facts(noEcho, nothing, hole, hole, unknown, through), []string{"icmp_blocked", "pmtu_black_hole"}},
		"S4":    {facts(all, clean, clean, clean, unknown, lost), []string{"fragments_dropped"}},
		"S5":    {facts(noEcho, nothing, hole, hole, unknown, lost), []string{"icmp_blocked", "pmtu_black_hole", "fragments_dropped"}},
		"S6":    {facts(all, clean, clean, clean, back(search.Reduced), through), nil},
		"S6 v6": {facts(all, hole, clean, clean, back(search.BlackHole), nil), []string{"pmtu_black_hole_reverse"}},
		"S6b":   {facts(all, hole, clean, clean, back(search.BlackHole), through), []string{"pmtu_black_hole_reverse"}},
		"S6b, the reverse path not tested": {
			facts(all, hole, clean, clean, unknown, nil), []string{"pmtu_black_hole_reverse"},
		},
		"S6b and S4": {facts(all, hole, clean, clean, unknown, lost), []string{"pmtu_black_hole_reverse", "fragments_dropped"}},
		"S6c":        {facts(all, hole, hole, hole, back(search.Clean), through), []string{"pmtu_black_hole"}},
		"S11a":       {facts([methods]reaction{answers, silent, answers}, clean, nothing, clean, unknown, nil), []string{"udp500_blocked"}},
		"S11b":       {facts([methods]reaction{answers, answers, silent}, clean, clean, nothing, unknown, nil), []string{"udp4500_blocked"}},
		"S12":        {blocked, []string{"esp_blocked", "ah_blocked"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, held(Evaluate(tt.facts))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDirection: an echo reply is as large as its request, so echo alone does not show which way
// loses it.
func TestDirection(t *testing.T) {
	const (
		there  = "Packets above 1400 bytes vanish on the path to the peer, and no usable packet too big comes back."
		either = "Echo requests above 1400 bytes, or the replies to them, vanish, and no usable packet too big comes back."
		likely = "Larger IKE messages arrive, but of echoes above 1400 bytes no reply comes back: such packets vanish on the reverse path, " +
			"unless large echoes alone are filtered."
		wider  = "Packets above 1450 bytes vanish on the path to the peer, and no usable packet too big comes back."
		proven = "Packets above 1400 bytes vanish on the path from the peer."
	)
	hole, clean := sized(search.BlackHole, 1400), sized(search.Clean, 1500)
	for name, tt := range map[string]struct {
		mtu              [methods]pmtu.Result
		back             pmtu.Reverse
		out              pmtu.Forward
		forward, reverse string // summary, or state
	}{
		"nothing known":                  {},
		"IKE passes more, by one method": {mtu: [methods]pmtu.Result{hole, clean, {}}, forward: "absent", reverse: likely},
		"IKE passes more, by both":       {mtu: [methods]pmtu.Result{hole, clean, clean}, forward: "absent", reverse: likely},
		"IKE passes a bit more":          {mtu: [methods]pmtu.Result{hole, sized(search.BlackHole, 1450), {}}, forward: "absent", reverse: likely},
		"IKE passes more, proven": {
			mtu: [methods]pmtu.Result{hole, clean, clean}, back: back(search.BlackHole), forward: "absent", reverse: proven,
		},
		"IKE passes more, and replies too: a filter, or another path": {
			mtu: [methods]pmtu.Result{hole, clean, clean}, back: back(search.Clean), forward: "absent", reverse: "absent",
		},
		"IKE passes more by one method, not by the other": {mtu: [methods]pmtu.Result{hole, clean, hole}, forward: "absent"},
		"IKE passes more, as far as it was searched": {
			mtu: [methods]pmtu.Result{hole, sized(search.Inconclusive, 1450), {}}, forward: "absent", reverse: likely,
		},
		"IKE was not searched that far":           {mtu: [methods]pmtu.Result{hole, sized(search.Inconclusive, 1300), {}}, forward: either},
		"IKE passes no more":                      {mtu: [methods]pmtu.Result{hole, hole, hole}, forward: there},
		"IKE passes no more, reduced":             {mtu: [methods]pmtu.Result{hole, sized(search.Reduced, 1400), {}}, forward: there},
		"IKE passes no more, both ways":           {mtu: [methods]pmtu.Result{hole, hole, hole}, back: back(search.BlackHole), forward: there, reverse: proven},
		"IKE passes less":                         {mtu: [methods]pmtu.Result{hole, sized(search.BlackHole, 1300), {}}, forward: there},
		"IKE is unknown":                          {mtu: [methods]pmtu.Result{hole, {}, {}}, forward: either},
		"IKE is not reachable":                    {mtu: [methods]pmtu.Result{hole, sized(search.Unreachable, 0), {}}, forward: either},
		"IKE is unknown, reverse path clean":      {mtu: [methods]pmtu.Result{hole, {}, {}}, back: back(search.Clean), forward: there, reverse: "absent"},
		"IKE is unknown, reverse path reduced":    {mtu: [methods]pmtu.Result{hole, {}, {}}, back: back(search.Reduced), forward: there, reverse: "absent"},
		"IKE is unknown, reverse path black hole": {mtu: [methods]pmtu.Result{hole, {}, {}}, back: back(search.BlackHole), reverse: proven},
		"IKE is unknown, routers show that packets to the peer pass": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.Clean, 1500), forward: either,
		},
		"IKE is unknown, routers show that the replies vanish": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.Clean, 1500), back: back(search.BlackHole), forward: "absent", reverse: proven,
		},
		"IKE is unknown, routers do not show enough, reverse path black hole": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.Unknown, 1401), back: back(search.BlackHole), reverse: proven,
		},
		"IKE is unknown, routers show that the requests vanish": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.BlackHole, 1400), forward: there,
		},
		"IKE is unknown, routers show both directions": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.BlackHole, 1400), back: back(search.BlackHole), forward: there, reverse: proven,
		},
		"IKE is unknown, routers show both directions, less on the reverse path": {
			mtu: [methods]pmtu.Result{hole, {}, {}}, out: outward(search.BlackHole, 1450), back: back(search.BlackHole), forward: wider, reverse: proven,
		},
		"IKE passes more, whatever routers show": {
			mtu: [methods]pmtu.Result{hole, clean, clean}, out: outward(search.BlackHole, 1400), forward: "absent", reverse: likely,
		},
		"IKE passes more, and routers show that large echoes vanish on the path to the peer": {
			mtu: [methods]pmtu.Result{lostAt(hole), clean, clean}, forward: "absent",
		},
		"echo clean":                 {mtu: [methods]pmtu.Result{clean, {}, {}}, forward: "absent", reverse: "absent"},
		"echo clean before the test": {mtu: [methods]pmtu.Result{clean, {}, {}}, back: back(search.BlackHole), forward: "absent", reverse: proven},
		"echo clean since the test": {
			mtu: [methods]pmtu.Result{{State: search.Clean, At: start.Add(time.Second), Bytes: 1500}, {}, {}}, back: back(search.BlackHole), forward: "absent", reverse: "absent",
		},
		"echo filtered": {mtu: [methods]pmtu.Result{sized(search.Unreachable, 0), clean, clean}},
		"undated test":  {mtu: [methods]pmtu.Result{hole, {}, {}}, back: pmtu.Reverse{State: search.BlackHole}, forward: either},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			f := Facts{}
			f.PMTU = searched(tt.mtu)
			f.PMTU.Reverse, f.PMTU.Forward = tt.back, tt.out
			for _, v := range Evaluate(f) {
				switch {
				case v.Part != "" && v.Part != "icmp" || v.State == Undecided:
				case v.State == Holds:
					got[v.Name] = v.Summary
					if len(v.Evidence) == 0 {
						t.Errorf("%s without evidence", v.Name)
					}
				default:
					got[v.Name] = v.State.String()
				}
			}
			if got[PMTUBlackHole] != tt.forward || got[PMTUBlackHoleReverse] != tt.reverse {
				t.Errorf("forward %q, want %q; reverse %q, want %q", got[PMTUBlackHole], tt.forward, got[PMTUBlackHoleReverse], tt.reverse)
			}
		})
	}
}
