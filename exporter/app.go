// Package exporter is the running program: it reads the configuration, builds a peer's collectors, runs them on the schedule, keeps
// what they find for scrapes, and draws the diagnoses. run.go is the file to read first.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/evidence"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// app is everything that the peers share.
type app struct {
	log      *slog.Logger
	buckets  icmp.Buckets
	stack    *netio.Stack
	keys     *ikeprobe.Keyring
	pings    icmp.Engine               // where there is no raw socket
	accounts map[string]*netio.Account // by collector
	costs    *pmtu.Costs
	metrics  *processMetrics
	store    *store.Store
	schedule *schedule.Scheduler
	resolver resolver
	readers  *readers
	checked  checkedGateways // of a check
	ready    atomic.Bool

	// evidence keeps probes and what came of them, history what changed. A check has a trace for all of its probes, or nothing.
	evidence *evidence.Recorder
	trace    *evidence.Ring
	history  *evidence.History
	// vantage tells the faults of this host's surroundings from those of the peers' providers.
	vantage diagnosis.Vantage

	mu       sync.Mutex
	peers    map[string]*peer
	controls []*peer
}

// collector names, as they stand in labels and schedule keys.
const (
	collectorICMP      = "icmp"
	collectorIKE       = "ike"
	collectorPMTU      = "pmtu"
	collectorFragments = "fragments"
	collectorProtocols = "protocols"
	collectorResolve   = "resolve"
)

// openApp opens the sockets and makes the app. cfg gives the limits of the whole process; storage is the directory of the history, empty for
// one in memory.
func openApp(cfg *config.Config, buckets icmp.Buckets, storage string, log *slog.Logger) (*app, error) {
	stack, err := netio.Open(netio.Config{Limits: limits(cfg), Log: log})
	if err != nil {
		return nil, fmt.Errorf("sockets: %w", err)
	}
	a, err := newApp(stack, cfg, buckets, storage, log)
	if err != nil {
		_ = stack.Close() // the first error counts
		return nil, err
	}
	return a, nil
}

// newApp makes an app over open sockets, which are closed with it.
func newApp(stack *netio.Stack, cfg *config.Config, buckets icmp.Buckets, storage string, log *slog.Logger) (*app, error) {
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		return nil, fmt.Errorf("process secret: %w", err)
	}
	history, err := evidence.OpenHistory(storage, log)
	if err != nil {
		return nil, err
	}
	a := &app{
		log: log, buckets: buckets, stack: stack, keys: keys,
		accounts: map[string]*netio.Account{
			collectorICMP: {}, collectorIKE: {}, collectorPMTU: {}, collectorFragments: {}, collectorProtocols: {},
		},
		metrics:  newProcessMetrics(),
		store:    store.New(time.Now),
		evidence: evidence.NewRecorder(evidence.DefaultBytes),
		history:  history,
		schedule: schedule.New(schedule.Config{Log: log, Workers: cfg.Limits.Searches}),
		peers:    make(map[string]*peer),
		readers:  newReaders(log),
	}
	a.pings = icmp.NewPingSockets(icmp.DefaultPingSockets, a.accounts[collectorICMP])
	rejected := newRejected()
	if a.costs, err = pmtu.NewCosts(a.metrics.registry, rejected); err != nil {
		return nil, err
	}
	a.metrics.registry.MustRegister(newStackMetrics(stack, a.accounts, rejected), newScheduleMetrics(a.schedule), gateways.NewMetrics(a.readers.pollers))
	return a, nil
}

// perPeer is what the first rounds of one peer may take of the start: with the default limits its dozen packets fit.
const perPeer = 20 * time.Millisecond

// firstRounds is how long the first rounds of so many peers are spread over: who measures a few wants to see them at once.
func firstRounds(peers int) time.Duration {
	return min(max(time.Second, time.Duration(peers)*perPeer), schedule.DefaultMaxFirst)
}

