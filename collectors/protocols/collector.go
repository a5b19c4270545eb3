package protocols

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/ipsec"
)

const (
	// echoData is what an echo carries: as much as ping(8) sends.
	echoData = 56
	// espData is what an ESP or AH packet carries behind its header: as much as an encrypted echo.
	espData = 96
	// icvSize is the ICV size of AH with a truncated HMAC (RFC 2404, section 4).
	icvSize = 12
	// spiBase is where our SPIs begin. Daemons choose SPIs at random, or from 0xc0000000 on: no
	// known daemon uses SPIs from here on. 1 to 255 are reserved (RFC 4303, section 2.1).
	spiBase = 0xfff00000
	// maxPackets is the most that a round may send.
	maxPackets = 400
)

// Options shape a Collector. Keys and Dialects are needed.
type Options struct {
	// Keys make the initiator SPIs and the SPIs.
	Keys *ikeprobe.Keyring
	// Dialects know which form of IKE the peer answers.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Silence, if set, is the record of addresses that do not answer.
	Silence *silence.Record
	// Once, if set, is the pace of a peer that is measured once.
	Once *collectors.Once
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Overhear, if set, counts the answers at the link of this host until stop is called.
	Overhear func(dst netip.Addr) (stop func() netio.Overheard)
	// Seed makes the order within matched pairs; 0 draws one.
	Seed uint64
}

// A Collector finds out how far the protocols get on the path to one peer.
type Collector struct {
	network collectors.Network
	opts    Options

	measuring sync.Mutex
	target    collectors.Shared[collectors.Target]
	rounds    uint64

	mu       sync.Mutex
	current  collectors.Shared[collectors.Target] // that the snapshot is about
	snapshot Results
}

// New returns a Collector.
func New(network collectors.Network, opts Options) *Collector {
	opts.Seed = cmp.Or(opts.Seed, rand.Uint64()) //nolint:gosec // an order, not a secret
	return &Collector{network: network, opts: opts}
}

// Snapshot returns the newest results, which are not changed afterwards.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}

// SetTarget discards the results of another path.
func (c *Collector) SetTarget(t collectors.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Get().Path != t.Path {
		c.current, c.snapshot = collectors.Share(t), Results{}
	}
}

// Measure implements collectors.Measurer.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.SetTarget(t)
	c.target = collectors.Share(t)
	c.rounds++
	groups, err := c.groups()
	if err != nil {
		return Results{}, fmt.Errorf("protocols: %w", err)
	}
	out := Results{At: time.Now()}
	if groups[0].route.Tunnel != "" {
		out.Reason = collectors.CheckRoute(groups[0].route).Error()
		c.publish(out)
		return out, nil
	}
	stop := func() netio.Overheard { return netio.Overheard{} }
	if c.opts.Overhear != nil {
		stop = c.opts.Overhear(t.Path.Dst)
	}
	err = c.climb(ctx, groups, &out)
	out.Overheard = stop()
	if errors.Is(err, netio.ErrNoPrivilege) {
		out = Results{Reason: "ESP, AH and echoes need CAP_NET_RAW", At: out.At}
		c.publish(out)
		return out, nil
	}
	if err != nil {
		return Results{}, fmt.Errorf("protocols: %w", err)
	}
	out.At = time.Now()
	c.publish(out)
	return out, nil
}

// climb sends a ladder for each group, and adds what they show.
func (c *Collector) climb(ctx context.Context, groups []group, out *Results) error {
	var all []Result
	sparing := c.mute(out.At)
	for i := range groups {
		g := &groups[i]
		if len(g.runners) == 0 {
			continue
		}
		for j := range g.runners {
			r := &g.runners[j]
			r.Mute = sparing && slices.Contains([]Protocol{UDP500, UDP4500, ESPInUDP}, Protocol(r.Name))
		}
		found, err := ladder.Run(ctx, c.network, g.runners, ladder.Options{
			Packets: maxPackets, Seed: matched.Mix(c.opts.Seed + c.rounds), Sparing: sparing, Patience: c.opts.Once.Patience(),
		})
		if i == 0 && err != nil {
			return err
		}
		if err != nil { // these protocols stay unknown
			continue
		}
		out.Packets += found.Packets
		if i == 0 {
			out.Hops, out.Distance = found.Hops(), found.Distance()
		}
		for j := range found.Climbs {
			r := judge(found, Protocol(found.Climbs[j].Name), c.target.Get().Path.IPv6())
			if i > 0 {
				r.Way, r.Distance = g.route.Way(), found.Distance()
			}
			all = append(all, r)
		}
	}
	for _, p := range All() {
		if i := slices.IndexFunc(all, func(r Result) bool { return r.Protocol == p }); i >= 0 {
			out.Results = append(out.Results, all[i])
		}
	}
	return nil
}

