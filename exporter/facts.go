package exporter

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/ikeprobe"
)

// findings are the newest results of all collectors of one peer; nil where one has none.
type findings struct {
	icmp      *icmp.Result
	ike       *ike.Results
	pmtu      *pmtu.Snapshot
	fragments *fragments.Results
	protocols *protocols.Results
	vantage   diagnosis.Suspicion
	gateways  []diagnosis.Gateway
	// unread says that more will be known of the gateways soon.
	unread bool
	// every is how often they are measured, for the age of results; the zero value lets none be too old.
	every config.Intervals
}

// findings are what the peer's collectors know now.
func (p *peer) findings(now time.Time) *findings {
	echoes, answers, sizes := p.icmp.Result(now), p.ike.Results(now), p.pmtu.Snapshot()
	pieces, ways := p.fragments.Snapshot(), p.protocols.Snapshot()
	tables := p.stories()
	return &findings{
		icmp: &echoes, ike: &answers, pmtu: &sizes, fragments: &pieces, protocols: &ways,
		vantage: p.app.vantage.Of(p.cfg.Name), gateways: tables, unread: p.unread(tables), every: p.cfg.Intervals,
	}
}

// staleAfter is after how many intervals a result is not built upon any more.
const staleAfter = 3

// stale tells whether a result of a collector that measures every so often is too old.
func stale(at, now time.Time, every time.Duration) bool {
	return every > 0 && now.Sub(at) > staleAfter*every
}

// facts says in the words of the diagnoses what was found.
func (v *verdict) facts(f *findings, now time.Time) diagnosis.Facts {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := diagnosis.Facts{Vantage: f.vantage, Gateways: f.gateways}
	v.unread = f.unread
	v.settle()
	v.told = v.told[:0]
	for i := range f.gateways {
		v.told = append(v.told, f.gateways[i].Name)
	}
	if f.icmp != nil {
		v.echoes = f.icmp.State
		out.Reach[collectors.ICMP] = reachByEcho(f.icmp)
	}
	if f.ike != nil {
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			r := f.ike.Of(m)
			out.Reach[m], out.Offers[m] = reachByIKE(&r), offer(&r)
			if out.Offers[m].State == diagnosis.OfferAnswered {
				v.lastOffer[m] = r.At
			}
			out.Offers[m].LastAnswer = v.lastOffer[m]
		}
	}
	for _, m := range reachable {
		r := &out.Reach[m]
		if r.State == diagnosis.Answers {
			v.lastAnswer[m] = r.Measured
		}
		r.LastAnswer = v.lastAnswer[m]
	}
	f.sizes(&out, now)
	f.passages(&out, now)
	return out
}

// sizes fills in what large packets found out.
func (f *findings) sizes(out *diagnosis.Facts, now time.Time) {
	if f.pmtu != nil {
		for i := range f.pmtu.Results {
			if r := &f.pmtu.Results[i]; !stale(r.At, now, f.every.PMTU) {
				out.MTU[r.Method] = mtuFacts(r)
			}
		}
		if back := &f.pmtu.Reverse; !stale(back.At, now, f.every.PMTU) {
			out.Reverse = diagnosis.Reverse{
				State: reverseState(back.State), Measured: back.At, LowerBytes: back.LowerBytes, UpperBytes: back.UpperBytes, Packets: back.Packets,
			}
		}
	}
	if f.fragments == nil {
		return
	}
	for _, r := range f.fragments.Results {
		if stale(r.At, now, f.every.Fragments) {
			continue
		}
		out.Fragments[r.Method] = diagnosis.Fragments{
			State: fragmentState(r.State), Measured: r.At, Sent: r.Sent, Answered: r.Answered, Controls: r.Controls, ControlsAnswered: r.ControlsAnswered,
			Size: r.Size, PieceSize: r.Piece, ReassemblyTimeout: r.Incomplete,
		}
	}
}

