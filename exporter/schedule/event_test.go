package schedule_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/schedule"
)

// start runs a Scheduler until the test ends.
func start(t *testing.T, cfg schedule.Config) *schedule.Scheduler {
	t.Helper()
	s := schedule.New(cfg)
	ended := make(chan error)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func peerName(i int) string { return "peer-" + strconv.Itoa(i) }

// runs collects when the event of each peer ran.
type runs struct {
	mu sync.Mutex
	at map[string][]time.Time
}

func (r *runs) note(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = map[string][]time.Time{}
	}
	r.at[name] = append(r.at[name], now)
}

// take returns what was collected and begins again.
func (r *runs) take() map[string][]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.at
	r.at = nil
	return at
}

// add adds an event for peers 0 to n-1. Each run takes cost.
func (r *runs) add(s *schedule.Scheduler, n int, interval, cost time.Duration) {
	for i := range n {
		name := peerName(i)
		s.AddEvent(schedule.Key{Peer: name, Collector: "icmp"}, interval, func(now time.Time) time.Time {
			r.note(name, now)
			time.Sleep(cost)
			return time.Time{}
		})
	}
}

// perSecond counts all runs in each second from begin to end.
func perSecond(r map[string][]time.Time, begin, end time.Time) []int {
	counts := make([]int, int(end.Sub(begin).Seconds()))
	for _, times := range r {
		for _, at := range times {
			if i := at.Sub(begin); i >= 0 && at.Before(end) {
				counts[int(i.Seconds())]++
			}
		}
	}
	return counts
}

func TestEvenSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, rounds = 1000, 60
		begin := time.Now()
		var r runs
		s := start(t, schedule.Config{})
		r.add(s, peers, time.Minute, 0)
		time.Sleep((rounds + 2) * time.Minute)
		synctest.Wait()
		got := r.take()

		steady := begin.Add(2 * time.Minute)
		// A mean of 16.7; a fair hash stays within 5 standard deviations of 4.1.
		for second, count := range perSecond(got, steady, steady.Add(rounds*time.Minute)) {
			if count < 1 || count > 37 {
				t.Errorf("second %d has %d runs, want about 17", second, count)
			}
		}
		for name, times := range got {
			n := 0
			for _, at := range times {
				if !at.Before(steady) {
					n++
				}
			}
			if n != rounds {
				t.Errorf("%s ran %d times in %d minutes", name, n, rounds)
			}
		}
		if st := s.Stats(); st.Deferred != 0 || st.Keys != peers {
			t.Errorf("stats %+v, want nothing deferred and %d keys", st, peers)
		}
	})
}

func TestFirstRun(t *testing.T) {
	for _, tc := range []struct{ interval, limit, within time.Duration }{
		{interval: 5 * time.Second, within: 5 * time.Second},
		{interval: 30 * time.Second, within: 30 * time.Second},
		{interval: 10 * time.Minute, within: 30 * time.Second},
		{interval: 10 * time.Minute, limit: 10 * time.Second, within: 10 * time.Second},
	} {
		t.Run(tc.interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const peers = 1000
				time.Sleep(12345 * time.Millisecond)
				var r runs
				begin := time.Now()
				r.add(start(t, schedule.Config{MaxFirst: tc.limit}), peers, tc.interval, 0)
				time.Sleep(tc.within + schedule.DefaultSlack)
				synctest.Wait()
				got := r.take()
				if len(got) != peers {
					t.Errorf("%d of %d peers ran within %v", len(got), peers, tc.within)
				}
				mean := peers / int(tc.within.Seconds())
				for second, count := range perSecond(got, begin, begin.Add(tc.within)) {
					if count < mean/3 || count > mean*2 {
						t.Errorf("second %d has %d first runs, want about %d", second, count, mean)
					}
				}
				time.Sleep(3 * tc.interval)
				synctest.Wait()
				for name, times := range r.take() {
					times = append(got[name], times...)
					for i := 1; i < len(times); i++ {
						if gap := times[i].Sub(times[i-1]); gap < tc.interval/2-schedule.DefaultSlack {
							t.Errorf("%s: run %d came %v after the one before", name, i, gap)
						}
					}
				}
			})
		})
	}
}

