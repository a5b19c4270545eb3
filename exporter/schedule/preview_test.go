package schedule_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/exporter/schedule"
)

// previews records when the previews and rounds of many peers begin.
type previews struct {
	mu           sync.Mutex
	began        time.Time
	looks, first map[string]time.Duration
}

func (p *previews) note(of map[string]time.Duration, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := of[name]; !ok {
		of[name] = time.Since(p.began)
	}
}

func (p *previews) add(s *schedule.Scheduler, peers int, interval time.Duration) {
	for i := range peers {
		name := peerName(i)
		s.AddPreviewed(schedule.Key{Peer: name, Collector: "pmtu"}, interval, 0,
			func(context.Context) bool { p.note(p.looks, name); return false },
			func(context.Context) bool { p.note(p.first, name); return false })
	}
}

// TestPreviews: every peer has its preview before any has its first round, both evenly spread, and none
// where there is no time for it.
func TestPreviews(t *testing.T) {
	for name, tt := range map[string]struct {
		most, interval time.Duration
		previewed      bool
	}{
		"usual":                     {30 * time.Second, time.Minute, true},
		"few peers":                 {9 * time.Second, time.Minute, false},
		"interval as short as both": {30 * time.Second, 9 * time.Second, false},
		"shortest":                  {10 * time.Second, time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const peers = 1000
				p := previews{began: time.Now(), looks: make(map[string]time.Duration), first: make(map[string]time.Duration)}
				s := start(t, schedule.Config{MaxFirst: tt.most})
				p.add(s, peers, tt.interval)
				time.Sleep(min(tt.most, tt.interval) + time.Second)
				p.mu.Lock()
				defer p.mu.Unlock()
				if len(p.first) != peers {
					t.Errorf("%d of %d peers have had a round", len(p.first), peers)
				}
				if !tt.previewed {
					if len(p.looks) > 0 {
						t.Errorf("%d previews", len(p.looks))
					}
					return
				}
				if len(p.looks) != peers {
					t.Errorf("%d previews of %d peers", len(p.looks), peers)
				}
				previewed, opening := tt.most/schedule.PreviewsShare, tt.most/schedule.RoundsShare
				early, half := 0, (opening+tt.most)/2
				firstHalf := 0
				for name, at := range p.looks {
					if at > previewed+time.Second/10 || p.first[name] < opening {
						t.Errorf("%s: preview after %v, first round after %v", name, at, p.first[name])
					}
					if at < previewed/2 {
						early++
					}
					if p.first[name] < half {
						firstHalf++
					}
				}
				if early < 450 || early > 550 || firstHalf < 450 || firstHalf > 550 {
					t.Errorf("of %d peers %d have the preview in the first half, %d the first round", peers, early, firstHalf)
				}
			})
		})
	}
}

// TestNowWhileAPreviewWaits: a preview that waits for a worker gives way to the round that is asked for.
func TestNowWhileAPreviewWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := previews{began: time.Now(), looks: make(map[string]time.Duration), first: make(map[string]time.Duration)}
		s := start(t, schedule.Config{Workers: 1})
		blocked, release := schedule.Key{Peer: "blocked", Collector: "pmtu"}, make(chan struct{})
		s.AddTask(blocked, time.Minute, 0, func(context.Context) bool { <-release; return false })
		s.Now(blocked)
		p.add(s, 1, time.Minute)
		time.Sleep(schedule.DefaultMaxFirst/schedule.PreviewsShare + time.Second) // its preview is due, and there is no worker
		s.Now(schedule.Key{Peer: peerName(0), Collector: "pmtu"})
		close(release)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, ok := p.first[peerName(0)]; !ok || len(p.looks) > 0 {
			t.Errorf("rounds %v, previews %v", p.first, p.looks)
		}
	})
}

// TestNowInPlaceOfAPreview: who asks for a round gets one, and there is no preview after it.
func TestNowInPlaceOfAPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := previews{began: time.Now(), looks: make(map[string]time.Duration), first: make(map[string]time.Duration)}
		s := start(t, schedule.Config{})
		p.add(s, 1, time.Minute)
		s.Now(schedule.Key{Peer: peerName(0), Collector: "pmtu"})
		time.Sleep(time.Minute)
		p.mu.Lock()
		defer p.mu.Unlock()
		if at, ok := p.first[peerName(0)]; !ok || at > time.Second || len(p.looks) > 0 {
			t.Errorf("the round began after %v (%t), previews %v", at, ok, p.looks)
		}
	})
}

// TestMorePreviews: a second look comes behind the first looks of the others, before the first round, and
// not at all once somebody asked for a round.
func TestMorePreviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 20
		var order []string
		s := start(t, schedule.Config{Workers: 1})
		blocked, release := schedule.Key{Peer: "blocked", Collector: "pmtu"}, make(chan struct{})
		s.AddTask(blocked, 5*time.Minute, 0, func(context.Context) bool { <-release; return false })
		s.Now(blocked)
		for i := range peers {
			looks, key := 0, schedule.Key{Peer: peerName(i), Collector: "pmtu"}
			s.AddPreviewed(key, time.Minute, 0,
				func(context.Context) bool {
					looks++
					order = append(order, []string{"", "first", "second"}[looks])
					if i == peers-1 {
						s.Now(key)
					}
					return looks == 1
				},
				func(context.Context) bool { order = append(order, "round"); return false })
		}
		time.Sleep(schedule.DefaultMaxFirst/schedule.PreviewsShare + time.Second) // all are due, and there is no worker
		close(release)
		time.Sleep(schedule.DefaultMaxFirst)
		synctest.Wait()
		want := slices.Concat(slices.Repeat([]string{"first"}, peers), slices.Repeat([]string{"second"}, peers-1), slices.Repeat([]string{"round"}, peers))
		slices.Sort(order[peers : 2*peers]) // the round that was asked for is among the second looks
		if want = slices.Insert(slices.Delete(want, len(want)-1, len(want)), peers, "round"); !slices.Equal(order, want) {
			t.Errorf("order of %d runs: %v", len(order), order)
		}
	})
}
