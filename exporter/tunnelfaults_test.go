package exporter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// lasting is how long a fault of a tunnel lasts before it is one, and a reading more.
const lasting = 65 * time.Second

// tunnel is a real charon at each end, and the program that reads the client's.
func tunnel(t *testing.T, peer string) (*vpn, *service) {
	t.Helper()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	client, server := p.ClientAddr(false), p.ServerAddr(false)
	v := newVPN(t, daemons.StrongSwanPeer(2, client, server), daemons.StrongSwanPeer(2, server, client), p)
	return v, v.serve(t, v.gatewayFile(", gateways: [local]"+peer))
}

// initiate brings the tunnel up.
func (v *vpn) initiate(t *testing.T) {
	t.Helper()
	if !v.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
}

// through sends a packet through the tunnel, from the network behind one address to that behind the
// other.
func through(t *testing.T, n *netlab.NS, from, to netip.Addr) {
	t.Helper()
	inside := func(a netip.Addr) netip.Addr { return daemons.Protected(a).Addr().Next() }
	n.Do(t, func() {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(inside(from), 0))}
		c, err := d.DialContext(t.Context(), "udp", netip.AddrPortFrom(inside(to), 9).String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, 100)); err != nil {
			t.Logf("through the tunnel: %v", err) // an earlier packet was refused
		}
	})
}

// TestFaultsOfADaemonsTunnel: faults that have to last before they are any, each at a real charon.
// The readings go on meanwhile.
func TestFaultsOfADaemonsTunnel(t *testing.T) {
	t.Parallel()
	const held = `",gateway="local",peer="hq",severity="critical",site="haiti"}`
	t.Run("no SA", func(t *testing.T) {
		t.Parallel()
		v, s := tunnel(t, "")
		s.await(t, soon, `tunnel_up{gateway="local",peer="hq",site="haiti"}`, 0)
		s.await(t, soon, `icmp_reachable{peer="hq",site="haiti"}`, 1)
		if v, known := s.scrape(t).value(`peer_healthy{peer="hq",site="haiti"}`); known {
			t.Errorf("healthy is %v before anybody can know", v)
		}
		s.await(t, lasting+soon, `diagnosis{diagnosis="no_sa`+held, 1)
		v.initiate(t)
		s.gone(t, `diagnosis{diagnosis="no_sa`+held)
	})
	t.Run("idle on demand", func(t *testing.T) {
		t.Parallel()
		_, s := tunnel(t, ", on_demand: true")
		s.await(t, soon, `tunnel_up{gateway="local",peer="hq",site="haiti"}`, 0)
		time.Sleep(lasting + 3*time.Second)
		if n := len(s.scrape(t)["ipsec_path_diagnosis"].GetMetric()); n != 0 {
			t.Errorf("%d diagnoses of an idle tunnel", n)
		}
	})
	t.Run("no child", func(t *testing.T) {
		t.Parallel()
		v, s := tunnel(t, "")
		v.initiate(t)
		if _, err := v.client.Swanctl("--terminate", "--child", "net"); err != nil {
			t.Fatal(err)
		}
		s.await(t, lasting+soon, `diagnosis{diagnosis="child_missing`+held, 1)
		v.initiate(t)
		s.gone(t, `diagnosis{diagnosis="child_missing`+held)
	})
	t.Run("ESP one way", func(t *testing.T) {
		t.Parallel()
		v, s := tunnel(t, "")
		v.initiate(t)
		client, server := v.ClientAddr(false), v.ServerAddr(false)
		v.DropUDPPort(t, 4500) // charon carries its ESP in UDP
		sending, stop := context.WithCancel(t.Context())
		var sender sync.WaitGroup
		sender.Go(func() {
			for sending.Err() == nil {
				through(t, v.Client, client, server)
				time.Sleep(time.Second)
			}
		})
		defer sender.Wait()
		defer stop()
		s.await(t, lasting+soon, `diagnosis{diagnosis="esp_one_way`+held, 1)
		v.Heal(t, netlab.FaultUDPPort(4500))
		through(t, v.Server, server, client)
		s.gone(t, `diagnosis{diagnosis="esp_one_way`+held)
	})
}

// TestInsideADaemonsTunnel: through the tunnel of a real charon the size of its device passes. A host
// behind it that vanishes, while the path and the SAs are well, is tunnel_dead and nothing else.
func TestInsideADaemonsTunnel(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	p := netlab.NewProvider(t)
	client, server := p.ClientAddr(false), p.ServerAddr(false)
	v := newVPN(t, daemons.StrongSwanPeer(2, client, server), daemons.StrongSwanPeer(2, server, client), p)
	target, source := daemons.Protected(server).Addr().Next(), daemons.Protected(client).Addr().Next()
	s := v.serve(t, v.gatewayFile(fmt.Sprintf(", gateways: [local], inside: [{address: %s, source: %s}]", target, source)))
	v.initiate(t)
	const charonsDevice = 1400 // the MTU of the TUN device
	labels := fmt.Sprintf(`{peer="hq",site="haiti",target="%s"}`, target)
	s.await(t, 2*soon, "inside_mtu_bytes"+labels, charonsDevice)
	s.await(t, soon, "inside_reachable"+labels, 1)
	device, err := v.Server.Netlink().LinkByName("lo")
	if err == nil {
		err = v.Server.Netlink().AddrDel(device, &netlink.Addr{IPNet: netlink.NewIPNet(target.AsSlice())})
	}
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, lasting+2*soon, `diagnosis{diagnosis="tunnel_dead",peer="hq",severity="critical",site="haiti"}`, 1)
	for _, m := range s.scrape(t)["ipsec_path_diagnosis"].GetMetric() {
		for _, l := range m.GetLabel() {
			if name := l.GetValue(); l.GetName() == "diagnosis" && name != "tunnel_dead" {
				t.Errorf("%s holds", name)
			}
		}
	}
}

// gone waits until there is no such series.
func (s *service) gone(t *testing.T, series string) {
	t.Helper()
	exportertest.Eventually(t, soon, "end of "+series, func() bool {
		_, ok := s.scrape(t).value(series)
		return !ok
	})
}
