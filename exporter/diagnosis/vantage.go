package diagnosis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
)

// Suspicion is whether what is wrong with a peer is the work of what lies between this host and all of its peers.
type Suspicion struct {
	State State
	// Measured is when the oldest of the measurements was made that the state rests on.
	Measured time.Time
	Evidence []string
}

// vantageSuspect: the fault lies near this host, so nothing else that is diagnosed may be held against the peer or its provider.
// A Vantage says how that is told.
func (f *Facts) vantageSuspect() Verdict {
	s := &f.Vantage
	return verdict(VantageSuspect, "", when(s.State != Undecided && !s.Measured.IsZero(), s.State == Holds, s.Measured), func() (string, []string) {
		return "The same is wrong elsewhere at the same time: look at this host's own uplink before blaming the peer's provider.", s.Evidence
	})
}

// A Control is the newest result about a well-behaved address beyond the own edge.
type Control struct {
	// State is Holds where it fails, Absent where it is fine, Undecided where that is not known.
	State State
	// Measured is when the oldest result was measured that State rests on.
	Measured time.Time
	Evidence string
	// Answers is whether it answers echoes, whatever is known of its path MTU: then not every control fails for certain.
	Answers bool
}

// JudgeControl judges a control by its echoes and, if this host can measure that, its path MTU; else mtu is nil. It fails where it is
// silent or behind a black hole, in either direction; it is fine where all that is measured is known to be well.
func JudgeControl(addr netip.Addr, echo Reach, mtu *MTU) Control {
	silent := echo.is(Silent)
	c, evidence := silent, echo.evidence(collectors.ICMP)
	if mtu != nil {
		c = or(silent, mtu.blackHole())
		if mtu.blackHole().state == Holds {
			evidence = mtu.evidence(collectors.ICMP)
		}
	}
	return Control{
		State: c.state, Measured: c.at, Evidence: fmt.Sprintf("control %s: %s", addr, evidence), Answers: silent.state == Absent,
	}
}

// A Standing is what is known of one peer, for a Vantage.
type Standing struct {
	Peer string
	// ISP is the value of its label isp, empty if it has none.
	ISP string
	// Interval is the longest of those of its collectors that find faults; Intervals are those of the faults that others find.
	Interval  time.Duration
	Intervals map[string]time.Duration
	// Measured is whether its health is known, one way or the other.
	Measured bool
	// Held are the diagnoses that hold.
	Held []Held
}

// every is how often it is measured whether a fault holds.
func (s *Standing) every(fault string) time.Duration {
	if d, ok := s.Intervals[fault]; ok {
		return d
	}
	return s.Interval
}

// A Vantage tells the faults of this host's surroundings from those of the peers' providers. It is ready as it is, and may
// be used from any goroutine.
//
//	Standings of all peers, Controls --Update--> Suspicion of each peer --> its Facts --> vantage_suspect
//
// A peer at which a fault holds is suspect in two cases:
//
//   - Every control that is known fails too.
//   - The fault is part of an outbreak: within two intervals the same fault newly appeared at three peers or more, of two
//     providers or more that are named, and at half of all measured peers or more.
//
// icmp_blocked never counts: it is somebody's policy, as a rule. Newly appeared is what was known to be absent before, so a
// restart, which finds all old faults at once, is no outbreak.
//
// When neither is the case any more, nothing is said for two intervals about the peers that were suspect and that have
// not recovered yet: else the last ones to recover would be blamed for what was never theirs. A peer without a fault is
// never suspect.
type Vantage struct {
	mu     sync.Mutex
	past   map[string]affair // by fault, and that of the controls by ""
	status map[string]Suspicion
}

// An affair is one reason for suspicion.
type affair struct {
	// peers are those that it is about, since when each has the fault; for the controls all, and then it is nil.
	peers    map[string]time.Time
	seen     time.Time // when it was last so
	measured time.Time
	evidence []string
}

