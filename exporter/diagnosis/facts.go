package diagnosis

import (
	"cmp"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
)

const methods = int(collectors.NATT) + 1

// Facts are what is known of one peer. The zero value of each part says that it is unknown.
type Facts struct {
	// Findings are the newest results of the collectors, without results that are too old.
	suite.Findings
	Memory
	// Address is the address of the peer.
	Address netip.Addr
	// Others are other addresses of the peer's name that were tried. LookedUp is when the name was
	// looked up last, zero for a peer that is configured by address.
	Others   []Other
	LookedUp time.Time
	// Gateways are the configured gateways that hold an SA of the peer, or should hold one. A
	// diagnosis ends at once when its gateway is left out.
	Gateways []Gateway
	Vantage  Suspicion
	// Apart are the methods whose probes take another way than IKE. The findings have no results of
	// theirs.
	Apart []collectors.Method
	// NoEcho means that this process may not send echo requests, and that IKE alone decides whether
	// the peer is silent: for a check by an ordinary user.
	NoEcho bool
}

// A Gateway is what the SA table of one gateway shows of the peer.
type Gateway struct {
	// Name is the value of the label gateway.
	Name string
	gateways.History
	// Once means that the gateway is read by a check, which cannot wait as long as a measurement
	// that goes on.
	Once bool
}

// Memory is when a peer last answered, and whether it loses many packets. It outlives the results that showed it.
type Memory struct {
	// By method: any answer, and an answer to an IKE_SA_INIT request of IKEv2.
	lastAnswer, lastOffer [methods]time.Time
	loss                  losses
}

// Note remembers the answers in the newest results.
func (m *Memory) Note(f *suite.Findings) {
	m.loss.note(&Facts{Findings: *f, Memory: *m})
	if f.ICMP != nil && f.ICMP.State == icmp.Reachable {
		m.lastAnswer[collectors.ICMP] = f.ICMP.At
	}
	if f.IKE == nil {
		return
	}
	for _, by := range collectors.IKEMethods() {
		r := f.IKE.Of(by)
		if r.State == ike.Responding {
			m.lastAnswer[by] = r.At
		}
		if offerAnswered(&r) {
			m.lastOffer[by] = r.At
		}
	}
}

// offerAnswered reports whether the peer answered IKE_SA_INIT of IKEv2, even with an error.
func offerAnswered(r *ike.Result) bool {
	return r.State == ike.Responding && (r.Form == ikeprobe.V2BadKE || r.Form == ikeprobe.V2NoProp)
}

// What the methods below return where there is no result. It is shared, and not written to.
var (
	noEchoes   icmp.Result
	noReplies  ike.Result
	noSearches = [methods]pmtu.Result{{Method: collectors.ICMP}, {Method: collectors.IKE}, {Method: collectors.NATT}}
	noPaths    pmtu.Snapshot
)

// The methods below return zero values where there is no result. Many rules ask for the same result
// of thousands of peers, so large ones are not copied, and not to be changed.
func (f *Facts) echoes() *icmp.Result { return cmp.Or(f.ICMP, &noEchoes) }

func (f *Facts) replies(m collectors.Method) *ike.Result {
	switch {
	case f.IKE != nil && m == collectors.IKE:
		return &f.IKE.IKE
	case f.IKE != nil && m == collectors.NATT:
		return &f.IKE.NATT
	}
	return &noReplies
}

func (f *Facts) wayBack() *pmtu.Reverse { return &cmp.Or(f.PMTU, &noPaths).Reverse }

func (f *Facts) wayOut() *pmtu.Forward { return &cmp.Or(f.PMTU, &noPaths).Forward }

func (f *Facts) fragmented(m collectors.Method) fragments.Result {
	return cmp.Or(f.Fragments, &fragments.Results{}).Of(m)
}

func (f *Facts) passage(p protocols.Protocol) protocols.Result {
	return cmp.Or(f.Protocols, &protocols.Results{}).Of(p)
}

func (f *Facts) search(m collectors.Method) *pmtu.Result {
	if f.PMTU != nil {
		for i := range f.PMTU.Results {
			if r := &f.PMTU.Results[i]; r.Method == m {
				return r
			}
		}
	}
	return &noSearches[m]
}
