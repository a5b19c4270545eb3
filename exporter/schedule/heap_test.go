package schedule

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHeap: entries come in the order of their times, whatever is added and taken out meanwhile.
func TestHeap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var h dueHeap
	var in []*entry
	for step := range 50000 {
		switch {
		case random.IntN(5) < 2:
			e := &entry{due: instant(random.Int64N(int64(time.Hour)) - int64(time.Minute))}
			h.push(e)
			in = append(in, e)
		case len(in) == 0:
		case random.IntN(2) == 0:
			i := random.IntN(len(in))
			h.remove(in[i])
			h.remove(in[i]) // it is out already
			in = slices.Delete(in, i, i+1)
		default:
			first := h.first()
			earliest := slices.MinFunc(in, func(a, b *entry) int { return cmp.Compare(a.due, b.due) })
			if first.due != earliest.due {
				t.Fatalf("step %d: first is %v, want %v", step, first.due, earliest.due)
			}
			h.pop()
			in = slices.DeleteFunc(in, func(e *entry) bool { return e == first })
		}
		if len(h.items) > 2*len(in)+2 {
			t.Fatalf("step %d: %d items for %d entries", step, len(h.items), len(in))
		}
		for _, e := range in {
			if !e.queued {
				t.Fatalf("step %d: an entry is not in the heap", step)
			}
		}
	}
}
