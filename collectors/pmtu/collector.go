package pmtu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

const (
	// defaultRaise is how often a reduced path is probed at the link's MTU again (RFC 8899, section 5.1.1).
	defaultRaise = 10 * time.Minute
	// unspokenSlow is what is spent in slow mode on a port where nobody is known to speak IKE: what answers there is the peer's kernel,
	// at a rate that would take minutes to measure by.
	unspokenSlow = 5 * time.Second
	// unreachableControls is how many control rounds a method gets that was not answered the last time either.
	unreachableControls = 2
)

// Options shape a Collector. Of the zero value only Keys is missing.
type Options struct {
	// Methods are what to measure with; none means all.
	Methods []collectors.Method
	// Raise is how often a reduced path is probed at the link's MTU again; 0 means 10 minutes.
	Raise time.Duration
	// Packets is the most that one search may send, Slow the longest it may spend on a rate-limited peer; 0 for the defaults.
	Packets int
	Slow    time.Duration
	// Keys make the initiator SPIs of IKE probes.
	Keys *ikeprobe.Keyring
	// Dialects are shared with whoever else speaks IKE to the peer; a method without one gets its own.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Locate finds out between which routers a black hole is, and about the way back.
	Locate bool
	// Hops is how often the routers on the way are looked up; 0 means never, but for black holes.
	Hops time.Duration
	// Seed makes the orders of matched pairs; 0 draws one.
	Seed uint64
	// Walk tries the next form after a round that was not answered, where nobody else looks for the one that is.
	Walk bool
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Done, if set, is told every result of a search.
	Done func(Result)
}

// A Collector measures the path MTU to one peer, by one method after the other, and remembers what it knows.
type Collector struct {
	network collectors.Network
	opts    Options

	// measuring is held during a round.
	measuring sync.Mutex
	target    collectors.Target
	searches  uint64
	states    map[collectors.Method]*methodState
	// reverse is what is known about the way back to the current address.
	reverse methodState
	// first is the method to begin the next round with: the one that the last round had no time for, if any.
	first *collectors.Method

	// mu guards what a scrape reads.
	mu       sync.Mutex
	snapshot Snapshot
}

// methodState is what is known by one method about the current address.
type methodState struct {
	// known and bytes are the last conclusive verdict.
	known State
	bytes int
	// hole is the size of the black hole that was confirmed and not yet disproved, 0 if none.
	hole int
	// spoken means that usable PTBs came.
	spoken bool
	// short means that the peer answers no IKE messages above the size that every responder takes.
	short bool
	// quiet means that the last round was not answered.
	quiet bool
	// raised is when more than the known size was last tried.
	raised    time.Time
	roundTrip time.Duration
	// place is where the last black hole was.
	place place
	// search is one that ran out of time and can be resumed, by prober.
	search *Search
	prober *prober
	// dialect is that of an IKE method to which none was given.
	dialect *ikeprobe.Dialect
}

// A Snapshot is what a Collector knows at one time.
type Snapshot struct {
	// Results are the newest result of each method, in the order of collectors.Methods.
	Results []Result
	// LinkBytes is the MTU of the local link, 0 if unknown; CachedBytes what the kernel believes, 0 if it has no opinion.
	LinkBytes, CachedBytes int
	// BlackHole tells whether any method holds a confirmed black hole; it means something only if Known.
	BlackHole, Known bool
	// Changes counts confirmed changes of verdict, PTBs valid ones received. They survive a change of the address.
	Changes, PTBs uint64
	// At is when the last round ended; zero before the first.
	At time.Time
	// Reverse is what is known about the way back.
	Reverse Reverse
	// Hops are the routers on the way by their TTL, the first of them 1, the last the peer if it was reached; the zero Addr for one that did not answer. Distance
	// is the TTL with which the peer was reached, 0 if that is not known. HopsAt is when they were looked up.
	Hops     []netip.Addr
	Distance int
	HopsAt   time.Time
}

