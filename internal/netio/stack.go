//go:build linux

package netio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/wire/icmp"
)

// A Stack is the shared sockets and the probes under way on them. It belongs to the network
// namespace in which it was opened.
type Stack struct {
	cfg      Config
	home     namespace
	pacer    *pacer
	engine   engine
	flights  *flights
	routes   *routes
	errors   *counters
	rejected *counters
	drops    *dropCounts
	tap      tap
	// departures shows where probes leave.
	departures departures
	silence    *silence.Record
	stray      atomic.Uint64
	queues     queues
	// outboxes are those of all sockets.
	outboxes atomic.Pointer[[]*outbox]

	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the readers, ended by Close
	wg     sync.WaitGroup

	mu    sync.Mutex
	sets  map[string]*sockets // by interface; "" leaves that to routing
	ports map[uint16]bool     // the UDP ports that probes come from, and nothing else
	fixed map[uint16]bool     // the UDP ports that probes share with a daemon
	// cleaning are the destinations whose entry in the path MTU cache is about to be removed.
	cleaning map[netip.Addr]bool
	caps     map[Capability]bool
}

// Available returns the error of Open on an operating system on which it cannot succeed.
func Available() error { return nil }

// Open opens the sockets for paths that name no interface; the sockets of an interface are opened
// at first use. It fails only if even a UDP socket cannot be opened.
func Open(cfg Config) (*Stack, error) { return open(cfg, newPacer(cfg.Limits)) }

// OpenInside opens a Stack whose packets take the way of this host's own traffic, into its tunnels: it
// has sockets without the exemption from IPsec policies, and a record of silent addresses of its own.
// It shares the packet budget, and is closed by itself.
func (s *Stack) OpenInside() (inside *Stack, err error) {
	cfg := s.cfg
	cfg.inside = true
	err = s.home.do(func() (err error) {
		inside, err = open(cfg, s.pacer)
		return err
	})
	return inside, err
}

func open(cfg Config, pacer *pacer) (*Stack, error) {
	r, err := newRoutes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	drops := &dropCounts{}
	s := &Stack{
		cfg: cfg, home: here(), pacer: pacer, routes: r, silence: silence.New(),
		errors: newCounters(icmp.ErrorNames()), rejected: newCounters(RejectReasons()), drops: drops,
		ctx: ctx, cancel: cancel,
		sets: make(map[string]*sockets), ports: make(map[uint16]bool), fixed: make(map[uint16]bool), cleaning: make(map[netip.Addr]bool),
		caps: map[Capability]bool{PingSocket: pingSocketAllowed()},
	}
	s.outboxes.Store(new([]*outbox))
	r.home = &s.home
	s.flights = newFlights(drops, s.silence, s.engine.ring)
	if err := s.engine.open(s); err != nil {
		cancel()
		r.close()
		s.home.close()
		return nil, err
	}
	if !cfg.Unprivileged && !cfg.inside {
		s.tap.open()
		s.departures.open()
	}
	if _, _, err := s.use(&Packet{}, time.Now()); err != nil {
		cancel()
		r.close()
		s.tap.conn.close()
		s.departures.close()
		s.home.close()
		s.engine.bell.close()
		return nil, err
	}
	if s.tap.conn != nil {
		s.engine.listen(receivers{{name: "tap", conn: s.tap.conn, tap: true, suspects: true}})
	}
	s.wg.Go(s.engine.run)
	return s, nil
}

// Close closes the sockets. Probes under way get no answer any more.
func (s *Stack) Close() error {
	s.cancel()
	s.mu.Lock()
	for _, set := range s.sets {
		set.close()
	}
	s.mu.Unlock()
	s.tap.conn.close()
	s.departures.close()
	s.engine.ring()
	s.wg.Wait()
	s.routes.close()
	s.home.close()
	return nil
}

// Capabilities returns what this process may do.
func (s *Stack) Capabilities() map[Capability]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.caps)
}

// SetLimits changes the packet budget of the whole process.
func (s *Stack) SetLimits(l Limits) { s.pacer.set(l) }

