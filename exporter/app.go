// Package exporter is the running program: it reads the configuration, measures peers on a
// schedule, keeps the results for scrapes, and draws the diagnoses. Read serve.go first.
package exporter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/exporter/peerfiles"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// app is what the peers share.
type app struct {
	log      *slog.Logger
	buckets  icmp.Buckets
	tools    *subject.Instruments
	network  collectors.Network // sends the probes of the peers: the sockets of tools
	costs    *pmtu.Costs
	metrics  *processMetrics
	store    *store.Store
	gateways *gateways.Metrics
	schedule *schedule.Scheduler
	resolver resolve.Resolver
	readers  *readers.Readers
	ready    atomic.Bool
	limits   goRuntime

	// traces keeps probes and their answers, history baselines and what changed.
	traces  *trace.Recorder
	history *history.History
	vantage surroundings
	// partners answers the partners of the peers.
	partners *partners.Reflector

	// shard are the peers that are measured here, files those of peer_files.
	shard shard.Shard
	files *peerfiles.Files
	// current is the configuration that runs.
	current atomic.Pointer[config.Config]

	mu    sync.Mutex
	peers map[string]*peer
	// foreign are the peers of other shards, by the gateway that may show their SAs.
	foreign map[string][]gateways.Peer
}

// collectorResolve is the look-up of names, which is scheduled and counted like a collector.
const collectorResolve = "resolve"

// newApp makes an app over open sockets, which are closed with it. storage is the directory of the
// history, empty for one in memory.
func newApp(tools *subject.Instruments, cfg *config.Config, buckets icmp.Buckets, storage string, log *slog.Logger) (*app, error) {
	tools.Deferred = true // the schedule flushes
	past, err := history.Open(storage, log)
	if err != nil {
		tools.Close()
		return nil, err
	}
	a := &app{
		log: log, buckets: buckets, tools: tools, network: tools.Stack,
		metrics:  newProcessMetrics(),
		store:    store.New(time.Now),
		traces:   trace.NewRecorder(trace.DefaultBytes),
		history:  past,
		schedule: schedule.New(schedule.Config{Log: log, Workers: cfg.Limits.Searches, AfterEvents: tools.Stack.Flush}),
		peers:    make(map[string]*peer),
		readers:  readers.New(log),
		files:    peerfiles.New(log, shard.Shard{}.Has),
		limits:   newGoRuntime(false),
	}
	a.current.Store(cfg)
	a.gateways = gateways.NewMetrics(a.readers.Pollers)
	a.vantage.app = a
	a.partners = partners.New(tools.Stack, a.partnered, log)
	a.store.OnPanic(func(p store.Panic) {
		log.Error("exposing results panicked; series missing from /metrics",
			"peer", p.Peer, "exposer", p.Exposer, "panic", p.Value, "stack", p.Stack)
	})
	rejected := newRejected()
	if a.costs, err = pmtu.NewCosts(a.metrics.registry, rejected); err != nil {
		tools.Close()
		return nil, errors.Join(err, a.history.Close())
	}
	a.metrics.registry.MustRegister(stackMetrics(tools, rejected), scheduleMetrics(a.schedule, a.store), shardMetrics(a), peerFileMetrics(a), partnerMetrics(a.partners))
	return a, nil
}

// close closes the sockets and writes the rest of the history. The contexts of everything that runs
// have ended.
func (a *app) close() {
	a.readers.Close()
	a.tools.Close()
	if err := a.history.Close(); err != nil {
		a.log.Error("closing the history failed; its last changes are lost", "err", err)
	}
}

// deps are what a subject needs, whose probes are sent through network.
func (a *app) deps(network collectors.Network, done func(c suite.Collector, reason string)) subject.Deps {
	return subject.Deps{
		Instruments: a.tools, Network: network, Gateways: a.readers.Pollers, Buckets: a.buckets, Searched: a.costs.Add, Done: done,
	}
}

// perPeer is how much of the start the first rounds of one peer may take: with the default limits
// its dozen packets fit.
const perPeer = 20 * time.Millisecond

// firstRounds is how long the first rounds of n peers are spread over: a few peers are measured at
// once.
func firstRounds(n int) time.Duration {
	return min(max(time.Second, time.Duration(n)*perPeer), schedule.DefaultMaxFirst)
}

