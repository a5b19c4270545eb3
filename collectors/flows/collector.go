package flows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/volley"
)

// How many fresh flows are tested. With half of all equal-cost links dead, a flow fares like n fresh
// ones with the probability 2^-n.
const (
	// usual is for an IKE port. A peer that answers nothing must not be sent many packets.
	usual = 3
	// echoes is for ICMP: most load balancers do not look at the identifier.
	echoes = 2
	// further are tested too of a method that is silent while another one is answered.
	further = 5
	// large is for packets that vanish for their size.
	large = 6
	// sparing and sparingFurther take the place of usual and further for a method that others found
	// silent: each flow is asked once then, and the one in use is known to be silent.
	sparing, sparingFurther = 2, 3
	// sparingPackets is the most that a round sends to a peer that is silent by all methods.
	sparingPackets = 2*(sparing+1) + echoes
)

// echoData is what an echo carries: as much as ping(8) sends.
const echoData = 56

// Options shape a Collector. All but Account and Seed are needed.
type Options struct {
	// Keys make the initiator SPIs.
	Keys *ikeprobe.Keyring
	// Dialects know which form of IKE the peer answers.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Hole returns the least size, in bytes of the whole IP packet, that vanishes by a method in the
	// flow in use; 0 if there is none.
	Hole func(m collectors.Method) int
	// Silence, if set, is the record of addresses that do not answer.
	Silence *silence.Record
	// Once, if set, is the pace of a peer that is measured once.
	Once *collectors.Once
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Seed makes the order within matched pairs; 0 draws one.
	Seed uint64
}

// A Collector compares the flows to one peer.
type Collector struct {
	network collectors.Network
	opts    Options

	measuring sync.Mutex
	rounds    int

	mu       sync.Mutex
	snapshot Results
}

// New returns a Collector.
func New(network collectors.Network, opts Options) *Collector {
	opts.Seed = cmp.Or(opts.Seed, rand.Uint64()) //nolint:gosec // an order, not a secret
	return &Collector{network: network, opts: opts}
}

// Snapshot returns the newest results, which are not changed afterwards. They stay valid when
// another flow is taken into use.
func (c *Collector) Snapshot() Results {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}

// SetTarget discards the results of another path.
func (c *Collector) SetTarget(t collectors.Target) {
	path := t.Path
	c.mu.Lock()
	defer c.mu.Unlock()
	if path.Flow = c.snapshot.Path.Flow; path != c.snapshot.Path {
		c.snapshot = Results{Path: t.Path}
	}
}

// Measure implements collectors.Measurer.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.SetTarget(t)
	c.rounds++
	route, err := c.network.Route(t.Path)
	if err != nil {
		return Results{}, fmt.Errorf("flows: %w", err)
	}
	out := Results{Path: t.Path, At: time.Now()}
	if route.Tunnel != "" {
		out.Reason = collectors.CheckRoute(route).Error()
		c.publish(out)
		return out, nil
	}
	if err := c.queue(ctx, t); err != nil {
		return Results{}, fmt.Errorf("flows: %w", err)
	}
	out.At = time.Now()
	if out.Results, err = c.sweeps(ctx, t); err != nil {
		return Results{}, fmt.Errorf("flows: %w", err)
	}
	c.publish(out)
	return out, nil
}

// publish keeps the results of a round, unless the target has changed meanwhile.
func (c *Collector) publish(r Results) {
	path := r.Path
	c.mu.Lock()
	defer c.mu.Unlock()
	if path.Flow = c.snapshot.Path.Flow; path == c.snapshot.Path {
		c.snapshot = r
	}
}

// A test is the sweep of one method and what it has found.
type test struct {
	method collectors.Method
	sweep  *sweep
	unable error // to be made
	found  []Result
}

