package netsim_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

var _ collectors.Network = (*netsim.Path)(nil)

func peer(v6 bool) netio.Path {
	if v6 {
		return netio.Path{Dst: netip.MustParseAddr("2001:db8:1::10")}
	}
	return netio.Path{Dst: netip.MustParseAddr("203.0.113.10")}
}

func echo(size int) *netio.Packet {
	return &netio.Packet{Path: peer(false), Size: size, DontFragment: true}
}

func udp(port uint16, payload []byte) *netio.Packet {
	return &netio.Packet{Path: peer(false), Protocol: netio.UDP, Port: port, Payload: payload, DontFragment: true}
}

// An event is an answer and when it came.
type event struct {
	Outcome         netio.Outcome
	After           time.Duration
	MTU             int
	Late, Duplicate bool
	Type, Code      uint8
}

// send sends a packet and returns the outcome within ten seconds.
func send(t *testing.T, path *netsim.Path, p *netio.Packet, timeout time.Duration) []event {
	t.Helper()
	var mu sync.Mutex
	var events []event
	start := time.Now()
	path.Send(t.Context(), p, timeout, func(a netio.Answer) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, event{a.Outcome, time.Since(start), a.MTU, a.Late, a.Duplicate, a.Type, a.Code})
	})
	time.Sleep(10 * time.Second)
	synctest.Wait()
	mu.Lock()
	defer mu.Unlock()
	return events
}

