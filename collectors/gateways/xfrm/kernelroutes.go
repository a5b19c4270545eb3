//go:build linux

package xfrm

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// askingTime limits the requests for path MTUs in one reading; mtuAge is how long an answer is
// used. A kernel answers some 100,000 requests a second. Where that is not enough, the pairs with
// the oldest answers come first.
const (
	askingTime = 100 * time.Millisecond
	mtuAge     = 2 * time.Minute
)

type pair struct{ local, remote netip.Addr }

// A knownMTU is a path MTU and the time of the answer, zero if there was none.
type knownMTU struct {
	mtu int
	at  time.Time
}

// kernelRoutes remembers the kernel's path MTUs of all SAs.
type kernelRoutes struct {
	ask   func(local, remote netip.Addr) int
	known map[pair]knownMTU
}

func (k *kernelRoutes) refresh(pairs map[pair]bool) {
	maps.DeleteFunc(k.known, func(p pair, _ knownMTU) bool { return !pairs[p] })
	type turn struct {
		pair
		at time.Time
	}
	turns := make([]turn, 0, len(pairs))
	for p := range pairs {
		turns = append(turns, turn{p, k.known[p].at})
	}
	slices.SortFunc(turns, func(x, y turn) int { return x.at.Compare(y.at) })
	began := time.Now()
	for _, t := range turns {
		now := time.Now()
		if now.Sub(began) >= askingTime {
			return
		}
		k.known[t.pair] = knownMTU{k.ask(t.local, t.remote), now}
	}
}

// of returns the path MTU of a pair, 0 if there is no recent answer.
func (k *kernelRoutes) of(p pair, now time.Time) int {
	if m := k.known[p]; now.Sub(m.at) <= mtuAge {
		return m.mtu
	}
	return 0
}
