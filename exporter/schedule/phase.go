package schedule

import (
	"time"

	"github.com/cespare/xxhash/v2"
)

// phase returns where in its interval a key runs. Without a seed, it survives a restart.
func phase(key Key, interval time.Duration) time.Duration {
	return time.Duration(xxhash.Sum64String(key.Peer+"\x00"+key.Collector) % uint64(interval))
}

// untilPhase returns the time from t to the next phase after it: more than 0, at most the interval.
func untilPhase(t time.Time, interval, phase time.Duration) time.Duration {
	into := (time.Duration(t.UnixNano()) - phase) % interval
	if into < 0 {
		into += interval
	}
	return interval - into
}

// firstWait returns how long a new key waits for its first run: until its phase, on a time scale
// compressed so that a whole interval fits into limit. The even spread remains.
func firstWait(now time.Time, interval, phase, limit time.Duration) time.Duration {
	wait := untilPhase(now, interval, phase)
	if interval <= limit {
		return wait
	}
	return time.Duration(float64(wait) * (float64(limit) / float64(interval)))
}

// next returns when the next round should begin, after one that ends now. After a late round, that
// is an interval after its start. Otherwise it is the first phase at least half an interval after
// its start, because a first or requested run must not lead to two in a row. Phases are those of
// the wall clock as it is now.
func (s *Scheduler) next(e *entry, now time.Time) instant {
	ended := s.at(now)
	if t := e.began.add(e.interval); e.late > e.grace() && t > ended {
		return t
	}
	after := max(ended, e.began.add(e.interval/2))
	return after.add(untilPhase(now.Add(after.since(ended)), e.interval, e.phase))
}

// minGrace is more than what events wait for others and the jitter of an ordinary host together.
const minGrace = DefaultSlack + 20*time.Millisecond

// grace returns how late a round may begin and still count as in time.
func (e *entry) grace() time.Duration { return max(e.interval/100, minGrace) }
