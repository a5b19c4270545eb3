package xfrm_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/strongswan"
	"ipsec_path_exporter/collectors/gateways/xfrm"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// A side is one end of a tunnel: its kernel and what that believes.
type side struct {
	ns     *netlab.NS
	addr   netip.Addr
	inside netip.Addr
	routes *netio.KernelRoutes
	kernel *xfrm.Source
}

// newSide prepares one end for a tunnel to the other.
func newSide(t *testing.T, n *netlab.NS, addr, remote, hop netip.Addr) *side {
	t.Helper()
	s := &side{ns: n, addr: addr, inside: daemons.AddProtected(t, n, addr)}
	n.Route(t, netlab.Route{Dst: daemons.Protected(remote), Via: hop})
	n.Do(t, func() {
		var err error
		if s.routes, err = netio.NewKernelRoutes(); err != nil {
			t.Fatal(err)
		}
		if s.kernel, err = xfrm.New(xfrm.Config{PathMTU: s.routes.PathMTU}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		s.kernel.Close()
		s.routes.Close()
	})
	return s
}

func newSides(t *testing.T) (p *netlab.Provider, client, server *side) {
	t.Helper()
	p = netlab.NewProvider(t)
	c, s := p.ClientAddr(false), p.ServerAddr(false)
	client = newSide(t, p.Client, c, s, netip.MustParseAddr("10.77.1.2"))
	server = newSide(t, p.Server, s, c, netip.MustParseAddr("10.77.4.1"))
	return p, client, server
}

// send sends packets of so many bytes through the tunnel.
func (s *side) send(t *testing.T, to *side, packets, size int) {
	t.Helper()
	s.ns.Do(t, func() {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.inside, 0))}
		c, err := d.DialContext(t.Context(), "udp", netip.AddrPortFrom(to.inside, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range packets {
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Logf("send: %v", err)
			}
		}
	})
}

// listen takes what is sent through the tunnel to this side.
func (s *side) listen(t *testing.T) {
	t.Helper()
	s.ns.Do(t, func() {
		c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", netip.AddrPortFrom(s.inside, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	})
}

func read(t *testing.T, s gateways.Source) gateways.Table {
	t.Helper()
	table, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// sums are the counters of a table.
type sums struct{ InPackets, InBytes, OutPackets, OutBytes uint64 }

func sum(table gateways.Table) (s sums) {
	for _, c := range table.Children {
		s.InPackets += c.In.Packets.Value
		s.InBytes += c.In.Bytes.Value
		s.OutPackets += c.Out.Packets.Value
		s.OutBytes += c.Out.Bytes.Value
	}
	return s
}

func pathMTU(table gateways.Table) (mtu int) {
	for _, c := range table.Children {
		mtu = max(mtu, c.PathMTU)
	}
	return mtu
}

func counter(table gateways.Table, kind string) (n uint64) {
	for _, c := range table.Counters {
		if c.Kind == kind {
			n += c.Value
		}
	}
	return n
}

// TestUMLStrongSwan: charon and the kernel say the same about a tunnel of real ESP, and about its
// path.
func TestUMLStrongSwan(t *testing.T) {
	daemons.NeedStrongSwan(t)
	if !netlab.UML(t, t.Name()) {
		return
	}
	p, client, server := newSides(t)
	start := func(s *side, remote netip.Addr) (*daemons.Charon, *strongswan.Source) {
		charon := daemons.StartStrongSwan(t, s.ns, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, s.addr, remote)})
		source, err := strongswan.New(strongswan.Config{Socket: charon.Socket(), PathMTU: s.routes.PathMTU})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { source.Close() })
		return charon, source
	}
	_, atServer := start(server, client.addr)
	charon, atClient := start(client, server.addr)
	if !charon.InitiateChild(t, "net", 30) {
		t.Fatal("no tunnel")
	}
	server.listen(t)
	client.send(t, server, 20, 100)
	time.Sleep(100 * time.Millisecond)
	for name, s := range map[string]struct {
		charon, kernel gateways.Source
		want           sums
	}{
		"client": {atClient, client.kernel, sums{OutPackets: 20, OutBytes: 20 * 128}},
		"server": {atServer, server.kernel, sums{InPackets: 20, InBytes: 20 * 128}},
	} {
		byCharon, byKernel := read(t, s.charon), read(t, s.kernel)
		if diff := cmp.Diff(sum(byCharon), sum(byKernel)); diff != "" {
			t.Errorf("%s: charon and the kernel differ: %s", name, diff)
		}
		if diff := cmp.Diff(s.want, sum(byKernel)); diff != "" {
			t.Errorf("%s: not what was sent: %s", name, diff)
		}
		if a, b := pathMTU(byCharon), pathMTU(byKernel); a != 1500 || b != 1500 {
			t.Errorf("%s: path MTU %d and %d, want 1500", name, a, b)
		}
		installed := 0
		for _, c := range byKernel.Children {
			if c.State == gateways.Installed {
				installed++
			}
		}
		if installed != 1 || len(byCharon.Children) != 1 || byCharon.Children[0].NATT != gateways.No {
			t.Errorf("%s: %d children of the kernel, %+v of charon", name, installed, byCharon.Children)
		}
	}
	p.SetMTU(t, 1400)
	client.send(t, server, 3, 1380)
	time.Sleep(200 * time.Millisecond)
	if a, b := pathMTU(read(t, atClient)), pathMTU(read(t, client.kernel)); a != 1400 || b != 1400 {
		t.Errorf("after a packet too big: path MTU %d and %d, want 1400", a, b)
	}
	found, err := client.kernel.Discover(t.Context())
	if err != nil || len(found) != 1 || found[0] != (gateways.Found{Address: server.addr, Local: client.addr, Active: true}) {
		t.Errorf("found %+v, %v", found, err)
	}
	server.ns.Do(t, func() {
		if err := netlink.XfrmStateFlush(netlink.XFRM_PROTO_ESP); err != nil {
			t.Fatal(err)
		}
	})
	before := counter(read(t, server.kernel), "xfrm_in_no_states")
	client.send(t, server, 5, 100)
	time.Sleep(100 * time.Millisecond)
	if after := counter(read(t, server.kernel), "xfrm_in_no_states"); after != before+5 {
		t.Errorf("xfrm_in_no_states went from %d to %d", before, after)
	}
}

