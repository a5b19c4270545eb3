package netio

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seen is the part of an answer that depends on time.
type seen struct {
	Outcome    Outcome
	Late       bool
	LocalDrops bool
}

func seenOf(got []Answer) (out []seen) {
	for _, a := range got {
		out = append(out, seen{a.Outcome, a.Late, a.LocalDrops})
	}
	return out
}

// TestLateReading: an answer is late if the kernel received it late. That it is read late makes no
// difference.
func TestLateReading(t *testing.T) {
	const timeout = 2 * time.Second
	for name, tt := range map[string]struct {
		after time.Duration // from sending to receiving
		want  []seen
	}{
		"received in time": {time.Second, []seen{{Outcome: Delivered}}},
		"received late":    {3 * time.Second, []seen{{Outcome: Silent}, {Outcome: Delivered, Late: true}}},
	} {
		s := matching(t)
		f := ikeFlight(300)
		var got []Answer
		f.flow, f.answer = testFlow, func(a Answer) { got = append(got, a) }
		sent := time.Now().Add(-5 * time.Second) // it is read now, after its deadline
		s.flights.add(f, sent, timeout, time.Minute)
		s.onUDP(netip.AddrPortFrom(testPeer, 500), append(f.token[:], 1), reception{at: sent.Add(tt.after).Round(0)})
		s.flights.expire(time.Now())
		if d := cmp.Diff(tt.want, seenOf(got)); d != "" {
			t.Errorf("%s: answers (-want +got):\n%s", name, d)
		}
	}
}

// TestStandstill: silence of a probe that was under way while the program stood still shows nothing,
// silence of a later one does.
func TestStandstill(t *testing.T) {
	s := matching(t)
	s.engine.stack = s
	during := launch(s, ikeFlight(300))
	now := time.Now()
	s.engine.wall = wallOffset(now)
	s.engine.watch(now, now)
	s.engine.watch(now.Add(standstill-time.Millisecond), now)
	if n := s.engine.stops.Load(); n != 0 {
		t.Fatalf("%d standstills without one", n)
	}
	s.engine.watch(now, now)
	s.engine.watch(now.Add(standstill+time.Millisecond), now)
	s.engine.watch(now.Add(standstill+2*time.Millisecond), now) // who reads along has noticed it already
	if n := s.engine.stops.Load(); n != 1 {
		t.Fatalf("%d standstills, want 1", n)
	}
	after := launch(s, ikeFlight(301))
	s.flights.expire(now.Add(time.Hour))
	for what, c := range map[string]struct {
		got  []Answer
		want bool
	}{"during": {*during, true}, "after": {*after, false}} {
		if d := cmp.Diff([]seen{{Outcome: Silent, LocalDrops: c.want}}, seenOf(c.got)); d != "" {
			t.Errorf("%s: answers (-want +got):\n%s", what, d)
		}
	}
}

// TestClockStep: the kernel's times are of no use in the pass after the wall clock was set.
func TestClockStep(t *testing.T) {
	s := matching(t)
	s.engine.stack = s
	now := time.Now()
	s.engine.wall = wallOffset(now) + 2*clockStep // as if it had been set back since
	s.engine.watch(now, now)
	if !s.engine.stepped || s.engine.stops.Load() != 1 {
		t.Errorf("a step of the clock: stepped %v, %d standstills", s.engine.stepped, s.engine.stops.Load())
	}
	s.engine.watch(now, now)
	if s.engine.stepped {
		t.Error("the step does not end")
	}
}
