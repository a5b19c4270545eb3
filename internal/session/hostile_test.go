package session

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/wire/stamp"
)

// TestHostilePackets: forged, replayed, truncated, stale, reflected and oversized packets change no
// session, get fewer bytes than they have, and are counted.
func TestHostilePackets(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.meet()
	var recorded [][]byte
	for range 100 {
		p.send(Request{Size: 600})
		recorded = append(recorded, p.last, p.reply.Payload)
	}
	state := *p.reflector.partners[sender.Addr()].sessions[7]
	state.duplicates = 0
	before, counts := p.reflector.Count(), p.session.Counts()
	rng := rand.New(rand.NewPCG(1, 2))
	const packets = 40000
	var got uint64
	now := p.now.Add(time.Second)
	for i := range packets {
		b := bytes.Clone(recorded[rng.IntN(len(recorded))])
		from := sender
		switch i % 6 {
		case 0:
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8) // forged
		case 1: // replayed, or a reply sent back
		case 2:
			b = b[:rng.IntN(len(b))]
		case 3:
			b = append(b, make([]byte, MaxPacket)...)
		case 4:
			from = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), 1)
		case 5: // much later
			reply, _ := p.reflector.Handle(&Datagram{Payload: b, From: from, At: now.Add(time.Hour)}, exact, now)
			if p.session.Receive(reply.Payload, now).Meaning != Foreign {
				t.Fatal("an answer to an old request is taken")
			}
			continue
		}
		now = now.Add(50 * time.Microsecond) // 20,000 packets per second
		reply, _ := p.reflector.Handle(&Datagram{Payload: b, From: from, At: now}, exact, now)
		p.session.Receive(b, now)
		if p.session.Receive(reply.Payload, now).Meaning == Answered {
			t.Fatal("an answer to a hostile packet is taken")
		}
		if len(reply.Payload) > len(b) {
			t.Fatalf("%d bytes answered with %d", len(b), len(reply.Payload))
		}
		got += uint64(len(reply.Payload))
	}
	after := *p.reflector.partners[sender.Addr()].sessions[7]
	after.duplicates = 0
	if after != state || len(p.reflector.partners) != 1 || len(p.reflector.partners[sender.Addr()].sessions) != 1 {
		t.Errorf("the session was %+v and is %+v", state, after)
	}
	if c := p.session.Counts(); c.Received != counts.Received || c.LostThere+c.LostBack+c.ReorderedBack != 0 {
		t.Errorf("the sender has counted %+v", c)
	}
	c := p.reflector.Count()
	if in, out := c.Unproven.In-before.Unproven.In, c.Unproven.Out-before.Unproven.Out; out > in || in == 0 {
		t.Errorf("unauthenticated: %d bytes in, %d out", in, out)
	} else {
		t.Logf("unauthenticated: %d bytes in, %d out; all: %d out", in, out, got)
	}
	for _, f := range []Fate{Stranger, Forged, Replayed, Malformed} {
		if c.Fates[f] == before.Fates[f] {
			t.Errorf("no packet was %v", f)
		}
	}
	p.now = now
	if r := p.send(Request{}); r.Meaning != Answered {
		t.Errorf("afterwards: %+v", r)
	}
}

// TestReflection: a request that is sent back to its sender, who has a Reflector with the same key,
// changes nothing there.
func TestReflection(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.meet()
	p.send(Request{})
	ours := NewReflector(DefaultLimits())
	ours.Set([]Partner{{Name: "b", Addr: sender.Addr(), Keys: k}}, DefaultLimits())
	reply, ok := ours.Handle(&Datagram{Payload: p.last, From: sender, At: p.now}, exact, p.now)
	if !ok || len(ours.partners[sender.Addr()].sessions) != 0 || ours.Count().Fates[Reflected] != 0 {
		t.Error("a session was made")
	}
	counts := p.session.Counts()
	if r := p.session.Receive(reply.Payload, p.now); r.Meaning != Foreign || p.session.Counts() != counts {
		t.Errorf("%+v", r)
	}
}

