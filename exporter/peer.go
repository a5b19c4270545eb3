package exporter

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/history"
	"ipsec_path_exporter/exporter/lastday"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// A peer is a subject that is measured on the schedule, with its series and its history.
type peer struct {
	*subject.Subject
	app    *app
	rounds rounds
	ctx    context.Context //nolint:containedctx // the life of the peer, as long as its collectors run
	cancel context.CancelFunc
	series *store.Peer
	// ring keeps the probes and their answers.
	ring *trace.Ring
	// day is what the path was like in the last 24 hours.
	day lastday.Day
	// newest is the configuration with what gateways need of it now: its gateways, match and
	// on_demand, which may change while the peer runs.
	newest    atomic.Pointer[config.Peer]
	diagnoses *diagnosis.Metrics
	settle    settlement

	names       addresses // of a peer that is configured by name
	comparisons comparisons

	mu      sync.Mutex
	failure string     // why the name is not resolved
	judged  time.Time  // the last judgement
	echoes  icmp.State // then
	sampled time.Time  // when the sample of echoes began that was judged then
	replies uint64     // the Digest of the results of IKE then
	shown   []string   // the gateways that showed the peer at the last judgement
	climbed time.Time  // when the protocols were last demanded
}

func newPeer(ctx context.Context, a *app, cfg config.Peer) *peer {
	p := &peer{app: a, ring: a.traces.Open()}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.newest.Store(&cfg) // the one copy of it, until another part of it changes
	p.rounds.init(a, cfg.Name, p.measured)
	p.Subject = subject.New(p.ctx, &cfg, a.deps(p.ring.Watch(a.network), p.rounds.ended))
	return p
}

// start makes the peer's series and schedules it. A peer given by name is measured once the name is
// resolved.
func (p *peer) start() {
	p.settle.unread = len(p.newest.Load().Gateways) > 0
	p.settle.begin(p.Config.Collectors, &p.Tracker)
	p.series = p.app.store.AddPeer(p.Config.Name, p.Config.Labels)
	p.expose()
	if p.Config.Addr.IsValid() {
		p.rounds.add(p.ctx, p.Subject)
		return
	}
	key := p.rounds.key(collectorResolve)
	p.app.schedule.AddTask(key, resolve.Interval, resolve.Timeout, p.lookup)
	p.app.schedule.Now(key)
	p.app.schedule.AddTask(p.rounds.key(collectorAddresses), tryEvery, tryEvery, p.tryOthers)
}

// reconfigure takes a configuration with which the peer is measured as before.
func (p *peer) reconfigure(cfg config.Peer) {
	if cfg.Equal(*p.Config) {
		p.newest.Store(p.Config)
		return
	}
	p.newest.Store(&cfg)
}

// stop ends the peer: its series vanish at once, what runs is cancelled, and done is closed when it
// has ended.
func (p *peer) stop() (done <-chan struct{}) {
	p.cancel() // first: a look-up that ends now must not schedule anything after the removal
	done = p.app.schedule.Remove(p.Config.Name)
	p.app.store.RemovePeer(p.Config.Name)
	p.ring.Close()
	return done
}

// lookup resolves the peer's name again. A name that cannot be resolved any more keeps its address.
func (p *peer) lookup(ctx context.Context) (again bool) {
	current := p.Target().Path.Dst
	all, err := resolve.All(ctx, p.app.resolver, p.Route, p.Config)
	addr := resolve.Choose(all, current)
	if ctx.Err() != nil && p.ctx.Err() != nil {
		return false
	}
	p.logResolving(err, current.IsValid())
	if err != nil {
		p.app.count(collectorResolve, reasonName)
		return false
	}
	p.app.count(collectorResolve, "")
	moved := p.names.set(all, time.Now())
	if addr != current {
		p.move(addr)
		if p.ctx.Err() != nil { // removed meanwhile: what was scheduled since belongs to no peer
			p.app.schedule.Remove(p.Config.Name)
		}
		moved = true
	}
	if moved {
		p.app.readers.Moved(p.app.sites)
	}
	return false
}

// logResolving logs that the name cannot be resolved, once until that changes.
func (p *peer) logResolving(err error, known bool) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	changed := (p.failure == "") != (text == "")
	p.failure = text
	p.mu.Unlock()
	switch log := p.app.log.With("peer", p.Config.Name); {
	case !changed:
	case err == nil:
		log.Info("name resolved again")
	case known:
		log.Warn("resolving the name failed; keeping its last address", "err", err)
	default:
		log.Warn("resolving the name failed; nothing is measured", "err", err)
	}
}

