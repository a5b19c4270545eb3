package suite

import (
	"iter"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// A Set is a set of collectors.
type Set uint8

// NewSet makes a set.
func NewSet(all ...Collector) Set {
	var s Set
	for _, c := range all {
		s |= 1 << c
	}
	return s
}

// DefaultSet returns the collectors that run unless others are configured.
func DefaultSet() (s Set) {
	for c, spec := range specs {
		if !spec.Optional {
			s |= 1 << c
		}
	}
	return s
}

// Reach returns the collectors that show whether an address answers.
func Reach() Set { return NewSet(ICMP, IKE) }

// Has reports whether a collector is in the set.
func (s Set) Has(c Collector) bool { return s&(1<<c) != 0 }

// With returns the set with these collectors as well.
func (s Set) With(all ...Collector) Set { return s | NewSet(all...) }

// Without returns the set without a collector.
func (s Set) Without(c Collector) Set { return s &^ (1 << c) }

// All iterates over the set in the usual order.
func (s Set) All() iter.Seq[Collector] {
	return func(yield func(Collector) bool) {
		for c := range count {
			if s.Has(c) && !yield(c) {
				return
			}
		}
	}
}

// Intervals are how often each collector measures a peer.
type Intervals [count]time.Duration

// DefaultIntervals returns the intervals of a peer for which none are configured.
func DefaultIntervals() (every Intervals) {
	for c, spec := range specs {
		every[c] = spec.Every
	}
	return every
}

// Accounts count what each collector puts on the wire.
type Accounts [count]netio.Account
