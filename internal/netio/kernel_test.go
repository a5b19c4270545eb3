package netio

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// openIn opens a Stack in a namespace.
func openIn(t *testing.T, ns *netlab.NS, unprivileged bool) *Stack {
	t.Helper()
	var s *Stack
	ns.Do(t, func() {
		var err error
		s, err = Open(Config{Limits: DefaultLimits, Log: slog.New(slog.DiscardHandler), Unprivileged: unprivileged})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// inLab opens a stack with all privileges at the client of a new provider.
func inLab(t *testing.T) (*netlab.Provider, *Stack) {
	t.Helper()
	netlab.Need(t)
	p := netlab.NewProvider(t)
	return p, openIn(t, p.Client, false)
}

// probe sends one probe and returns its first answer.
func probe(t *testing.T, s *Stack, p *Packet) Answer {
	t.Helper()
	got := make(chan Answer, 16)
	s.Send(t.Context(), p, 700*time.Millisecond, func(a Answer) { got <- a })
	select {
	case a := <-got:
		return a
	case <-time.After(5 * time.Second):
		t.Fatal("no answer, not even silence")
		return Answer{}
	}
}

func echoOf(dst netip.Addr, size int) *Packet {
	return &Packet{Path: Path{Dst: dst}, Size: size, DontFragment: true}
}

// datagramOf is a UDP probe of a whole packet of size bytes.
func datagramOf(dst netip.Addr, port uint16, size int) *Packet {
	p := &Packet{Path: Path{Dst: dst}, Protocol: UDP, Port: port, DontFragment: true, Token: Token{1, 2, 3, 4, 5, 6, 7, byte(size)}}
	p.Payload = make([]byte, size-p.Path.HeaderIP()-HeaderUDP)
	copy(p.Payload, p.Token[:])
	return p
}

func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Helper()
	t.Run("ipv4", func(t *testing.T) { f(t, false) })
	t.Run("ipv6", func(t *testing.T) { f(t, true) })
}

// TestPathMTUCacheIsNeitherObeyedNorWritten: after a "packet too big" the kernel of a host that
// probes in any other way refuses or fragments what is larger, for ten minutes.
func TestPathMTUCacheIsNeitherObeyedNorWritten(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.Apply(t, "S1")
	s := openIn(t, p.Client, false)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		for round := range 2 {
			for _, packet := range []*Packet{echoOf(dst, 1500), datagramOf(dst, 9, 1500)} {
				if a := probe(t, s, packet); a.Outcome != TooBig || a.MTU != 1400 || !a.From.IsValid() {
					t.Errorf("round %d: 1500 bytes over 1400: %+v", round, a)
				}
			}
		}
		if a := probe(t, s, echoOf(dst, 1400)); a.Outcome != Delivered {
			t.Errorf("echo of 1400: %+v", a)
		}
		if a := probe(t, s, datagramOf(dst, 9, 1400)); a.Outcome != Refused || a.From != dst {
			t.Errorf("datagram of 1400 to a closed port: %+v", a)
		}
		for _, packet := range []*Packet{echoOf(dst, 1501), datagramOf(dst, 9, 1501)} {
			if a := probe(t, s, packet); a.Outcome != TooBigLocally || a.MTU != 1500 {
				t.Errorf("1501 bytes on a link of 1500: %+v", a)
			}
		}
		time.Sleep(3 * cleanDelay)
		if m := p.Client.CachedMTU(t, dst); m != 1500 {
			t.Errorf("the kernel now believes in a path MTU of %d", m)
		}
	})
}

// TestCacheEntryOfOthersStays: an entry that this host learned for its own traffic is not ours to
// remove.
func TestCacheEntryOfOthersStays(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.Apply(t, "S1")
	s, other := openIn(t, p.Client, false), openIn(t, p.Client, true)
	dst := p.ServerAddr(true)
	if a := probe(t, other, datagramOf(dst, 9, 1500)); a.Outcome != TooBig {
		t.Fatalf("error queue: %+v", a)
	}
	if m := p.Client.CachedMTU(t, dst); m != 1400 {
		t.Fatalf("the unprivileged mode left %d in the cache, want 1400", m)
	}
	if a := probe(t, s, echoOf(dst, 1500)); a.Outcome != TooBig {
		t.Errorf("a cached path MTU stopped a probe: %+v", a)
	}
	time.Sleep(3 * cleanDelay)
	if m := p.Client.CachedMTU(t, dst); m != 1400 {
		t.Errorf("the entry is gone: %d", m)
	}
	if r, err := s.Route(Path{Dst: dst}); err != nil || r.CachedMTU != 1400 || r.LinkMTU != 1500 {
		t.Errorf("route %+v, %v", r, err)
	}
}

