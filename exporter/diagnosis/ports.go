package diagnosis

import (
	"fmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/netio"
)

// Diagnoses of UDP ports that do not get through.
const (
	UDP500Blocked  = "udp500_blocked"
	UDP4500Blocked = "udp4500_blocked"
)

// portBlocked: IKE on a UDP port is not answered, and something shows that the port is filtered.
//
// How sure it is: a gateway that does not answer IKE from unknown sources is silent on both ports,
// so silence alone shows no filter. One of these has to show it as well:
//
//   - the other port is answered: this peer answers this source;
//   - an ICMP error from the path refused the port;
//   - the ladder shows that a router before the peer answers another protocol and not this port;
//   - the port was answered before, and echo still is.
//
// A refused port is closed, not filtered: on 4500 it means that NAT traversal is not enabled. A peer
// without NAT traversal that drops 4500 instead of refusing it looks like a filter; the evidence
// says whether the port has ever answered.
func portBlocked(port, other collectors.Method, as protocols.Protocol) func(f *Facts) (claim, text) {
	return func(f *Facts) (claim, text) {
		ladder := f.passage(as)
		byOther, byError, byLadder := f.stillAnswers(other), f.refusedOnPath(port), f.blocked(&ladder)
		before := and(f.answeredBefore(port), f.answers(collectors.ICMP))
		alone := unless(or(byError, byLadder, before), f.silence(), f.unreachable(), f.refusedByPeer(), f.eaten())
		return and(f.unanswered(port), or(byOther, alone)), func() (string, []string) {
			own, evidence := f.replies(port), []string{f.reachEvidence(port)}
			switch {
			case byOther.state == Holds:
				return fmt.Sprintf("IKE is answered on UDP %d but not on UDP %d: that port is filtered on the path or by the peer.",
					f.replies(other).Port, own.Port), append(evidence, f.reachEvidence(other))
			case byError.state == Holds:
				return fmt.Sprintf("%s refuses UDP %d (ICMP %s): that port is filtered there.",
					own.Error.From, own.Port, own.Error.Name()), evidence
			case byLadder.state == Holds:
				until := ""
				if before.state == Holds {
					until = "; IKE was answered there until " + Clock(f.lastAnswer[port])
				}
				return fmt.Sprintf("UDP %d is filtered on the path to the peer, other packets get further%s.", own.Port, until),
					append(evidence, f.passageEvidence(&ladder)...)
			}
			return fmt.Sprintf("IKE was answered on UDP %d until %s; now neither port is, and echo still is: the port is filtered, or the IKE daemon of the peer hangs.",
				own.Port, Clock(f.lastAnswer[port])), append(evidence, f.reachEvidence(collectors.ICMP))
		}
	}
}

// answeredBefore is the claim that a port that is silent now was answered earlier.
func (f *Facts) answeredBefore(m collectors.Method) claim {
	silent := f.silent(m)
	return when(silent.state == Holds, !f.lastAnswer[m].IsZero(), silent.at)
}

// refusedOnPath is the claim that ICMP errors of a filter refused the requests to a silent port.
// Errors of a router without a route, and of the peer, are other diagnoses where nothing else is
// answered.
func (f *Facts) refusedOnPath(m collectors.Method) claim {
	e, silent := f.replies(m).Error, f.silent(m)
	refused := e.Outcome == netio.Unreachable && e.Count >= refusals
	return unless(when(silent.state == Holds, refused, silent.at), f.unreachable(), f.refusedByPeer())
}

// Doubtful reports whether a ladder of all protocols could show what nothing else shows: why both
// UDP ports are silent although echo is answered, why echo is silent although IKE is answered, or
// why a tunnel in UDP receives nothing.
func (f *Facts) Doubtful() bool {
	oneWay := false
	for i := range f.Gateways {
		c, _ := f.espOneWay(&f.Gateways[i])
		oneWay = oneWay || c.state == Holds
	}
	ports := and(f.silent(collectors.IKE), f.silent(collectors.NATT), f.answers(collectors.ICMP))
	echo, _ := f.icmpBlocked()
	return oneWay || ports.state == Holds || echo.state == Holds
}
