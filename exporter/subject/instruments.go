package subject

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/session"
)

// Instruments are what all subjects of a process measure with.
type Instruments struct {
	Stack    *netio.Stack
	Accounts *suite.Accounts
	// Deferred has the echoes of all subjects wait for the next Stack.Flush.
	Deferred bool
	keys     *ikeprobe.Keyring
	pings    icmp.Engine // where there is no raw socket
	partners *partner.Hub

	// within is the stack of this host's own traffic, nil until a peer has targets inside its tunnel.
	within   *netio.Stack
	opening  sync.Mutex
	released bool
}

// OpenInstruments opens the sockets of the process.
func OpenInstruments(cfg netio.Config) (*Instruments, error) {
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		return nil, fmt.Errorf("process secret: %w", err)
	}
	stack, err := netio.Open(cfg)
	if err != nil {
		return nil, fmt.Errorf("sockets: %w", err)
	}
	i := &Instruments{Stack: stack, Accounts: &suite.Accounts{}, keys: keys}
	i.pings = icmp.NewPingSockets(icmp.DefaultPingSockets, &i.Accounts[suite.ICMP], stack.Silence())
	i.partners = partner.NewHub(func(receive func(*netio.Datagram)) (partner.Endpoint, error) {
		return stack.OpenEndpoint(netip.AddrPort{}, receive)
	})
	return i, nil
}

// Limits are the limits of a configuration as the sockets take them.
func Limits(cfg *config.Config) netio.Limits {
	return netio.Limits{
		PacketsPerSecond: float64(cfg.Limits.PacketsPerSecond), BytesPerSecond: float64(cfg.Limits.BytesPerSecond),
	}
}

// Close closes the sockets. The contexts of everything that uses them have ended.
func (i *Instruments) Close() {
	i.opening.Lock()
	defer i.opening.Unlock()
	i.partners.Close()
	if i.released = true; i.within != nil {
		_ = i.within.Close() // an error would not matter any more
	}
	_ = i.Stack.Close() // likewise
}

// inside returns the network of this host's own traffic, which is opened at its first use.
func (i *Instruments) inside() (inside.Network, error) {
	i.opening.Lock()
	defer i.opening.Unlock()
	if i.released {
		return nil, net.ErrClosed
	}
	if i.within == nil {
		within, err := i.Stack.OpenInside()
		if err != nil {
			return nil, fmt.Errorf("sockets: %w", err)
		}
		i.within = within
	}
	return i.within, nil
}

// partner shapes the collector that measures with the partner of a peer.
func (i *Instruments) partner(p config.Partner) partner.Options {
	if !p.Configured() {
		return partner.Options{}
	}
	o := partner.Options{Addr: p.Addr, Port: p.UDPPort(), DSCP: p.Mark(), Hub: i.partners, Clock: netio.Clock}
	if p.Mode == config.PartnerAuthenticated {
		o.Keys = func() (session.Keys, error) { return partners.ReadKeys(p) }
	}
	return o
}

func (i *Instruments) rawSockets() bool { return i.Stack.Capabilities()[netio.RawICMP] }

// engine sends the echoes of a peer: on the shared raw socket, or where that is not allowed on a
// ping socket for each peer.
func (i *Instruments) engine(network collectors.Network) icmp.Engine {
	switch {
	case !i.rawSockets():
		return i.pings
	case i.Deferred:
		return icmp.NewDeferred(network, &i.Accounts[suite.ICMP])
	}
	return icmp.NewShared(network, &i.Accounts[suite.ICMP])
}

// methods are those by which this process can measure the path MTU.
func (i *Instruments) methods() []collectors.Method {
	if i.rawSockets() {
		return collectors.Methods()
	}
	return []collectors.Method{collectors.IKE, collectors.NATT}
}

// Degraded returns what this process cannot do, a sentence each.
func (i *Instruments) Degraded() []string {
	c := i.Stack.Capabilities()
	var lines []string
	if !c[netio.RawICMP] {
		line := "no raw sockets (CAP_NET_RAW): path MTU is measured by IKE only, through a UDP socket that leaves an entry in this host's path MTU cache"
		if c[netio.PingSocket] {
			line += "; echoes go out on ping sockets"
		} else {
			line += "; no echoes, because net.ipv4.ping_group_range does not include this process's group"
		}
		lines = append(lines, line)
	}
	if !c[netio.PolicyBypass] {
		lines = append(lines, "no exemption from this host's IPsec policies (CAP_NET_ADMIN): peers behind a policy or tunnel of this host stay unknown")
	}
	if !c[netio.IPv6] {
		lines = append(lines, "no IPv6 on this host")
	}
	return lines
}
