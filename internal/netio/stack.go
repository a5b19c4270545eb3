package netio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNoPrivilege means that this needs a raw socket, and the process has no CAP_NET_RAW.
var ErrNoPrivilege = errors.New("no CAP_NET_RAW")

// ErrNoSocket means that this host has no socket for the address family.
var ErrNoSocket = errors.New("address family not available on this host")

// ErrTooLarge means that a probe is larger than an IP packet can be, or smaller than its headers.
var ErrTooLarge = errors.New("impossible packet size")

// Capability names what this process may do; the names are label values of the metric `capability`.
type Capability string

// The capabilities.
const (
	// RawICMP: raw ICMP sockets, so echoes of all peers share one and every ICMP error is seen.
	RawICMP Capability = "raw_icmp"
	// RawIP: whole IPv4 packets, so that DF probes leave this host's path MTU cache alone.
	RawIP Capability = "raw_ip"
	// PolicyBypass: probes are exempt from this host's own IPsec policies.
	PolicyBypass Capability = "policy_bypass"
	// KernelTimestamps: the kernel stamps when an answer arrived.
	KernelTimestamps Capability = "kernel_timestamps"
	// PingSocket: unprivileged echo sockets (net.ipv4.ping_group_range).
	PingSocket Capability = "ping_socket"
	// IPv4 and IPv6: there are sockets of the family.
	IPv4 Capability = "ipv4"
	IPv6 Capability = "ipv6"
)

// Config says how to open a Stack.
type Config struct {
	Limits Limits
	Log    *slog.Logger
	// Unprivileged opens no raw sockets even where that is allowed.
	Unprivileged bool
}

// A Stack is the shared sockets and what is under way on them. It belongs to the network namespace in which it was opened.
type Stack struct {
	cfg      Config
	pacer    *pacer
	flights  *flights
	routes   *routes
	errors   *counters
	rejected *counters
	drops    *dropCounts
	stray    atomic.Uint64

	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the readers, ended by Close
	wg     sync.WaitGroup

	mu    sync.Mutex
	sets  map[string]*sockets // by interface; "" leaves that to routing
	ports map[uint16]bool     // the UDP ports that probes come from
	// cleaning are the destinations whose entry in the path MTU cache is about to be removed.
	cleaning map[netip.Addr]bool
	caps     map[Capability]bool
}

// Open opens the sockets for paths that name no interface; those of an interface are opened when first used.
// It fails only if not even a UDP socket can be had.
func Open(cfg Config) (*Stack, error) {
	r, err := newRoutes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	drops := &dropCounts{}
	s := &Stack{
		cfg: cfg, pacer: newPacer(cfg.Limits), flights: newFlights(drops), routes: r,
		errors: newErrorCounters(), rejected: newCounters(RejectReasons()), drops: drops,
		ctx: ctx, cancel: cancel,
		sets: make(map[string]*sockets), ports: make(map[uint16]bool), cleaning: make(map[netip.Addr]bool),
		caps: map[Capability]bool{PingSocket: pingSocketAllowed()},
	}
	if _, err := s.set(""); err != nil {
		cancel()
		r.close()
		return nil, err
	}
	s.wg.Go(func() { s.flights.run(ctx) })
	return s, nil
}

// Close closes the sockets. Probes under way get no answer any more.
func (s *Stack) Close() error {
	s.cancel()
	s.mu.Lock()
	sets := slices.Collect(maps.Values(s.sets))
	s.mu.Unlock()
	for _, set := range sets {
		set.close()
	}
	s.wg.Wait()
	s.routes.close()
	return nil
}

// Capabilities tells what this process may do.
func (s *Stack) Capabilities() map[Capability]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.caps)
}

// SetLimits changes the packet budget of the whole process.
func (s *Stack) SetLimits(l Limits) { s.pacer.set(l) }

// set returns the sockets for an interface and opens them the first time.
func (s *Stack) set(device string) (*sockets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set, ok := s.sets[device]; ok {
		return set, nil
	}
	set, err := openSockets(device, s.flights.echoID, s.cfg.Unprivileged)
	if err != nil {
		return nil, err
	}
	s.sets[device] = set
	if device == "" {
		maps.Copy(s.caps, set.capabilities())
	}
	for _, r := range set.receivers() {
		s.drops.register(&dropSocket{name: r.name, v6: r.v6, suspects: r.suspects, read: r.drops})
		if r.port != 0 {
			s.ports[r.port] = true
		}
		s.wg.Go(func() { s.receive(s.ctx, r) })
	}
	return set, nil
}

// discard closes the sockets of an interface that is gone. It may come back under the same name, as that of a dial-up line does, but
// sockets stay bound to the one that was: the next probe opens new ones.
func (s *Stack) discard(set *sockets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set.device == "" || s.sets[set.device] != set {
		return
	}
	delete(s.sets, set.device)
	delete(s.ports, set.port4)
	delete(s.ports, set.port6)
	set.close()
}

