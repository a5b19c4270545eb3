package gateways

import (
	"slices"
	"time"
)

// An Observation is what one reading says about one peer, as far as later verdicts need it.
type Observation struct {
	At time.Time
	// Up, IKEUp and ChildUp are as in PeerReading.
	Up             Answer
	IKEUp, ChildUp bool
	// NoIKE says that the gateway knows child SAs only.
	NoIKE bool
	// IKESAs and ChildSAs count all; Closing are those of both that are being deleted, or left of one that was.
	IKESAs, ChildSAs, Closing int
	// State and VendorState are those of the IKE SA that is still on its way up, IKEUnknown if there is none.
	State       IKEState
	VendorState string
	// In and Out are packets since the gateway is read; they never shrink.
	In, Out Count
	// PathMTU is what the gateway believes, 0 if unknown.
	PathMTU int
	// NATT is whether the children in use are encapsulated in UDP, unknown where they differ.
	NATT Answer
}

// observe makes the observation of one peer out of a reading.
func observe(p *PeerReading, a *Accumulator, at time.Time) Observation {
	in, out := a.Traffic(p.Peer)
	o := Observation{
		At: at, Up: p.Up, IKEUp: p.IKEUp(), ChildUp: p.ChildUp(), IKESAs: p.IKESAs, ChildSAs: p.ChildSAs, Closing: p.closing(),
		In: in.Packets, Out: out.Packets, PathMTU: p.PathMTU, NATT: p.NATT,
	}
	if p.Negotiating != nil {
		o.State, o.VendorState = p.Negotiating.State, tidy(p.Negotiating.VendorState)
	}
	return o
}

// What is remembered of a peer: the last readings, and all of the last minutes, so that short intervals do not shorten the time that can be
// looked back. At the usual interval of 30 s these are ten readings.
const (
	keptReadings = 10
	keptTime     = 150 * time.Second
)

// History are the observations of one peer at one gateway, the newest last. A reading that failed is not in it.
type History struct {
	// Expected and OnDemand are those of the peer: they say what an absent SA means.
	Expected, OnDemand bool
	Observations       []Observation

	// childless and absent are since when, without a break, there is no child, or no SA; zero where there is one.
	childless, absent time.Time
}

// Add remembers one more observation. What was handed out before stays as it is.
func (h *History) Add(o *Observation) {
	since(&h.childless, o.Up == No && o.IKEUp && !o.ChildUp, o.At)
	since(&h.absent, o.Up == No && o.IKESAs+o.ChildSAs == o.Closing, o.At)
	keep := h.Observations
	for len(keep) >= keptReadings && o.At.Sub(keep[0].At) > keptTime {
		keep = keep[1:]
	}
	h.Observations = append(slices.Clip(keep), *o)
}

// forget drops all that was observed.
func (h *History) forget() { h.Observations, h.childless, h.absent = nil, time.Time{}, time.Time{} }

// since keeps the time since when something is so, zero while it is not.
func since(begun *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*begun = time.Time{}
	case begun.IsZero():
		*begun = now
	}
}

// quiet tells whether nothing but absence is remembered.
func (h *History) quiet() bool {
	return !slices.ContainsFunc(h.Observations, func(o Observation) bool { return o.IKESAs+o.ChildSAs > 0 })
}

// ChildMissing tells since when an IKE SA is established and no child installed with it, zero if that is not so: one that is only being
// negotiated carries nothing. The caller decides how long a rekey may take. Where an idle tunnel is no fault, nobody can tell.
func (h *History) ChildMissing() time.Time {
	if h.OnDemand {
		return time.Time{}
	}
	return h.childless
}

// NoSA tells since when there is no SA but what is left of old ones, zero if there is one, or if its absence is no fault.
func (h *History) NoSA() time.Time {
	if h.OnDemand || !h.Expected {
		return time.Time{}
	}
	return h.absent
}
