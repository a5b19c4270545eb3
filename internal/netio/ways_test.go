package netio

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// waysLab is a client with two uplinks and a stack at it.
type waysLab struct {
	*netlab.Provider
	uplink *netlab.Uplink
}

func newWaysLab(t *testing.T, hidden bool) *waysLab {
	t.Helper()
	netlab.Need(t)
	p := netlab.NewProvider(t)
	l := &waysLab{p, p.AddUplink(t)}
	if hidden {
		l.uplink.Hide(t)
	}
	return l
}

// the selectors of the rules

func toPort(port uint16) func(r *netlink.Rule) {
	return func(r *netlink.Rule) {
		r.IPProto, r.Dport = unix.IPPROTO_UDP, netlink.NewRulePortRange(port, port)
	}
}

func fromPort(port uint16) func(r *netlink.Rule) {
	return func(r *netlink.Rule) {
		r.IPProto, r.Sport = unix.IPPROTO_UDP, netlink.NewRulePortRange(port, port)
	}
}

func numbered(number int) func(r *netlink.Rule) { return func(r *netlink.Rule) { r.IPProto = number } }

func marked(mark uint32) func(r *netlink.Rule) { return func(r *netlink.Rule) { r.Mark = mark } }

// the probes, with TTL 1: the answer of the first router shows by which way they left

func firstHop(p *Packet) *Packet {
	p.TTL = 1
	return p
}

func esp(dst netip.Addr) *Packet {
	return &Packet{Path: Path{Dst: dst}, Protocol: ESP, Token: Token{0xff, 0xf0, 1}, Payload: append([]byte{0xff, 0xf0, 1}, make([]byte, 61)...)}
}

func pieces(dst netip.Addr, port uint16, size, piece int) *Packet {
	p := datagramOf(dst, port, size)
	p.DontFragment, p.FragmentSize = false, piece
	return p
}

// TestProbesTakeTheWayOfTheirTraffic: policy routing sends some traffic by the second uplink. The
// probes of that traffic go with it, and the others do not.
func TestProbesTakeTheWayOfTheirTraffic(t *testing.T) {
	t.Parallel()
	const first, second, apart = "first", "second", "apart"
	type ways struct{ echo, small, df, other, large, cut, esp string }
	for name, tt := range map[string]struct {
		hidden  bool
		selects func(r *netlink.Rule)
		mark    uint32
		want    ways
	}{
		"no rule":                      {want: ways{first, first, first, first, first, first, first}},
		"port":                         {selects: toPort(500), want: ways{first, second, second, first, second, second, first}},
		"port, by nothing else":        {hidden: true, selects: toPort(500), want: ways{first, second, second, first, second, apart, first}},
		"mark":                         {selects: marked(7), mark: 7, want: ways{second, second, second, second, second, second, second}},
		"mark, by nothing else":        {hidden: true, selects: marked(7), mark: 7, want: ways{second, second, second, second, second, second, second}},
		"mark of others":               {selects: marked(7), want: ways{first, first, first, first, first, first, first}},
		"UDP, by nothing else":         {hidden: true, selects: numbered(unix.IPPROTO_UDP), want: ways{first, second, second, second, second, second, first}},
		"ESP, by nothing else":         {hidden: true, selects: numbered(unix.IPPROTO_ESP), want: ways{first, first, first, first, first, first, second}},
		"source port":                  {selects: fromPort(500), want: ways{first, second, second, first, second, second, first}},
		"source port, by nothing else": {hidden: true, selects: fromPort(500), want: ways{first, apart, apart, first, apart, apart, first}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newWaysLab(t, tt.hidden)
			families(t, func(t *testing.T, v6 bool) {
				t.Helper()
				if tt.selects != nil {
					l.uplink.Send(t, v6, tt.selects)
				}
				s := openIn(t, l.Client, false)
				dst, piece := l.ServerAddr(v6), 1500
				if v6 {
					piece = 1280
				}
				small := datagramOf(dst, 500, 200)
				small.DontFragment = false
				for _, one := range []struct {
					what   string
					packet *Packet
					want   string
				}{
					{"echo", echoOf(dst, 200), tt.want.echo},
					{"datagram", small, tt.want.small},
					{"datagram with DF", datagramOf(dst, 500, 1500), tt.want.df},
					{"datagram to another port", datagramOf(dst, 4500, 1500), tt.want.other},
					{"fragments for the link", pieces(dst, 500, 1600, piece), tt.want.large},
					{"smaller fragments", pieces(dst, 500, 1600, 1288), tt.want.cut},
					{"ESP", esp(dst), tt.want.esp},
				} {
					one.packet.Path.Mark = tt.mark
					a := probe(t, s, firstHop(one.packet))
					got := a.From.String()
					switch {
					case a.Outcome == NotSent && errors.Is(a.Err, ErrApart):
						got = apart
					case a.Outcome == TimeExceeded && a.From == l.HopAddr(1, v6):
						got = first
					case a.Outcome == TimeExceeded && a.From == l.uplink.Router(v6):
						got = second
					}
					if got != one.want {
						t.Errorf("%s left by %s, want %s: %+v", one.what, got, one.want, a)
					}
				}
			})
		})
	}
}

