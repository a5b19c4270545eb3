package partners

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/session"
)

// Every is how often the key files and the addresses of the peers are looked at.
const Every = 10 * time.Second

// A Peer is a peer with its partner, at the address that is measured now, which may be unknown.
type Peer struct {
	Name    string
	Addr    netip.Addr
	Partner config.Partner
}

// A Source returns what is configured now.
type Source func() (config.Partners, []Peer)

// A Reflector answers partners.
type Reflector struct {
	stack  *netio.Stack
	log    *slog.Logger
	source Source
	core   *session.Reflector
	poke   chan struct{}

	// clock is what was known of the clock of this host at a time: asking is a system call.
	clock atomic.Pointer[reading]

	mu       sync.Mutex
	endpoint *netio.Endpoint
	listen   netip.AddrPort // of endpoint
	trouble  map[string]string
}

// New returns a Reflector that listens to nothing yet.
func New(stack *netio.Stack, source Source, log *slog.Logger) *Reflector {
	return &Reflector{
		stack: stack, source: source, log: log, core: session.NewReflector(session.DefaultLimits()),
		poke: make(chan struct{}, 1), trouble: make(map[string]string),
	}
}

// Changed has the configuration looked at soon.
func (r *Reflector) Changed() {
	select {
	case r.poke <- struct{}{}:
	default: // it will be
	}
}

// Run answers until ctx ends.
func (r *Reflector) Run(ctx context.Context) error {
	defer r.close()
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	for {
		r.refresh()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-r.poke:
		}
	}
}

// refresh follows the configuration, the key files and the addresses.
func (r *Reflector) refresh() {
	cfg, peers := r.source()
	if cfg.Port == 0 {
		r.close()
		return
	}
	r.core.Set(r.known(cfg, peers), cfg.Limits)
	r.open(netip.AddrPortFrom(cfg.Addr, cfg.Port))
}

// known returns the partners whose address and keys are known.
func (r *Reflector) known(cfg config.Partners, peers []Peer) (all []session.Partner) {
	for i := range peers {
		p := &peers[i]
		addr := p.Partner.Addr
		if !addr.IsValid() {
			addr = p.Addr
		}
		one := session.Partner{Name: p.Name, Addr: addr}
		var err error
		switch {
		case !p.Partner.Configured() || !addr.IsValid():
			continue
		case p.Partner.Mode == config.PartnerUnauthenticated:
			if one.Unauthenticated = cfg.Unauthenticated; !one.Unauthenticated {
				continue
			}
		default:
			one.Keys, err = ReadKeys(p.Partner)
		}
		if r.noted(p.Name, err); err == nil {
			all = append(all, one)
		}
	}
	return all
}

// noted logs why something does not work, once until that changes.
func (r *Reflector) noted(what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	before := r.trouble[what]
	if text == "" {
		delete(r.trouble, what)
	} else {
		r.trouble[what] = text
	}
	r.mu.Unlock()
	switch {
	case text == before:
	case text != "":
		r.log.Warn("answering a partner failed", "peer", what, "err", text)
	default:
		r.log.Info("answering a partner again", "peer", what)
	}
}

// open listens to an address, if it does not already.
func (r *Reflector) open(listen netip.AddrPort) {
	r.mu.Lock()
	same := r.endpoint != nil && r.listen == listen
	r.mu.Unlock()
	if same {
		return
	}
	r.close()
	var endpoint *netio.Endpoint
	ready := make(chan struct{})
	var drops [2]uint32 // by family, each of which has one goroutine
	endpoint, err := r.stack.OpenEndpoint(listen, func(d *netio.Datagram) {
		<-ready // or endpoint is not set yet
		family := 0
		if d.From.Addr().Is6() {
			family = 1
		}
		if d.Drops != drops[family] {
			drops[family] = d.Drops
			r.core.Forget()
		}
		r.answer(endpoint, d)
	})
	close(ready)
	const socket = "the socket of partners.listen"
	if r.noted(socket, err); err != nil {
		return
	}
	r.mu.Lock()
	r.endpoint, r.listen = endpoint, listen
	r.mu.Unlock()
	r.log.Info("answering partners", "listen", listen.String())
}

func (r *Reflector) close() {
	r.mu.Lock()
	endpoint := r.endpoint
	r.endpoint = nil
	r.mu.Unlock()
	if endpoint != nil {
		endpoint.Close()
		r.log.Info("answering partners stopped")
	}
}

// answer answers one datagram.
func (r *Reflector) answer(e *netio.Endpoint, d *netio.Datagram) {
	now := time.Now()
	path := netio.Path{Dst: d.From.Addr(), Src: d.To}
	in := session.Datagram{Payload: d.Payload, From: d.From, At: d.At, TTL: d.TTL, TOS: d.TOS}
	in.Room = func() int {
		route, err := r.stack.Route(path.For(netio.UDP, d.From.Port()))
		if err != nil {
			return session.MaxPacket
		}
		return route.LinkMTU - path.HeaderIP() - netio.HeaderUDP
	}
	reply, ok := r.core.Handle(&in, r.clockAt(now), now)
	if !ok {
		return
	}
	// A reply that cannot be sent is one that is lost.
	_ = e.Answer(&netio.Outgoing{
		Path: path, Port: d.From.Port(), TOS: reply.DSCP << 2, DontFragment: reply.Whole, Pieces: reply.Pieces, Payload: reply.Payload,
	})
}

// A reading is what was known of the clock at a time.
type reading struct {
	session.Clock
	at time.Time
}

// clockAge is how long a reading of the clock is used.
const clockAge = time.Second

// clockAt returns what is known of the clock of this host.
func (r *Reflector) clockAt(now time.Time) session.Clock {
	if known := r.clock.Load(); known != nil && now.Sub(known.at) < clockAge {
		return known.Clock
	}
	fresh := &reading{at: now}
	fresh.Error, fresh.Synchronized = netio.Clock()
	r.clock.Store(fresh)
	return fresh.Clock
}

// Count returns what was answered.
func (r *Reflector) Count() session.Count { return r.core.Count() }