// A group are protocols whose packets leave this host by the same way. Only they can be compared.
type group struct {
	route   netio.Route
	runners []ladder.Runner
}

// groups returns the groups of all protocols, that of IKE first.
func (c *Collector) groups() ([]group, error) {
	first, err := c.network.Route(c.target.Get().PathOf(collectors.IKE))
	if err != nil {
		return nil, err
	}
	groups := []group{{route: first}}
	for _, r := range c.runners() {
		route, err := c.network.Route(c.path(Protocol(r.Name)))
		if err != nil {
			continue // no route for these packets
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.route.SameWay(&route) })
		if i < 0 {
			i, groups = len(groups), append(groups, group{route: route})
		}
		groups[i].runners = append(groups[i].runners, r)
	}
	return groups, nil
}

// path returns the path as the packets of a protocol take it.
func (c *Collector) path(p Protocol) netio.Path {
	t := c.target.Get()
	switch p {
	case UDP500:
		return t.PathOf(collectors.IKE)
	case UDP4500, ESPInUDP:
		return t.PathOf(collectors.NATT)
	case ESP:
		return t.Path.For(netio.ESP, 0)
	case AH:
		return t.Path.For(netio.AH, 0)
	case ICMP:
	}
	return t.Path
}

// mute reports whether the peer stays silent on both UDP ports.
func (c *Collector) mute(now time.Time) bool {
	for _, m := range collectors.IKEMethods() {
		if !c.opts.Silence.Standing(netio.Lane(c.target.Get().Path, netio.UDP, c.target.Get().IKE.UDPPort(m)), now).Mute {
			return false
		}
	}
	return true
}

// publish keeps the results of a round, unless the target has changed meanwhile.
func (c *Collector) publish(r Results) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Get().Path == c.target.Get().Path {
		c.snapshot = r
	}
}

// runners returns the probes of all protocols. An IKE port gets a form that the peer does not
// accept, and no probe if there is no such form.
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

func (c *Collector) packet(p Protocol) *netio.Packet {
	packet := &netio.Packet{Path: c.target.Get().Path}
	c.label(packet, p)
	return packet
}

func (c *Collector) label(packet *netio.Packet, p Protocol) {
	packet.Account, packet.Purpose = c.opts.Account, "how far does "+string(p)+" get? (rising TTL)"
}

func (c *Collector) echo(uint8) (*netio.Packet, error) {
	p := c.packet(ICMP)
	p.Size = c.target.Get().Path.HeaderIP() + netio.HeaderEcho + echoData
	return p, nil
}

func (c *Collector) ike(m collectors.Method, d *ikeprobe.Dialect) ladder.Runner {
	name := UDP500
	if m == collectors.NATT {
		name = UDP4500
	}
	probes := &collectors.IKEProbes{Keys: c.opts.Keys, Dialect: d, Form: d.Form(), Method: m, Target: c.target.Get()}
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

// spi returns an unused SPI. It is the same for a peer, protocol and TTL, so that a gateway's log
// does not fill with new ones.
func (c *Collector) spi(p Protocol, ttl uint8) uint32 {
	secret := c.opts.Keys.SPI(c.target.Get().Identity(), string(p), 0, int(ttl))
	return spiBase | binary.BigEndian.Uint32(secret[:])&^spiBase
}

// esp returns an ESP packet, in UDP or not, with a random sequence number as its token.
func (c *Collector) esp(protocol Protocol, ttl uint8) *netio.Packet {
	p := c.packet(protocol)
	p.Protocol = netio.ESP
	if protocol == ESPInUDP {
		p.Protocol, p.Port, p.SourcePort = netio.UDP, c.target.Get().IKE.NATTPort, c.target.Get().IKE.FixedPort(collectors.NATT)
	}
	h := ipsec.ESP{SPI: c.spi(protocol, ttl), Seq: c.sequence()}
	p.Payload = c.random(h.Append(nil), espData)
	p.Token = netio.Token(p.Payload)
	return p
}

// ah returns an AH packet around ESP, as they are used together.
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

func (c *Collector) random(b []byte, n int) []byte {
	b = append(b, make([]byte, n)...)
	c.opts.Keys.Nonce(b[len(b)-n:])
	return b
}
