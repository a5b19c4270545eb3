package pmtu

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// A Result is the result of one round by one method.
type Result struct {
	Method collectors.Method
	State  search.State
	// Bytes is the path MTU of a conclusive state, or else the most that was proven to pass;
	// LinkBytes is the most that could be tried.
	Bytes, LinkBytes int
	// Packets and Duration are what the round cost.
	Packets  int
	Duration time.Duration
	// PTBReceived counts valid PTBs, PTBRejected the PTBs of no use among them, Rejected by reason.
	PTBReceived, PTBRejected int
	Rejected                 search.Rejected
	// PTBFrom and PTBMTU are the sender and the content of the last PTB for more than Bytes, if
	// any.
	PTBFrom netip.Addr
	PTBMTU  int
	// ProvedPackets are what the search sent that found a black hole, at ProvedAt. Later rounds
	// that confirm it send few.
	ProvedPackets int
	ProvedAt      time.Time
	// SpokeFrom is the router whose PTB for SpokeMTU bytes was the last one of use before a black
	// hole, SpokeUntil the end of the round that received it; the zero Addr if none was.
	SpokeFrom  netip.Addr
	SpokeMTU   int
	SpokeUntil time.Time
	// Inexact counts the PTBs that quote no probe exactly, InexactFrom and InexactMTU are the
	// sender and the content of the last one. They are hints; a forged one costs packets only.
	Inexact     int
	InexactFrom netip.Addr
	InexactMTU  int
	// Loss is the share of lost probes among the probes that fit, LossSamples their number.
	Loss        float64
	LossSamples int
	RoundTrip   time.Duration
	// ReplyFragment is the size of the largest fragment of the largest reply, 0 if it came whole.
	ReplyFragment int
	// ReplyShort means that this reply carried less than its request did.
	ReplyShort bool
	// LastHopPassed and FirstHopFailed are the routers between which larger packets vanish; the
	// zero Addr where that is not known.
	LastHopPassed, FirstHopFailed netip.Addr
	// LargerBy are the methods by which more passes, of a black hole to an IKE method.
	LargerBy []collectors.Method
	// Form is the IKE form that was used, empty for ICMP.
	Form string
	// Reason is why there is no better state; empty for conclusive ones.
	Reason string
	// Unasked means that no search was made because the peer has answered nothing by this method
	// yet.
	Unasked bool
	// Note qualifies a conclusive state; empty if there is nothing to add.
	Note string
	At   time.Time
}

func (p *prober) result(s *search.Search, took time.Duration) Result {
	v := s.Verdict()
	r := Result{
		Method: p.method, State: v.State, Bytes: v.Bytes, LinkBytes: v.Link, Packets: v.Packets, Duration: took,
		PTBReceived: v.PTBs, PTBRejected: v.Rejected.Total(), Rejected: v.Rejected, PTBFrom: v.PTB.From, PTBMTU: v.PTB.MTU,
		Inexact: v.Inexact, InexactFrom: v.InexactPTB.From, InexactMTU: v.InexactPTB.MTU,
		Loss: v.Loss, LossSamples: v.Samples, RoundTrip: v.RoundTrip, Reason: v.Reason, At: time.Now(),
	}
	if p.method != collectors.ICMP {
		r.Form = p.ike.Form.String()
	} else if p.reply.size == v.Bytes {
		r.ReplyFragment, r.ReplyShort = p.reply.fragment, p.reply.short
	}
	if v.Inexact > 0 && v.Bytes > 0 && v.State != search.Clean && v.PTBs == 0 {
		r.Note = inexactNote(&v)
	}
	if v.State == search.Unreachable && p.fault != "" {
		r.Reason += ": " + p.fault
	}
	return r
}

// inexactNote reports the PTBs that quote no probe exactly.
func inexactNote(v *search.Verdict) string {
	verb, named := "quote", "no size"
	ptbs := fmt.Sprintf("%d PTBs", v.Inexact)
	if v.Inexact == 1 {
		ptbs, verb = "1 PTB", "quotes"
	}
	if v.InexactPTB.MTU > 0 {
		named = strconv.Itoa(v.InexactPTB.MTU)
	}
	return fmt.Sprintf("%s of %s naming %s %s no probe exactly", ptbs, v.InexactPTB.From, named, verb)
}

// Reverse is what is known about the reverse path.
type Reverse struct {
	// State is Clean if replies as large as the local link come back whole, Reduced if they come in
	// fragments, BlackHole if larger ones vanish, and otherwise Unknown.
	State search.State
	// LowerBytes and UpperBytes are the bounds of its path MTU as whole IP packets, 0 if unknown.
	LowerBytes, UpperBytes int
	// Packets is the number of probes of the search that found it, Reason is why there is no better
	// state.
	Packets int
	Reason  string
	// LastHopPassed is the farthest router whose larger echo replies come back, FirstHopFailed the
	// nearest one whose do not; the zero Addr where that is not known.
	LastHopPassed, FirstHopFailed netip.Addr
	// ByRouters means that the state rests on the replies of FirstHopFailed, not of the peer.
	ByRouters bool
	At        time.Time
}

// Forward is what the routers show about the path to the peer alone, where echoes find a black hole
// and IKE does not show which way it is.
type Forward struct {
	// State is Clean if packets as large as the local link get to the last router before the peer,
	// Reduced if routers report a smaller size, BlackHole if larger ones vanish, and otherwise
	// Unknown.
	State search.State
	// LowerBytes and UpperBytes are the bounds of the path MTU as far as LastHopPassed, 0 if
	// unknown.
	LowerBytes, UpperBytes int
	// LastHopPassed is the last router that got packets of LowerBytes, or of a black hole larger
	// ones. FirstHopFailed is the next router that got LowerBytes only. The zero Addr for none.
	LastHopPassed, FirstHopFailed netip.Addr
	// Packets is the number of probes, Reason is why there is no better state.
	Packets int
	Reason  string
	At      time.Time
}

// A Snapshot is what a Collector knows at one time.
type Snapshot struct {
	// Results are the newest result of each method, in the order of collectors.Methods.
	Results []Result
	// LinkBytes is the MTU of the local link, 0 if unknown; CachedBytes the path MTU in the
	// kernel's cache, 0 if there is none.
	LinkBytes, CachedBytes int
	// BlackHole means that a method holds a confirmed black hole. It is valid only if Known.
	BlackHole, Known bool
	// EchoApart means that echoes take another way than IKE, so that their results are about
	// another path.
	EchoApart bool
	// Changes counts changes of verdict, PTBs valid ones received. They survive a change of
	// address.
	Changes, PTBs uint64
	// At is when the last round ended; zero before the first.
	At      time.Time
	Reverse Reverse
	// Forward is zero unless echoes find a black hole whose direction only routers can show.
	Forward Forward
	// Hops are the routers on the path by TTL, from 1, and the peer; zero where none answered.
	// Distance is the TTL with which the peer was reached, 0 if unknown; HopsAt is when.
	Hops     []netip.Addr
	Distance int
	HopsAt   time.Time
}

// Results are the results of one round.
type Results struct {
	// Results are in the order in which they were measured.
	Results []Result
	// These are as in Snapshot, after the round.
	LinkBytes, CachedBytes int
	BlackHole, Known       bool
	// Reverse is zero if no echoes were measured, and Forward is as in Snapshot.
	Reverse Reverse
	Forward Forward
}