// TestUnprivileged: without raw sockets path MTU goes by UDP, and echoes are refused with a reason.
func TestUnprivileged(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.Apply(t, "S1")
	s := openIn(t, p.Client, true)
	if c := s.Capabilities(); c[RawICMP] || c[RawIP] || !c[IPv4] || !c[IPv6] {
		t.Errorf("capabilities: %v", c)
	}
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		if a := probe(t, s, echoOf(dst, 100)); a.Outcome != NotSent || a.Err == nil {
			t.Errorf("echo: %+v", a)
		}
		for range 2 {
			if a := probe(t, s, datagramOf(dst, 9, 1500)); a.Outcome != TooBig || a.MTU != 1400 {
				t.Errorf("1500 bytes over 1400: %+v", a)
			}
		}
		if a := probe(t, s, datagramOf(dst, 9, 1400)); a.Outcome != Refused || a.From != dst {
			t.Errorf("1400 bytes to a closed port: %+v", a)
		}
		if a := probe(t, s, datagramOf(dst, 9, 1501)); a.Outcome != TooBigLocally || a.MTU != 1500 {
			t.Errorf("1501 bytes on a link of 1500: %+v", a)
		}
	})
}

// TestTimeExceeded: a router names itself when a probe's TTL runs out there.
func TestTimeExceeded(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		for _, packet := range []*Packet{echoOf(dst, 1500), datagramOf(dst, 9, 1500)} {
			packet.TTL = 2
			if a := probe(t, s, packet); a.Outcome != TimeExceeded || a.From == dst || !a.From.IsValid() {
				t.Errorf("TTL 2: %+v", a)
			}
		}
	})
}

func TestSilence(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.Apply(t, "S3")
	s := openIn(t, p.Client, false)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		start := time.Now()
		if a := probe(t, s, echoOf(p.ServerAddr(v6), 100)); a.Outcome != Silent {
			t.Errorf("echo into a path that drops ICMP: %+v", a)
		}
		if d := time.Since(start); d < 700*time.Millisecond {
			t.Errorf("gave up after %v", d)
		}
	})
}

func TestAccountsCountTheWire(t *testing.T) {
	p, s := inLab(t)
	var acct Account
	for _, packet := range []*Packet{echoOf(p.ServerAddr(false), 1000), datagramOf(p.ServerAddr(true), 9, 500), echoOf(p.ServerAddr(false), 1501)} {
		packet.Account = &acct
		probe(t, s, packet)
	}
	if n, b := acct.Packets.Load(), acct.Bytes.Load(); n != 2 || b != 1500 {
		t.Errorf("%d packets of %d bytes, want 2 of 1500", n, b)
	}
}

func TestSourceAndInterface(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		for name, path := range map[string]Path{
			"source":    {Dst: p.ServerAddr(v6), Src: p.ClientAddr(v6)},
			"interface": {Dst: p.ServerAddr(v6), Interface: "net1"},
		} {
			p.Client.Do(t, func() { // sockets of an interface are opened when it is first used
				packet := echoOf(path.Dst, 200)
				packet.Path = path
				if a := probe(t, s, packet); a.Outcome != Delivered {
					t.Errorf("%s, echo: %+v", name, a)
				}
				packet = datagramOf(path.Dst, 9, 200)
				packet.Path = path
				if a := probe(t, s, packet); a.Outcome != Refused {
					t.Errorf("%s, datagram: %+v", name, a)
				}
			})
		}
		bad := echoOf(p.ServerAddr(v6), 200)
		bad.Path.Interface = "nosuch0"
		if a := probe(t, s, bad); a.Outcome != NotSent || a.Err == nil {
			t.Errorf("unknown interface: %+v", a)
		}
	})
}

