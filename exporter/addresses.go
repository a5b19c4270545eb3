package exporter

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
)

// collectorAddresses is the trial of the other addresses of a peer's name, which is scheduled like a
// collector.
const collectorAddresses = "addresses"

const (
	// tryEvery is how often addresses are tried that are due.
	tryEvery = time.Minute
	// tryAgain is the time until a silent address is tried again. It doubles up to tryAtLast: an
	// address that bans this host must not be kept banned by its trials of some 25 packets.
	tryAgain  = 5 * time.Minute
	tryAtLast = 15 * time.Minute
	// stayFor is how long a peer keeps an address that it moved to because another one was silent,
	// so that two bad paths do not make it jump between them.
	stayFor = 5 * time.Minute
)

// addresses are the addresses of a peer's name. The measured one stays while the name has it and it
// answers. While it is silent, the others are tried, in their order; the peer moves to the first one
// that answers. A silent address is tried again, ever less often, until it answers.
type addresses struct {
	mu       sync.Mutex
	lookedUp time.Time
	all      []resolve.Address // in the order in which they are tried
	trials   map[netip.Addr]*trial
	moved    time.Time // when a silent address was left
}

// A trial is what the last trial of an address showed.
type trial struct {
	diagnosis.Other
	ended, next time.Time
	wait        time.Duration
}

// set takes all addresses of the name and reports whether they changed: an SA may be with another
// address than the measured one.
func (s *addresses) set(all []resolve.Address, now time.Time) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := func(of []resolve.Address, a netip.Addr) bool {
		return slices.ContainsFunc(of, func(o resolve.Address) bool { return o.Addr == a })
	}
	changed = len(all) != len(s.all)
	for _, a := range all {
		changed = changed || !has(s.all, a.Addr)
	}
	for a := range s.trials {
		if !has(all, a) {
			delete(s.trials, a)
		}
	}
	s.all, s.lookedUp = all, now
	return changed
}

// other returns the addresses except the measured one.
func (s *addresses) other(measured netip.Addr) (out []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if a.Addr != measured {
			out = append(out, a.Addr)
		}
	}
	return out
}

// silentBefore reports whether an address was silent at its last trial.
func (s *addresses) silentBefore(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trials[a]
	return t != nil && t.State == diagnosis.Absent
}

// unroutable reports whether this host had no way to an address at the last look-up.
func (s *addresses) unroutable(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.all, func(o resolve.Address) bool { return o.Addr == a && o.Err != nil })
}

// due returns the addresses to try now. All others are tried while the measured one is doubtful,
// otherwise those that were silent, or of which a diagnosis has to be confirmed.
func (s *addresses) due(measured netip.Addr, doubtful, confirming bool, now time.Time) (out []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if a.Addr == measured || a.Err != nil {
			continue
		}
		t := s.trials[a.Addr]
		switch {
		case t == nil && !doubtful, t != nil && now.Before(t.next):
		case t == nil || doubtful || confirming || t.State == diagnosis.Absent:
			out = append(out, a.Addr)
		}
	}
	return out
}

// note keeps the result of a trial.
func (s *addresses) note(o diagnosis.Other, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := tryAgain
	switch t := s.trials[o.Address]; {
	case o.State == diagnosis.Holds:
		wait = tryEvery
	case t != nil && t.State != diagnosis.Holds:
		wait = min(2*t.wait, tryAtLast)
	}
	if s.trials == nil {
		s.trials = make(map[netip.Addr]*trial)
	}
	s.trials[o.Address] = &trial{Other: o, ended: now, next: now.Add(wait), wait: wait}
}

// better returns the first address that has just answered, while the measured one does not; not valid
// if there is none, or if the peer has moved recently.
func (s *addresses) better(measured netip.Addr, now time.Time) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.moved) < stayFor {
		return netip.Addr{}
	}
	for _, a := range s.all {
		t := s.trials[a.Addr]
		if a.Addr != measured && a.Err == nil && t != nil && t.State == diagnosis.Holds && now.Sub(t.ended) < tryEvery {
			return a.Addr
		}
	}
	return netip.Addr{}
}

// left notes that a silent address is no longer measured.
func (s *addresses) left(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = now
}

// tried returns the other addresses that were tried, and when the name was looked up last. An address
// that this host cannot send to now is unknown.
func (s *addresses) tried(measured netip.Addr) (out []diagnosis.Other, lookedUp time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		t := s.trials[a.Addr]
		if t == nil || a.Addr == measured {
			continue
		}
		o := t.Other
		if a.Err != nil {
			o.State = diagnosis.Undecided
		}
		out = append(out, o)
	}
	return out, s.lookedUp
}

// others returns the other addresses of the peer's name, for a report.
func (p *peer) others() []report.Address {
	measured := p.Target().Path.Dst
	tried, _ := p.names.tried(measured)
	p.names.mu.Lock()
	defer p.names.mu.Unlock()
	return subject.OtherAddresses(p.names.all, tried, measured)
}