// sweeps makes the sweeps of all methods side by side.
func (c *Collector) sweeps(ctx context.Context, t collectors.Target) (all []Result, err error) {
	echoMute, ikeMute, left := c.mute(t)
	if echoMute && ikeMute {
		if all := c.shared(t); all != nil {
			return all, nil
		}
	}
	if ikeMute && left < sparingPackets {
		return nil, fmt.Errorf("%w: no room for fresh flows", silence.ErrBudget)
	}
	var tests []*test
	for _, m := range collectors.Methods() {
		mute := ikeMute
		if m == collectors.ICMP {
			mute = echoMute
		}
		if m == collectors.ICMP || t.IKE.SourcePort != collectors.FixedPort && len(c.forms(m)) > 0 {
			s := c.sweep(t, m, first(m, mute), 0)
			s.sparing = mute
			tests = append(tests, &test{method: m, sweep: s})
		}
	}
	if tests, err = c.open(ctx, tests); err != nil {
		return nil, err
	}
	err = each(ctx, tests, func(ctx context.Context, one *test) error { return c.run(ctx, one) })
	if err != nil {
		return nil, err
	}
	answered := slices.ContainsFunc(tests, func(one *test) bool {
		return one.found[0].Own || one.found[0].Answered()
	})
	err = each(ctx, tests, func(ctx context.Context, one *test) error { return c.pursue(ctx, t, one, answered) })
	for _, one := range tests {
		all = append(all, one.found...)
	}
	return all, err
}

// open asks every flow once. A peer that answers none of all methods is not asked again: there are
// flows enough to make loss no explanation, and it may not be sent many packets. It returns the
// tests that can be made. What this host cannot send, as an echo without a raw socket or what its own
// packet filter refuses, is not compared, and no verdict waits for it.
func (c *Collector) open(ctx context.Context, tests []*test) ([]*test, error) {
	err := each(ctx, tests, func(ctx context.Context, one *test) error {
		one.unable = one.sweep.ask(ctx, one.sweep.next())
		if errors.Is(one.unable, silence.ErrBudget) || errors.Is(one.unable, collectors.ErrLocalDrops) {
			return one.unable
		}
		return context.Cause(ctx)
	})
	if err != nil {
		return nil, err
	}
	failed := make([]error, 0, len(tests))
	for _, one := range tests {
		failed = append(failed, one.unable)
	}
	able := slices.DeleteFunc(slices.Clone(tests), func(one *test) bool { return one.unable != nil })
	if len(able) == 0 {
		return nil, errors.Join(failed...)
	}
	tests = able
	silent := func() bool {
		return !slices.ContainsFunc(tests, func(one *test) bool { return len(one.sweep.lost()) < len(one.sweep.lines) })
	}
	if silent() {
		err = volley.Pause(ctx, settling)
	}
	if silent() {
		for _, one := range tests {
			one.sweep.sparing = true
		}
	}
	return tests, err
}

// mute reports whether the peer stays silent, or never answered yet, to echoes and on both UDP ports,
// and how many packets it may be sent.
func (c *Collector) mute(t collectors.Target) (echo, ike bool, left int) {
	now := time.Now()
	standing := func(p netio.Protocol, m collectors.Method) silence.Standing {
		return c.opts.Silence.Standing(netio.Lane(t.Path, p, t.IKE.UDPPort(m)), now)
	}
	echoes, one, other := standing(netio.Echo, collectors.ICMP), standing(netio.UDP, collectors.IKE), standing(netio.UDP, collectors.NATT)
	echo = echoes.Mute || echoes.Answered.IsZero()
	spoke := c.opts.Silence.Spoke(netio.Lane(t.Path, netio.Echo, 0), now)
	ike = one.Mute && other.Mute || !spoke || one.Answered.IsZero() && other.Answered.IsZero()
	return echo, ike, one.Left
}