// set returns the sockets for an interface and opens them the first time. The caller holds the
// lock.
func (s *Stack) set(device string) (*sockets, error) {
	if set, ok := s.sets[device]; ok {
		return set, nil
	}
	var set *sockets
	err := s.home.do(func() (err error) {
		set, err = openSockets(device, s.flights.newEchoID(), s.cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.sets[device] = set
	s.register(set)
	if device == "" {
		maps.Copy(s.caps, set.capabilities())
	}
	s.listen(set.receivers())
	set.flows[0].drops = s.listen(set.flows[0].receivers(set))
	return set, nil
}

// listen has the engine read sockets until they are closed, and counts what they lose.
func (s *Stack) listen(to receivers) (drops []*dropSocket) {
	for _, r := range to {
		r.lost = &dropSocket{name: r.name, v6: r.v6, suspects: r.suspects, read: r.drops}
		s.drops.register(r.lost)
		drops = append(drops, r.lost)
		if r.port != 0 {
			s.ports[r.port] = true
		}
	}
	s.engine.listen(to)
	return drops
}

// discard closes the sockets of an interface that is gone. One that comes back under the same name
// (a dial-up line) is another: the next probe opens new sockets.
func (s *Stack) discard(set *sockets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set.device == "" || s.sets[set.device] != set {
		return
	}
	delete(s.sets, set.device)
	s.unregister(set)
	for _, f := range set.flows {
		if f != nil {
			s.closeFlow(f)
		}
	}
	set.close()
	set.flows = [Flows]*flow{} // or their end would forget the ports of new sockets
}

// probePort reports whether probes come from a port, and whether nothing else does.
func (s *Stack) probePort(port uint16) (probes, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[port] || s.fixed[port], s.ports[port]
}

// minimumMTU6 is the size that every IPv6 link carries (RFC 8200, section 5): no router refuses it.
const minimumMTU6 = 1280

// grace is how long a probe is remembered after its deadline, for late replies: a satellite link or
// a full buffer takes seconds.
const grace = 5 * time.Second

// Send sends one probe once the packet budget allows it. Package collectors documents the calls of
// answer at Network.
func (s *Stack) Send(ctx context.Context, p *Packet, timeout time.Duration, answer func(Answer)) {
	if err := s.send(ctx, p, timeout, answer); err != nil {
		a := Answer{Outcome: NotSent, Err: err}
		if p.Recorder != nil {
			p.Recorder.Record(&Request{Packet: *p, Timeout: timeout, At: time.Now()}, &a, Entry{})
		}
		answer(a)
	}
}

// Records reports whether the answers to a probe are shown to its Recorder.
func (*Stack) Records(p *Packet) bool { return p.Protocol == Echo && p.fragments() == 1 }

// send returns an error if the probe did not get as far as the kernel; then answer was not called.
func (s *Stack) send(ctx context.Context, p *Packet, timeout time.Duration, answer func(Answer)) error {
	size, packets := p.WireSize(), p.fragments()
	if err := s.check(p, size); err != nil {
		return err
	}
	now := time.Now()
	if delay := s.pacer.reserve(now, packets, p.wireBytes()); delay > 0 {
		s.depart(0) // what was put off must not wait as well
		if pause(ctx, delay); ctx.Err() != nil {
			return fmt.Errorf("waiting for the packet budget: %w", ctx.Err())
		}
		now = time.Now()
	}
	f, err := s.enter(p, size, now)
	if err != nil {
		return err
	}
	f.answer = answer
	s.flights.add(f, now, timeout, grace+p.Linger)
	if o := f.set.deferrable(p, f); o != nil {
		s.post(o, p, f)
		return nil
	}
	at, seen := time.Now(), s.watch(p)
	err = s.transmit(f.set, p, f)
	if seen != nil {
		seen()
	}
	if err != nil {
		s.refused(f, p.path(), p.largest(), err)
		return nil
	}
	s.left(f, at, p.Account, packets, p.wireBytes())
	return nil
}

// enter makes the flight of a probe, once it is clear that it can be sent.
func (s *Stack) enter(p *Packet, size int, now time.Time) (*flight, error) {
	set, fl, err := s.use(p, now)
	if err != nil {
		return nil, err
	}
	w, err := s.follow(p)
	if err != nil {
		return nil, err
	}
	m := s.remember(p, now)
	f := s.flights.make()
	f.set, f.flow, f.way, f.sourcePort, f.dst, f.port, f.protocol = set, fl, w, p.SourcePort, p.Path.Dst, p.Port, p.Protocol
	f.token, f.offset, f.size, f.observed, f.hint, f.queue = p.Token, p.TokenOffset, size, p.observed(), p.Hint, m.queue
	f.recorder, f.purpose, f.dontFragment, f.patient = p.Recorder, p.Purpose, p.DontFragment, p.Deferred
	f.cacheWasClean = f.isEcho() && p.FragmentSize == 0 && p.Path.IPv6() && size > minimumMTU6 && s.cacheClean(p.Path)
	if err := s.chooseSource(f, p, m); err != nil {
		return nil, err
	}
	f.charge, err = s.silence.AdmitAt(&m.place, Lane(p.Path, p.Protocol, p.Port), now, p.probe())
	return f, err
}

// chooseSource finds the source address that is needed to build a probe, or to show it. To show it,
// an older answer suffices.
func (s *Stack) chooseSource(f *flight, p *Packet, m *Memory) error {
	f.src = p.Path.Src
	if f.src.IsValid() || !p.needsSource() && !p.observed() {
		return nil
	}
	if f.src = m.src; f.src.IsValid() && !p.needsSource() {
		return nil
	}
	r, err := s.Route(p.path())
	if err == nil {
		f.src = r.Src
	}
	return err
}

// left takes note that a probe has left.
func (s *Stack) left(f *flight, at time.Time, account *Account, packets, size int) {
	f.queue.probes.Add(1)
	s.flights.departed(f, at)
	if account != nil {
		account.Packets.Add(uint64(packets))
		account.Bytes.Add(uint64(size))
	}
}

// refused answers for a probe that the kernel did not take. It stands back where an ICMP error of
// this host was faster.
func (s *Stack) refused(f *flight, path Path, largest int, err error) {
	a := s.refusal(path, largest, f.queue, err)
	if isNoDevice(err) {
		s.discard(f.set)
	}
	before := s.flights.cancel(f)
	s.silence.Refund(f.charge, time.Now(), false)
	if before != 0 {
		return
	}
	if f.recorder != nil {
		f.record(&a, &recordRoom{})
	}
	f.answer(a)
}

// follow returns how a probe takes the way of the traffic that it stands for. Where the routes of
// this host do not depend on what is sent, every socket does.
func (s *Stack) follow(p *Packet) (followed, error) {
	if !s.routes.selective(p.Path.IPv6()) {
		return followed{}, nil
	}
	w, err := s.way(p.path(), wayAge)
	return followed{raw: w.raw, datagram: w.datagram}, err
}

// apart is the error of a probe that cannot take the way of the traffic that it stands for.
func (s *Stack) apart(p *Packet) error {
	theirs, err := s.Route(p.path())
	if err != nil {
		return err
	}
	what := p.Protocol.String()
	if p.Protocol == UDP {
		what = "UDP port " + strconv.Itoa(int(p.Port))
	}
	return fmt.Errorf("%w: policy routing sends %s by %s, and this kind of probe elsewhere", ErrApart, what, theirs.Way())
}

func (s *Stack) check(p *Packet, size int) error {
	least := p.Path.HeaderIP() + HeaderEcho + TokenSize
	switch {
	case !p.Path.Dst.IsValid():
		return fmt.Errorf("%w: no destination address", ErrNoSocket)
	case p.Path.Mark != 0 && !s.mayMark():
		return fmt.Errorf("firewall mark %#x: %w", p.Path.Mark, ErrNoMark)
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

func (s *Stack) mayMark() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caps[FirewallMark]
}

// refusal is the answer for a probe that the kernel did not take. largest is the size of its
// largest IP packet.
func (s *Stack) refusal(path Path, largest int, queue *queueCount, err error) Answer {
	if errors.Is(err, unix.ENOBUFS) {
		queue.refused.Add(1)
		return Answer{Outcome: NotSent, Err: fmt.Errorf("%w: %w", ErrQueueFull, err)}
	}
	s.routes.forget(path)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: this host's own packet filter refuses it (hook output)", err)
	}
	if !isMessageSize(err) {
		return Answer{Outcome: NotSent, Err: err}
	}
	r, routeErr := s.Route(path) // without a route, LinkMTU is 0
	if s.cfg.inside && largest <= r.LinkMTU {
		return Answer{Outcome: TooBigLocally, Err: err} // a tunnel of this host, whose limit is not known
	}
	if routeErr == nil && largest <= r.LinkMTU {
		return Answer{Outcome: NotSent, Err: err} // the link would carry it: something else refuses it
	}
	return Answer{Outcome: TooBigLocally, MTU: r.LinkMTU, Err: err}
}

// LocalDrops returns how many answers of a family a full socket buffer has lost so far.
func (s *Stack) LocalDrops(v6 bool) uint64 { return s.drops.answers(v6) }

// Egress returns the interface by which a path left this host when its route was last looked up,
// empty if that is not known.
func (s *Stack) Egress(p Path) string {
	r, _ := s.routes.remembered(p)
	return r.Interface
}

// Route returns what this host knows about the route to a peer. It sends nothing.
func (s *Stack) Route(p Path) (Route, error) {
	w, err := s.way(p, routeAge)
	return w.Route, err
}

func (s *Stack) way(p Path, age time.Duration) (way, error) {
	s.mu.Lock()
	bypass := s.caps[PolicyBypass] || s.cfg.inside // a policy changes nothing about where to send
	s.mu.Unlock()
	return s.routes.lookup(p, age, bypass)
}

// Silence returns the record of what was sent to addresses that do not answer.
func (s *Stack) Silence() *silence.Record { return s.silence }