// Update takes the standings of all peers, and the controls. The time must be of the same clock as all others.
func (v *Vantage) Update(now time.Time, peers []Standing, controls []Control) {
	v.mu.Lock()
	defer v.mu.Unlock()
	current := outbreaks(peers)
	failing := controlsFail(controls)
	if failing.State == Holds {
		current[""] = affair{measured: failing.Measured, evidence: failing.Evidence}
	}
	if v.past == nil {
		v.past = make(map[string]affair)
	}
	for fault, a := range current {
		a.seen = now
		v.past[fault] = a
	}
	v.status = make(map[string]Suspicion, len(peers))
	var longest time.Duration
	for i := range peers {
		longest = max(longest, peers[i].Interval)
		for _, d := range peers[i].Intervals {
			longest = max(longest, d)
		}
		v.status[peers[i].Peer] = v.judge(now, &peers[i], len(controls) > 0 && failing.State == Undecided)
	}
	for fault, a := range v.past {
		if now.Sub(a.seen) > 2*longest {
			delete(v.past, fault)
		}
	}
}

// Of is the suspicion about a peer, as of the last Update.
func (v *Vantage) Of(peer string) Suspicion {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status[peer]
}

// judge says what is suspected of one peer. The lock is held.
func (v *Vantage) judge(now time.Time, p *Standing, blind bool) Suspicion {
	if !p.Measured {
		return Suspicion{}
	}
	unknown, faulty := blind, false
	for i := range p.Held {
		if !counts(p.Held[i].Name) {
			continue
		}
		faulty = true
		for _, fault := range []string{"", p.Held[i].Name} {
			a, ok := v.past[fault]
			since, member := a.peers[p.Peer]
			switch {
			case !ok || a.peers != nil && (!member || !since.Equal(p.Held[i].Since)):
			case a.seen.Equal(now):
				return Suspicion{State: Holds, Measured: a.measured, Evidence: a.evidence}
			case now.Sub(a.seen) <= 2*p.every(fault) && (a.peers != nil || !p.Held[i].Since.After(a.seen)):
				unknown = true
			}
		}
	}
	if unknown && faulty {
		return Suspicion{}
	}
	return Suspicion{State: Absent, Measured: now}
}

// counts tells whether a diagnosis is a fault that may come from near this host.
func counts(name string) bool { return name != ICMPBlocked && name != VantageSuspect }

// controlsFail tells whether all controls fail of which anything is known.
func controlsFail(controls []Control) Suspicion {
	var known []claim
	var evidence []string
	for _, c := range controls {
		switch {
		case c.State != Undecided && !c.Measured.IsZero():
			known = append(known, claim{c.State, c.Measured})
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

// An onset is the beginning of a fault at one peer.
type onset struct {
	*Standing
	since, confirmed time.Time
}

// outbreaks are the faults that broke out at many peers together.
func outbreaks(peers []Standing) map[string]affair {
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
	out := make(map[string]affair)
	for fault, all := range onsets {
		if together := outbreak(fault, all, measured); together != nil {
			out[fault] = describe(fault, together, measured)
		}
	}
	return out
}

// outbreak are the most onsets within two intervals, nil if they are too few of all measured peers or of one provider.
func outbreak(fault string, all []onset, measured int) (most []onset) {
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
		if len(some) >= 3 && 2*len(some) >= measured && len(some) >= len(most) && len(providers(some)) >= 2 {
			most = some
		}
	}
	return most
}

// providers are the different named ones, sorted.
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

// shownProviders is how many are named in evidence.
const shownProviders = 5

// describe makes an affair of an outbreak.
func describe(fault string, onsets []onset, measured int) affair {
	a := affair{peers: make(map[string]time.Time, len(onsets))}
	for i, o := range onsets {
		a.peers[o.Peer] = o.since
		if i == 0 || o.confirmed.Before(a.measured) {
			a.measured = o.confirmed
		}
	}
	names := providers(onsets)
	more := ""
	if n := len(names) - shownProviders; n > 0 {
		names, more = names[:shownProviders], fmt.Sprintf(" and %d more", n)
	}
	a.evidence = []string{fmt.Sprintf("%s appeared at %d of %d measured peers between %s and %s, of the providers %s%s",
		fault, len(onsets), measured, clock(onsets[0].since), clock(onsets[len(onsets)-1].since), strings.Join(names, ", "), more)}
	return a
}
