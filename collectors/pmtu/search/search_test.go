package search

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ideal plays a search against a path without loss, without any simulation of time, and returns the
// sizes sent.
func ideal(s *Search, mtu int, speaks bool) []int {
	var sent []int
	now := time.Duration(0)
	for {
		r, ok := s.Next()
		if !ok {
			return sent
		}
		now += r.Delay
		var seen []Observation
		for i, size := range r.Sizes {
			sent = append(sent, size)
			o := Observation{Size: size, At: now + time.Duration(i)*r.Spacing}
			switch {
			case size <= mtu:
				o.Outcome, o.RoundTrip = Acked, 20*time.Millisecond
			case speaks:
				o.Outcome, o.MTU = TooBig, mtu
			}
			seen = append(seen, o)
		}
		now += time.Duration(len(r.Sizes))*r.Spacing + r.Timeout
		s.Observe(now, seen)
	}
}

func TestSearchIsPure(t *testing.T) {
	cfg := Config{Control: 36, Link: 1500, Minimum: 68, Seed: 3}
	first := ideal(New(cfg), 1437, false)
	second := ideal(New(cfg), 1437, false)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same observations led to other probes:\n%s", diff)
	}
}

func TestSearchForgetsNonsense(t *testing.T) {
	tests := map[string]Config{
		"known above the link":     {Known: BlackHole, KnownBytes: 1600},
		"known below the control":  {Known: Reduced, KnownBytes: 20},
		"clean, but not the link":  {Known: Clean, KnownBytes: 1400},
		"reduced, but the link":    {Known: Reduced, KnownBytes: 1500},
		"no conclusive state":      {Known: Inconclusive, KnownBytes: 1400},
		"a conclusive one of none": {Known: BlackHole},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			cfg.Control, cfg.Link, cfg.Minimum = 36, 1500, 68
			r, ok := New(cfg).Next()
			if !ok || !slices.Equal(r.Sizes, []int{1500}) {
				t.Errorf("opens with %v, want the link's MTU", r.Sizes)
			}
		})
	}
}

// A late ack of a probe that was given up corrects the verdict's ground: it is proof like any
// other.
func TestLateAckIsProof(t *testing.T) {
	s := New(Config{Control: 36, Link: 1500, Minimum: 68})
	s.Next()
	s.Observe(time.Second, []Observation{{Size: 1500}})
	s.Next()
	s.Observe(2*time.Second, []Observation{
		{Size: 36, At: time.Second, Outcome: Acked, RoundTrip: time.Millisecond},
		{Size: 1500, At: time.Second},
		{Size: 1500, Outcome: Acked, RoundTrip: 1200 * time.Millisecond, Late: true},
	})
	if v := s.Verdict(); v.State != Clean || v.Bytes != 1500 {
		t.Errorf("got %s %d, want clean 1500", v.State, v.Bytes)
	}
}

// The packet cap holds, and the verdict at the cap is what was proven.
func TestPacketCap(t *testing.T) {
	for limit := range 60 {
		s := New(Config{Control: 36, Link: 1500, Minimum: 68, Packets: limit + 1})
		sent := ideal(s, 900, false)
		v := s.Verdict()
		if len(sent) > limit+1 || v.Packets != len(sent) {
			t.Errorf("cap %d: sent %d, counted %d", limit+1, len(sent), v.Packets)
		}
		if v.State != Inconclusive && v.State != BlackHole || v.Bytes > 900 {
			t.Errorf("cap %d: got %s %d", limit+1, v.State, v.Bytes)
		}
		if v.State == BlackHole && v.Bytes != 900 {
			t.Errorf("cap %d: wrong size %d", limit+1, v.Bytes)
		}
	}
}

