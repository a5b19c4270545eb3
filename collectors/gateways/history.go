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
	// IKESAs and ChildSAs count all.
	IKESAs, ChildSAs int
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

// negotiating tells whether the tunnel was on its way up, and not up.
func (o *Observation) negotiating() bool { return o.Up == No && o.State.Negotiating() }

// observe makes the observation of one peer out of a reading.
func observe(p *PeerReading, a *Accumulator, at time.Time) Observation {
	in, out := a.Traffic(p.Peer)
	o := Observation{
		At: at, Up: p.Up, IKEUp: p.IKEUp(), ChildUp: p.ChildUp(), IKESAs: p.IKESAs, ChildSAs: p.ChildSAs,
		In: in.Packets, Out: out.Packets, PathMTU: p.PathMTU, NATT: p.NATT,
	}
	if p.Negotiating != nil {
		o.State, o.VendorState = p.Negotiating.State, tidy(p.Negotiating.VendorState)
	}
	return o
}

// maxHistory is how many readings are remembered per peer: at the usual interval of 30 s, half an hour.
const maxHistory = 60

// History are the observations of one peer at one gateway, the newest last. A reading that failed is not in it.
type History struct {
	// Expected and OnDemand are those of the peer: they say what an absent SA means.
	Expected, OnDemand bool
	Observations       []Observation
}

// add remembers one more observation. What was handed out before stays as it is.
func (h *History) add(o *Observation) {
	keep := h.Observations
	if len(keep) >= maxHistory {
		keep = keep[len(keep)-maxHistory+1:]
	}
	h.Observations = append(slices.Clip(keep), *o)
}

// quiet tells whether nothing but absence is remembered.
func (h *History) quiet() bool {
	return !slices.ContainsFunc(h.Observations, func(o Observation) bool { return o.IKESAs+o.ChildSAs > 0 })
}

// newest returns the newest observation, nil if there is none.
func (h *History) newest() *Observation {
	if len(h.Observations) == 0 {
		return nil
	}
	return &h.Observations[len(h.Observations)-1]
}

// since returns the first of the unbroken run of observations, up to the newest, for which is holds; nil if it does not hold
// for the newest.
func (h *History) since(is func(*Observation) bool) *Observation {
	var first *Observation
	for i := range slices.Backward(h.Observations) {
		o := &h.Observations[i]
		if !is(o) {
			break
		}
		first = o
	}
	return first
}

// Stuck says that a tunnel tries to come up and does not get there.
type Stuck struct {
	// NotUp of the last Readings were not up, Negotiating of them showed an attempt.
	Readings, NotUp, Negotiating int
	// State and VendorState are what was seen most often where it tried, the newer of equals.
	State       IKEState
	VendorState string
	// Since is when the first reading of the unbroken run without a tunnel was made.
	Since time.Time
}

// Stuck tells whether the tunnel is not up in k of the last n readings, the newest included, and was seen to try more than
// once. A device that has given up an attempt shows nothing until it tries again, so not every reading need show one. Where
// an idle tunnel is no fault, it must: an absent SA is then no failure.
func (h *History) Stuck(k, n int) (Stuck, bool) {
	last := h.Observations[max(0, len(h.Observations)-n):]
	s := Stuck{Readings: len(last)}
	seen := map[string]int{}
	for i := range last {
		o := &last[i]
		if o.Up == No {
			s.NotUp++
		}
		if o.negotiating() {
			s.Negotiating++
			seen[o.VendorState]++
			if seen[o.VendorState] >= seen[s.VendorState] {
				s.State, s.VendorState = o.State, o.VendorState
			}
		}
	}
	down := h.since(func(o *Observation) bool { return o.Up == No })
	failures := s.NotUp
	if h.OnDemand {
		failures = s.Negotiating
	}
	if down == nil || failures < k || s.Negotiating < min(2, k) {
		return s, false
	}
	s.Since = down.At
	return s, true
}

// ChildMissing tells since when an IKE SA is established and no child with it, zero if that is not so. The caller decides how
// long a rekey may take. Where an idle tunnel is no fault, nobody can tell.
func (h *History) ChildMissing() time.Time {
	first := h.since(func(o *Observation) bool { return o.Up == No && o.IKEUp && !o.ChildUp })
	if first == nil || h.OnDemand {
		return time.Time{}
	}
	return first.At
}

// NoSA tells since when there is no SA at all, zero if there is one, or if its absence is no fault.
func (h *History) NoSA() time.Time {
	first := h.since(func(o *Observation) bool { return o.Up == No && o.IKESAs == 0 && o.ChildSAs == 0 })
	if first == nil || h.OnDemand || !h.Expected {
		return time.Time{}
	}
	return first.At
}

// OneWay says how many packets went out and came in while a child was installed all the time.
type OneWay struct {
	Since time.Time
	// Out and In are packets since then; Growths is in how many readings Out had grown.
	Out, In uint64
	Growths int
}

// minOneWay is how many packets must go out unanswered: a tunnel that somebody only sends a ping through now and then proves little.
const minOneWay = 10

// OneWay looks at the last span: it tells whether packets went out in at least three readings, ten or more, and none came in.
// Traffic that needs no answer (syslog, flow export) looks the same; a tunnel that carries nothing else is rare, but exists.
func (h *History) OneWay(span time.Duration) (OneWay, bool) {
	newest := h.newest()
	if newest == nil {
		return OneWay{}, false
	}
	run := h.since(func(o *Observation) bool {
		return o.ChildUp && o.Up != No && o.In.Known && o.Out.Known && newest.At.Sub(o.At) <= span
	})
	if run == nil {
		return OneWay{}, false
	}
	w := OneWay{Since: run.At, Out: newest.Out.Value - run.Out.Value, In: newest.In.Value - run.In.Value}
	before := run.Out.Value
	for i := range h.Observations {
		if o := &h.Observations[i]; o.At.After(run.At) {
			if o.Out.Value > before {
				w.Growths++
			}
			before = o.Out.Value
		}
	}
	return w, w.In == 0 && w.Out >= minOneWay && w.Growths >= 3
}

// PathMTU is the path MTU that the gateway believes now, 0 if unknown or without a child in use.
func (h *History) PathMTU() int {
	if o := h.newest(); o != nil {
		return o.PathMTU
	}
	return 0
}
