package xfrm

import (
	"math/rand/v2"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// A receiver is the receiving end of an SA as the kernel has it (net/xfrm/xfrm_replay.c): the window
// of 32 for short sequence numbers, or a ring.
type receiver struct {
	seq, packets uint64
	window       uint32
	ring         bool
	bits         []uint32
	from         uint64 // the first number that was sent
}

func newReceiver(window uint32, ring bool, before uint64) *receiver {
	return &receiver{window: window, ring: ring, bits: make([]uint32, (window+31)/32), seq: before, packets: before, from: before + 1}
}

func (r *receiver) at(number uint64) (word *uint32, bit uint32) {
	n := uint32(r.seq - number)
	if r.ring {
		n = (uint32(number) - 1) % r.window
	}
	return &r.bits[n/32], 1 << (n % 32)
}

// takes enters a number into the window, and reports whether the packet is accepted.
func (r *receiver) takes(number uint64) bool {
	if number > r.seq {
		r.advance(number)
	} else if r.seq-number >= uint64(r.window) {
		return false
	}
	word, bit := r.at(number)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	r.packets++
	return true
}

func (r *receiver) advance(number uint64) {
	if !r.ring {
		r.bits[0] <<= min(number-r.seq, 32)
		r.seq = number
		return
	}
	for n := max(r.seq+1, number-min(number, uint64(r.window))+1); n <= number; n++ {
		r.seq = n
		word, bit := r.at(n)
		*word &^= bit
	}
}

// message is the kernel's message about the SA.
func (r *receiver) message(spi uint32) []byte {
	s := state{src: them, dst: us, spi: spi, proto: protoESP, keyed: true, packets: r.packets, added: when}
	if !r.ring {
		b := saMessage(s, attr(attrReplay, order.AppendUint32(append(four(0), four(uint32(r.seq))...), r.bits[0])))
		b[stateWindow] = byte(r.window)
		return b
	}
	value := append(four(uint32(len(r.bits))), four(0)...)
	value = append(append(value, four(uint32(r.seq))...), four(0)...)
	value = append(append(value, four(uint32(r.seq>>32))...), four(r.window)...)
	for _, word := range r.bits {
		value = append(value, four(word)...)
	}
	return saMessage(s, attr(attrReplayESN, value))
}

// counted is what a reading counts of one SA.
func counted(t *testing.T, l *losses, now time.Time, message []byte) gateways.Count {
	t.Helper()
	s, ok := parseState(message)
	if !ok {
		t.Fatal("not an SA")
	}
	states := []state{s}
	l.add(states, now)
	return states[0].lost
}

// TestLosses: after everything had time to arrive, exactly what did not is counted, whatever the order
// of arrival, also over the wrap of the lower half of the number; until then, never more.
func TestLosses(t *testing.T) {
	for name, kind := range map[string]struct {
		window uint32
		ring   bool
		before uint64
	}{
		"32": {32, false, 0}, "8": {8, false, 0}, "128": {128, true, 0}, "uneven": {100, true, 0}, "wrap": {64, true, 1<<32 - 500}, "wraps twice": {256, true, 1<<33 - 700},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(50) {
				random := rand.New(rand.NewPCG(seed, 1))
				r, l, now := newReceiver(kind.window, kind.ring, kind.before), &losses{}, when
				counted(t, l, now, r.message(7)) // the SA is new, or was read before
				var under []uint64               // way
				var lost uint64
				for number := r.from; number < r.from+1000; number++ {
					if under = append(under, number); random.IntN(20) == 0 {
						under, lost = under[:len(under)-1], lost+1
					}
					for len(under) > int(kind.window)/4 {
						i := random.IntN(len(under))
						if under[0]+uint64(kind.window)/2 < number {
							i = 0
						}
						if !r.takes(under[i]) {
							t.Fatalf("the packet %d is refused", under[i])
						}
						under = append(under[:i], under[i+1:]...)
					}
					if random.IntN(30) == 0 {
						now = now.Add(time.Second)
						if got := counted(t, l, now, r.message(7)); !got.Known || got.Value > lost {
							t.Fatalf("at %d: %+v are counted, %d were lost", number, got, lost)
						}
					}
					if number%200 == 0 { // all arrive, and are old
						for _, n := range under {
							r.takes(n)
						}
						under = nil
						tail := uint64(0)
						for n := r.seq + 1; n <= number; n++ {
							tail++ // Nothing shows what was sent after the last packet that arrived.
						}
						counted(t, l, now.Add(settleTime), r.message(7))
						now = now.Add(2 * settleTime)
						if got := counted(t, l, now, r.message(7)); got != gateways.Counted(lost-tail) {
							t.Fatalf("at %d: %+v are counted, %d were lost", number, got, lost-tail)
						}
					}
				}
			}
		})
	}
}