// passages fills in how far the protocols get.
func (f *findings) passages(out *diagnosis.Facts, now time.Time) {
	if f.protocols == nil || f.protocols.Reason != "" || stale(f.protocols.At, now, f.every.Protocols) {
		return
	}
	names := map[protocols.Protocol]diagnosis.Protocol{
		protocols.ESP: diagnosis.ESP, protocols.AH: diagnosis.AH, protocols.ICMP: diagnosis.Echo,
		protocols.UDP500: diagnosis.UDP500, protocols.UDP4500: diagnosis.UDP4500,
	}
	for _, r := range f.protocols.Results {
		name, ok := names[r.Protocol]
		if !ok {
			continue
		}
		p := diagnosis.Passage{
			State: passageState(r.State), Measured: f.protocols.At, LastHop: r.LastHop, LastRouter: r.Last, Tries: r.Tries,
			WitnessHop: r.WitnessHop, Hops: f.protocols.Distance, BlockedBy: r.BlockedBy,
		}
		if witness, ok := names[r.Witness]; ok && r.FirstMissed.IsValid() {
			p.Witness, p.FirstMissing = witness, 1+slices.Index(f.protocols.Hops, r.FirstMissed)
		}
		out.Passages[name] = p
	}
}

func reachByEcho(r *icmp.Result) diagnosis.Reach {
	out := diagnosis.Reach{Measured: r.At, Sent: r.Sent, Received: r.Received, RoundTrip: r.Last}
	switch r.State {
	case icmp.Reachable:
		out.State = diagnosis.Answers
	case icmp.Silent:
		// As old as the oldest of them: a second verdict must not rest on echoes of the first.
		out.State, out.Sent, out.Received, out.Measured = diagnosis.Silent, r.Unanswered, 0, r.Since
	case icmp.Unknown:
	}
	return out
}

func reachByIKE(r *ike.Result) diagnosis.Reach {
	out := diagnosis.Reach{Measured: r.At, Sent: r.Sent, Port: r.Port}
	switch r.State {
	case ike.Responding:
		out.State, out.Received, out.Reply, out.RoundTrip = diagnosis.Answers, 1, r.Reply, r.RoundTrip
	case ike.Silent:
		out.State = diagnosis.Silent
	case ike.Refused:
		out.State = diagnosis.Refused
	case ike.Unknown:
	}
	return out
}

// offer is whether the peer answers who asks for an IKE SA of version 2, or only a wrong version.
func offer(r *ike.Result) diagnosis.Offer {
	out := diagnosis.Offer{Measured: r.At, Reply: r.Reply}
	switch {
	case r.State != ike.Responding:
	case r.Form == ikeprobe.V2BadKE, r.Form == ikeprobe.V2NoProp:
		out.State = diagnosis.OfferAnswered
	case r.Form == ikeprobe.V2Major3 && r.BadKESilent:
		out.State = diagnosis.OfferIgnored
	}
	return out
}

func mtuFacts(r *pmtu.Result) diagnosis.MTU {
	return diagnosis.MTU{
		State: mtuState(r.State), Measured: r.At, Bytes: r.Bytes, LinkBytes: r.LinkBytes, Packets: r.Packets, PTBReceived: r.PTBReceived,
		LastHopPassed: r.LastHopPassed, FirstHopFailed: r.FirstHopFailed,
	}
}

func mtuState(s pmtu.State) diagnosis.MTUState {
	switch s {
	case pmtu.Clean:
		return diagnosis.Clean
	case pmtu.Reduced:
		return diagnosis.Reduced
	case pmtu.BlackHole:
		return diagnosis.BlackHole
	case pmtu.Unreachable:
		return diagnosis.Unreachable
	case pmtu.Inconclusive:
		return diagnosis.Inconclusive
	case pmtu.Unknown:
	}
	return diagnosis.MTUUnknown
}

func reverseState(s pmtu.State) diagnosis.ReverseState {
	switch s {
	case pmtu.Clean:
		return diagnosis.ReverseClean
	case pmtu.Reduced:
		return diagnosis.ReverseReduced
	case pmtu.BlackHole:
		return diagnosis.ReverseBlackHole
	case pmtu.Unknown, pmtu.Unreachable, pmtu.Inconclusive:
	}
	return diagnosis.ReverseUnknown
}

func fragmentState(s fragments.State) diagnosis.FragmentState {
	switch s {
	case fragments.Pass:
		return diagnosis.FragmentPass
	case fragments.Dropped:
		return diagnosis.FragmentDropped
	case fragments.Unknown:
	}
	return diagnosis.FragmentUnknown
}

func passageState(s protocols.State) diagnosis.PassageState {
	switch s {
	case protocols.Passes:
		return diagnosis.Passes
	case protocols.Blocked:
		return diagnosis.Blocked
	case protocols.Unknown:
	}
	return diagnosis.PassageUnknown
}