// tryOthers tries the other addresses of the name that are due, and moves to one that answers where
// the measured one is silent.
func (p *peer) tryOthers(ctx context.Context) (again bool) {
	measured := p.Target().Path.Dst
	if !measured.IsValid() {
		return false
	}
	doubtful, _ := p.silent()
	for _, a := range p.names.due(measured, doubtful, p.doubts(diagnosis.AddressSilent), time.Now()) {
		o := p.try(ctx, a, p.names.silentBefore(a))
		if ctx.Err() != nil {
			return false
		}
		p.names.note(o, time.Now())
		if doubtful && o.State == diagnosis.Holds {
			break
		}
	}
	p.leave(measured)
	p.judge(time.Now())
	return false
}

// silent reports whether the measured address may be silent, and whether that is certain: nothing
// comes back from it, or this host cannot send to it.
func (p *peer) silent() (doubtful, certain bool) {
	certain = p.holds(diagnosis.PeerSilent) || p.holds(diagnosis.NoRoute) ||
		p.names.unroutable(p.Target().Path.Dst) || p.unsent()
	return certain || p.doubts(diagnosis.PeerSilent) || p.doubts(diagnosis.NoRoute), certain
}

// unsent reports whether nothing is known of the measured address because probes were not sent.
func (p *peer) unsent() bool {
	facts := p.facts(time.Now())
	state, _ := facts.Answers()
	return state == diagnosis.Undecided && p.rounds.failing(p.Config.Collectors&suite.Reach())
}

// facts returns what is known of the path now.
func (p *peer) facts(now time.Time) diagnosis.Facts {
	f := p.Findings(now).Fresh(now, p.Config.Intervals)
	return p.Facts(&f)
}

// holds reports whether a diagnosis holds.
func (p *peer) holds(name string) bool {
	return slices.ContainsFunc(p.Tracker.Held(), func(h diagnosis.Held) bool { return h.Name == name })
}

// turnsSilent reports whether a change is that nothing comes back from the address.
func turnsSilent(c diagnosis.Change) bool {
	return c.On && (c.Name == diagnosis.PeerSilent || c.Name == diagnosis.NoRoute)
}

// doubts reports whether a diagnosis holds or waits for its second verdict.
func (p *peer) doubts(name string) bool {
	return p.holds(name) || slices.Contains(p.Tracker.Pending(), name)
}

// leave moves from an address that is certainly silent to one that has just answered.
func (p *peer) leave(measured netip.Addr) {
	now := time.Now()
	to := p.names.better(measured, now)
	if _, certain := p.silent(); !certain || !to.IsValid() {
		return
	}
	facts := p.facts(now)
	o := diagnosis.Other{Address: measured, Evidence: facts.Reach()}
	o.State, o.At = facts.Answers()
	if o.State == diagnosis.Holds { // it has answered since
		return
	}
	if o.State == diagnosis.Absent {
		p.names.note(o, now)
	}
	p.names.left(now)
	p.app.log.Warn("address does not answer; measuring another one of the name", "peer", p.Config.Name, "silent", measured, "address", to)
	p.move(to)
	p.app.readers.Moved(p.app.sites)
}

// try asks an address of the name whether it answers, beside the measured one. Before it is called
// silent, fresh flows are tried too, unless they were at an earlier trial.
func (p *peer) try(ctx context.Context, addr netip.Addr, compared bool) diagnosis.Other {
	s := subject.New(ctx, p.Config, p.app.deps(p.ring.Watch(p.app.network), nil))
	s.SetAddress(addr)
	var found suite.Findings
	facts, err := p.ask(ctx, s, suite.Reach(), &found)
	state, at := facts.Answers()
	if state == diagnosis.Absent && !compared {
		facts, err = p.ask(ctx, s, suite.NewSet(suite.Flows), &found)
		state, at = facts.Answers()
	}
	o := diagnosis.Other{Address: addr, State: state, At: at, Evidence: facts.Reach()}
	if err != nil {
		o.Reason = err.Error()
		p.app.log.Debug("trying another address failed", "peer", p.Config.Name, "address", addr, "err", err)
	}
	return o
}

// ask adds a round of collectors to what was found at another address, and returns what is known then.
func (p *peer) ask(ctx context.Context, s *subject.Subject, by suite.Set, found *suite.Findings) (diagnosis.Facts, error) {
	var mu sync.Mutex
	var all errgroup.Group
	for c := range (p.Config.Collectors & by).All() {
		all.Go(func() error {
			keep, err := s.Measure(ctx, c, s.Target())
			mu.Lock()
			defer mu.Unlock()
			keep(found)
			return err
		})
	}
	err := all.Wait()
	return s.Facts(found), err
}
