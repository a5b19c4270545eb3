package exporter

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/evidence"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/store"
	"ipsec_path_exporter/internal/netio"
)

// A peer is one that runs: its collectors, what they found, and what follows from it.
type peer struct {
	app *app
	cfg config.Peer
	// newest is cfg, with what gateways are to know of the peer now: its gateways, match and on_demand. That may change while it runs.
	newest atomic.Pointer[config.Peer]
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the peer: its collectors wait for the packet budget with it
	series *store.Peer

	// network is how its packets are sent.
	network collectors.Network
	// ring keeps what was sent and what came of it; nil in a check.
	ring *evidence.Ring

	icmp      *icmp.Collector
	ike       *ike.Collector
	pmtu      *pmtu.Collector
	fragments *fragments.Collector
	protocols *protocols.Collector
	tasks     []task

	mu      sync.Mutex
	target  collectors.Target // without an address until the name was resolved
	failure string            // why it is not resolved
	// addresses are all that the name has, sorted.
	addresses []netip.Addr
	verdict   verdict

	diagnoses *diagnosis.Metrics // nil until the peer starts
	// isControl: it is measured to tell about this host's surroundings, and not judged itself.
	isControl bool
}

func newPeer(ctx context.Context, a *app, cfg config.Peer, isControl bool) *peer {
	ctx, cancel := context.WithCancel(ctx)
	p := &peer{app: a, cfg: cfg, ctx: ctx, cancel: cancel, network: a.stack, isControl: isControl}
	p.newest.Store(&cfg)
	switch {
	case a.trace != nil:
		p.network = a.trace.Watch(a.stack)
	case a.evidence != nil && !isControl:
		p.ring = a.evidence.Open()
		p.network = p.ring.Watch(a.stack)
	}
	p.target = collectors.Target{
		Peer: cfg.Name,
		Path: netio.Path{Dst: cfg.Addr, Src: cfg.SourceAddress, Interface: cfg.Interface},
		IKE:  cfg.IKE,
	}
	p.build()
	return p
}

// key names one of the peer's entries in the schedule.
func (p *peer) key(collector string) schedule.Key {
	return schedule.Key{Peer: p.cfg.Name, Collector: collector}
}

// start makes the peer's series and schedules it. A peer given by name is measured once the name is resolved.
func (p *peer) start() {
	p.verdict.begin(len(p.newest.Load().Gateways) > 0)
	p.series = p.app.store.AddPeer(p.cfg.Name, p.cfg.Labels)
	p.expose()
	if p.cfg.Addr.IsValid() {
		p.measure(p.cfg.Addr)
		return
	}
	p.app.schedule.AddTask(p.key(collectorResolve), resolveInterval, resolveTimeout, p.lookup)
	p.app.schedule.Now(p.key(collectorResolve))
}

// stop ends the peer: its series vanish at once, what runs is cancelled and done is closed when it has ended.
func (p *peer) stop() (done <-chan struct{}) {
	p.cancel() // first: a lookup that ends now must not schedule anything after the removal
	done = p.app.schedule.Remove(p.cfg.Name)
	p.app.store.RemovePeer(p.cfg.Name)
	p.ring.Close()
	return done
}

// lookup resolves the peer's name again. A name that cannot be resolved any more keeps its address.
func (p *peer) lookup(ctx context.Context) (again bool) {
	now := p.current().Path.Dst
	all, err := lookupAll(ctx, p.app.resolver, &p.cfg)
	addr := choose(all, now)
	if ctx.Err() != nil && p.ctx.Err() != nil {
		return false
	}
	reason := ""
	if err != nil {
		reason = reasonName
		p.complain(err, now.IsValid())
	} else {
		p.complain(nil, true)
	}
	p.app.count(collectorResolve, reason)
	if err == nil && p.found(all) {
		p.app.moved()
	}
	if err == nil && addr != now {
		p.measure(addr)
		if p.ctx.Err() != nil { // removed meanwhile: what was scheduled since is nobody's
			p.app.schedule.Remove(p.cfg.Name)
		}
		p.app.moved()
	}
	return false
}

// found keeps all addresses of the name, and tells whether others are among them now: an SA may be with another one than the one measured.
func (p *peer) found(all []netip.Addr) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = !slices.Equal(p.addresses, all)
	p.addresses = all
	return changed
}

// whereabouts are the address that is measured, and the others of the name.
func (p *peer) whereabouts() (addr netip.Addr, others []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr = p.target.Path.Dst
	for _, a := range p.addresses {
		if a != addr {
			others = append(others, a.String())
		}
	}
	return addr, others
}

// complain logs that a name cannot be resolved, once until the story changes.
func (p *peer) complain(err error, known bool) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	changed := (p.failure == "") != (text == "")
	p.failure = text
	p.mu.Unlock()
	switch {
	case !changed:
	case err == nil:
		p.app.log.Info("the peer's name is resolved again", "peer", p.cfg.Name)
	case known:
		p.app.log.Warn("the peer's name cannot be resolved, its last address stays in use", "peer", p.cfg.Name, "err", err)
	default:
		p.app.log.Warn("the peer's name cannot be resolved, nothing is measured", "peer", p.cfg.Name, "err", err)
	}
}

// current returns the target as it is now.
func (p *peer) current() collectors.Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// measure points the collectors at an address, and schedules them the first time.
func (p *peer) measure(addr netip.Addr) {
	p.mu.Lock()
	first := !p.target.Path.Dst.IsValid() || p.cfg.Addr.IsValid()
	p.target.Path.Dst = addr
	t := p.target
	p.mu.Unlock()
	p.icmp.SetTarget(t)
	p.ike.SetTarget(t)
	if !first {
		p.verdict.moved()
		p.app.log.Info("the peer has another address now", "peer", p.cfg.Name, "address", addr)
		for _, t := range p.tasks {
			p.app.schedule.Now(p.key(t.collector.String()))
		}
		return
	}
	s := p.app.schedule
	every := p.cfg.Intervals
	if p.cfg.Collectors.Has(config.ICMP) {
		s.AddEvent(p.key(collectorICMP), every.ICMP, p.icmp.Tick)
	}
	if p.cfg.Collectors.Has(config.IKE) {
		s.AddEvent(p.key(collectorIKE), every.IKE, p.ike.Tick)
	}
	for _, t := range p.tasks {
		if p.cfg.Collectors.Has(t.collector) {
			s.AddTask(p.key(t.collector.String()), t.every, t.every, func(ctx context.Context) bool { return p.run(ctx, t) })
		}
	}
}

// run is one round of a collector that blocks.
func (p *peer) run(ctx context.Context, t task) (again bool) {
	err := t.measure(ctx, p.current())
	if p.ctx.Err() != nil {
		return false // the peer was removed meanwhile
	}
	reason := ""
	if err != nil {
		reason = errorReason(err)
		p.app.log.Debug("the peer could not be measured", "peer", p.cfg.Name, "collector", t.collector.String(), "err", err)
	}
	p.measured(t.collector, reason)
	p.judge(time.Now())
	return false
}