// TestDivertedByAPacketFilter: a mark that the packet filter sets on the way out is not in any route
// that the kernel shows. The interface by which a packet was seen to leave is.
func TestDivertedByAPacketFilter(t *testing.T) {
	t.Parallel()
	l := newWaysLab(t, true)
	l.uplink.SetMTU(t, 1492)
	l.uplink.Divert(t, 500)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		s := openIn(t, l.Client, false)
		dst, piece := l.ServerAddr(v6), 1492
		if v6 {
			piece = 1280
		}
		for _, p := range []*Packet{datagramOf(dst, 500, 200), datagramOf(dst, 4500, 200), echoOf(dst, 200)} {
			if a := probe(t, s, p); !a.Arrived() {
				t.Errorf("%v of 200 bytes: %+v", p.Protocol, a)
			}
		}
		route, err := s.Route(Path{Dst: dst}.For(UDP, 500))
		if err != nil || route.Interface != l.uplink.Interface() || route.LinkMTU != 1492 {
			t.Errorf("route of IKE: %+v, %v", route, err)
		}
		for _, path := range []Path{{Dst: dst}, Path{Dst: dst}.For(UDP, 4500)} {
			if r, err := s.Route(path); err != nil || r.LinkMTU != 1500 || r.SameWay(&route) {
				t.Errorf("route of %+v: %+v, %v", path.Traffic, r, err)
			}
		}
		if a := probe(t, s, datagramOf(dst, 500, 1492)); a.Outcome != Refused {
			t.Errorf("1492 bytes: %+v", a)
		}
		if a := probe(t, s, datagramOf(dst, 500, 1500)); a.Outcome != TooBigLocally || a.MTU != 1492 {
			t.Errorf("1500 bytes: %+v", a)
		}
		if a := probe(t, s, pieces(dst, 500, 1600, piece)); a.Outcome != Refused {
			t.Errorf("fragments that the kernel makes: %+v", a)
		}
		if a := probe(t, s, pieces(dst, 500, 1600, 1288)); a.Outcome != NotSent || !errors.Is(a.Err, ErrApart) {
			t.Errorf("fragments that the filter cannot tell apart: %+v", a)
		}
		if m := kernelMTU(t, l.Client, dst, 500); m != 1500 {
			t.Errorf("the kernel now believes in a path MTU of %d", m)
		}
	})
}