func TestWhatBecomesOfOneProbe(t *testing.T) {
	const rtt, timeout = 20 * time.Millisecond, time.Second
	v6Echo := &netio.Packet{Path: peer(true), Size: 1500, DontFragment: true}
	fragmented := udp(500, make([]byte, 3000))
	fragmented.DontFragment = false
	fragmentedIKE := udp(500, append([]byte{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20}, make([]byte, 2000)...))
	fragmentedIKE.DontFragment = false
	secondHop := echo(1500)
	secondHop.TTL = 2
	hops := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.5")}
	silent := []event{{Outcome: netio.Silent, After: timeout}}
	tests := map[string]struct {
		path   netsim.Config
		packet *netio.Packet
		want   []event
	}{
		"echo":               {packet: echo(1500), want: []event{{Outcome: netio.Delivered, After: rtt}}},
		"echo, v6":           {packet: v6Echo, want: []event{{Outcome: netio.Delivered, After: rtt, Type: 129}}},
		"PTB":                {path: netsim.Config{MTU: 1400}, packet: echo(1401), want: []event{{Outcome: netio.TooBig, After: rtt, MTU: 1400, Type: 3, Code: 4}}},
		"PTB, v6":            {path: netsim.Config{MTU: 1400}, packet: v6Echo, want: []event{{Outcome: netio.TooBig, After: rtt, MTU: 1400, Type: 2}}},
		"PTB for one":        {path: netsim.Config{MTU: 1400, PTB: netsim.PTBs{Copies: 3}}, packet: echo(1401), want: []event{{Outcome: netio.TooBig, After: rtt, MTU: 1400, Type: 3, Code: 4}}},
		"just fits":          {path: netsim.Config{MTU: 1400}, packet: echo(1400), want: []event{{Outcome: netio.Delivered, After: rtt}}},
		"black hole":         {path: netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}}, packet: echo(1401), want: silent},
		"no ICMP":            {path: netsim.Config{DropICMP: true}, packet: echo(100), want: silent},
		"no ICMP, so no PTB": {path: netsim.Config{MTU: 1400, DropICMP: true}, packet: udp(500, make([]byte, 1400)), want: silent},
		"lost":               {path: netsim.Config{Loss: 1}, packet: echo(100), want: silent},
		"reply lost":         {path: netsim.Config{ReverseLoss: 1}, packet: echo(100), want: silent},
		"burst of loss":      {path: netsim.Config{Bursts: func(time.Time) bool { return true }}, packet: echo(100), want: silent},
		"reverse fragments":  {path: netsim.Config{ReverseMTU: 1400}, packet: echo(1500), want: []event{{Outcome: netio.Delivered, After: rtt}}},
		"reverse hole":       {path: netsim.Config{ReverseMTU: 1400, ReverseDrop: true}, packet: echo(1500), want: silent},
		"late":               {path: netsim.Config{Delay: 1500 * time.Millisecond}, packet: echo(100), want: []event{silent[0], {Outcome: netio.Delivered, After: 1500 * time.Millisecond, Late: true}}},
		"too late":           {path: netsim.Config{Delay: 6500 * time.Millisecond}, packet: echo(100), want: silent},
		"twice": {path: netsim.Config{Duplicates: 1}, packet: echo(100), want: []event{
			{Outcome: netio.Delivered, After: rtt}, {Outcome: netio.Delivered, After: rtt + time.Millisecond, Duplicate: true},
		}},
		"local":             {packet: echo(1501), want: []event{{Outcome: netio.TooBigLocally, MTU: 1500}}},
		"no device":         {path: netsim.Config{Broken: errors.New("no device")}, packet: echo(100), want: []event{{Outcome: netio.NotSent}}},
		"blocked":           {path: netsim.Config{Block: func(p *netio.Packet) bool { return p.Port == 500 }}, packet: udp(500, make([]byte, 100)), want: silent},
		"not IKE":           {packet: udp(500, []byte("who is there")), want: silent},
		"closed":            {path: netsim.Config{Closed: func(uint16) bool { return true }}, packet: udp(500, make([]byte, 100)), want: []event{{Outcome: netio.Refused, After: rtt, Type: 3, Code: 3}}},
		"fragments":         {packet: fragmentedIKE, want: []event{{Outcome: netio.Delivered, After: rtt}}},
		"fragments dropped": {path: netsim.Config{DropFragments: true}, packet: fragmented, want: silent},
		"TTL before MTU":    {path: netsim.Config{MTU: 1400, Hops: hops}, packet: secondHop, want: []event{{Outcome: netio.TimeExceeded, After: rtt, Type: 11}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.path.Delay == 0 {
					tt.path.Delay = rtt
				}
				if diff := cmp.Diff(tt.want, send(t, netsim.New(tt.path, 1), tt.packet, timeout)); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Replies: netsim.Limit{Every: time.Second, Burst: 2}}, 1)
		var answered atomic.Int64
		for range 50 {
			path.Send(t.Context(), echo(100), time.Second, func(a netio.Answer) {
				if a.Arrived() {
					answered.Add(1)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		// Two at once and one more in each of the 4.9 seconds until the last.
		if n := answered.Load(); n != 6 {
			t.Errorf("%d answered, want 6", n)
		}
	})
}

func TestLossRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Loss: 0.2, ReverseLoss: 0.2}, 1)
		var answered atomic.Int64
		for range 10000 {
			path.Send(t.Context(), echo(100), time.Second, func(a netio.Answer) {
				if a.Arrived() {
					answered.Add(1)
				}
			})
			time.Sleep(time.Millisecond)
		}
		if n := answered.Load(); n < 6200 || n > 6600 {
			t.Errorf("%d of 10000 answered, want about 6400", n)
		}
	})
}

func TestWhatWasSentIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Block: func(*netio.Packet) bool { return true }}, 1)
		var account netio.Account
		for _, size := range []int{100, 1501, 200} { // the middle one never leaves
			p := echo(size)
			p.Account = &account
			path.Send(t.Context(), p, time.Second, func(netio.Answer) {})
			time.Sleep(time.Second)
		}
		want := []netsim.Sent{{Size: 100}, {Size: 200, At: 2 * time.Second}}
		if diff := cmp.Diff(want, path.Sent()); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		if p, b := account.Packets.Load(), account.Bytes.Load(); p != 2 || b != 300 {
			t.Errorf("charged %d packets, %d bytes, want 2 and 300", p, b)
		}
	})
}

