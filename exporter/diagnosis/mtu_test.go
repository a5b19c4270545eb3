package diagnosis

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sized(s MTUState, bytes int) MTU {
	return MTU{State: s, Measured: start, Bytes: bytes, LinkBytes: 1500, Packets: 48}
}

func back(s ReverseState) Reverse {
	return Reverse{State: s, Measured: start, LowerBytes: 1400, UpperBytes: 1400, Packets: 12}
}

// held are the names of the diagnoses that hold, each once.
func held(vs Verdicts) []string {
	var out []string
	for _, v := range vs {
		if v.State == Holds {
			out = append(out, v.Name)
		}
	}
	return slices.Compact(out)
}

// TestScenarios: the faults of the laboratory, as the collectors see them.
func TestScenarios(t *testing.T) {
	all := [methods]Reach{answers(), answers(), answers()}
	noEcho := [methods]Reach{silent(), answers(), answers()}
	mtu := func(icmp, ike, natt MTU) [methods]MTU { return [methods]MTU{icmp, ike, natt} }
	clean, hole, nothing := sized(Clean, 1500), sized(BlackHole, 1400), sized(Unreachable, 0)
	pass := Fragments{State: FragmentPass, Measured: start, Sent: 1, Answered: 1}
	dropped := Fragments{State: FragmentDropped, Measured: start, Sent: 3, Controls: 3, ControlsAnswered: 3}
	through, lost := [methods]Fragments{ike: pass, natt: pass}, [methods]Fragments{ike: dropped, natt: dropped}
	blocked := Passage{State: Blocked, Measured: start, LastHop: 2, FirstMissing: 3, Tries: 3, Witness: UDP500, WitnessHop: 4, Hops: 4}
	for name, tt := range map[string]struct {
		facts Facts
		want  []string
	}{
		"S0":                           {Facts{Reach: all, MTU: mtu(clean, clean, clean), Reverse: back(ReverseClean), Fragments: through}, nil},
		"S1":                           {Facts{Reach: all, MTU: mtu(sized(Reduced, 1400), sized(Reduced, 1400), sized(Reduced, 1400)), Fragments: through}, nil},
		"S2":                           {Facts{Reach: all, MTU: mtu(hole, hole, hole), Reverse: back(ReverseReduced), Fragments: through}, []string{"pmtu_black_hole"}},
		"S2 v6":                        {Facts{Reach: all, MTU: mtu(hole, hole, hole), Reverse: back(ReverseBlackHole)}, []string{"pmtu_black_hole", "pmtu_black_hole_reverse"}},
		"S2b":                          {Facts{Reach: all, MTU: mtu(hole, hole, hole), Reverse: back(ReverseBlackHole), Fragments: through}, []string{"pmtu_black_hole", "pmtu_black_hole_reverse"}},
		"S3":                           {Facts{Reach: noEcho, MTU: mtu(nothing, hole, hole), Fragments: through}, []string{"icmp_blocked", "pmtu_black_hole"}},
		"S4":                           {Facts{Reach: all, MTU: mtu(clean, clean, clean), Fragments: lost}, []string{"fragments_dropped"}},
		"S5":                           {Facts{Reach: noEcho, MTU: mtu(nothing, hole, hole), Fragments: lost}, []string{"icmp_blocked", "pmtu_black_hole", "fragments_dropped"}},
		"S6":                           {Facts{Reach: all, MTU: mtu(clean, clean, clean), Reverse: back(ReverseReduced), Fragments: through}, nil},
		"S6 v6":                        {Facts{Reach: all, MTU: mtu(hole, clean, clean), Reverse: back(ReverseBlackHole)}, []string{"pmtu_black_hole_reverse"}},
		"S6b":                          {Facts{Reach: all, MTU: mtu(hole, clean, clean), Reverse: back(ReverseBlackHole), Fragments: through}, []string{"pmtu_black_hole_reverse"}},
		"S6b, the way back not tested": {Facts{Reach: all, MTU: mtu(hole, clean, clean)}, []string{"pmtu_black_hole_reverse"}},
		"S6b and S4":                   {Facts{Reach: all, MTU: mtu(hole, clean, clean), Fragments: lost}, []string{"pmtu_black_hole_reverse", "fragments_dropped"}},
		"S6c":                          {Facts{Reach: all, MTU: mtu(hole, hole, hole), Reverse: back(ReverseClean), Fragments: through}, []string{"pmtu_black_hole"}},
		"S11a":                         {Facts{Reach: [methods]Reach{answers(), silent(), answers()}, MTU: mtu(clean, nothing, clean)}, []string{"udp500_blocked"}},
		"S11b":                         {Facts{Reach: [methods]Reach{answers(), answers(), silent()}, MTU: mtu(clean, clean, nothing)}, []string{"udp4500_blocked"}},
		"S12":                          {Facts{Reach: all, MTU: mtu(clean, clean, clean), Passages: [protocols]Passage{ESP: blocked, AH: blocked}}, []string{"esp_blocked", "ah_blocked"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, held(Evaluate(tt.facts))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDirection: an echo reply is as large as its request, so echo alone does not tell which way loses it.
func TestDirection(t *testing.T) {
	const (
		there  = "Packets above 1400 bytes vanish on the way to the peer, and no usable packet too big comes back."
		either = "Echo requests above 1400 bytes, or the replies to them, vanish, and no usable packet too big comes back."
		likely = "Larger IKE messages arrive, but of echoes above 1400 bytes no reply comes back: such packets vanish on the way back, " +
			"unless large echoes alone are filtered."
		proven = "Packets above 1400 bytes vanish on the way back from the peer."
	)
	hole, clean := sized(BlackHole, 1400), sized(Clean, 1500)
	for name, tt := range map[string]struct {
		mtu              [methods]MTU
		back             Reverse
		forward, reverse string // summary, or state
	}{
		"nothing known":                  {},
		"IKE passes more, by one method": {mtu: [methods]MTU{hole, clean, {}}, forward: "absent", reverse: likely},
		"IKE passes more, by both":       {mtu: [methods]MTU{hole, clean, clean}, forward: "absent", reverse: likely},
		"IKE passes a bit more":          {mtu: [methods]MTU{hole, sized(BlackHole, 1450), {}}, forward: "absent", reverse: likely},
		"IKE passes more, proven": {
			mtu: [methods]MTU{hole, clean, clean}, back: back(ReverseBlackHole), forward: "absent", reverse: proven,
		},
		"IKE passes more, and replies too: a filter, or another path": {
			mtu: [methods]MTU{hole, clean, clean}, back: back(ReverseClean), forward: "absent", reverse: "absent",
		},
		"IKE passes more by one method, not by the other": {mtu: [methods]MTU{hole, clean, hole}, forward: "absent"},
		"IKE passes more, as far as it was searched": {
			mtu: [methods]MTU{hole, sized(Inconclusive, 1450), {}}, forward: "absent", reverse: likely,
		},
		"IKE was not searched that far":       {mtu: [methods]MTU{hole, sized(Inconclusive, 1300), {}}, forward: either},
		"IKE passes no more":                  {mtu: [methods]MTU{hole, hole, hole}, forward: there},
		"IKE passes no more, told so":         {mtu: [methods]MTU{hole, sized(Reduced, 1400), {}}, forward: there},
		"IKE passes no more, both ways":       {mtu: [methods]MTU{hole, hole, hole}, back: back(ReverseBlackHole), forward: there, reverse: proven},
		"IKE passes less":                     {mtu: [methods]MTU{hole, sized(BlackHole, 1300), {}}, forward: there},
		"IKE is unknown":                      {mtu: [methods]MTU{hole, {}, {}}, forward: either},
		"IKE is not reachable":                {mtu: [methods]MTU{hole, sized(Unreachable, 0), {}}, forward: either},
		"IKE is unknown, way back clean":      {mtu: [methods]MTU{hole, {}, {}}, back: back(ReverseClean), forward: there, reverse: "absent"},
		"IKE is unknown, way back reduced":    {mtu: [methods]MTU{hole, {}, {}}, back: back(ReverseReduced), forward: there, reverse: "absent"},
		"IKE is unknown, way back black hole": {mtu: [methods]MTU{hole, {}, {}}, back: back(ReverseBlackHole), reverse: proven},
		"echo clean":                          {mtu: [methods]MTU{clean, {}, {}}, forward: "absent", reverse: "absent"},
		"echo clean before the test":          {mtu: [methods]MTU{clean, {}, {}}, back: back(ReverseBlackHole), forward: "absent", reverse: proven},
		"echo clean since the test": {
			mtu: [methods]MTU{{State: Clean, Measured: start.Add(time.Second), Bytes: 1500}, {}, {}}, back: back(ReverseBlackHole), forward: "absent", reverse: "absent",
		},
		"echo filtered": {mtu: [methods]MTU{sized(Unreachable, 0), clean, clean}},
		"undated test":  {mtu: [methods]MTU{hole, {}, {}}, back: Reverse{State: ReverseBlackHole}, forward: either},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, v := range Evaluate(Facts{MTU: tt.mtu, Reverse: tt.back}) {
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