// move points the collectors at an address, and schedules them the first time. A diagnosis of the
// former address is cleared when the new one is known to be well.
func (p *peer) move(addr netip.Addr) {
	first := !p.Target().Path.Dst.IsValid()
	p.SetAddress(addr)
	if first {
		p.rounds.add(p.ctx, p.Subject)
		return
	}
	p.settle.begin(p.Config.Collectors, &p.Tracker)
	p.app.log.Info("address changed", "peer", p.Config.Name, "address", addr)
	for c := range p.Config.Collectors.All() {
		if p.Tick(c) == nil {
			p.rounds.again(suite.NewSet(c))
		}
	}
}

// measured follows the end of a round.
func (p *peer) measured(c suite.Collector) {
	now := time.Now()
	if p.settle.waitsFor(c) && p.Conclusive(c, now) {
		p.settle.note(func(s *settlement) { s.pending = s.pending.Without(c) }, &p.Tracker)
	}
	if silence := p.app.tools.Stack.Silence(); silence.News() {
		if dst := p.Target().Path.Dst; silence.Woken(dst) {
			go p.app.wake(dst) // a reload, which ends rounds, may hold the list of peers
		}
	}
	switch c {
	case suite.ICMP: // too many to judge after each
		if waits := p.Tracker.Waits(); !waits && (p.Steady(now) || !p.turned(now)) {
			return
		}
	case suite.IKE:
		p.rounds.again(p.Waiting(now))
		if p.Tracker.Calm() && !p.news(now) {
			return
		}
	default:
	}
	p.judge(now)
}

// turned reports whether the echoes show something else than at the last judgement.
func (p *peer) turned(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	echoes := p.Echoes(now)
	return echoes.State != p.echoes || echoes.Loss.Since != p.sampled
}

// judgeEvery is how long the same results of IKE are not judged again. Gateways and the vantage point
// have the peer judged when they change; what else can change without a new result is that one gets
// too old.
const judgeEvery = ike.DefaultInterval * 9 / 10

// news reports whether the results of IKE or the echoes show something else than at the last judgement,
// or whether that was a while ago.
func (p *peer) news(now time.Time) bool {
	if p.turned(now) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.judged) >= judgeEvery || p.replies != p.Replies(now)
}

// judge draws the diagnoses from what is known now. A verdict that differs from what holds is
// confirmed or refuted at once: the collectors that it rests on measure as soon as each allows it.
func (p *peer) judge(now time.Time) {
	findings := p.Findings(now)
	fresh := findings.Fresh(now, p.Config.Intervals)
	unread := p.unread() // before the tables are looked at: a reading may end in between
	facts := p.Facts(&fresh)
	facts.Vantage = p.app.vantage.Of(p.Config.Name)
	facts.Others, facts.LookedUp = p.names.tried(facts.Address)
	unread = unread || slices.ContainsFunc(facts.Gateways, func(g diagnosis.Gateway) bool { return g.Young() })
	p.settle.note(func(s *settlement) { s.unread = unread }, &p.Tracker)
	p.mu.Lock()
	echoes := p.Echoes(now)
	p.judged, p.replies = now, p.Replies(now)
	p.echoes, p.sampled, p.shown = echoes.State, echoes.Loss.Since, p.shown[:0]
	for i := range facts.Gateways {
		p.shown = append(p.shown, facts.Gateways[i].Name)
	}
	p.mu.Unlock()
	changed, again := p.Tracker.Judge(now, facts)
	p.remember(findings, changed)
	if len(changed) > 0 {
		p.sample(now)
	}
	p.diagnoses.Turned(changed)
	for _, c := range changed {
		log := p.app.log.With("peer", p.Config.Name, "diagnosis", c.Name, "severity", string(c.Severity), "summary", c.Summary)
		if c.Gateway != "" {
			log = log.With("gateway", c.Gateway)
		}
		if c.On {
			log.Info("diagnosis raised")
			if c.Name == diagnosis.FlowStuck {
				p.TakeFreshFlow() // or our own probes would keep the stuck state alive
			}
		} else {
			log.Info("diagnosis cleared")
		}
	}
	if again && (p.doubts(diagnosis.PeerSilent) || p.doubts(diagnosis.NoRoute)) || slices.ContainsFunc(changed, turnsSilent) {
		p.app.schedule.Now(p.rounds.key(collectorAddresses)) // of a peer without a name there is none
	}
	var confirming suite.Set
	if again {
		confirming = diagnosis.Confirming(p.Tracker.Pending())
	}
	if p.comparisons.demand(now, &facts) {
		confirming = confirming.With(suite.Flows)
	}
	p.rounds.again(p.withProtocols(confirming, &facts, findings.Protocols, now))
}

