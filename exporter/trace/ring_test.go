package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

var (
	peer4  = netip.MustParseAddr("203.0.113.10")
	router = netip.MustParseAddr("198.51.100.1")
)

// A script is a Network with fixed answers.
type script struct {
	// early are the answers before Send returns, later the answers after it.
	early, later []netio.Answer
	packets      [][]byte
	at           time.Time
	drops        uint64
}

func (s *script) Route(netio.Path) (netio.Route, error) { return netio.Route{}, nil }

func (s *script) LocalDrops(bool) uint64 { return s.drops }

func (s *script) Send(_ context.Context, p *netio.Packet, _ time.Duration, answer func(netio.Answer)) {
	for _, a := range s.early {
		answer(a)
	}
	for _, b := range s.packets {
		p.OnWire(s.at, b)
	}
	if len(s.later) > 0 {
		go func() {
			for _, a := range s.later {
				answer(a)
			}
		}()
	}
}

func began() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

// packet4 returns an IPv4 packet of a protocol with DF, whose payload counts up.
func packet4(protocol byte, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	copy(b, []byte{0x45, 0, byte(size >> 8), byte(size), 0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 203, 0, 113, 10})
	if protocol == 1 {
		b[20] = echoRequest4
	}
	return b
}

func TestAnswersBeforeAndAfterSendReturns(t *testing.T) {
	at := began()
	answers := []netio.Answer{
		{Outcome: netio.Silent, Sent: at},
		{
			Outcome: netio.Delivered, Late: true, From: peer4, Sent: at, Received: at.Add(1200 * time.Millisecond), RoundTrip: 1200 * time.Millisecond,
			FragmentSize: 1396, TTL: 61, DontFragment: true, Wire: packet4(17, 60),
		},
	}
	want := []Exchange{{
		Sent: at, Dst: peer4, Interface: "eth1", Purpose: "path MTU by ike", Protocol: netio.UDP, Port: 500, Size: 1401, DontFragment: true,
		Timeout: 200 * time.Millisecond,
		Packets: []Packet{{At: at, Length: 1401, Bytes: packet4(17, 1401)[:snapLength]}},
		Answers: []Answer{
			{Outcome: netio.Silent, Packet: Packet{Bytes: []byte{}}},
			{
				Outcome: netio.Delivered, Late: true, From: peer4, RoundTrip: 1200 * time.Millisecond, FragmentSize: 1396, TTL: 61, DontFragment: true,
				Packet: Packet{At: at.Add(1200 * time.Millisecond), Length: 60, Bytes: packet4(17, 60)},
			},
		},
	}}
	for name, early := range map[string]int{"before": 2, "after": 0, "across": 1} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{early: answers[:early], later: answers[early:], packets: [][]byte{packet4(17, 1401)}, at: at.Add(time.Millisecond)}
			g := NewRecorder(DefaultBytes).Open()
			packet := netio.Packet{
				Path: netio.Path{Dst: peer4, Interface: "eth1"}, Protocol: netio.UDP, Port: 500, DontFragment: true, Purpose: "path MTU by ike",
				Payload: make([]byte, 1401-28),
			}
			heard, shown := 0, 0
			packet.OnWire = func(time.Time, []byte) { shown++ }
			g.Watch(s).Send(t.Context(), &packet, 200*time.Millisecond, func(netio.Answer) { heard++ })
			synctest.Wait()
			if heard != 2 || shown != 1 || packet.Payload == nil {
				t.Errorf("%s: the owner heard of %d answers and saw %d packets", name, heard, shown)
			}
			if diff := cmp.Diff(want, g.Exchanges(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		})
	}
}

func TestWatchPassesOnLocalDrops(t *testing.T) {
	g := NewRing(1 << 16)
	for want, network := range map[uint64]interface {
		Send(context.Context, *netio.Packet, time.Duration, func(netio.Answer))
		Route(netio.Path) (netio.Route, error)
	}{7: &script{drops: 7}, 0: netsim.New(netsim.Config{}, 1)} {
		d, ok := g.Watch(network).(interface{ LocalDrops(v6 bool) uint64 })
		if !ok || d.LocalDrops(false) != want {
			t.Errorf("local drops are not passed on, want %d", want)
		}
	}
}

