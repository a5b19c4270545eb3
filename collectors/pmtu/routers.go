package pmtu

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ladder"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/volley"
)

const (
	// scanTries is how often each router is tried before any of them is compared.
	scanTries = 2
	// pairsAtOnce are sent before an answer is awaited, while nothing is lost.
	pairsAtOnce = 3
	// mostPairs is the number of pairs after which a router is given up, mostSuspects that of the
	// routers that are compared.
	mostPairs, mostSuspects = 34, 3
)

// alike says how many larger echoes must stay unanswered by a router that answers smaller ones. The
// least number is that of a ladder: routers limit their rate.
func alike() matched.Rule {
	return matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Least: ladder.DefaultTries}
}

// An echoer is a router that may answer echoes to its own address.
type echoer struct {
	addr netip.Addr
	p    *prober
	// small and large are the answers to echoes of the size that passes and of one byte more. sent
	// counts pairs.
	small, large, sent int
}

// received returns the routers that are known to receive the larger probes of a ladder, each once, by
// distance: larger probes that got to a router behind them passed them too.
func received(found *ladder.Result) (routers []netip.Addr) {
	for _, from := range found.Hops()[:lastRouter(&found.Climbs[1])] {
		if from.IsValid() && !from.IsLinkLocalUnicast() && !slices.Contains(routers, from) {
			routers = append(routers, from)
		}
	}
	return routers
}

// echoRouters finds out from which routers larger echo replies come back. The routers are known to
// receive the requests.
func (c *Collector) echoRouters(ctx context.Context, r *Result, routers []netip.Addr) (Reverse, error) {
	all := make([]*echoer, len(routers))
	for i, addr := range routers {
		e := &echoer{addr: addr, p: c.prober(collectors.ICMP, &methodState{}, r.At)}
		e.p.target.Path.Dst = addr
		all[i] = e
	}
	out := Reverse{LowerBytes: r.Bytes}
	for try := range scanTries {
		left := slices.DeleteFunc(slices.Clone(all), func(e *echoer) bool { return e.large > 0 })
		if try > 0 && len(left) > 0 {
			if err := volley.Pause(ctx, matched.PolitePause); err != nil {
				return out, err
			}
		}
		if err := c.exchange(ctx, r, left, false); err != nil {
			return out, err
		}
	}
	c.searches.Add(1)
	farthest := -1
	for i, e := range all {
		if e.large > 0 {
			farthest, out.LastHopPassed = i, e.addr
		}
	}
	suspects := 0
	for _, e := range all[farthest+1:] {
		if e.small == 0 || suspects == mostSuspects {
			continue
		}
		suspects++
		lost, err := c.compare(ctx, r, e)
		if err != nil {
			return out, err
		}
		if e.large > 0 {
			out.LastHopPassed = e.addr
		}
		if lost {
			out.State, out.LowerBytes, out.UpperBytes, out.FirstHopFailed = search.BlackHole, r.Bytes, r.Bytes, e.addr
			break
		}
	}
	for _, e := range all {
		out.Packets += 2 * e.sent
	}
	if out.LastHopPassed.IsValid() && out.State != search.BlackHole {
		out.Reason = fmt.Sprintf("replies of %d bytes come back from %s, the path behind it is unknown", r.Bytes+1, out.LastHopPassed)
	}
	return out, nil
}

// compare sends matched pairs of echoes to a router until a larger one is answered, or is
// convincingly lost.
func (c *Collector) compare(ctx context.Context, r *Result, e *echoer) (lost bool, err error) {
	rule := alike()
	*e = echoer{addr: e.addr, p: e.p}
	wanted := func() int { return rule.Pairs(rule.Loss(e.sent-e.small, e.sent)) }
	for e.large == 0 && e.sent < min(wanted(), mostPairs) {
		pairs := min(pairsAtOnce, wanted()-e.sent)
		if e.small < e.sent { // the path loses packets, or the router limits its rate
			pairs = 1
			if err := volley.Pause(ctx, matched.PolitePause); err != nil {
				return false, err
			}
		}
		if err := c.exchange(ctx, r, slices.Repeat([]*echoer{e}, pairs), true); err != nil {
			return false, err
		}
	}
	return e.large == 0 && rule.Convincing(e.sent, e.small, rule.Loss(e.sent-e.small, e.sent)), nil
}

// exchange sends each router one pair of echoes, in an order drawn by a hash.
func (c *Collector) exchange(ctx context.Context, r *Result, to []*echoer, mixed bool) error {
	var shots []*volley.Shot
	var larger []bool
	for i, e := range to {
		largeFirst := mixed && matched.Heads(c.opts.Seed+c.searches.Load(), uint64(e.sent+i))
		for _, large := range []bool{largeFirst, !largeFirst} {
			size := r.Bytes
			if large {
				size++
			}
			shot, err := e.p.shot(size, "does a router's reply of this size come back?")
			if err != nil {
				return err
			}
			shots, larger = append(shots, shot), append(larger, large)
		}
	}
	if err := volley.Fire(ctx, c.network, shots, controlSpacing, matched.Patience(r.RoundTrip, matched.LeastPatience)); err != nil {
		return err
	}
	for i, s := range shots {
		e, a := to[i/2], s.Answer()
		e.sent += i % 2
		switch whole := a.Arrived() && !a.Short; {
		case whole && larger[i]:
			e.large++
		case whole:
			e.small++
		}
	}
	return nil
}
