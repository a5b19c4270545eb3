package diagnosis

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
)

const (
	echo = collectors.ICMP
	ike  = collectors.IKE
	natt = collectors.NATT
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Reaches as collectors give them.
func answers() Reach { return Reach{State: Answers, Measured: start, Sent: 3, Received: 3} }
func silent() Reach  { return Reach{State: Silent, Measured: start, Sent: 3} }
func refused() Reach { return Reach{State: Refused, Measured: start, Sent: 1} }
func hardly() Reach  { return Reach{State: Silent, Measured: start, Sent: 2} }

func search(s MTUState) MTU {
	return MTU{State: s, Measured: start, Bytes: 1400, LinkBytes: 1500, Packets: 48}
}

// states are the verdicts by name, or by name and part, without those that are undecided.
func states(vs Verdicts) map[string]State {
	out := map[string]State{}
	for _, v := range vs {
		if v.State != Undecided {
			name := v.Name
			if v.Part != "" {
				name += "/" + v.Part
			}
			out[name] = v.State
		}
	}
	return out
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reach [methods]Reach
		mtu   [methods]MTU
		want  map[string]State
	}{
		{name: "nothing known", want: map[string]State{}},
		{
			name:  "healthy",
			reach: [methods]Reach{answers(), answers(), answers()},
			mtu:   [methods]MTU{search(Clean), search(Clean), search(Reduced)},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
				"pmtu_black_hole/icmp": Absent, "pmtu_black_hole/ike": Absent, "pmtu_black_hole/natt": Absent,
				"pmtu_black_hole_reverse": Absent,
			},
		},
		{
			name:  "everything silent",
			reach: [methods]Reach{silent(), silent(), silent()},
			mtu:   [methods]MTU{search(Unreachable), search(Unreachable), search(Unreachable)},
			want: map[string]State{
				"peer_silent": Holds, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "silent since an older search found a black hole",
			reach: [methods]Reach{silent(), silent(), silent()},
			mtu:   [methods]MTU{ike: search(BlackHole)},
			want: map[string]State{
				"peer_silent": Holds, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "only echo is watched, and silent",
			reach: [methods]Reach{echo: silent()},
			want:  map[string]State{},
		},
		{
			name:  "echo silent, IKE not watched, but its search arrives",
			reach: [methods]Reach{echo: silent()},
			mtu:   [methods]MTU{ike: search(Clean)},
			want:  map[string]State{"peer_silent": Absent, "pmtu_black_hole/ike": Absent},
		},
		{
			name:  "echo silent, IKE not watched, and its searches do not arrive",
			reach: [methods]Reach{echo: silent()},
			mtu:   [methods]MTU{ike: search(Unreachable), natt: search(Unreachable)},
			want:  map[string]State{"peer_silent": Holds},
		},
		{
			name:  "echo silent, searches inconclusive",
			reach: [methods]Reach{echo: silent()},
			mtu:   [methods]MTU{ike: search(Inconclusive), natt: search(Unreachable)},
			want:  map[string]State{},
		},
		{
			name:  "a newer silence is not outweighed by an older search",
			reach: [methods]Reach{silent(), silent(), hardly()},
			mtu:   [methods]MTU{natt: search(Clean)},
			want:  map[string]State{"pmtu_black_hole/natt": Absent, "udp4500_blocked": Absent},
		},
		{
			name:  "IKE does not answer strangers",
			reach: [methods]Reach{answers(), silent(), silent()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "echo filtered",
			reach: [methods]Reach{silent(), answers(), answers()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "echo filtered, only 4500 known",
			reach: [methods]Reach{echo: silent(), natt: answers()},
			want:  map[string]State{"peer_silent": Absent, "icmp_blocked": Holds, "udp4500_blocked": Absent},
		},
		{
			name:  "echo not measurable",
			reach: [methods]Reach{ike: answers(), natt: answers()},
			want:  map[string]State{"peer_silent": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent},
		},
		{
			name:  "echo hardly asked",
			reach: [methods]Reach{hardly(), answers(), answers()},
			want:  map[string]State{"peer_silent": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent},
		},
		{
			name:  "500 filtered",
			reach: [methods]Reach{answers(), silent(), answers()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Holds, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "500 and echo filtered",
			reach: [methods]Reach{silent(), silent(), answers()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Holds, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "4500 filtered",
			reach: [methods]Reach{answers(), answers(), silent()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Holds,
			},
		},
		{
			name:  "no NAT traversal",
			reach: [methods]Reach{answers(), answers(), refused()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "a refused port is a sign of life, but no IKE",
			reach: [methods]Reach{silent(), silent(), refused()},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "4500 silent, 500 not known",
			reach: [methods]Reach{echo: answers(), natt: silent()},
			want:  map[string]State{"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent},
		},
		{
			name:  "black hole by one method",
			reach: [methods]Reach{silent(), answers(), answers()},
			mtu:   [methods]MTU{search(Unreachable), search(BlackHole), search(Inconclusive)},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Absent, "udp4500_blocked": Absent,
				"pmtu_black_hole/ike": Holds,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := states(Evaluate(Facts{Reach: tt.reach, MTU: tt.mtu}))
			refused := and(tt.reach[ike].is(Refused), tt.reach[natt].is(Refused)).state
			if got[IKERefused] != refused {
				t.Errorf("ike_refused is %s, want %s", got[IKERefused], refused)
			}
			delete(got, IKERefused)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// allReaches are all states of reach, with those that say nothing though they name a state.
func allReaches() []Reach {
	undated := answers()
	undated.Measured = time.Time{}
	return []Reach{{}, answers(), silent(), refused(), hardly(), undated}
}

// everyFacts calls f with the cross product of all states of all facts.
func everyFacts(f func(Facts)) int {
	n := 0
	var facts Facts
	var fill func(i int)
	fill = func(i int) {
		switch {
		case i < methods:
			for _, r := range allReaches() {
				facts.Reach[i] = r
				fill(i + 1)
			}
		case i < 2*methods:
			for s := MTUUnknown; s <= Inconclusive; s++ {
				facts.MTU[i-methods] = search(s)
				fill(i + 1)
			}
		default:
			n++
			f(facts)
		}
	}
	fill(0)
	return n
}

// What must be true of every combination of facts.
func TestInvariants(t *testing.T) {
	n := everyFacts(func(f Facts) {
		got := states(Evaluate(f))
		is := func(m collectors.Method, s ReachState) bool { return f.Reach[m].State == s && f.Reach[m].known() }
		var broken []string
		check := func(ok bool, rule string) {
			if !ok {
				broken = append(broken, rule)
			}
		}
		if got[PeerSilent] == Holds {
			for name, s := range got {
				check(name == PeerSilent || s != Holds, "peer_silent excludes "+name)
			}
			for m := range f.Reach {
				check(!is(collectors.Method(m), Answers) && !is(collectors.Method(m), Refused), "peer_silent though something answers")
			}
		}
		for m := range f.Reach {
			if is(collectors.Method(m), Answers) || is(collectors.Method(m), Refused) {
				check(got[PeerSilent] == Absent, "an answer clears peer_silent")
			}
		}
		check(got[UDP500Blocked] != Holds || got[UDP4500Blocked] != Holds, "one port at most is blocked")
		check((got[UDP500Blocked] == Holds) == (is(ike, Silent) && is(natt, Answers)), "udp500_blocked")
		check((got[UDP4500Blocked] == Holds) == (is(natt, Silent) && is(ike, Answers)), "udp4500_blocked")
		check((got[ICMPBlocked] == Holds) == (is(echo, Silent) && (is(ike, Answers) || is(natt, Answers))), "icmp_blocked")
		for _, m := range collectors.Methods() {
			name := PMTUBlackHole + "/" + m.String()
			check((got[name] == Holds) == (f.MTU[m].State == BlackHole && got[PeerSilent] != Holds), name)
			check(got[name] != Absent || f.MTU[m].State == Clean || f.MTU[m].State == Reduced, name+" is cleared by a size that passes only")
		}
		if f.Reach == ([methods]Reach{}) && f.MTU == ([methods]MTU{search(0), search(0), search(0)}) {
			check(len(got) == 0, "nothing known, nothing decided")
		}
		if len(broken) > 0 {
			t.Errorf("%v\nbroken: %q, verdicts %v", f, broken, got)
		}
	})
	if want := 6 * 6 * 6 * 6 * 6 * 6; n != want {
		t.Errorf("%d combinations were judged, want %d", n, want)
	}
}

// Knowing more may decide what was undecided, but never turns what was decided around: so nothing that is unknown has
// ever decided anything.
func TestUnknownDecidesNothing(t *testing.T) {
	compared := 0
	everyFacts(func(f Facts) {
		if f.MTU != ([methods]MTU{search(0), search(0), search(0)}) {
			return // they take part only where the others are unknown, so they may be outweighed
		}
		before := states(Evaluate(f))
		for m := range f.Reach {
			if f.Reach[m].known() {
				continue
			}
			for _, r := range allReaches() {
				more := f
				more.Reach[m] = r
				after := states(Evaluate(more))
				for name, s := range before {
					compared++
					if after[name] != s {
						t.Errorf("%s is %v for %v, but %v with %v", name, s, f.Reach, after[name], r)
					}
				}
			}
		}
	})
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

// Every verdict is as old as what it rests on: no older and no newer.
func TestBasis(t *testing.T) {
	at := func(r Reach, seconds int) Reach {
		r.Measured = start.Add(time.Duration(seconds) * time.Second)
		return r
	}
	for _, tt := range []struct {
		name      string
		reach     [methods]Reach
		diagnosis string
		want      int
	}{
		{"true: the oldest", [methods]Reach{at(silent(), 7), at(silent(), 5), at(silent(), 9)}, PeerSilent, 5},
		{"false: the newest that refutes", [methods]Reach{at(answers(), 7), at(silent(), 9), at(answers(), 5)}, PeerSilent, 7},
		{"either port: the newest that shows it", [methods]Reach{at(silent(), 9), at(answers(), 5), at(answers(), 7)}, ICMPBlocked, 7},
		{"both parts: the older", [methods]Reach{at(answers(), 1), at(silent(), 8), at(answers(), 6)}, UDP500Blocked, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range Evaluate(Facts{Reach: tt.reach}) {
				if want := start.Add(time.Duration(tt.want) * time.Second); v.Name == tt.diagnosis && !v.Basis.Equal(want) {
					t.Errorf("%s %v rests on %v, want %v", v.Name, v.State, v.Basis, want)
				}
			}
		})
	}
}

func TestText(t *testing.T) {
	facts := Facts{
		Reach: [methods]Reach{
			{State: Silent, Measured: start, Sent: 3},
			{State: Silent, Measured: start, Port: 500, LastAnswer: start.Add(-time.Hour)},
			{State: Answers, Measured: start, Port: 4501, Sent: 2, Received: 1, Reply: "INVALID_KE_PAYLOAD", RoundTrip: 21340 * time.Microsecond},
		},
		MTU: [methods]MTU{natt: {
			State: BlackHole, Measured: start, Bytes: 1400, LinkBytes: 1500, Packets: 48, PTBReceived: 2,
			LastHopPassed: netip.MustParseAddr("198.51.100.1"), FirstHopFailed: netip.MustParseAddr("198.51.100.5"),
		}},
	}
	var got []string
	collect := func() {
		for _, v := range Evaluate(facts) {
			if v.State == Holds {
				got = append(append(got, v.Name+": "+v.Summary), v.Evidence...)
			} else if v.Summary != "" || v.Evidence != nil {
				t.Errorf("%s is %v, but has a text", v.Name, v.State)
			}
		}
	}
	collect()
	facts.Reach[natt] = Reach{State: Silent, Measured: start, Port: 4501}
	facts.Reach[ike] = Reach{}
	facts.MTU[ike] = MTU{State: Unreachable, Measured: start, Packets: 11}
	collect()
	want := []string{
		"icmp_blocked: The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer.",
		"icmp: echo silent, 0 of 3 requests answered, never seen to answer",
		"natt: UDP 4501 answers, 1 of 2 requests answered, last reply INVALID_KE_PAYLOAD, round trip 21.3ms",
		"pmtu_black_hole: Packets above 1400 bytes vanish on the way to the peer, and no usable packet too big comes back.",
		`natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 2; ` +
			"lost after 198.51.100.1, before or at 198.51.100.5",
		"udp500_blocked: IKE is answered on UDP 4501 but not on UDP 500: that port is filtered on the path or by the peer.",
		"ike: UDP 500 silent, last answer at 2026-01-02T02:04:05Z",
		"natt: UDP 4501 answers, 1 of 2 requests answered, last reply INVALID_KE_PAYLOAD, round trip 21.3ms",
		"peer_silent: The peer answers nothing: neither echo requests nor IKE on any port.",
		"icmp: echo silent, 0 of 3 requests answered, never seen to answer",
		"ike: none of the 11 packets of a path MTU search arrived",
		"natt: UDP 4501 silent, never seen to answer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestNamesAreThoseOfTheVerdicts(t *testing.T) {
	var got []string
	for _, v := range Evaluate(Facts{Gateways: []Gateway{{Name: "hub"}, {Name: "spare"}}}) {
		if len(got) == 0 || got[len(got)-1] != v.Name {
			got = append(got, v.Name)
		}
	}
	if diff := cmp.Diff(Names(), got); diff != "" {
		t.Errorf("verdicts (-names +got):\n%s", diff)
	}
}

func TestStateNames(t *testing.T) {
	got := fmt.Sprint(
		Undecided, Holds, Absent, ReachUnknown, Answers, Silent, Refused, ReverseUnknown, ReverseClean, ReverseReduced, ReverseBlackHole,
		FragmentUnknown, FragmentPass, FragmentDropped, ESP, AH, Echo, UDP500, UDP4500, PassageUnknown, Passes, Blocked,
		OfferUnknown, OfferAnswered, OfferIgnored,
	)
	want := "undecided holds absent unknown answers silent refused unknown clean reduced black hole unknown pass dropped " +
		"esp ah icmp udp500 udp4500 unknown passes blocked unknown answered ignored"
	if got != want {
		t.Errorf("states are named %q, want %q", got, want)
	}
}

// Whatever was found before, of a silent peer nothing else is said but what gateways show and whence it may come.
func TestSilentPeer(t *testing.T) {
	f := Facts{
		Reach:    [methods]Reach{silent(), silent(), silent()},
		MTU:      [methods]MTU{search(BlackHole), search(BlackHole), search(BlackHole)},
		Reverse:  back(ReverseBlackHole),
		Offers:   [methods]Offer{ike: {State: OfferIgnored, Measured: start, LastAnswer: start}},
		Passages: [protocols]Passage{ESP: {State: Blocked, Measured: start, BlockedBy: netip.MustParseAddr("198.51.100.3")}},
		Gateways: []Gateway{{Name: "hub", Measured: start, Expected: true, NoSASince: ago(90), PathMTU: 1500}},
		Vantage:  Suspicion{State: Holds, Measured: start, Evidence: []string{"control 192.0.2.53: echo silent"}},
	}
	f.Fragments[ike] = Fragments{State: FragmentDropped, Measured: start}
	if diff := cmp.Diff([]string{PeerSilent, NoSA, VantageSuspect}, held(Evaluate(f))); diff != "" {
		t.Errorf("diagnoses (-want +got):\n%s", diff)
	}
	f.Reach = [methods]Reach{}
	want := []string{PMTUBlackHole, PMTUBlackHoleReverse, TunnelOversized, FragmentsDropped, ESPBlocked, NoSA, IKELockout, VantageSuspect}
	if diff := cmp.Diff(want, held(Evaluate(f))); diff != "" {
		t.Errorf("diagnoses of one that is not (-want +got):\n%s", diff)
	}
}
