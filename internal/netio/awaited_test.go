package netio

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/silence"
)

// TestAwaited: the engine knows whether somebody waits for an answer, whatever becomes of the
// probes.
func TestAwaited(t *testing.T) {
	s := matching(t)
	if patient := echoFlight(100); !s.flights.hasTime() {
		t.Fatal("it waits for nothing")
	} else if patient.patient = true; len(*launch(s, patient)) != 0 || !s.flights.hasTime() {
		t.Error("it waits for an echo for which nobody does")
	}
	for name, end := range map[string]func(s *Stack, f *flight){
		"answered": func(s *Stack, f *flight) { s.flights.settle(f, Answer{Outcome: Delivered}, reception{at: time.Now()}) },
		"silent":   func(s *Stack, f *flight) { s.flights.expire(f.deadline) },
		"late": func(s *Stack, f *flight) {
			s.flights.expire(f.deadline)
			s.flights.settle(f, Answer{Outcome: Delivered}, reception{at: time.Now()})
		},
		"answered twice": func(s *Stack, f *flight) {
			s.flights.settle(f, Answer{Outcome: Delivered}, reception{at: time.Now()})
			s.flights.settle(f, Answer{Outcome: Delivered}, reception{at: time.Now()})
		},
		"not sent": func(s *Stack, f *flight) { s.flights.cancel(f) },
		"answered and not sent": func(s *Stack, f *flight) {
			s.flights.settle(f, Answer{Outcome: TooBig}, reception{})
			s.flights.cancel(f)
		},
	} {
		s, f := matching(t), ikeFlight(300)
		launch(s, f)
		if s.flights.hasTime() {
			t.Errorf("%s: it does not wait", name)
		}
		if end(s, f); !s.flights.hasTime() || s.flights.awaited != 0 {
			t.Errorf("%s: %d are awaited", name, s.flights.awaited)
		}
	}
}

// TestSilenceWaitsForTheSender: while the sender of a probe waits for the kernel, the probe is not
// silent.
func TestSilenceWaitsForTheSender(t *testing.T) {
	s := matching(t)
	var got []Answer
	f := ikeFlight(300)
	f.flow, f.answer = testFlow, func(a Answer) { got = append(got, a) }
	s.flights.add(f, time.Now(), time.Minute, time.Minute)
	if s.flights.expire(f.deadline.Add(time.Second)); len(got) != 0 {
		t.Fatalf("before it has left: %+v", got)
	}
	s.flights.departed(f, f.deadline)
	if s.flights.expire(f.deadline.Add(2 * time.Second)); len(got) != 1 || got[0].Outcome != Silent {
		t.Errorf("after that: %+v", got)
	}
}

// TestRefusedAtOnce: while the kernel tells the sender that it refuses a packet, the engine may
// read the ICMP error about it. One of them answers, and is recorded.
func TestRefusedAtOnce(t *testing.T) {
	s, set := matching(t), &sockets{}
	for range 300 {
		r, answers := &recording{}, atomic.Int32{}
		f := s.flights.make()
		*f = flight{dst: testPeer, size: 1500, flow: testFlow, recorder: r, src: testSelf, set: set, queue: &queueCount{}}
		f.answer = func(Answer) { answers.Add(1) }
		f.charge, _ = s.silence.Admit(Lane(Path{Dst: f.dst}, f.protocol, f.port), time.Now(), silence.Probe{Packets: 1})
		s.flights.add(f, time.Now(), time.Minute, time.Minute)
		packet := icmpError(testSelf, 3, 4, 1492, probeBytes(f), 548)
		var both sync.WaitGroup
		both.Go(func() { s.refused(f, Path{Dst: testPeer}, 1500, unix.ENOBUFS) })
		s.onICMPv4(set, packet, reception{at: time.Now()})
		both.Wait()
		if n := answers.Load(); n != 1 || len(r.all) != 1 {
			t.Fatalf("%d answers, %d recorded, want one each", n, len(r.all))
		}
		s.flights.make().size = 1 // one that was forgotten may be in use again
	}
}
