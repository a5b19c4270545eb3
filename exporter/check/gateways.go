package check

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/resolve"
)

// checkedGateways are the gateways that a check reads: those at which an SA of a checked peer is
// expected.
type checkedGateways []*checkedGateway

// A checkedGateway is read when something newer is needed than what was read.
type checkedGateway struct {
	source gateways.Source
	poller *gateways.Poller

	reading *semaphore.Weighted // one reading at a time
	began   time.Time           // when the last reading began
}

// openGateways prepares the gateways that the peers of a configuration are expected at.
func (c *checker) openGateways(ctx context.Context, cfg *config.Config, stderr io.Writer) {
	used := slices.DeleteFunc(slices.Clone(cfg.Gateways), func(g config.Gateway) bool {
		return !slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool { return slices.Contains(p.Gateways, g.Name) })
	})
	if len(used) == 0 {
		return
	}
	for _, problem := range readers.FileProblems(used...) {
		fmt.Fprintf(stderr, "warning: %s\n", problem)
	}
	peers := known(cfg)
	addresses, problems := resolve.Peers(ctx, c.resolver, peers)
	for _, err := range problems {
		fmt.Fprintf(stderr, "warning: %v\n", err)
	}
	for _, g := range used {
		source := c.readers.Source(g)
		one := &checkedGateway{source: source, poller: c.readers.Poller(g, source, nil), reading: semaphore.NewWeighted(1)}
		one.poller.SetPeers(readers.Expected(peers, addresses, g.Name))
		c.gateways = append(c.gateways, one)
	}
}

// pollers returns what reads the gateways.
func (c *checker) pollers() []*gateways.Poller {
	out := make([]*gateways.Poller, 0, len(c.gateways))
	for _, g := range c.gateways {
		out = append(out, g.poller)
	}
	return out
}

// close closes the gateways. No reading is under way any more.
func (all checkedGateways) close() {
	for _, g := range all {
		_ = g.source.Close() // nothing is lost: it was only read
	}
}

// read reads the gateways of the peer side by side, unless their last reading began after `before`.
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
	if g.reading.Acquire(ctx, 1) != nil {
		return
	}
	defer g.reading.Release(1)
	if !g.began.Before(before) {
		return // another peer's check was first
	}
	g.began = time.Now()
	if g.poller.Poll(ctx); ctx.Err() != nil {
		g.began = time.Time{} // it may not be complete
	}
}

// known returns the peers that an SA may belong to, each once even if it is measured several times.
func known(cfg *config.Config) []config.Peer {
	if cfg.Known != nil {
		return cfg.Known
	}
	return slices.CompactFunc(slices.Clone(cfg.Peers), func(p, q config.Peer) bool { return p.Name == q.Name })
}
