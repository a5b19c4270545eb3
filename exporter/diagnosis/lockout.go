package diagnosis

import (
	"fmt"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
)

// IKELockout is the name of the diagnosis that the peer ignores new negotiations from this address.
const IKELockout = "ike_lockout"

// offerIgnored is the claim that IKE_SA_INIT requests were not answered, while one of a major
// version that needs no state was in the same round.
func offerIgnored(r *ike.Result) claim {
	ignored := r.State == ike.Responding && r.Form == ikeprobe.V2Major3 && r.BadKESilent && r.BadKESent >= silenceRequests
	return when(ignored || offerAnswered(r), ignored, r.At)
}

// ikeLockout: the peer answers only what costs it no state, as a responder does to an address with
// too many half-open IKE SAs. The VPN peer behind that address is locked out too.
//
// How sure it is: a responder that speaks IKEv1 only, or that never answers strangers, may answer
// nothing but a wrong major version at any time. So true only where a request was answered before
// on one of the ports: something has changed. After a restart this is not known. An answer on
// either port refutes it, since the limit is by address. Three ignored requests in a row are
// needed, or more than the measured loss explains; five while no loss is measured. A filter that
// drops IKE_SA_INIT of version 2 by its content looks the same.
func (f *Facts) ikeLockout() (claim, text) {
	var last time.Time
	var ignored []claim
	var evidence []string
	for _, m := range collectors.IKEMethods() {
		if f.lastOffer[m].After(last) {
			last = f.lastOffer[m]
		}
		r := f.replies(m)
		c := offerIgnored(r)
		if c.state == Holds && f.explainedByLoss(r.BadKESent) {
			c = claim{}
		}
		if c.state != Undecided {
			ignored = append(ignored, c)
		}
		if c.state == Holds {
			evidence = append(evidence, fmt.Sprintf("%s: IKE_SA_INIT is not answered (%d requests), a wrong major version is, with %s", m, r.BadKESent, r.Reply))
		}
	}
	var c claim
	if len(ignored) > 0 {
		c = and(ignored...)
	}
	if c.state == Holds && last.IsZero() {
		c = claim{}
	}
	return c, func() (string, []string) {
		return "The peer answers only what costs it no state: this address is over its limit of half-open IKE SAs, and a VPN peer behind it is locked out.",
			append(evidence, "IKE_SA_INIT was last answered at "+Clock(last))
	}
}