// Results is what one round found out.
type Results struct {
	// Results are those of this round, in the order in which they were measured.
	Results []Result
	// LinkBytes and CachedBytes are what this host knows about the way, as in Snapshot.
	LinkBytes, CachedBytes int
	// BlackHole and Known are what the collector holds after the round, as in Snapshot.
	BlackHole, Known bool
}

// New makes a Collector.
func New(network collectors.Network, opts Options) *Collector {
	order := []collectors.Method{collectors.IKE, collectors.NATT, collectors.ICMP}
	if len(opts.Methods) > 0 {
		configured := opts.Methods
		order = slices.DeleteFunc(order, func(m collectors.Method) bool { return !slices.Contains(configured, m) })
	}
	opts.Methods = order
	if opts.Raise <= 0 {
		opts.Raise = defaultRaise
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64() //nolint:gosec // an order, not a secret
	}
	return &Collector{network: network, opts: opts, states: make(map[collectors.Method]*methodState)}
}

// Name implements collectors.Measurer.
func (*Collector) Name() string { return "pmtu" }

// Snapshot returns what is known now.
func (c *Collector) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snapshot
	s.Results = slices.Clone(s.Results)
	return s
}

// Measure implements collectors.Measurer: one round of every method. What one method finds is a hint for the
// next; a round that ran out of time is followed by one that begins where it ended. The methods that can
// be measured are, also where another one cannot.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	route, err := c.network.Route(t.Path)
	if err != nil {
		return Results{}, fmt.Errorf("path MTU: %w", err)
	}
	out := Results{LinkBytes: route.LinkMTU, CachedBytes: route.CachedMTU}
	var failures []error
	order := c.order()
	c.first = nil
	for _, m := range order {
		if r, err := c.measure(ctx, m, route); err == nil {
			out.Results = append(out.Results, r)
			failures = append(failures, c.lookCloser(ctx, &out, route))
		} else {
			failures = append(failures, fmt.Errorf("path MTU by %s: %w", m, err))
		}
		out.BlackHole, out.Known = c.holds()
		c.publish(&out) // at once: the next method may take its time
		if ctx.Err() != nil {
			c.first = &m
			break
		}
	}
	if c.opts.Locate && ctx.Err() == nil {
		failures = append(failures, c.lookUpHops(ctx, &out))
	}
	return out, errors.Join(failures...)
}

// order is that in which the methods have their turn: IKE as far as the peer is known to speak it, then echo, then IKE as far as
// not. For what answers only by ICMP port unreachable, which hosts send at a low rate, echo then has a hint.
func (c *Collector) order() []collectors.Method {
	order := slices.Clone(c.opts.Methods)
	rank := func(m collectors.Method) int {
		switch {
		case m == collectors.ICMP:
			return 1
		case c.speaks(m):
			return 0
		}
		return 2
	}
	slices.SortStableFunc(order, func(a, b collectors.Method) int { return rank(a) - rank(b) })
	if c.first == nil {
		return order
	}
	at := max(0, slices.Index(order, *c.first))
	return append(order[at:], order[:at]...)
}

// speaks tells whether the peer is known to answer IKE by a method.
func (c *Collector) speaks(m collectors.Method) bool {
	d := c.opts.Dialects[m]
	return d != nil && d.Answered()
}

// retarget forgets what is known if the peer has another address now, or is reached or spoken to in another way.
func (c *Collector) retarget(t collectors.Target) {
	if c.target == t {
		return
	}
	if c.target.Path != t.Path {
		c.mu.Lock()
		c.snapshot = Snapshot{Changes: c.snapshot.Changes, PTBs: c.snapshot.PTBs}
		c.mu.Unlock()
		clear(c.states)
		c.reverse = methodState{}
	}
	for _, st := range c.states {
		st.search = nil
	}
	c.target = t
}

