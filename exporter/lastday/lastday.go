// Package lastday remembers what the path to a peer was like in each quarter of an hour of the last
// 24 hours, in some 250 bytes per peer, so that a page can draw it without a time series database.
//
//	a sample every minute ──Add──▶ the worst of each quarter ──Quarters──▶ strips on a page
//
// Values are rounded to steps: losses to a square scale that never rounds a loss to none, round
// trips up to the next of steps that are 6 % apart. What was not sampled is unknown. Nothing is
// written to a disk, so a Day is empty after a restart. The package measures nothing and reads no
// clock.
package lastday

import (
	"math"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
)

// Quarter is the time that one entry stands for.
const Quarter = 15 * time.Minute

// Quarters is the number of entries.
const Quarters = 96

// Health is what was known of a peer, the worst one last.
type Health uint8

// The states. NotSampled is the zero value: the exporter did not run, or the peer was not
// configured.
const (
	NotSampled Health = iota
	Healthy
	Unknown
	Info
	Warning
	Critical
)

// HealthOf returns the state of a peer whose worst diagnosis has a severity; empty without one.
func HealthOf(worst diagnosis.Severity, healthy, known bool) Health {
	switch {
	case worst == diagnosis.Critical:
		return Critical
	case worst == diagnosis.Warning:
		return Warning
	case worst == diagnosis.Info:
		return Info
	case healthy && known:
		return Healthy
	}
	return Unknown
}

// A Sample is what is known of a path at one time. A value that is not known is negative for Loss,
// and 0 for RoundTrip and Bytes.
type Sample struct {
	Health    Health
	Loss      float64
	RoundTrip time.Duration
	// Bytes is the path MTU.
	Bytes int
}

// A slot holds the worst of one quarter: 3 bits for the health, 5 for the loss, 8 for the round
// trip.
type slot uint16

// A run is a path MTU since a quarter.
type run struct {
	since int32
	bytes uint16
}

// A Day keeps the last 24 hours of one path. The zero Day is empty, and may be used from any
// goroutine.
type Day struct {
	mu sync.Mutex
	// newest is the number of the newest quarter, counted from the Unix epoch; 0 before the first.
	newest int32
	slots  [Quarters]slot
	// sizes has one run where the path MTU did not change.
	sizes []run
}

// number is the quarter that a time belongs to.
func number(t time.Time) int32 { return int32(t.Unix() / int64(Quarter/time.Second)) }

// Add takes a sample. The worst one of each quarter counts, of the path MTU the smallest known one.
func (d *Day) Add(now time.Time, s Sample) {
	n := number(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest == 0 || n-d.newest >= Quarters || n < d.newest { // the clock was set back
		d.slots, d.sizes = [Quarters]slot{}, nil
		d.newest = n
	}
	for d.newest < n {
		d.newest++
		d.slots[d.newest%Quarters] = 0
	}
	at := &d.slots[n%Quarters]
	*at = worse(*at, pack(s))
	d.size(n, s.Bytes)
	if first := n - Quarters + 1; len(d.sizes) > 1 && d.sizes[1].since <= first {
		d.sizes = slices.Clip(slices.Delete(d.sizes, 0, 1))
	}
}

// size notes the path MTU of the newest quarter. An unknown one is no change: searches pause.
func (d *Day) size(n int32, bytes int) {
	size := uint16(min(max(bytes, 0), math.MaxUint16))
	last := len(d.sizes) - 1
	switch {
	case last < 0 && size > 0:
		d.sizes = []run{{n, size}}
	case last < 0 || size == 0 || d.sizes[last].bytes == size:
	case d.sizes[last].since < n:
		d.sizes = append(slices.Clip(d.sizes), run{n, size})
	case size < d.sizes[last].bytes:
		d.sizes[last].bytes = size
	}
}

// Quarters returns the last 24 hours up to now, the oldest first. A path MTU that is not known in a
// sampled quarter is that of the sampled one before it.
func (d *Day) Quarters(now time.Time) [Quarters]Sample {
	var out [Quarters]Sample
	last := number(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range out {
		n := last - Quarters + 1 + int32(i)
		out[i].Loss = -1
		if d.newest == 0 || n > d.newest || n <= d.newest-Quarters {
			continue
		}
		if s := d.slots[n%Quarters]; s != 0 {
			out[i] = unpack(s)
			out[i].Bytes = d.bytes(n)
		}
	}
	return out
}

// bytes is the path MTU of a quarter.
func (d *Day) bytes(n int32) (bytes int) {
	for _, r := range d.sizes {
		if r.since <= n {
			bytes = int(r.bytes)
		}
	}
	return bytes
}

// The scales. Step 0 means unknown.
const (
	lossSteps  = 31
	tripSteps  = 255
	tripRatio  = 1.06
	firstTrip  = 50 * time.Microsecond
	lossShift  = 8
	stateShift = 13
)

func pack(s Sample) slot {
	loss, trip := 0, 0
	if s.Loss >= 0 {
		loss = 1 + int(math.Ceil(math.Sqrt(min(s.Loss, 1))*(lossSteps-1)))
	}
	if s.RoundTrip > 0 {
		trip = 1 + int(math.Ceil(math.Log(max(1, float64(s.RoundTrip)/float64(firstTrip)))/math.Log(tripRatio)))
	}
	return slot(s.Health)<<stateShift | slot(loss)<<lossShift | slot(min(trip, tripSteps))
}

func unpack(v slot) Sample {
	s := Sample{Health: Health(v >> stateShift), Loss: -1}
	if loss := int(v>>lossShift) & lossSteps; loss > 0 {
		share := float64(loss-1) / (lossSteps - 1)
		s.Loss = share * share
	}
	if trip := int(v) & tripSteps; trip > 0 {
		s.RoundTrip = time.Duration(float64(firstTrip) * math.Pow(tripRatio, float64(trip-1)))
	}
	return s
}

// worse returns the worse of each value. Steps grow with what they stand for.
func worse(a, b slot) slot {
	const state, loss, trip = slot(7 << stateShift), slot(lossSteps << lossShift), slot(tripSteps)
	return max(a&state, b&state) | max(a&loss, b&loss) | max(a&trip, b&trip)
}
