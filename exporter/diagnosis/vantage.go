package diagnosis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/suite"
)

// VantageSuspect is the name of the diagnosis that a fault lies near this host.
const VantageSuspect = "vantage_suspect"

// Suspicion is whether the fault of a peer lies on the path that all peers share.
type Suspicion struct {
	State State
	// Measured is when the oldest of the measurements was made that the state rests on.
	Measured time.Time
	Evidence []string
	// Congested means that this host's own queue drops probes to the peer, or did so shortly before: it
	// is not known what a silence means.
	Congested bool
	// Share is the share that the queue drops, or dropped.
	Share float64
}

// vantageSuspect: the fault lies near this host, so no other diagnosis may be held against the peer
// or its provider. How sure it is stands at Vantage.
func (f *Facts) vantageSuspect() (claim, text) {
	s := &f.Vantage
	return when(s.State != Undecided, s.State == Holds, s.Measured), func() (string, []string) {
		if s.Congested {
			return "This host's own uplink is full: its queue drops probes, so silence says nothing about the peer or its provider.", s.Evidence
		}
		return "The same is wrong elsewhere at the same time: look at this host's own uplink before blaming the peer's provider.", s.Evidence
	}
}

// A Control is the newest result of a reliable address beyond this host's own uplink.
type Control struct {
	// State is Holds where it fails, Absent where it is fine.
	State State
	// Measured is when the oldest result was measured that State rests on.
	Measured time.Time
	Evidence string
	// Answers means that it answers echoes, even if its path MTU is not known: then it is not
	// certain that every control fails.
	Answers bool
}

// JudgeControl judges a control by its echoes and, unless f.PMTU is nil, by the search for its path
// MTU. It fails where it is silent or behind a black hole, in either direction; it is fine where
// all that is measured is known to be well.
func JudgeControl(addr netip.Addr, f *Facts) Control {
	silent, evidence := f.silent(collectors.ICMP), f.reachEvidence(collectors.ICMP)
	c := silent
	if f.PMTU != nil {
		r := f.search(collectors.ICMP)
		c = or(silent, foundHole(r))
		if foundHole(r).state == Holds {
			evidence = searchEvidence(r)
		}
	}
	return Control{
		State: c.state, Measured: c.at, Evidence: fmt.Sprintf("control %s: %s", addr, evidence), Answers: silent.state == Absent,
	}
}

// A Standing is the state of one peer, for a Vantage.
type Standing struct {
	Peer string
	// ISP is the value of its label isp, empty if it has none.
	ISP string
	// Interface is the one by which its probes leave this host, empty if that is not known.
	Interface string
	// Intervals are the intervals of its collectors.
	Intervals suite.Intervals
	// Echoes is whether one of the last three echoes was answered, Unanswered means that one was not.
	Echoes     icmp.State
	Unanswered bool
	// Measured means that it is known whether the peer is healthy.
	Measured bool
	// Held are the diagnoses that hold.
	Held []Held
}

// every returns how often it is measured whether a fault holds: the interval of the rare
// collectors, where these alone show it; else the longest of the others.
func (s *Standing) every(fault string) (longest time.Duration) {
	usual := suite.Reach().With(suite.PMTU)
	confirming := Confirming([]string{fault})
	if confirming == 0 || confirming&usual != 0 {
		confirming = usual
	}
	for c := range confirming.All() {
		longest = max(longest, s.Intervals[c])
	}
	return longest
}

// A Vantage separates the faults near this host from the faults of the peers' providers. The zero
// Vantage is ready, and may be used from any goroutine.
//
//	Standings, Controls --Update--> Suspicion of each peer --> its Facts --> vantage_suspect
//
// A peer at which a fault holds is suspect in two cases:
//
//   - Every control that is known fails too.
//   - The fault is part of an outbreak: within two intervals the same fault newly appeared at three
//     peers or more, of two named providers or more, and at half of all measured peers or more; or at
//     ten peers or more whose providers are not named, and at a quarter of all measured peers or more.
//
// A peer is suspect without a fault, too, while the queue of this host drops probes on the interface
// by which it is measured. Until two intervals of echo and IKE after that no other diagnosis of its path
// is raised, unless it rests on more unanswered requests than the dropped share explains.
//
// icmp_blocked never counts: as a rule it is a policy of the peer. A fault newly appeared if it was
// known to be absent before, so a restart, which finds all old faults at once, is no outbreak.
//
// When neither is the case any more, the peers that were suspect and have not recovered are unknown
// for two intervals: otherwise the last ones to recover would be blamed for a fault that was not
// theirs.
type Vantage struct {
	mu   sync.Mutex
	past map[string]outbreak // by fault; that of the controls by ""
	// congested are the queues that drop probes, or did so shortly before, and when that was last found.
	congested map[string]congested
	// clear are the peers about which there is no suspicion, as of compared; status has that of the
	// others of which it is known.
	clear    map[string]struct{}
	compared time.Time
	status   map[string]Suspicion
}

