// Package histogram is a Prometheus histogram of few bytes. It has classic buckets, native buckets,
// or both, and writes the same as the histogram of client_golang with the same options, which takes
// ten times the memory because it is made for many writers at once.
//
//	Observe --> Histogram --Append--> snapshot (bytes) --Slab.Expand--> dto.Histogram --> encoder
//	            (its owner's lock)    (of one scrape)                   (reused)
//
// Native buckets are those of schema 3: eight for each doubling, each 9 % wider than the one before.
// There are at most MaxNative; beyond that two neighbours become one, again and again if need be.
// Values up to 2^-128 are in the zero bucket.
package histogram

import (
	"math"
	"slices"
	"time"
)

const (
	// MaxNative is the number of native buckets beyond which the resolution is halved.
	MaxNative = 100
	// finest and coarsest are the first and the last schema: 2^schema buckets for each doubling.
	finest, coarsest = 3, -4
)

// zeroThreshold is the upper bound of the zero bucket, 2^-128.
var zeroThreshold = math.Ldexp(1, -128)

// bounds are the upper bounds of the native buckets from 0.5 to 1.
var bounds = [1 << finest]float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// Buckets are what the histograms of one family have in common. They must not change once a
// histogram is made.
type Buckets struct {
	// Classic are the upper bounds of the classic buckets, ascending and without +Inf; there may be
	// none.
	Classic []float64
	// Native adds native buckets.
	Native bool
}

// A Histogram counts values in buckets. The nil Histogram counts nothing. It has no lock.
type Histogram struct {
	buckets *Buckets
	created int64 // in nanoseconds since the epoch
	count   uint64
	sum     float64
	zero    uint64
	// counts are those of the classic buckets, not cumulative, then those of the native buckets
	// whose keys are in keys, ascending. A count that has reached its limit stays there: at one
	// value per second that takes 136 years.
	counts []uint32
	keys   []int16
	schema int8
}

// New returns an empty histogram that was created at a time.
func New(b *Buckets, created time.Time) *Histogram {
	return &Histogram{buckets: b, created: created.UnixNano(), schema: finest, counts: make([]uint32, len(b.Classic))}
}

// Observe counts a value. A negative value or NaN counts as 0.
func (h *Histogram) Observe(v float64) {
	if h == nil {
		return
	}
	if !(v > 0) {
		v = 0
	}
	h.count++
	h.sum += v
	for i, bound := range h.buckets.Classic {
		if v <= bound {
			add(&h.counts[i], 1)
			break
		}
	}
	if h.buckets.Native {
		h.observeNative(v)
	}
}

func add(count *uint32, n uint32) { *count += min(n, math.MaxUint32-*count) }

func (h *Histogram) observeNative(v float64) {
	if v <= zeroThreshold {
		h.zero++
	} else {
		key := coarser(keyOf(v), finest-int(h.schema))
		at, found := slices.BinarySearch(h.keys, key)
		if !found {
			h.insert(at, key)
		}
		add(&h.native()[at], 1)
	}
	if len(h.keys) > MaxNative && h.schema > coarsest {
		h.halve()
	}
}

// keyOf returns the key of the finest native bucket of a positive value: the bucket with key k ends
// at 2^(k/8).
func keyOf(v float64) int16 {
	if math.IsInf(v, 1) { // behind the bucket of the largest number
		return keyOf(math.MaxFloat64) + 1
	}
	frac, exp := math.Frexp(v)
	i := 0
	for i < len(bounds) && bounds[i] < frac {
		i++
	}
	return int16(i + (exp-1)*len(bounds))
}

// coarser returns the key of the bucket that contains the bucket with this key after halving the
// resolution some times.
func coarser(key int16, times int) int16 { return -(-key >> times) }

// native returns the counts of the native buckets.
func (h *Histogram) native() []uint32 { return h.counts[len(h.buckets.Classic):] }

// room is by how many buckets a histogram grows: values of one path are close together, so doubling
// would waste more than it saves.
const room = 8

// insert adds an empty native bucket before the one at an index.
func (h *Histogram) insert(at int, key int16) {
	if len(h.keys) == cap(h.keys) {
		h.keys = append(make([]int16, 0, len(h.keys)+room), h.keys...)
		h.counts = append(make([]uint32, 0, len(h.counts)+room), h.counts...)
	}
	h.keys = slices.Insert(h.keys, at, key)
	h.counts = slices.Insert(h.counts, len(h.buckets.Classic)+at, 0)
}

// halve doubles the width of the native buckets. Where values are far apart, that leaves as many
// buckets as before.
func (h *Histogram) halve() {
	h.schema--
	counts, n := h.native(), 0
	for i, key := range h.keys {
		if key = coarser(key, 1); n > 0 && h.keys[n-1] == key {
			add(&counts[n-1], counts[i])
			continue
		}
		h.keys[n], counts[n] = key, counts[i]
		n++
	}
	h.keys, h.counts = h.keys[:n], h.counts[:len(h.buckets.Classic)+n]
}
