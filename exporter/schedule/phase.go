package schedule

import "time"

// FNV-1a with 64 bits, and the finalizer of MurmurHash3, which spreads the last characters over all bits.
// The hash must not be seeded: a phase outlives the process.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x00000100000001b3
	mix1      = 0xff51afd7ed558ccd
	mix2      = 0xc4ceb9fe1a85ec53
)

// phase is where in its interval a key runs.
func phase(key Key, interval time.Duration) time.Duration {
	h := uint64(fnvOffset)
	for i := range len(key.Peer) {
		h = (h ^ uint64(key.Peer[i])) * fnvPrime
	}
	h *= fnvPrime // A zero byte between the two.
	for i := range len(key.Collector) {
		h = (h ^ uint64(key.Collector[i])) * fnvPrime
	}
	h = (h ^ h>>33) * mix1
	h = (h ^ h>>33) * mix2
	h ^= h >> 33
	return time.Duration(h % uint64(interval))
}

// untilPhase is the time from t to the next phase after it: more than 0, at most the interval.
func untilPhase(t time.Time, interval, phase time.Duration) time.Duration {
	into := (time.Duration(t.UnixNano()) - phase) % interval
	if into < 0 {
		into += interval
	}
	return interval - into
}

// firstWait is how long a new key waits for its first run: until its phase, on a time scale that is compressed so that a
// whole interval fits into limit. The order of all keys, and thereby the even spread, stays.
func firstWait(now time.Time, interval, phase, limit time.Duration) time.Duration {
	wait := untilPhase(now, interval, phase)
	if interval <= limit {
		return wait
	}
	return time.Duration(float64(wait) * (float64(limit) / float64(interval)))
}

// next is when the next round should begin, after one that ends now. After a late one, that is an interval after its
// beginning. Else it is the first phase that keeps half an interval from it, since a first run, or one that was
// asked for, must not lead to two in a row.
func (e *entry) next(now time.Time) time.Time {
	if t := e.began.Add(e.interval); e.late > e.grace() && t.After(now) {
		return t
	}
	after := now
	if half := e.began.Add(e.interval / 2); half.After(now) {
		after = half
	}
	return after.Add(untilPhase(after, e.interval, e.phase))
}

// minGrace is more than the jitter of an ordinary host.
const minGrace = 20 * time.Millisecond

// grace is how late a round may begin and still count as being in time.
func (e *entry) grace() time.Duration { return max(e.interval/100, minGrace) }
