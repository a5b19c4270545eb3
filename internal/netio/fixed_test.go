package netio

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// A daemon owns UDP 500 of the client.
type daemon struct {
	conn net.PacketConn
	got  chan string
}

// startDaemon binds UDP 500 of the client as IKE daemons do.
func startDaemon(t *testing.T, p *netlab.Provider, v6 bool) *daemon {
	t.Helper()
	d := &daemon{got: make(chan string, 64)}
	network := "udp4"
	if v6 {
		network = "udp6"
	}
	p.Client.Do(t, func() {
		listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			if e != nil {
				return e
			}
			return err
		}}
		var err error
		if d.conn, err = listen.ListenPacket(t.Context(), network, ":500"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { d.conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, _, err := d.conn.ReadFrom(b)
			if err != nil {
				return
			}
			d.got <- string(b[:n])
		}
	}()
	return d
}

// asks sends a datagram of the daemon to the server, which returns it, and waits for that.
func (d *daemon) asks(t *testing.T, to netip.Addr) {
	t.Helper()
	text := "of the daemon " + strconv.Itoa(int(time.Now().UnixNano()))
	if _, err := d.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 500))); err != nil {
		t.Fatal(err)
	}
	for timeout := time.After(5 * time.Second); ; {
		select {
		case got := <-d.got:
			if got == text {
				return
			}
		case <-timeout:
			t.Fatal("the daemon does not get its answer")
		}
	}
}

// TestFixedSourcePort: probes leave from UDP 500 and get their answers, whether the port is free, or
// a daemon owns it before or after the first probe, and the daemon gets all of its own.
func TestFixedSourcePort(t *testing.T) {
	for name, tt := range map[string]struct{ before, after bool }{
		"free": {}, "daemon first": {before: true}, "daemon later": {after: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := inLab(t)
			families(t, func(t *testing.T, v6 bool) {
				t.Helper()
				ports := senders(t, p, v6)
				to := p.ServerAddr(v6)
				var d *daemon
				if tt.before {
					d = startDaemon(t, p, v6)
				}
				ask := func() {
					t.Helper()
					for _, whole := range []bool{false, true} {
						packet := datagramOf(to, 500, 300)
						packet.DontFragment, packet.SourcePort = whole, SourcePortIKE
						if a := probe(t, s, packet); a.Outcome != Delivered {
							t.Fatalf("DF %t: %+v", whole, a)
						}
					}
					pieces := datagramOf(to, 500, 1200)
					pieces.DontFragment, pieces.FragmentSize, pieces.SourcePort = false, 600, SourcePortIKE
					if a := probe(t, s, pieces); a.Outcome != Delivered {
						t.Fatalf("in fragments: %+v", a)
					}
				}
				ask()
				p.Client.Do(t, func() { // or this host would refuse the answers
					if c, err := net.ListenUDP(map[bool]string{false: "udp4", true: "udp6"}[v6], &net.UDPAddr{Port: 500}); err == nil {
						c.Close()
						t.Error("nothing holds the port")
					}
				})
				if tt.after {
					d = startDaemon(t, p, v6)
				}
				if d != nil {
					d.asks(t, to)
					ask()
					d.asks(t, to)
				}
				packet := datagramOf(to, 500, 300)
				if a := probe(t, s, packet); a.Outcome != Delivered {
					t.Fatalf("from a port of its own: %+v", a)
				}
				others := slices.DeleteFunc(ports(), func(port int) bool { return port == 500 })
				if len(others) != 1 {
					t.Errorf("ports other than 500: %v, want one", others)
				}
			})
		})
	}
}

// TestFixedSourcePortIsGivenUp: a port is held only while answers may come.
func TestFixedSourcePortIsGivenUp(t *testing.T) {
	p, s := inLab(t)
	packet := datagramOf(p.ServerAddr(false), 500, 300)
	packet.SourcePort = SourcePortIKE
	probe(t, s, packet)
	s.mu.Lock()
	set, key := s.sets[""], portKey{SourcePortIKE, false}
	h := set.fixed.held[key]
	s.mu.Unlock()
	if h == nil || s.release(set, key, h) {
		t.Fatal("the port is not held while an answer may come")
	}
	s.mu.Lock()
	h.used = h.used.Add(-holdRest)
	s.mu.Unlock()
	if !s.release(set, key, h) {
		t.Fatal("the port is still held")
	}
	p.Client.Do(t, func() {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 500})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// TestFixedSourcePortLearnsOfErrors: an ICMP error for such a probe is matched.
func TestFixedSourcePortLearnsOfErrors(t *testing.T) {
	p, s := inLab(t)
	p.Apply(t, "S1")
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		packet := datagramOf(p.ServerAddr(v6), 4500, 1500)
		packet.SourcePort = SourcePortNATT
		if a := probe(t, s, packet); a.Outcome != TooBig || a.MTU != 1400 {
			t.Errorf("1500 bytes over 1400: %+v", a)
		}
	})
}

// TestFixedSourcePortNeedsPrivilege: without a raw socket it is refused, not silent.
func TestFixedSourcePortNeedsPrivilege(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	s := openIn(t, p.Client, true)
	packet := datagramOf(p.ServerAddr(false), 500, 300)
	packet.SourcePort = SourcePortIKE
	got := make(chan Answer, 1)
	s.Send(context.Background(), packet, time.Second, func(a Answer) { got <- a })
	if a := <-got; a.Outcome != NotSent || a.Err == nil {
		t.Errorf("%+v", a)
	}
}