func TestPhaseOutlivesRestart(t *testing.T) {
	const interval = time.Minute
	phases := func(wait time.Duration) (got map[string][]time.Duration) {
		got = map[string][]time.Duration{}
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(wait)
			var r runs
			begin := time.Now()
			r.add(start(t, schedule.Config{Slack: 1}), 50, interval, 0)
			time.Sleep(10 * interval)
			synctest.Wait()
			for name, times := range r.take() {
				for _, at := range times {
					if at.Sub(begin) > 2*interval {
						got[name] = append(got[name], time.Duration(at.UnixNano())%interval)
					}
				}
				slices.Sort(got[name])
				got[name] = slices.Compact(got[name])
			}
		})
		return got
	}
	first := phases(0)
	if len(first) != 50 {
		t.Fatalf("%d peers ran, want 50", len(first))
	}
	for name, got := range first {
		if len(got) != 1 {
			t.Errorf("%s has several phases: %v", name, got)
		}
	}
	if diff := cmp.Diff(first, phases(17*time.Hour+23*time.Second+456*time.Microsecond)); diff != "" {
		t.Errorf("phases after a restart (-before +after):\n%s", diff)
	}
}

func TestNoBurstAfterStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, interval, stall = 1200, time.Minute, 45 * time.Second
		var r runs
		s := start(t, schedule.Config{})
		r.add(s, peers, interval, 0)
		time.Sleep(5 * time.Minute)
		stalled := time.Now()
		s.AddEvent(schedule.Key{Peer: "slow", Collector: "icmp"}, 24*time.Hour, func(time.Time) time.Time {
			time.Sleep(stall)
			return time.Time{}
		})
		s.Now(schedule.Key{Peer: "slow", Collector: "icmp"})
		time.Sleep(stall)
		synctest.Wait()
		if lag := s.Lag(); lag < stall-interval/50 || lag > stall {
			t.Errorf("lag after the stall is %v, want about %v", lag, stall)
		}
		time.Sleep(5 * interval)
		synctest.Wait()

		end, got := stalled.Add(stall), r.take()
		// The ordinary rate for the rounds that are in time, the same for those that take their
		// turn, and the spread of both.
		for second, count := range perSecond(got, end, end.Add(3*interval)) {
			if count > 60 {
				t.Errorf("second %d after the stall has %d runs, ordinary is 20", second, count)
			}
		}
		for name, times := range got {
			i, _ := slices.BinarySearchFunc(times, end, time.Time.Compare)
			if i == len(times) || times[i].Sub(end) > interval {
				t.Errorf("%s did not run within %v after the stall", name, interval)
			}
		}
		if n := s.Stats().Deferred; n < peers/2 || n > peers {
			t.Errorf("%d rounds took their turn, want about %d", n, peers*3/4)
		}
		if lag := s.Lag(); lag > schedule.DefaultSlack {
			t.Errorf("lag is still %v after %v", lag, 5*interval)
		}
	})
}

func TestOverloadStretchesEvenly(t *testing.T) {
	const peers, interval, lasts = 500, 5 * time.Second, 20 * time.Minute
	for _, tc := range []struct {
		name string
		load float64
	}{{"a tenth too much", 1.1}, {"twice", 2}, {"five times", 5}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r runs
				cost := time.Duration(tc.load * float64(interval) / peers)
				s := start(t, schedule.Config{})
				r.add(s, peers, interval, cost)
				time.Sleep(lasts)
				for i := range peers {
					s.Remove(peerName(i))
				}
				synctest.Wait()
				lag, got := s.Lag(), r.take()
				fewest, most := 1<<30, 0
				for _, times := range got {
					fewest, most = min(fewest, len(times)), max(most, len(times))
				}
				ideal := lasts.Seconds() / (tc.load * interval.Seconds())
				t.Logf("%d to %d runs, ideal %.0f, lag %v", fewest, most, ideal, lag)
				if float64(fewest) < 0.97*ideal || float64(most) > 1.03*ideal || len(got) != peers {
					t.Errorf("%d peers ran %d to %d times, want all of %d about %.0f times", len(got), fewest, most, peers, ideal)
				}
				// Everybody is late by just what makes the interval long enough.
				want := (tc.load - 1) * interval.Seconds()
				if got := lag.Seconds(); got < 0.9*want || got > 1.1*want {
					t.Errorf("lag is %v under overload, want %.1fs", lag, want)
				}
			})
		})
	}
}

func TestOwnTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A round of four ticks, 5 s apart, takes half the interval and must not cost the next
		// phase.
		const interval = 30 * time.Second
		var rounds, ticks []time.Time
		s := start(t, schedule.Config{})
		s.AddEvent(schedule.Key{Peer: "hq", Collector: "ike"}, interval, func(now time.Time) time.Time {
			ticks = append(ticks, now)
			if len(ticks)%4 == 1 {
				rounds = append(rounds, now)
			}
			if len(ticks)%4 == 0 {
				return now
			}
			return now.Add(5 * time.Second)
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := 1; i < len(rounds); i++ {
			if gap := rounds[i].Sub(rounds[i-1]); gap != interval {
				t.Errorf("round %d began %v after the one before, want %v", i, gap, interval)
			}
		}
		for i := 1; i < len(ticks); i++ {
			if gap := ticks[i].Sub(ticks[i-1]); i%4 != 0 && gap != 5*time.Second {
				t.Errorf("tick %d came after %v, want 5s", i, gap)
			}
		}
		if len(rounds) < 19 {
			t.Errorf("%d rounds in 10 minutes, want 19 or 20", len(rounds))
		}
	})
}

