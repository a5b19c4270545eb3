package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/netio"
)

// Diagnoses of a peer that does not answer, or not by every method.
const (
	PeerSilent  = "peer_silent"
	ICMPBlocked = "icmp_blocked"
	IKERefused  = "ike_refused"
)

// silenceRequests is how many requests in a row must stay unanswered for silence. Together with the
// second verdict that turns a diagnosis on, a path that loses one packet in ten each way is taken
// for silent once in 20,000 times.
const silenceRequests = 3

// measured reports whether the requests of a method gave any result of their own.
func (f *Facts) measured(m collectors.Method) bool {
	if m == collectors.ICMP {
		return f.echoes().State != icmp.Unknown
	}
	return f.replies(m).State != ike.Unknown
}

// answers is the claim that a request of a method was answered by any echo reply or IKE message.
func (f *Facts) answers(m collectors.Method) claim {
	return f.is(m, icmp.Reachable, ike.Responding)
}

// silent is the claim that requests of a method were sent and nothing at all came back.
func (f *Facts) silent(m collectors.Method) claim {
	return f.is(m, icmp.Silent, ike.Silent)
}

// is is the claim that the requests of a method are in one of these states.
func (f *Facts) is(m collectors.Method, echo icmp.State, reply ike.State) claim {
	if m == collectors.ICMP {
		return f.echoIs(echo)
	}
	return f.ikeIs(m, reply)
}

// echoIs is the claim that echo requests are in state s. Silence is as old as the oldest unanswered
// echo: a second verdict must not rest on echoes of the first.
func (f *Facts) echoIs(s icmp.State) claim {
	r := f.echoes()
	if r.State == icmp.Silent {
		return when(r.Unanswered >= silenceRequests, s == icmp.Silent, r.Since)
	}
	return when(r.State != icmp.Unknown, s == r.State, r.At)
}

// ikeIs is the claim that IKE requests by a method are in state s.
func (f *Facts) ikeIs(m collectors.Method, s ike.State) claim {
	r := f.replies(m)
	known := r.State != ike.Unknown && (r.State != ike.Silent || r.Sent >= silenceRequests)
	return when(known, s == r.State, r.At)
}

func (f *Facts) reachEvidence(m collectors.Method) string {
	r := f.replies(m)
	line, sent, received, roundTrip := fmt.Sprintf("%s: UDP %d", m, r.Port), r.Sent, 0, r.RoundTrip
	if m == collectors.ICMP {
		echoes := f.echoes()
		line, sent, received, roundTrip = "icmp: echo", echoes.Sent, echoes.Received, echoes.Last
		switch s := echoes.Loss; {
		case echoes.State == icmp.Silent:
			sent, received = echoes.Unanswered, 0
		case s.Sent > 0: // the newest sample, not what was counted since the start
			sent, received = s.Sent, s.Sent-s.Lost
		}
	}
	answers := f.answers(m).state == Holds
	switch {
	case answers:
		line += " answers"
		received = max(received, 1)
	case f.silent(m).state == Holds:
		line += " silent"
	case r.State == ike.Refused:
		line += " refused by the peer itself (port unreachable)"
	default:
		line += " unknown"
	}
	parts := []string{line}
	if sent > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d requests answered", received, sent))
	}
	if answers && r.Reply != "" {
		parts = append(parts, "last reply "+r.Reply)
	}
	if e := f.refusal(m); e.Outcome == netio.Unreachable || e.Outcome == netio.TimeExceeded {
		parts = append(parts, fmt.Sprintf("ICMP %s from %s", e.Name(), f.speaker(e.From)))
	}
	last := f.lastAnswer[m]
	switch {
	case answers && roundTrip > 0:
		parts = append(parts, "round trip "+roundTrip.Round(100*time.Microsecond).String())
	case answers:
	case last.IsZero():
		parts = append(parts, "never seen to answer")
	default:
		parts = append(parts, "last answer at "+Clock(last))
	}
	return strings.Join(parts, ", ")
}