// queue waits, while the address answers nothing, for a comparison by another of its peers.
func (c *Collector) queue(ctx context.Context, t collectors.Target) error {
	lane := netio.Lane(t.Path, netio.Echo, 0)
	for !c.opts.Silence.Spoke(lane, time.Now()) && c.shared(t) == nil {
		wait := c.opts.Silence.Compare(lane, time.Now())
		if wait == 0 {
			return nil
		}
		if err := volley.Pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// shared returns what fresh flows of other peers of the address, or of an earlier round, have shown
// by the same way since it last answered: silence by every method. It is nil if they were too few.
func (c *Collector) shared(t collectors.Target) (all []Result) {
	now := time.Now()
	for _, m := range collectors.Methods() {
		protocol, least := netio.UDP, sparing
		if m == collectors.ICMP {
			protocol, least = netio.Echo, echoes
		}
		tried := 0
		for _, flow := range c.opts.Silence.Standing(netio.Lane(t.Path, protocol, t.IKE.UDPPort(m)), now).Flows {
			if flow >= uint16(InUse) {
				tried++
			}
		}
		switch {
		case tried >= least:
			all = append(all, Result{Method: m, State: Silent, Tested: tried + 1, Lost: tried + 1})
		case tried > 0 || m != collectors.ICMP: // some hosts cannot choose the flow of an echo
			return nil
		}
	}
	return all
}

// first is how many fresh flows are tested first.
func first(m collectors.Method, mute bool) int {
	switch {
	case m == collectors.ICMP:
		return echoes
	case mute:
		return sparing
	}
	return usual
}

// each calls f for all tests at the same time and returns its first error.
func each(ctx context.Context, tests []*test, f func(ctx context.Context, one *test) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range tests {
		g.Go(func() error { return f(ctx, one) })
	}
	return g.Wait() //nolint:wrapcheck // of f
}

// run makes the sweep of a test, or goes on with it. What remains of one of echo requests may be many,
// and compares them.
func (c *Collector) run(ctx context.Context, o *test) error {
	if o.method == collectors.ICMP && len(o.sweep.lost()) > 0 {
		defer c.opts.Once.EchoAlone()()
	}
	r, err := o.sweep.run(ctx)
	r.Method = o.method
	o.found = []Result{r}
	return err
}

// pursue finds out more where that is needed: answered means that the peer answers something.
func (c *Collector) pursue(ctx context.Context, t collectors.Target, o *test, answered bool) error {
	if o.found[0].State == Silent && answered {
		more := further
		if o.sweep.sparing {
			more = sparingFurther
		}
		o.sweep.add(more)
		if err := c.run(ctx, o); err != nil {
			return err
		}
	}
	r := &o.found[0]
	if r.State == Silent && o.method != collectors.ICMP {
		var err error
		forms := c.forms(o.method)
		if o.sweep.sparing {
			forms = forms[:1]
		}
		if r.Fixed, r.FixedTried, err = c.fixed(ctx, t, o.method, forms); err != nil {
			return err
		}
	}
	return c.pursueHole(ctx, t, o)
}

// pursueHole asks by fresh flows whether packets of a size that vanishes in the flow in use pass.
func (c *Collector) pursueHole(ctx context.Context, t collectors.Target, o *test) error {
	hole := c.opts.Hole(o.method)
	if hole == 0 || !o.found[0].Own {
		return nil
	}
	by, err := c.sweep(t, o.method, large, hole).passes(ctx)
	if err != nil {
		return err
	}
	by.Method, by.Bytes = o.method, hole
	o.found = append(o.found, by)
	return nil
}

// Complete adds to the newest results what black holes ask for that were found since. Their time stays
// that of the oldest.
func (c *Collector) Complete(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	out := c.Snapshot()
	var tests []*test
	for i := range out.Results {
		r := &out.Results[i]
		if known := out.Large(r.Method); r.Bytes == 0 && known.Bytes != c.opts.Hole(r.Method) {
			tests = append(tests, &test{method: r.Method, found: []Result{*r}})
		}
	}
	if len(tests) == 0 {
		return out, nil
	}
	err := each(ctx, tests, func(ctx context.Context, one *test) error { return c.pursueHole(ctx, t, one) })
	if err != nil {
		return out, fmt.Errorf("flows: %w", err)
	}
	var all []Result
	for _, r := range out.Results {
		i := slices.IndexFunc(tests, func(one *test) bool { return one.method == r.Method && len(one.found) > 1 })
		switch {
		case i < 0:
			all = append(all, r)
		case r.Bytes == 0: // what there was of another size is replaced
			all = append(all, tests[i].found...)
		}
	}
	out.Results = all
	c.publish(out)
	return out, nil
}

// sweep prepares the test of the flow in use and some fresh ones.
func (c *Collector) sweep(t collectors.Target, m collectors.Method, flows, bytes int) *sweep {
	s := &sweep{network: c.network, spacing: spacing, seed: matched.Mix(c.opts.Seed + uint64(m)), start: c.start(m), lines: []*line{{flow: t.Path.Flow}}}
	if bytes > 0 {
		s.spacing = largeSpacing
	}
	c.hasten(s, m, bytes)
	s.add(flows)
	forms := c.forms(m)
	s.shot = func(flow netio.Flow, try int) (*volley.Shot, error) {
		by := t
		by.Path.Flow = flow
		if m == collectors.ICMP {
			return c.echo(by, bytes), nil
		}
		return c.message(by, m, forms[try%len(forms)], bytes)
	}
	return s
}

// hasten is the pace of a sweep for a person who waits. The answers to echo requests, and the answers of a
// closed port, are limited in rate; IKE messages are not.
func (c *Collector) hasten(s *sweep, m collectors.Method, bytes int) {
	once, d := c.opts.Once, c.opts.Dialects[m]
	switch {
	case once == nil:
	case bytes > 0:
		s.spacing, s.known = once.LargeFlowSpacing, once.RoundTrip()
	case m != collectors.ICMP && d != nil && d.Answered():
		s.spacing, s.known = once.FlowSpacing, once.RoundTrip()
	}
}

// start is the first fresh flow of a method in this round. The two IKE methods have different ones,
// because the port of the peer is another one too.
func (c *Collector) start(m collectors.Method) netio.Flow {
	start := c.rounds * (usual + further)
	if m == collectors.NATT {
		start += int(fresh) / 2
	}
	return netio.Flow(start % int(fresh))
}

// forms are the forms of IKE to ask with: the one that is answered, or one of each version.
func (c *Collector) forms(m collectors.Method) []ikeprobe.Form {
	if m == collectors.ICMP {
		return []ikeprobe.Form{0}
	}
	d := c.opts.Dialects[m]
	if d == nil {
		return nil
	}
	if d.Answered() {
		return []ikeprobe.Form{d.Form()}
	}
	var first []ikeprobe.Form
	seen := make(map[ikeprobe.Version]bool)
	for _, f := range d.Ladder() {
		if v := f.Version(); !seen[v] {
			seen[v] = true
			first = append(first, f)
		}
	}
	return first
}

const purpose = "is another flow answered?"

func (c *Collector) echo(t collectors.Target, bytes int) *volley.Shot {
	size := cmp.Or(bytes, t.Path.HeaderIP()+netio.HeaderEcho+echoData)
	return &volley.Shot{Packet: &netio.Packet{
		Path: t.Path, Size: size, DontFragment: bytes > 0, Account: c.opts.Account, Purpose: purpose,
	}}
}

func (c *Collector) message(t collectors.Target, m collectors.Method, f ikeprobe.Form, bytes int) (*volley.Shot, error) {
	probes := &collectors.IKEProbes{Keys: c.opts.Keys, Dialect: c.opts.Dialects[m], Form: f, Method: m, Target: t}
	if err := probes.Allowed(); err != nil {
		return nil, err
	}
	packet, err := probes.Packet(m.String()+"-flow", bytes)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", f, err)
	}
	packet.DontFragment, packet.Account, packet.Purpose = bytes > 0, c.opts.Account, purpose
	token := packet.Token // see volley.Shot
	return &volley.Shot{Packet: packet, Accept: func(a *netio.Answer) bool {
		ok, _ := probes.Answers(a, token)
		return ok
	}}, nil
}

// fixed reports whether IKE is answered from the source ports 500 and 4500, and whether it could be
// sent from there.
func (c *Collector) fixed(ctx context.Context, t collectors.Target, m collectors.Method, forms []ikeprobe.Form) (answered, tried bool, err error) {
	t.IKE.SourcePort = collectors.FixedPort
	for _, f := range forms {
		shot, err := c.message(t, m, f, 0)
		if err != nil {
			return false, false, err
		}
		if volley.Fire(ctx, c.network, []*volley.Shot{shot}, 0, matched.Patience(0, 0)) != nil {
			return false, false, context.Cause(ctx) // nil where the ports are not for us
		}
		if a := shot.Answer(); a.Arrived() {
			return true, true, nil
		}
	}
	return false, true, nil
}
