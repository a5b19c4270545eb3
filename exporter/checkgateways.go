package exporter

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
)

// checkedGateways are the gateways that a check reads: those at which an SA of a checked peer is expected.
type checkedGateways []*checkedGateway

// A checkedGateway is read when somebody wants to know something newer than what was read.
type checkedGateway struct {
	source gateways.Source
	poller *gateways.Poller

	turn  chan struct{} // has room for who reads
	began time.Time     // the last reading; of whose turn it is
}

// openGateways prepares those that the peers of a configuration are expected at.
func (a *app) openGateways(ctx context.Context, cfg *config.Config, stderr io.Writer) checkedGateways {
	used := slices.DeleteFunc(slices.Clone(cfg.Gateways), func(g config.Gateway) bool {
		return !slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool { return slices.Contains(p.Gateways, g.Name) })
	})
	if len(used) == 0 {
		return nil
	}
	for _, problem := range secretProblems(&config.Config{Gateways: used}) {
		fmt.Fprintf(stderr, "warning: %s\n", problem)
	}
	addresses := whereabouts(ctx, a.resolver, cfg, stderr)
	var out checkedGateways
	for _, g := range used {
		source := a.readers.source(g)
		one := &checkedGateway{source: source, poller: a.readers.poller(g, source, nil), turn: make(chan struct{}, 1)}
		one.poller.SetPeers(expectedPeers(cfg, addresses, g.Name))
		a.readers.running = append(a.readers.running, &reader{cfg: g, poller: one.poller})
		out = append(out, one)
	}
	return out
}

// close ends what was open for reading. Nobody reads any more.
func (all checkedGateways) close() {
	for _, g := range all {
		_ = g.source.Close() // it was read
	}
}

// read reads those of the peer, all at the same time, as far as what was read of them began before a time.
func (all checkedGateways) read(ctx context.Context, p *config.Peer, before time.Time) {
	var reading sync.WaitGroup
	for _, g := range all {
		if slices.Contains(p.Gateways, g.poller.Name()) {
			reading.Go(func() { g.read(ctx, before) })
		}
	}
	reading.Wait()
}

func (g *checkedGateway) read(ctx context.Context, before time.Time) {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-g.turn }()
	if !g.began.Before(before) {
		return // another peer's check was first
	}
	g.began = time.Now()
	if g.poller.Poll(ctx); ctx.Err() != nil {
		g.began = time.Time{} // it may not have come to its end
	}
}

// knownPeers are those that an SA may belong to, once each.
func knownPeers(cfg *config.Config) []config.Peer {
	if cfg.Known != nil {
		return cfg.Known
	}
	return slices.CompactFunc(slices.Clone(cfg.Peers), func(p, q config.Peer) bool { return p.Name == q.Name }) // over several ways out
}

// lookups is how many names are looked up at the same time.
const lookups = 32

// whereabouts are the addresses of the known peers, by name, now. All names together may take as long as one.
func whereabouts(ctx context.Context, r resolver, cfg *config.Config, stderr io.Writer) map[string]netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	peers := knownPeers(cfg)
	found, failures := make([]netip.Addr, len(peers)), make([]error, len(peers))
	var all errgroup.Group
	all.SetLimit(lookups)
	for i := range peers {
		all.Go(func() error {
			found[i], failures[i] = resolve(ctx, r, &peers[i], netip.Addr{})
			return nil
		})
	}
	_ = all.Wait() // no function fails: what went wrong is told below
	out := make(map[string]netip.Addr, len(peers))
	for i := range peers {
		if failures[i] != nil {
			fmt.Fprintf(stderr, "warning: peer %s: %v\n", peers[i].Name, failures[i])
		}
		out[peers[i].Name] = found[i]
	}
	return out
}

// expectedPeers are the known peers, as a gateway has to know them.
func expectedPeers(cfg *config.Config, addresses map[string]netip.Addr, gateway string) []gateways.Peer {
	var out []gateways.Peer
	for _, p := range knownPeers(cfg) {
		out = append(out, gateways.Peer{
			Name: p.Name, Address: addresses[p.Name], Match: gateways.Match(p.Match), Expected: slices.Contains(p.Gateways, gateway), OnDemand: p.OnDemand,
		})
	}
	return out
}
