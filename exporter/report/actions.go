package report

import (
	"slices"
	"strings"

	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
)

// An Addressee is who can repair a fault.
type Addressee string

// The addressees.
const (
	// Provider is the provider of the path, Site the own network, PeerOwner the peer's
	// administrator.
	Provider  Addressee = "provider"
	Site      Addressee = "site"
	PeerOwner Addressee = "peer"
)

// A Request is what is requested of one addressee.
type Request struct {
	Addressee
	// Actions are the first requests of each diagnosis, numbered throughout the report. Details are
	// the other ones.
	Actions []Action
	Details []string
}

// An Action is a numbered request.
type Action struct {
	Number int
	Text   string
}

// Requests returns the requests by addressee, in the order of the diagnoses.
func (d *document) Requests() (out []Request) {
	found := d.Found()
	var order []Addressee
	for i := range found {
		if a := found[i].Advice.Addressee; !slices.Contains(order, a) {
			order = append(order, a)
		}
	}
	number := 0
	for _, to := range order {
		r := Request{Addressee: to}
		for i := range found {
			if a := found[i].Advice; a.Addressee == to {
				r.add(a, &number)
			}
		}
		out = append(out, r)
	}
	return out
}

// add adds the requests of an advice, each once. number is the last one that was given.
func (r *Request) add(a *Advice, number *int) {
	if !slices.ContainsFunc(r.Actions, func(one Action) bool { return one.Text == a.Request[0] }) {
		*number++
		r.Actions = append(r.Actions, Action{*number, a.Request[0]})
	}
	for _, more := range a.Request[1:] {
		if !slices.Contains(r.Details, more) {
			r.Details = append(r.Details, more)
		}
	}
}

// NamesPorts reports whether an action is about a port or an IP protocol, which people confuse.
func (d *document) NamesPorts() bool {
	return slices.ContainsFunc(d.Advice, func(a Advice) bool {
		return len(a.Request) > 0 && (strings.Contains(a.Request[0], "UDP") || strings.Contains(a.Request[0], "IP protocol"))
	})
}

// ISP is the name of the peer's provider, from its label; empty if it has none.
func (d *document) ISP() string { return d.Labels["isp"] }

// Holds reports whether a diagnosis holds.
func (d *document) Holds(name string) bool {
	return slices.ContainsFunc(d.Diagnoses, func(h diagnosis.Held) bool { return h.Name == name })
}

// A Finding is a diagnosis in the summary.
type Finding struct {
	diagnosis.Held
	Number int
	Advice *Advice
}

// byWeight compares diagnoses by what matters first: a suspicion of the own network, which explains
// others, then the worst.
func byWeight(a, b *diagnosis.Held) int {
	nearby := func(h *diagnosis.Held) bool {
		return h.Name == diagnosis.VantageSuspect || h.Name == diagnosis.LocalFilter
	}
	near, far := nearby(a), nearby(b)
	switch {
	case near == far && a.Severity == b.Severity:
		return 0
	case near && !far, near == far && a.Severity.AtLeast(b.Severity):
		return -1
	}
	return 1
}

// Found returns the diagnoses in the order in which they matter.
func (d *document) Found() (out []Finding) {
	for i := range d.Diagnoses {
		out = append(out, Finding{Held: d.Diagnoses[i], Advice: &d.Advice[i]})
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return byWeight(&a.Held, &b.Held) })
	for i := range out {
		out[i].Number = i + 1
	}
	return out
}

// nearest returns the addressee of a diagnosis: where the fault of a path has a place in the own
// network or at the peer, not its provider.
func (d *document) nearest(name string, usual Addressee) Addressee {
	if usual != Provider {
		return usual
	}
	p := d.placeOf(name)
	hops := d.Hops()
	switch {
	case !p.before.IsValid():
		return usual
	case len(hops) > 0 && p.before == hops[0], d.Hidden() && inside(p.before) && (!p.behind.IsValid() || inside(p.behind)):
		return Site
	case p.before == d.Address && p.behind.IsValid() && len(hops) > 1 && hops[len(hops)-2] == p.behind && hops[len(hops)-1] == d.Address:
		return PeerOwner
	}
	return usual
}

// placeOf returns where the fault of a diagnosis is, as far as routers show it.
func (d *document) placeOf(name string) segment {
	switch name {
	case diagnosis.PMTUBlackHole:
		if h := d.Hole(); h != nil {
			return h.place
		}
	case diagnosis.UDP500Blocked:
		return d.stopOf(protocols.UDP500)
	case diagnosis.UDP4500Blocked:
		return d.stopOf(protocols.UDP4500)
	case diagnosis.ESPBlocked:
		return d.stopOf(protocols.ESP)
	case diagnosis.AHBlocked:
		return d.stopOf(protocols.AH)
	case diagnosis.ESPUDPBlocked:
		return d.stopOf(protocols.ESPInUDP)
	}
	return segment{}
}