func TestResult(t *testing.T) {
	for want, a := range map[string]netio.Answer{
		"answered by 203.0.113.10 after 21.35 ms":                          {Outcome: netio.Delivered, From: peer4, RoundTrip: 21345678 * time.Nanosecond},
		"answered by 203.0.113.10 after 1.2 s, too late":                   {Outcome: netio.Delivered, From: peer4, RoundTrip: 1200 * time.Millisecond, Late: true},
		"packet too big (1400 bytes would pass) by 198.51.100.1 after 1 s": {Outcome: netio.TooBig, From: router, MTU: 1400, RoundTrip: time.Second, Type: 3, Code: 4},
		"packet too big (without a size) by 198.51.100.1 after 1 s":        {Outcome: netio.TooBig, From: router, RoundTrip: time.Second, Type: 3, Code: 4},
		"refused (port_unreachable) by 203.0.113.10 after 1 s":             {Outcome: netio.Refused, From: peer4, RoundTrip: time.Second, Type: 3, Code: 3},
		"unreachable (admin_prohibited) by 198.51.100.1 after 1 s":         {Outcome: netio.Unreachable, From: router, RoundTrip: time.Second, Type: 3, Code: 13},
		"TTL exceeded by 198.51.100.1 after 1 s":                           {Outcome: netio.TimeExceeded, From: router, RoundTrip: time.Second, Type: 11},
		"no answer within 200 ms":                                          {Outcome: netio.Silent},
		"no answer within 200 ms, but this host lost answers meanwhile":    {Outcome: netio.Silent, LocalDrops: true},
		"not sent: too big for this host's link of 1400 bytes":             {Outcome: netio.TooBigLocally, MTU: 1400, Err: errors.New("message too long")},
		"answered by 203.0.113.10 after 21 ms, once more":                  {Outcome: netio.Delivered, From: peer4, RoundTrip: 21 * time.Millisecond, Duplicate: true},
		"not sent: no route":                                               {Outcome: netio.NotSent, Err: errors.New("no route")},
	} {
		g := NewRing(1 << 16)
		packet := &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84}
		g.Watch(&script{early: []netio.Answer{a}}).Send(t.Context(), packet, 200*time.Millisecond, func(netio.Answer) {})
		all := g.Exchanges()
		if len(all) != 1 || all[0].Result() != want {
			t.Errorf("got %q, want %q", all[0].Result(), want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 µs", 950*time.Microsecond + 4: "950 µs", 200 * time.Millisecond: "200 ms", 3700 * time.Millisecond: "3.7 s"} {
		if got := seconds(d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhat(t *testing.T) {
	for want, e := range map[string]Exchange{
		"path MTU by ike: 1401 bytes with DF":          {Purpose: "path MTU by ike", Size: 1401, DontFragment: true},
		"icmp: 1500 bytes in fragments of at most 548": {Size: 1500, FragmentSize: 548},
		"udp port 4500: 120 bytes with TTL 3 by eth1":  {Protocol: netio.UDP, Port: 4500, Size: 120, TTL: 3, Interface: "eth1"},
		"esp: 100 bytes": {Protocol: netio.ESP, Size: 100},
		"does AH pass: 100 bytes with DF with TTL 7 by we": {Purpose: "does AH pass", Protocol: netio.AH, Size: 100, DontFragment: true, TTL: 7, Interface: "we"},
	} {
		if got := e.What(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// send sends one echo with a purpose, which gets the answer a.
func send(tb testing.TB, g *Ring, a netio.Answer, purpose string) {
	tb.Helper()
	s := &script{early: []netio.Answer{a}, packets: [][]byte{packet4(1, 84)}, at: began()}
	packet := &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84, Purpose: purpose}
	g.Watch(s).Send(tb.Context(), packet, time.Second, func(netio.Answer) {})
}

func TestHealthyEchoesDoNotPushOutFaults(t *testing.T) {
	r := NewRecorder(DefaultBytes)
	for range 10_000 {
		r.Open()
	}
	g := r.Open()
	send(t, g, netio.Answer{Outcome: netio.Silent, Sent: began()}, "the fault")
	for i := range 100_000 {
		at := began().Add(time.Duration(i) * time.Second)
		outcome := netio.Answer{Outcome: netio.Delivered, Sent: at, Received: at, From: peer4, Wire: packet4(1, 84)}
		if i%3 == 0 {
			outcome = netio.Answer{Outcome: netio.NotSent, Err: errors.New("no route")}
		}
		send(t, g, outcome, "flood")
	}
	all := g.Exchanges()
	if all[0].Purpose != "the fault" || !all[0].Fault() || all[0].Result() != "no answer within 1 s" {
		t.Errorf("the oldest of %d is %+v", len(all), all[0])
	}
	if len(all) < 10 {
		t.Errorf("only %d exchanges are left", len(all))
	}
}

func TestAnswersWithoutEnd(t *testing.T) {
	g := NewRecorder(DefaultBytes).Open()
	at := began()
	s := &script{packets: [][]byte{packet4(1, 84)}, at: at}
	for range 1000 {
		s.early = append(s.early, netio.Answer{Outcome: netio.Delivered, Sent: at, Received: at, Wire: packet4(1, 84)})
	}
	g.Watch(s).Send(t.Context(), &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84}, time.Second, func(netio.Answer) {})
	if all := g.Exchanges(); len(all) != 1 || len(all[0].Answers) != maxAnswers {
		t.Errorf("%d exchanges", len(all))
	}
}

func TestFragmentsBeyondWhatIsKept(t *testing.T) {
	g := NewRecorder(DefaultBytes).Open()
	s := &script{early: []netio.Answer{{Outcome: netio.Silent}}, at: began()}
	for range 20 {
		s.packets = append(s.packets, packet4(17, 548))
	}
	packet := &netio.Packet{Path: netio.Path{Dst: peer4}, Protocol: netio.UDP, Port: 500, Payload: make([]byte, 9000), FragmentSize: 548}
	g.Watch(s).Send(t.Context(), packet, time.Second, func(netio.Answer) {})
	all := g.Exchanges()
	if len(all) != 1 || len(all[0].Packets) != maxPackets || all[0].Omitted != 20-maxPackets {
		t.Fatalf("%+v", all)
	}
	if f := frames(all); !strings.HasPrefix(f[15].comment, "fragment 16 of 20: udp port 500: 9028 bytes in fragments of at most 548: no answer") {
		t.Errorf("comment %q", f[15].comment)
	}
}

func TestTraceKeepsPacketsWhole(t *testing.T) {
	const most = 1 << 20
	g := NewRing(most)
	s := &script{early: []netio.Answer{{Outcome: netio.Delivered, Wire: packet4(1, 1500)}}, packets: [][]byte{packet4(1, 1500)}, at: began()}
	for range 1000 {
		g.Watch(s).Send(t.Context(), &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 1500}, time.Second, func(netio.Answer) {})
		if g.recorder.Bytes() > most {
			t.Fatalf("%d bytes", g.recorder.Bytes())
		}
	}
	all := g.Exchanges()
	if len(all) < most*shares[searchRoutine]/wholeShare/3200*3/4 {
		t.Errorf("only %d exchanges are left", len(all))
	}
	for _, e := range all {
		if !bytes.Equal(e.Packets[0].Bytes, packet4(1, 1500)) || !bytes.Equal(e.Answers[0].Packet.Bytes, packet4(1, 1500)) {
			t.Fatal("a packet is not whole")
		}
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	r := NewRecorder(1 << 16)
	g := r.Open()
	path := netsim.New(netsim.Config{Delay: time.Microsecond, Duplicates: 0.5, Loss: 0.2}, 1)
	var wg sync.WaitGroup
	network := g.Watch(path)
	for range 4 {
		wg.Go(func() {
			for range 200 {
				wg.Add(1)
				var once sync.Once
				network.Send(t.Context(), &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84}, time.Millisecond, func(netio.Answer) { once.Do(wg.Done) })
			}
		})
	}
	for range 50 {
		r.Open().Close()
		_ = g.Exchanges()
	}
	wg.Wait()
	if len(g.Exchanges()) == 0 {
		t.Error("nothing was recorded")
	}
}

func TestJSON(t *testing.T) {
	g := NewRing(1 << 16)
	send(t, g, netio.Answer{Outcome: netio.TooBig, Sent: began(), Received: began().Add(time.Second), RoundTrip: time.Second, MTU: 1400, From: router, Type: 3, Code: 4}, "a|b")
	b, err := json.Marshal(g.Exchanges())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"sent":"2026-01-02T03:04:05.000000678Z","destination":"203.0.113.10","purpose":"a|b","protocol":"icmp","bytes":84,` +
		`"dont_fragment":false,"timeout_seconds":1,"what":"a|b: 84 bytes","result":"packet too big (1400 bytes would pass) by 198.51.100.1 after 1 s",` +
		`"fault":true,"packets":[{"at":"2026-01-02T03:04:05.000000678Z","bytes":84,"data":"` + hex.EncodeToString(packet4(1, 84)) + `"}],` +
		`"answers":[{"outcome":"too_big","from":"198.51.100.1","round_trip_seconds":1,"mtu_bytes":1400,"icmp_error":"packet_too_big"}]}]`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkWatch(b *testing.B) {
	at := began()
	answer := netio.Answer{Outcome: netio.Delivered, Sent: at, Received: at.Add(time.Millisecond), RoundTrip: time.Millisecond, From: peer4, Wire: packet4(1, 84)}
	s := &script{early: nil, packets: [][]byte{packet4(1, 84)}, at: at}
	g := NewRecorder(DefaultBytes).Open()
	packet := &netio.Packet{Path: netio.Path{Dst: peer4}, Size: 84, Purpose: "echo"}
	after := &replying{script: s, answer: answer}
	network := g.Watch(after)
	b.ReportAllocs()
	for b.Loop() {
		network.Send(b.Context(), packet, time.Second, func(netio.Answer) {})
		after.reply(after.answer)
	}
}

// replying answers after Send has returned, as a network does, when reply is called.
type replying struct {
	*script
	answer netio.Answer
	reply  func(netio.Answer)
}

func (r *replying) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	r.script.Send(ctx, p, timeout, answer)
	r.reply = answer
}