// withProtocols adds the collector of the protocols where only it can explain what is known, and
// leaves it out where it is neither needed nor configured: peers may log its packets.
func (p *peer) withProtocols(wanted suite.Set, facts *diagnosis.Facts, newest *protocols.Results, now time.Time) suite.Set {
	var held []string
	for _, h := range p.Tracker.Held() {
		held = append(held, h.Name)
	}
	needed := facts.Doubtful() && !facts.MayBeDead() || diagnosis.Confirming(held).Has(suite.Protocols)
	fresh := newest != nil && collectors.Fresh(newest.At, now, p.Config.Intervals[suite.Protocols])
	switch {
	case needed && !fresh:
		wanted = wanted.Without(suite.Protocols)
		if p.mayClimb(newest, now) {
			wanted = wanted.With(suite.Protocols)
		}
	case !needed && !p.Config.Collectors.Has(suite.Protocols):
		return wanted.Without(suite.Protocols)
	}
	return wanted
}

// mayClimb reports whether a ladder of the protocols may be demanded now: not while the peer may
// just have gone silent altogether, because the ladder would take the packets that show it, nor
// soon after one that found nothing out.
func (p *peer) mayClimb(newest *protocols.Results, now time.Time) bool {
	if !p.app.tools.Stack.Silence().Spoke(netio.Lane(p.Target().Path, netio.Echo, 0), now) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := newest == nil || newest.At.Before(p.climbed)
	if failed && now.Sub(p.climbed) < min(climbGap, p.Config.Intervals[suite.Protocols]) {
		return false
	}
	p.climbed = now
	return true
}

// climbGap is the least time between ladders that are demanded while they fail: until then the
// packets of the last one count against the address.
const climbGap = silence.Window

// remember keeps what changed, and what the path is like while it is healthy.
func (p *peer) remember(f *suite.Findings, changed []diagnosis.Change) {
	for _, c := range changed {
		p.app.history.Add(p.Config.Name, history.Change{At: c.At, Diagnosis: c.Name, On: c.On, Summary: c.Summary, Evidence: c.Evidence})
	}
	// While a first verdict waits to be confirmed, the latest findings may already show a fault.
	if healthy, known := p.Tracker.Healthy(); healthy && known && f.PMTU != nil && f.PMTU.Known && len(p.Tracker.Pending()) == 0 {
		p.app.history.SetBaseline(p.Config.Name, baseline(f))
	}
}

// site is the peer as a gateway has to know it.
func (p *peer) site(gateway string) gateways.Peer {
	cfg, addr := p.newest.Load(), p.Target().Path.Dst
	match := cfg.Match
	for _, a := range p.names.other(addr) {
		match.Addresses = append(slices.Clip(match.Addresses), a.String())
	}
	return gateways.Peer{
		Name: cfg.Name, Group: cfg.Group, Labels: cfg.Labels, Address: addr, Match: match, Expected: p.expectedAt(gateway), OnDemand: cfg.OnDemand,
	}
}

// expectedAt reports whether an SA of the peer is expected at a gateway.
func (p *peer) expectedAt(gateway string) bool {
	return slices.Contains(p.newest.Load().Gateways, gateway)
}

// shownBy reports whether a gateway shows the peer, or did at the last judgement.
func (p *peer) shownBy(gateway string) bool {
	p.mu.Lock()
	before := slices.Contains(p.shown, gateway)
	p.mu.Unlock()
	return before || slices.ContainsFunc(p.app.readers.Pollers(), func(g *gateways.Poller) bool {
		if g.Name() != gateway {
			return false
		}
		_, ok := g.History(p.Config.Name)
		return ok
	})
}

// unread reports whether it is open what a gateway shows at which the peer is expected. It may not
// even be started: peers are started before gateways.
func (p *peer) unread() bool {
	read := make(map[string]bool)
	for _, g := range p.app.readers.Pollers() {
		read[g.Name()] = g.Settled()
	}
	return slices.ContainsFunc(p.newest.Load().Gateways, func(name string) bool { return !read[name] })
}