// TestPairs pins how many pairs are wanted, for each number of lost controls of each number of
// controls, and for a loss of the run that must not be undercut.
func TestPairs(t *testing.T) {
	fifth, half := pairRun{sent: 5, acked: 4}, pairRun{sent: 6, acked: 3}
	for _, tt := range []struct {
		run      pairRun
		controls int
		want     []int
	}{
		{pairRun{}, 0, []int{6}}, // nothing is known: 1/5
		{pairRun{}, 5, []int{4, 6, 8, 11, 14, 19}},
		{pairRun{}, 8, []int{4, 5, 7, 8, 10, 12, 15, 19, 26}},
		{pairRun{}, 25, []int{3, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 23, 26, 30, 35, 42, 51, 65}},
		{pairRun{}, 40, []int{3}}, // never fewer
		{fifth, 0, []int{6}},
		{fifth, 8, []int{6, 6, 7, 8, 10, 12, 15, 19, 26}},
		{half, 5, []int{14, 14, 14, 14, 14, 19}},
		{half, 8, []int{14, 14, 14, 14, 14, 14, 15, 19, 26}},
		{pairRun{sent: 7}, 8, []int{math.MaxInt32}}, // all of the run was lost
	} {
		for lost, n := range tt.want {
			e := evidence{proven: 100, tallies: []tally{{size: 100, sent: tt.controls, acked: tt.controls - lost}}}
			if got := tt.run.wanted(&e); got != n {
				t.Errorf("%d of %d lost, run %+v: got %d pairs, want %d", lost, tt.controls, tt.run, got, n)
			}
		}
	}
}

// Wherever anything was lost, a run that independent loss does not explain is no accident of a
// limiter either: under a permutation of all answers over all probes, that only the smaller size
// got any has a probability below 1 %.
func TestPairsPassAPermutationTest(t *testing.T) {
	convinced := 0
	for n := minPairs; n <= 2*maxPairs; n++ {
		for acked := 2; acked < n; acked++ {
			run := pairRun{lower: 100, sent: n, acked: acked, upper: n}
			e := evidence{proven: 100, tallies: []tally{{size: 100, sent: 1000, acked: 1000}}}
			if !run.complete(&e) {
				continue
			}
			convinced++
			p := 1.0
			for i := range acked {
				p *= float64(n-i) / float64(2*n-i)
			}
			if p > 0.01 {
				t.Errorf("%d of %d acks convince, and %.3f is their probability", acked, n, p)
			}
		}
	}
	if convinced == 0 {
		t.Error("no run convinces")
	}
}

