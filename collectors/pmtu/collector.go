package pmtu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

const (
	// defaultRaise is how often the link's MTU is tried again (RFC 8899, section 5.1.1).
	defaultRaise = 10 * time.Minute
	// slowWithoutIKE is the time in slow mode on a port that is not known to answer IKE. What
	// answers there is the peer's kernel, at a rate that would take minutes to measure by.
	slowWithoutIKE = 5 * time.Second
	// unreachableControls is the number of control rounds after a round without any answer.
	unreachableControls = 2
)

// Options shape a Collector. Of the zero value only Keys is missing.
type Options struct {
	// Methods are what to measure with; none means all.
	Methods []collectors.Method
	// Raise is how often a reduced path is probed at the link's MTU again; 0 means 10 minutes.
	Raise time.Duration
	// Packets and Slow limit one search, as in search.Config.
	Packets int
	Slow    time.Duration
	// Keys make the initiator SPIs of IKE probes.
	Keys *ikeprobe.Keyring
	// Dialects are shared with other collectors that speak IKE; a missing one is made.
	Dialects map[collectors.Method]*ikeprobe.Dialect
	// Locate finds out between which routers a black hole is, and measures the reverse path.
	Locate bool
	// Hops is how often the routers on the path are measured; 0 means only for black holes.
	Hops time.Duration
	// Seed makes the order within matched pairs; 0 draws one.
	Seed uint64
	// Walk tries the next IKE form after a round without an answer. It is for a program in which no
	// other collector looks for the form that the peer answers.
	Walk bool
	// Silence, if set, is the record of addresses that do not answer.
	Silence *silence.Record
	// Once, if set, is the pace of a peer that is measured once. Its searches run side by side.
	Once *collectors.Once
	// Account, if set, is charged with what is sent.
	Account *netio.Account
	// Done, if set, is called with the result of every search.
	Done func(Result)
}

// A Collector measures the path MTU to one peer, by one method after the other; see once.go for
// where they are measured side by side.
type Collector struct {
	network collectors.Network
	opts    Options

	// measuring is held during a round.
	measuring sync.Mutex
	target    collectors.Shared[collectors.Target]
	// searches and rounds count searches, from any goroutine, and calls of Measure.
	searches atomic.Uint64
	rounds   uint64
	// listened and heard are the last rounds that found no echo answered at all, and all of them.
	listened, heard uint64
	// states are by method, nil before its first search.
	states [collectors.NATT + 1]*methodState
	// unanswered is the number of echoes in a row that were sent as controls of PTBs without
	// answer.
	unanswered int
	// cut is where packets with DF are cut in pieces, as the last ladder shows.
	cut cut
	// routes are the routes of this round, by method, as far as this host has them; nil between
	// rounds.
	routes map[collectors.Method]netio.Route
	// directions are what is known of the two directions of the path to the current address, nil
	// while nothing had to be searched for.
	directions *directions
	// first is the method that the last round had no time for, if any: the next round begins with
	// it.
	first *collectors.Method
	// glanced means that the current address had its first look.
	glanced bool

	// mu guards what a scrape reads.
	mu    sync.Mutex
	known known
}

// directions are what searches in one direction alone have found.
type directions struct {
	reverse, forward methodState
	// ways is what routers show of them.
	ways ways
}

// apart returns what is known of the two directions.
func (c *Collector) apart() *directions {
	if c.directions == nil {
		c.directions = &directions{}
	}
	return c.directions
}

// heard is the size of a black hole, and how often it was shown that PTBs would have arrived.
type heard struct{ bytes, times int }

// A proof is the search that found a black hole, spoken the last PTB of use.
type (
	proof struct {
		packets int
		at      time.Time
	}
	spoken struct {
		from  netip.Addr
		mtu   int
		until time.Time
	}
)

// methodState is what is known by one method about the current address.
type methodState struct {
	// known and bytes are the last conclusive verdict.
	known search.State
	bytes int
	// hole is the size of the black hole that was confirmed and not yet disproved, 0 if none.
	hole int
	// proof is nil before the first black hole, spoke before the first PTB of use.
	proof *proof
	spoke *spoken
	// sendsPTBs means that usable PTBs were received.
	sendsPTBs bool
	// reported is the last round in which usable PTBs were received. heard is the black hole for
	// which PTBs would have arrived.
	reported uint64
	heard    heard
	// whole is the largest size that crosses in one piece where larger packets are cut, 0 if none
	// are.
	whole int
	// refusesLarge means that the peer answers no IKE messages above the trusted size.
	refusesLarge bool
	// unreachable means that the last round was not answered, postponed that it had no search.
	unreachable, postponed bool
	// raised is when more than the known size was last tried.
	raised    time.Time
	roundTrip time.Duration
	// place is where the last black hole was.
	place place
	// search ran out of time and can be resumed by prober; nil if there is none.
	search *search.Search
	prober *prober
	// dialect is that of an IKE method without one in Options.
	dialect *ikeprobe.Dialect
}

