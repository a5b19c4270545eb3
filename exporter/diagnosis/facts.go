package diagnosis

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
)

const methods = int(collectors.NATT) + 1

// Facts are the newest results about one peer, indexed by method or protocol. The zero value of each says that it is
// unknown; whoever fills them in leaves out what is too old.
type Facts struct {
	Reach     [methods]Reach
	MTU       [methods]MTU
	Reverse   Reverse
	Fragments [methods]Fragments
	Offers    [methods]Offer
	Passages  [protocols]Passage
	// Gateways are the configured gateways that should hold an SA of the peer, or hold one. What held of one that is left
	// out ends at once.
	Gateways []Gateway
	Vantage  Suspicion
}

// ReachState is whether a peer answers by one method.
type ReachState uint8

// The states of reach.
const (
	// ReachUnknown means not measured, not measurable, or too long ago.
	ReachUnknown ReachState = iota
	// Answers means that one of the requests was answered: an echo reply, or any IKE message.
	Answers
	// Silent means that requests were sent and nothing at all came back.
	Silent
	// Refused means that the peer itself said that nobody listens (ICMP port unreachable), and nothing else came back.
	Refused
)

// String names the state.
func (s ReachState) String() string {
	switch s {
	case ReachUnknown:
	case Answers:
		return "answers"
	case Silent:
		return "silent"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Reach is whether a peer answers by one method.
type Reach struct {
	State ReachState
	// Measured is when the requests were sent that State rests on, or the last of them. A state without it is unknown.
	Measured time.Time
	// Sent and Received count the requests and their answers, 0 where they are not counted. Where they are, silence is
	// believed from silenceRequests on, and less of it is unknown; where not, the collector's word is taken.
	Sent, Received int
	// Port is the UDP port that was asked, 0 for ICMP.
	Port uint16
	// Reply is what came back, such as INVALID_KE_PAYLOAD; RoundTrip how fast.
	Reply     string
	RoundTrip time.Duration
	// LastAnswer is when the last answer came, zero if none ever did.
	LastAnswer time.Time
}

// silenceRequests is how many requests in a row must stay unanswered for silence. Together with the second verdict that
// turns a diagnosis on, a path that loses one packet in ten each way is taken for silent once in 20,000 times.
const silenceRequests = 3

// known tells whether the state says anything.
func (r *Reach) known() bool {
	enough := r.State != Silent || r.Sent == 0 || r.Sent >= silenceRequests
	return r.State != ReachUnknown && !r.Measured.IsZero() && enough
}

// is is the claim that the state is s.
func (r *Reach) is(s ReachState) claim { return when(r.known(), r.State == s, r.Measured) }

// evidence is what was measured, in one line.
func (r *Reach) evidence(m collectors.Method) string {
	what := "echo"
	if m != collectors.ICMP {
		what = fmt.Sprintf("UDP %d", r.Port)
	}
	parts := []string{fmt.Sprintf("%s: %s %s", m, what, r.State)}
	if r.State == Refused {
		parts[0] += " by the peer itself (port unreachable)"
	}
	if r.Sent > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d requests answered", r.Received, r.Sent))
	}
	if r.Reply != "" && r.State == Answers {
		parts = append(parts, "last reply "+r.Reply)
	}
	if r.RoundTrip > 0 && r.State == Answers {
		parts = append(parts, "round trip "+r.RoundTrip.Round(100*time.Microsecond).String())
	}
	switch {
	case r.State == Answers:
	case r.LastAnswer.IsZero():
		parts = append(parts, "never seen to answer")
	default:
		parts = append(parts, "last answer at "+r.LastAnswer.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}

// MTUState is the result of one search for the path MTU.
type MTUState uint8

// The results of a search.
const (
	// MTUUnknown means not measured, not measurable, or too long ago.
	MTUUnknown MTUState = iota
	// Clean means that packets as large as the local link allows pass.
	Clean
	// Reduced means that a smaller size passes, and a valid "packet too big" names it.
	Reduced
	// BlackHole means that packets above some size vanish, confirmed, without a "packet too big" that names a size that
	// passes.
	BlackHole
	// Unreachable means that not even small packets arrived.
	Unreachable
	// Inconclusive means that the search came to no result.
	Inconclusive
)

// MTU is the result of the newest search by one method.
type MTU struct {
	State MTUState
	// Measured is when the search ended. A state without it is unknown.
	Measured time.Time
	// Bytes is the largest size proven to pass, LinkBytes the most that could be measured. IP header included.
	Bytes, LinkBytes int
	// Packets is how many the search sent, PTBReceived how many valid "packet too big" it got.
	Packets, PTBReceived int
	// LastHopPassed and FirstHopFailed are the routers between which larger packets vanish, if known.
	LastHopPassed, FirstHopFailed netip.Addr
}

// arrives is the claim that anything arrives at the peer, as far as the search shows.
func (r *MTU) arrives() claim {
	switch r.State {
	case Clean, Reduced, BlackHole:
		return when(!r.Measured.IsZero(), true, r.Measured)
	case Unreachable:
		return when(!r.Measured.IsZero(), false, r.Measured)
	case MTUUnknown, Inconclusive:
	}
	return claim{}
}

// blackHole is the claim that there is a black hole. It is refuted only by a size that passes with nothing vanishing
// above it; a search that did not get that far says nothing.
func (r *MTU) blackHole() claim {
	switch r.State {
	case Clean, Reduced, BlackHole:
		return when(!r.Measured.IsZero(), r.State == BlackHole, r.Measured)
	case MTUUnknown, Unreachable, Inconclusive:
	}
	return claim{}
}

// evidence is what was measured, in one line.
func (r *MTU) evidence(m collectors.Method) string {
	if r.State == Unreachable {
		return fmt.Sprintf("%s: none of the %d packets of a path MTU search arrived", m, r.Packets)
	}
	line := fmt.Sprintf("%s: %d bytes pass, larger ones vanish (local link %d bytes); %d packets sent, \"packet too big\" received: %d",
		m, r.Bytes, r.LinkBytes, r.Packets, r.PTBReceived)
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
	return line
}
