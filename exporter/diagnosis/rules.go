package diagnosis

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/suite"
)

// A rule judges one diagnosis, by exactly one of its three functions.
type rule struct {
	name     string
	severity Severity
	// confirming are the collectors whose next round shows again whether the diagnosis holds. A
	// diagnosis of a gateway without any is shown by the next reading of the gateway.
	confirming suite.Set
	// whileSilent means that the diagnosis is judged although the peer answers nothing or refuses
	// IKE. The other diagnoses rest on packets that arrive, and are unknown then.
	whileSilent bool
	// ofOneFlow means that the diagnosis is unknown while flows differ: it rests on one of them.
	ofOneFlow bool
	// path judges the path to the peer, byMethod the path by one method. The methods are parts of
	// the diagnosis that stand alone.
	path     func(f *Facts) (claim, text)
	byMethod func(f *Facts, m collectors.Method) (claim, text)
	// atGateway judges one gateway.
	atGateway func(f *Facts, g *Gateway) (claim, text)
}

// A text returns summary and evidence of a diagnosis that holds.
type text func() (summary string, evidence []string)

// ports has the collectors that show whether a UDP port is filtered.
var ports = suite.Reach().With(suite.Protocols)

// rules has a line for each diagnosis, in the order in which they are shown.
var rules = [...]rule{
	{name: PeerSilent, severity: Critical, confirming: suite.Reach().With(suite.PMTU), whileSilent: true, path: (*Facts).peerSilent},
	{name: PeerRefuses, severity: Critical, confirming: suite.Reach(), whileSilent: true, path: (*Facts).peerRefuses},
	{name: NoRoute, severity: Critical, confirming: suite.Reach().With(suite.PMTU), whileSilent: true, path: (*Facts).noRoute},
	{name: LocalFilter, severity: Warning, confirming: suite.NewSet(suite.Protocols), whileSilent: true, path: (*Facts).localFilter},
	{name: FlowStuck, severity: Warning, confirming: suite.NewSet(suite.Flows), whileSilent: true, path: (*Facts).flowStuck},
	{name: FlowsLost, severity: Critical, confirming: suite.NewSet(suite.Flows), whileSilent: true, path: (*Facts).flowsLost},
	{name: AddressSilent, severity: Warning, confirming: suite.Reach(), whileSilent: true, path: (*Facts).addressSilent},
	{name: ICMPBlocked, severity: Info, ofOneFlow: true, confirming: suite.Reach(), whileSilent: true, path: (*Facts).icmpBlocked},
	{name: IKERefused, severity: Critical, confirming: suite.Reach(), whileSilent: true, path: (*Facts).ikeRefused},
	{name: LossHigh, severity: Warning, confirming: suite.Reach().With(suite.PMTU), path: (*Facts).lossHigh},
	{name: PMTUBlackHole, severity: Critical, confirming: suite.NewSet(suite.PMTU), byMethod: (*Facts).blackHole},
	{name: PMTUBlackHoleReverse, severity: Warning, ofOneFlow: true, confirming: suite.NewSet(suite.PMTU), path: (*Facts).reverseBlackHole},
	{name: TunnelOversized, severity: Warning, confirming: suite.NewSet(suite.PMTU), atGateway: (*Facts).tunnelOversized},
	{name: InsideBlackHole, severity: Warning, confirming: suite.NewSet(suite.Inside), whileSilent: true, path: (*Facts).insideBlackHole},
	{name: MSSTooLarge, severity: Critical, confirming: suite.NewSet(suite.Inside), whileSilent: true, path: (*Facts).mssTooLarge},
	{name: TunnelDead, severity: Critical, confirming: suite.NewSet(suite.Inside), path: (*Facts).tunnelDead},
	{name: FragmentsDropped, severity: Warning, ofOneFlow: true, confirming: suite.NewSet(suite.Fragments), byMethod: (*Facts).fragmentsDropped},
	{
		name: UDP500Blocked, severity: Critical, ofOneFlow: true, confirming: ports, whileSilent: true,
		path: portBlocked(collectors.IKE, collectors.NATT, protocols.UDP500),
	},
	{
		name: UDP4500Blocked, severity: Warning, ofOneFlow: true, confirming: ports, whileSilent: true,
		path: portBlocked(collectors.NATT, collectors.IKE, protocols.UDP4500),
	},
	{name: ESPBlocked, severity: Warning, ofOneFlow: true, confirming: suite.NewSet(suite.Protocols), path: protocolBlocked(protocols.ESP)},
	{name: ESPUDPBlocked, severity: Warning, ofOneFlow: true, confirming: suite.NewSet(suite.Protocols), path: protocolBlocked(protocols.ESPInUDP)},
	{name: ESPOneWay, severity: Critical, whileSilent: true, atGateway: (*Facts).espOneWay},
	{name: AHBlocked, severity: Info, ofOneFlow: true, confirming: suite.NewSet(suite.Protocols), path: protocolBlocked(protocols.AH)},
	{name: NegotiationStuck, severity: Critical, whileSilent: true, atGateway: (*Facts).negotiationStuck},
	{name: ChildMissing, severity: Critical, whileSilent: true, atGateway: (*Facts).childMissing},
	{name: NoSA, severity: Critical, whileSilent: true, atGateway: (*Facts).noSA},
	{name: IKELockout, severity: Warning, ofOneFlow: true, confirming: suite.Reach(), path: (*Facts).ikeLockout},
	{name: VantageSuspect, severity: Critical, confirming: suite.Reach(), whileSilent: true, path: (*Facts).vantageSuspect},
}

