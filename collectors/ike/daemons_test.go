package ike_test

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// manyAtOnce is the number of daemons that are tested concurrently: they wait most of the time.
const manyAtOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", manyAtOnce); err != nil {
		panic(err)
	}
	netlab.Main(m)
}

// methods are the methods that send IKE messages.
var methods = []collectors.Method{collectors.IKE, collectors.NATT}

// A daemon counts the half-open IKE SAs.
type daemon interface{ HalfOpen(t netlab.T) int }

// A gateway is a real IKE daemon with one peer, and its replies to each form.
type gateway struct {
	name string
	// version is the configured IKE version, 1 or 2.
	version int
	// start starts the gateway; the daemon is nil if it does not report half-open SAs.
	start func(t *testing.T, n *netlab.NS, version int, local, remote netip.Addr) daemon
	// replies are the names of the replies by form; a form without one is not answered.
	replies map[ikeprobe.Form]string
}

func startCharon(t *testing.T, n *netlab.NS, version int, local, remote netip.Addr) daemon {
	t.Helper()
	// On a busy machine it falls behind and would ask for cookies.
	const noCookies = "cookie_threshold = 0\n  cookie_threshold_ip = 0\n"
	return daemons.StartStrongSwan(t, n, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(version, local, remote), Charon: noCookies})
}

func startPluto(t *testing.T, n *netlab.NS, version int, local, remote netip.Addr) daemon {
	t.Helper()
	return daemons.StartLibreswan(t, n, daemons.Libreswan{Conn: daemons.LibreswanPeer(version, local, remote)})
}

func startIked(t *testing.T, n *netlab.NS, _ int, local, remote netip.Addr) daemon {
	t.Helper()
	daemons.StartOpenIKED(t, n, daemons.OpenIKED{Conn: daemons.OpenIKEDPeer(local, remote)})
	return nil
}

// gateways are strongSwan, Libreswan and OpenIKED as they are usually configured. A daemon with
// IKEv1 peers only still refuses IKEv2 in IKEv2. charon refuses IKEv1 with any configuration; pluto
// does not answer it by default; iked does not implement it.
func gateways() []gateway {
	return []gateway{
		{name: "charon", version: 2, start: startCharon, replies: map[ikeprobe.Form]string{
			ikeprobe.V2BadKE: "INVALID_KE_PAYLOAD", ikeprobe.V2Major3: "INVALID_MAJOR_VERSION", ikeprobe.V2NoProp: "NO_PROPOSAL_CHOSEN",
			ikeprobe.V1Main: "NO-PROPOSAL-CHOSEN", ikeprobe.V1Minor: "NO-PROPOSAL-CHOSEN",
		}},
		{name: "charon", version: 1, start: startCharon, replies: map[ikeprobe.Form]string{
			ikeprobe.V2BadKE: "NO_PROPOSAL_CHOSEN", ikeprobe.V2Major3: "INVALID_MAJOR_VERSION", ikeprobe.V2NoProp: "NO_PROPOSAL_CHOSEN",
			ikeprobe.V1Main: "NO-PROPOSAL-CHOSEN", ikeprobe.V1Minor: "NO-PROPOSAL-CHOSEN",
		}},
		{name: "pluto", version: 2, start: startPluto, replies: map[ikeprobe.Form]string{
			ikeprobe.V2BadKE: "INVALID_KE_PAYLOAD", ikeprobe.V2Major3: "INVALID_MAJOR_VERSION", ikeprobe.V2NoProp: "NO_PROPOSAL_CHOSEN",
		}},
		{name: "pluto", version: 1, start: startPluto, replies: map[ikeprobe.Form]string{
			ikeprobe.V2BadKE: "NO_PROPOSAL_CHOSEN", ikeprobe.V2Major3: "INVALID_MAJOR_VERSION", ikeprobe.V2NoProp: "NO_PROPOSAL_CHOSEN",
			ikeprobe.V1Main: "NO-PROPOSAL-CHOSEN", ikeprobe.V1Minor: "INVALID-MINOR-VERSION",
		}},
		{name: "iked", version: 2, start: startIked, replies: map[ikeprobe.Form]string{
			ikeprobe.V2BadKE: "INVALID_KE_PAYLOAD", ikeprobe.V2Major3: "INVALID_KE_PAYLOAD", ikeprobe.V2NoProp: "NO_PROPOSAL_CHOSEN",
		}},
	}
}