// A congested queue. Its Share is the largest one of the last two intervals, which was found at peak.
type congested struct {
	Congestion
	seen, peak time.Time
}

// An outbreak is one reason for suspicion.
type outbreak struct {
	// peers are the peers that it is about, and since when each has the fault; nil means all peers,
	// for an outbreak of the controls.
	peers    map[string]time.Time
	seen     time.Time // when it was last found
	measured time.Time
	evidence []string
}

// Update takes all peers and controls, and the queues that drop probes, by interface; now must be of
// the same clock as the times in them.
func (v *Vantage) Update(now time.Time, peers []Standing, controls []Control, full map[string]Congestion) {
	v.mu.Lock()
	defer v.mu.Unlock()
	current := outbreaks(peers)
	failing := controlsFail(controls)
	if failing.State == Holds {
		current[""] = outbreak{measured: failing.Measured, evidence: failing.Evidence}
	}
	if v.past == nil {
		v.past, v.congested = make(map[string]outbreak), make(map[string]congested)
	}
	for fault, o := range current {
		o.seen = now
		v.past[fault] = o
	}
	var longest time.Duration
	for i := range peers {
		longest = max(longest, slices.Max(peers[i].Intervals[:]))
	}
	for device, c := range full {
		peak := now
		if before, ok := v.congested[device]; ok && before.Share > c.Share && now.Sub(before.peak) <= 2*longest {
			c.Share, peak = before.Share, before.peak
		}
		v.congested[device] = congested{c, now, peak}
	}
	v.note(now, peers, len(controls) > 0 && failing.State == Undecided)
	for fault, o := range v.past {
		if now.Sub(o.seen) > 2*longest {
			delete(v.past, fault)
		}
	}
	for device, c := range v.congested {
		if now.Sub(c.seen) > 2*longest {
			delete(v.congested, device)
		}
	}
}

// Of returns the suspicion about a peer, as of the last Update.
func (v *Vantage) Of(peer string) Suspicion {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.clear[peer]; ok {
		return Suspicion{State: Absent, Measured: v.compared}
	}
	return v.status[peer]
}

// note keeps the suspicion about each peer. Almost all of thousands of peers are clear of it.
func (v *Vantage) note(now time.Time, peers []Standing, uncertain bool) {
	if v.clear == nil {
		v.clear, v.status = make(map[string]struct{}, len(peers)), make(map[string]Suspicion)
	}
	clear(v.clear)
	clear(v.status)
	v.compared = now
	for i := range peers {
		p := &peers[i]
		s := v.hold(now, p, v.judge(now, p, uncertain))
		switch {
		case s.State == Absent && s.Measured.Equal(now) && !s.Congested && len(s.Evidence) == 0:
			v.clear[p.Peer] = struct{}{}
		case s.State != Undecided || s.Congested:
			v.status[p.Peer] = s
		}
	}
}

// hold returns the suspicion about one peer, given the one of the other peers and the controls. The
// lock is held.
func (v *Vantage) hold(now time.Time, p *Standing, s Suspicion) Suspicion {
	c, ok := v.congested[p.Interface]
	switch {
	case !ok || now.Sub(c.seen) > 2*max(p.Intervals[suite.ICMP], p.Intervals[suite.IKE]):
		return s
	case c.seen.Equal(now):
		return Suspicion{State: Holds, Measured: c.Measured, Evidence: append(slices.Clip(s.Evidence), c.Evidence), Congested: true, Share: c.Share}
	}
	s.Congested, s.Share = true, c.Share // what was measured meanwhile
	return s
}

// judge returns the suspicion about one peer. uncertain means that it is not known whether the
// controls fail. The lock is held.
func (v *Vantage) judge(now time.Time, p *Standing, uncertain bool) Suspicion {
	if !p.Measured {
		return Suspicion{}
	}
	unknown, faulty := uncertain, false
	for i := range p.Held {
		if !counts(p.Held[i].Name) {
			continue
		}
		faulty = true
		for _, fault := range []string{"", p.Held[i].Name} {
			o, ok := v.past[fault]
			since, member := o.peers[p.Peer]
			switch {
			case !ok || o.peers != nil && (!member || !since.Equal(p.Held[i].Since)):
			case o.seen.Equal(now):
				return Suspicion{State: Holds, Measured: o.measured, Evidence: o.evidence}
			case now.Sub(o.seen) <= 2*p.every(fault) && (o.peers != nil || !p.Held[i].Since.After(o.seen)):
				unknown = true
			}
		}
	}
	if unknown && faulty {
		return Suspicion{}
	}
	return Suspicion{State: Absent, Measured: now}
}

