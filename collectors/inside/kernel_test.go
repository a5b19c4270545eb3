package inside

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/crowd"
	"ipsec_path_exporter/internal/wire/ip"
)

func TestMain(m *testing.M) { netlab.Main(m) }

const port = 8443

// A site is a host behind a gateway.
type site struct {
	gateway, host *netlab.NS
	inner, outer  netip.Addr // of the host and of the gateway
}

// A rig is two sites, and a tunnel over a provider between their gateways. A program at each gateway has
// the tunnel, as an IPsec implementation in user space has: it takes packets from a TUN device and sends
// each in a datagram to UDP 4500, with DF, behind a header of 8 bytes as ESP has it.
//
//	host ── gateway ══ tunnel over r1, r2, r3 ══ gateway ── host, listens on a TCP port
type rig struct {
	*netlab.Provider
	near, far site
	network   *netio.Stack
	accepted  chan net.Conn
}

// overhead is what the tunnel adds to a packet: IPv4, UDP, and an SPI with a number.
const overhead = 20 + 8 + 8

func newSite(t *testing.T, gateway *netlab.NS, outer netip.Addr, block byte) site {
	t.Helper()
	s := site{gateway: gateway, host: netlab.New(t), outer: outer, inner: netip.AddrFrom4([4]byte{10, 98, block, 2})}
	edge := netip.AddrFrom4([4]byte{10, 98, block, 1})
	netlab.Veth(t,
		netlab.End{NS: gateway, Name: "lan", Addrs: []netip.Prefix{netip.PrefixFrom(edge, 24)}},
		netlab.End{NS: s.host, Name: "lan", Addrs: []netip.Prefix{netip.PrefixFrom(s.inner, 24)}}, 1500)
	gateway.Sysctl(t, "net/ipv4/ip_forward", "1")
	s.host.Route(t, netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: edge})
	return s
}

// dig makes one end of the tunnel.
func (s *site) dig(t *testing.T, to *site, mtu int) {
	t.Helper()
	var device *os.File
	var c *net.UDPConn
	s.gateway.Do(t, func() {
		var err error
		if device, err = crowd.OpenTUN("tunnel"); err != nil {
			t.Fatal(err)
		}
		const port = 4500
		c, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.outer, port)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.outer, port)))
		if err != nil {
			t.Fatal(err)
		}
	})
	h := s.gateway.Netlink()
	link, err := h.LinkByName("tunnel")
	if err == nil {
		err = h.LinkSetMTU(link, mtu)
	}
	if err == nil {
		err = h.LinkSetUp(link)
	}
	if err == nil {
		dst := netip.PrefixFrom(to.inner, 24).Masked()
		err = h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}})
	}
	if err != nil {
		t.Fatalf("tunnel: %v", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { s.encapsulate(device, c, raw) })
	running.Go(func() { decapsulate(device, c) })
	t.Cleanup(func() {
		c.Close()
		device.Close()
		running.Wait()
	})
}

// encapsulate sends what comes from the device, until that is closed. Where the kernel knows that the
// path carries less, it sends packet too big to the sender.
func (s *site) encapsulate(device *os.File, c *net.UDPConn, raw syscall.RawConn) {
	b := make([]byte, 1<<16)
	copy(b, []byte{0, 0, 0x10, 1, 0, 0, 0, 1})
	mtu := func() (v int) {
		_ = raw.Control(func(fd uintptr) { v, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU) })
		return v
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	for {
		n, err := device.Read(b[8:])
		if err != nil {
			return
		}
		packet := b[8 : 8+n]
		if packet[0]>>4 != 4 { // router solicitations
			continue
		}
		if _, err := c.Write(b[:8+n]); errors.Is(err, unix.EMSGSIZE) {
			_, _ = device.Write(tooBig(packet, mtu()-overhead))
		}
	}
}

func decapsulate(device *os.File, c *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n > 8 {
			_, _ = device.Write(b[8:n])
		}
	}
}

// tooBig is the message about a packet: ICMP type 3 code 4 (RFC 1191, section 4), from its destination.
func tooBig(packet []byte, mtu int) []byte {
	quote := packet[:min(len(packet), 28)]
	b := make([]byte, 28, 28+len(quote))
	b[0], b[8], b[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(quote)))
	copy(b[12:16], packet[16:20])
	copy(b[16:20], packet[12:16])
	binary.BigEndian.PutUint16(b[10:], ip.Checksum(b[:20]))
	b[20], b[21] = 3, 4
	binary.BigEndian.PutUint16(b[26:], uint16(mtu))
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[22:], ip.Checksum(b[20:]))
	return b
}

