package diagnosis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
)

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reach [methods]reaction
		mtu   [methods]pmtu.Result
		want  map[string]State
	}{
		{name: "nothing known", want: map[string]State{}},
		{
			name:  "healthy",
			reach: [methods]reaction{answers, answers, answers},
			mtu:   [methods]pmtu.Result{ended(search.Clean), ended(search.Clean), ended(search.Reduced)},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
				"pmtu_black_hole/icmp": Absent, "pmtu_black_hole/ike": Absent, "pmtu_black_hole/natt": Absent,
				"pmtu_black_hole_reverse": Absent,
			},
		},
		{
			name:  "everything silent",
			reach: [methods]reaction{silent, silent, silent},
			mtu:   [methods]pmtu.Result{ended(search.Unreachable), ended(search.Unreachable), ended(search.Unreachable)},
			want: map[string]State{
				"peer_silent": Holds, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "silent since an older search found a black hole",
			reach: [methods]reaction{silent, silent, silent},
			mtu:   [methods]pmtu.Result{udp500: ended(search.BlackHole)},
			want: map[string]State{
				"peer_silent": Holds, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "only echo is watched, and silent",
			reach: [methods]reaction{echo: silent},
			want:  map[string]State{},
		},
		{
			name:  "echo silent, IKE not watched, but its search arrives",
			reach: [methods]reaction{echo: silent},
			mtu:   [methods]pmtu.Result{udp500: ended(search.Clean)},
			want:  map[string]State{"peer_silent": Absent, "pmtu_black_hole/ike": Absent},
		},
		{
			name:  "echo silent, IKE not watched, and its searches do not arrive",
			reach: [methods]reaction{echo: silent},
			mtu:   [methods]pmtu.Result{udp500: ended(search.Unreachable), udp4500: ended(search.Unreachable)},
			want:  map[string]State{"peer_silent": Holds},
		},
		{
			name:  "echo silent, searches inconclusive",
			reach: [methods]reaction{echo: silent},
			mtu:   [methods]pmtu.Result{udp500: ended(search.Inconclusive), udp4500: ended(search.Unreachable)},
			want:  map[string]State{},
		},
		{
			name:  "a newer silence is not outweighed by an older search",
			reach: [methods]reaction{silent, silent, hardly},
			mtu:   [methods]pmtu.Result{udp4500: ended(search.Clean)},
			want:  map[string]State{"pmtu_black_hole/natt": Absent},
		},
		{
			name:  "IKE does not answer strangers",
			reach: [methods]reaction{answers, silent, silent},
			want:  map[string]State{"peer_silent": Absent, "icmp_blocked": Absent},
		},
		{
			name:  "echo filtered",
			reach: [methods]reaction{silent, answers, answers},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "echo filtered, only 4500 known",
			reach: [methods]reaction{echo: silent, udp4500: answers},
			want:  map[string]State{"peer_silent": Absent, "icmp_blocked": Holds, "udp4500_blocked": Absent},
		},
		{
			name:  "echo not measurable",
			reach: [methods]reaction{udp500: answers, udp4500: answers},
			want:  map[string]State{"peer_silent": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent},
		},
		{
			name:  "echo hardly asked",
			reach: [methods]reaction{hardly, answers, answers},
			want:  map[string]State{"peer_silent": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent},
		},
		{
			name:  "500 filtered",
			reach: [methods]reaction{answers, silent, answers},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Holds, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "500 and echo filtered",
			reach: [methods]reaction{silent, silent, answers},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Holds, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "4500 filtered",
			reach: [methods]reaction{answers, answers, silent},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Holds,
			},
		},
		{
			name:  "no NAT traversal",
			reach: [methods]reaction{answers, answers, refused},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp500_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "a refused port is a sign of life, but no IKE",
			reach: [methods]reaction{silent, silent, refused},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Absent, "udp4500_blocked": Absent,
			},
		},
		{
			name:  "4500 silent, 500 not known",
			reach: [methods]reaction{echo: answers, udp4500: silent},
			want:  map[string]State{"peer_silent": Absent, "icmp_blocked": Absent},
		},
		{
			name:  "black hole by one method",
			reach: [methods]reaction{silent, answers, answers},
			mtu:   [methods]pmtu.Result{ended(search.Unreachable), ended(search.BlackHole), ended(search.Inconclusive)},
			want: map[string]State{
				"peer_silent": Absent, "icmp_blocked": Holds, "udp500_blocked": Absent, "udp4500_blocked": Absent,
				"pmtu_black_hole/ike": Holds,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := states(Evaluate(reaching(tt.reach, tt.mtu[:]...)))
			if want := refusedBy(tt.reach); got[IKERefused] != want {
				t.Errorf("ike_refused is %s, want %s", got[IKERefused], want)
			}
			delete(got, IKERefused)
			delete(got, NoRoute) // as peer_silent: TestRefusals
			delete(got, PeerRefuses)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// refusedBy is what ike_refused must be.
func refusedBy(by [methods]reaction) State {
	state := Holds
	for _, r := range by[udp500:] {
		switch r {
		case answers, silent:
			return Absent
		case unasked, hardly, undated:
			state = Undecided
		case refused:
		}
	}
	return state
}

// A combination is all that everyCombination varies.
type combination struct {
	reach [methods]reaction
	mtu   [methods]search.State
}

func (c combination) facts() Facts {
	return reaching(c.reach, ended(c.mtu[echo]), ended(c.mtu[udp500]), ended(c.mtu[udp4500]))
}

// is reports whether a method is known to have this reaction.
func (c combination) is(m collectors.Method, r reaction) bool { return c.reach[m] == r }

// reactions are all reactions by a method, with those that say nothing though they name a state.
func reactions(m collectors.Method) []reaction {
	if m == echo {
		return []reaction{unasked, answers, silent, hardly, undated}
	}
	return []reaction{unasked, answers, silent, refused, hardly, undated}
}

// everyCombination calls f with the cross product of all states of all facts.
func everyCombination(f func(combination)) int {
	n := 0
	var c combination
	var fill func(i int)
	fill = func(i int) {
		switch {
		case i < methods:
			for _, r := range reactions(collectors.Method(i)) {
				c.reach[i] = r
				fill(i + 1)
			}
		case i < 2*methods:
			for s := search.Unknown; s <= search.Inconclusive; s++ {
				c.mtu[i-methods] = s
				fill(i + 1)
			}
		default:
			n++
			f(c)
		}
	}
	fill(0)
	return n
}

// What must be true of every combination of facts.
func TestInvariants(t *testing.T) {
	n := everyCombination(func(c combination) {
		got := states(Evaluate(c.facts()))
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
		}
		for _, m := range collectors.Methods() {
			if c.is(m, answers) || c.is(m, refused) {
				check(got[PeerSilent] == Absent, "an answer clears peer_silent")
			}
		}
		check(got[UDP500Blocked] != Holds || got[UDP4500Blocked] != Holds, "without proof, one port at most is blocked")
		check((got[UDP500Blocked] == Holds) == (c.is(udp500, silent) && c.is(udp4500, answers)), "udp500_blocked")
		check((got[UDP4500Blocked] == Holds) == (c.is(udp4500, silent) && c.is(udp500, answers)), "udp4500_blocked")
		check((got[ICMPBlocked] == Holds) == (c.is(echo, silent) && (c.is(udp500, answers) || c.is(udp4500, answers))), "icmp_blocked")
		check(got[IKERefused] == refusedBy(c.reach), "ike_refused")
		for _, m := range collectors.Methods() {
			name := PMTUBlackHole + "/" + m.String()
			check((got[name] == Holds) == (c.mtu[m] == search.BlackHole && got[PeerSilent] != Holds), name)
			check(got[name] != Absent || c.mtu[m] == search.Clean || c.mtu[m] == search.Reduced, name+" is cleared by a size that passes only")
		}
		if c == (combination{}) {
			check(len(got) == 0, "nothing known, nothing decided")
		}
		if len(broken) > 0 {
			t.Errorf("%v\nbroken: %q, verdicts %v", c, broken, got)
		}
	})
	if want := 5 * 6 * 6 * 6 * 6 * 6; n != want {
		t.Errorf("%d combinations were judged, want %d", n, want)
	}
}

// Knowing more may decide what was undecided, but never changes what was decided: so nothing that
// is unknown has ever decided anything.
func TestUnknownDecidesNothing(t *testing.T) {
	compared := 0
	everyCombination(func(c combination) {
		if c.mtu != ([methods]search.State{}) {
			return // they take part only where the others are unknown, so they may be outweighed
		}
		before := states(Evaluate(c.facts()))
		for _, m := range collectors.Methods() {
			if !c.is(m, unasked) && !c.is(m, hardly) && !c.is(m, undated) {
				continue
			}
			for _, r := range reactions(m) {
				more := c
				more.reach[m] = r
				after := states(Evaluate(more.facts()))
				for name, s := range before {
					compared++
					if after[name] != s {
						t.Errorf("%s is %v for %v, but %v with %v", name, s, c, after[name], r)
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
	for _, tt := range []struct {
		name      string
		reach     [methods]reaction
		seconds   [methods]int
		diagnosis string
		want      int
	}{
		{"true: the oldest", [methods]reaction{silent, silent, silent}, [methods]int{7, 5, 9}, PeerSilent, 5},
		{"true: the oldest echo", [methods]reaction{silent, silent, silent}, [methods]int{4, 5, 9}, PeerSilent, 4},
		{"false: the newest that refutes", [methods]reaction{answers, silent, answers}, [methods]int{7, 9, 5}, PeerSilent, 7},
		{"either port: the newest that shows it", [methods]reaction{silent, answers, answers}, [methods]int{9, 5, 7}, ICMPBlocked, 7},
		{"both parts: the older", [methods]reaction{answers, silent, answers}, [methods]int{1, 8, 6}, UDP500Blocked, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := reaching(tt.reach)
			f.IKE.IKE.At, f.IKE.NATT.At = at(tt.seconds[udp500]), at(tt.seconds[udp4500])
			f.ICMP.At, f.ICMP.Since = at(tt.seconds[echo]), at(tt.seconds[echo])
			if tt.reach[echo] == silent {
				f.ICMP.At = at(100) // the newest echo
			}
			if v := verdictOn(t, f, tt.diagnosis, ""); !v.Basis.Equal(at(tt.want)) {
				t.Errorf("%s %v rests on %v, want %v", v.Name, v.State, v.Basis, at(tt.want))
			}
		})
	}
}

func TestText(t *testing.T) {
	facts := reaching([methods]reaction{silent, silent, unasked}, pmtu.Result{}, pmtu.Result{}, pmtu.Result{
		State: search.BlackHole, At: start, Bytes: 1400, LinkBytes: 1500, Packets: 48, PTBReceived: 2, LastHopPassed: hop(1), FirstHopFailed: hop(5),
	})
	facts.IKE.NATT = ike.Result{
		State: ike.Responding, At: start, Port: 4501, Sent: 2, Form: ikeprobe.V2BadKE, Reply: "INVALID_KE_PAYLOAD", RoundTrip: 21340 * time.Microsecond,
	}
	facts.lastAnswer[udp500] = start.Add(-time.Hour)
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
	facts.IKE = &ike.Results{NATT: asked(silent, 4501)}
	facts.PMTU.Results = append(facts.PMTU.Results, pmtu.Result{Method: udp500, State: search.Unreachable, At: start, Packets: 11})
	collect()
	want := []string{
		"icmp_blocked: The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer.",
		"icmp: echo silent, 0 of 3 requests answered, never seen to answer",
		"natt: UDP 4501 answers, 1 of 2 requests answered, last reply INVALID_KE_PAYLOAD, round trip 21.3ms",
		"pmtu_black_hole: Packets above 1400 bytes vanish on the path to the peer, and no usable packet too big comes back.",
		`natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 2; ` +
			"lost after 198.51.100.1, before or at 198.51.100.5",
		"udp500_blocked: IKE is answered on UDP 4501 but not on UDP 500: that port is filtered on the path or by the peer.",
		"ike: UDP 500 silent, 0 of 3 requests answered, last answer at 2026-01-02T02:04:05Z",
		"natt: UDP 4501 answers, 1 of 2 requests answered, last reply INVALID_KE_PAYLOAD, round trip 21.3ms",
		"peer_silent: The peer answers nothing: neither echo requests nor IKE on any port.",
		"icmp: echo silent, 0 of 3 requests answered, never seen to answer",
		"ike: none of the 11 packets of a path MTU search arrived",
		"natt: UDP 4501 silent, 0 of 3 requests answered, never seen to answer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

// The names stand in metrics, alerts and documents: they are fixed, as is their order.
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
	want := []string{
		"peer_silent", "peer_refuses", "no_route", "local_filter", "flow_stuck", "flows_lost", "address_silent", "icmp_blocked", "ike_refused", "loss_high",
		"pmtu_black_hole", "pmtu_black_hole_reverse", "tunnel_oversized", "inside_black_hole", "mss_too_large", "tunnel_dead", "fragments_dropped",
		"udp500_blocked", "udp4500_blocked", "esp_blocked", "esp_udp_blocked", "esp_one_way", "ah_blocked",
		"negotiation_stuck", "child_missing", "no_sa",
		"ike_lockout", "vantage_suspect",
	}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// A pending diagnosis is confirmed by the collectors that show it, and by no others.
func TestConfirming(t *testing.T) {
	set := suite.NewSet
	want := map[string]suite.Set{
		PeerSilent:    set(suite.ICMP, suite.IKE, suite.PMTU),
		NoRoute:       set(suite.ICMP, suite.IKE, suite.PMTU),
		LossHigh:      set(suite.ICMP, suite.IKE, suite.PMTU),
		UDP500Blocked: set(suite.ICMP, suite.IKE, suite.Protocols), UDP4500Blocked: set(suite.ICMP, suite.IKE, suite.Protocols),
		PMTUBlackHole: set(suite.PMTU), PMTUBlackHoleReverse: set(suite.PMTU), TunnelOversized: set(suite.PMTU),
		FragmentsDropped: set(suite.Fragments),
		InsideBlackHole:  set(suite.Inside), MSSTooLarge: set(suite.Inside), TunnelDead: set(suite.Inside),
		ESPBlocked: set(suite.Protocols), AHBlocked: set(suite.Protocols), ESPUDPBlocked: set(suite.Protocols), LocalFilter: set(suite.Protocols),
		FlowStuck: set(suite.Flows), FlowsLost: set(suite.Flows),
		ESPOneWay: 0, NegotiationStuck: 0, ChildMissing: 0, NoSA: 0, // shown by the next reading
	}
	for _, name := range Names() {
		expected, listed := want[name]
		if !listed {
			expected = set(suite.ICMP, suite.IKE)
		}
		if got := Confirming([]string{name}); got != expected {
			t.Errorf("%s is confirmed by %v, want %v", name, slices.Collect(got.All()), slices.Collect(expected.All()))
		}
	}
	if got := Confirming([]string{NoSA, ESPBlocked, PMTUBlackHole}); got != set(suite.PMTU, suite.Protocols) {
		t.Errorf("three are confirmed by %v", slices.Collect(got.All()))
	}
	if got := Confirming(nil); got != 0 {
		t.Errorf("none is confirmed by %v", slices.Collect(got.All()))
	}
}

func TestStateNames(t *testing.T) {
	if got, want := fmt.Sprint(Undecided, Holds, Absent), "undecided holds absent"; got != want {
		t.Errorf("states are named %q, want %q", got, want)
	}
}

// Of a silent peer only peer_silent holds, and what gateways and other peers show.
func TestSilentPeer(t *testing.T) {
	all := ended(search.BlackHole)
	f := reaching([methods]reaction{silent, silent, silent}, all, all, all)
	f.PMTU.Reverse = back(search.BlackHole)
	esp := protocols.Result{Protocol: protocols.ESP, State: protocols.Blocked, BlockedBy: hop(3)}
	f.Protocols = climbed(esp)
	f.Fragments = fragmented(fragments.Result{State: fragments.Dropped, At: start, Sent: 9, Controls: 9, ControlsAnswered: 9}, fragments.Result{})
	f.Gateways = []Gateway{watched(".....", 30*time.Second, start, func(_ *Gateway, o *gateways.Observation) { o.PathMTU = 1500 })}
	f.Vantage = Suspicion{State: Holds, Measured: start, Evidence: []string{"control 192.0.2.53: echo silent"}}
	if diff := cmp.Diff([]string{PeerSilent, NoSA, VantageSuspect}, held(Evaluate(f))); diff != "" {
		t.Errorf("diagnoses (-want +got):\n%s", diff)
	}
	f.ICMP = nil
	f.IKE = &ike.Results{IKE: ike.Result{
		State: ike.Responding, At: start, Form: ikeprobe.V2Major3, Reply: "INVALID_MAJOR_VERSION", BadKESilent: true, BadKESent: 3,
		Loss: collectors.Sample{Sent: 10, Since: start},
	}}
	f.lastOffer[udp500] = start
	want := []string{PMTUBlackHole, PMTUBlackHoleReverse, TunnelOversized, FragmentsDropped, ESPBlocked, NoSA, IKELockout, VantageSuspect}
	if diff := cmp.Diff(want, held(Evaluate(f))); diff != "" {
		t.Errorf("diagnoses of one that is not (-want +got):\n%s", diff)
	}
}

// A check by an ordinary user who may not send echo requests calls a peer silent by IKE alone.
func TestSilentWithoutEcho(t *testing.T) {
	f := reaching([methods]reaction{unasked, silent, silent})
	if got := held(Evaluate(f)); got != nil {
		t.Errorf("echo is unknown: %v", got)
	}
	f.NoEcho = true
	if diff := cmp.Diff([]string{PeerSilent}, held(Evaluate(f))); diff != "" {
		t.Errorf("echo cannot be sent (-want +got):\n%s", diff)
	}
	f = reaching([methods]reaction{unasked, silent, answers})
	f.NoEcho = true
	if diff := cmp.Diff([]string{UDP500Blocked}, held(Evaluate(f))); diff != "" {
		t.Errorf("a port is answered (-want +got):\n%s", diff)
	}
}
