package silence

import (
	"iter"
	"slices"
	"time"
)

// unanswered returns the number of plain probes that stayed without an answer.
func (l *lane) unanswered(now time.Time) int {
	n := int(l.earlier)
	for range l.plain(now) {
		n++
	}
	return n
}

// plain returns the plain probes of the Window that stayed without an answer, in the order of sending.
func (l *lane) plain(now time.Time) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := range l.open {
			e := &l.open[i]
			age := now.Sub(e.at)
			if e.Plain && age >= settled && age < Window && l.way.reaches(&e.Probe, e.at) && !yield(e) {
				return
			}
		}
	}
}

func (l *lane) mute(now time.Time) bool { return l.unanswered(now) >= muteProbes }

// A Standing is how a lane stands.
type Standing struct {
	// Mute means that the last plain probes stayed unanswered, Unanswered is their number.
	Mute       bool
	Unanswered int
	// Flows are the numbers of the flows that plain probes of the Window were sent in without an
	// answer.
	Flows []uint16
	// Asked is when the newest probe was sent, Answered when the last answer came.
	Asked, Answered time.Time
	// Woke is when a lane of the address last answered that was mute.
	Woke time.Time
	// Left is the number of packets that may be sent out of turn.
	Left int
}

// Standing returns how a lane stands. Without a Record nothing is known of it.
func (r *Record) Standing(of Lane, now time.Time) Standing {
	if r == nil {
		return Standing{Left: Burst, Answered: now}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.at(of.Dst, now)
	l := a.lane(&of)
	st := Standing{
		Mute: l.mute(now), Unanswered: l.unanswered(now), Asked: l.asked, Answered: l.answered, Woke: a.woke,
		Left: r.burst - a.count(l, now),
	}
	for e := range l.plain(now) {
		if !slices.Contains(st.Flows, e.Flow) {
			st.Flows = append(st.Flows, e.Flow)
		}
	}
	return st
}

// Shown returns when the oldest of the newest three unanswered plain probes to some lanes of one
// address was sent, by whatever peer: together they show a silence again. It is the zero time if one
// of the lanes is not mute, or there are fewer in the Window.
func (r *Record) Shown(now time.Time, lanes ...Lane) time.Time {
	if r == nil {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var times []time.Time
	for _, of := range lanes {
		l := r.at(of.Dst, now).lane(&of)
		if !l.mute(now) {
			return time.Time{}
		}
		for e := range l.plain(now) {
			times = append(times, e.at)
		}
	}
	if len(times) < showing {
		return time.Time{}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times[len(times)-showing]
}

// Spoke reports whether the address answers anything by the way of a lane: at most one plain probe,
// of any kind, stayed unanswered since the last answer. Without a Record, and where the program measures
// once, nothing waits for that.
func (r *Record) Spoke(of Lane, now time.Time) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.burst == Most {
		return true
	}
	a := r.at(of.Dst, now)
	return a.spoke(a.way(&of), now)
}

func (a *address) spoke(by *way, now time.Time) bool {
	var answered time.Time
	for _, l := range a.lanes {
		if l.way == by {
			answered = later(answered, l.answered)
		}
	}
	n := 0
	for _, l := range a.lanes {
		if l.way != by {
			continue
		}
		for e := range l.plain(now) {
			if e.at.After(answered) {
				n++
			}
		}
	}
	return n <= 1
}
