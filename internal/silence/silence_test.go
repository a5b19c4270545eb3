package silence_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/silence"
)

var (
	peer  = netip.MustParseAddr("203.0.113.10")
	began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func lane(k silence.Kind, device string) silence.Lane {
	return silence.Lane{Dst: peer, Interface: device, Kind: k}
}

// burst sends single packets until one is refused, and returns how many were sent.
func burst(r *silence.Record, of silence.Lane, now time.Time) (n int) {
	for ; n < 1000; n++ {
		if _, err := r.Admit(of, now, silence.Probe{Packets: 1, Plain: true}); err != nil {
			return n
		}
	}
	return n
}

// TestBound: whatever is sent, in bursts and in turns, by all kinds and ways, fewer than 60 packets
// go to an address in any 300 s of silence.
func TestBound(t *testing.T) {
	r := silence.New()
	var sent []time.Time
	admit := func(of silence.Lane, now time.Time) {
		if _, err := r.Admit(of, now, silence.Probe{Packets: 1, Plain: true}); err == nil {
			sent = append(sent, now)
		} else if !errors.Is(err, silence.ErrBudget) {
			t.Fatal(err)
		}
	}
	next := began
	longest, last := time.Duration(0), began
	for now := began; now.Sub(began) < time.Hour; now = now.Add(time.Second) {
		admit(lane(silence.UDP, "wan1"), now)
		admit(lane(silence.UDP, "wan2"), now)
		admit(lane(silence.Echo, "wan1"), now)
		if !now.Before(next) {
			before := len(sent)
			r.Take(lane(silence.Echo, "wan2"), now)
			admit(lane(silence.Echo, "wan2"), now)
			if len(sent) == before {
				t.Fatalf("a probe in its turn is refused after %v", now.Sub(began))
			}
			longest, last = max(longest, now.Sub(last)), now
			next = r.Turn(peer, now, now.Add(time.Second))
		}
	}
	first := 0
	for i, at := range sent {
		for at.Sub(sent[first]) >= silence.Window {
			first++
		}
		if n := i - first + 1; n >= 60 {
			t.Fatalf("%d packets in %v", n, silence.Window)
		}
	}
	if longest > silence.SlowPace {
		t.Errorf("%v between two turns", longest)
	}
	if r.Withheld() == 0 {
		t.Error("nothing was withheld")
	}
}

// TestAnswer: the first answer ends the count of its kind, and of no other.
func TestAnswer(t *testing.T) {
	r := silence.New()
	udp, echo := lane(silence.UDP, ""), lane(silence.Echo, "")
	c, err := r.Admit(udp, began, silence.Probe{Packets: 1, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := burst(r, echo, began); n != silence.Burst-1 {
		t.Errorf("%d echoes beside one datagram", n)
	}
	if n := burst(r, udp, began); n != 0 {
		t.Errorf("%d more packets", n)
	}
	r.Answered(c, began)
	if n := burst(r, echo, began); n != 1 {
		t.Errorf("%d more echoes after an answer to the datagram", n)
	}
	if n := burst(r, udp, began.Add(3*time.Second)); n != 1000 {
		t.Errorf("%d packets while the next answer may be under way", n)
	}
	if n := burst(r, udp, began.Add(4*time.Second)); n != 0 {
		t.Errorf("%d packets after these", n)
	}
	if n := burst(r, lane(silence.Echo, "wan2"), began.Add(4*time.Second)); n != 0 {
		t.Errorf("%d echoes by another way, after %d that were not answered", n, silence.Burst)
	}
	if n := burst(r, echo, began.Add(silence.Window)); n != 0 {
		t.Errorf("%d echoes in the window of the datagrams", n)
	}
	if n := burst(r, echo, began.Add(silence.Window+4*time.Second)); n != silence.Burst {
		t.Errorf("%d packets after the window", n)
	}
}

// TestRefund: what a router reports, and what cannot get as far as the address, does not count.
func TestRefund(t *testing.T) {
	r := silence.New()
	udp := lane(silence.UDP, "")
	c, err := r.Admit(lane(silence.Echo, ""), began, silence.Probe{Packets: 1, TTL: 3, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := r.Admit(udp, began, silence.Probe{Packets: 1, TTL: 3, Plain: true}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Standing(udp, began).Left; got != silence.Burst-21 {
		t.Errorf("%d left before the router's report", got)
	}
	r.Refund(c, began, true)
	if got := r.Standing(udp, began).Left; got != silence.Burst {
		t.Errorf("%d left although TTL 3 runs out on the way", got)
	}
	for range 100 {
		if _, err := r.Admit(udp, began, silence.Probe{Packets: 1, TTL: 2, Plain: true}); err != nil {
			t.Fatalf("a probe that cannot arrive: %v", err)
		}
	}
	if _, err := r.Admit(udp, began, silence.Probe{Packets: silence.Burst + 1, TTL: 4, Plain: true}); !errors.Is(err, silence.ErrBudget) {
		t.Errorf("more fragments than the budget: %v", err)
	}
	if st := r.Standing(udp, began.Add(10*time.Second)); st.Mute {
		t.Errorf("probes that cannot arrive make a lane mute: %+v", st)
	}
}

func TestStanding(t *testing.T) {
	r := silence.New()
	udp := lane(silence.UDP, "")
	var last silence.Charge
	for i := range 5 {
		now := began.Add(time.Duration(i) * time.Second)
		last, _ = r.Admit(udp, now, silence.Probe{Packets: 1, Plain: true})
		if st := r.Standing(udp, now.Add(3*time.Second)); st.Mute {
			t.Fatalf("mute after %d probes, of which the last may still be answered", i+1)
		}
	}
	now := began.Add(8 * time.Second)
	if st := r.Standing(udp, now); !st.Mute || st.Unanswered != 5 || !st.Asked.Equal(began.Add(4*time.Second)) || !st.Answered.IsZero() {
		t.Errorf("five unanswered probes: %+v", st)
	}
	if r.Standing(lane(silence.UDP, "wan2"), now).Mute || r.Standing(lane(silence.Echo, ""), now).Mute {
		t.Error("another way or kind is mute as well")
	}
	if r.Woken(peer) {
		t.Error("woken without an answer")
	}
	r.Answered(last, now)
	if st := r.Standing(udp, now); st.Mute || !st.Answered.Equal(now) || !st.Woke.Equal(now) || st.Left != silence.Burst {
		t.Errorf("after an answer: %+v", st)
	}
	if !r.Woken(peer) || r.Woken(peer) {
		t.Error("an awakening is not reported once")
	}
	var none *silence.Record
	if st := none.Standing(udp, now); st.Mute || st.Left <= 0 || st.Answered.IsZero() || !none.Round(peer, now, now).Equal(now) {
		t.Errorf("without a record: %+v", st)
	}
}

// TestTurns: peers of one address wait for each other, in the order in which they ask.
func TestTurns(t *testing.T) {
	r := silence.New()
	at := func(ask func(dst netip.Addr, now, from time.Time) time.Time, from time.Duration) time.Duration {
		return ask(peer, began, began.Add(from)).Sub(began)
	}
	for i, tt := range []struct{ from, want time.Duration }{
		{0, 0},
		{0, silence.Pace},
		{time.Second, 2 * silence.Pace},
		{time.Hour, time.Hour},
		{0, 3 * silence.Pace}, // a turn far ahead delays no earlier one
	} {
		if got := at(r.Turn, tt.from); got != tt.want {
			t.Errorf("turn %d: after %v, want %v", i, got, tt.want)
		}
	}
	for i, want := range []time.Duration{0, silence.RoundGap, 2 * silence.RoundGap} {
		if got := at(r.Round, 0); got != want {
			t.Errorf("round %d: after %v, want %v", i, got, want)
		}
	}
	burst(r, lane(silence.UDP, ""), began)
	if got := at(r.Turn, time.Minute); got != time.Minute+silence.SlowPace-silence.Pace {
		t.Errorf("after a burst: a turn after %v", got)
	}
}

// TestShorterRoute: after the address has answered a probe, its TTL and greater ones get there.
func TestShorterRoute(t *testing.T) {
	r := silence.New()
	udp := lane(silence.UDP, "")
	admit := func(after time.Duration) silence.Charge {
		c, err := r.Admit(udp, began.Add(after), silence.Probe{Packets: 1, TTL: 3})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	r.Refund(admit(0), began, true)
	r.Answered(admit(time.Second), began.Add(time.Second))
	admit(time.Minute)
	if got := r.Standing(udp, began.Add(time.Minute)).Left; got != silence.Burst-1 {
		t.Errorf("%d left after a probe that arrives", got)
	}
}

// TestShown: what all peers send shows a silence, and one answer by any kind is a sign of life.
func TestShown(t *testing.T) {
	r := silence.New()
	echo, udp := lane(silence.Echo, ""), lane(silence.UDP, "")
	var last silence.Charge
	for i := range 6 {
		for _, of := range []silence.Lane{echo, udp} {
			last, _ = r.Admit(of, began.Add(time.Duration(i)*time.Second), silence.Probe{Packets: 1, Plain: true, Flow: uint16(i)})
		}
	}
	now := began.Add(9 * time.Second) // all are settled
	if got := r.Shown(now, echo); !got.Equal(began.Add(3 * time.Second)) {
		t.Errorf("echo is silent since %v", got.Sub(began))
	}
	if got := r.Shown(now, echo, udp); !got.Equal(began.Add(4 * time.Second)) {
		t.Errorf("both are silent since %v", got.Sub(began))
	}
	if r.Spoke(udp, now) || len(r.Standing(udp, now).Flows) != 6 {
		t.Errorf("%+v", r.Standing(udp, now))
	}
	r.Answered(last, now)
	if !r.Spoke(echo, now) || !r.Shown(now, echo, udp).IsZero() || !r.Spoke(lane(silence.Echo, "wan2"), now) {
		t.Error("an answer is no sign of life")
	}
	if wait := r.Compare(udp, now); wait != 0 {
		t.Errorf("the first comparison waits for %v", wait)
	}
	if wait := r.Compare(echo, now.Add(time.Second)); wait != 9*time.Second {
		t.Errorf("the second waits for %v", wait)
	}
}
