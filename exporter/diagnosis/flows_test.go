package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
)

// flowing is a comparison of flows by each method, at the time of the other results.
func flowing(at time.Time, states ...flows.State) *flows.Results {
	out := &flows.Results{At: at}
	for m, s := range states {
		r := flows.Result{Method: collectors.Methods()[m], State: s, Tested: 4, Own: s == flows.Even}
		switch s {
		case flows.Stuck:
			r.Lost = 1
		case flows.Split:
			r.Lost = 2
		case flows.Silent:
			r.Lost = 4
		case flows.Unknown, flows.Even:
		}
		out.Results = append(out.Results, r)
	}
	return out
}

// Silence counts only where fresh flows are silent too.
func TestSilenceInEveryFlow(t *testing.T) {
	const even, stuck, split, dead, unknown = flows.Even, flows.Stuck, flows.Split, flows.Silent, flows.Unknown
	all := [methods]reaction{silent, silent, silent}
	ports := [methods]reaction{answers, silent, silent}
	for name, tt := range map[string]struct {
		reactions [methods]reaction
		flows     *flows.Results
		want      []string
		waits     bool // for a comparison
	}{
		"no collector of flows":              {all, nil, []string{PeerSilent}, false},
		"not compared yet":                   {all, &flows.Results{}, nil, true},
		"compared before it was silent":      {all, flowing(ago(60), even, even, even), nil, true},
		"compared later, and answered then":  {all, flowing(at(20), even, even, even), nil, false},
		"silent in every flow":               {all, flowing(at(20), dead, dead, dead), []string{PeerSilent}, false},
		"silent in every flow, and earlier":  {all, flowing(ago(60), dead, dead, dead), []string{PeerSilent}, false},
		"too much loss":                      {all, flowing(at(20), dead, unknown, dead), nil, false},
		"only the flow in use is dead":       {all, flowing(at(20), stuck, stuck, stuck), []string{FlowStuck}, false},
		"stuck, and some flows are lost":     {all, flowing(at(20), dead, stuck, split), []string{FlowsLost}, false},
		"echo is silent, ports are answered": {[methods]reaction{silent, answers, answers}, flowing(at(20), stuck, even, even), []string{FlowStuck}, false},
		"echo is silent in every flow":       {[methods]reaction{silent, answers, answers}, flowing(at(20), dead, even, even), []string{ICMPBlocked}, false},
		"both ports, the ladder in one flow": {ports, flowing(at(20), even, split, split), []string{FlowsLost}, false},
		"both ports in every flow":           {ports, flowing(at(20), even, dead, dead), []string{UDP500Blocked, UDP4500Blocked}, false},
		"all is answered, some flows lost":   {[methods]reaction{answers, answers, answers}, flowing(at(20), even, split, even), []string{FlowsLost}, false},
		"IKE was answered before":            {[methods]reaction{silent, answers, answers}, flowing(at(20), dead, dead, dead), []string{PeerSilent}, false},
		"one port was answered before":       {[methods]reaction{answers, silent, answers}, flowing(at(20), even, dead, dead), nil, false},
		"all is answered by all":             {[methods]reaction{answers, answers, answers}, flowing(at(20), even, even, even), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching(tt.reactions)
			f.Address, f.Flows = hop(5), tt.flows
			if tt.reactions == ports {
				f.Protocols = climbed(overtaken(protocols.UDP500), overtaken(protocols.UDP4500))
			}
			if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
			if f.Uncompared() != tt.waits {
				t.Errorf("waits for a comparison: %v", f.Uncompared())
			}
		})
	}
}

// A comparison is older than an answer that came since: the flow in use was alive then.
func TestComparisonBeforeTheLastAnswer(t *testing.T) {
	f := reaching([methods]reaction{silent, silent, silent})
	f.Flows = flowing(ago(120), flows.Silent, flows.Silent, flows.Silent)
	f.lastAnswer[udp500] = ago(60)
	if got := verdictOn(t, f, PeerSilent, ""); got.State != Undecided || !f.Uncompared() {
		t.Errorf("%v, waits for a comparison: %v", got.State, f.Uncompared())
	}
}

// IKE that is answered from the fixed source ports alone is not blocked.
func TestFixedSourcePortsAnswer(t *testing.T) {
	f := reaching([methods]reaction{answers, silent, silent})
	f.Protocols = climbed(overtaken(protocols.UDP500), overtaken(protocols.UDP4500))
	f.Flows = flowing(at(20), flows.Even, flows.Silent, flows.Silent)
	for i := range f.Flows.Results[1:] {
		f.Flows.Results[1+i].Fixed = true
	}
	if got := held(Evaluate(f)); len(got) > 0 {
		t.Errorf("diagnoses %v", got)
	}
}