// TestOwnTimeIsNotLate: an event that asks for a time beyond its interval is neither late nor overdue
// until then.
func TestOwnTimeIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, schedule.Config{})
		ticks := 0
		s.AddEvent(schedule.Key{Peer: "hq", Collector: "icmp"}, 5*time.Second, func(now time.Time) time.Time {
			ticks++
			return now.Add(time.Minute)
		})
		for range 60 {
			time.Sleep(10 * time.Second)
			if n, lag := s.Overdue("hq"), s.Lag(); n > 0 || lag > time.Second {
				t.Fatalf("%d overdue, %v late", n, lag)
			}
		}
		if ticks != 10 {
			t.Errorf("%d ticks in 10 minutes", ticks)
		}
	})
}

func TestNowForEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := schedule.Key{Peer: "hq", Collector: "ike"}
		var r runs
		var twice atomic.Bool
		s := start(t, schedule.Config{})
		s.AddEvent(key, time.Minute, func(now time.Time) time.Time {
			r.note("hq", now)
			if twice.CompareAndSwap(true, false) {
				s.Now(key)
			}
			return time.Time{}
		})
		time.Sleep(5 * time.Minute)
		before := s.LastRun(key)
		r.take()
		time.Sleep(time.Until(before.Add(65 * time.Second))) // 5 s after the next phase.
		asked := time.Now()
		for range 2 { // The second one makes no difference.
			if !s.Now(key) {
				t.Error("Now does not know its key")
			}
		}
		time.Sleep(time.Minute)
		want := []time.Time{before.Add(60 * time.Second), asked, before.Add(120 * time.Second)}
		if diff := cmp.Diff(want, r.take()["hq"]); diff != "" {
			t.Errorf("runs around Now (-want +got):\n%s", diff)
		}
		twice.Store(true)
		time.Sleep(time.Minute)
		want = []time.Time{before.Add(180 * time.Second), before.Add(180 * time.Second)}
		if diff := cmp.Diff(want, r.take()["hq"]); diff != "" {
			t.Errorf("runs with Now from within (-want +got):\n%s", diff)
		}
		if s.Now(schedule.Key{Peer: "hq", Collector: "pmtu"}) || s.Now(schedule.Key{Peer: "x"}) {
			t.Error("Now knows a key that does not exist")
		}
	})
}

func TestOverdueAndLastRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, schedule.Config{Workers: 1})
		fast, slow := schedule.Key{Peer: "hq", Collector: "icmp"}, schedule.Key{Peer: "hq", Collector: "pmtu"}
		if got := s.LastRun(fast); !got.IsZero() {
			t.Errorf("LastRun of an unknown key is %v", got)
		}
		s.AddEvent(fast, time.Second, func(time.Time) time.Time { return time.Time{} })
		release := make(chan struct{})
		s.AddTask(slow, 10*time.Second, 0, func(context.Context) bool { <-release; return false })
		if got := s.LastRun(slow); !got.IsZero() {
			t.Errorf("LastRun before the first run is %v", got)
		}
		time.Sleep(30 * time.Second)
		if got := s.Overdue("hq"); got != 0 {
			t.Errorf("overdue after 3 intervals: %d", got)
		}
		time.Sleep(11 * time.Second)
		if got := s.Overdue("hq"); got != 1 {
			t.Errorf("overdue with a task that hangs: %d, want 1", got)
		}
		if age := time.Since(s.LastRun(fast)); age > time.Second+schedule.DefaultSlack {
			t.Errorf("the event last ran %v ago", age)
		}
		close(release)
		synctest.Wait()
		if got := s.Overdue("hq"); got != 0 || s.LastRun(slow) != time.Now() {
			t.Errorf("after its end: overdue %d, last run %v", got, s.LastRun(slow))
		}
		if got := s.Overdue("nobody"); got != 0 {
			t.Errorf("overdue of an unknown peer: %d", got)
		}
	})
}

func TestSlackSharesWakeUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, interval = 2000, time.Second
		var r runs
		s := start(t, schedule.Config{Slack: 10 * time.Millisecond})
		r.add(s, peers, interval, 0)
		time.Sleep(10 * interval)
		synctest.Wait()
		moments, total := map[time.Time]bool{}, 0
		for _, times := range r.take() {
			total += len(times)
			for _, at := range times {
				moments[at] = true
			}
		}
		if total < 9*peers || len(moments) > 1000 {
			t.Errorf("%d runs at %d moments in 10 s, want at most 1000 moments", total, len(moments))
		}
	})
}
