package protocols

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

const (
	// echoData is what an echo carries: as much as ping(8) sends.
	echoData = 56
	// espData is what an ESP or AH packet carries behind its header: as much as an encrypted echo.
	espData = 96
	// icvSize is that of AH with a truncated HMAC (RFC 2404, section 4).
	icvSize = 12
	// spiBase is where our SPIs begin: daemons choose them at random, or from 0xc0000000 on, so what is above is used by nobody we
	// know of, and 1 to 255 are reserved (RFC 4303, section 2.1).
	spiBase = 0xfff00000
	// maxPackets is the most that a round may send.
	maxPackets = 400
)

// Options shape a Collector. Keys and Dialects are needed.
type Options struct {
	// Keys make the initiator SPIs and the SPIs.
	Keys *ikeprobe.Keyring
	// Dialects tell which form of IKE the peer answers.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Seed makes orders; 0 draws one.
	Seed uint64
}

// A Collector finds out how far the protocols get on the way to one peer.
type Collector struct {
	network collectors.Network
	opts    Options

	measuring sync.Mutex
	target    collectors.Target
	rounds    uint64

	mu       sync.Mutex
	snapshot Results
}

// New makes a Collector.
func New(network collectors.Network, opts Options) *Collector {
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64() //nolint:gosec // an order, not a secret
	}
	return &Collector{network: network, opts: opts}
}

// Name implements collectors.Measurer.
func (*Collector) Name() string { return "protocols" }

// Snapshot returns what is known now. What it points to is not changed afterwards.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}

// Measure implements collectors.Measurer.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	if c.target.Path != t.Path {
		c.publish(Results{})
	}
	c.target = t
	c.rounds++
	route, err := c.network.Route(t.Path)
	if err != nil {
		return Results{}, fmt.Errorf("protocols: %w", err)
	}
	out := Results{At: time.Now()}
	if route.Tunnel != "" {
		out.Reason = "inside the tunnel: " + route.Tunnel
		c.publish(out)
		return out, nil
	}
	found, err := ladder.Run(ctx, c.network, c.runners(), ladder.Options{
		Packets: maxPackets, Seed: volley.Mix(c.opts.Seed + c.rounds),
	})
	if errors.Is(err, netio.ErrNoPrivilege) {
		out.Reason = "ESP, AH and echoes need CAP_NET_RAW"
		c.publish(out)
		return out, nil
	}
	if err != nil {
		return Results{}, fmt.Errorf("protocols: %w", err)
	}
	for _, p := range All() {
		if found.Of(string(p)) != nil {
			out.Results = append(out.Results, judge(found, p, t.Path.IPv6()))
		}
	}
	out.Hops, out.Distance, out.Packets, out.At = found.Hops(), found.Distance(), found.Packets, time.Now()
	c.publish(out)
	return out, nil
}

func (c *Collector) publish(r Results) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = r
}

// runners are the probes of all protocols. Of IKE that is a form that the peer does not accept; if none is left, there is none.
func (c *Collector) runners() []ladder.Runner {
	runners := []ladder.Runner{{Name: string(ICMP), Packet: c.echo}}
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		if d := c.opts.Dialects[m]; d != nil && d.Allows(d.Form()) {
			runners = append(runners, c.ike(m, d))
		}
	}
	return append(runners,
		ladder.Runner{Name: string(ESP), Packet: func(ttl uint8) (*netio.Packet, error) { return c.esp(ESP, ttl), nil }},
		ladder.Runner{Name: string(AH), Packet: func(ttl uint8) (*netio.Packet, error) { return c.ah(ttl), nil }},
		ladder.Runner{Name: string(ESPInUDP), Packet: func(ttl uint8) (*netio.Packet, error) { return c.esp(ESPInUDP, ttl), nil }},
	)
}

// packet is what the probes have in common.
func (c *Collector) packet(p Protocol) *netio.Packet {
	packet := &netio.Packet{Path: c.target.Path}
	c.label(packet, p)
	return packet
}

// label says what a packet is for, and who pays for it.
func (c *Collector) label(packet *netio.Packet, p Protocol) {
	packet.Account, packet.Purpose = c.opts.Account, "how far does "+string(p)+" get? (rising TTL)"
}

func (c *Collector) echo(uint8) (*netio.Packet, error) {
	p := c.packet(ICMP)
	p.Size = c.target.Path.HeaderIP() + netio.HeaderEcho + echoData
	return p, nil
}

// ike is the ladder of a port.
func (c *Collector) ike(m collectors.Method, d *ikeprobe.Dialect) ladder.Runner {
	name := UDP500
	if m == collectors.NATT {
		name = UDP4500
	}
	probes := &collectors.IKEProbes{Keys: c.opts.Keys, Dialect: d, Form: d.Form(), Method: m, Target: c.target}
	return ladder.Runner{
		Name: string(name),
		Packet: func(ttl uint8) (*netio.Packet, error) {
			if err := probes.Allowed(); err != nil {
				return nil, err
			}
			p, err := probes.Packet(fmt.Sprintf("%s-protocols-%d", m, ttl), 0)
			if err == nil {
				c.label(p, name)
			}
			return p, err
		},
		Accept: func(a *netio.Answer) bool {
			ok, _ := probes.Answers(a, netio.Token(a.Payload[m.Marker():]))
			return ok
		},
	}
}

// spi is one that nobody uses: the same for a peer, protocol and TTL, so that a gateway's log does not fill with ever new ones.
func (c *Collector) spi(p Protocol, ttl uint8) uint32 {
	secret := c.opts.Keys.SPI(c.target.Identity(), string(p), 0, int(ttl))
	return spiBase | binary.BigEndian.Uint32(secret[:])&^spiBase
}

// esp is an ESP packet, in UDP or not. Its sequence number is a secret: errors must repeat it.
func (c *Collector) esp(protocol Protocol, ttl uint8) *netio.Packet {
	p := c.packet(protocol)
	p.Protocol = netio.ESP
	if protocol == ESPInUDP {
		p.Protocol, p.Port = netio.UDP, c.target.IKE.NATTPort
	}
	h := ipsec.ESP{SPI: c.spi(protocol, ttl), Seq: c.sequence()}
	p.Payload = c.random(h.Append(nil), espData)
	p.Token = netio.Token(p.Payload)
	return p
}

// ah is an AH packet around ESP, as they are used together.
func (c *Collector) ah(ttl uint8) *netio.Packet {
	p := c.packet(AH)
	p.Protocol, p.TokenOffset = netio.AH, 4
	h := ipsec.AH{NextHeader: ip.ProtocolESP, SPI: c.spi(AH, ttl), Seq: c.sequence(), ICV: c.random(nil, icvSize)}
	p.Payload = c.random(h.Append(nil), espData)
	p.Token = netio.Token(p.Payload[p.TokenOffset:])
	return p
}

func (c *Collector) sequence() uint32 {
	var b [4]byte
	c.opts.Keys.Nonce(b[:])
	return binary.BigEndian.Uint32(b[:]) | 1
}

// random appends bytes that look encrypted.
func (c *Collector) random(b []byte, n int) []byte {
	b = append(b, make([]byte, n)...)
	c.opts.Keys.Nonce(b[len(b)-n:])
	return b
}
