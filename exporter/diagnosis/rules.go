package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

// A Verdict is what one evaluation says of one diagnosis, or of one part of it.
type Verdict struct {
	// Part distinguishes verdicts on the same diagnosis that stand and fall alone; the diagnosis holds while one does.
	Part  string
	State State
	// Basis is when the oldest of the facts was measured that the state rests on.
	Basis time.Time
	// Diagnosis has its summary and evidence only where it holds.
	Diagnosis
}

// Verdicts are the verdicts on all diagnoses, in the order of Names.
type Verdicts []Verdict

// Evaluate judges what the facts say about every diagnosis. What is said of one moment never contradicts itself: where
// peer_silent holds, no other diagnosis does, and at most one of the UDP ports is blocked.
func Evaluate(f Facts) Verdicts {
	silent := f.peerSilent()
	out := make(Verdicts, 0, 4+methods)
	out = append(out, silent, f.icmpBlocked())
	for _, m := range collectors.Methods() {
		out = append(out, f.blackHole(m, silent.State))
	}
	return append(out, f.portBlocked(UDP500Blocked, collectors.IKE, collectors.NATT),
		f.portBlocked(UDP4500Blocked, collectors.NATT, collectors.IKE))
}

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
	return verdict(PeerSilent, and(silent[:]...), func() (string, []string) {
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

// icmpBlocked: IKE answers on one of the ports, echo requests do not.
//
// False when echo is answered, and when no port speaks IKE: then it is not told from a silent peer. A refused port is
// no IKE.
func (f *Facts) icmpBlocked() Verdict {
	echo, ike, natt := &f.Reach[collectors.ICMP], &f.Reach[collectors.IKE], &f.Reach[collectors.NATT]
	return verdict(ICMPBlocked, and(or(ike.is(Answers), natt.is(Answers)), echo.is(Silent)), func() (string, []string) {
		evidence := []string{echo.evidence(collectors.ICMP)}
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			if f.Reach[m].State == Answers {
				evidence = append(evidence, f.Reach[m].evidence(m))
			}
		}
		return "The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer.", evidence
	})
}

// blackHole: packets above the path MTU vanish by method m.
//
// The methods are parts that stand alone: only a larger size that passes by the same method, or a valid packet too big
// for it, refutes what was found, since paths differ by method. While the peer is silent nothing is said.
func (f *Facts) blackHole(m collectors.Method, peerSilent State) Verdict {
	r := &f.MTU[m]
	c := r.blackHole()
	if peerSilent == Holds {
		c = claim{}
	}
	v := verdict(PMTUBlackHole, c, func() (string, []string) {
		summary := "Packets above %d bytes vanish on the way to the peer, and no usable packet too big comes back."
		if m == collectors.ICMP && f.largerIKE(r.Bytes) {
			summary = "Echo requests above %d bytes, or the replies to them, vanish, though larger IKE messages arrive at the peer."
		}
		return fmt.Sprintf(summary, r.Bytes), []string{r.evidence(m)}
	})
	v.Part = m.String()
	return v
}

// largerIKE tells whether IKE messages of more than so many bytes arrive. Their replies are small: where echo loses what IKE does
// not, it may be the way back that does, since an echo reply is as large as its request.
func (f *Facts) largerIKE(bytes int) bool {
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		if r := &f.MTU[m]; r.arrives().state == Holds && r.Bytes > bytes {
			return true
		}
	}
	return false
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
	return verdict(name, and(blocked.is(Silent), witness.is(Answers)), func() (string, []string) {
		return fmt.Sprintf("IKE is answered on UDP %d but not on UDP %d: that port is filtered on the path or by the peer.",
			witness.Port, blocked.Port), []string{blocked.evidence(port), witness.evidence(other)}
	})
}

// verdict turns a claim into a verdict; text gives summary and evidence where it holds.
func verdict(name string, c claim, text func() (summary string, evidence []string)) Verdict {
	v := Verdict{State: c.state, Basis: c.at, Diagnosis: Diagnosis{Name: name}}
	if c.state == Holds {
		v.Summary, v.Evidence = text()
	}
	return v
}
