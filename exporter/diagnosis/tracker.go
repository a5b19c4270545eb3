package diagnosis

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Tracker remembers which diagnoses of one peer hold. A diagnosis turns on after two successive
// verdicts, and off after two: one lost round is no fault.
//
//	        Holds                Holds, measured again
//	off ------------> pending --------------------------> on     (on to off likewise, by Absent)
//	 ^                   |
//	 '-------------------'  Absent
//
// Undecided changes nothing. The second verdict counts only if everything it rests on was measured
// after the first one: a new result of one collector must not confirm an old one of another.
//
// The zero Tracker is ready, and may be used from any goroutine.
type Tracker struct {
	mu         sync.Mutex
	conditions []*condition // that are more than off, in the order of the verdicts
	quiet      quiet        // the others
	silent     State        // the newest verdict on peer_silent
	awaiting   bool         // not everything was measured yet
	newest     time.Time
	turns      map[key]*turns
	waits      atomic.Bool // a first verdict against the state waits for a second
	calm       atomic.Bool // no condition is more than off
}

// A key names a diagnosis of a peer, or of one of its gateways.
type key struct{ name, gateway string }

func (d *Diagnosis) key() key { return key{d.Name, d.Gateway} }

// A condition is one part of one diagnosis, on or off.
type condition struct {
	part      string
	on        bool
	since     time.Time // of being on
	suspected bool      // by the newest verdict
	undecided bool      // by the newest verdict
	settled   bool      // a verdict has shown it as it is: it is not off only because nothing is known
	pending   time.Time // when the first verdict against the state was given, zero if none
	appeared  bool      // a verdict had shown it off before it turned on
	confirmed time.Time // the basis of the newest verdict that it holds
	diagnosis Diagnosis // of that verdict
}

// A Held is a diagnosis that holds, since the first of the two verdicts that turned it on.
type Held struct {
	Diagnosis
	Since time.Time
	// Appeared means that it was known not to hold before: it is new, not just newly found.
	Appeared bool
	// Confirmed is when the oldest of the facts was measured that show it.
	Confirmed time.Time
	// Unconfirmed means that the newest facts neither confirm nor refute it: they are missing or
	// too old.
	Unconfirmed bool
	// Flapping means that it turned on and off too often recently to be relied on either way.
	Flapping bool
}

// A Change is a diagnosis that turned on or off, At the time of the first of the two verdicts.
type Change struct {
	Diagnosis
	On bool
	At time.Time
}

// spare are verdicts for reuse: thousands of peers are judged again and again.
var spare = sync.Pool{New: func() any { return &Verdicts{} }}

// Judge evaluates facts and does what Update does with the verdicts.
func (t *Tracker) Judge(now time.Time, f Facts) (changed []Change, confirm bool) {
	verdicts := spare.Get().(*Verdicts) //nolint:errcheck // nothing else is in there
	*verdicts = appendVerdicts((*verdicts)[:0], &f)
	changed, confirm = t.Update(now, *verdicts)
	clear(*verdicts) // they hold on to texts
	spare.Put(verdicts)
	return changed, confirm
}

// Update takes the verdicts of an evaluation at a time, which must be of the same clock as the
// times in the facts. It returns which diagnoses turned on or off, and whether a verdict against
// the state was the first, so that the peer should be measured again at once. A diagnosis without a
// verdict, because its gateway is gone, ends at once.
func (t *Tracker) Update(now time.Time, verdicts Verdicts) (changed []Change, confirm bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.held()
	t.newest = now
	turned := make(map[key]time.Time)
	var conditions []*condition
	var calm quiet
	for i := range verdicts {
		v := &verdicts[i]
		c := t.condition(v)
		at, first := c.update(now, v)
		if !calm.take(&c) {
			kept := c // c itself need not be on the heap
			conditions = append(conditions, &kept)
		}
		confirm = confirm || first
		if !at.IsZero() {
			turned[v.key()] = at
		}
		if v.Name == PeerSilent {
			t.silent = v.State
		}
	}
	t.conditions, t.quiet = conditions, calm
	t.calm.Store(len(conditions) == 0)
	t.waits.Store(slices.ContainsFunc(conditions, func(c *condition) bool { return !c.pending.IsZero() }))
	return t.changes(now, before, turned), confirm
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

// update returns the time of the first of the two verdicts if this one turns the condition, and
// whether this one is a first.
func (c *condition) update(now time.Time, v *Verdict) (turned time.Time, first bool) {
	c.suspected, c.undecided = v.Suspected, v.State == Undecided
	if v.State == Holds {
		c.diagnosis, c.confirmed = v.Diagnosis, v.Basis
	}
	switch {
	case v.State == Undecided:
		return time.Time{}, false
	case (v.State == Holds) == c.on:
		c.settled, c.pending = true, time.Time{}
		return time.Time{}, false
	case c.pending.IsZero():
		c.pending = now
		return time.Time{}, true
	case !v.Basis.After(c.pending):
		return time.Time{}, false
	}
	turned = c.pending
	c.appeared = !c.on && c.settled
	c.on, c.settled, c.since, c.pending = !c.on, true, turned, time.Time{}
	return turned, false
}

// condition returns what is known of the part that a verdict is about.
func (t *Tracker) condition(v *Verdict) condition {
	for _, c := range t.conditions {
		if c.diagnosis.key() == v.key() && c.part == v.Part {
			return *c
		}
	}
	return condition{part: v.Part, settled: t.quiet.has(v), diagnosis: Diagnosis{Name: v.Name, Gateway: v.Gateway}}
}

// Held returns the diagnoses that hold, in the order of the verdicts, with the newest evidence.
func (t *Tracker) Held() []Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held()
}

