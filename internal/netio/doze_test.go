package netio

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// echoing keeps the engine dozing: it sends a deferred echo request and counts the answers. It
// returns how many the Flush has read.
func echoing(t *testing.T, s *Stack, packet *Packet, answered *atomic.Int32) (along int32) {
	t.Helper()
	packet.Deferred = true
	s.Send(t.Context(), packet, 5*time.Second, func(a Answer) {
		if a.Outcome == Delivered {
			answered.Add(1)
		}
	})
	return flushing(s, answered)
}

func flushing(s *Stack, answered *atomic.Int32) (along int32) {
	before := answered.Load()
	s.Flush()
	return answered.Load() - before
}

// TestDozing: while nobody waits for an answer, those that have come are read by the next Flush, on the
// goroutine of its caller, or a little later by the engine. The time of their arrival is that of
// the kernel.
func TestDozing(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		if a := probe(t, s, echoOf(p.ServerAddr(v6), 100)); a.Outcome != Delivered {
			t.Fatalf("%+v", a)
		}
		var answered atomic.Int32
		along := int32(0)
		for range 40 {
			along += echoing(t, s, echoOf(p.ServerAddr(v6), 100), &answered)
			time.Sleep(20 * time.Millisecond) // the answer waits in the socket, if it has not come at once
			along += flushing(s, &answered)
		}
		// Its timer may end while the test sleeps, and a machine may be busy.
		if along < 20 {
			t.Errorf("Flush has read %d of 40 answers", along)
		}
		echoing(t, s, echoOf(p.ServerAddr(v6), 100), &answered)
		for limit := time.Now().Add(10 * time.Second); answered.Load() < 41; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%d of 41 answers without another Flush", answered.Load())
			}
		}
	})
}

// TestNoDozingWhileSomebodyWaits: a probe that somebody waits for wakes the engine.
func TestNoDozingWhileSomebodyWaits(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		var answered atomic.Int32
		took := make([]time.Duration, 0, 21)
		for range cap(took) {
			echoing(t, s, echoOf(p.ServerAddr(v6), 100), &answered)
			time.Sleep(10 * time.Millisecond)
			began := time.Now()
			if a := probe(t, s, echoOf(p.ServerAddr(v6), 100)); a.Outcome != Delivered {
				t.Fatalf("%+v", a)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		if median := took[len(took)/2]; median > leisure/2 {
			t.Errorf("an answer is seen after %v", median)
		}
	})
}
