// Package readers reads the SA tables of the configured gateways: it makes what reads each type of
// gateway, runs a reader for each, and is the `gateway` command, which reads one once.
package readers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/openiked"
	"ipsec_path_exporter/collectors/gateways/strongswan"
	"ipsec_path_exporter/collectors/gateways/xfrm"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
)

// Readers read gateways. Each gateway has a goroutine of its own: one that hangs delays no other.
type Readers struct {
	log    *slog.Logger
	routes *netio.KernelRoutes // nil where the kernel cannot be asked
	// Open makes what reads a gateway.
	Open func(*config.Gateway) (gateways.Source, error)

	// pollers are those of the running readers. The slice is not changed, because others read it.
	pollers atomic.Pointer[[]*gateways.Poller]

	mu      sync.Mutex
	running []*reader // in the order of the configuration
	// attributing is held while the peers are handed out, the newest last; due: they will be.
	attributing sync.Mutex
	due         atomic.Bool
	ended       sync.WaitGroup
	stopping    chan struct{}
}

// A reader is one gateway that is read.
type reader struct {
	cfg    config.Gateway
	poller *gateways.Poller
	cancel context.CancelFunc
}

// New makes Readers that read nothing yet.
func New(log *slog.Logger) *Readers {
	r := &Readers{log: log, stopping: make(chan struct{})}
	refusals := &ciscoasa.Refusals{} // here, so that a refused login is remembered over reloads
	var err error
	if r.routes, err = netio.NewKernelRoutes(); err != nil {
		log.Warn("asking the kernel for routes failed; its cached path MTUs stay unknown", "err", err)
	}
	r.Open = func(g *config.Gateway) (gateways.Source, error) { return sourceOf(g, r.routes, refusals) }
	return r
}

// endTimeout is how long a reader may take to end: a device may hang.
const endTimeout = 5 * time.Second

// Close waits until all readers have ended; their contexts have.
func (r *Readers) Close() {
	close(r.stopping)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.ended.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(endTimeout):
		r.log.Warn("gateway did not stop in time; abandoning its reader")
		return
	}
	if r.routes != nil {
		r.routes.Close()
	}
}

// Pollers returns the gateways that are read now. The slice is read-only. There is no lock: every
// scrape asks for each peer.
func (r *Readers) Pollers() []*gateways.Poller {
	if all := r.pollers.Load(); all != nil {
		return *all
	}
	return nil
}

// Apply makes the configured gateways the running ones. Readers of unchanged gateways go on, with
// what they have counted. peers returns the peers as a gateway has to know them; done is called
// after each reading. Apply does not wait for readers that have to end: a gateway may hang.
func (r *Readers) Apply(ctx context.Context, wanted []config.Gateway, peers func(gateway string) []gateways.Peer, done func(gateway string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.running
	r.running = make([]*reader, 0, len(wanted))
	for _, cfg := range wanted {
		if i := slices.IndexFunc(before, func(g *reader) bool { return g.cfg == cfg }); i >= 0 {
			r.running = append(r.running, before[i])
			before = slices.Delete(before, i, i+1)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		g := &reader{cfg: cfg, cancel: cancel, poller: r.Poller(cfg, r.Source(cfg), func() { done(cfg.Name) })}
		g.poller.SetPeers(peers(cfg.Name))
		r.ended.Go(func() { g.poller.Run(ctx) })
		r.running = append(r.running, g)
	}
	pollers := make([]*gateways.Poller, 0, len(r.running))
	for _, g := range r.running {
		pollers = append(pollers, g.poller)
	}
	r.pollers.Store(&pollers)
	for _, g := range before {
		g.cancel()
	}
}

// Poller makes what reads a gateway from a source; done may be nil.
func (r *Readers) Poller(cfg config.Gateway, source gateways.Source, done func()) *gateways.Poller {
	return gateways.NewPoller(gateways.PollerConfig{
		Name: cfg.Name, Type: cfg.Type.String(), Source: source, Interval: cfg.Interval, Timeout: cfg.Timeout, UnmatchedEach: cfg.UnmatchedEach, Log: r.log, Done: done,
	})
}

// Source opens a gateway, now or, where that fails, at each reading until it succeeds.
func (r *Readers) Source(cfg config.Gateway) gateways.Source {
	source, err := r.Open(&cfg)
	if err != nil {
		return &lazySource{open: func() (gateways.Source, error) { return r.Open(&cfg) }}
	}
	return source
}

// A lazySource is a source that could not be opened: each reading tries again.
type lazySource struct {
	open   func() (gateways.Source, error)
	source gateways.Source
}

// Read implements gateways.Source.
func (l *lazySource) Read(ctx context.Context) (gateways.Table, error) {
	if l.source == nil {
		source, err := l.open()
		if err != nil {
			return gateways.Table{}, err
		}
		l.source = source
	}
	return l.source.Read(ctx)
}

// Close implements gateways.Source.
func (l *lazySource) Close() error {
	if l.source == nil {
		return nil
	}
	return l.source.Close()
}

// NewSource makes what reads a gateway once. routes may be nil.
func NewSource(g *config.Gateway, routes *netio.KernelRoutes) (gateways.Source, error) {
	return sourceOf(g, routes, nil)
}

// sourceOf makes what reads a gateway. routes may be nil; so may refusals if it is read only once.
func sourceOf(g *config.Gateway, routes *netio.KernelRoutes, refusals *ciscoasa.Refusals) (gateways.Source, error) {
	c := strongswan.Config{Socket: g.Socket}
	if routes != nil {
		c.PathMTU = routes.PathMTU
	}
	switch g.Type {
	case config.StrongSwan:
		return strongswan.New(c)
	case config.Libreswan:
		return libreswan.New(libreswan.Config{Socket: g.Socket, Whack: g.Program, PathMTU: c.PathMTU}), nil
	case config.OpenIKED:
		return openiked.New(openiked.Config{Socket: g.Socket, Ikectl: g.Program, PathMTU: c.PathMTU}), nil
	case config.XFRM:
		return xfrm.New(xfrm.Config{PathMTU: c.PathMTU})
	case config.CiscoASA, config.CiscoIOS:
		device := g.Cisco
		device.Refusals = refusals
		return ciscoasa.New(device), nil
	}
	return nil, fmt.Errorf("gateway %s has an unknown type", g.Name)
}

// attributeEvery is how long gateways may have outdated addresses of the peers: updating a large
// table is work.
const attributeEvery = 500 * time.Millisecond

// Moved has the gateways updated, soon, because a peer has another address. It waits for nothing:
// tasks of the schedule call it, and a reload waits for those.
func (r *Readers) Moved(peers func(gateway string) []gateways.Peer) {
	if r.due.Swap(true) {
		return
	}
	r.ended.Go(func() {
		select {
		case <-time.After(attributeEvery):
		case <-r.stopping:
			return
		}
		r.due.Store(false)
		r.Attribute(peers)
	})
}

// Attribute gives all gateways the peers as they are now.
func (r *Readers) Attribute(peers func(gateway string) []gateways.Peer) {
	r.attributing.Lock()
	defer r.attributing.Unlock()
	for _, p := range r.Pollers() {
		p.SetPeers(peers(p.Name()))
	}
}