// TestRouteIsThatOfTheTraffic: the route, its MTU and its source address are those that an IKE daemon
// gets, and so is the size that passes; the kernel's path MTU stays unknown to it.
func TestRouteIsThatOfTheTraffic(t *testing.T) {
	t.Parallel()
	l := newWaysLab(t, true)
	l.uplink.SetMTU(t, 1492)
	l.uplink.SetServerMTU(t, 1400)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		l.uplink.Send(t, v6, toPort(500))
		s := openIn(t, l.Client, false)
		dst := l.ServerAddr(v6)
		route, err := s.Route(Path{Dst: dst}.For(UDP, 500))
		if err != nil || route.LinkMTU != 1492 || route.CachedMTU != 0 || route.Src != l.uplink.Addr(v6) || route.Gateway != l.uplink.Router(v6) {
			t.Errorf("route of IKE: %+v, %v", route, err)
		}
		for _, path := range []Path{{Dst: dst}, Path{Dst: dst}.For(UDP, 4500)} {
			if r, err := s.Route(path); err != nil || r.LinkMTU != 1500 || r.Src != l.ClientAddr(v6) || r.SameWay(&route) {
				t.Errorf("route of %+v: %+v, %v", path.Traffic, r, err)
			}
		}
		for range 2 {
			if a := probe(t, s, datagramOf(dst, 500, 1492)); a.Outcome != TooBig || a.MTU != 1400 || a.From != l.uplink.Router(v6) {
				t.Errorf("1492 bytes over 1400: %+v", a)
			}
			if a := probe(t, s, datagramOf(dst, 500, 1500)); a.Outcome != TooBigLocally || a.MTU != 1492 {
				t.Errorf("1500 bytes on a link of 1492: %+v", a)
			}
			if a := probe(t, s, datagramOf(dst, 500, 1400)); a.Outcome != Refused || a.From != dst {
				t.Errorf("1400 bytes: %+v", a)
			}
		}
		if m := kernelMTU(t, l.Client, dst, 500); m != 1492 {
			t.Errorf("the kernel now believes in a path MTU of %d to port 500", m)
		}
		if m := l.Client.CachedMTU(t, dst); m != 1500 {
			t.Errorf("the kernel now believes in a path MTU of %d to other ports", m)
		}
	})
}

// kernelMTU is the path MTU of the kernel for UDP to a port, as an IKE daemon would see it.
func kernelMTU(t *testing.T, ns *netlab.NS, dst netip.Addr, port uint16) (mtu int) {
	t.Helper()
	ns.Do(t, func() {
		domain, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
		var to unix.Sockaddr
		if dst.Is6() {
			domain, level, option, to = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU, &unix.SockaddrInet6{Addr: dst.As16(), Port: int(port)}
		} else {
			to = &unix.SockaddrInet4{Addr: dst.As4(), Port: int(port)}
		}
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err = unix.Connect(fd, to); err == nil {
			mtu, err = unix.GetsockoptInt(fd, level, option)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return mtu
}

// TestEntriesOfEchoesAreRemovedEverywhere: the kernel caches a "packet too big" for an echo at the
// route that the quoted source address leads to, which is not the route to the destination alone.
func TestEntriesOfEchoesAreRemovedEverywhere(t *testing.T) {
	t.Parallel()
	l := newWaysLab(t, false)
	l.uplink.SetServerMTU(t, 1400)
	dst, src := l.ServerAddr(true), l.uplink.Addr(true)
	for name, path := range map[string]Path{
		"source":    {Dst: dst, Src: src},
		"interface": {Dst: dst, Interface: l.uplink.Interface()},
	} {
		s := openIn(t, l.Client, false)
		packet := echoOf(dst, 1500)
		packet.Path = path
		if a := probe(t, s, packet); a.Outcome != TooBig || a.MTU != 1400 {
			t.Fatalf("%s: %+v", name, a)
		}
		time.Sleep(3 * cleanDelay)
		for _, at := range []Path{{Dst: dst}, {Dst: dst, Src: src}, {Dst: dst, Interface: l.uplink.Interface()}} {
			s.routes.forget(at)
			if r, err := s.Route(at); err != nil || r.CachedMTU != 0 {
				t.Errorf("%s: the path MTU cache for %s: %+v, %v", name, at, r, err)
			}
		}
	}
}

// TestMarkNeedsPrivilege: a probe that may not carry its mark is not sent by another way.
func TestMarkNeedsPrivilege(t *testing.T) {
	t.Parallel()
	l := newWaysLab(t, false)
	s := openIn(t, l.Client, false)
	s.mu.Lock()
	s.caps[FirewallMark] = false
	s.mu.Unlock()
	packet := echoOf(l.ServerAddr(false), 100)
	packet.Path.Mark = 7
	if a := probe(t, s, packet); a.Outcome != NotSent || !errors.Is(a.Err, ErrNoMark) {
		t.Errorf("%+v", a)
	}
}