// answers is the first form of the version's ladder that the gateway answers.
func (g *gateway) answers(v ikeprobe.Version) (f ikeprobe.Form, ok bool) {
	l := ikeprobe.Ladder(v)
	i := slices.IndexFunc(l, func(f ikeprobe.Form) bool { return g.replies[f] != "" })
	if i < 0 {
		return 0, false
	}
	return l[i], true
}

// A path is a provider with a gateway behind it and our sockets in front of it.
type path struct {
	*netlab.Provider
	gateway gateway
	daemon  daemon
	v6      bool
	stack   *netio.Stack
	keys    *ikeprobe.Keyring
}

func newPath(t *testing.T, g gateway, v6 bool) *path {
	t.Helper()
	p := &path{Provider: netlab.NewProvider(t), gateway: g, v6: v6}
	p.daemon = g.start(t, p.Server, g.version, p.ServerAddr(v6), p.ClientAddr(v6))
	p.Client.Do(t, func() {
		var err error
		if p.stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { p.stack.Close() })
	var err error
	if p.keys, err = ikeprobe.NewKeyring(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *path) target(v ikeprobe.Version) collectors.Target {
	return collectors.Target{
		Peer: p.gateway.name, Path: netio.Path{Dst: p.ServerAddr(p.v6)},
		IKE: collectors.IKESettings{Version: v, Port: 500, NATTPort: 4500},
	}
}

// TestDaemons sends more probes of each kind to real gateways than this program does in an hour.
// The gateways answer as expected, and afterwards their real peer at our address still connects.
func TestDaemons(t *testing.T) {
	netlab.Need(t)
	for _, g := range gateways() {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/IKEv%d/IPv%d", g.name, g.version, map[bool]int{false: 4, true: 6}[v6]), func(t *testing.T) {
				t.Parallel()
				p := newPath(t, g, v6)
				for _, v := range []ikeprobe.Version{ikeprobe.Auto, ikeprobe.V1, ikeprobe.V2} {
					if f, ok := g.answers(v); ok {
						p.round(t, v, f)
					}
				}
				p.probe(t)
				p.search(t)
				p.connect(t)
			})
		}
	}
}

// round makes one round of the collector in one version and expects the reply to a form by both
// methods.
func (p *path) round(t *testing.T, v ikeprobe.Version, want ikeprobe.Form) {
	t.Helper()
	to := p.target(v)
	got, err := ike.New(t.Context(), p.stack, p.keys, to, ike.Options{}).Measure(t.Context(), to)
	if err != nil {
		t.Errorf("version %s: %v", v, err)
	}
	for _, m := range methods {
		r := got.Of(m)
		if r.State != ike.Responding || r.Form != want || r.Reply != p.gateway.replies[want] || r.Version != want.Version() {
			t.Errorf("version %s by %s: %s to %s with %s in version %s, want %s to %s", v, m, r.State, r.Form, r.Reply, r.Version,
				p.gateway.replies[want], want)
		}
		if port := map[collectors.Method]uint16{collectors.IKE: 500, collectors.NATT: 4500}[m]; r.Port != port {
			t.Errorf("version %s by %s: port %d, want %d", v, m, r.Port, port)
		}
	}
}

const (
	// probes is the number of probes of each form to each port: 100 in all.
	probes = 10
	// pace is the time between two probes.
	pace = 10 * time.Millisecond
	// lost stands for no reply.
	lost = "silent"
)

