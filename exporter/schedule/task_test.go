package schedule_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/exporter/schedule"
)

// gauge counts what runs at the same time.
type gauge struct{ now, most, total atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	g.total.Add(1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gauge
		key := schedule.Key{Peer: "hq", Collector: "pmtu"}
		s := start(t, schedule.Config{})
		s.AddTask(key, 10*time.Second, 0, func(context.Context) bool {
			g.enter()
			defer g.leave()
			time.Sleep(25 * time.Second) // It ignores its timeout of 9 s.
			return false
		})
		for range 1000 {
			time.Sleep(time.Second)
			s.Now(key)
		}
		if g.most.Load() != 1 {
			t.Errorf("%d runs of one key at the same time", g.most.Load())
		}
		if n := g.total.Load(); n < 38 || n > 41 {
			t.Errorf("%d runs of 25 s in 1000 s, want 40", n)
		}
	})
}

func TestTaskTimeout(t *testing.T) {
	for _, tc := range []struct{ timeout, want time.Duration }{
		{0, 9 * time.Second},
		{4 * time.Second, 4 * time.Second},
		{10 * time.Second, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var lasted []time.Duration
			s := start(t, schedule.Config{})
			s.AddTask(schedule.Key{Peer: "hq", Collector: "pmtu"}, 10*time.Second, tc.timeout, func(ctx context.Context) bool {
				began := time.Now()
				<-ctx.Done()
				if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
					return false
				}
				lasted = append(lasted, time.Since(began))
				return false
			})
			time.Sleep(105 * time.Second)
			synctest.Wait()
			if len(lasted) < 9 {
				t.Errorf("timeout %v: %d runs in 105 s, want every phase", tc.timeout, len(lasted))
			}
			for _, got := range lasted {
				if got != tc.want {
					t.Errorf("timeout %v: run lasted %v, want %v", tc.timeout, got, tc.want)
				}
			}
			s.Remove("hq")
		})
	}
}

func TestOneTaskPerPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 20
		collectors := []string{"pmtu", "fragments", "protocols"}
		var all gauge
		each := make([]gauge, peers)
		counts := map[schedule.Key]*atomic.Int64{}
		s := start(t, schedule.Config{})
		for i := range peers {
			for _, c := range collectors {
				key := schedule.Key{Peer: peerName(i), Collector: c}
				count := new(atomic.Int64)
				counts[key] = count
				s.AddTask(key, time.Minute, 0, func(context.Context) bool {
					all.enter()
					each[i].enter()
					count.Add(1)
					time.Sleep(15 * time.Second) // Three tasks keep the peer busy for three quarters of the time.
					each[i].leave()
					all.leave()
					return false
				})
			}
		}
		time.Sleep(time.Hour)
		if got := s.Lag(); got > schedule.DefaultSlack {
			t.Errorf("lag is %v: waiting for one's own peer is not being late", got)
		}
		for i := range peers {
			if got := each[i].most.Load(); got != 1 {
				t.Errorf("%s had %d tasks at the same time", peerName(i), got)
			}
		}
		if all.most.Load() < peers/2 {
			t.Errorf("at most %d tasks ran at the same time: peers wait for each other", all.most.Load())
		}
		for key, count := range counts {
			if n := count.Load(); n < 45 || n > 62 {
				t.Errorf("%v ran %d times in an hour, want about 60", key, n)
			}
		}
	})
}

func TestPoolIsBoundedAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 40 peers x 10 s per minute need 6.7 workers: with 4, everybody gets 60 % of the runs.
		const peers, workers = 40, 4
		var g gauge
		counts := make([]int, peers)
		s := start(t, schedule.Config{Workers: workers})
		for i := range peers {
			s.AddTask(schedule.Key{Peer: peerName(i), Collector: "pmtu"}, time.Minute, 0, func(context.Context) bool {
				g.enter()
				defer g.leave()
				counts[i]++
				time.Sleep(10 * time.Second)
				return false
			})
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := g.most.Load(); got != workers {
			t.Errorf("%d tasks at the same time, want %d", got, workers)
		}
		if st := s.Stats(); st.Running != workers || st.Waiting == 0 {
			t.Errorf("stats %+v, want %d running and some waiting", st, workers)
		}
		for i, n := range counts {
			if n < 65 || n > 79 {
				t.Errorf("%s ran %d times in two hours, want about 72", peerName(i), n)
			}
		}
		if lag := s.Lag(); lag < 10*time.Second || lag > 2*time.Minute {
			t.Errorf("lag is %v", lag)
		}
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []time.Time
		s := start(t, schedule.Config{})
		s.AddTask(schedule.Key{Peer: "hq", Collector: "pmtu"}, time.Minute, 0, func(ctx context.Context) bool {
			began = append(began, time.Now())
			if left, _ := ctx.Deadline(); time.Until(left) != 54*time.Second {
				t.Errorf("run %d has %v left, want 54s", len(began), time.Until(left))
			}
			time.Sleep(2 * time.Second)
			return len(began) > 4 // From the fifth run on it always wants one more.
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := 2; i < len(began); i++ {
			want := time.Minute
			switch {
			case i > 4 && i%2 == 1:
				want = 2 * time.Second
			case i > 4:
				want = 58 * time.Second
			}
			if gap := began[i].Sub(began[i-1]); gap != want {
				t.Errorf("run %d came %v after the one before, want %v", i, gap, want)
			}
		}
		if len(began) < 14 {
			t.Errorf("%d runs in 10 minutes, want 14 or more", len(began))
		}
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events, others, waited atomic.Int64
		started, release := make(chan struct{}), make(chan struct{})
		var cause error
		s := start(t, schedule.Config{})
		s.AddEvent(schedule.Key{Peer: "hq", Collector: "icmp"}, time.Second, func(time.Time) time.Time { events.Add(1); return time.Time{} })
		s.AddEvent(schedule.Key{Peer: "branch", Collector: "icmp"}, time.Second, func(time.Time) time.Time { others.Add(1); return time.Time{} })
		s.AddTask(schedule.Key{Peer: "hq", Collector: "pmtu"}, time.Minute, 0, func(ctx context.Context) bool {
			close(started)
			<-ctx.Done()
			cause = ctx.Err()
			<-release
			return true
		})
		<-started
		s.AddTask(schedule.Key{Peer: "hq", Collector: "fragments"}, time.Minute, 0, func(context.Context) bool { waited.Add(1); return false })
		s.Now(schedule.Key{Peer: "hq", Collector: "fragments"})
		synctest.Wait()

		events.Store(0)
		others.Store(0)
		done := s.Remove("hq")
		synctest.Wait()
		if !errors.Is(cause, context.Canceled) {
			t.Errorf("the running task's context ended with %v, want canceled", cause)
		}
		select {
		case <-done:
			t.Error("done is closed while a task runs")
		default:
		}
		close(release)
		<-done
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if events.Load() != 0 || waited.Load() != 0 {
			t.Errorf("%d events and %d waiting tasks ran after Remove", events.Load(), waited.Load())
		}
		if n := others.Load(); n != 600 {
			t.Errorf("the other peer ran %d times in 10 minutes, want 600", n)
		}
		if st := s.Stats(); st.Keys != 1 || st.Running != 0 {
			t.Errorf("stats after Remove: %+v", st)
		}
		<-s.Remove("hq")
		<-s.Remove("branch")
	})
}

func TestRemoveOneself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done <-chan struct{}
		runs := 0
		s := start(t, schedule.Config{})
		s.AddEvent(schedule.Key{Peer: "hq", Collector: "icmp"}, time.Second, func(now time.Time) time.Time {
			runs++
			done = s.Remove("hq")
			return now.Add(time.Second)
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		<-done
		if runs != 1 {
			t.Errorf("%d runs, want 1", runs)
		}
	})
}

func TestReplaceWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gauge
		key := schedule.Key{Peer: "hq", Collector: "pmtu"}
		var old, fresh atomic.Int64
		s := start(t, schedule.Config{})
		s.AddTask(key, time.Minute, 0, func(ctx context.Context) bool {
			g.enter()
			defer g.leave()
			old.Add(1)
			<-ctx.Done()
			time.Sleep(20 * time.Second) // It ends slowly.
			return true
		})
		s.Now(key)
		synctest.Wait()
		began := time.Now()
		s.AddTask(key, 20*time.Second, 0, func(context.Context) bool {
			g.enter()
			defer g.leave()
			fresh.Add(1)
			return false
		})
		s.Now(key)
		time.Sleep(19 * time.Second)
		synctest.Wait()
		if fresh.Load() != 0 {
			t.Error("the successor ran beside the task that it replaced")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if fresh.Load() != 1 || s.LastRun(key) != began.Add(20*time.Second) {
			t.Errorf("%d runs of the successor when its predecessor has ended, want 1", fresh.Load())
		}
		time.Sleep(200 * time.Second)
		synctest.Wait()
		if old.Load() != 1 || fresh.Load() < 10 || g.most.Load() != 1 || s.Stats().Keys != 1 {
			t.Errorf("old %d, new %d, at once %d, stats %+v", old.Load(), fresh.Load(), g.most.Load(), s.Stats())
		}
	})
}

func TestPanicIsIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var events, tasks, others int
		s := start(t, schedule.Config{Workers: 1, Log: slog.New(slog.NewTextHandler(&out, nil))})
		s.AddEvent(schedule.Key{Peer: "hq", Collector: "icmp"}, time.Minute, func(time.Time) time.Time { events++; panic("event fails") })
		s.AddTask(schedule.Key{Peer: "hq", Collector: "pmtu"}, time.Minute, 0, func(context.Context) bool { tasks++; panic(errors.New("task fails")) })
		s.AddTask(schedule.Key{Peer: "hq", Collector: "fragments"}, time.Minute, 0, func(context.Context) bool { others++; return false })
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		for what, n := range map[string]int{"events": events, "tasks": tasks, "other tasks": others} {
			if n < 10 || n > 11 {
				t.Errorf("%d %s ran in 10 minutes, want 10 or 11", n, what)
			}
		}
		if got := s.Stats().Panics; got != uint64(events+tasks) {
			t.Errorf("%d panics counted, want %d", got, events+tasks)
		}
		for _, want := range []string{`panic="task fails"`, `panic="event fails"`, "peer=hq collector=pmtu", "TestPanicIsIsolated"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("log lacks %s", want)
			}
		}
	})
}

func TestRunEndsAfterItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := schedule.New(schedule.Config{Workers: 1})
		ran := 0
		for i := range 3 {
			key := schedule.Key{Peer: peerName(i), Collector: "pmtu"}
			s.AddTask(key, time.Minute, 0, func(ctx context.Context) bool {
				ran++
				<-ctx.Done()
				time.Sleep(3 * time.Second)
				return true
			})
			s.Now(key)
		}
		time.AfterFunc(10*time.Second, cancel)
		began := time.Now()
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := time.Since(began); got != 13*time.Second || ran != 1 {
			t.Errorf("Run ended after %v and %d tasks, want 13s and 1", got, ran)
		}
		if err := s.Run(t.Context()); !errors.Is(err, schedule.ErrStarted) {
			t.Errorf("second Run: %v", err)
		}
	})
}

func TestNotPositiveInterval(t *testing.T) {
	defer func() {
		if v := recover(); v != "schedule: interval of hq icmp is not positive" {
			t.Errorf("recovered %v", v)
		}
	}()
	schedule.New(schedule.Config{}).AddEvent(schedule.Key{Peer: "hq", Collector: "icmp"}, 0, nil)
}

// TestEverythingAtOnce is for the race detector, and for what must hold in any order of calls.
func TestEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 8
		each := make([]gauge, peers)
		s := start(t, schedule.Config{Workers: 3})
		add := func(i int) {
			s.AddEvent(schedule.Key{Peer: peerName(i), Collector: "icmp"}, time.Second, func(now time.Time) time.Time {
				return now.Add(time.Duration(rand.IntN(2000)) * time.Millisecond)
			})
			for _, c := range []string{"pmtu", "fragments"} {
				s.AddTask(schedule.Key{Peer: peerName(i), Collector: c}, 2*time.Second, 0, func(context.Context) bool {
					each[i].enter()
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
					each[i].leave()
					return rand.IntN(4) == 0
				})
			}
		}
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for range 2000 {
					i := rand.IntN(peers)
					switch rand.IntN(8) {
					case 0:
						<-s.Remove(peerName(i))
					case 1, 2:
						add(i)
					case 3:
						s.Overdue(peerName(i))
						s.Lag()
						s.LastRun(schedule.Key{Peer: peerName(i), Collector: "pmtu"})
					default:
						s.Now(schedule.Key{Peer: peerName(i), Collector: "pmtu"})
					}
					time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
				}
			})
		}
		callers.Wait()
		for i := range peers {
			<-s.Remove(peerName(i))
			// A caller may add a peer while another one still waits for the end of its removal.
			if most := each[i].most.Load(); most > 4 || each[i].total.Load() < 100 || each[i].now.Load() != 0 {
				t.Errorf("%s: %d at once, %d runs, %d still running", peerName(i), most, each[i].total.Load(), each[i].now.Load())
			}
		}
		synctest.Wait()
		if st := s.Stats(); st.Keys != 0 || st.Running != 0 || st.Waiting != 0 {
			t.Errorf("something is left: %+v", st)
		}
	})
}
