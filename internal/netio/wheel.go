//go:build linux

package netio

import "time"

const (
	// wheelSlots slots of wheelGrain each are more than most probes are remembered for.
	wheelSlots = 1024
	wheelGrain = 10 * time.Millisecond
)

// A wheel holds flights by the next time at which something is to be done with them. A flight
// beyond the last slot waits in it and is put in again.
type wheel struct {
	slots [wheelSlots]slot
	// origin is the beginning of slot 0, first the number of the first slot that may hold a flight.
	origin time.Time
	first  int64
}

// A slot is a list of flights. undecided is how many of them have no answer yet: only for them the
// time of the slot matters at once.
type slot struct {
	head      *flight
	undecided int
}

func (w *wheel) slot(number int64) *slot { return &w.slots[number%wheelSlots] }

func (w *wheel) number(at time.Time) int64 { return int64(at.Sub(w.origin) / wheelGrain) }

// put adds a flight at its time.
func (w *wheel) put(f *flight) {
	f.slot = min(max(w.number(f.at), w.first), w.first+wheelSlots-1)
	s := w.slot(f.slot)
	f.before, f.after = nil, s.head
	if s.head != nil {
		s.head.before = f
	}
	s.head = f
	if f.decided == 0 {
		s.undecided++
	}
}

// take removes a flight. It must be called before the flight is decided, or after settled.
func (w *wheel) take(f *flight) {
	s := w.slot(f.slot)
	if f.before != nil {
		f.before.after = f.after
	} else {
		s.head = f.after
	}
	if f.after != nil {
		f.after.before = f.before
	}
	if f.decided == 0 {
		s.undecided--
	}
	f.before, f.after = nil, nil
}

// settled takes note that a flight in the wheel has got its first answer.
func (w *wheel) settled(f *flight) { w.slot(f.slot).undecided-- }

// due takes out the flights whose time has come, and appends them to a list.
func (w *wheel) due(now time.Time, to []*flight) []*flight {
	last := w.number(now)
	var early *flight // those that waited in the last slot, by after
	for n := w.first; n <= min(last, w.first+wheelSlots-1); n++ {
		for f := w.slot(n).head; f != nil; {
			after := f.after
			switch {
			case !f.at.After(now):
				w.take(f)
				to = append(to, f)
			case n < last:
				w.take(f)
				f.after, early = early, f
			}
			f = after
		}
	}
	w.first = max(w.first, last)
	for f := early; f != nil; {
		after := f.after
		w.put(f)
		f = after
	}
	return to
}

// next returns the end of the earliest slot, of those within a span from now, with a flight without
// an answer.
func (w *wheel) next(span time.Duration) (at time.Time, ok bool) {
	for n := w.first; n < w.first+int64(span/wheelGrain); n++ {
		if w.slot(n).undecided > 0 {
			return w.origin.Add(time.Duration(n+1) * wheelGrain), true
		}
	}
	return time.Time{}, false
}