// measure runs one round of one method.
func (c *Collector) measure(ctx context.Context, m collectors.Method, route netio.Route) (Result, error) {
	st := c.states[m]
	if st == nil {
		st = &methodState{}
		c.states[m] = st
	}
	if route.Tunnel != "" {
		return Result{Method: m, State: Inconclusive, Reason: "inside the tunnel: " + route.Tunnel, At: time.Now()}, nil
	}
	start := time.Now()
	search, p := c.begin(m, st, route, start)
	drops := c.drops()
	if err := p.run(ctx, search); err != nil {
		st.search = nil
		return Result{}, err
	}
	r := p.result(search, time.Since(start))
	c.trust(m, st, &r, min(route.LinkMTU, maxPacket))
	if c.drops() != drops {
		st.doubt(&r)
	}
	st.search, st.prober = nil, nil
	if search.Verdict().Resumable {
		st.search, st.prober = search, p
	}
	c.learn(st, &r)
	if c.opts.Done != nil {
		c.opts.Done(r)
	}
	return r, nil
}

// trusted is the size up to which silence of an IKE responder can be the path's: every one has to take IKE messages of 3000 octets at
// least (RFC 7296, section 2), and some take not much more.
func (c *Collector) trusted(m collectors.Method) int {
	const ikeOctets = 3000
	return c.target.Path.HeaderIP() + netio.HeaderUDP + m.Marker() + ikeOctets
}

// reach is the most that a method tries. Behind a responder that was found to refuse more than is trusted, that is the most until it
// is time to raise.
func (c *Collector) reach(m collectors.Method, st *methodState, route netio.Route, now time.Time) int {
	link := min(route.LinkMTU, maxPacket)
	if !st.short || m == collectors.ICMP {
		return link
	}
	if now.Sub(st.raised) >= c.opts.Raise {
		st.short, st.raised = false, now
		return link
	}
	return min(link, c.trusted(m))
}

// trust takes back what an IKE responder alone cannot prove on a link that carries more than every responder takes: that larger
// packets vanish on the path. What was acknowledged stays proven.
func (c *Collector) trust(m collectors.Method, st *methodState, r *Result, link int) {
	limit := c.trusted(m)
	if m == collectors.ICMP || link <= limit {
		return
	}
	r.LinkBytes = link
	doubtful := r.State == BlackHole || r.State == Inconclusive
	if st.short {
		doubtful = r.State == BlackHole || r.State == Clean // of what was tried
	}
	if r.Bytes < limit || !doubtful {
		return
	}
	if !st.short {
		st.short, st.raised = true, r.At
	}
	r.State, r.Reason = Inconclusive, fmt.Sprintf("larger IKE messages than 3000 octets may be refused by the peer itself; %d bytes pass", r.Bytes)
}

// A dropCounter tells how many answers of a family this host has lost because a socket's buffer was full. netio's Stack does.
type dropCounter interface{ LocalDrops(v6 bool) uint64 }

func (c *Collector) drops() uint64 {
	if d, ok := c.network.(dropCounter); ok {
		return d.LocalDrops(c.target.Path.IPv6())
	}
	return 0
}

// doubt takes back a verdict that rests on silence, because this host lost answers meanwhile. What was known before stays.
func (st *methodState) doubt(r *Result) {
	asKnown := r.State == st.known && r.Bytes == st.bytes
	if asKnown || r.State == Clean || r.State == Reduced && r.PTBReceived > 0 {
		return
	}
	r.State, r.Reason = Inconclusive, "this host lost answers because a socket's buffer was full"
}

// begin resumes the method's search, or makes a new one from what is known.
func (c *Collector) begin(m collectors.Method, st *methodState, route netio.Route, now time.Time) (*Search, *prober) {
	p := c.prober(m, st, now)
	link := c.reach(m, st, route, now)
	if st.search != nil && st.prober.ike.Form == p.ike.Form && st.search.Verdict().Link == link &&
		st.search.Resume(now.Sub(st.prober.began)) {
		return st.search, st.prober
	}
	cfg := Config{
		Control: p.control(), Link: link, Minimum: minimumIPv4,
		Known: st.known, KnownBytes: st.bytes, Spoken: st.spoken, Hints: c.hints(m), RoundTrip: st.roundTrip,
		Packets: c.opts.Packets, Slow: c.opts.Slow, Seed: volley.Mix(c.opts.Seed + c.searches),
	}
	c.searches++
	if c.target.Path.IPv6() {
		cfg.Minimum = minimumIPv6
	}
	if m != collectors.ICMP && !c.speaks(m) {
		cfg.Slow = unspokenSlow
	}
	if st.quiet {
		cfg.Controls = unreachableControls
	}
	if now.Sub(st.raised) >= c.opts.Raise {
		cfg.Raise, st.raised = true, now
	}
	return NewSearch(cfg), p
}