// probe sends all forms to both ports, each with its own SPI, so that the gateway sees another
// initiator in each probe.
func (p *path) probe(t *testing.T) {
	t.Helper()
	got, want := make(map[string]int), make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := range probes {
		for _, m := range methods {
			for _, f := range ladder {
				name := lost
				if r, ok := p.gateway.replies[f]; ok {
					name = r
				}
				want[fmt.Sprintf("%s %s %s", m, f, name)]++
				all.Add(1)
				p.send(t, m, f, i+1, func(name string) {
					mu.Lock()
					defer mu.Unlock()
					got[fmt.Sprintf("%s %s %s", m, f, name)]++
					all.Done()
				})
				<-tick.C
			}
		}
	}
	all.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

// send sends one probe and calls tell once, with the name of the reply or with lost.
func (p *path) send(t *testing.T, m collectors.Method, f ikeprobe.Form, number int, tell func(name string)) {
	t.Helper()
	to, marker := p.target(f.Version()), m == collectors.NATT
	packet := &netio.Packet{
		Path: to.Path, Protocol: netio.UDP, Port: to.IKE.Port, Token: p.keys.SPI(to.Identity(), m.String(), f, -number),
	}
	if marker {
		packet.Port, packet.TokenOffset = to.IKE.NATTPort, 4 // RFC 3948, section 2.2
	}
	var nonce [32]byte
	p.keys.Nonce(nonce[:])
	var err error
	if packet.Payload, err = ikeprobe.Build(f, ikeprobe.PSK, packet.Token, marker, 0, nonce[:]); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	p.stack.Send(t.Context(), packet, 2*time.Second, func(a netio.Answer) {
		name := lost
		if a.Outcome == netio.Delivered {
			reply, err := ikeprobe.Classify(a.Payload, packet.Token, marker)
			if name = reply.Name; err != nil {
				name = err.Error()
			}
		} else if a.Outcome != netio.Silent {
			name = a.Outcome.String()
		}
		once.Do(func() { tell(name) })
	})
}

// search measures the path MTU across a black hole with padded probes, in every version that the
// gateway answers.
func (p *path) search(t *testing.T) {
	t.Helper()
	const holed = 1400
	p.Apply(t, "S3") // of 1400 bytes, without any ICMP
	defer p.Reset(t)
	for _, v := range []ikeprobe.Version{ikeprobe.V1, ikeprobe.V2} {
		f, ok := p.gateway.answers(v)
		if !ok {
			continue
		}
		c := pmtu.New(p.stack, pmtu.Options{Methods: methods, Keys: p.keys})
		got, err := c.Measure(t.Context(), p.target(v))
		if err != nil || len(got.Results) != len(methods) {
			t.Errorf("version %s: %d results, %v", v, len(got.Results), err)
		}
		for _, r := range got.Results {
			if r.State != search.BlackHole || r.Bytes != holed || r.Form != f.String() {
				t.Errorf("version %s by %s: %s %d by %s after %d packets, want %s %d", v, r.Method, r.State, r.Bytes, r.Form, r.Packets,
					search.BlackHole, holed)
			}
		}
	}
}

// connect expects no half-open SA at the gateway, and that its real peer, which has our address,
// gets an SA.
func (p *path) connect(t *testing.T) {
	t.Helper()
	if p.daemon == nil {
		return
	}
	// A half-open SA lasts at least 30 seconds; a shorter one belongs to a request being answered.
	n := p.daemon.HalfOpen(t)
	for deadline := time.Now().Add(5 * time.Second); n > 0 && time.Now().Before(deadline); n = p.daemon.HalfOpen(t) {
		time.Sleep(100 * time.Millisecond)
	}
	if n > 0 {
		t.Errorf("%d half-open SAs, want 0", n)
	}
	daemons.NeedStrongSwan(t)
	conn := daemons.StrongSwanPeer(p.gateway.version, p.ClientAddr(p.v6), p.ServerAddr(p.v6))
	if !daemons.StartStrongSwan(t, p.Client, daemons.StrongSwan{Conn: conn}).Initiate(t) {
		t.Error("the real peer could not connect")
	}
}
