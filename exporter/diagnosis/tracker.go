package diagnosis

import (
	"slices"
	"sync"
	"time"
)

// A Tracker remembers which diagnoses of one peer hold. A diagnosis turns on after two successive verdicts, and off
// after two: one lost round is no fault.
//
//	        Holds                Holds, measured again
//	off ------------> doubted --------------------------> on     (and the same from on to off by Absent)
//	 ^                   |
//	 '-------------------'  Absent
//
// Undecided changes nothing. The second verdict counts only if everything it rests on was measured after the first one
// was given: otherwise a new result of one collector would confirm the old result of another.
//
// The zero Tracker is ready, and may be used from any goroutine.
type Tracker struct {
	mu       sync.Mutex
	latches  []*latch // in the order of the verdicts
	silent   State    // the newest verdict on peer_silent
	awaiting bool     // not everything was measured yet
}

// A latch is what is remembered of one part of one diagnosis.
type latch struct {
	part      string
	on        bool
	since     time.Time // of being on
	settled   bool      // it was seen to be as it is: it is not off just because nothing is known
	doubted   time.Time // when the first verdict against the state was given, zero if none
	diagnosis Diagnosis // of the newest verdict that it holds
}

// A Held is a diagnosis that holds, since the first of the two verdicts that turned it on.
type Held struct {
	Diagnosis
	Since time.Time
}

// A Change is a diagnosis that turned on or off. At is when the first of the two verdicts was given.
type Change struct {
	Diagnosis
	On bool
	At time.Time
}

// Update takes the verdicts of an evaluation at a time, which must be of the same clock as the times in the facts. It
// returns which diagnoses turned on or off, and whether a verdict against the state was given for the first time, so
// that everything about the peer should be measured again at once rather than an interval later.
func (t *Tracker) Update(now time.Time, verdicts Verdicts) (changed []Change, wantSecondOpinion bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.held()
	turned := make(map[string]time.Time)
	for _, v := range verdicts {
		l := t.latch(v.Name, v.Part)
		at, first := l.update(now, v)
		wantSecondOpinion = wantSecondOpinion || first
		if !at.IsZero() {
			turned[v.Name] = at
		}
		if v.Name == PeerSilent {
			t.silent = v.State
		}
	}
	after := t.held()
	for _, h := range after {
		if !contains(before, h.Name) {
			changed = append(changed, Change{Diagnosis: h.Diagnosis, On: true, At: h.Since})
		}
	}
	for _, h := range before {
		if !contains(after, h.Name) {
			changed = append(changed, Change{Diagnosis: h.Diagnosis, At: turned[h.Name]})
		}
	}
	return changed, wantSecondOpinion
}

// update returns when the first of the two verdicts was given if this one turns the latch, and whether this is a first.
func (l *latch) update(now time.Time, v Verdict) (turned time.Time, first bool) {
	if v.State == Holds {
		l.diagnosis = v.Diagnosis
	}
	switch {
	case v.State == Undecided:
		return time.Time{}, false
	case (v.State == Holds) == l.on:
		l.settled, l.doubted = true, time.Time{}
		return time.Time{}, false
	case l.doubted.IsZero():
		l.doubted = now
		return time.Time{}, true
	case !v.Basis.After(l.doubted):
		return time.Time{}, false
	}
	turned = l.doubted
	l.on, l.settled, l.since, l.doubted = !l.on, true, turned, time.Time{}
	return turned, false
}

// latch finds or makes the latch of a part of a diagnosis.
func (t *Tracker) latch(name, part string) *latch {
	for _, l := range t.latches {
		if l.diagnosis.Name == name && l.part == part {
			return l
		}
	}
	l := &latch{part: part, diagnosis: Diagnosis{Name: name}}
	t.latches = append(t.latches, l)
	return l
}

// Held returns the diagnoses that hold, in the order of the verdicts, with the newest numbers that show them.
func (t *Tracker) Held() []Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held()
}

// held joins the parts of each diagnosis: the summary of the first, the evidence of all, since the earliest.
func (t *Tracker) held() []Held {
	var out []Held
	for _, l := range t.latches {
		if !l.on {
			continue
		}
		at := slices.IndexFunc(out, func(h Held) bool { return h.Name == l.diagnosis.Name })
		if at < 0 {
			out = append(out, Held{Diagnosis: l.diagnosis, Since: l.since})
			continue
		}
		out[at].Evidence = slices.Concat(out[at].Evidence, l.diagnosis.Evidence)
		if l.since.Before(out[at].Since) {
			out[at].Since = l.since
		}
	}
	return out
}

func contains(held []Held, name string) bool {
	return slices.ContainsFunc(held, func(h Held) bool { return h.Name == name })
}

// Doubting tells whether a verdict against what holds waits for a second one.
func (t *Tracker) Doubting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.latches, func(l *latch) bool { return !l.doubted.IsZero() })
}

// Await says that not everything about the peer was measured yet: until Complete is called, a peer without a diagnosis is not known to
// be healthy. Otherwise every restart would clear, with the first echo, the alert about a fault that takes longer to find.
func (t *Tracker) Await() { t.expect(true) }

// Complete says that everything about the peer was measured once.
func (t *Tracker) Complete() { t.expect(false) }

func (t *Tracker) expect(more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting = more
}

// Healthy tells whether no diagnosis holds, and whether that is known. It is known only while the peer is known to
// answer something, and while no diagnosis is doubted of which nothing was known before: a peer of which nothing, or
// only silence by some methods, was measured is neither healthy nor not.
func (t *Tracker) Healthy() (healthy, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.health()
}

func (t *Tracker) health() (healthy, known bool) {
	unsettled := false
	for _, l := range t.latches {
		if l.on {
			return false, true
		}
		unsettled = unsettled || !l.settled && !l.doubted.IsZero()
	}
	if unsettled || t.awaiting || t.silent == Undecided {
		return false, false
	}
	return true, true
}

// since is the earliest time since which a part of the diagnosis holds, zero if none does.
func (t *Tracker) since(name string) time.Time {
	var earliest time.Time
	for _, l := range t.latches {
		if l.on && l.diagnosis.Name == name && (earliest.IsZero() || l.since.Before(earliest)) {
			earliest = l.since
		}
	}
	return earliest
}