// Names returns the names of all diagnoses in the order in which they are shown.
func Names() []string {
	names := make([]string, 0, len(rules))
	for i := range rules {
		names = append(names, rules[i].name)
	}
	return names
}

// SeverityOf returns the severity of a diagnosis, empty for an unknown name.
func SeverityOf(name string) Severity {
	for i := range rules {
		if rules[i].name == name {
			return rules[i].severity
		}
	}
	return ""
}

// Confirming returns the collectors that show whether these diagnoses hold.
func Confirming(names []string) (all suite.Set) {
	for i := range rules {
		if slices.Contains(names, rules[i].name) {
			all |= rules[i].confirming
		}
	}
	return all
}

// A Verdict is the state of one diagnosis, or of one part of it, by one evaluation.
type Verdict struct {
	// Part distinguishes verdicts on one diagnosis, which holds while one of its parts does.
	Part  string
	State State
	// Suspected means that the state is Undecided until a measurement that is due ends, and that the
	// peer is not known to be well until then.
	Suspected bool
	// Basis is when the oldest of the facts was measured that the state rests on.
	Basis time.Time
	// Diagnosis has its summary and evidence only where it holds.
	Diagnosis
}

// Verdicts are on all diagnoses in the order of Names. Each gateway has verdicts of its own.
type Verdicts []Verdict

// Evaluate judges every diagnosis. Verdicts of one evaluation do not contradict each other: where
// peer_silent, peer_refuses or no_route holds, no other diagnosis of the path does. Diagnoses of
// gateways and vantage_suspect may hold at the same time: they explain each other.
func Evaluate(f Facts) Verdicts {
	return appendVerdicts(make(Verdicts, 0, len(rules)*(1+len(f.Gateways))+2*methods), &f)
}

func appendVerdicts(out Verdicts, f *Facts) Verdicts {
	mute, eaten := or(f.silence(), f.unreachable(), f.refusedByPeer()), f.eaten()
	uneven := or(f.flowsAre(flows.Stuck), f.flowsAre(flows.Split))
	for i := range rules {
		r := &rules[i]
		add := func(part, gateway string, c claim, t text) {
			if mute.state == Holds && !r.whileSilent || uneven.state == Holds && r.ofOneFlow {
				c = claim{}
			}
			if c.state == Holds && r.atGateway == nil && r.name != VantageSuspect && f.explainedByQueue(r.name) {
				c = claim{} // what this host drops itself is not lost on the path
			}
			if eaten.state == Holds && !r.whileSilent && r.atGateway == nil {
				c = not(eaten) // it rests on errors that this host dropped
			}
			v := Verdict{Part: part, State: c.state, Suspected: c.suspected, Basis: c.at, Diagnosis: Diagnosis{Name: r.name, Severity: r.severity, Gateway: gateway}}
			if c.state == Holds {
				v.Summary, v.Evidence = t()
			}
			out = append(out, v)
		}
		switch {
		case r.path != nil:
			c, t := r.path(f)
			add("", "", c, t)
		case r.byMethod != nil:
			for _, m := range collectors.Methods() {
				c, t := r.byMethod(f, m)
				add(m.String(), "", c, t)
			}
		default:
			for i := range f.Gateways {
				g := &f.Gateways[i]
				c, t := r.atGateway(f, g)
				if len(g.Observations) == 0 {
					c = claim{}
				}
				add("", g.Name, c, t)
			}
		}
	}
	return out
}
