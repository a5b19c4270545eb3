package strongswan

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// patience is how long daemons may take for what takes them milliseconds.
const patience = 20 * time.Second

// A path is a charon at each end of a provider.
type path struct {
	*netlab.Provider
	client, server         *daemons.Charon
	clientAddr, serverAddr netip.Addr
}

// newPath makes one. Charon carries ESP itself, so that it needs none in the kernel.
func newPath(t *testing.T, clientConn, serverConn func(local, remote netip.Addr) string) *path {
	t.Helper()
	daemons.NeedStrongSwan(t)
	p := &path{Provider: netlab.NewProvider(t)}
	p.clientAddr, p.serverAddr = p.ClientAddr(false), p.ServerAddr(false)
	inside := daemons.AddProtected(t, p.Server, p.serverAddr)
	p.Server.Do(t, func() { // a receiver for what is sent through the tunnel
		c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", netip.AddrPortFrom(inside, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	})
	daemons.AddProtected(t, p.Client, p.clientAddr)
	charon := func(n *netlab.NS, conn, more string) *daemons.Charon {
		return daemons.StartStrongSwan(t, n, daemons.StrongSwan{Conn: conn, Libipsec: true, Charon: more + daemons.AggressivePSK})
	}
	p.server = charon(p.Server, serverConn(p.serverAddr, p.clientAddr), "")
	p.client = charon(p.Client, clientConn(p.clientAddr, p.serverAddr), "install_virtual_ip = yes\n")
	return p
}

func ezvpn(t *testing.T) *path {
	t.Helper()
	return newPath(t, daemons.EZVPNClient, func(local, _ netip.Addr) string { return daemons.EZVPNServer(local) })
}

func site(t *testing.T, version int) *path {
	t.Helper()
	conn := func(local, remote netip.Addr) string { return daemons.StrongSwanPeer(version, local, remote) }
	return newPath(t, conn, conn)
}

func live(t *testing.T, c *daemons.Charon) *Source {
	t.Helper()
	s, err := New(Config{Socket: "unix://" + c.Socket(), PathMTU: func(netip.Addr, netip.Addr) int { return 1500 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// await reads until the table is as it should be.
func await(t *testing.T, s *Source, what string, ok func(gateways.Table) bool) gateways.Table {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		table := read(t, s)
		if ok(table) {
			return table
		}
		if time.Now().After(deadline) {
			t.Fatalf("never %s: %+v", what, table)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// in reports whether there is exactly one IKE SA, and in this state.
func in(s gateways.IKEState) func(gateways.Table) bool {
	return func(t gateways.Table) bool { return len(t.IKE) == 1 && t.IKE[0].State == s }
}

// stays makes sure that a state is not only passed through.
func stays(t *testing.T, s *Source, state gateways.IKEState) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	if table := read(t, s); !in(state)(table) {
		t.Errorf("does not stay %s: %+v", state, table.IKE)
	}
}

// send sends packets through the tunnel to the server.
func (p *path) send(t *testing.T, n int) {
	t.Helper()
	inside := daemons.Protected(p.serverAddr).Addr().Next()
	p.Client.Do(t, func() {
		c, err := net.Dial("udp", netip.AddrPortFrom(inside, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range n {
			if _, err := c.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestDaemonTunnels(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("IKEv%d", version), func(t *testing.T) {
			t.Parallel()
			p := site(t, version)
			s := live(t, p.server)
			if table := read(t, s); len(table.IKE)+len(table.Children) != 0 || !strings.HasPrefix(table.Info.Version, "5.") && !strings.HasPrefix(table.Info.Version, "6.") {
				t.Errorf("before: %+v", table)
			}
			if !p.client.InitiateChild(t, "net", 10) {
				t.Fatal("no tunnel")
			}
			// In IKEv1 the responder installs the child after the last message of the initiator.
			table := await(t, s, "established with a child", func(t gateways.Table) bool {
				return in(gateways.Established)(t) && len(t.Children) > 0
			})
			ike := table.IKE[0]
			if ike.Version != version || ike.Peer.Address != p.clientAddr || ike.Peer.Name != daemons.ConnName || ike.Initiator || time.Since(ike.Established) > time.Minute {
				t.Errorf("IKE SA %+v", ike)
			}
			if len(table.Children) != 1 || table.Children[0].State != gateways.Installed || table.Children[0].NATT != gateways.Yes || table.Children[0].PathMTU != 0 {
				t.Errorf("children %+v", table.Children)
			}
			p.send(t, 10)
			await(t, s, "traffic", func(t gateways.Table) bool {
				c := t.Children[0]
				return c.In.Packets.Value >= 10 && c.In.Bytes.Value >= 1000
			})
			found, err := s.Discover(t.Context())
			if err != nil || len(found) != 1 || found[0] != (gateways.Found{Address: p.clientAddr, Name: daemons.ConnName, Local: p.serverAddr, Active: true}) {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}

func TestDaemonEZVPN(t *testing.T) {
	t.Parallel()
	p := ezvpn(t)
	if !p.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	// The server installs the child when the client's last message arrives, after the client has it.
	table := await(t, live(t, p.server), "established with a child", func(table gateways.Table) bool {
		return in(gateways.Established)(table) && len(table.Children) > 0
	})
	if peer := table.IKE[0].Peer; peer.Username != daemons.User || peer.ID != daemons.Group || peer.Group != "ezvpn" {
		t.Errorf("peer %+v", peer)
	}
	if len(table.Children) != 1 || table.Children[0].State != gateways.Installed {
		t.Errorf("children %+v", table.Children)
	}
	if table := read(t, live(t, p.client)); !in(gateways.Established)(table) || !table.IKE[0].Initiator || len(table.Children) != 1 {
		t.Errorf("at the client: %+v", table)
	}
}

// TestDaemonVPNC: a client that speaks as Cisco's hardware does, up and stuck.
func TestDaemonVPNC(t *testing.T) {
	daemons.NeedVPNC(t)
	for name, tt := range map[string]struct {
		lose bool
		want gateways.IKEState
	}{"up": {false, gateways.Established}, "stuck in XAUTH": {true, gateways.XAuth}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ezvpn(t)
			if tt.lose {
				p.DropIKEExchange(t, netlab.Transaction, 0, netlab.Reverse)
			}
			daemons.StartVPNC(t, p.Client, p.serverAddr)
			s := live(t, p.server)
			table := await(t, s, tt.want.String(), func(table gateways.Table) bool {
				return in(tt.want)(table) && (tt.lose || len(table.Children) == 1)
			})
			stays(t, s, tt.want)
			peer := table.IKE[0].Peer
			if peer.Address != p.clientAddr || peer.ID != daemons.Group || !tt.lose && peer.Username != daemons.User {
				t.Errorf("peer %+v", peer)
			}
		})
	}
}

func TestDaemonStuck(t *testing.T) {
	for name, tt := range map[string]struct {
		drop           func(t *testing.T, p *path)
		client, server gateways.IKEState
	}{
		"XAUTH, the answer is lost": {
			func(t *testing.T, p *path) { t.Helper(); p.DropIKEExchange(t, netlab.Transaction, 0, netlab.Forward) }, gateways.XAuth, gateways.XAuth,
		},
		"XAUTH, the question is lost": {
			func(t *testing.T, p *path) { t.Helper(); p.DropIKEExchange(t, netlab.Transaction, 0, netlab.Reverse) }, gateways.XAuth, gateways.XAuth,
		},
		// The client's answers to XAUTH's two questions pass, its request for an address does not.
		// The server waits, in a state that may also be final: an IKE SA without a child says the
		// rest.
		"mode config, the request is lost": {
			func(t *testing.T, p *path) { t.Helper(); p.DropIKEExchange(t, netlab.Transaction, 2, netlab.Forward) }, gateways.ModeCfg, gateways.Established,
		},
		"mode config, the reply is lost": {
			func(t *testing.T, p *path) { t.Helper(); p.DropIKEExchange(t, netlab.Transaction, 2, netlab.Reverse) }, gateways.ModeCfg, gateways.Established,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ezvpn(t)
			tt.drop(t, p)
			if p.client.InitiateChild(t, "net", 1) {
				t.Fatal("there is a tunnel")
			}
			for end, c := range map[*daemons.Charon]gateways.IKEState{p.client: tt.client, p.server: tt.server} {
				s := live(t, end)
				table := await(t, s, c.String(), in(c))
				stays(t, s, c)
				if len(table.Children) != 0 {
					t.Errorf("children %+v", table.Children)
				}
			}
		})
	}
	t.Run("IKE_AUTH", func(t *testing.T) {
		t.Parallel()
		p := site(t, 2)
		p.DropIKEExchange(t, 35, 0, netlab.Forward) // IKE_AUTH
		p.client.InitiateChild(t, "net", 1)
		server := await(t, live(t, p.server), "connecting", in(gateways.Connecting))
		if peer := server.IKE[0].Peer; peer != (gateways.Identity{Address: p.clientAddr}) {
			t.Errorf("peer of a half-open SA: %+v", peer)
		}
		client := await(t, live(t, p.client), "connecting", in(gateways.Connecting))
		if !strings.Contains(client.IKE[0].Doing, "IKE_AUTH") || strings.Contains(client.IKE[0].Doing, "IKE_INIT") {
			t.Errorf("doing %q", client.IKE[0].Doing)
		}
	})
}

// poller polls the server, and keeps what it logs.
func (p *path) poller(t *testing.T, interval time.Duration) (*gateways.Poller, *syncBuffer) {
	t.Helper()
	var log syncBuffer
	g := gateways.NewPoller(gateways.PollerConfig{
		Name: "hub", Source: live(t, p.server), Interval: interval, Timeout: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	g.SetPeers([]gateways.Peer{{Name: "branch", Address: p.clientAddr, Expected: true}})
	return g, &log
}

// run runs the poller until the test ends.
func run(t *testing.T, g *gateways.Poller) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// awaitSnapshot waits until the poller says so.
func awaitSnapshot(t *testing.T, g *gateways.Poller, what string, ok func(gateways.Snapshot) bool) gateways.Snapshot {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s := g.Snapshot()
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("never %s: %+v", what, s)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func branch(s gateways.Snapshot) gateways.PeerSnapshot {
	for i := range s.Peers {
		if s.Peers[i].Peer == "branch" {
			return s.Peers[i]
		}
	}
	return gateways.PeerSnapshot{}
}

// TestDaemonRekeys: over ten rekeys the counters only grow, and the tunnel is never down.
func TestDaemonRekeys(t *testing.T) {
	t.Parallel()
	p := site(t, 2)
	if !p.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	g, _ := p.poller(t, 50*time.Millisecond)
	run(t, g)
	var before, sent uint64
	for i := range 10 {
		p.send(t, 20)
		sent += 20
		s := awaitSnapshot(t, g, "all that was sent", func(s gateways.Snapshot) bool { return branch(s).In.Packets.Value >= sent })
		if v := branch(s).In.Bytes.Value; v <= before {
			t.Errorf("rekey %d: %d bytes after %d", i, v, before)
		} else {
			before = v
		}
		if _, err := p.client.Swanctl("--rekey", "--child", "net"); err != nil {
			t.Fatal(err)
		}
	}
	s := awaitSnapshot(t, g, "rekeyed", func(s gateways.Snapshot) bool { return branch(s).Children[gateways.Installed] == 1 })
	if b := branch(s); b.Up != gateways.Yes || b.Downs != 0 || b.In.Packets.Value < sent || b.In.Packets.Value > sent+10 {
		t.Errorf("after all rekeys, %d packets sent: %+v", sent, b)
	}
}

// TestDaemonFlaps: what happens between two readings is counted too.
func TestDaemonFlaps(t *testing.T) {
	t.Parallel()
	p := site(t, 2)
	if !p.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	g, _ := p.poller(t, time.Hour)
	run(t, g)
	awaitSnapshot(t, g, "up", func(s gateways.Snapshot) bool { return branch(s).Up == gateways.Yes })
	time.Sleep(200 * time.Millisecond) // until it listens; nothing tells
	for range 3 {
		if _, err := p.client.Swanctl("--terminate", "--ike", daemons.ConnName); err != nil {
			t.Fatal(err)
		}
		if !p.client.InitiateChild(t, "net", 10) {
			t.Fatal("no tunnel")
		}
	}
	awaitSnapshot(t, g, "three flaps", func(s gateways.Snapshot) bool { return branch(s).Ups == 3 && branch(s).Downs == 3 })
}

// TestDaemonRestarts: while the daemon is away the gateway is down and the poller does not retry at
// a high rate; secrets appear nowhere.
func TestDaemonRestarts(t *testing.T) {
	t.Parallel()
	p := site(t, 2)
	if !p.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	g, log := p.poller(t, 100*time.Millisecond)
	run(t, g)
	awaitSnapshot(t, g, "up", func(s gateways.Snapshot) bool { return branch(s).Up == gateways.Yes })
	text := metrics(t, g)
	p.server.Stop(t)
	down := awaitSnapshot(t, g, "down", func(s gateways.Snapshot) bool { return !s.Up && s.Err != nil })
	text += metrics(t, g) + down.Err.Error()
	p.server.Restart(t)
	awaitSnapshot(t, g, "read again", func(s gateways.Snapshot) bool { return s.Up && branch(s).Up == gateways.No })
	p.client.Swanctl("--terminate", "--ike", daemons.ConnName, "--force")
	if !p.client.InitiateChild(t, "net", 10) {
		t.Fatal("no tunnel")
	}
	s := awaitSnapshot(t, g, "up again", func(s gateways.Snapshot) bool { return branch(s).Up == gateways.Yes })
	if b := branch(s); b.Ups == 0 || b.Downs == 0 {
		t.Errorf("%d ups, %d downs", b.Ups, b.Downs)
	}
	text += metrics(t, g) + log.String()
	if !strings.Contains(text, "ipsec_path_tunnel_up") || !strings.Contains(text, "cannot be read") {
		t.Errorf("not the text to look at: %s", text)
	}
	for _, secret := range []string{daemons.Secret, daemons.Password} {
		if strings.Contains(text, secret) {
			t.Errorf("%q in %s", secret, text)
		}
	}
}

// metrics is what a scrape would show.
func metrics(t *testing.T, g *gateways.Poller) string {
	t.Helper()
	page := gateways.NewMetrics(func() []*gateways.Poller { return []*gateways.Poller{g} }).Open()
	defer page.Close()
	var b bytes.Buffer
	for _, f := range collectorstest.Families(page) {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}
