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
	newest   time.Time
	turns    map[key]*turns
}

// A key names a diagnosis of a peer, or of one of its gateways.
type key struct{ name, gateway string }

func (d *Diagnosis) key() key { return key{d.Name, d.Gateway} }

// A latch is what is remembered of one part of one diagnosis.
type latch struct {
	part      string
	on        bool
	since     time.Time // of being on
	settled   bool      // it was seen to be as it is: it is not off just because nothing is known
	doubted   time.Time // when the first verdict against the state was given, zero if none
	appeared  bool      // it was seen to be off before it turned on
	confirmed time.Time // the basis of the newest verdict that it holds
	diagnosis Diagnosis // of that verdict
}

// A Held is a diagnosis that holds, since the first of the two verdicts that turned it on.
type Held struct {
	Diagnosis
	Since time.Time
	// Appeared means that it was known not to hold before: it is new, not just newly seen.
	Appeared bool
	// Confirmed is when the oldest of the facts was measured that show it.
	Confirmed time.Time
	// Flapping means that it has turned on and off so often lately that it is not to be relied on either way.
	Flapping bool
}

// A Change is a diagnosis that turned on or off. At is when the first of the two verdicts was given.
type Change struct {
	Diagnosis
	On bool
	At time.Time
}

// Update takes the verdicts of an evaluation at a time, which must be of the same clock as the times in the facts. It
// returns which diagnoses turned on or off, and whether a verdict against the state was given for the first time, so
// that everything about the peer should be measured again at once rather than an interval later. What there is no verdict
// on any more, such as the diagnoses of a gateway that is gone, ends at once.
func (t *Tracker) Update(now time.Time, verdicts Verdicts) (changed []Change, wantSecondOpinion bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.held()
	t.newest = now
	turned := make(map[key]time.Time)
	latches := make([]*latch, 0, len(verdicts))
	for i := range verdicts {
		v := &verdicts[i]
		l := t.latch(v)
		latches = append(latches, l)
		at, first := l.update(now, v)
		wantSecondOpinion = wantSecondOpinion || first
		if !at.IsZero() {
			turned[v.key()] = at
		}
		if v.Name == PeerSilent {
			t.silent = v.State
		}
	}
	t.latches = latches
	return t.changes(now, before, turned), wantSecondOpinion
}

// changes compares what held before with what holds now, and counts what turned.
func (t *Tracker) changes(now time.Time, before []Held, turned map[key]time.Time) (changed []Change) {
	after := t.held()
	for _, h := range after {
		if !contains(before, h.key()) {
			changed = append(changed, Change{Diagnosis: h.Diagnosis, On: true, At: h.Since})
		}
	}
	for _, h := range before {
		if !contains(after, h.key()) {
			at, ok := turned[h.key()]
			if !ok {
				at = now
			}
			changed = append(changed, Change{Diagnosis: h.Diagnosis, At: at})
		}
	}
	for i := range changed {
		t.count(changed[i].key(), changed[i].At)
	}
	return changed
}

// update returns when the first of the two verdicts was given if this one turns the latch, and whether this is a first.
func (l *latch) update(now time.Time, v *Verdict) (turned time.Time, first bool) {
	if v.State == Holds {
		l.diagnosis, l.confirmed = v.Diagnosis, v.Basis
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
	l.appeared = !l.on && l.settled
	l.on, l.settled, l.since, l.doubted = !l.on, true, turned, time.Time{}
	return turned, false
}

// latch finds or makes the latch of a part of a diagnosis.
func (t *Tracker) latch(v *Verdict) *latch {
	for _, l := range t.latches {
		if l.diagnosis.key() == v.key() && l.part == v.Part {
			return l
		}
	}
	return &latch{part: v.Part, diagnosis: Diagnosis{Name: v.Name, Gateway: v.Gateway}}
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
		k := l.diagnosis.key()
		at := slices.IndexFunc(out, func(h Held) bool { return h.key() == k })
		if at < 0 {
			out = append(out, Held{
				Diagnosis: l.diagnosis, Since: l.since, Appeared: l.appeared, Confirmed: l.confirmed, Flapping: t.turns[k].flapping(t.newest),
			})
			continue
		}
		h := &out[at]
		h.Evidence = slices.Concat(h.Evidence, l.diagnosis.Evidence)
		if l.since.Before(h.Since) {
			h.Since, h.Appeared = l.since, l.appeared
		}
		if l.confirmed.After(h.Confirmed) {
			h.Confirmed = l.confirmed
		}
	}
	return out
}

func contains(held []Held, k key) bool {
	return slices.ContainsFunc(held, func(h Held) bool { return h.key() == k })
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
func (t *Tracker) since(k key) time.Time {
	var earliest time.Time
	for _, l := range t.latches {
		if l.on && l.diagnosis.key() == k && (earliest.IsZero() || l.since.Before(earliest)) {
			earliest = l.since
		}
	}
	return earliest
}

// Doubts are the names of the diagnoses on which a first verdict against what holds waits for a second one.
func (t *Tracker) Doubts() (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.latches {
		if !l.doubted.IsZero() && !slices.Contains(names, l.diagnosis.Name) {
			names = append(names, l.diagnosis.Name)
		}
	}
	return names
}