// blockingPolicy makes the namespace's kernel want IPsec for everything to dst, without having an
// SA.
func blockingPolicy(t *testing.T, ns *netlab.NS, dst netip.Addr) {
	t.Helper()
	ns.Do(t, func() {
		h, err := netlink.NewHandle(unix.NETLINK_XFRM)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		err = h.XfrmPolicyAdd(&netlink.XfrmPolicy{
			Dst: netlink.NewIPNet(dst.AsSlice()), Dir: netlink.XFRM_DIR_OUT,
			Tmpls: []netlink.XfrmPolicyTmpl{{
				Src: []byte{10, 77, 1, 1}, Dst: dst.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 1,
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestPolicyOfThisHost: on a VPN gateway probes must not be pulled into the tunnel to the peer.
func TestPolicyOfThisHost(t *testing.T) {
	p, s := inLab(t)
	if !s.Capabilities()[PolicyBypass] {
		t.Fatal("no policy bypass in a namespace of our own")
	}
	dst := p.ServerAddr(false)
	blockingPolicy(t, p.Client, dst)
	if a := probe(t, s, echoOf(dst, 1500)); a.Outcome != Delivered {
		t.Errorf("echo past the policy: %+v", a)
	}
	if a := probe(t, s, datagramOf(dst, 9, 1500)); a.Outcome != Refused {
		t.Errorf("datagram past the policy: %+v", a)
	}
	if r, err := s.Route(Path{Dst: dst}); err != nil || r.Tunnel != "" {
		t.Errorf("with the bypass: %+v, %v", r, err)
	}
	p.Client.Do(t, func() { // the check connects a socket of its own
		r, err := s.routes.find(Path{Dst: dst})
		if err != nil {
			t.Fatal(err)
		}
		if r.Tunnel, err = s.routes.policy(Path{Dst: dst}); err != nil || r.Tunnel != "policy" {
			t.Errorf("without the bypass: %q, %v", r.Tunnel, err)
		}
		if other, err := s.routes.policy(Path{Dst: netip.MustParseAddr("10.77.3.2")}); err != nil || other != "" {
			t.Errorf("an address that no policy names: %q, %v", other, err)
		}
	})
}

// TestForgedPacketsTooBig: an attacker who does not see our probes changes nothing and is counted.
func TestForgedPacketsTooBig(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		before := s.Stats().Rejected
		var answers []Answer
		done := make(chan Answer, 64)
		p.DropICMP(t) // so that the probe stays under way
		s.Send(context.Background(), echoOf(p.ServerAddr(v6), 1500), time.Second, func(a Answer) { done <- a })
		for id := range uint16(50) {
			p.ForgePTB(t, netlab.Forgery{
				From: p.R1, MTU: 600, Quote: netlab.EchoPacket(p.ClientAddr(v6), p.ServerAddr(v6), false, id+1, 7, 1500),
			})
		}
		answers = append(answers, <-done)
		p.Apply(t, "S0")
		if answers[0].Outcome != Silent {
			t.Errorf("a forged message was believed: %+v", answers[0])
		}
		if n := s.Stats().Rejected[RejectUnknownProbe] - before[RejectUnknownProbe]; n != 50 {
			t.Errorf("%d forgeries counted, want 50", n)
		}
	})
}

func TestSendRefusesImpossiblePackets(t *testing.T) {
	netlab.Need(t)
	s := openIn(t, netlab.New(t), false)
	dst := netip.MustParseAddr("127.0.0.1")
	noToken := datagramOf(dst, 500, 100)
	noToken.Token[0]++
	unknown := datagramOf(dst, 500, 100)
	unknown.Protocol = AH + 1
	for name, packet := range map[string]*Packet{
		"too small": echoOf(dst, 30), "too large": echoOf(dst, 65536), "no address": echoOf(netip.Addr{}, 100), "token missing": noToken,
		"protocol unknown": unknown,
	} {
		if a := probe(t, s, packet); a.Outcome != NotSent || a.Err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := probe(t, s, echoOf(dst, 65535)); a.Outcome != Delivered {
		t.Errorf("the largest packet over loopback: %+v", a)
	}
}

// TestLocalDropsAreNotSilence: answers that this host throws away are distinguished from answers
// that never came.
func TestLocalDropsAreNotSilence(t *testing.T) {
	p, s := inLab(t)
	sockets, _, err := s.use(&Packet{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = sockets.raw4.use(func(fd int) error { return set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	answers := make(chan Answer, 2*n)
	for range n {
		s.Send(t.Context(), &Packet{Path: Path{Dst: p.ServerAddr(false)}, Size: 1400}, 500*time.Millisecond, func(a Answer) { answers <- a })
	}
	lost := uint64(0)
	for range n {
		a := <-answers
		if a.Outcome == Silent && !a.LocalDrops {
			t.Error("an answer that this host lost is taken for silence")
		}
		if a.Outcome == Silent {
			lost++
		}
	}
	if d := s.Stats().Drops["icmp4"]; lost == 0 || d < lost {
		t.Errorf("%d answers lost, %d drops counted", lost, d)
	}
	p.DropICMP(t)
	if a := probe(t, s, echoOf(p.ServerAddr(false), 100)); a.Outcome != Silent || a.LocalDrops {
		t.Errorf("real silence: %+v", a)
	}
}

// TestErrorsOfOthersAreNotOurs: without raw sockets, the kernel reports an ICMP error for one peer
// at the next send to any other.
func TestErrorsOfOthersAreNotOurs(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.Apply(t, "S1")
	s := openIn(t, p.Client, true)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		other := p.HopAddr(1, v6)
		for i := range 300 {
			for _, size := range []int{1500, 100} { // too big, and refused
				s.Send(t.Context(), datagramOf(p.ServerAddr(v6), 9, size), 50*time.Millisecond, func(Answer) {})
			}
			got := make(chan Answer, 4)
			s.Send(t.Context(), datagramOf(other, 9, 1500), time.Second, func(a Answer) { got <- a })
			if a := <-got; a.Outcome == NotSent || a.Outcome == TooBigLocally || a.Outcome == TooBig {
				t.Fatalf("round %d: the neighbour's errors became %+v", i, a)
			}
		}
	})
}

// TestInterfaceComesBack: a dial-up line that is redialled has the same name and is another
// interface.
func TestInterfaceComesBack(t *testing.T) {
	p, s := inLab(t)
	link := func() {
		l := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "dial1"}
		l.Name = "dial0"
		if err := p.Client.Netlink().LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		if err := p.Client.Netlink().LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		dst := netlink.NewIPNet([]byte{192, 0, 2, 1})
		if err := p.Client.Netlink().RouteAdd(&netlink.Route{LinkIndex: l.Index, Dst: dst}); err != nil {
			t.Fatal(err)
		}
	}
	send := func() Answer {
		packet := echoOf(netip.MustParseAddr("192.0.2.1"), 100)
		packet.Path.Interface = "dial0"
		var a Answer
		p.Client.Do(t, func() { a = probe(t, s, packet) })
		return a
	}
	link()
	if a := send(); a.Outcome != Silent {
		t.Fatalf("at first: %+v", a)
	}
	l, err := p.Client.Netlink().LinkByName("dial0")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Client.Netlink().LinkDel(l); err != nil {
		t.Fatal(err)
	}
	if a := send(); a.Outcome != NotSent {
		t.Errorf("without the interface: %+v", a)
	}
	link()
	if a := send(); a.Outcome != Silent {
		t.Errorf("after it came back: %+v", a)
	}
}

// TestFullQueueOfThisHost: what a full queue of this host drops was not sent, by any kind of probe.
func TestFullQueueOfThisHost(t *testing.T) {
	netlab.Need(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		p, s := inLab(t)
		dst := p.ServerAddr(v6)
		whole, plain, esp, pieces := datagramOf(dst, 500, 1400), datagramOf(dst, 500, 1400), datagramOf(dst, 500, 1400), datagramOf(dst, 500, 1400)
		plain.DontFragment = false
		esp.Protocol = ESP
		pieces.DontFragment, pieces.FragmentSize = false, 700
		p.Shape(t, 100)
		for name, packet := range map[string]*Packet{
			"echo": echoOf(dst, 1400), "whole datagram": whole, "datagram": plain, "ESP": esp, "fragments": pieces,
		} {
			var last Answer
			for range 4 { // the first ones fill the queue
				done := make(chan Answer, 16)
				s.Send(t.Context(), packet, 50*time.Millisecond, func(a Answer) { done <- a })
				last = <-done
			}
			if last.Outcome != NotSent || !errors.Is(last.Err, ErrQueueFull) {
				t.Errorf("%s: %+v", name, last)
			}
		}
		route, err := s.Route(Path{Dst: dst})
		if err != nil {
			t.Fatal(err)
		}
		drops := s.Stats().QueueDrops
		for range 4 {
			probe(t, s, echoOf(dst, 1400))
		}
		if q := s.Queues()[route.Interface]; q.Refused < 3 || q.Dropped < q.Refused || s.Stats().QueueDrops < drops+3 {
			t.Errorf("counted %+v", q)
		}
		p.Shape(t, 0)
		if a := probe(t, s, echoOf(dst, 1400)); a.Outcome != Delivered {
			t.Errorf("without the shaper: %+v", a)
		}
	})
}
