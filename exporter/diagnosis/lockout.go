package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
)

// OfferState is whether a peer still answers who asks for an IKE SA.
type OfferState uint8

// The states of offers.
const (
	// OfferUnknown means that no round has asked, or none lately.
	OfferUnknown OfferState = iota
	// OfferAnswered means that an IKE_SA_INIT request was answered, with an error or a COOKIE too.
	OfferAnswered
	// OfferIgnored means that IKE_SA_INIT requests were not answered, and that one of a major version that needs no state was
	// in the same round.
	OfferIgnored
)

// String names the state.
func (s OfferState) String() string {
	switch s {
	case OfferUnknown:
	case OfferAnswered:
		return "answered"
	case OfferIgnored:
		return "ignored"
	}
	return "unknown"
}

// Offer is whether a peer still answers who asks for an IKE SA, by one method.
type Offer struct {
	State OfferState
	// Measured is when the round began in which both were asked. A state without it is unknown.
	Measured time.Time
	// Sent is how many requests of that round were ignored, 0 where they are not counted.
	Sent int
	// Reply is the name of the reply to the other version.
	Reply string
	// LastAnswer is when a request was last answered by this address, zero if none ever was.
	LastAnswer time.Time
}

// ikeLockout: the peer answers only what costs it no state, as a responder does to an address with too many half-open IKE
// SAs. The VPN peer behind that address is locked out too.
//
// How sure it is: a responder that speaks IKEv1 only, or that never answers strangers, may answer nothing but a wrong major
// version at any time. So true only where a request was answered before on one of the ports: something has
// changed. After a restart this is not known. An answer on either port refutes it, since the limit is by address. Three ignored requests
// in a row are needed. That a filter drops IKE_SA_INIT of version 2 by its content is not told apart.
func (f *Facts) ikeLockout() Verdict {
	var last time.Time
	var ignored []claim
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		o := &f.Offers[m]
		if o.LastAnswer.After(last) {
			last = o.LastAnswer
		}
		enough := o.State == OfferAnswered || o.Sent == 0 || o.Sent >= silenceRequests
		if o.State != OfferUnknown && !o.Measured.IsZero() && enough {
			ignored = append(ignored, claim{Absent, o.Measured})
			if o.State == OfferIgnored {
				ignored[len(ignored)-1].state = Holds
			}
		}
	}
	var c claim
	if len(ignored) > 0 {
		c = and(ignored...)
	}
	if c.state == Holds && last.IsZero() {
		c = claim{}
	}
	return verdict(IKELockout, "", c, func() (string, []string) {
		var evidence []string
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			o := &f.Offers[m]
			if o.State != OfferIgnored {
				continue
			}
			line := fmt.Sprintf("%s: IKE_SA_INIT is not answered", m)
			if o.Sent > 0 {
				line += fmt.Sprintf(" (%d requests)", o.Sent)
			}
			evidence = append(evidence, fmt.Sprintf("%s, a wrong major version is, with %s", line, o.Reply))
		}
		evidence = append(evidence, "IKE_SA_INIT was last answered at "+clock(last))
		return "The peer answers only what costs it no state: this address is over its limit of half-open IKE SAs, and a VPN peer behind it is locked out.", evidence
	})
}
