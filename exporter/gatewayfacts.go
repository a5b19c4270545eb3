package exporter

import (
	"slices"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/diagnosis"
)

// trafficSpan is the shortest time over which traffic is counted: long enough to be no chance.
const trafficSpan = time.Minute

// stories are what the gateways show about the peer. One that could not be read lately has a story without readings: nothing is known, and what
// held goes on to hold.
func (p *peer) stories() []diagnosis.Gateway {
	var out []diagnosis.Gateway
	for _, g := range p.app.readers.pollers() {
		if h, ok := g.History(p.cfg.Name); ok {
			out = append(out, story(g.Name(), &h))
		}
	}
	return out
}

// unread tells whether a gateway at which the peer is expected was not read yet, well or not, or shows too little for a verdict.
func (p *peer) unread(stories []diagnosis.Gateway) bool {
	for _, g := range p.app.readers.pollers() {
		if slices.Contains(p.newest.Load().Gateways, g.Name()) && !g.Attempted() {
			return true
		}
	}
	return slices.ContainsFunc(stories, func(g diagnosis.Gateway) bool { return g.Young() })
}

// hasStory tells whether a gateway shows anything about the peer, or did at the last judgement.
func (p *peer) hasStory(gateway string) bool {
	p.verdict.mu.Lock()
	told := slices.Contains(p.verdict.told, gateway)
	p.verdict.mu.Unlock()
	return told || slices.ContainsFunc(p.app.readers.pollers(), func(g *gateways.Poller) bool {
		if g.Name() != gateway {
			return false
		}
		_, ok := g.History(p.cfg.Name)
		return ok
	})
}

// story says in the words of the diagnoses what one gateway shows.
func story(name string, h *gateways.History) diagnosis.Gateway {
	g := diagnosis.Gateway{Name: name, Expected: h.Expected, OnDemand: h.OnDemand}
	seen := h.Observations
	if len(seen) == 0 {
		return g
	}
	newest := &seen[len(seen)-1]
	g.Measured, g.NoIKE, g.Up, g.PathMTU = newest.At, newest.NoIKE, newest.Up == gateways.Yes, newest.PathMTU
	if newest.Up == gateways.Unknown {
		g.NoIKE = true // a word that no rule knows may mean that it is up
	}
	switch newest.NATT {
	case gateways.Yes:
		g.Encapsulation = diagnosis.InUDP
	case gateways.No:
		g.Encapsulation = diagnosis.Bare
	case gateways.Unknown:
	}
	for i := range seen {
		o := &seen[i]
		if o.Up == gateways.Unknown {
			continue
		}
		if g.Readings++; g.Readings == 1 {
			g.Watched = newest.At.Sub(o.At)
		}
		if o.Up == gateways.Yes {
			g.UpReadings++
		} else if o.State.Negotiating() {
			g.NegotiatingReadings++
			g.Negotiation, g.VendorState = negotiation(o.State), o.VendorState
		}
	}
	g.ChildMissingSince, g.NoSASince = h.ChildMissing(), h.NoSA()
	g.Traffic = traffic(seen)
	return g
}

func negotiation(s gateways.IKEState) diagnosis.Negotiation {
	switch s {
	case gateways.Connecting:
		return diagnosis.Connecting
	case gateways.XAuth:
		return diagnosis.XAuth
	case gateways.ModeCfg:
		return diagnosis.ModeCfg
	case gateways.IKEUnknown, gateways.Established, gateways.IKERekeying, gateways.IKEClosing:
	}
	return diagnosis.NegotiationNone
}

// traffic is what was counted over the shortest run of readings that is long enough, all of them with a child in use: while there is none,
// nothing could come in.
func traffic(seen []gateways.Observation) diagnosis.Traffic {
	newest := &seen[len(seen)-1]
	for i := range slices.Backward(seen) {
		o := &seen[i]
		if !o.ChildUp || !o.In.Known || !o.Out.Known {
			break
		}
		if newest.At.Sub(o.At) >= trafficSpan {
			return diagnosis.Traffic{From: o.At, To: newest.At, In: newest.In.Value - o.In.Value, Out: newest.Out.Value - o.Out.Value}
		}
	}
	return diagnosis.Traffic{}
}