func (s *Stack) ownPort(port uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[port]
}

// minimumMTU6 is what every IPv6 link carries (RFC 8200, section 5): nobody refuses a packet of that size.
const minimumMTU6 = 1280

// grace is how long after its deadline a probe is remembered, for late replies: as long as it was waited for.
func grace(timeout time.Duration) time.Duration { return max(timeout, time.Second) }

// Send sends one probe, once the packet budget allows it; collectors.Network says what answer gets to hear.
func (s *Stack) Send(ctx context.Context, p *Packet, timeout time.Duration, answer func(Answer)) {
	size := p.WireSize()
	if err := s.check(p, size); err != nil {
		answer(Answer{Outcome: NotSent, Err: err})
		return
	}
	packets := p.fragments()
	if err := s.pacer.wait(ctx, packets, p.wireBytes()); err != nil {
		answer(Answer{Outcome: NotSent, Err: err})
		return
	}
	set, err := s.set(p.Path.Interface)
	if err != nil {
		answer(Answer{Outcome: NotSent, Err: err})
		return
	}
	f := &flight{
		set: set, dst: p.Path.Dst, port: p.Port, protocol: p.Protocol, token: p.Token, offset: p.TokenOffset, size: size, answer: answer,
		observed: p.OnWire != nil,
	}
	f.cacheWasClean = f.isEcho() && p.FragmentSize == 0 && p.Path.IPv6() && size > minimumMTU6 && s.cacheClean(p.Path)
	if err := s.chooseSource(f, p); err != nil {
		answer(Answer{Outcome: NotSent, Err: err})
		return
	}
	s.flights.add(f, timeout, grace(timeout)+p.Linger)
	at := time.Now()
	if err := s.transmit(set, p, f); err != nil {
		s.flights.cancel(f)
		if isNoDevice(err) {
			s.discard(set)
		}
		answer(s.refusal(p, err))
		return
	}
	s.flights.departed(f, at)
	if p.Account != nil {
		p.Account.Packets.Add(uint64(packets))
		p.Account.Bytes.Add(uint64(p.wireBytes()))
	}
}

// chooseSource finds out where a probe comes from, if that must be known: to build it, or to show it. For the latter what was known a
// while ago will do.
func (s *Stack) chooseSource(f *flight, p *Packet) error {
	f.src = p.Path.Src
	if f.src.IsValid() || !p.needsSource() && p.OnWire == nil {
		return nil
	}
	if !p.needsSource() {
		if r, ok := s.routes.remembered(p.Path); ok {
			f.src = r.Src
			return nil
		}
	}
	r, err := s.Route(p.Path)
	if err == nil {
		f.src = r.Src
	}
	return err
}

func (s *Stack) check(p *Packet, size int) error {
	least := p.Path.HeaderIP() + HeaderEcho + TokenSize
	switch {
	case !p.Path.Dst.IsValid():
		return fmt.Errorf("%w: no destination address", ErrNoSocket)
	case size > maxPacket || p.Protocol == Echo && size < least:
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	case p.FragmentSize != 0 && (p.DontFragment || p.FragmentSize < p.Path.HeaderIP()+leastFragment):
		return fmt.Errorf("%w: fragments of %d bytes", ErrTooLarge, p.FragmentSize)
	case p.Protocol != Echo && len(p.Payload) < p.TokenOffset+TokenSize:
		return fmt.Errorf("%w: payload without a token", ErrTooLarge)
	case p.Protocol != Echo && Token(p.Payload[p.TokenOffset:]) != p.Token:
		return fmt.Errorf("%w: the payload does not carry its token", ErrTooLarge)
	}
	return nil
}

// refusal is the answer for a probe that the kernel did not take.
func (s *Stack) refusal(p *Packet, err error) Answer {
	s.routes.forget(p.Path)
	if !isMessageSize(err) {
		return Answer{Outcome: NotSent, Err: err}
	}
	r, routeErr := s.Route(p.Path)
	if routeErr != nil {
		return Answer{Outcome: TooBigLocally, Err: err}
	}
	if p.largest() <= r.LinkMTU {
		return Answer{Outcome: NotSent, Err: err} // the link would carry it: something else refuses it
	}
	return Answer{Outcome: TooBigLocally, MTU: r.LinkMTU, Err: err}
}

// LocalDrops is how many answers of a family this host has thrown away until now because a socket's buffer was full.
func (s *Stack) LocalDrops(v6 bool) uint64 { return s.drops.answers(v6) }

// Route tells what this host knows about the way to a peer. It sends nothing.
func (s *Stack) Route(p Path) (Route, error) {
	s.mu.Lock()
	bypass := s.caps[PolicyBypass]
	s.mu.Unlock()
	return s.routes.lookup(p, bypass)
}