// TestLossesBehindTheWindow: what the kernel would refuse is lost at once, what may still arrive is
// not.
func TestLossesBehindTheWindow(t *testing.T) {
	r, l := newReceiver(32, false, 0), &losses{}
	r.takes(1)
	r.takes(5) // 2 to 4 are missing
	if got := counted(t, l, when, r.message(1)); got != gateways.Counted(0) {
		t.Errorf("within the window: %+v", got)
	}
	for n := uint64(6); n <= 35; n++ {
		r.takes(n)
	}
	if got := counted(t, l, when.Add(time.Second), r.message(1)); got != gateways.Counted(2) {
		t.Errorf("2 and 3 are behind the window: %+v", got)
	}
	r.takes(4)
	if got := counted(t, l, when.Add(time.Minute), r.message(1)); got != gateways.Counted(2) {
		t.Errorf("4 has arrived: %+v", got)
	}
}

// TestLossesWithoutNumbers: what the kernel does not show is not counted, and counters that were set
// instead of counted are no loss.
func TestLossesWithoutNumbers(t *testing.T) {
	l := &losses{}
	r := newReceiver(32, false, 0)
	for n := uint64(1); n <= 100; n++ {
		if n%10 != 0 {
			r.takes(n)
		}
	}
	r.window = 0
	if got := counted(t, l, when, r.message(1)); got.Known {
		t.Errorf("without a window: %+v", got)
	}
	r.window = 32
	offload := attr(attrOffload, []byte{1, 0, 0, 0, offloadPacket, 0, 0, 0})
	if got := counted(t, l, when, append(r.message(1), offload...)); got.Known {
		t.Errorf("with the numbers in a device: %+v", got)
	}
	counted(t, l, when, r.message(1))
	now := when.Add(time.Minute)
	counted(t, l, now, r.message(1))
	before := counted(t, l, now.Add(time.Minute), r.message(1))
	if before != gateways.Counted(9) { // 100 is the last one
		t.Errorf("%+v of 9", before)
	}
	r.packets = 0
	if got := counted(t, l, now.Add(2*time.Minute), r.message(1)); got != before {
		t.Errorf("after the counter of packets was reset: %+v", got)
	}
	for n := uint64(101); n <= 200; n++ {
		if n > 110 {
			r.takes(n)
		}
	}
	if got := counted(t, l, now.Add(3*time.Minute), r.message(1)); got.Value < before.Value+9 || got.Value > before.Value+11 { // 100 to 110
		t.Errorf("11 more were lost: %+v, before %+v", got, before)
	}
	moved := newReceiver(32, false, 0)
	for n := uint64(1); n <= 1000; n++ {
		moved.takes(n)
	}
	moved.packets = 3 // a new SA with the numbers of another one
	if got := counted(t, l, now, moved.message(2)); got != gateways.Counted(0) {
		t.Errorf("of an SA that was made with its numbers: %+v", got)
	}
}

// TestLossesForget: what is known of an SA goes with it.
func TestLossesForget(t *testing.T) {
	l := &losses{}
	counted(t, l, when, newReceiver(32, false, 0).message(1))
	counted(t, l, when, newReceiver(32, false, 0).message(2))
	if len(l.of) != 1 {
		t.Errorf("%d SAs are remembered", len(l.of))
	}
}

// TestTwoSAsOfOneNumber: marks distinguish SAs as well; only the first of two is counted.
func TestTwoSAsOfOneNumber(t *testing.T) {
	s, _ := parseState(newReceiver(32, false, 0).message(1))
	states := []state{s, s}
	(&losses{}).add(states, when)
	if !states[0].lost.Known || states[1].lost.Known {
		t.Errorf("%+v and %+v", states[0].lost, states[1].lost)
	}
}

func FuzzReplay(f *testing.F) {
	r := newReceiver(128, true, 1<<32-10)
	r.takes(1<<32 - 3)
	f.Add(r.message(1), uint64(64))
	r = newReceiver(32, false, 0)
	r.takes(9)
	f.Add(r.message(1), uint64(64))
	f.Fuzz(func(t *testing.T, b []byte, n uint64) {
		s, ok := parseState(b)
		if !ok || s.replay.window == 0 {
			return
		}
		if missing := s.replay.missing(n); missing > min(n, uint64(s.replay.window), s.replay.seq) {
			t.Errorf("%d of %d", missing, n)
		}
		(&losses{}).add([]state{s, s}, when)
	})
}
