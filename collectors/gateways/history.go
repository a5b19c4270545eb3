package gateways

import (
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/internal/untrusted"
)

// An Observation is what one reading shows of one peer, as far as diagnoses need it.
type Observation struct {
	At time.Time
	// Up, IKEUp and ChildUp are as in PeerReading.
	Up             Answer
	IKEUp, ChildUp bool
	// NoIKE reports whether the gateway knows child SAs only.
	NoIKE bool
	// IKESAs and ChildSAs count all SAs. Closing counts the SAs of both kinds that are being
	// deleted, or remain of a deleted one.
	IKESAs, ChildSAs, Closing int
	// State and VendorState describe the IKE SA under negotiation, IKEUnknown if there is none.
	State       IKEState
	VendorState string
	// In and Out count packets since the first reading; they never shrink.
	In, Out Count
	// PathMTU is the gateway's own path MTU, 0 if unknown.
	PathMTU int
	// NATT reports whether the children in use are encapsulated in UDP, Unknown where they differ.
	NATT Answer
}

func observe(p *PeerReading, a *Accumulator, at time.Time) Observation {
	in, out := a.Traffic(p.Peer)
	o := Observation{
		At: at, Up: p.Up, IKEUp: p.IKEUp(), ChildUp: p.ChildUp(), IKESAs: p.IKESAs, ChildSAs: p.ChildSAs, Closing: p.closing(),
		In: in.Packets, Out: out.Packets, PathMTU: p.PathMTU, NATT: p.NATT,
	}
	if p.Negotiating != nil {
		o.State, o.VendorState = p.Negotiating.State, untrusted.Word(p.Negotiating.VendorState, maxWord)
	}
	return o
}

// A history holds at least the last readings, and all readings of the last minutes, so that short
// intervals do not shorten the time that it covers. At the usual interval of 30 s it holds ten
// readings.
const (
	keptReadings = 10
	keptTime     = 150 * time.Second
)

// A History is the observations of one peer at one gateway, the newest last. It has no observation
// of a reading that failed.
type History struct {
	// Expected and OnDemand come from the peer, and say what an absent SA means.
	Expected, OnDemand bool
	Observations       []Observation

	// childless and absent are the times since when there is no child, or no SA, without
	// interruption; zero where there is one.
	childless, absent time.Time
}

// Add appends an observation. Copies of the History that were returned before do not change.
func (h *History) Add(o *Observation) {
	since(&h.childless, o.Up == No && o.IKEUp && !o.ChildUp, o.At)
	since(&h.absent, o.Up == No && o.IKESAs+o.ChildSAs == o.Closing, o.At)
	keep := h.Observations
	for len(keep) >= keptReadings && o.At.Sub(keep[0].At) > keptTime {
		keep = keep[1:]
	}
	h.Observations = append(slices.Clip(keep), *o)
}

func (h *History) forget() { h.Observations, h.childless, h.absent = nil, time.Time{}, time.Time{} }

// since sets begun to the time since when is holds without interruption, zero while it does not.
func since(begun *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*begun = time.Time{}
	case begun.IsZero():
		*begun = now
	}
}

func (h *History) quiet() bool {
	return !slices.ContainsFunc(h.Observations, func(o Observation) bool { return o.IKESAs+o.ChildSAs > 0 })
}

// ChildMissing returns the time since when an IKE SA is established without an installed child,
// zero if that is not so: a child that is being negotiated carries no traffic. The caller decides
// how long a rekey may take. For a tunnel that comes up on demand the result is zero, because there
// an idle tunnel is not a fault.
func (h *History) ChildMissing() time.Time {
	if h.OnDemand {
		return time.Time{}
	}
	return h.childless
}

// NoSA returns the time since when there is no SA, apart from remains of deleted ones. It is zero
// if there is one, or if its absence is not a fault.
func (h *History) NoSA() time.Time {
	if h.OnDemand || !h.Expected {
		return time.Time{}
	}
	return h.absent
}

type histories struct {
	maxAge time.Duration // of a reading that still describes the present

	mu       sync.Mutex
	of       map[string]*History
	good     time.Time // the end of the last successful reading
	failures int       // in a row, since then
}

// setPeers drops the histories of peers that are gone. The newest reading is the first one of those
// that are new.
func (hs *histories) setPeers(peers *Attribution, reading *Reading, a *Accumulator) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.current() {
		for _, name := range hs.open(reading) {
			hs.of[name].observe(reading, a, name, hs.good)
		}
	}
	for name, h := range hs.of {
		if i, ok := peers.byName[name]; ok {
			h.Expected, h.OnDemand = reading.expects(name), peers.peers[i].OnDemand
		} else {
			delete(hs.of, name)
		}
	}
}

func (hs *histories) add(reading *Reading, a *Accumulator, at time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if at.Sub(hs.good) > hs.maxAge { // earlier observations may not have lasted until now
		for _, h := range hs.of {
			h.forget()
		}
	}
	hs.good, hs.failures = at, 0
	hs.open(reading)
	for name, h := range hs.of {
		if h.observe(reading, a, name, at); !h.Expected && h.quiet() {
			delete(hs.of, name)
		}
	}
}

// open begins a history for each peer that a reading shows and that has none. It returns their names.
// The lock is held.
func (hs *histories) open(reading *Reading) (names []string) {
	for i := range reading.Peers {
		r := &reading.Peers[i]
		if r.Of != nil && hs.of[r.Peer] == nil {
			hs.of[r.Peer] = &History{OnDemand: r.Of.OnDemand}
			names = append(names, r.Peer)
		}
	}
	return names
}

// observe adds what a reading shows of the peer of that name.
func (h *History) observe(reading *Reading, a *Accumulator, name string, at time.Time) {
	r := reading.Find(name)
	if r == nil { // not expected at this gateway, and its SAs have gone
		r = &PeerReading{Peer: name}
		r.Up = reading.up(r)
	}
	h.Expected = reading.expects(name)
	o := observe(r, a, at)
	o.NoIKE = reading.NoIKE
	h.Add(&o)
}

// fail counts a reading that failed.
func (hs *histories) fail() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.failures++
}

func (hs *histories) settled() bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.failures >= 2 || hs.current()
}

// current reports whether the last successful reading still describes the present. The lock is held.
func (hs *histories) current() bool { return time.Since(hs.good) <= hs.maxAge }

func (hs *histories) get(peer string) (History, bool) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.of[peer]
	switch {
	case h == nil:
		return History{}, false
	case !hs.current():
		return History{Expected: h.Expected, OnDemand: h.OnDemand}, true
	}
	return *h, true
}
