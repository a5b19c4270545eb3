package crowd_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/crowd"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// start simulates in the namespace of the tests.
func start(t *testing.T, c crowd.Config) *crowd.Crowd {
	t.Helper()
	netlab.Need(t)
	ctx, cancel := context.WithCancel(context.Background())
	w, err := crowd.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := w.Wait(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestKernelReachesPeers pings peers of both families through the kernel and looks at the round trip.
func TestKernelReachesPeers(t *testing.T) {
	const delay = 30 * time.Millisecond
	c := crowd.Config{Count: 20, IPv6: netip.MustParsePrefix("fd64::/64"), Delay: crowd.Distribution{Low: delay, High: delay}}
	w := start(t, c)
	for _, v6 := range []bool{false, true} {
		network, kind, protocol := "ip4:icmp", icmp.Type(ipv4.ICMPTypeEcho), 1
		if v6 {
			network, kind, protocol = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, 58
		}
		conn, err := icmp.ListenPacket(network, "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("data")}}).Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		addr := &net.IPAddr{IP: peerAddr(t, w, v6).AsSlice()}
		began := time.Now()
		if _, err := conn.WriteTo(request, addr); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(began.Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		awaitReply(t, conn, addr, protocol)
		if took := time.Since(began); took < delay-time.Millisecond {
			t.Errorf("the reply came after %v", took)
		}
	}
	if n := w.Counters()["echoes_answered"]; n != 2 {
		t.Errorf("%d echoes answered", n)
	}
	total := uint32(0)
	for _, c := range w.Residence() {
		total += c.Count
	}
	if total < 2 {
		t.Errorf("the residence of %d replies", total)
	}
	if w.ResetResidence(); len(w.Residence()) > 0 {
		t.Error("the residence is not reset")
	}
}

// peerAddr returns the address of the last peer of a family.
func peerAddr(t *testing.T, w *crowd.Crowd, v6 bool) (a netip.Addr) {
	t.Helper()
	for p := range w.Profiles {
		if p.Address.Is6() == v6 {
			a = p.Address
		}
	}
	return a
}

// awaitReply reads until an echo reply of an address arrives.
func awaitReply(t *testing.T, conn *icmp.PacketConn, from net.Addr, protocol int) {
	t.Helper()
	b := make([]byte, 1500)
	for {
		n, peer, err := conn.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		m, err := icmp.ParseMessage(protocol, b[:n])
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply {
			if peer.String() != from.String() {
				t.Errorf("reply from %s, not %s", peer, from)
			}
			return
		}
	}
}
