package diagnosis

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/suite"
)

// fault is one that is known to have appeared some seconds after start.
func fault(name string, seconds int) Held {
	return Held{Diagnosis: Diagnosis{Name: name}, Since: at(seconds), Appeared: true, Confirmed: at(seconds + 2)}
}

// peerOf is a measured peer of a provider.
func peerOf(name, isp string, held ...Held) Standing {
	return Standing{Peer: name, ISP: isp, Intervals: everyMinute(), Measured: true, Held: held}
}

func everyMinute() (every suite.Intervals) {
	for i := range every {
		every[i] = time.Minute
	}
	return every
}

func failing(seconds int) Control {
	return Control{State: Holds, Measured: at(seconds), Evidence: "control 192.0.2.53: echo silent"}
}

func fineControl(seconds int) Control { return Control{State: Absent, Measured: at(seconds)} }

// suspicions are "+a -b ?c": suspect, not suspect, not known.
func suspicions(v *Vantage, peers []Standing) string {
	var out []string
	for _, p := range peers {
		sign := "?"
		switch v.Of(p.Peer).State {
		case Holds:
			sign = "+"
		case Absent:
			sign = "-"
		case Undecided:
		}
		out = append(out, sign+p.Peer)
	}
	return strings.Join(out, " ")
}

func TestVantage(t *testing.T) {
	hole := func(seconds int) Held { return fault(PMTUBlackHole, seconds) }
	old := Held{Diagnosis: Diagnosis{Name: PMTUBlackHole}, Since: at(50), Confirmed: at(52)} // found at once
	unmeasured := Standing{Peer: "d", Intervals: everyMinute()}
	hourly := peerOf("c", "beta", hole(1000))
	hourly.Intervals[suite.PMTU] = time.Hour
	for name, tt := range map[string]struct {
		peers    []Standing
		controls []Control
		want     string
	}{
		"all is well":                         {[]Standing{peerOf("a", "acme"), peerOf("b", "beta")}, nil, "-a -b"},
		"one fault":                           {[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta")}, nil, "-a -b"},
		"one fault, the control is fine":      {[]Standing{peerOf("a", "acme", hole(50))}, []Control{fineControl(60)}, "-a"},
		"one fault, the control fails":        {[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "")}, []Control{failing(60)}, "+a -b"},
		"one of two controls fails":           {[]Standing{peerOf("a", "acme", hole(50))}, []Control{failing(60), fineControl(60)}, "-a"},
		"both controls fail":                  {[]Standing{peerOf("a", "acme", hole(50))}, []Control{failing(60), failing(61)}, "+a"},
		"one fails, the other is unknown":     {[]Standing{peerOf("a", "acme", hole(50))}, []Control{failing(60), {}}, "+a"},
		"the controls are unknown":            {[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "")}, []Control{{}, {}}, "?a -b"},
		"an old fault, and the control fails": {[]Standing{peerOf("a", "acme", old)}, []Control{failing(60)}, "+a"},
		"filtered echo never counts": {
			[]Standing{peerOf("a", "acme", fault(ICMPBlocked, 50))}, []Control{failing(60)}, "-a",
		},
		"nor does suspicion itself": {[]Standing{peerOf("a", "acme", fault(VantageSuspect, 50))}, []Control{failing(60)}, "-a"},
		"an outbreak": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(80)), peerOf("c", "acme", hole(170)), peerOf("d", ""), peerOf("e", "acme")},
			nil, "+a +b +c -d -e",
		},
		"an outbreak, though the control is fine": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(80)), peerOf("c", "acme", hole(170))}, []Control{fineControl(180)}, "+a +b +c",
		},
		"two peers are no outbreak": {[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(80))}, nil, "-a -b"},
		"one provider is no outbreak": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "acme", hole(50)), peerOf("c", "acme", hole(50))}, nil, "-a -b -c",
		},
		"nor is one with some that are not named": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "", hole(50)), peerOf("c", "", hole(50))}, nil, "-a -b -c",
		},
		"less than half is no outbreak": {
			[]Standing{
				peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(50)), peerOf("c", "acme", hole(50)),
				peerOf("d", ""), peerOf("e", ""), peerOf("f", ""), peerOf("g", ""),
			}, nil, "-a -b -c -d -e -f -g",
		},
		"peers that are not measured are not counted": {
			[]Standing{
				peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(50)), peerOf("c", "acme", hole(50)), unmeasured,
				{Peer: "e"},
				{Peer: "f"},
				{Peer: "g"},
			}, nil, "+a +b +c ?d ?e ?f ?g",
		},
		"nor do they make one": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(50)), {Peer: "c", ISP: "acme", Held: []Held{hole(50)}}}, nil, "-a -b ?c",
		},
		"different faults are no outbreak": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(50)), peerOf("c", "acme", fault(FragmentsDropped, 50))}, nil, "-a -b -c",
		},
		"filtered echo is no outbreak": {
			[]Standing{peerOf("a", "acme", fault(ICMPBlocked, 50)), peerOf("b", "beta", fault(ICMPBlocked, 50)), peerOf("c", "acme", fault(ICMPBlocked, 50))},
			nil, "-a -b -c",
		},
		"more than two intervals apart": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(80)), peerOf("c", "acme", hole(171))}, nil, "-a -b -c",
		},
		"within two intervals of the slowest": {
			[]Standing{peerOf("a", "acme", hole(50)), peerOf("b", "beta", hole(80)), hourly}, nil, "+a +b +c",
		},
		"a peer that was faulty long before is not part of it": {
			[]Standing{peerOf("a", "acme", hole(500)), peerOf("b", "beta", hole(510)), peerOf("c", "acme", hole(520)), peerOf("d", "beta", hole(50))},
			nil, "+a +b +c -d",
		},
		"old faults that a restart finds together": {
			[]Standing{peerOf("a", "acme", old), peerOf("b", "beta", old), peerOf("c", "acme", old)}, nil, "-a -b -c",
		},
		"one peer at three gateways is one peer": {
			[]Standing{peerOf("a", "acme", fault(NoSA, 50), fault(NoSA, 51), fault(NoSA, 52)), peerOf("b", "beta", fault(NoSA, 50))}, nil, "-a -b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := &Vantage{}
			v.Update(at(1100), tt.peers, tt.controls, nil)
			if got := suspicions(v, tt.peers); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// After an outbreak, the last ones to recover are not blamed for what was not theirs, unless they
// do not recover.
func TestVantageRecovery(t *testing.T) {
	ill := func(name, isp string) Standing { return peerOf(name, isp, fault(PeerSilent, 100)) }
	for _, tt := range []struct {
		name     string
		controls func(seconds int) []Control
	}{
		{"outbreak", func(int) []Control { return nil }},
		{"controls", func(seconds int) []Control {
			if seconds <= 200 {
				return []Control{failing(seconds)}
			}
			return []Control{fineControl(seconds)}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &Vantage{}
			for _, step := range []struct {
				at    int
				peers []Standing
				want  string
			}{
				{50, []Standing{peerOf("a", "acme"), peerOf("b", "beta"), peerOf("c", "acme")}, "-a -b -c"},
				{110, []Standing{ill("a", "acme"), ill("b", "beta"), ill("c", "acme")}, "+a +b +c"},
				{200, []Standing{ill("a", "acme"), ill("b", "beta"), ill("c", "acme")}, "+a +b +c"},
				{210, []Standing{ill("a", "acme"), peerOf("b", "beta"), peerOf("c", "acme", fault(PMTUBlackHole, 205))}, "?a -b -c"},
				{320, []Standing{ill("a", "acme"), peerOf("b", "beta"), peerOf("c", "acme")}, "?a -b -c"},
				{321, []Standing{ill("a", "acme"), peerOf("b", "beta"), peerOf("c", "acme")}, "-a -b -c"},
			} {
				controls := tt.controls(step.at)
				if step.at == 50 {
					controls = nil
				}
				v.Update(at(step.at), step.peers, controls, nil)
				if got := suspicions(v, step.peers); got != step.want {
					t.Errorf("at %d: %s, want %s", step.at, got, step.want)
				}
			}
		})
	}
}

func TestJudgeControl(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.53")
	for name, tt := range map[string]struct {
		echo reaction
		mtu  *pmtu.Snapshot
		want State
	}{
		"nothing known":           {unasked, searching(search.Unknown), Undecided},
		"fine":                    {answers, searching(search.Clean), Absent},
		"reduced, and it says so": {answers, searching(search.Reduced), Absent},
		"silent":                  {silent, searching(search.Unknown), Holds},
		"black hole":              {answers, searching(search.BlackHole), Holds},
		"size not known yet":      {answers, searching(search.Unknown), Undecided},
		"hardly asked":            {hardly, searching(search.Unreachable), Undecided},
		"size is never measured":  {answers, nil, Absent},
		"silent, never a size":    {silent, nil, Holds},
		"hardly asked, no size":   {hardly, nil, Undecided},
		"nothing known, no sizes": {unasked, nil, Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching([methods]reaction{echo: tt.echo})
			f.PMTU = tt.mtu
			c := JudgeControl(addr, &f)
			if c.State != tt.want || !strings.HasPrefix(c.Evidence, "control 192.0.2.53: ") || c.State != Undecided && c.Measured.IsZero() {
				t.Errorf("%+v, want %v", c, tt.want)
			}
		})
	}
	gone := reaching([methods]reaction{echo: silent})
	gone.lastAnswer[echo] = ago(60)
	hole := reaching([methods]reaction{echo: answers})
	hole.PMTU = searching(search.BlackHole)
	for want, f := range map[string]*Facts{
		"control 192.0.2.53: icmp: echo silent, 0 of 3 requests answered, last answer at 2026-01-02T03:03:05Z":                                 &gone,
		`control 192.0.2.53: icmp: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 0`: &hole,
	} {
		if got := JudgeControl(addr, f).Evidence; got != want {
			t.Errorf("evidence %q, want %q", got, want)
		}
	}
}