// prober makes the prober of a method.
func (c *Collector) prober(m collectors.Method, st *methodState, now time.Time) *prober {
	p := &prober{
		network: c.network, target: c.target, method: m, account: c.opts.Account, began: now,
		news: news{wake: make(chan struct{}, 1)},
	}
	if m == collectors.ICMP {
		return p
	}
	dialect := c.opts.Dialects[m]
	if dialect == nil {
		if st.dialect == nil {
			st.dialect = ikeprobe.NewDialect(c.target.IKE.Version, c.target.IKE.Auth)
		}
		dialect = st.dialect
	}
	p.ike = collectors.IKEProbes{Keys: c.opts.Keys, Dialect: dialect, Form: dialect.Form(), Method: m, Target: c.target}
	return p
}

// hints are the sizes that the other methods know.
func (c *Collector) hints(m collectors.Method) []int {
	var sizes []int
	for _, other := range c.opts.Methods {
		if st := c.states[other]; other != m && st != nil && st.bytes > 0 && !slices.Contains(sizes, st.bytes) {
			sizes = append(sizes, st.bytes)
		}
	}
	return sizes
}

// learn keeps what a result says for the rounds to come.
//
// A black hole is held until the same method disproves it: by a larger size that passes, or by a PTB that speaks up
// (Reduced). What could not be measured changes nothing.
func (c *Collector) learn(st *methodState, r *Result) {
	st.quiet = r.State == Unreachable
	if d := c.opts.Dialects[r.Method]; c.opts.Walk && d != nil && st.quiet && !d.Answered() {
		d.Advance()
	}
	c.mu.Lock()
	c.snapshot.PTBs += uint64(r.PTBReceived)
	changed := r.State.conclusive() && st.known != Unknown && (st.known != r.State || st.bytes != r.Bytes)
	if changed {
		c.snapshot.Changes++
	}
	c.mu.Unlock()
	switch {
	case r.State == BlackHole:
		st.hole = r.Bytes
	case r.State == Reduced, r.State != Unreachable && r.Bytes > st.hole:
		st.hole = 0
	case r.State == Clean: // this host's own link carries no more than passes: nothing that can be sent vanishes
		st.hole = 0
	}
	if !r.State.conclusive() {
		return
	}
	if changed || st.known == Unknown {
		st.raised = r.At
	}
	st.spoken = st.spoken || r.State == Reduced
	st.known, st.bytes, st.roundTrip = r.State, r.Bytes, r.RoundTrip
}

// holds tells whether any method holds a black hole, and whether any method knows.
func (c *Collector) holds() (blackHole, known bool) {
	for _, st := range c.states {
		blackHole = blackHole || st.hole > 0
		known = known || st.known != Unknown
	}
	return blackHole, known
}

// publish makes a round's results what a scrape sees.
func (c *Collector) publish(out *Results) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.snapshot
	results := make([]Result, 0, len(c.opts.Methods))
	for _, m := range collectors.Methods() {
		for _, from := range [][]Result{out.Results, s.Results} {
			if i := slices.IndexFunc(from, func(r Result) bool { return r.Method == m }); i >= 0 {
				results = append(results, from[i])
				break
			}
		}
	}
	s.Results, s.LinkBytes, s.CachedBytes = results, out.LinkBytes, out.CachedBytes
	s.BlackHole, s.Known = out.BlackHole, out.Known
	if len(out.Results) > 0 {
		s.At = time.Now()
	}
}
