package diagnosis

import (
	"fmt"

	"ipsec_path_exporter/collectors"
)

// peerSilent: nothing comes back from the peer by any method.
//
// True only when all methods are known to be silent: a peer whose echo alone is watched may just not answer echoes. A
// port that is refused by the peer itself is a sign of life. Where a method has no results of its own, its path MTU
// search tells whether anything arrived; otherwise it is not asked, as it is older.
func (f *Facts) peerSilent() Verdict {
	var silent [methods]claim
	for m := range f.Reach {
		if r := &f.Reach[m]; r.State != ReachUnknown {
			silent[m] = r.is(Silent)
		} else {
			silent[m] = not(f.MTU[m].arrives())
		}
	}
	return verdict(PeerSilent, "", and(silent[:]...), func() (string, []string) {
		evidence := make([]string, 0, methods)
		for _, m := range collectors.Methods() {
			if r := &f.Reach[m]; r.State != ReachUnknown {
				evidence = append(evidence, r.evidence(m))
			} else {
				evidence = append(evidence, f.MTU[m].evidence(m))
			}
		}
		return "The peer answers nothing: neither echo requests nor IKE on any port.", evidence
	})
}

// ikeRefused: the peer is there, and nobody on it speaks IKE.
//
// True only when the peer itself refuses both ports (ICMP port unreachable from its own address): its daemon has stopped, or this is not the
// address of a gateway. One refused port alone is a matter of configuration: without NAT traversal nobody listens on 4500. Any answer refutes it.
func (f *Facts) ikeRefused() Verdict {
	ike, natt := &f.Reach[collectors.IKE], &f.Reach[collectors.NATT]
	return verdict(IKERefused, "", and(ike.is(Refused), natt.is(Refused)), func() (string, []string) {
		return fmt.Sprintf("The peer itself refuses UDP %d and UDP %d: nobody there speaks IKE.", ike.Port, natt.Port),
			[]string{ike.evidence(collectors.IKE), natt.evidence(collectors.NATT)}
	})
}

// icmpBlocked: IKE answers on one of the ports, echo requests do not.
//
// False when echo is answered, and when no port speaks IKE: then it is not told from a silent peer. A refused port is
// no IKE.
func (f *Facts) icmpBlocked() Verdict {
	echo, ike, natt := &f.Reach[collectors.ICMP], &f.Reach[collectors.IKE], &f.Reach[collectors.NATT]
	return verdict(ICMPBlocked, "", and(or(ike.is(Answers), natt.is(Answers)), echo.is(Silent)), func() (string, []string) {
		evidence := []string{echo.evidence(collectors.ICMP)}
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			if f.Reach[m].State == Answers {
				evidence = append(evidence, f.Reach[m].evidence(m))
			}
		}
		return "The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer.", evidence
	})
}

// portBlocked: one of the UDP ports is silent while the other answers.
//
// How sure it is: a gateway that does not answer IKE from unknown sources is silent on both ports, so silence shows a
// filter only where the other port shows that this peer answers us. Both silent is neither diagnosis, whatever echo
// says; nor is a refused port, which is closed, not filtered: on 4500 it means that NAT traversal is not enabled. That
// a peer without NAT traversal drops 4500 instead of refusing it cannot be told from a filter; the evidence says
// whether the port has ever answered.
func (f *Facts) portBlocked(name string, port, other collectors.Method) Verdict {
	blocked, witness := &f.Reach[port], &f.Reach[other]
	return verdict(name, "", and(blocked.is(Silent), witness.is(Answers)), func() (string, []string) {
		return fmt.Sprintf("IKE is answered on UDP %d but not on UDP %d: that port is filtered on the path or by the peer.",
			witness.Port, blocked.Port), []string{blocked.evidence(port), witness.evidence(other)}
	})
}