// engine is how a peer's echoes are sent: on the shared raw socket, or where that is not allowed each on a ping socket.
func (a *app) engine(network collectors.Network) icmp.Engine {
	if a.rawSockets() {
		return icmp.NewShared(network, a.accounts[collectorICMP])
	}
	return a.pings
}

func (a *app) rawSockets() bool { return a.stack.Capabilities()[netio.RawICMP] }

func limits(cfg *config.Config) netio.Limits {
	return netio.Limits{PacketsPerSecond: float64(cfg.Limits.PacketsPerSecond), BytesPerSecond: float64(cfg.Limits.BytesPerSecond)}
}

// close closes the sockets, and writes what was not written yet. The contexts of everything that runs have ended.
func (a *app) close() {
	a.readers.close()
	_ = a.stack.Close() // what could go wrong then helps nobody
	if err := a.history.Close(); err != nil {
		a.log.Error("the last changes of the history are lost", "err", err)
	}
}

// degraded says what this process may not do, for people.
func (a *app) degraded() []string {
	c := a.stack.Capabilities()
	var lines []string
	if !c[netio.RawICMP] {
		line := "no raw sockets (CAP_NET_RAW): path MTU is measured by IKE only, by a UDP socket that leaves an entry in this host's path MTU cache"
		if c[netio.PingSocket] {
			line += "; echoes go out on ping sockets"
		} else {
			line += "; no echoes, because net.ipv4.ping_group_range does not include this process's group"
		}
		lines = append(lines, line)
	}
	if !c[netio.PolicyBypass] {
		lines = append(lines, "no exemption from this host's IPsec policies (CAP_NET_ADMIN): peers that a policy or tunnel of this host catches stay unknown")
	}
	if !c[netio.IPv6] {
		lines = append(lines, "no IPv6 on this host")
	}
	return lines
}

// apply makes the configured peers and gateways the running ones. Those that did not change go on undisturbed, counters included, and so do
// peers of which only changed what gateways are to know of them.
func (a *app) apply(ctx context.Context, cfg *config.Config) {
	a.applyPeers(ctx, cfg)
	a.applyGateways(ctx, cfg)
}

func (a *app) applyPeers(ctx context.Context, cfg *config.Config) {
	a.stack.SetLimits(limits(cfg))
	a.schedule.SetMaxFirst(firstRounds(len(cfg.Peers)))
	wanted := make(map[string]config.Peer, len(cfg.Peers))
	for _, p := range cfg.Peers {
		wanted[p.Name] = p
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.history.SetPeers(slices.Collect(maps.Keys(wanted)))
	ended := a.applyControls(ctx, cfg.Controls)
	for name, p := range a.peers {
		if w, ok := wanted[name]; ok && w.SamePath(p.cfg) {
			p.newest.Store(&w) // before the gateways are told
			continue
		}
		ended = append(ended, p.stop())
		delete(a.peers, name)
	}
	for _, done := range ended {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
	for _, p := range cfg.Peers {
		if _, running := a.peers[p.Name]; running {
			continue
		}
		started := newPeer(ctx, a, p, false)
		a.peers[p.Name] = started
		started.start()
	}
}

// running returns the peers in the order of their names.
func (a *app) running() []*peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.peers), func(p, q *peer) int {
		if p.cfg.Name < q.cfg.Name {
			return -1
		}
		return 1
	})
}

// count notes that a collector made a measurement, or for what reason it could not.
func (a *app) count(collector, reason string) {
	a.metrics.runs.WithLabelValues(collector).Inc()
	if reason != "" {
		a.metrics.errors.WithLabelValues(collector, reason).Inc()
	}
}

// errorReason is the label value for an error of a measurement that blocks.
func errorReason(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, collectors.ErrAccepted):
		return reasonAccepted
	case errors.Is(err, netio.ErrNoPrivilege):
		return reasonNoPrivilege
	case errors.Is(err, netio.ErrNoSocket):
		return reasonNoSocket
	}
	return reasonLocal
}
