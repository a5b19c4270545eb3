package xfrm

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// An espTunnel carries datagrams from the client of a provider to its server by ESP of the kernel.
type espTunnel struct {
	p        *netlab.Provider
	from, to netip.Addr // inside
	send     net.Conn
	receive  net.PacketConn
	esn      bool
	window   int
	spi      int
	sent     uint64
}

func newTunnel(t *testing.T, esn bool, window int) *espTunnel {
	t.Helper()
	p := netlab.NewProvider(t)
	client, server := p.ClientAddr(false), p.ServerAddr(false)
	e := &espTunnel{
		p: p, esn: esn, window: window, spi: 0x1000,
		from: daemons.AddProtected(t, p.Client, client), to: daemons.AddProtected(t, p.Server, server),
	}
	p.Client.Route(t, netlab.Route{Dst: daemons.Protected(server), Via: netip.MustParseAddr("10.77.1.2")})
	p.Server.Route(t, netlab.Route{Dst: daemons.Protected(client), Via: netip.MustParseAddr("10.77.4.1")})
	for n, dir := range map[*netlab.NS]netlink.Dir{p.Client: netlink.XFRM_DIR_OUT, p.Server: netlink.XFRM_DIR_IN} {
		n.Do(t, func() {
			err := netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{
				Src: ipNet(daemons.Protected(client).String()), Dst: ipNet(daemons.Protected(server).String()), Dir: dir,
				Tmpls: []netlink.XfrmPolicyTmpl{{
					Src: client.AsSlice(), Dst: server.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 1,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	e.rekey(t)
	p.Server.Do(t, func() {
		var err error
		if e.receive, err = net.ListenPacket("udp", netip.AddrPortFrom(e.to, 9).String()); err != nil {
			t.Fatal(err)
		}
	})
	p.Client.Do(t, func() {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.from, 0))}
		var err error
		if e.send, err = d.Dial("udp", netip.AddrPortFrom(e.to, 9).String()); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { e.send.Close(); e.receive.Close() })
	return e
}

func (e *espTunnel) state(spi int) *netlink.XfrmState {
	return &netlink.XfrmState{
		Src: e.p.ClientAddr(false).AsSlice(), Dst: e.p.ServerAddr(false).AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL,
		Spi: spi, Reqid: 1, ReplayWindow: e.window, ESN: e.esn, Aead: &netlink.XfrmStateAlgo{Name: "rfc4106(gcm(aes))", Key: []byte(plantedKey)[:20], ICVLen: 128},
	}
}

// rekey replaces the SA: the receiver has the new one first, and both delete the old one.
func (e *espTunnel) rekey(t *testing.T) {
	t.Helper()
	old := e.spi
	e.spi++
	for _, n := range []*netlab.NS{e.p.Server, e.p.Client} {
		n.Do(t, func() {
			if err := netlink.XfrmStateAdd(e.state(e.spi)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if old == 0x1000 {
		return
	}
	for _, n := range []*netlab.NS{e.p.Client, e.p.Server} {
		n.Do(t, func() {
			if err := netlink.XfrmStateDel(e.state(old)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// burst sends numbered datagrams, and slows down so that no queue overflows.
func (e *espTunnel) burst(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if _, err := e.send.Write(binary.BigEndian.AppendUint64(nil, e.sent)); err != nil {
			t.Fatal(err)
		}
		e.sent++
		if i%16 == 15 {
			time.Sleep(time.Millisecond)
		}
	}
}

// resolve sends datagrams until one arrives: until the routers know each other's link addresses, they
// drop all but a few. It returns how many were lost.
func (e *espTunnel) resolve(t *testing.T) (lost uint64) {
	t.Helper()
	b := make([]byte, 100)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); lost++ {
		e.burst(t, 1)
		if err := e.receive.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		// An earlier one that comes late would be taken for the last.
		for {
			size, _, err := e.receive.ReadFrom(b)
			if err != nil {
				break
			}
			if size == 8 && binary.BigEndian.Uint64(b) == e.sent-1 {
				return lost
			}
		}
	}
	t.Fatalf("%d datagrams and none arrives", lost)
	return 0
}

// listen takes what arrives until nothing has arrived for a while. Call the result after the last
// burst: it waits, and returns how many arrived and how many of them after a later one.
func (e *espTunnel) listen(t *testing.T) func() (arrived, late int) {
	t.Helper()
	done := make(chan [2]int)
	go func() {
		var n [2]int
		highest, b := uint64(0), make([]byte, 100)
		for {
			if err := e.receive.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Error(err)
			}
			if size, _, err := e.receive.ReadFrom(b); err != nil || size != 8 {
				done <- n
				return
			}
			n[0]++
			if got := binary.BigEndian.Uint64(b); got < highest {
				n[1]++
			} else {
				highest = got
			}
		}
	}()
	return func() (arrived, late int) {
		n := <-done
		return n[0], n[1]
	}
}

// atServer returns the source at the server, with what counts its readings.
func (e *espTunnel) atServer(t *testing.T) func() gateways.Count {
	t.Helper()
	var s *Source
	e.p.Server.Do(t, func() {
		var err error
		if s, err = New(Config{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { s.Close() })
	peers := gateways.NewAttribution([]gateways.Peer{{Name: "hq", Address: e.p.ClientAddr(false)}})
	sum := gateways.NewAccumulator()
	return func() gateways.Count {
		table := read(t, s)
		reading := gateways.NewReading(&table, peers, false)
		sum.Add(&reading, time.Now())
		lost, _ := sum.Losses("hq")
		return lost
	}
}

// disturb lets the router before the server lose, delay and reorder packets (tc-netem(8)).
func (e *espTunnel) disturb(t *testing.T, how netlink.NetemQdiscAttrs) {
	t.Helper()
	how.Limit = 100_000
	q := netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: e.toServer(t), Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}, how)
	if err := e.p.R3.Netlink().QdiscReplace(q); err != nil {
		t.Fatal(err)
	}
}

// dropped is the number of packets that were dropped there. The kernel may have changed the qdisc in
// place, so it counts from the first one.
func (e *espTunnel) dropped(t *testing.T) uint64 {
	t.Helper()
	link, index := e.p.R3.Netlink(), e.toServer(t)
	all, err := link.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		if s := q.Attrs().Statistics; q.Type() == "netem" && s != nil && s.Queue != nil {
			return uint64(s.Queue.Drops)
		}
	}
	t.Fatalf("no statistics of netem among %v", all)
	return 0
}

// toServer is the index of the last router's device towards the server.
func (e *espTunnel) toServer(t *testing.T) int {
	t.Helper()
	routes, err := e.p.R3.Netlink().RouteGet(e.p.ServerAddr(false).AsSlice())
	if err != nil || len(routes) != 1 {
		t.Fatalf("%v, %v", routes, err)
	}
	return routes[0].LinkIndex
}

// TestUMLLoss: over three rekeys, what the kernel's SAs do not receive is exactly what the provider
// dropped.
func TestUMLLoss(t *testing.T) {
	if !netlab.UML(t, t.Name()) {
		return
	}
	for name, kind := range map[string]struct {
		esn    bool
		window int
	}{"short numbers": {false, 32}, "extended numbers": {true, 64}} {
		t.Run(name, func(t *testing.T) {
			e := newTunnel(t, kind.esn, kind.window)
			lost := e.atServer(t)
			if got := lost(); got != gateways.Counted(0) {
				t.Errorf("of an SA without packets: %+v", got)
			}
			before := e.resolve(t)
			for rekeys := range 4 {
				if rekeys > 0 {
					e.rekey(t)
				}
				heard := e.listen(t)
				e.disturb(t, netlink.NetemQdiscAttrs{Loss: 7})
				for range 4 {
					e.burst(t, 250)
					lost()
				}
				e.disturb(t, netlink.NetemQdiscAttrs{})
				e.burst(t, kind.window) // the window moves beyond all that was lost
				arrived, _ := heard()
				got, dropped := lost(), before+e.dropped(t)
				t.Logf("after %d rekeys: %d of %d arrived, %d were dropped, %+v", rekeys, arrived, 1000+kind.window, dropped, got)
				if got != gateways.Counted(dropped) {
					t.Errorf("after %d rekeys: %+v are counted, %d were dropped", rekeys, got, dropped)
				}
			}
			if dropped := e.dropped(t); dropped < 4*1000*7/100/2 {
				t.Errorf("only %d were dropped", dropped)
			}
		})
	}
}

// TestUMLReordering: packets that overtake each other are not lost.
func TestUMLReordering(t *testing.T) {
	if !netlab.UML(t, t.Name()) {
		return
	}
	e := newTunnel(t, true, 512)
	lost := e.atServer(t)
	e.disturb(t, netlink.NetemQdiscAttrs{Latency: 50_000, Jitter: 40_000})
	heard := e.listen(t)
	for range 20 {
		e.burst(t, 100)
		if got := lost(); got != gateways.Counted(0) {
			t.Errorf("%+v are counted", got)
		}
	}
	arrived, late := heard()
	got := lost()
	t.Logf("%d of %d arrived, %d after a later one, %d were dropped; %+v", arrived, e.sent, late, e.dropped(t), got)
	if got != gateways.Counted(0) || uint64(arrived) != e.sent || late < 50 {
		t.Errorf("%d of %d arrived, %d after a later one; %+v are counted", arrived, e.sent, late, got)
	}
}