// counts reports whether a diagnosis is a fault that may come from near this host.
func counts(name string) bool { return name != ICMPBlocked && name != VantageSuspect }

// controlsFail returns whether all controls fail of which anything is known.
func controlsFail(controls []Control) Suspicion {
	var known []claim
	var evidence []string
	for _, c := range controls {
		switch {
		case c.State != Undecided && !c.Measured.IsZero():
			known = append(known, claim{state: c.State, at: c.Measured})
			evidence = append(evidence, c.Evidence)
		case c.Answers:
			known = append(known, claim{state: Undecided})
		}
	}
	if len(known) == 0 {
		return Suspicion{}
	}
	all := and(known...)
	return Suspicion{State: all.state, Measured: all.at, Evidence: evidence}
}

type onset struct {
	*Standing
	since, confirmed time.Time
}

// outbreaks returns the faults that broke out at many peers together.
func outbreaks(peers []Standing) map[string]outbreak {
	onsets := make(map[string][]onset)
	measured := 0
	for i := range peers {
		p := &peers[i]
		if !p.Measured {
			continue
		}
		measured++
		for _, h := range p.Held {
			if !counts(h.Name) || !h.Appeared {
				continue
			}
			o := onset{p, h.Since, h.Confirmed}
			// Several gateways show a fault of one peer; the first one counts.
			if all := onsets[h.Name]; len(all) > 0 && all[len(all)-1].Standing == p {
				if o.since.Before(all[len(all)-1].since) {
					all[len(all)-1] = o
				}
				continue
			}
			onsets[h.Name] = append(onsets[h.Name], o)
		}
	}
	out := make(map[string]outbreak)
	for fault, all := range onsets {
		if some := together(fault, all, measured); some != nil {
			out[fault] = describe(fault, some, measured)
		}
	}
	return out
}

// together returns the most onsets within two intervals, nil if too few or of one provider.
func together(fault string, all []onset, measured int) (most []onset) {
	slices.SortFunc(all, func(a, b onset) int {
		return cmp.Or(a.since.Compare(b.since), strings.Compare(a.Peer, b.Peer))
	})
	var longest time.Duration
	for _, o := range all {
		longest = max(longest, o.every(fault))
	}
	first := 0
	for last := range all {
		for all[last].since.Sub(all[first].since) > 2*longest {
			first++
		}
		some := all[first : last+1]
		if len(some) >= len(most) && (acrossProviders(some, measured) || unnamed(some, measured)) {
			most = some
		}
	}
	return most
}

// acrossProviders reports whether onsets at peers of several providers are an outbreak.
func acrossProviders(onsets []onset, measured int) bool {
	return len(onsets) >= 3 && 2*len(onsets) >= measured && len(providers(onsets)) >= 2
}

// unnamed reports whether onsets at peers whose providers are not named are an outbreak.
func unnamed(onsets []onset, measured int) bool {
	n := 0
	for _, o := range onsets {
		if o.ISP == "" {
			n++
		}
	}
	return n >= 10 && 4*n >= measured
}

// providers returns the names of the different providers, sorted.
func providers(onsets []onset) []string {
	var names []string
	for _, o := range onsets {
		if o.ISP != "" {
			names = append(names, o.ISP)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// shownSince is when the oldest measurement was made of those onsets that were measured last and are an
// outbreak by themselves. That of all onsets would be older the more peers there are: with thousands of
// silent ones, which are asked ever less, one of them was last asked long ago.
func shownSince(onsets []onset, measured int) time.Time {
	newest := slices.SortedFunc(slices.Values(onsets), func(a, b onset) int { return b.confirmed.Compare(a.confirmed) })
	n := sort.Search(len(newest), func(i int) bool {
		some := newest[:i+1]
		return acrossProviders(some, measured) || unnamed(some, measured)
	})
	return newest[min(n, len(newest)-1)].confirmed
}

// shownProviders is how many providers the evidence names.
const shownProviders = 5

func describe(fault string, onsets []onset, measured int) outbreak {
	out := outbreak{peers: make(map[string]time.Time, len(onsets)), measured: shownSince(onsets, measured)}
	for _, o := range onsets {
		out.peers[o.Peer] = o.since
	}
	names := providers(onsets)
	more := ""
	if n := len(names) - shownProviders; n > 0 {
		names, more = names[:shownProviders], fmt.Sprintf(" and %d more", n)
	}
	of := ", of the providers " + strings.Join(names, ", ") + more
	if len(names) < 2 {
		of = "; most have no label isp, so a provider that they share looks the same as this host's uplink"
	}
	out.evidence = []string{fmt.Sprintf("%s appeared at %d of %d measured peers between %s and %s%s",
		fault, len(onsets), measured, Clock(onsets[0].since), Clock(onsets[len(onsets)-1].since), of)}
	return out
}