func TestACancelledProbeIsNotSent(t *testing.T) {
	path := netsim.New(netsim.Config{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path.Send(ctx, echo(100), time.Second, func(a netio.Answer) {
		if a.Outcome != netio.NotSent || !errors.Is(a.Err, context.Canceled) {
			t.Errorf("got %s, %v", a.Outcome, a.Err)
		}
	})
	if len(path.Sent()) > 0 {
		t.Error("it was sent")
	}
}

// The default responder's answers are read by those who read real ones.
func TestResponder(t *testing.T) {
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range ikeprobe.Ladder(ikeprobe.Auto) {
		for _, marker := range []bool{false, true} {
			spi := keys.SPI("hq", "ike", form, 0)
			probe, err := ikeprobe.Build(form, ikeprobe.PSK, spi, marker, 0, make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			reply, err := ikeprobe.Classify(netsim.Responder()(500, probe), spi, marker)
			if err != nil {
				t.Errorf("%s: %v", form, err)
			}
			if want := map[ikeprobe.Version]string{1: "NO-PROPOSAL-CHOSEN", 2: "NO_PROPOSAL_CHOSEN"}[form.Version()]; reply.Name != want {
				t.Errorf("%s: answered with %q, want %q", form, reply.Name, want)
			}
			answered := netsim.Responder(1)(500, probe) != nil
			if want := form.Version() == ikeprobe.V1; answered != want {
				t.Errorf("%s by a responder of IKEv1: answered %t", form, answered)
			}
		}
	}
}

// Of several UDP probes with the same token, a reply goes to the youngest that waits, then to the
// youngest past its deadline, whichever probe the peer answered.
func TestRepliesGoToTheYoungest(t *testing.T) {
	const timeout, rtt = time.Second, 100 * time.Millisecond
	tests := map[string]struct {
		delay time.Duration
		gap   time.Duration // between the probes
		lost  []bool        // on the path to the peer
		want  [][]string    // the answers of each probe
	}{
		"the first is lost":             {delay: rtt, lost: []bool{true, false}, want: [][]string{{"silent"}, {"delivered"}}},
		"the last is lost":              {delay: rtt, lost: []bool{false, true}, want: [][]string{{"silent"}, {"delivered"}}},
		"all are answered":              {delay: rtt, lost: make([]bool, 3), want: [][]string{{"delivered"}, {"delivered"}, {"delivered"}}},
		"one is over":                   {delay: timeout + rtt, gap: timeout - rtt, lost: []bool{false, true}, want: [][]string{{"silent"}, {"delivered"}}},
		"none waits: late for the last": {delay: timeout + 2*rtt, gap: rtt, lost: []bool{false, true}, want: [][]string{{"silent"}, {"silent", "delivered late"}}},
		"one after the other":           {delay: rtt, gap: 2 * rtt, lost: make([]bool, 2), want: [][]string{{"delivered"}, {"delivered"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := 0
				path := netsim.New(netsim.Config{Delay: tt.delay, Block: func(*netio.Packet) bool {
					next++
					return tt.lost[next-1]
				}}, 1)
				payload := append([]byte{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20}, make([]byte, 100)...)
				var mu sync.Mutex
				got := make([][]string, len(tt.lost))
				for i := range tt.lost {
					p := udp(500, payload)
					p.Token = netio.Token(payload)
					path.Send(t.Context(), p, timeout, func(a netio.Answer) {
						mu.Lock()
						defer mu.Unlock()
						told := a.Outcome.String()
						if a.Late {
							told += " late"
						}
						got[i] = append(got[i], told)
					})
					time.Sleep(tt.gap)
				}
				time.Sleep(5 * timeout)
				synctest.Wait()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("answers by probe (-want +got):\n%s", diff)
				}
			})
		})
	}
}
