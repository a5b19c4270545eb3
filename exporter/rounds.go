package exporter

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/schedule"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
)

// rounds runs the collectors of one subject on the schedule and counts how their rounds end.
type rounds struct {
	app  *app
	name string
	// after is called at the end of each round.
	after func(c suite.Collector)
	// demanded means that the protocols are to be measured although they are not configured.
	demanded atomic.Bool

	mu      sync.Mutex
	trouble map[suite.Collector]string // why a collector cannot measure, nil until one cannot
	// troubled means that there is an entry: nearly all rounds find out without the lock that none
	// is.
	troubled atomic.Bool
}

// init sets whose rounds they are, before the first of them.
func (r *rounds) init(a *app, name string, after func(c suite.Collector)) {
	r.app, r.name, r.after = a, name, after
}

// key names an entry of the subject in the schedule.
func (r *rounds) key(collector string) schedule.Key {
	return schedule.Key{Peer: r.name, Collector: collector}
}

// again has collectors measure as soon as each allows it.
func (r *rounds) again(wanted suite.Set) {
	if wanted.Has(suite.Protocols) {
		r.demanded.Store(true)
	}
	for c := range wanted.All() {
		r.app.schedule.Now(r.key(c.String()))
	}
}

// add schedules the configured collectors, and the protocols on demand. life is the context of the
// subject.
func (r *rounds) add(life context.Context, s *subject.Subject) {
	for c := range s.Config.Collectors.All() {
		every := s.Config.Intervals[c]
		if tick := s.Tick(c); tick != nil {
			r.app.schedule.AddEvent(r.key(c.String()), every, tick)
			continue
		}
		measure := func(ctx context.Context) { r.measure(ctx, life, s, c) }
		if look := s.Preview(c); look != nil {
			preview := func(ctx context.Context) (more bool) { return r.preview(ctx, s, c, look) }
			r.app.schedule.AddPreviewed(r.key(c.String()), every, every, preview, once(measure))
			continue
		}
		r.addTask(c, every, measure)
	}
	if all := s.Config.Collectors; all.Has(suite.IKE) && !all.Has(suite.Protocols) {
		r.addTask(suite.Protocols, s.Config.Intervals[suite.Protocols], func(ctx context.Context) {
			if r.demanded.Swap(false) {
				r.measure(ctx, life, s, suite.Protocols)
			}
		})
	}
}

func (r *rounds) addTask(c suite.Collector, every time.Duration, run func(ctx context.Context)) {
	r.app.schedule.AddTask(r.key(c.String()), every, every, once(run))
}

// once makes a task of a round that needs no second measurement at once.
func once(run func(ctx context.Context)) func(ctx context.Context) (again bool) {
	return func(ctx context.Context) (again bool) {
		run(ctx)
		return false
	}
}

// preview takes a short look with a collector before its first round, which says what a failure
// means.
func (r *rounds) preview(ctx context.Context, s *subject.Subject, c suite.Collector, look func(context.Context, collectors.Target) (bool, error)) (more bool) {
	more, err := look(ctx, s.Target())
	if err != nil {
		r.app.log.Debug("preview failed", "peer", r.name, "collector", c.String(), "err", err)
	}
	return more
}

// measure makes one round of a collector that blocks.
func (r *rounds) measure(ctx, life context.Context, s *subject.Subject, c suite.Collector) {
	_, err := s.Measure(ctx, c, s.Target())
	if life.Err() != nil {
		return // the subject was removed meanwhile
	}
	if err != nil {
		r.app.log.Debug("measurement failed", "peer", r.name, "collector", c.String(), "err", err)
	}
	r.ended(c, errorReason(err))
}

// ended counts a round. That a collector cannot measure is logged when it begins and when it ends,
// unless this host is the cause: that is logged once for all peers.
func (r *rounds) ended(c suite.Collector, reason string) {
	r.app.metrics.run[c].Inc()
	if reason != "" {
		r.app.metrics.errors.WithLabelValues(c.String(), reason).Inc()
	}
	if (reason != "" || r.troubled.Load()) && r.turned(c, reason) {
		log := r.app.log.With("peer", r.name, "collector", c.String())
		if reason == "" {
			log.Info("measuring again")
		} else {
			log.Warn("measuring failed", "reason", reason)
		}
	}
	r.after(c)
}

// turned takes note of why a collector cannot measure, if so, and reports whether that is news.
func (r *rounds) turned(c suite.Collector, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ofHost(reason) || r.trouble[c] == reason {
		return false
	}
	if r.trouble == nil {
		r.trouble = make(map[suite.Collector]string)
	}
	if reason == "" {
		delete(r.trouble, c)
	} else {
		r.trouble[c] = reason
	}
	r.troubled.Store(len(r.trouble) > 0)
	return true
}

// ofHost reports whether a round failed because of this host, at whatever peer: its queue was
// full, or it may have lost the answers.
func ofHost(reason string) bool {
	return reason == collectors.ReasonQueueFull || reason == collectors.ReasonLocalDrops
}

// failing reports whether one of these collectors could not measure in its newest round.
func (r *rounds) failing(all suite.Set) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range all.All() {
		if r.trouble[c] != "" {
			return true
		}
	}
	return false
}

// A settlement is what has to be known before a peer without a diagnosis is healthy.
type settlement struct {
	mu      sync.Mutex
	pending suite.Set // the collectors that have not found out yet what they are for
	unread  bool      // a gateway will show more soon
	// open is pending, to be asked without the lock.
	open atomic.Uint32
}

// waitsFor reports whether a collector has not found out yet what it is for.
func (s *settlement) waitsFor(c suite.Collector) bool { return suite.Set(s.open.Load()).Has(c) }

// begin has the tracker wait until the collectors have found something out.
func (s *settlement) begin(all suite.Set, t *diagnosis.Tracker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = all
	s.open.Store(uint32(all))
	t.Await()
}

// note takes what is known now. The tracker waits unless that is everything: a gateway that was not
// readable for a while has to be watched again.
func (s *settlement) note(known func(*settlement), t *diagnosis.Tracker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known(s)
	s.open.Store(uint32(s.pending))
	if s.pending == 0 && !s.unread {
		t.Complete()
	} else {
		t.Await()
	}
}