// held joins the parts of each diagnosis: the first summary, all evidence, the earliest since.
func (t *Tracker) held() []Held {
	var out []Held
	for _, c := range t.conditions {
		if !c.on {
			continue
		}
		k := c.diagnosis.key()
		at := slices.IndexFunc(out, func(h Held) bool { return h.key() == k })
		if at < 0 {
			out = append(out, Held{
				Diagnosis: c.diagnosis, Since: c.since, Appeared: c.appeared, Confirmed: c.confirmed,
				Unconfirmed: c.undecided, Flapping: t.turns[k].flapping(t.newest),
			})
			continue
		}
		h := &out[at]
		h.Evidence = slices.Concat(h.Evidence, c.diagnosis.Evidence)
		if c.since.Before(h.Since) {
			h.Since, h.Appeared = c.since, c.appeared
		}
		h.Unconfirmed = h.Unconfirmed && c.undecided
		if c.confirmed.After(h.Confirmed) {
			h.Confirmed = c.confirmed
		}
	}
	return out
}

func contains(held []Held, k key) bool {
	return slices.ContainsFunc(held, func(h Held) bool { return h.key() == k })
}

// Await says that not everything about the peer was measured yet: until Complete is called, a peer
// without a diagnosis is not known to be healthy. Otherwise every restart would clear, with the
// first echo, the alert about a fault that takes longer to find.
func (t *Tracker) Await() { t.expect(true) }

// Complete ends Await.
func (t *Tracker) Complete() { t.expect(false) }

func (t *Tracker) expect(more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting = more
}

// Healthy reports whether no diagnosis holds, and whether that is known. It is known only while the
// peer is known to answer something, and while no diagnosis is suspected, or pending if nothing was
// known of it before: a peer with no result, or only silence by some methods, is neither healthy
// nor ill. Nor is one that answers nothing until a second verdict confirms that: where thousands of
// peers fall silent together, that takes minutes.
func (t *Tracker) Healthy() (healthy, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	unsettled := false
	for _, c := range t.conditions {
		if c.on {
			return false, true
		}
		unsettled = unsettled || c.suspected || !c.settled && !c.pending.IsZero()
	}
	if unsettled || t.awaiting || t.silent != Absent {
		return false, false
	}
	return true, true
}

// since is the earliest time since which a part of the diagnosis holds, zero if none does.
func (t *Tracker) since(k key) time.Time {
	var earliest time.Time
	for _, c := range t.conditions {
		if c.on && c.diagnosis.key() == k && (earliest.IsZero() || c.since.Before(earliest)) {
			earliest = c.since
		}
	}
	return earliest
}

// Waits reports whether Pending would return any.
func (t *Tracker) Waits() bool { return t.waits.Load() }

// Calm reports whether the newest verdicts neither raised nor suspected anything: facts that are as
// before would change nothing.
func (t *Tracker) Calm() bool { return t.calm.Load() }

// Pending returns the diagnoses on which a first verdict against the state waits for a second.
func (t *Tracker) Pending() (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conditions {
		if !c.pending.IsZero() && !slices.Contains(names, c.diagnosis.Name) {
			names = append(names, c.diagnosis.Name)
		}
	}
	return names
}
