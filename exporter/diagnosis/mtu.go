package diagnosis

import (
	"cmp"
	"fmt"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// Diagnoses of large packets that vanish.
const (
	PMTUBlackHole        = "pmtu_black_hole"
	PMTUBlackHoleReverse = "pmtu_black_hole_reverse"
)

// arrives is the claim that anything arrives at the peer.
func arrives(r *pmtu.Result) claim {
	return when(r.State.Conclusive() || r.State == search.Unreachable, r.State != search.Unreachable, r.At)
}

// foundHole is the claim that a search found a black hole. Only a size that passes while nothing
// above it vanishes refutes it; a search that did not get that far says nothing.
func foundHole(r *pmtu.Result) claim {
	return when(r.State.Conclusive(), r.State == search.BlackHole, r.At)
}

// passes is the claim that more than this many bytes pass: any acknowledged size is proof.
func passes(r *pmtu.Result, bytes int) claim {
	larger := r.Bytes > bytes
	known := r.State.Conclusive() || r.State == search.Inconclusive && larger
	return when(known, larger, r.At)
}

func (f *Facts) reverseHole() claim {
	r := f.wayBack()
	return when(r.State.Conclusive(), r.State == search.BlackHole, r.At)
}

// outwardHole is the claim that packets that routers should report vanish on the path to the peer.
// That they get to the last router before the peer refutes it; the last link remains.
func (f *Facts) outwardHole() claim {
	r := f.wayOut()
	return when(r.State.Conclusive(), r.State == search.BlackHole, r.At)
}

func searchEvidence(r *pmtu.Result) string {
	if r.State == search.Unreachable {
		return fmt.Sprintf("%s: none of the %d packets of a path MTU search arrived", r.Method, r.Packets)
	}
	line := fmt.Sprintf("%s: %d bytes pass, larger ones vanish (local link %d bytes); %d packets sent, \"packet too big\" received: %d",
		r.Method, r.Bytes, r.LinkBytes, cmp.Or(r.ProvedPackets, r.Packets), r.PTBReceived)
	var where []string
	if r.LastHopPassed.IsValid() {
		where = append(where, "after "+r.LastHopPassed.String())
	}
	if r.FirstHopFailed.IsValid() {
		where = append(where, "before or at "+r.FirstHopFailed.String())
	}
	if len(where) > 0 {
		line += "; lost " + strings.Join(where, ", ")
	}
	if r.SpokeFrom.IsValid() {
		line += fmt.Sprintf("; %s sent packet too big (%d bytes) until %s, and stopped then", r.SpokeFrom, r.SpokeMTU, Clock(r.SpokeUntil))
	}
	if r.Note != "" {
		line += "; " + r.Note
	}
	return line
}

func (f *Facts) reverseEvidence() string {
	r := f.wayBack()
	line := fmt.Sprintf("reverse path: replies of %d bytes to requests in small pieces come back", r.LowerBytes)
	if r.ByRouters {
		line = fmt.Sprintf("reverse path: %s gets echoes of %d bytes, its replies of %d bytes come back", r.FirstHopFailed, r.LowerBytes+1, r.LowerBytes)
	}
	if r.UpperBytes > 0 {
		line += fmt.Sprintf(", replies above %d bytes do not", r.UpperBytes)
	}
	line = fmt.Sprintf("%s; %d packets sent", line, r.Packets)
	if r.LastHopPassed.IsValid() {
		line += fmt.Sprintf("; larger replies of %s come back", r.LastHopPassed)
	}
	if r.FirstHopFailed.IsValid() && !r.ByRouters {
		line += fmt.Sprintf("; larger replies of %s do not", r.FirstHopFailed)
	}
	return line
}

// outwardEvidence is what the routers on the path to the peer show, empty if they were not asked.
func (f *Facts) outwardEvidence() string {
	r := f.wayOut()
	if r.At.IsZero() || !r.LastHopPassed.IsValid() {
		return ""
	}
	line := fmt.Sprintf("path to the peer: packets of %d bytes get to %s, as its time exceeded shows", r.LowerBytes, r.LastHopPassed)
	if r.State == search.Clean {
		line += ", the last router before the peer"
	}
	if r.UpperBytes > 0 {
		line += fmt.Sprintf(", packets above %d bytes do not get behind it", r.UpperBytes)
	}
	return line
}

// blackHole: packets above the path MTU vanish by method m on the path to the peer.
//
// The methods are parts that stand alone: only a larger size that passes by the same method, or a
// valid packet too big for it, refutes what was found, since paths differ by method. Echo is the
// exception: a reply is as large as its request, and may be the packet that is lost. Where echo
// finds a black hole:
//
//	IKE messages that are larger arrive           not to the peer: see pmtu_black_hole_reverse
//	IKE messages stop at the same size or below   to the peer, and perhaps on the reverse path too
//	IKE unknown, the routers show a limit         to the peer, and perhaps on the reverse path too
//	IKE unknown, the reverse path is a black hole
//	  larger packets get to the last router       not to the peer
//	  routers unknown                             unknown
//	IKE unknown, the reverse path is not          to the peer
//	all unknown                                   it holds; the summary says: either way
//
// A path that is a black hole to echo's flow only, while replies and IKE pass, looks like a filter
// of large echoes: neither is diagnosed.
func (f *Facts) blackHole(m collectors.Method) (claim, text) {
	r := f.search(m)
	return f.forwardHole(m), func() (string, []string) {
		evidence, bytes := []string{searchEvidence(r)}, r.Bytes
		ike, _ := f.ikePasses(bytes)
		if m == collectors.ICMP && ike.state == Undecided {
			if line := f.outwardEvidence(); line != "" {
				evidence = append(evidence, line)
			}
			back := f.reverseHole().state
			switch {
			case f.outwardHole().state == Holds:
				bytes = f.wayOut().LowerBytes
			case back == Undecided:
				return fmt.Sprintf("Echo requests above %d bytes, or the replies to them, vanish, and no usable packet too big comes back.", bytes), evidence
			}
			if back != Undecided {
				evidence = append(evidence, f.reverseEvidence())
			}
		}
		return fmt.Sprintf("Packets above %d bytes vanish on the path to the peer, and no usable packet too big comes back.", bytes), evidence
	}
}

func (f *Facts) forwardHole(m collectors.Method) claim {
	r := f.search(m)
	found := f.holeInEveryFlow(m, r, foundHole(r))
	if m != collectors.ICMP || found.state != Holds {
		return found
	}
	larger, _ := f.ikePasses(r.Bytes)
	outward, back := f.outwardHole(), f.reverseHole()
	switch {
	case larger.state == Holds:
		return not(larger)
	case larger.state == Absent:
		return found
	case outward.state == Holds:
		return and(found, outward)
	case back.state == Holds: // the reply explains the silence
		return and(outward, back)
	}
	return found
}

// reverseBlackHole: packets above some size vanish on the path from the peer.
//
// The test of the reverse path settles it, unless echoes as large as the link have come back since.
// Where the test could not be made, the methods are compared: a black hole to echo, while larger
// IKE messages arrive by every method by which any arrive, is one of the reverse path, or a filter
// of large echoes; these look the same, and the summary says so. Where IKE has a black hole of the
// same size, the reverse path is unknown.
func (f *Facts) reverseBlackHole() (claim, text) {
	echo := f.search(collectors.ICMP)
	return f.backwardHole(), func() (string, []string) {
		if f.reverseHole().state == Holds {
			evidence := []string{f.reverseEvidence()}
			if line := f.outwardEvidence(); line != "" {
				evidence = append(evidence, line)
			}
			return fmt.Sprintf("Packets above %d bytes vanish on the path from the peer.", f.wayBack().LowerBytes), evidence
		}
		evidence := []string{searchEvidence(echo)}
		for _, m := range collectors.IKEMethods() {
			if r := f.search(m); passes(r, echo.Bytes).state == Holds {
				evidence = append(evidence, fmt.Sprintf("%s: messages of %d bytes arrive, their replies are small", m, r.Bytes))
			}
		}
		return fmt.Sprintf("Larger IKE messages arrive, but of echoes above %d bytes no reply comes back: "+
			"such packets vanish on the reverse path, unless large echoes alone are filtered.", echo.Bytes), evidence
	}
}

func (f *Facts) backwardHole() claim {
	echo := f.search(collectors.ICMP)
	found, tested := foundHole(echo), f.reverseHole()
	switch {
	case tested.state == Holds && echo.State == search.Clean && echo.At.After(tested.at):
		return found // absent
	case tested.state != Undecided:
		return tested
	case found.state != Holds:
		return found
	case echo.FirstHopFailed.IsValid() && echo.FirstHopFailed != f.Address:
		return claim{} // a router shows that the requests vanish
	}
	if _, all := f.ikePasses(echo.Bytes); all.state == Holds {
		return and(found, all)
	}
	return claim{}
}

// ikePasses returns the claims that larger IKE messages arrive by any, and by all, methods of which
// that is known. Replies to IKE are small, so both are about the way to the peer alone.
func (f *Facts) ikePasses(bytes int) (any, all claim) {
	var known []claim
	for _, m := range collectors.IKEMethods() {
		if c := passes(f.search(m), bytes); c.state != Undecided {
			known = append(known, c)
		}
	}
	if len(known) == 0 {
		return claim{}, claim{}
	}
	return or(known...), and(known...)
}