// TestUMLTunnelForEverything: charon has the kernel prefer the address inside its tunnel for all
// packets, while the tunnel itself comes from another one, which both tell.
func TestUMLTunnelForEverything(t *testing.T) {
	daemons.NeedStrongSwan(t)
	if !netlab.UML(t, t.Name()) {
		return
	}
	_, client, server := newSides(t)
	everything := func(local, remote netip.Addr, which string) string {
		return strings.Replace(daemons.StrongSwanPeer(2, local, remote), which+"_ts = "+daemons.Protected(server.addr).String(), which+"_ts = 0.0.0.0/0", 1)
	}
	daemons.StartStrongSwan(t, server.ns, daemons.StrongSwan{Conn: everything(server.addr, client.addr, "local")})
	charon := daemons.StartStrongSwan(t, client.ns, daemons.StrongSwan{Conn: everything(client.addr, server.addr, "remote"), Charon: "install_routes = yes\n"})
	if routed := client.routes.Source(server.addr); routed != client.addr {
		t.Errorf("without a tunnel packets come from %s", routed)
	}
	if !charon.InitiateChild(t, "net", 30) {
		t.Fatal("no tunnel")
	}
	if routed := client.routes.Source(server.addr); routed == client.addr || !daemons.Protected(client.addr).Contains(routed) {
		t.Errorf("with the tunnel packets come from %s", routed)
	}
	source, err := strongswan.New(strongswan.Config{Socket: charon.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	for name, d := range map[string]gateways.Discoverer{"charon": source, "kernel": client.kernel} {
		found, err := d.Discover(t.Context())
		if err != nil || len(found) != 1 || found[0].Address != server.addr || found[0].Local != client.addr {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}

// TestUMLLibreswan: pluto and the kernel say the same about a tunnel of real ESP.
func TestUMLLibreswan(t *testing.T) {
	daemons.NeedLibreswan(t)
	if !netlab.UML(t, t.Name()) {
		return
	}
	_, client, server := newSides(t)
	start := func(s *side, remote netip.Addr) (*daemons.Pluto, *libreswan.Source) {
		pluto := daemons.StartLibreswan(t, s.ns, daemons.Libreswan{Conn: daemons.LibreswanPeer(2, s.addr, remote)})
		return pluto, libreswan.New(libreswan.Config{
			Socket: pluto.Socket(), Whack: filepath.Join(os.Getenv("LIBRESWAN_ROOT"), "/usr/libexec/ipsec/whack"), PathMTU: s.routes.PathMTU,
		})
	}
	_, atServer := start(server, client.addr)
	pluto, atClient := start(client, server.addr)
	if out, err := pluto.Whack("--initiate", "--name", daemons.ConnName); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server.listen(t)
	client.send(t, server, 20, 100)
	time.Sleep(100 * time.Millisecond)
	for name, s := range map[string]struct{ pluto, kernel gateways.Source }{"client": {atClient, client.kernel}, "server": {atServer, server.kernel}} {
		byPluto, byKernel := read(t, s.pluto), read(t, s.kernel)
		a, b := sum(byPluto), sum(byKernel)
		if a.InBytes != b.InBytes || a.OutBytes != b.OutBytes || a.InBytes+a.OutBytes != 20*128 {
			t.Errorf("%s: pluto says %+v, the kernel %+v", name, a, b)
		}
		if len(byPluto.Children) != 1 || byPluto.Children[0].State != gateways.Installed || byPluto.Children[0].PathMTU != 1500 || byPluto.Unparsed != 0 {
			t.Errorf("%s: %+v", name, byPluto)
		}
		if len(byPluto.IKE) != 1 || byPluto.IKE[0].State != gateways.Established {
			t.Errorf("%s: %+v", name, byPluto.IKE)
		}
	}
}