// apply makes the configured peers and gateways the running ones. Peers and gateways that did not
// change continue undisturbed, counters included; so do peers of which only the part changed that
// gateways need. It reports whether a peer was started again, because it changed.
func (a *app) apply(ctx context.Context, cfg *config.Config) (restarted bool) {
	restarted = a.applyPeers(ctx, cfg)
	a.readers.Apply(ctx, cfg.Gateways, a.sites, a.gatewayRead)
	a.readers.Attribute(a.sites)
	a.partners.Changed()
	return restarted
}

func (a *app) applyPeers(ctx context.Context, cfg *config.Config) (restarted bool) {
	a.tools.Stack.SetLimits(subject.Limits(cfg))
	a.schedule.SetMaxFirst(firstRounds(len(cfg.Peers)))
	a.limits.follow(len(cfg.Peers))
	wanted := make(map[string]config.Peer, len(cfg.Peers))
	for _, p := range cfg.Peers {
		wanted[p.Name] = p
	}
	foreign := foreignPeers(cfg)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current.Store(cfg)
	a.foreign = foreign
	a.history.SetPeers(slices.Collect(maps.Keys(wanted)))
	ended := a.vantage.apply(ctx, cfg.Controls)
	for name, p := range a.peers {
		w, ok := wanted[name]
		if ok && w.SamePath(*p.Config) {
			p.reconfigure(w) // before the gateways get it
			continue
		}
		restarted = restarted || ok
		ended = append(ended, p.stop())
		delete(a.peers, name)
	}
	for _, done := range ended {
		select {
		case <-done:
		case <-ctx.Done():
			return restarted
		}
	}
	for _, p := range cfg.Peers {
		if _, running := a.peers[p.Name]; running {
			continue
		}
		started := newPeer(ctx, a, p)
		a.peers[p.Name] = started
		started.start()
	}
	return restarted
}

// running returns the peers in the order of their names.
func (a *app) running() []*peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.peers), func(p, q *peer) int { return strings.Compare(p.Config.Name, q.Config.Name) })
}

// unsorted returns the running peers in no order.
func (a *app) unsorted() []*peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.peers))
}

// find returns the running peer of a name.
func (a *app) find(name string) (*peer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.peers[name]
	return p, ok
}

// sites returns the running peers as a gateway has to know them, and those of other shards.
func (a *app) sites(gateway string) []gateways.Peer {
	running, foreign := a.running(), a.foreignAt(gateway)
	out := make([]gateways.Peer, 0, len(running)+len(foreign))
	for _, p := range running {
		out = append(out, p.site(gateway))
	}
	return append(out, foreign...)
}

// gatewayRead judges the peers by what a gateway has just shown, or could not show.
func (a *app) gatewayRead(gateway string) {
	now := time.Now()
	for _, p := range a.running() {
		if p.expectedAt(gateway) || p.shownBy(gateway) {
			p.judge(now)
		}
	}
}

// wake has all peers of an address that answers again ask at once what they asked less often.
func (a *app) wake(dst netip.Addr) {
	for _, p := range a.running() {
		if p.Target().Path.Dst == dst {
			p.rounds.again(p.Config.Collectors & suite.NewSet(suite.ICMP, suite.IKE))
		}
	}
}

// count counts a measurement of a collector, and the reason why it could not be made.
func (a *app) count(collector, reason string) {
	a.metrics.runs.WithLabelValues(collector).Inc()
	if reason != "" {
		a.metrics.errors.WithLabelValues(collector, reason).Inc()
	}
}

// errorReason is the label value for an error of a collector that blocks.
func errorReason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, collectors.ErrAccepted):
		return reasonAccepted
	case errors.Is(err, netio.ErrQueueFull), errors.Is(err, silence.ErrBudget):
		return collectors.NotSent(err)
	case errors.Is(err, collectors.ErrLocalDrops):
		return collectors.ReasonLocalDrops
	case errors.Is(err, netio.ErrNoPrivilege):
		return reasonNoPrivilege
	case errors.Is(err, netio.ErrNoSocket):
		return reasonNoSocket
	}
	return reasonLocal
}