// searching is a path MTU search by echo, in a state.
func searching(s search.State) *pmtu.Snapshot {
	return searched([methods]pmtu.Result{echo: ended(s)})
}

// A fault is measured as often as the collectors that find it; the usual ones count together.
func TestEvery(t *testing.T) {
	s := Standing{Intervals: suite.Intervals{
		suite.ICMP: time.Second, suite.IKE: 3 * time.Second, suite.PMTU: 2 * time.Second, suite.Fragments: 4 * time.Second, suite.Protocols: 5 * time.Second, suite.Flows: 6 * time.Second,
		suite.Inside: 7 * time.Second,
	}}
	rare := map[string]time.Duration{
		FragmentsDropped: 4 * time.Second, ESPBlocked: 5 * time.Second, ESPUDPBlocked: 5 * time.Second, LocalFilter: 5 * time.Second, AHBlocked: 5 * time.Second, FlowStuck: 6 * time.Second, FlowsLost: 6 * time.Second,
		InsideBlackHole: 7 * time.Second, MSSTooLarge: 7 * time.Second, TunnelDead: 7 * time.Second,
	}
	for _, name := range append(Names(), "") {
		want, ok := rare[name]
		if !ok {
			want = 3 * time.Second
		}
		if got := s.every(name); got != want {
			t.Errorf("%q is measured every %v, want %v", name, got, want)
		}
	}
}

