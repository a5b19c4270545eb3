package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

// ReverseState is what is known of the way back from the peer, by large echo replies to requests that went in small pieces.
type ReverseState uint8

// The states of the way back.
const (
	// ReverseUnknown means not measured, not measurable (as where fragments are dropped), or too long ago.
	ReverseUnknown ReverseState = iota
	// ReverseClean means that replies as large as the local link allows come back whole.
	ReverseClean
	// ReverseReduced means that large replies come back in fragments: a smaller link that does its duty.
	ReverseReduced
	// ReverseBlackHole means that small replies to such requests come back, and that large ones vanish, confirmed.
	ReverseBlackHole
)

// String names the state.
func (s ReverseState) String() string {
	switch s {
	case ReverseUnknown:
	case ReverseClean:
		return "clean"
	case ReverseReduced:
		return "reduced"
	case ReverseBlackHole:
		return "black hole"
	}
	return "unknown"
}

// Reverse is the result of the newest test of the way back. It needs no help by IKE.
type Reverse struct {
	State ReverseState
	// Measured is when the test ended. A state without it is unknown.
	Measured time.Time
	// LowerBytes and UpperBytes are bounds of the path MTU of the way back, 0 where there is none.
	LowerBytes, UpperBytes int
	// Packets is how many the test sent.
	Packets int
}

// blackHole is the claim that the test found a black hole.
func (r *Reverse) blackHole() claim {
	known := r.State != ReverseUnknown && !r.Measured.IsZero()
	return when(known, r.State == ReverseBlackHole, r.Measured)
}

// evidence is what was measured, in one line.
func (r *Reverse) evidence() string {
	line := fmt.Sprintf("way back: replies of %d bytes to requests in small pieces come back", r.LowerBytes)
	if r.UpperBytes > 0 {
		line += fmt.Sprintf(", those above %d bytes do not", r.UpperBytes)
	}
	return fmt.Sprintf("%s; %d packets sent", line, r.Packets)
}

// blackHole: packets above the path MTU vanish by method m on the way to the peer.
//
// The methods are parts that stand alone: only a larger size that passes by the same method, or a valid packet too big
// for it, refutes what was found, since paths differ by method. Echo is the exception, as a reply is as large as its
// request and may be what is lost. Where it finds a black hole:
//
//	IKE messages that are larger arrive           not on this way: see pmtu_black_hole_reverse
//	IKE messages stop at the same size or below   on this way, and perhaps on the way back too
//	IKE is unknown, the way back is a black hole  unknown
//	IKE is unknown, the way back is not           on this way
//	both unknown                                  it holds, and the summary says that it may be either way
//
// A path that is a black hole to echo's flow only, while replies and IKE pass, is not told from a filter of large echoes:
// neither is diagnosed.
func (f *Facts) blackHole(m collectors.Method) Verdict {
	r := &f.MTU[m]
	return verdict(PMTUBlackHole, m.String(), f.forwardBlackHole(m), func() (string, []string) {
		evidence := []string{r.evidence(m)}
		ike, _ := f.ikePasses(r.Bytes)
		if m == collectors.ICMP && ike.state == Undecided {
			if f.Reverse.blackHole().state == Undecided {
				return fmt.Sprintf("Echo requests above %d bytes, or the replies to them, vanish, and no usable packet too big comes back.", r.Bytes), evidence
			}
			evidence = append(evidence, f.Reverse.evidence())
		}
		return fmt.Sprintf("Packets above %d bytes vanish on the way to the peer, and no usable packet too big comes back.", r.Bytes), evidence
	})
}

// forwardBlackHole is the claim that the way to the peer is a black hole for method m.
func (f *Facts) forwardBlackHole(m collectors.Method) claim {
	r := &f.MTU[m]
	found := r.blackHole()
	if m != collectors.ICMP || found.state != Holds {
		return found
	}
	larger, _ := f.ikePasses(r.Bytes)
	switch {
	case larger.state == Holds:
		return not(larger)
	case larger.state == Undecided && f.Reverse.blackHole().state == Holds:
		return claim{}
	}
	return found
}

// reverseBlackHole: packets above some size vanish on the way back from the peer.
//
// The test of the way back settles it, unless echoes as large as the link have come back since. Where it could not be made, the
// methods are compared: a black hole to echo, while IKE messages that are larger arrive by every method by which any do,
// is one of the way back, or a filter of large echoes; that cannot be told apart, and the summary says so. Where IKE has
// a black hole of the same size, the way back is unknown.
func (f *Facts) reverseBlackHole() Verdict {
	echo := &f.MTU[collectors.ICMP]
	return verdict(PMTUBlackHoleReverse, "", f.backwardBlackHole(), func() (string, []string) {
		if r := &f.Reverse; r.blackHole().state == Holds {
			return fmt.Sprintf("Packets above %d bytes vanish on the way back from the peer.", r.LowerBytes), []string{r.evidence()}
		}
		evidence := []string{echo.evidence(collectors.ICMP)}
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			if r := &f.MTU[m]; r.passes(echo.Bytes).state == Holds {
				evidence = append(evidence, fmt.Sprintf("%s: messages of %d bytes arrive, their replies are small", m, r.Bytes))
			}
		}
		return fmt.Sprintf("Larger IKE messages arrive, but of echoes above %d bytes no reply comes back: "+
			"such packets vanish on the way back, unless large echoes alone are filtered.", echo.Bytes), evidence
	})
}

// backwardBlackHole is the claim that the way back is a black hole.
func (f *Facts) backwardBlackHole() claim {
	echo := &f.MTU[collectors.ICMP]
	found, tested := echo.blackHole(), f.Reverse.blackHole()
	switch {
	case tested.state == Holds && echo.State == Clean && echo.Measured.After(tested.at):
		return found // absent
	case tested.state != Undecided:
		return tested
	case found.state != Holds:
		return found
	}
	if _, all := f.ikePasses(echo.Bytes); all.state == Holds {
		return and(found, all)
	}
	return claim{}
}

// ikePasses are the claims that IKE messages of more than so many bytes arrive by any of the methods by which any arrive,
// and by all of those. Their replies are small, so they tell of the way to the peer alone.
func (f *Facts) ikePasses(bytes int) (any, all claim) {
	var known []claim
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		if c := f.MTU[m].passes(bytes); c.state != Undecided {
			known = append(known, c)
		}
	}
	if len(known) == 0 {
		return claim{}, claim{}
	}
	return or(known...), and(known...)
}

// passes is the claim that more than so many bytes pass. An acknowledged size is proof, however the search ended.
func (r *MTU) passes(bytes int) claim {
	switch {
	case r.Measured.IsZero() || r.State == MTUUnknown || r.State == Unreachable:
	case r.Bytes > bytes:
		return claim{Holds, r.Measured}
	case r.State != Inconclusive:
		return claim{Absent, r.Measured}
	}
	return claim{}
}
