package inside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/volley"
)

// The pace of a round.
const (
	echoes       = 5
	echoSize     = 64 // of the whole IP packet
	echoSpacing  = 200 * time.Millisecond
	timeout      = time.Second
	requestTries = 3
)

// Options shape a Collector.
type Options struct {
	// Open returns the network of this host's own traffic. It is called in each round, so an error need
	// not last.
	Open func() (Network, error)
	// Targets are measured, at least one. They do not change.
	Targets []Target
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Seed makes the order within matched pairs; 0 draws one.
	Seed uint64
}

// A Collector measures inside the tunnel to one peer.
type Collector struct {
	opts Options

	measuring sync.Mutex
	rounds    uint64
	states    []state // of the targets, guarded by measuring

	mu       sync.Mutex
	snapshot Results
	counts   []counts // of the targets
}

// A state is what is remembered of a target between rounds.
type state struct {
	limit     int // the most that this host sent
	verdict   search.Verdict
	sendsPTBs bool
	raised    time.Time
	heard     time.Time
}

// counts are the echo requests so far.
type counts struct{ sent, answered uint64 }

// New returns a Collector.
func New(opts Options) *Collector {
	opts.Seed = cmp.Or(opts.Seed, rand.Uint64()) //nolint:gosec // an order, not a secret
	n := len(opts.Targets)
	return &Collector{opts: opts, states: make([]state, n), counts: make([]counts, n)}
}

// Snapshot returns the newest results.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Results{At: c.snapshot.At, Results: slices.Clone(c.snapshot.Results)}
}

// Measure implements collectors.Measurer: one round of all targets, side by side. The address of the
// peer does not matter. An error means that a target could not be measured; it has no result then.
func (c *Collector) Measure(ctx context.Context, _ collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	network, err := c.opts.Open()
	if err != nil {
		return Results{}, fmt.Errorf("inside the tunnel: %w", err)
	}
	c.rounds++
	found, failed := make([]Result, len(c.opts.Targets)), make([]error, len(c.opts.Targets))
	var wg sync.WaitGroup
	for i := range c.opts.Targets {
		wg.Go(func() { found[i], failed[i] = c.target(ctx, network, i) })
	}
	wg.Wait()
	out := Results{At: time.Now()}
	for i := range found {
		if failed[i] != nil {
			failed[i] = fmt.Errorf("inside the tunnel to %s: %w", c.opts.Targets[i].Address, failed[i])
			continue
		}
		out.Results = append(out.Results, found[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range found {
		c.counts[i].sent += uint64(found[i].Sent)
		c.counts[i].answered += uint64(found[i].Answered)
	}
	if len(out.Results) > 0 {
		c.snapshot = out
	}
	return out, errors.Join(failed...)
}

// target measures one target.
func (c *Collector) target(ctx context.Context, network Network, i int) (Result, error) {
	t, st := c.opts.Targets[i], &c.states[i]
	r := Result{Target: t}
	if err := c.echo(ctx, network, &r); err != nil {
		return Result{Target: t}, err
	}
	if t.Port != 0 {
		if err := c.request(ctx, network, &r); err != nil {
			return Result{Target: t}, err
		}
	}
	if r.At = time.Now(); r.Reached() {
		st.heard = r.At
	}
	if r.Heard = st.heard; r.Answered == 0 {
		return r, nil
	}
	if err := c.size(ctx, network, st, i, &r); err != nil {
		return Result{Target: t}, err
	}
	r.At = time.Now()
	return r, nil
}

// echo sends small echo requests.
func (c *Collector) echo(ctx context.Context, network Network, r *Result) error {
	shots := make([]*volley.Shot, echoes)
	for i := range shots {
		shots[i] = &volley.Shot{Packet: &netio.Packet{
			Path: r.Target.path(), Protocol: netio.Echo, Size: echoSize, Account: c.opts.Account, Purpose: "echo inside the tunnel",
		}}
	}
	err := volley.Fire(ctx, network, shots, echoSpacing, timeout)
	if err != nil && !errors.Is(err, silence.ErrBudget) {
		return err
	}
	for _, s := range shots {
		switch a := s.Answer(); {
		case a.LocalDrops:
			return collectors.ErrLocalDrops
		case a.Outcome == netio.NotSent || a.Outcome == 0:
		case a.Outcome == netio.Delivered:
			r.Answered++
			r.Sent++
			r.RoundTrip = cmp.Or(min(cmp.Or(r.RoundTrip, a.RoundTrip), a.RoundTrip), time.Nanosecond)
		default:
			r.Sent++
		}
	}
	if r.Sent == 0 {
		return err
	}
	return nil
}

// request requests a TCP connection until it is answered.
func (c *Collector) request(ctx context.Context, network Network, r *Result) error {
	r.TCP = TCPSilent
	for range requestTries {
		a, err := network.Request(ctx, r.Target.path(), r.Target.Port, c.opts.Account, timeout)
		switch {
		case err != nil:
			return err
		case a.Refused:
			r.TCP = TCPRefused
			return nil
		case a.Answered:
			r.TCP, r.MSS = TCPAnswered, a.MSS
			return nil
		}
	}
	return nil
}

// size searches the inside path MTU.
func (c *Collector) size(ctx context.Context, network Network, st *state, i int, r *Result) error {
	path := r.Target.path()
	route, err := network.Route(path)
	if err != nil {
		return err
	}
	z := &sizer{network: network, account: c.opts.Account, path: path, began: time.Now()}
	limit, err := z.limit(ctx, min(route.LinkMTU, maxPacket), st.limit)
	if err != nil {
		return err
	}
	minimum := minimumIPv4
	if path.IPv6() {
		minimum = minimumIPv6
	}
	raise := time.Since(st.raised) >= raiseEvery
	if raise {
		st.raised = time.Now()
	}
	s := search.New(search.Config{
		Control: z.least(), Link: limit, Minimum: minimum, Known: st.verdict.State, KnownBytes: st.verdict.Bytes,
		SendsPTBs: st.sendsPTBs, Raise: raise, RoundTrip: st.verdict.RoundTrip, Seed: matched.Mix(c.opts.Seed + c.rounds<<8 + uint64(i)),
	})
	if err := z.run(ctx, s); errors.Is(err, silence.ErrBudget) {
		return nil // the target fell silent
	} else if err != nil {
		return err
	}
	v := s.Verdict()
	r.Size, st.limit = v, limit
	if v.State.Conclusive() {
		st.verdict = v
	}
	st.sendsPTBs = st.sendsPTBs || v.PTBs > v.Rejected.Total()
	return nil
}