func newRig(t *testing.T, mtu int) *rig {
	t.Helper()
	r := &rig{Provider: netlab.NewProvider(t), accepted: make(chan net.Conn, 1)}
	r.near = newSite(t, r.Client, r.ClientAddr(false), 1)
	r.far = newSite(t, r.Server, r.ServerAddr(false), 2)
	r.near.dig(t, &r.far, mtu)
	r.far.dig(t, &r.near, mtu)
	r.far.host.Do(t, func() {
		l, err := net.Listen("tcp4", netip.AddrPortFrom(r.far.inner, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				r.accepted <- c
			}
		}()
	})
	r.near.host.Do(t, func() {
		outer, err := netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { outer.Close() })
		if r.network, err = outer.OpenInside(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.network.Close() })
	})
	if r.network.Capabilities()[netio.PolicyBypass] {
		t.Fatal("the probes are exempt from IPsec policies")
	}
	return r
}

// clamp makes a gateway set the MSS of all connections through it.
func (s *site) clamp(t *testing.T, mss string) {
	t.Helper()
	s.gateway.Do(t, func() {
		for _, args := range [][]string{
			{"add", "table", "ip", "clamp"},
			{"add", "chain", "ip", "clamp", "forward", "{ type filter hook forward priority 0; }"},
			{"add", "rule", "ip", "clamp", "forward", "tcp", "flags", "syn", "tcp", "option", "maxseg", "size", "set", mss},
		} {
			if out, err := exec.CommandContext(t.Context(), "nft", args...).CombinedOutput(); err != nil {
				t.Fatalf("nft %v: %v\n%s", args, err, out)
			}
		}
	})
}

func (r *rig) measure(t *testing.T, c *Collector) Result {
	t.Helper()
	got, err := c.Measure(t.Context(), collectors.Target{})
	if err != nil || len(got.Results) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	return got.Results[0]
}

func (r *rig) collector() *Collector {
	return New(Options{Open: func() (Network, error) { return r.network, nil }, Targets: []Target{{Address: r.far.inner, Port: port}}})
}

// TestTunnels measures through tunnels of a real kernel.
func TestTunnels(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	silently := func(t netlab.T, r *rig) { r.SilentDropAbove(t, 1400, netlab.Both) }
	for name, tt := range map[string]struct {
		mtu   int
		fault func(t netlab.T, r *rig)
		clamp string
		state search.State
		bytes int
		mss   int
		tcp   TCPState
	}{
		"right MTU":                  {1364, silently, "", search.Reduced, 1364, 1460, TCPAnswered},
		"too large, silence":         {1464, silently, "", search.BlackHole, 1364, 1460, TCPAnswered},
		"too large, packet too big":  {1464, func(t netlab.T, r *rig) { r.SetMTU(t, 1400) }, "", search.Reduced, 1364, 1460, TCPAnswered},
		"too large, right clamp":     {1464, silently, "1324", search.BlackHole, 1364, 1324, TCPAnswered},
		"too large, clamp too large": {1464, silently, "1400", search.BlackHole, 1364, 1400, TCPAnswered},
		"dead":                       {1464, func(t netlab.T, r *rig) { r.DropUDPPort(t, 4500) }, "", search.Unknown, 0, 0, TCPSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tt.mtu)
			tt.fault(t, r)
			if tt.clamp != "" {
				r.near.clamp(t, tt.clamp)
			}
			c := r.collector()
			for range 2 {
				got := r.measure(t, c)
				if got.Size.State != tt.state || got.Size.Bytes != tt.bytes || got.MSS != tt.mss || got.TCP != tt.tcp || got.Silent() != (tt.tcp == TCPSilent) {
					t.Errorf("%+v, want %s, %d bytes, MSS %d, TCP %s", got, tt.state, tt.bytes, tt.mss, tt.tcp)
				}
			}
			r.cacheIsClean(t)
			select {
			case c := <-r.accepted:
				t.Errorf("a connection from %s was made", c.RemoteAddr())
			case <-time.After(100 * time.Millisecond): // it would have been made at once
			}
		})
	}
}

// cacheIsClean: no probe has left a path MTU in the cache of its host.
func (r *rig) cacheIsClean(t *testing.T) {
	t.Helper()
	route, err := r.network.Route(netio.Path{Dst: r.far.inner})
	if err != nil || route.CachedMTU != 0 {
		t.Errorf("the host has cached %d bytes, %v", route.CachedMTU, err)
	}
}

// TestClosedPort: a refusal shows that the tunnel carries both packets.
func TestClosedPort(t *testing.T) {
	t.Parallel()
	netlab.Need(t)
	r := newRig(t, 1464)
	c := New(Options{Open: func() (Network, error) { return r.network, nil }, Targets: []Target{{Address: r.far.inner, Port: port + 1}}})
	if got := r.measure(t, c); got.TCP != TCPRefused || got.Size.State != search.Reduced || got.Size.Bytes != 1464 {
		t.Errorf("%+v", got)
	}
}