// Clock returns a time as evidence, reports and pages show it.
func Clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// peerSilent: nothing comes back from the peer by any method.
//
// True only when all methods are known to be silent: a peer whose echo alone is watched may just
// not answer echoes. A port that the peer itself refuses is a sign of life, and an ICMP error that
// explains the silence is a diagnosis of its own.
func (f *Facts) peerSilent() (claim, text) {
	return f.silence(), func() (string, []string) {
		evidence := make([]string, 0, methods)
		for _, m := range collectors.Methods() {
			switch {
			case slices.Contains(f.Apart, m):
				evidence = append(evidence, fmt.Sprintf("%s: leaves by another way than IKE", m))
			case f.measured(m):
				evidence = append(evidence, f.reachEvidence(m))
			case m == collectors.ICMP && f.NoEcho:
				evidence = append(evidence, "icmp: this process may not send echo requests")
			default:
				evidence = append(evidence, searchEvidence(f.search(m)))
			}
		}
		if !f.measured(collectors.ICMP) && f.NoEcho {
			return "The peer answers IKE on no port, and echo requests could not be sent: it is silent, or ignores this source.", evidence
		}
		if len(f.Apart) > 0 {
			return "The peer answers nothing by the way that IKE takes from this host. By that way it was answered before.", evidence
		}
		return "The peer answers nothing: neither echo requests nor IKE on any port.", evidence
	}
}

func (f *Facts) silence() claim {
	return unless(f.nothingAnswers(), f.eaten(), f.unreachable(), f.refusedByPeer(), f.refusedOnPath(collectors.IKE), f.refusedOnPath(collectors.NATT))
}

// nothingAnswers is the claim that no request of any method is answered. Where a method has no
// result of its own, its path MTU search shows whether anything arrived; otherwise the search does
// not count, because it is older. Methods that take another way than IKE do not count: where some
// do, IKE must have been answered before.
func (f *Facts) nothingAnswers() claim {
	silent := make([]claim, 0, methods)
	before := false
	for _, m := range collectors.Methods() {
		switch {
		case slices.Contains(f.Apart, m):
		case f.measured(m):
			before = before || !f.lastAnswer[m].IsZero()
			silent = append(silent, f.unanswered(m))
		case m != collectors.ICMP || !f.NoEcho:
			silent = append(silent, not(arrives(f.search(m))))
		}
	}
	if len(f.Apart) > 0 && !before {
		return claim{} // a gateway may ignore this source, and nothing else goes by the way of IKE
	}
	return and(silent...)
}

// Answers reports whether anything came back from the address, and when: Absent where nothing does
// by any method.
func (f *Facts) Answers() (State, time.Time) {
	c := not(f.nothingAnswers())
	return c.state, c.at
}

// Reach returns a line for each method that was measured.
func (f *Facts) Reach() []string { return f.reachEvidences() }

// speaksIKE is the claim that IKE answers on one of the ports.
func (f *Facts) speaksIKE() claim {
	return or(f.stillAnswers(collectors.IKE), f.stillAnswers(collectors.NATT))
}

// ikeRefused: the peer is there, and does not speak IKE.
//
// True only when the peer itself refuses both ports (ICMP port unreachable from its own address):
// its daemon has stopped, or this is not the address of a gateway. One refused port alone is a
// matter of configuration: without NAT traversal no daemon listens on 4500. Any answer refutes it.
func (f *Facts) ikeRefused() (claim, text) {
	refused := and(f.ikeIs(collectors.IKE, ike.Refused), f.ikeIs(collectors.NATT, ike.Refused))
	return unless(refused, f.refusedByPeer()), func() (string, []string) {
		return fmt.Sprintf("The peer itself refuses UDP %d and UDP %d: no IKE daemon listens there.",
				f.replies(collectors.IKE).Port, f.replies(collectors.NATT).Port),
			[]string{f.reachEvidence(collectors.IKE), f.reachEvidence(collectors.NATT)}
	}
}

// icmpBlocked: IKE answers on one of the ports, echo requests do not.
//
// False when echo is answered, and when no port speaks IKE: a silent peer looks the same. Where the
// ladder shows that echo requests reach the last router, or where the peer refuses them itself, no
// provider is asked for anything.
func (f *Facts) icmpBlocked() (claim, text) {
	silent := f.unanswered(collectors.ICMP)
	return unless(and(f.speaksIKE(), silent), f.eaten()), func() (string, []string) {
		evidence := []string{f.reachEvidence(collectors.ICMP)}
		for _, m := range collectors.IKEMethods() {
			if f.answers(m).state == Holds {
				evidence = append(evidence, f.reachEvidence(m))
			}
		}
		where := "ICMP is filtered on the path or by the peer"
		ladder := f.passage(protocols.ICMP)
		switch {
		case f.fromPeer(collectors.ICMP):
			where = "the peer itself refuses them"
		case f.reachesPeer(&ladder):
			where, evidence = "they reach the last router before it, so the peer itself drops them", append(evidence, f.passageEvidence(&ladder)...)
		}
		return "The peer speaks IKE but answers no echo requests: " + where + ".", evidence
	}
}
