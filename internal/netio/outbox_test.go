package netio

import (
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// TestDeferredEchoes: echoes that wait for Flush leave with it and not before, each with its own
// answer, and one that the kernel refuses does not affect the others.
func TestDeferredEchoes(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		const n = 2*outboxSize + 5
		if a := probe(t, s, echoOf(p.ServerAddr(v6), 100)); a.Outcome != Delivered { // so that many may follow
			t.Fatalf("%+v", a)
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		answers := make(map[int]Answer)
		left := s.Stats().UnderWay
		for i := range n {
			size := 100
			if i%10 == 3 {
				size = 1501 // more than the link carries
			}
			packet := echoOf(p.ServerAddr(v6), size)
			packet.Deferred = true
			all.Add(1)
			s.Send(t.Context(), packet, 700*time.Millisecond, func(a Answer) {
				if a.Late || a.Duplicate {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				answers[i] = a
				all.Done()
			})
		}
		if under := s.Stats().UnderWay - left; under == 0 {
			t.Error("no echo waits")
		}
		s.Flush()
		all.Wait()
		for i, a := range answers {
			want := Delivered
			if i%10 == 3 {
				want = TooBigLocally
			}
			if a.Outcome != want || want == TooBigLocally && a.MTU != 1500 || want == Delivered && a.RoundTrip <= 0 {
				t.Errorf("echo %d: %+v", i, a)
			}
		}
	})
}

// TestEchoesLeaveWithoutFlush: where nobody calls Flush, echoes leave after a while, again and again.
func TestEchoesLeaveWithoutFlush(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		for range 3 {
			packet := echoOf(p.ServerAddr(v6), 100)
			packet.Deferred = true
			if a := probe(t, s, packet); a.Outcome != Delivered {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestFlushOfNothing: without anything put off, Flush does nothing.
func TestFlushOfNothing(t *testing.T) {
	netlab.Need(t)
	_, s := inLab(t)
	before := s.Stats()
	s.Flush()
	if after := s.Stats(); after.UnderWay != before.UnderWay {
		t.Errorf("%+v, then %+v", before, after)
	}
}
