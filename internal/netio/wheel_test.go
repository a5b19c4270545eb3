package netio

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestWheel: flights come when they are due and not before, whatever is added and taken meanwhile,
// also far beyond the last slot.
func TestWheel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	now := time.Now()
	w := &wheel{origin: now}
	var waiting, out []*flight
	for range 20000 {
		switch random.IntN(4) {
		case 0, 1:
			f := &flight{at: now.Add(time.Duration(random.Int64N(int64(40 * time.Second))))}
			if random.IntN(2) == 0 {
				f.decided = Delivered
			}
			w.put(f)
			waiting = append(waiting, f)
		case 2:
			if n := len(waiting); n > 0 {
				i := random.IntN(n)
				w.take(waiting[i])
				waiting = slices.Delete(waiting, i, i+1)
			}
		default:
			now = now.Add(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
			if out = w.due(now, out[:0]); slices.ContainsFunc(out, func(f *flight) bool { return f.at.After(now) }) {
				t.Fatal("a flight came too early")
			}
			before := len(waiting)
			waiting = slices.DeleteFunc(waiting, func(f *flight) bool { return !f.at.After(now) })
			if before-len(waiting) != len(out) {
				t.Fatalf("%d flights came, want %d", len(out), before-len(waiting))
			}
		}
		undecided := slices.ContainsFunc(waiting, func(f *flight) bool {
			return f.decided == 0 && f.at.Before(now.Add(time.Second-2*wheelGrain))
		})
		if at, ok := w.next(time.Second); undecided && (!ok || at.After(now.Add(time.Second+wheelGrain))) {
			t.Fatalf("the next deadline is in %v (%v)", at.Sub(now), ok)
		}
	}
}

// TestWheelAfterALongTime: a time far beyond the whole wheel passes at once.
func TestWheelAfterALongTime(t *testing.T) {
	now := time.Now()
	w := &wheel{origin: now}
	for i := range 100 {
		w.put(&flight{at: now.Add(time.Duration(i) * time.Second)})
	}
	now = now.Add(time.Hour)
	if out := w.due(now, nil); len(out) != 100 {
		t.Errorf("%d of 100 flights came", len(out))
	}
	late := &flight{at: now.Add(time.Millisecond)}
	w.put(late)
	if out := w.due(late.at, nil); len(out) != 1 {
		t.Errorf("%d flights came after that", len(out))
	}
}