// New returns a Collector.
func New(network collectors.Network, opts Options) *Collector {
	order := []collectors.Method{collectors.IKE, collectors.NATT, collectors.ICMP}
	if len(opts.Methods) > 0 {
		configured := opts.Methods
		order = slices.DeleteFunc(order, func(m collectors.Method) bool { return !slices.Contains(configured, m) })
	}
	opts.Methods = order
	opts.Raise = cmp.Or(max(opts.Raise, 0), defaultRaise)
	opts.Seed = cmp.Or(opts.Seed, rand.Uint64()) //nolint:gosec // an order, not a secret
	return &Collector{network: network, opts: opts}
}

// Snapshot returns what is known now.
func (c *Collector) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.snapshot(nil)
}

// Measure implements collectors.Measurer: one round of every method. The result of one method is a
// hint for the next; after a round that ran out of time, the next one begins where it ended. An
// error of one method does not keep the others from being measured.
func (c *Collector) Measure(ctx context.Context, t collectors.Target) (Results, error) {
	c.measuring.Lock()
	defer c.measuring.Unlock()
	c.retarget(t)
	c.rounds++
	defer func() { c.routes = nil }()
	route, err := c.lookUpRoutes()
	if len(c.routes) == 0 {
		return Results{}, err
	}
	out := Results{LinkBytes: route.LinkMTU, CachedBytes: route.CachedMTU}
	failures := []error{err}
	if c.opts.Once != nil {
		failures = append(failures, c.sideBySide(ctx, &out))
	} else {
		failures = append(failures, c.inTurn(ctx, &out))
	}
	if c.opts.Locate {
		failures = append(failures, c.finish(ctx, &out, route))
	}
	return out, errors.Join(failures...)
}

// inTurn measures by one method after the other.
func (c *Collector) inTurn(ctx context.Context, out *Results) error {
	var failures []error
	order := c.order()
	c.first = nil
	for i, m := range order {
		route, ok := c.routes[m]
		if !ok {
			continue
		}
		if r, err := c.measure(ctx, m, route, out.Results); err == nil {
			out.Results = append(out.Results, r)
			failures = append(failures, c.lookCloser(ctx, out, route))
		} else {
			failures = append(failures, fmt.Errorf("path MTU by %s: %w", m, err))
		}
		if c.opts.Locate {
			c.attribute(out)
		}
		out.BlackHole, out.Known = c.holds()
		if !c.opts.Locate || !awaitsEcho(out, order[i+1:]) && echoHole(out) == nil {
			c.publish(out) // at once: the next method may take its time
		}
		if ctx.Err() != nil {
			c.first = &m
			break
		}
	}
	return errors.Join(failures...)
}

// finish adds to a round what needs the results of all methods.
func (c *Collector) finish(ctx context.Context, out *Results, route netio.Route) error {
	err := c.bothWays(ctx, out, route)
	switch {
	case ctx.Err() == nil:
		err = errors.Join(err, c.lookUpHops(ctx, out))
	case echoHole(out) == nil:
		return err
	}
	c.publish(out)
	for i := range out.Results {
		c.inOnePiece(&out.Results[i])
	}
	return err
}

// order returns the order of the methods in a round: IKE methods that the peer is known to answer,
// then echo, then the other IKE methods. A closed port answers only by ICMP port unreachable, which
// hosts send at a low rate; the result of the echoes then serves as a hint.
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

// speaks reports whether the peer is known to answer IKE by a method.
func (c *Collector) speaks(m collectors.Method) bool {
	d := c.opts.Dialects[m]
	return d != nil && d.Answered()
}

// retarget drops what is known of another path, and the searches for another target.
func (c *Collector) retarget(t collectors.Target) {
	if c.target.Get() == t {
		return
	}
	if c.target.Get().Path != t.Path {
		c.mu.Lock()
		c.known = known{changes: c.known.changes, ptbs: c.known.ptbs}
		c.mu.Unlock()
		clear(c.states[:])
		c.directions, c.cut, c.unanswered, c.glanced = nil, cut{}, 0, false
	}
	for _, st := range c.states {
		if st != nil {
			st.search = nil
		}
	}
	c.target = collectors.Share(t)
}

// trusted returns the size up to which silence of an IKE responder is evidence about the path (RFC
// 7296, section 2: every one takes 3000 octets, and some take little more).
func (c *Collector) trusted() int {
	const ikeOctets = 3000 // some responders count the non-ESP marker among them
	return c.target.Get().Path.HeaderIP() + netio.HeaderUDP + ikeOctets
}

