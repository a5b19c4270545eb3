package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// notTested is why something is unknown that no measurement was made for.
const notTested = "not tested"

// unknowns are what the measurements in the report could not tell, in addition to what their makers have noted already.
func (r *Report) unknowns() []Unknown {
	if r.Address == "" {
		return nil // the name was not resolved, and nothing measured: Errors say so
	}
	var out []Unknown
	add := func(what, why string) {
		if !slices.ContainsFunc(slices.Concat(r.Unknown, out), func(u Unknown) bool { return u.What == what }) {
			out = append(out, Unknown{What: what, Why: cmp.Or(why, "no reason is known")})
		}
	}
	if i := r.ICMP; i != nil && i.State == "unknown" {
		add("whether ICMP echo is answered", i.Reason)
	}
	for i := range r.IKE {
		r.IKE[i].unknowns(add)
	}
	for i := range r.MTU {
		if m := &r.MTU[i]; m.rank() < 0 {
			add("the path MTU by "+m.Method, m.Reason)
		}
	}
	r.placeUnknown(add)
	switch b := r.Reverse; {
	case b == nil:
		add("the path MTU of the way back", notTested)
	case b.State == "unknown":
		add("the path MTU of the way back", b.Reason)
	}
	for _, name := range []string{"esp", "ah"} {
		switch p := r.protocol(name); {
		case p == nil:
			add("whether "+strings.ToUpper(name)+" passes", notTested)
		case p.State == "unknown":
			add("whether "+strings.ToUpper(name)+" passes", p.Reason)
		}
	}
	return out
}

func (i *IKE) unknowns(add func(what, why string)) {
	if i.State == "unknown" {
		add(fmt.Sprintf("whether IKE is answered on UDP port %d", i.Port), i.Reason)
	}
	fragments := fmt.Sprintf("whether IP fragments of UDP port %d pass", i.Port)
	switch i.Fragments {
	case "":
		add(fragments, notTested)
	case "unknown":
		add(fragments, i.FragmentsReason)
	}
}

// placeUnknown says that it is not known where a black hole is.
func (r *Report) placeUnknown(add func(what, why string)) {
	for i := range r.MTU {
		m := &r.MTU[i]
		switch {
		case m.State != "black_hole" || r.placed(m.Bytes):
		case len(r.Hops) == 0:
			add("between which routers large packets vanish", "the routers on the way were not asked, or do not answer")
		default:
			add("between which routers large packets vanish", "too few of the routers on the way answer")
		}
	}
}

// caveats are what such measurements can never show, as far as it matters here.
func (r *Report) caveats() (out []string) {
	answers, silent := r.ikeIs("responding"), r.ikeIs("silent")
	if r.ICMP != nil && r.ICMP.State == "silent" {
		out = append(out, "ICMP echo is not answered: whether the path filters it or the peer itself does not answer is not told.")
	}
	if silent {
		out = append(out, "Silence of IKE is not proof: a gateway may answer only the peers that it is configured for. Measured from the address of such a peer, silence says more.")
	}
	if answers {
		out = append(out, "IKE answers are not authenticated: who sees the requests on the way could forge answers.",
			"An answered IKE message shows that its port passes, and that something there speaks IKE. It does not show that a tunnel can be negotiated.")
	}
	if p := r.protocol("esp"); p == nil || p.State != "passes" {
		out = append(out, "Silence of ESP proves nothing: a gateway does not answer ESP that it has no SA for. Only a router's or the peer's own ICMP error shows how far it got.")
	}
	if r.Reverse == nil {
		out = append(out, "The replies of IKE are small: sizes found by ike and natt are those of the way there. An echo goes both ways, and a black hole that only icmp shows may be on the way back.")
	}
	if r.sizesDiffer() {
		out = append(out, "Methods found different sizes. A path MTU belongs to a flow: a provider that spreads flows over several links can have several, and filters may know protocols.")
	}
	if r.hidden() {
		out = append(out, "Packets left here from "+r.Source+", a private address: the provider and the peer see the address of a NAT in between, and that device is part of the path that was measured.")
	}
	return append(out, "All of it is true of the time of the measurement. A fault that comes and goes needs measurements over time.")
}

// ikeIs tells whether IKE has a state on any port.
func (r *Report) ikeIs(state string) bool {
	return slices.ContainsFunc(r.IKE, func(i IKE) bool { return i.State == state })
}

// sizesDiffer tells whether methods found different path MTUs.
func (r *Report) sizesDiffer() bool {
	size := 0
	for i := range r.MTU {
		m := &r.MTU[i]
		if m.rank() < 0 {
			continue
		}
		if size != 0 && size != m.Bytes {
			return true
		}
		size = m.Bytes
	}
	return false
}

// placed tells whether it is known by any method where packets of more than so many bytes vanish.
func (r *Report) placed(bytes int) bool {
	return slices.ContainsFunc(r.MTU, func(m MTU) bool { return m.Bytes == bytes && m.where() != "" })
}