// TestOneControlIsDead: another that answers, though its path MTU is not known, shows that it is
// not this host's uplink.
func TestOneControlIsDead(t *testing.T) {
	peers := []Standing{peerOf("a", "acme", fault(PeerSilent, 100))}
	v := &Vantage{}
	f := reaching([methods]reaction{echo: answers})
	f.PMTU = searching(search.Unknown)
	v.Update(at(110), peers, []Control{failing(109), JudgeControl(netip.MustParseAddr("192.0.2.53"), &f)}, nil)
	if got := suspicions(v, peers); got != "?a" {
		t.Errorf("%s, want it unknown", got)
	}
}

// TestOutbreakOfARareMeasurement: what is measured every five minutes breaks out over five minutes;
// what is measured every minute does not.
func TestOutbreakOfARareMeasurement(t *testing.T) {
	for name, want := range map[string]string{FragmentsDropped: "+a +b +c", PeerSilent: "-a -b -c"} {
		peers := []Standing{
			peerOf("a", "acme", fault(name, 100)), peerOf("b", "beta", fault(name, 250)), peerOf("c", "acme", fault(name, 400)),
		}
		for i := range peers {
			peers[i].Intervals[suite.Fragments] = 5 * time.Minute
		}
		v := &Vantage{}
		v.Update(at(450), peers, nil, nil)
		if got := suspicions(v, peers); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestVantageToDiagnosis: three peers of two providers fall silent together, each judged by its own
// tracker.
func TestVantageToDiagnosis(t *testing.T) {
	v := &Vantage{}
	trackers := []*Tracker{{}, {}, {}}
	isps := []string{"acme", "beta", "beta"}
	judge := func(seconds int, f Facts) {
		for i, tr := range trackers {
			f.Vantage = v.Of(strconv.Itoa(i))
			tr.Update(at(seconds), Evaluate(measured(f, seconds-1)))
		}
		var peers []Standing
		for i, tr := range trackers {
			_, known := tr.Healthy()
			peers = append(peers, Standing{Peer: strconv.Itoa(i), ISP: isps[i], Intervals: everyMinute(), Measured: known, Held: tr.Held()})
		}
		v.Update(at(seconds+1), peers, nil, nil)
	}
	var got []string
	for i, f := range []Facts{fine, mute, mute, mute, mute, mute, fine, fine} {
		judge(10*(i+1), f)
		var names []string
		for _, h := range trackers[0].Held() {
			names = append(names, h.Name)
		}
		got = append(got, strings.Join(names, " "))
	}
	want := []string{"", "", "peer_silent", "peer_silent", "peer_silent", "peer_silent vantage_suspect", "peer_silent vantage_suspect", "vantage_suspect"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	judge(90, fine)
	judge(100, fine)
	if h := trackers[0].Held(); len(h) != 0 {
		t.Errorf("still held: %+v", h)
	}
	evidence := v.Of("0").Evidence
	if len(evidence) != 0 {
		t.Errorf("evidence of no suspicion: %q", evidence)
	}
}

// TestOutbreakIsConfirmedByThoseMeasuredLast: of many peers that fail together, some were asked long ago. A
// verdict on the vantage point rests on the newest measurements that show an outbreak by themselves.
func TestOutbreakIsConfirmedByThoseMeasuredLast(t *testing.T) {
	var peers []Standing
	for i := range 20 {
		h := fault(PeerSilent, 50)
		h.Confirmed = at(60 + 10*i)
		peers = append(peers, peerOf(strconv.Itoa(i), []string{"acme", "beta"}[i%2], h))
	}
	var v Vantage
	v.Update(at(260), peers, nil, nil)
	// Ten of 20 are half of them: those confirmed from 160 s on.
	if s := v.Of("0"); s.State != Holds || !s.Measured.Equal(at(160)) {
		t.Errorf("suspicion %v, measured at %v", s.State, s.Measured.Sub(at(0)))
	}
}
