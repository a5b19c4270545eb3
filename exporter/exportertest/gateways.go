package exportertest

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
)

// ASAGateway is the table of an ASA with one tunnel or attempt: the state of its IKE SA, its peer,
// and the path MTU that the ASA assumes, 0 for no child SA.
func ASAGateway(state, peer string, pathMTU int) *gateways.Transcript {
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

// Replay makes what reads every gateway from a transcript.
func Replay(transcript *gateways.Transcript) func(*config.Gateway) (gateways.Source, error) {
	return func(*config.Gateway) (gateways.Source, error) { return ciscoasa.Replay(transcript) }
}

// FakeGateways are the gateways of a host at 192.0.2.1 and 2001:db8::1, as a test sets them, with
// the clock and the name server of that host. At first no gateway runs.
type FakeGateways struct {
	Names Names
	// Clock is the time of the host.
	Clock time.Time
	// Source is the address that routing chooses, whatever the destination.
	Source netip.Addr

	mu      sync.Mutex
	answers map[string]func(context.Context) ([]gateways.Found, error)
}

// NewFakeGateways makes FakeGateways of which none runs.
func NewFakeGateways() *FakeGateways {
	return &FakeGateways{
		Clock: time.Unix(1_800_000_000, 0), Source: netip.MustParseAddr("192.0.2.1"),
		answers: make(map[string]func(context.Context) ([]gateways.Found, error)),
	}
}

// Answer sets how a gateway answers when it is asked for its peers.
func (f *FakeGateways) Answer(gateway string, answer func(context.Context) ([]gateways.Found, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[gateway] = answer
}

// Show sets the peers of a gateway.
func (f *FakeGateways) Show(gateway string, found ...gateways.Found) {
	f.Answer(gateway, func(context.Context) ([]gateways.Found, error) { return found, nil })
}

// List sets the peers of a gateway by their addresses and names.
func (f *FakeGateways) List(gateway string, peers ...string) {
	found := make([]gateways.Found, 0, len(peers))
	for _, p := range peers {
		if a, err := netip.ParseAddr(p); err == nil {
			found = append(found, gateways.Found{Address: a})
		} else {
			found = append(found, gateways.Found{Host: p})
		}
	}
	f.Show(gateway, found...)
}

// Refuse makes a gateway answer with an error.
func (f *FakeGateways) Refuse(gateway string, err error) {
	f.Answer(gateway, func(context.Context) ([]gateways.Found, error) { return nil, err })
}

// Open makes what asks a gateway.
func (f *FakeGateways) Open(g *config.Gateway) (gateways.Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := f.answers[g.Name]
	if answer == nil {
		return nil, fs.ErrNotExist
	}
	return discoverer{answer}, nil
}

// Now is the time of the host.
func (f *FakeGateways) Now() time.Time { return f.Clock }

// Addresses are the addresses of the host.
func (f *FakeGateways) Addresses() ([]net.Addr, error) {
	return []net.Addr{
		&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)},
		&net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)},
	}, nil
}

// RoutedSource is the address that routing chooses for packets to another host.
func (f *FakeGateways) RoutedSource(netip.Addr) netip.Addr { return f.Source }

// A discoverer is a gateway that can only be asked for its peers.
type discoverer struct {
	answer func(context.Context) ([]gateways.Found, error)
}

// Read implements gateways.Source.
func (discoverer) Read(context.Context) (gateways.Table, error) { return gateways.Table{}, nil }

// Close implements gateways.Source.
func (discoverer) Close() error { return nil }

// Discover implements gateways.Discoverer.
func (d discoverer) Discover(ctx context.Context) ([]gateways.Found, error) { return d.answer(ctx) }