// A black hole counts where large packets vanish in fresh flows too.
func TestHoleInEveryFlow(t *testing.T) {
	for name, tt := range map[string]struct {
		large flows.Result
		want  []string
		waits bool
	}{
		"not compared":         {flows.Result{}, nil, true},
		"of another size":      {flows.Result{State: flows.Silent, Bytes: 1301, Tested: 7, Lost: 7}, nil, true},
		"in every flow":        {flows.Result{State: flows.Silent, Bytes: 1401, Tested: 7, Lost: 7}, []string{PMTUBlackHole}, false},
		"in some flows":        {flows.Result{State: flows.Split, Bytes: 1401, Tested: 7, Lost: 3}, []string{FlowsLost}, false},
		"in the flow in use":   {flows.Result{State: flows.Split, Bytes: 1401, Tested: 7, Lost: 1}, []string{FlowsLost}, false},
		"not known in any one": {flows.Result{State: flows.Unknown, Bytes: 1401}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching([methods]reaction{answers, answers, answers})
			f.PMTU = searched([methods]pmtu.Result{echo: ended(search.Clean), udp500: ended(search.BlackHole)})
			f.Flows = flowing(ago(10), flows.Even, flows.Even, flows.Even)
			if tt.large.Bytes > 0 {
				tt.large.Method = udp500
				f.Flows.Results = append(f.Flows.Results, tt.large)
			}
			if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
			if f.Uncompared() != tt.waits {
				t.Errorf("waits for a comparison: %v", f.Uncompared())
			}
		})
	}
}

// Where flows differ, what rests on one of them is unknown.
func TestUnevenFlowsProveNothingElse(t *testing.T) {
	f := reaching([methods]reaction{answers, answers, answers})
	f.Protocols = climbed(overtaken(protocols.ESP), overtaken(protocols.AH))
	if got := held(Evaluate(f)); !slices.Equal(got, []string{ESPBlocked, AHBlocked}) {
		t.Fatalf("without a comparison: %v", got)
	}
	f.Flows = flowing(at(20), flows.Even, flows.Split, flows.Even)
	if got := held(Evaluate(f)); !slices.Equal(got, []string{FlowsLost}) {
		t.Errorf("%v", got)
	}
	if got := verdictOn(t, f, ESPBlocked, "").State; got != Undecided {
		t.Errorf("esp_blocked is %v", got)
	}
}

func TestFlowTexts(t *testing.T) {
	f := reaching([methods]reaction{answers, silent, answers})
	f.Flows = flowing(at(20), flows.Even, flows.Split, flows.Even)
	v := verdictOn(t, f, FlowsLost, "")
	if !strings.Contains(v.Summary, "2 of 8 flows") || !slices.Contains(v.Evidence, "ike: 2 of 4 flows answered, the flow in use is not") {
		t.Errorf("%s\n%q", v.Summary, v.Evidence)
	}
	f.Flows.Results = append(flowing(at(20), flows.Even, flows.Even, flows.Even).Results, flows.Result{Method: udp500, State: flows.Split, Bytes: 1401, Tested: 7, Lost: 3})
	v = verdictOn(t, f, FlowsLost, "")
	if !strings.Contains(v.Summary, "above 1400 bytes") || !slices.Contains(v.Evidence, "ike with 1401 bytes: 4 of 7 flows answered, the flow in use is not") {
		t.Errorf("%s\n%q", v.Summary, v.Evidence)
	}
}

// While a black hole waits for a comparison of flows, the peer is not known to be healthy: nothing
// may take the smaller path MTU for the usual one, and no alert may end.
func TestSuspectedIsNotHealthy(t *testing.T) {
	var tracker Tracker
	f := reaching([methods]reaction{answers, answers, answers})
	f.PMTU = searched([methods]pmtu.Result{echo: ended(search.Clean), udp500: ended(search.Clean)})
	f.Flows = flowing(ago(10), flows.Even, flows.Even, flows.Even)
	tracker.Update(at(0), Evaluate(f))
	if healthy, known := tracker.Healthy(); !healthy || !known {
		t.Fatalf("at first it is healthy %v, known %v", healthy, known)
	}
	f.PMTU = searched([methods]pmtu.Result{echo: ended(search.Clean), udp500: ended(search.BlackHole)})
	tracker.Update(at(1), Evaluate(f))
	if healthy, known := tracker.Healthy(); known {
		t.Errorf("with a black hole in one flow it is healthy %v", healthy)
	}
	f.Flows.Results = append(f.Flows.Results, flows.Result{Method: udp500, State: flows.Even, Own: true, Bytes: 1401, Tested: 7})
	tracker.Update(at(2), Evaluate(f))
	if healthy, known := tracker.Healthy(); !healthy || !known {
		t.Errorf("large packets pass again, and it is healthy %v, known %v", healthy, known)
	}
}
