package exporter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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

// readers are the gateways that are read. Each has a goroutine of its own: one that hangs delays nothing else.
type readers struct {
	log     *slog.Logger
	beliefs *netio.Beliefs // nil where the kernel cannot be asked
	// open makes what reads a gateway.
	open func(*config.Gateway) (gateways.Source, error)

	mu      sync.Mutex
	running []*reader // in the order of the configuration
	// attributing is held while the peers are handed out, so that the newest ones come last; due says that they will be.
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

func newReaders(log *slog.Logger) *readers {
	r := &readers{log: log, stopping: make(chan struct{})}
	refusals := &ciscoasa.Refusals{} // here, so that they outlive what reads a gateway
	var err error
	if r.beliefs, err = netio.NewBeliefs(); err != nil {
		log.Warn("what this host's kernel believes about paths stays unknown", "err", err)
	}
	r.open = func(g *config.Gateway) (gateways.Source, error) { return sourceOf(g, r.beliefs, refusals) }
	return r
}

// endTimeout is how long a reader may take to end. A device cannot be trusted to let go, and nobody has to wait for that.
const endTimeout = 5 * time.Second

// close waits until all readers have ended; their contexts have.
func (r *readers) close() {
	close(r.stopping)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.ended.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(endTimeout):
		r.log.Warn("a gateway does not let go, its reading is left alone")
		return
	}
	if r.beliefs != nil {
		r.beliefs.Close()
	}
}

// pollers are those that run now.
func (r *readers) pollers() []*gateways.Poller {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*gateways.Poller, 0, len(r.running))
	for _, g := range r.running {
		out = append(out, g.poller)
	}
	return out
}

// apply makes the configured gateways the running ones. Those that did not change go on, with what they have counted. peers tells
// which there are; done is called after each reading. What has to end is not waited for: a gateway may hang.
func (r *readers) apply(ctx context.Context, wanted []config.Gateway, peers func(gateway string) []gateways.Peer, done func(gateway string)) {
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
		r.running = append(r.running, r.start(ctx, cfg, peers, done))
	}
	for _, g := range before {
		g.cancel()
	}
}

// start reads a gateway until its context ends.
func (r *readers) start(ctx context.Context, cfg config.Gateway, peers func(gateway string) []gateways.Peer, done func(gateway string)) *reader {
	ctx, cancel := context.WithCancel(ctx)
	g := &reader{cfg: cfg, cancel: cancel, poller: r.poller(cfg, r.source(cfg), func() { done(cfg.Name) })}
	g.poller.SetPeers(peers(cfg.Name))
	r.ended.Go(func() { g.poller.Run(ctx) })
	return g
}

func (r *readers) poller(cfg config.Gateway, source gateways.Source, done func()) *gateways.Poller {
	return gateways.NewPoller(gateways.PollerConfig{
		Name: cfg.Name, Source: source, Interval: cfg.Interval, Timeout: cfg.Timeout, UnmatchedEach: cfg.UnmatchedEach, Log: r.log, Done: done,
	})
}

// source is what reads a gateway, sooner or later.
func (r *readers) source(cfg config.Gateway) gateways.Source {
	source, err := r.open(&cfg)
	if err != nil {
		return &late{open: func() (gateways.Source, error) { return r.open(&cfg) }}
	}
	return source
}

// late is a source that could not be opened at first: each reading tries again, until it can.
type late struct {
	open   func() (gateways.Source, error)
	source gateways.Source
}