// TestRefusalsAreNotLarger: a recorded request without a token can be sent again and again, and gets no
// larger answer than itself, in whatever form a larger one was asked for.
func TestRefusalsAreNotLarger(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	for _, pieces := range []bool{false, true} {
		request, _ := p.session.Next(Request{ReplySize: 9000, Pieces: pieces}, exact, p.now)
		for range 3 {
			reply, ok := p.reflector.Handle(&Datagram{Payload: request, From: sender, At: p.now}, exact, p.now)
			if !ok || len(reply.Payload) > len(request) {
				t.Errorf("%d bytes answered with %d", len(request), len(reply.Payload))
			}
		}
	}
	if n := p.reflector.Count().Fates[Refused]; n != 6 {
		t.Errorf("%d requests refused, want 6", n)
	}
}

// TestReflectorsDoNotAnswerEachOther: with a forged source, one request makes two reflectors of
// unauthenticated partners send packets to each other. The second one does not answer an answer.
func TestReflectorsDoNotAnswerEachOther(t *testing.T) {
	here, there := netip.MustParseAddrPort("192.0.2.1:10862"), netip.MustParseAddrPort("192.0.2.2:10862")
	reflector := func(partner netip.AddrPort) *Reflector {
		r := NewReflector(DefaultLimits())
		r.Set([]Partner{{Name: "partner", Addr: partner.Addr(), Unauthenticated: true}}, DefaultLimits())
		return r
	}
	request := (&stamp.Test{Timestamp: stampOf(began), Error: exact.estimate()}).Append(nil, stamp.Unauthenticated, nil)
	answer, ok := reflector(here).Handle(&Datagram{Payload: request, From: here, At: began}, exact, began)
	if !ok {
		t.Fatal("the request is not answered")
	}
	ours := reflector(there)
	if _, ok := ours.Handle(&Datagram{Payload: answer.Payload, From: there, At: began}, exact, began); ok || ours.Count().Fates[Malformed] != 1 {
		t.Error("an answer is answered")
	}
}

// TestLimits: what is beyond a limit is not answered, and is no loss.
func TestLimits(t *testing.T) {
	k := Keys{key(t, "0123456789abcdef")}
	p := newPath(t, k, k)
	p.meet()
	p.reflector.Set([]Partner{{Name: "a", Addr: sender.Addr(), Keys: k}}, Limits{Partner: 10, All: 1000})
	for range 200 {
		p.send(Request{})
	}
	c := p.reflector.Count()
	if c.Fates[Limited] < 100 || c.Fates[Limited] > 160 {
		t.Errorf("%d of 200 requests in 4 s beyond a limit of 10 per second", c.Fates[Limited])
	}
	p.session.Settle()
	if c := p.session.Counts(); c.LostThere+c.LostBack != 0 {
		t.Errorf("%+v", c)
	}
}

func FuzzReceive(f *testing.F) {
	k := Keys{key(f, "0123456789abcdef")}
	p := newPath(f, k, k)
	p.meet()
	p.send(Request{ReplySize: 400})
	f.Add(p.last)
	f.Add(p.reply.Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, keys := range []Keys{k, nil} {
			p := newPath(t, keys, k)
			p.reflector.Set([]Partner{{Addr: sender.Addr(), Keys: keys, Unauthenticated: keys == nil}}, DefaultLimits())
			// The HMACs are made right, or no input would get far.
			sealed := bytes.Clone(b)
			if keys != nil && len(b) >= stamp.SizeAuthenticated {
				req, rest, _ := stamp.ParseTest(b, stamp.Authenticated)
				sealed = append(req.Append(nil, stamp.Authenticated, k[0].secret), rest...)
				sealed = stamp.SealTLVs(sealed, stamp.Authenticated, 0, k[0].secret)
			}
			for _, packet := range [][]byte{b, sealed} {
				reply, ok := p.reflector.Handle(&Datagram{Payload: packet, From: sender, At: began}, exact, began)
				if c := p.reflector.Count(); c.Unproven.Out > c.Unproven.In || ok && len(reply.Payload) > MaxPacket {
					t.Errorf("%+v", c)
				}
				p.session.Receive(packet, began)
				p.session.Receive(reply.Payload, began)
			}
		}
	})
}
