package xfrm

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// What asking for path MTUs may take in one reading, and how long an answer is good for. A kernel answers some 100,000 questions
// a second; where that is not enough, those that were asked the longest ago come first.
const (
	askingTime = 100 * time.Millisecond
	beliefAge  = 2 * time.Minute
)

// A pair is the two ends of an SA.
type pair struct{ local, remote netip.Addr }

// A belief is a path MTU and when it was asked for, the zero time if never.
type belief struct {
	mtu int
	at  time.Time
}

// beliefs remembers what the kernel believes of the paths of all SAs.
type beliefs struct {
	ask   func(local, remote netip.Addr) int
	known map[pair]belief
}

// refresh asks for these pairs, and forgets all others.
func (b *beliefs) refresh(pairs map[pair]bool) {
	maps.DeleteFunc(b.known, func(p pair, _ belief) bool { return !pairs[p] })
	type turn struct {
		pair
		at time.Time
	}
	turns := make([]turn, 0, len(pairs))
	for p := range pairs {
		turns = append(turns, turn{p, b.known[p].at})
	}
	slices.SortFunc(turns, func(x, y turn) int { return x.at.Compare(y.at) })
	began := time.Now()
	for _, t := range turns {
		now := time.Now()
		if now.Sub(began) >= askingTime {
			return
		}
		b.known[t.pair] = belief{b.ask(t.local, t.remote), now}
	}
}

// of is the path MTU of a pair, 0 if nobody has asked lately.
func (b *beliefs) of(p pair, now time.Time) int {
	if k := b.known[p]; now.Sub(k.at) <= beliefAge {
		return k.mtu
	}
	return 0
}