// Read implements gateways.Source.
func (l *late) Read(ctx context.Context) (gateways.Table, error) {
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
func (l *late) Close() error {
	if l.source == nil {
		return nil
	}
	return l.source.Close()
}

// newSource makes what reads a gateway, for once. beliefs may be nil.
func newSource(g *config.Gateway, beliefs *netio.Beliefs) (gateways.Source, error) {
	return sourceOf(g, beliefs, nil)
}

// sourceOf makes what reads a gateway. beliefs may be nil, and refusals, where nothing is read after it.
func sourceOf(g *config.Gateway, beliefs *netio.Beliefs, refusals *ciscoasa.Refusals) (gateways.Source, error) {
	c := strongswan.Config{Socket: g.Socket}
	if beliefs != nil {
		c.PathMTU = beliefs.PathMTU
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
		l := &g.Login
		return ciscoasa.New(ciscoasa.Config{
			Type: g.Type.String(), Transport: l.Transport, Address: l.Address, Username: l.Username,
			PasswordFile: l.PasswordFile, EnablePasswordFile: l.EnablePasswordFile, EnableLevel: l.EnableLevel, EnableLogin: l.EnableLogin,
			Context: l.Context, KnownHostsFile: l.KnownHostsFile, CAFile: l.CAFile, Insecure: l.Insecure, LegacyAlgorithms: l.LegacyAlgorithms,
			Refusals: refusals,
		})
	}
	return nil, fmt.Errorf("gateway %s has an unknown type", g.Name)
}

// attributeEvery is how long gateways may have an old idea of where the peers are: telling them is work for large tables.
const attributeEvery = 500 * time.Millisecond

// moved has all gateways told, soon, that a peer is somewhere else. It waits for nothing: tasks of the schedule call it, which a reload waits for.
func (a *app) moved() {
	r := a.readers
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
		a.attribute()
	})
}

// attribute tells all gateways which peers there are now, and where.
func (a *app) attribute() {
	a.readers.attributing.Lock()
	defer a.readers.attributing.Unlock()
	running := a.running()
	for _, p := range a.readers.pollers() {
		p.SetPeers(sites(running, p.Name()))
	}
}

// sites are the running peers, as a gateway has to know them.
func sites(running []*peer, gateway string) []gateways.Peer {
	out := make([]gateways.Peer, 0, len(running))
	for _, p := range running {
		addr, others := p.whereabouts()
		cfg := p.newest.Load()
		match := gateways.Match(cfg.Match)
		if len(others) > 0 {
			match.Addresses = slices.Concat(match.Addresses, others)
		}
		out = append(out, gateways.Peer{
			Name: cfg.Name, Labels: cfg.Labels, Address: addr, Match: match,
			Expected: slices.Contains(cfg.Gateways, gateway), OnDemand: cfg.OnDemand,
		})
	}
	return out
}

// applyGateways makes the configured gateways the running ones, after the peers.
func (a *app) applyGateways(ctx context.Context, cfg *config.Config) {
	running := a.running()
	a.readers.apply(ctx, cfg.Gateways, func(gateway string) []gateways.Peer { return sites(running, gateway) }, a.gatewayRead)
	a.attribute()
}

// gatewayRead has the peers judged by what a gateway just told, or did not tell.
func (a *app) gatewayRead(gateway string) {
	now := time.Now()
	for _, p := range a.running() {
		if slices.Contains(p.newest.Load().Gateways, gateway) || p.hasStory(gateway) {
			p.judge(now)
		}
	}
}

// secretProblems says which files with secrets cannot be read, or can be read by others, and which with what is trusted cannot be read.
func secretProblems(cfg *config.Config) []string {
	var all []string
	for i := range cfg.Gateways {
		g := &cfg.Gateways[i]
		for _, file := range g.Secrets() {
			if why := secretProblem(file); why != "" {
				all = append(all, fmt.Sprintf("gateway %s: the secret %s %s", g.Name, file, why))
			}
		}
		for _, file := range g.Trusted() {
			if why := trustProblem(file); why != "" {
				all = append(all, fmt.Sprintf("gateway %s: %s %s", g.Name, file, why))
			}
		}
	}
	return all
}

// trustProblem says why a file with host keys or certificates cannot be read.
func trustProblem(file string) string {
	why, _ := fileProblem(file)
	return why
}

func secretProblem(file string) string {
	const othersRead = 0o004
	why, mode := fileProblem(file)
	if why == "" && mode.Perm()&othersRead != 0 {
		return "can be read by everybody on this host: take that right away (chmod o-r)"
	}
	return why
}

// fileProblem says why a file that a gateway needs cannot be read.
func fileProblem(file string) (why string, mode fs.FileMode) {
	f, err := os.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist: the gateway cannot be read until it does", 0
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this process", 0
	case err != nil:
		return "cannot be read", 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "is not a file", 0
	}
	return "", info.Mode()
}
