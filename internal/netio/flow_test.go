package netio

import (
	"net"
	"slices"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// senders answers each datagram to port 500 of the server, and returns the source ports that came.
func senders(t *testing.T, p *netlab.Provider, v6 bool) func() []int {
	t.Helper()
	var pc net.PacketConn
	p.Server.Do(t, func() {
		var err error
		if pc, err = net.ListenPacket("udp", net.JoinHostPort(p.ServerAddr(v6).String(), "500")); err != nil {
			t.Fatal(err)
		}
	})
	came := make(chan int, 1024)
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if a, ok := from.(*net.UDPAddr); ok {
				came <- a.Port
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() { pc.Close() })
	return func() (ports []int) {
		for len(came) > 0 {
			ports = append(ports, <-came)
		}
		return ports
	}
}

// TestFlowsHavePortsOfTheirOwn: each flow leaves from its own port, in datagrams and in whole
// packets alike, and gets its answers there. A flow that has rested gets a new port.
func TestFlowsHavePortsOfTheirOwn(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		ports := senders(t, p, v6)
		var seen []int
		for number := range Flow(Flows) {
			for _, whole := range []bool{false, true} {
				packet := datagramOf(p.ServerAddr(v6), 500, 300)
				packet.DontFragment, packet.Path.Flow = whole, number
				if a := probe(t, s, packet); a.Outcome != Delivered {
					t.Fatalf("flow %d, whole packet %t: %+v", number, whole, a)
				}
			}
			got := ports()
			if len(got) != 2 || got[0] != got[1] || slices.Contains(seen, got[0]) {
				t.Fatalf("flow %d has ports %v, the others have %v", number, got, seen)
			}
			seen = append(seen, got[0])
		}
		s.mu.Lock()
		set, f := s.sets[""], s.sets[""].flows[5]
		f.used.Store(time.Now().Add(-flowRest).UnixNano())
		s.mu.Unlock()
		if !s.retire(set, f) {
			t.Fatal("a flow that rested is not closed")
		}
		packet := datagramOf(p.ServerAddr(v6), 500, 300)
		packet.Path.Flow = 5
		if a := probe(t, s, packet); a.Outcome != Delivered {
			t.Fatalf("after a rest: %+v", a)
		}
		if got := ports(); len(got) != 1 || got[0] == seen[5] {
			t.Errorf("after a rest the port is %v, before it was %d", got, seen[5])
		}
	})
}

// TestFlowsHaveIdentifiersOfTheirOwn: the echoes of two flows differ in their identifier, and each
// gets its answers and errors through the kernel's filter.
func TestFlowsHaveIdentifiersOfTheirOwn(t *testing.T) {
	p, s := inLab(t)
	p.Apply(t, "S1")
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		ids := make(map[uint16]bool)
		for number := range Flow(4) {
			small, large := echoOf(p.ServerAddr(v6), 100), echoOf(p.ServerAddr(v6), 1500)
			small.Path.Flow, large.Path.Flow = number, number
			if a := probe(t, s, small); a.Outcome != Delivered {
				t.Errorf("flow %d: %+v", number, a)
			}
			if a := probe(t, s, large); a.Outcome != TooBig || a.MTU != 1400 {
				t.Errorf("flow %d, 1500 bytes over 1400: %+v", number, a)
			}
			_, f, err := s.use(small, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			ids[f.echoID] = true
		}
		if len(ids) != 4 {
			t.Errorf("4 flows have %d identifiers", len(ids))
		}
	})
	if got := s.Stats().Drops; len(got) == 0 {
		t.Error("no socket is counted")
	}
}

// TestRoutesDoNotDependOnFlows: all flows of a path share one look-up.
func TestRoutesDoNotDependOnFlows(t *testing.T) {
	p, s := inLab(t)
	for number := range Flow(3) {
		if _, err := s.Route(Path{Dst: p.ServerAddr(false), Flow: number}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.routes.cache); n != 1 {
		t.Errorf("%d routes are known, want 1", n)
	}
}

// TestFlowsOfADiscardedInterface: the flows of sockets that were discarded end nothing of those that
// take their place.
func TestFlowsOfADiscardedInterface(t *testing.T) {
	_, s := inLab(t)
	s.mu.Lock()
	set, err := s.set("lo")
	if err == nil {
		err = s.openFlow(set, 7)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := set.flows[7]
	s.mu.Unlock()
	s.discard(set)
	s.mu.Lock()
	s.ports[f.port4] = true // of a new socket, by chance
	f.used.Store(0)
	s.mu.Unlock()
	if !s.retire(set, f) {
		t.Error("the flow is still known")
	}
	if probes, _ := s.probePort(f.port4); !probes {
		t.Error("a port of new sockets is forgotten")
	}
}
