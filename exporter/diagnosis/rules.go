package diagnosis

import (
	"time"

	"ipsec_path_exporter/collectors"
)

// A Verdict is what one evaluation says of one diagnosis, or of one part of it.
type Verdict struct {
	// Part distinguishes verdicts on the same diagnosis that stand and fall alone; the diagnosis holds while one does.
	// Those of different gateways are diagnoses of their own.
	Part  string
	State State
	// Basis is when the oldest of the facts was measured that the state rests on.
	Basis time.Time
	// Diagnosis has its summary and evidence only where it holds.
	Diagnosis
}

// Verdicts are the verdicts on all diagnoses, in the order of Names. A gateway has verdicts of its own.
type Verdicts []Verdict

// Evaluate judges what the facts say about every diagnosis. What is said of one moment never contradicts itself: where
// peer_silent holds, no other diagnosis of the path does, and at most one of the UDP ports is blocked. What gateways show
// and whether the vantage point is suspect is said beside it: they explain each other.
func Evaluate(f Facts) Verdicts {
	silent := f.peerSilent()
	out := make(Verdicts, 0, len(Names())+4*methods+len(gatewayRules())*len(f.Gateways))
	// path is about the way to a peer; while nothing comes back, nothing can be said of it.
	path := func(vs ...Verdict) {
		for _, v := range vs {
			if silent.State == Holds && v.State != Undecided && !restsOnReach(v.Name) {
				v = verdict(v.Name, v.Part, claim{}, nil)
			}
			out = append(out, v)
		}
	}
	gateways := func(name string) {
		for i := range f.Gateways {
			out = append(out, f.gatewayVerdict(name, &f.Gateways[i]))
		}
	}
	out = append(out, silent)
	path(f.icmpBlocked(), f.ikeRefused())
	for _, m := range collectors.Methods() {
		path(f.blackHole(m))
	}
	path(f.reverseBlackHole())
	gateways(TunnelOversized)
	for _, m := range collectors.Methods() {
		path(f.fragmentsDropped(m))
	}
	path(f.portBlocked(UDP500Blocked, collectors.IKE, collectors.NATT), f.portBlocked(UDP4500Blocked, collectors.NATT, collectors.IKE))
	path(f.protocolBlocked(ESPBlocked, ESP))
	gateways(ESPOneWay)
	path(f.protocolBlocked(AHBlocked, AH))
	gateways(NegotiationStuck)
	gateways(ChildMissing)
	gateways(NoSA)
	path(f.ikeLockout())
	return append(out, f.vantageSuspect())
}

// restsOnReach tells whether a diagnosis rests on the same facts as peer_silent, and so is refuted where that holds.
func restsOnReach(name string) bool {
	return name == ICMPBlocked || name == IKERefused || name == UDP500Blocked || name == UDP4500Blocked
}

// verdict turns a claim into a verdict; text gives summary and evidence where it holds.
func verdict(name, part string, c claim, text func() (summary string, evidence []string)) Verdict {
	v := Verdict{Part: part, State: c.state, Basis: c.at, Diagnosis: Diagnosis{Name: name}}
	if c.state == Holds {
		v.Summary, v.Evidence = text()
	}
	return v
}
