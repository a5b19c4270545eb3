package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/internal/wire/stamp"
)

var (
	began  = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	sender = netip.MustParseAddrPort("192.0.2.1:40000")
	exact  = Clock{Error: time.Millisecond, Synchronized: true}
)

func key(tb testing.TB, text string) Key {
	tb.Helper()
	k, err := ParseKey([]byte(text + "\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// A path joins a Sender and a Reflector. Each drop function returns true for a packet that is lost.
type path struct {
	t         testing.TB
	session   *Sender
	reflector *Reflector
	now       time.Time
	// skew is how far the reflector's clock is ahead.
	skew                time.Duration
	loseThere, loseBack func() bool
	// last is the newest request and its reply.
	last  []byte
	reply Reply
	tos   uint8
	room  int // of the reflector's link
}

func newPath(tb testing.TB, ours, theirs Keys) *path {
	tb.Helper()
	p := &path{t: tb, session: NewSender(ours, 7, began), reflector: NewReflector(Limits{Partner: 1e6, All: 1e6}), now: began}
	p.reflector.Set([]Partner{{Name: "a", Addr: sender.Addr(), Keys: theirs}}, Limits{Partner: 1e6, All: 1e6})
	return p
}

// send sends one request, 20 ms after the one before.
func (p *path) send(want Request) Receipt {
	p.now = p.now.Add(20 * time.Millisecond)
	p.last, _ = p.session.Next(want, exact, p.now)
	if p.loseThere != nil && p.loseThere() {
		return Receipt{}
	}
	return p.deliver(p.last)
}

// deliver has a request arrive 5 ms later, and its reply 3 ms after that.
func (p *path) deliver(request []byte) Receipt {
	at := p.now.Add(5*time.Millisecond + p.skew)
	d := &Datagram{Payload: request, From: sender, At: at, TTL: 60, TOS: p.tos}
	if p.room > 0 {
		d.Room = func() int { return p.room }
	}
	reply, ok := p.reflector.Handle(d, exact, at.Add(time.Millisecond))
	p.reply = reply
	if !ok || p.loseBack != nil && p.loseBack() {
		return Receipt{}
	}
	return p.session.Receive(reply.Payload, p.now.Add(9*time.Millisecond))
}

// meet makes the two known to each other.
func (p *path) meet() {
	p.t.Helper()
	for range 50 {
		if p.send(Request{}).Meaning == Established {
			return
		}
	}
	p.t.Fatal("not established")
}

func TestExchange(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.tos = 46<<2 | 2
	p.meet()
	r := p.send(Request{DSCP: 10})
	p.session.Settle()
	want := Receipt{
		Meaning: Answered, Matched: true, Number: 0, There: 5 * time.Millisecond, Back: 3 * time.Millisecond, RoundTrip: 8 * time.Millisecond,
		Synchronized: true, Error: r.Error, Marked: true, DSCP: 46, ECN: 2, TTL: 60, Size: LeastPayload - 16,
	}
	if r != want || r.Error < 2*time.Millisecond || r.Error > 3*time.Millisecond {
		t.Errorf("%+v\nwant %+v", r, want)
	}
	if p.reply.DSCP != 10 || len(p.reply.Payload) != len(p.last) || len(p.last) != LeastPayload-16 {
		t.Errorf("DSCP %d, request of %d bytes, reply of %d", p.reply.DSCP, len(p.last), len(p.reply.Payload))
	}
	if c := p.session.Counts(); c != (Counts{Sent: 1, Received: 1}) || !p.session.OneWay() {
		t.Errorf("%+v", c)
	}
}

// TestSizes: requests and replies have the sizes that were asked for, independently.
func TestSizes(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.meet()
	for _, tt := range []struct{ size, reply, gotSize, gotReply int }{
		{0, 0, LeastPayload - 16, LeastPayload - 16},
		{1472, 0, 1472, 1472},
		{1472, LeastPayload, 1472, LeastPayload},
		{LeastPayload, 1472, LeastPayload, 1472},
		{0, 1469, LeastPayload, 1469}, // between exporters, to the byte
		{0, 8952, LeastPayload, 8952},
	} {
		r := p.send(Request{Size: tt.size, ReplySize: tt.reply})
		if r.Meaning != Answered || r.Short || len(p.last) != tt.gotSize || len(p.reply.Payload) != tt.gotReply || p.reply.Whole != (tt.reply > 0) {
			t.Errorf("%+v: request of %d bytes, reply of %d, %+v", tt, len(p.last), len(p.reply.Payload), r)
		}
	}
	if r := p.send(Request{ReplySize: 60000}); !r.Short || len(p.reply.Payload) != MaxPacket || r.Size != MaxPacket {
		t.Errorf("%+v with %d bytes", r, len(p.reply.Payload))
	}
	p.room = 1000
	if r := p.send(Request{ReplySize: 2001, Pieces: true}); r.Short || len(p.reply.Payload) != 2001 || p.reply.Whole || !p.reply.Pieces {
		t.Errorf("in pieces: %+v with %d bytes", r, len(p.reply.Payload))
	}
	if r := p.send(Request{ReplySize: 999, Pieces: true}); !r.Short || len(p.reply.Payload) > LeastPayload {
		t.Errorf("in pieces, although it fits: %+v with %d bytes", r, len(p.reply.Payload))
	}
	if r := p.send(Request{ReplySize: 1001}); !r.Short || len(p.reply.Payload) != 1000 {
		t.Errorf("%+v with %d bytes", r, len(p.reply.Payload))
	}
}

// TestLossHasADirection: over many runs and loss rates up to 20 % each way, what is counted is what
// was lost, to the packet.
func TestLossHasADirection(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	for run := range 500 {
		rng := rand.New(rand.NewPCG(1, uint64(run)))
		p := newPath(t, k, k)
		there, back := float64(run%5)/20, float64(run/5%5)/20
		var lostThere, lostBack, sent uint64
		p.loseThere = func() bool { return rng.Float64() < there }
		p.loseBack = func() bool { return rng.Float64() < back }
		p.meet()
		p.loseThere = func() bool { lost := rng.Float64() < there; lostThere += one(lost); return lost }
		p.loseBack = func() bool { lost := rng.Float64() < back; lostBack += one(lost); return lost }
		for range 150 {
			p.send(Request{})
			sent++
		}
		p.loseThere, p.loseBack = nil, nil
		p.send(Request{}) // shows what was lost before it
		p.session.Settle()
		want := Counts{Sent: sent + 1, Received: sent + 1 - lostThere - lostBack, LostThere: lostThere, LostBack: lostBack}
		if got := p.session.Counts(); got != want {
			t.Fatalf("run %d: %+v, want %+v", run, got, want)
		}
	}
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// TestReorderingAndDuplicates: packets in another order, or twice, are no loss.
func TestReorderingAndDuplicates(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.meet()
	p.send(Request{})
	first, _ := p.session.Next(Request{}, exact, p.now)
	second, _ := p.session.Next(Request{}, exact, p.now)
	p.deliver(second)
	p.deliver(first)  // behind the second
	p.deliver(second) // again: no reply
	if p.reply.Payload != nil {
		t.Error("a copy is answered")
	}
	p.send(Request{})
	third, _ := p.session.Next(Request{}, exact, p.now)
	fourth, _ := p.session.Next(Request{}, exact, p.now)
	var replies [][]byte
	for _, b := range [][]byte{third, fourth} {
		r, _ := p.reflector.Handle(&Datagram{Payload: b, From: sender, At: p.now}, exact, p.now)
		replies = append(replies, r.Payload)
	}
	for _, i := range []int{1, 0, 1} {
		p.session.Receive(replies[i], p.now)
	}
	p.session.Settle()
	want := Counts{Sent: 6, Received: 6, ReorderedThere: 1, ReorderedBack: 1, DuplicatesThere: 1, DuplicatesBack: 1}
	if got := p.session.Counts(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestStates: what is wrong with the partner itself has a name, and is no loss.
func TestStates(t *testing.T) {
	a, b := key(t, "aaaaaaaaaaaaaaaaaaaaaaaa"), key(t, "bbbbbbbbbbbbbbbbbbbbbbbb")
	t.Run("wrong key", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{b})
		if r := p.send(Request{}); r.Meaning != WrongKey || len(p.reply.Payload) > len(p.last) {
			t.Errorf("%+v", r)
		}
		if r := p.send(Request{}); r.Meaning != Foreign || p.reply.Payload != nil {
			t.Errorf("a second notice within a second: %+v", r)
		}
	})
	t.Run("skewed clock", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.skew = -6 * time.Minute
		if r := p.send(Request{}); r.Meaning != Skewed {
			t.Errorf("%+v", r)
		}
		p.skew = 4 * time.Minute
		p.meet()
	})
	t.Run("restart of the reflector", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.meet()
		for range 100 {
			p.send(Request{})
		}
		fresh := newPath(t, Keys{a}, Keys{a})
		p.reflector = fresh.reflector
		if r := p.send(Request{}); r.Meaning != Restarted {
			t.Errorf("%+v", r)
		}
		p.meet()
		p.send(Request{})
		p.session.Settle()
		if c := p.session.Counts(); c.LostThere+c.LostBack != 0 || c.Received != 101 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("restart of the sender", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.meet()
		for range 100 {
			p.send(Request{})
		}
		p.session = NewSender(Keys{a}, 7, p.now.Add(time.Second))
		p.meet()
		p.send(Request{})
		p.session.Settle()
		if c := p.session.Counts(); c != (Counts{Sent: 1, Received: 1}) {
			t.Errorf("%+v", c)
		}
		p.session = NewSender(Keys{a}, 7, began.Add(-time.Hour)) // with a clock that was set back
		if p.meet(); p.send(Request{}).Meaning != Superseded {
			t.Error("an older instance is not told that it is")
		}
		p.meet()
		if r := p.send(Request{}); r.Meaning != Answered {
			t.Errorf("%+v", r)
		}
	})
	t.Run("another version", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.meet()
		request, n := p.session.Next(Request{}, exact, p.now)
		e := extension{version: version + 1, kind: isRequest, instance: p.session.instance, token: p.session.token}
		other := e.tlv(0).Append(request[:stamp.SizeAuthenticated])
		if r := p.deliver(stamp.SealTLVs(other, stamp.Authenticated, 0, a.secret)); r.Meaning != OtherVersion {
			t.Errorf("request %d: %+v", n, r)
		}
	})
	t.Run("a foreign reflector", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		request, _ := p.session.Next(Request{}, exact, p.now)
		req, _, _ := stamp.ParseTest(request, stamp.Authenticated)
		reply := (&stamp.Reply{Test: req, Sender: req}).Append(nil, stamp.Authenticated, a.secret)
		if r := p.session.Receive(reply, p.now); r.Meaning != OtherVersion {
			t.Errorf("%+v", r)
		}
	})
	t.Run("too many sessions", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		for ssid := range uint16(maxSessions) {
			p.session = NewSender(Keys{a}, ssid, began)
			p.meet()
			p.send(Request{})
		}
		p.session = NewSender(Keys{a}, 1000, began)
		if p.meet(); p.send(Request{}).Meaning != Busy {
			t.Error("one session too many")
		}
		p.now = p.now.Add(2 * idle)
		if r := p.send(Request{}); r.Meaning != Answered {
			t.Errorf("after a minute: %+v", r)
		}
	})
	t.Run("requests lost by the host of the reflector", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.meet()
		for i := range 100 {
			p.loseThere = func() bool { return i >= 50 && i < 60 }
			p.send(Request{})
		}
		p.reflector.Forget()
		if r := p.send(Request{}); r.Meaning != Restarted {
			t.Errorf("%+v", r)
		}
		p.meet()
		p.send(Request{})
		if c := p.session.Counts(); c.LostThere+c.LostBack != 0 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("a session that made room", func(t *testing.T) {
		p := newPath(t, Keys{a}, Keys{a})
		p.meet()
		for range 100 {
			p.send(Request{})
		}
		clear(p.reflector.partners[sender.Addr()].sessions)
		if r := p.send(Request{}); r.Meaning != Restarted {
			t.Errorf("%+v", r)
		}
		p.meet()
		p.send(Request{})
		p.session.Settle()
		if c := p.session.Counts(); c.LostThere+c.LostBack != 0 || c.Received != 101 {
			t.Errorf("%+v", c)
		}
	})
}

// TestChangeOfKeys: two keys at each end change one after the other without a lost packet.
func TestChangeOfKeys(t *testing.T) {
	a, b := key(t, "aaaaaaaaaaaaaaaaaaaaaaaa"), key(t, "bbbbbbbbbbbbbbbbbbbbbbbb")
	p := newPath(t, Keys{a}, Keys{a})
	p.meet()
	for i, step := range []struct{ ours, theirs Keys }{
		{Keys{a}, Keys{a}},
		{Keys{a}, Keys{a, b}},
		{Keys{a, b}, Keys{a, b}},
		{Keys{b, a}, Keys{a, b}},
		{Keys{b, a}, Keys{b, a}},
		{Keys{b}, Keys{b, a}},
		{Keys{b}, Keys{b}},
	} {
		p.session.SetKeys(step.ours)
		p.reflector.Set([]Partner{{Name: "a", Addr: sender.Addr(), Keys: step.theirs}}, Limits{Partner: 1e6, All: 1e6})
		if r := p.send(Request{}); r.Meaning != Answered {
			t.Errorf("step %d: %+v", i, r)
		}
	}
	if fmt.Sprintf("%v %+v %#v %s", a, a, a, Keys{a}) != "(secret) (secret) (secret) [(secret)]" {
		t.Error("a key is printed")
	}
}

func TestParseKey(t *testing.T) {
	for text, valid := range map[string]bool{
		"": false, "0123456789abcde": false, "0123456789abcdef": true, "0123456789abcde\n\n": false, strings.Repeat("k", 5000): false,
	} {
		if _, err := ParseKey([]byte(text)); (err == nil) != valid || err != nil && (!errors.Is(err, ErrKey) || text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestUnauthenticated: a plain STAMP sender is answered only where that is asked for, and never
// with more than it sent; our sender measures with a plain reflector, whether it counts or not.
func TestUnauthenticated(t *testing.T) {
	p := newPath(t, nil, Keys{key(t, "0123456789abcdef")})
	if r := p.send(Request{}); r.Meaning != Foreign || p.reply.Payload != nil {
		t.Errorf("a plain request to a partner with a key: %+v", r)
	}
	p.reflector.Set([]Partner{{Name: "a", Addr: sender.Addr(), Unauthenticated: true}}, DefaultLimits())
	r := p.send(Request{})
	if r.Meaning != Answered || r.There != 5*time.Millisecond || len(p.last) != stamp.SizeUnauthenticated || len(p.reply.Payload) != len(p.last) || p.session.OneWay() {
		t.Errorf("%+v, %d bytes", r, len(p.reply.Payload))
	}
	padded := append(slices.Clone(p.last), stamp.TLV{Type: stamp.TypeHMAC}.Append(nil)...)
	padded = append(padded, make([]byte, 100)...)
	if p.deliver(padded); len(p.reply.Payload) != len(padded) {
		t.Errorf("%d bytes answered with %d", len(padded), len(p.reply.Payload))
	}
}

// TestForeignStatefulReflector: one that counts shows in which direction packets are lost.
func TestForeignStatefulReflector(t *testing.T) {
	s := NewSender(nil, 0, began)
	replies := uint32(100) // of an earlier session from the same port
	for i := range 50 {
		b, n := s.Next(Request{}, exact, began)
		if i%10 == 3 {
			continue // lost there
		}
		req, _, _ := stamp.ParseTest(b, stamp.Unauthenticated)
		r := stamp.Reply{Test: stamp.Test{Sequence: replies}, Sender: req}
		if replies++; i%10 == 7 {
			continue // lost back
		}
		if got := s.Receive(r.Append(nil, stamp.Unauthenticated, nil), began); got.Meaning != Answered || got.Number != n {
			t.Fatalf("%+v", got)
		}
	}
	s.Settle()
	if c := s.Counts(); c != (Counts{Sent: 50, Received: 40, LostThere: 5, LostBack: 5}) || !s.OneWay() {
		t.Errorf("%+v", c)
	}
}