// reach returns the largest size that a method tries: the link's MTU, or the trusted size until the
// next raise if the responder was found to refuse more.
func (c *Collector) reach(m collectors.Method, st *methodState, route netio.Route, now time.Time) int {
	link := min(route.LinkMTU, maxPacket)
	if !st.refusesLarge || m == collectors.ICMP {
		return link
	}
	if now.Sub(st.raised) >= c.opts.Raise {
		st.refusesLarge, st.raised = false, now
		return link
	}
	return min(link, c.trusted())
}

// trust retracts a verdict that an IKE responder alone cannot prove, on a link that carries more
// than every responder takes: that larger packets vanish on the path. Acked sizes stay proven.
func (c *Collector) trust(m collectors.Method, st *methodState, r *Result, link int) {
	limit := c.trusted()
	if m == collectors.ICMP || link <= limit {
		return
	}
	r.LinkBytes = link
	doubtful := r.State == search.BlackHole || r.State == search.Inconclusive
	if st.refusesLarge {
		// Only the trusted size was tried.
		doubtful = r.State == search.BlackHole || r.State == search.Clean
	}
	if r.Bytes < limit || !doubtful {
		return
	}
	if !st.refusesLarge {
		st.refusesLarge, st.raised = true, r.At
	}
	r.State, r.Reason = search.Inconclusive, fmt.Sprintf("the peer may refuse IKE messages of more than 3000 octets; %d bytes pass", r.Bytes)
}

// A dropCounter counts the answers of a family that this host lost because a socket's buffer was
// full. netio's Stack is one.
type dropCounter interface{ LocalDrops(v6 bool) uint64 }

func (c *Collector) drops() uint64 {
	if d, ok := c.network.(dropCounter); ok {
		return d.LocalDrops(c.target.Get().Path.IPv6())
	}
	return 0
}

// retract retracts a doubtful verdict, because this host lost answers meanwhile.
func (st *methodState) retract(r *Result) {
	if st.doubtful(r) {
		r.State, r.Reason = search.Inconclusive, collectors.ErrLocalDrops.Error()
	}
}

// doubtful reports whether a verdict rests on silence alone: it is retracted if this host lost
// answers meanwhile. A verdict that was known before stays.
func (st *methodState) doubtful(r *Result) bool {
	asKnown := r.State == st.known && r.Bytes == st.bytes
	return !asKnown && r.State != search.Clean && (r.State != search.Reduced || r.PTBReceived == 0)
}

// begin resumes the method's search, or starts a new one from what is known.
func (c *Collector) begin(m collectors.Method, st *methodState, route netio.Route, now time.Time) (*search.Search, *prober) {
	p := c.prober(m, st, now)
	link := c.reach(m, st, route, now)
	if st.search != nil && st.prober.ike.Form == p.ike.Form && st.search.Verdict().Link == link &&
		st.search.Resume(now.Sub(st.prober.began)) {
		return st.search, st.prober
	}
	cfg := search.Config{
		Control: p.control(), Link: link, Minimum: minimumIPv4,
		Known: st.known, KnownBytes: st.bytes, SendsPTBs: st.sendsPTBs, Hints: c.hints(m), RoundTrip: max(st.roundTrip, c.opts.Once.RoundTrip()),
		Packets: c.opts.Packets, Slow: c.opts.Slow, Seed: c.seed(),
	}
	if c.target.Get().Path.IPv6() {
		cfg.Minimum = minimumIPv6
	}
	if m != collectors.ICMP && !c.speaks(m) {
		cfg.Slow = slowWithoutIKE
	}
	cfg.Controls = c.controls(m, st, now)
	if now.Sub(st.raised) >= c.opts.Raise {
		cfg.Raise, st.raised = true, now
	}
	return search.New(cfg), p
}

// seed returns another seed for each search.
func (c *Collector) seed() uint64 { return matched.Mix(c.opts.Seed + c.searches.Add(1) - 1) }

func (c *Collector) prober(m collectors.Method, st *methodState, now time.Time) *prober {
	p := &prober{
		network: c.network, target: c.target.Get(), method: m, account: c.opts.Account, began: now,
		inbox: inbox{wake: make(chan struct{}, 1)},
	}
	if m == collectors.ICMP {
		return p
	}
	dialect := c.opts.Dialects[m]
	if dialect == nil {
		if st.dialect == nil {
			st.dialect = ikeprobe.NewDialect(c.target.Get().IKE.Version, c.target.Get().IKE.Auth)
		}
		dialect = st.dialect
	}
	p.ike = collectors.IKEProbes{Keys: c.opts.Keys, Dialect: dialect, Form: dialect.Form(), Method: m, Target: c.target.Get()}
	return p
}

func (c *Collector) hints(m collectors.Method) []int {
	var sizes []int
	for _, other := range c.opts.Methods {
		if st := c.states[other]; other != m && st != nil && st.bytes > 0 && !slices.Contains(sizes, st.bytes) {
			sizes = append(sizes, st.bytes)
		}
	}
	return sizes
}
