package diagnosis

import (
	"cmp"
	"slices"
	"time"
)

// A diagnosis flaps if it turned, on or off, this often within this time. Each turn rests on two
// verdicts, so lost packets do not make one.
const (
	flappingTurns = 4
	flappingTime  = time.Hour
)

// turns count how often one diagnosis turned.
type turns struct {
	total  uint64
	recent []time.Time // the newest flappingTurns, oldest first
}

func (t *Tracker) count(k key, at time.Time) {
	n := t.turns[k]
	if n == nil {
		n = &turns{}
		if t.turns == nil {
			t.turns = make(map[key]*turns)
		}
		t.turns[k] = n
	}
	n.total++
	if len(n.recent) == flappingTurns {
		n.recent = n.recent[1:]
	}
	n.recent = append(slices.Clip(n.recent), at)
}

func (n *turns) flapping(now time.Time) bool {
	return n != nil && len(n.recent) == flappingTurns && now.Sub(n.recent[0]) <= flappingTime
}

// A Flapper is a diagnosis that flaps, whether it holds at the moment or not.
type Flapper struct {
	Name, Gateway string
	// Turns is how often it has turned in total, Since when the oldest of the last few turns was.
	Turns uint64
	Since time.Time
}

// Flapping returns the diagnoses that flap, by name and gateway. It is for pages, not for alerts:
// an alert would page about a fault that is over.
func (t *Tracker) Flapping(now time.Time) []Flapper {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Flapper
	for k, n := range t.turns {
		if n.flapping(now) {
			out = append(out, Flapper{Name: k.name, Gateway: k.gateway, Turns: n.total, Since: n.recent[0]})
		}
	}
	slices.SortFunc(out, func(a, b Flapper) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Gateway, b.Gateway))
	})
	return out
}
