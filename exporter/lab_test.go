package exporter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// A lab is a provider with a gateway behind it.
type lab struct {
	*netlab.Provider
	gateway *responder.Responder
	// open is in place of what reads gateways, if it is set.
	open func(*config.Gateway) (gateways.Source, error)
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	netlab.Need(tb)
	l := &lab{Provider: netlab.NewProvider(tb)}
	l.Server.Do(tb, func() {
		var err error
		if l.gateway, err = responder.Start(tb.Context(), responder.Config{}); err != nil {
			tb.Fatal(err)
		}
	})
	return l
}

// address is that of the gateway, as it is configured.
func (l *lab) address(v6 bool) string { return l.ServerAddr(v6).String() }

// asaGateway is the table of an ASA with one tunnel or attempt: the state of its IKE SA, its peer, and the path MTU that it believes, 0 for no child.
func asaGateway(state, peer string, pathMTU int) *gateways.Transcript {
	t := &gateways.Transcript{Type: "cisco_asa", Exchanges: []gateways.Exchange{
		{Request: "show version", Response: "Cisco Adaptive Security Appliance Software Version 9.8(4)10\n"},
		{Request: "show crypto isakmp sa detail", Response: fmt.Sprintf(`
IKEv1 SAs:

   Active SA: 1
    Rekey SA: 0 (A tunnel will report 1 Active and 1 Rekey SA during rekey)
Total IKE SA: 1

1   IKE Peer: %s
    Type    : L2L             Role    : initiator
    Rekey   : no              State   : %s
    Encrypt : aes-256         Hash    : SHA
    Auth    : preshared       Lifetime: 86400
    Lifetime Remaining: 86000
`, peer, state)},
	}}
	ipsec := "There are no ipsec sas\n"
	if pathMTU > 0 {
		ipsec = fmt.Sprintf(`interface: outside
    Crypto map tag: outside_map, seq num: 10, local addr: 192.0.2.1

      local ident (addr/mask/prot/port): (10.1.0.0/255.255.255.0/0/0)
      remote ident (addr/mask/prot/port): (10.9.0.0/255.255.255.0/0/0)
      current_peer: %[1]s

      #pkts encaps: 15, #pkts encrypt: 15, #pkts digest: 15
      #pkts decaps: 3, #pkts decrypt: 3, #pkts verify: 3

      local crypto endpt.: 192.0.2.1/4500, remote crypto endpt.: %[1]s/4500
      path mtu %[2]d, ipsec overhead 82(52), media mtu 1500
      current outbound spi: 5F60718A
      current inbound spi : 1B2C3D4E

    inbound esp sas:
      spi: 0x1B2C3D4E (455884110)
         SA State: active
         in use settings ={L2L, Tunnel,  NAT-T-Encaps, IKEv1, }
    outbound esp sas:
      spi: 0x5F60718A (1600156042)
         SA State: active
         in use settings ={L2L, Tunnel,  NAT-T-Encaps, IKEv1, }
`, peer, pathMTU)
	}
	t.Exchanges = append(t.Exchanges, gateways.Exchange{Request: "show crypto ipsec sa", Response: ipsec})
	return t
}

// dead is an address in the gateway's network that nobody has.
func (l *lab) dead() string { return l.ServerAddr(false).Next().Next().String() }

// app is the program in the client's place. It lives as long as the test.
func (l *lab) app(tb testing.TB, cfg *config.Config, log *slog.Logger, unprivileged bool) *app {
	tb.Helper()
	var a *app
	l.Client.Do(tb, func() {
		stack, err := netio.Open(netio.Config{Limits: limits(cfg), Log: log, Unprivileged: unprivileged})
		if err != nil {
			tb.Fatal(err)
		}
		if a, err = newApp(stack, cfg, icmp.BothBuckets, "", log); err != nil {
			tb.Fatal(err)
		}
	})
	tb.Cleanup(a.close)
	return a
}

// names is a resolver that knows what a test tells it.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	err     error
}

func (n *names) set(host string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == nil {
		n.answers = make(map[string][]netip.Addr)
	}
	n.answers[host] = addrs
}

func (n *names) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// LookupNetIP implements resolver.
func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answers[host], n.err
}

// A page is text that may be written to and read at the same time.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// count is how often it says something.
func (p *page) count(text string) int { return strings.Count(p.String(), text) }

// eventually waits until a condition holds.
func eventually(tb testing.TB, limit time.Duration, what string, holds func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); !holds(); <-tick.C {
		if time.Since(began) > limit {
			tb.Fatalf("%s: not within %v", what, limit)
		}
	}
	return time.Since(began)
}