// Every pair has one half of each size, and no short period of a limiter keeps step with their
// order.
func TestOrderOfPairs(t *testing.T) {
	run := pairRun{lower: 1400, seed: 42}
	var order []int
	for range 4096 {
		order = append(order, run.half())
	}
	for i := 0; i < len(order); i += 2 {
		if order[i]+order[i+1] != 2801 {
			t.Fatalf("pair %d is %v", i/2, order[i:i+2])
		}
	}
	for period := 2; period <= 20; period++ {
		for phase := range period {
			upper, all := 0, 0
			for i := phase; i < len(order); i += period {
				upper += order[i] - 1400
				all++
			}
			// Four standard deviations of a fair coin.
			if off := math.Abs(float64(upper) - float64(all)/2); off > 2*math.Sqrt(float64(all)) {
				t.Errorf("a limiter that passes every %dth packet from %d on sees %d of %d large ones", period, phase, upper, all)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	for low := 36; low <= 2000; low += 491 {
		for width := 2; width < 40000; width += 1 + width/50 {
			sizes := spread(low, low+width)
			if len(sizes) > maxBurst+1 || sizes[len(sizes)-1] != low+1 {
				t.Fatalf("(%d, %d): %v", low, low+width, sizes)
			}
			for i, s := range sizes {
				if s <= low || s >= low+width || i > 0 && s >= sizes[i-1] {
					t.Fatalf("(%d, %d): %v", low, low+width, sizes)
				}
			}
		}
	}
}

func TestPlateausFall(t *testing.T) {
	p := plateaus()
	for i := 1; i < len(p); i++ {
		if p[i] >= p[i-1] {
			t.Errorf("%d after %d", p[i], p[i-1])
		}
	}
}

// FuzzSearch feeds arbitrary observations to a search: it must end within its cap, name no size
// that was not acked, and never end in a state that its evidence does not carry.
func FuzzSearch(f *testing.F) {
	f.Add(uint16(1500), uint16(0), uint8(0), []byte{1})
	f.Add(uint16(1500), uint16(1400), uint8(3), []byte{0, 1, 0, 1, 2, 0x82, 0x42})
	f.Add(uint16(9000), uint16(1400), uint8(2), []byte{2, 2, 2, 0x12, 1, 0, 3, 0x33, 1, 1})
	f.Add(uint16(1500), uint16(1280), uint8(7), []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, link, known uint16, flags uint8, what []byte) {
		if len(what) == 0 {
			return
		}
		cfg := Config{
			Control: 36, Link: int(link), Minimum: 68, KnownBytes: int(known), Known: State(flags & 3),
			Raise: flags&4 != 0, SendsPTBs: flags&8 != 0, Hints: []int{int(known) + 7, 1400}, Seed: uint64(flags),
		}
		s := New(cfg)
		acked, sent := make(map[int]bool), make(map[int]bool)
		packets, next := 0, 0
		draw := func() byte { next++; return what[next%len(what)] }
		now := time.Duration(0)
		for rounds := 0; ; rounds++ {
			r, ok := s.Next()
			if !ok {
				break
			}
			if rounds > DefaultPackets+maxLocal {
				t.Fatal("does not end")
			}
			var seen []Observation
			for _, size := range r.Sizes {
				if size < 1 || size > max(int(link), 36) {
					t.Fatalf("wants to send %d bytes over a link of %d", size, link)
				}
				b := draw()
				o := Observation{Size: size, Outcome: Outcome(b & 3), MTU: int(draw()) * int(b>>4), At: now}
				if o.Outcome != TooBigLocally {
					packets++
				}
				if o.Outcome == Acked {
					acked[size] = true
					o.RoundTrip = time.Duration(b) * time.Millisecond
				}
				sent[size] = true
				seen = append(seen, o)
				if b&4 != 0 {
					late := Observation{Size: int(draw()) * 8, Outcome: Outcome(b & 3), Late: true}
					if late.Outcome == Acked && sent[late.Size] {
						acked[late.Size] = true
					}
					seen = append(seen, late)
				}
			}
			now += time.Duration(draw()) * 50 * time.Millisecond
			s.Observe(now, seen)
		}
		v := s.Verdict()
		if packets > DefaultPackets || v.Packets > DefaultPackets {
			t.Errorf("sent %d packets, counted %d", packets, v.Packets)
		}
		if v.Bytes != 0 && !acked[v.Bytes] {
			t.Errorf("%s %d: that size was never acked", v.State, v.Bytes)
		}
		if v.State == Unknown || v.State.Conclusive() && v.Bytes == 0 || v.State == Clean && v.Bytes != v.Link {
			t.Errorf("ended as %s %d of %d", v.State, v.Bytes, v.Link)
		}
		if (v.State == Reduced || v.State == BlackHole) && (v.Bytes >= v.Link || !sent[v.Bytes+1]) {
			t.Errorf("%s %d of %d: the next larger size was never tried", v.State, v.Bytes, v.Link)
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	for name, path := range map[string]struct {
		mtu    int
		speaks bool
	}{"clean": {1500, true}, "ptb": {1400, true}, "black_hole": {1437, false}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			packets := 0
			for b.Loop() {
				packets += len(ideal(New(Config{Control: 36, Link: 1500, Minimum: 68}), path.mtu, path.speaks))
			}
			b.ReportMetric(float64(packets)/float64(b.N), "packets/op")
		})
	}
}
