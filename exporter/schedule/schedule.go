// Package schedule decides when to measure. It does not know what is measured.
//
// There are two kinds of work. An event is short: it runs on the one goroutine of the wheel and
// returns at once, usually after it has sent a packet. A task blocks: it runs in a bounded pool,
// never twice at the same time, and never beside another task of the same peer, because the two
// would disturb each other's measurement.
//
//	               due, in order                    ┌─ peer busy: waits for it ─┐
//	┌────────────┐   event: run here, now           │                           ▼
//	│ heap of    │──────────────────────┐    task ──┴──▶ ready, first come ──▶ worker (≤ Workers)
//	│ due times  │──────────────────────┼──────▶              first served       │
//	└────────────┘                      │                                        │
//	      ▲                             ▼                                        ▼
//	      └──── the next phase of its interval, or the time that the event asked for
//
// Every key has a phase of its own: the hash of peer and collector modulo the interval, counted
// from the Unix epoch. So the load is even, and a restart moves nothing. Only the first run comes
// earlier where the interval is long.
//
// Nothing is queued twice: a phase that passes meanwhile is skipped. A round that is late by more
// than a hundredth of its interval joins a queue that moves at the average rate of the whole
// schedule, so that no burst follows a stall. The next round then comes a whole interval later, and
// returns to its phase once it is in time again, so overload stretches all evenly.
package schedule

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The defaults of Config.
const (
	DefaultWorkers  = 256
	DefaultMaxFirst = 30 * time.Second
	DefaultSlack    = 20 * time.Millisecond
)

const (
	// PreviewsShare is the part of the time for first rounds, one in so many, in which all
	// previews are due.
	PreviewsShare = 8
	// RoundsShare is the part of it, one in so many, before which no round of a task with a
	// preview is due: previews that wait for the packet budget come first.
	RoundsShare = 3
	// LeastForPreviews is the time for first rounds from which there are previews.
	LeastForPreviews = 10 * time.Second
)

// A Key names one thing to run: one collector for one peer.
type Key struct{ Peer, Collector string }

// Config says how a Scheduler works. A zero field selects its default.
type Config struct {
	// Log gets the panics of tasks and events. The default discards them.
	Log *slog.Logger
	// Workers is how many tasks may run at the same time.
	Workers int
	// MaxFirst is the longest that anything waits for its first run.
	MaxFirst time.Duration
	// AfterEvents, if set, is called after some events have run, on the goroutine of the wheel:
	// what they have put off is due now.
	AfterEvents func()
	// Slack is how late an event may be, so that events close to each other share one wake-up.
	Slack time.Duration
}

// A Scheduler runs events and tasks when they are due. Its methods may be called at any time from
// any goroutine, also before and during Run, and from events and tasks.
type Scheduler struct {
	cfg  Config
	now  func() time.Time
	base time.Time // of instants
	wake chan struct{}
	pool sync.WaitGroup

	mu      sync.Mutex
	started bool
	peers   map[string]*peer
	due     dueHeap
	ready   [ranks][]*entry
	workers int
	// rate is the number of rounds per second without delays, turn the start of the next late one.
	rate  float64
	turn  time.Time
	lag   lag
	stats Stats
}

// A peer holds the entries of one peer. A peer that was removed and added again is a new one.
type peer struct {
	name    string
	entries []*entry
	// busy: one of its tasks is ready or running. waiting: its tasks that are due meanwhile.
	busy    bool
	waiting []*entry
	// running counts its running tasks and events. done is made when it is removed, and closed when
	// none runs.
	running int
	removed bool
	done    chan struct{}
}

// reason says why an entry is due.
type reason uint8

const (
	// inTime is a round that is due by its interval. It queues if it is late.
	inTime reason = iota
	// inTurn is a late round that leaves the queue.
	inTurn
	// ownTime is a time that the event returned.
	ownTime
	// asked is a call of Now.
	asked
)

// A rank is an order among tasks that are ready: every path has its first result before any is
// measured at length.
type rank uint8

const (
	firstLook rank = iota
	anotherLook
	round
	ranks
)

// asRound has an entry run as a round, without another preview. It is in no queue, or stays at its
// place.
func (e *entry) asRound() { e.preview, e.rank = nil, round }

// An instant is a time of this schedule's clock, counted from when it was made. A time.Time takes
// three times the room, and there are five in each of tens of thousands of entries.
type instant time.Duration

func (i instant) add(d time.Duration) instant         { return i + instant(d) }
func (i instant) since(earlier instant) time.Duration { return time.Duration(i - earlier) }

// at returns a time as an instant.
func (s *Scheduler) at(t time.Time) instant { return instant(t.Sub(s.base)) }

// time returns an instant as a time, by the wall clock as it is now: it may have been set since.
func (s *Scheduler) time(i instant) time.Time {
	now := s.now()
	return now.Add(-s.at(now).since(i))
}

// An entry is one key in the schedule: an event if tick is set, a task if run is.
type entry struct {
	peer      *peer
	collector string
	interval  time.Duration
	phase     time.Duration
	tick      func(now time.Time) time.Time
	run       func(ctx context.Context) (again bool)
	timeout   time.Duration
	// preview, if set, runs once, before the first round, which is not due before opening.
	preview func(ctx context.Context) (more bool)
	opening instant
	rank    rank

	// due and why are for its place in the heap, queued means that it is there. version changes
	// each time that it leaves the heap.
	due     instant
	version uint32
	why     reason
	queued  bool
	// active is set while it runs, gone once it was removed, rerun if Now was called meanwhile. ran
	// is set once it has ended.
	active, gone, rerun, ran bool
	// planned is when a round should have begun: due, unless it queued or waited for its peer.
	planned instant
	cancel  context.CancelFunc
	// began is when its last round began, apart from runs at a time of its own; late how late.
	began instant
	late  time.Duration
	// ended is when it last ended, expected when it should next have done so at the latest.
	ended, expected instant
}

// New makes a Scheduler. Nothing runs until Run is called.
func New(cfg Config) *Scheduler {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.Workers = cmp.Or(max(cfg.Workers, 0), DefaultWorkers)
	cfg.MaxFirst = cmp.Or(max(cfg.MaxFirst, 0), DefaultMaxFirst)
	cfg.Slack = cmp.Or(max(cfg.Slack, 0), DefaultSlack)
	return &Scheduler{cfg: cfg, now: time.Now, base: time.Now(), wake: make(chan struct{}, 1), peers: make(map[string]*peer)}
}

// SetMaxFirst changes Config.MaxFirst for keys that are added later.
func (s *Scheduler) SetMaxFirst(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.MaxFirst = max(d, 0)
}

// AddEvent adds an event, or replaces the one with this key. The interval must be positive.
//
// tick runs on the goroutine of the wheel, so it must not block. It returns when its round
// continues; that time is kept even when it is late. A time that is not after now ends the round.
func (s *Scheduler) AddEvent(key Key, interval time.Duration, tick func(now time.Time) (next time.Time)) {
	s.add(key, &entry{interval: interval, tick: tick})
}

// AddTask adds a task, or replaces the one with this key. The interval must be positive.
//
// run is called in the pool with a context that ends after timeout, which is at most nine tenths of
// the interval. If it returns again, it is called once more at once with a new timeout, for a
// second measurement; the result of that one is ignored. A replaced task is cancelled, and its
// successor starts after it has ended.
func (s *Scheduler) AddTask(key Key, interval, timeout time.Duration, run func(ctx context.Context) (again bool)) {
	s.add(key, &entry{interval: interval, timeout: limited(timeout, interval), run: run})
}

// AddPreviewed adds a task as AddTask does, with a preview: a short look that many peers can have
// before any of them has its first round. Of the time for first rounds, which is MaxFirst or the
// interval, previews have the first eighth, and rounds what follows the first third. A preview
// that returns more is called again, after the first previews that are ready and before rounds.
// Where the time is too short for both, or where Now asks for a round first, there is none.
func (s *Scheduler) AddPreviewed(key Key, interval, timeout time.Duration, preview func(ctx context.Context) (more bool), run func(ctx context.Context) (again bool)) {
	s.add(key, &entry{interval: interval, timeout: limited(timeout, interval), run: run, preview: preview})
}

// limited returns the timeout of a task: by default and at most nine tenths of its interval.
func limited(timeout, interval time.Duration) time.Duration {
	limit := max(interval/10*9, 1)
	if timeout <= 0 || timeout > limit {
		return limit
	}
	return timeout
}

func (s *Scheduler) add(key Key, e *entry) {
	if e.interval <= 0 {
		panic("schedule: interval of " + key.Peer + " " + key.Collector + " is not positive")
	}
	e.phase = phase(key, e.interval)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[key.Peer]
	if p == nil {
		p = &peer{name: key.Peer}
		s.peers[key.Peer] = p
	}
	e.peer, e.collector = p, key.Collector
	if i := p.find(key.Collector); i >= 0 {
		e.ended, e.ran = p.entries[i].ended, p.entries[i].ran
		s.forget(p.entries[i])
		p.entries[i] = e
	} else {
		p.entries = append(p.entries, e)
	}
	now := s.now()
	first := firstWait(now, e.interval, e.phase, s.cfg.MaxFirst)
	if all := min(e.interval, s.cfg.MaxFirst); e.preview != nil && all >= LeastForPreviews {
		e.opening = s.at(now.Add(all/RoundsShare + first - first/RoundsShare))
		first /= PreviewsShare
	} else {
		e.asRound()
	}
	e.expected = max(s.at(now.Add(first)), e.opening)
	s.rate += 1 / e.interval.Seconds()
	s.arm(e, s.at(now.Add(first)), inTime)
	s.wakeFor(e)
}

// Remove drops everything of a peer and cancels its running tasks. No run of the peer starts once
// Remove has returned; done is closed when the running ones have ended. If the peer is added again
// before that, its old and new tasks may overlap.
func (s *Scheduler) Remove(name string) (done <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	delete(s.peers, name)
	for _, e := range p.entries {
		s.forget(e)
	}
	p.removed, p.done = true, make(chan struct{})
	p.closeIfEnded()
	return p.done
}

// Now makes a key due at once, regardless of its interval; a running task runs once more
// afterwards. It reports whether the key exists.
func (s *Scheduler) Now(key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key)
	switch {
	case e == nil:
		return false
	case e.active:
		e.rerun = true
	case e.queued:
		s.due.remove(e)
		if now := s.at(s.now()); e.due > now {
			e.due, e.planned = now, now
		}
		e.why = asked
		e.asRound()
		s.due.push(e)
		s.wakeFor(e)
	default: // it waits for a worker, or for its peer
		e.asRound()
	}
	return true
}

func (s *Scheduler) find(key Key) *entry {
	p := s.peers[key.Peer]
	if p == nil {
		return nil
	}
	if i := p.find(key.Collector); i >= 0 {
		return p.entries[i]
	}
	return nil
}

// forget takes an entry out. A task that waits for a worker is dropped when it gets one.
func (s *Scheduler) forget(e *entry) {
	e.gone = true
	s.rate -= 1 / e.interval.Seconds()
	s.due.remove(e)
	if e.cancel != nil {
		e.cancel()
	}
}

func (s *Scheduler) arm(e *entry, due instant, why reason) {
	e.due, e.planned, e.why = due, due, why
	s.due.push(e)
}

// takeTurn queues a late entry: back into the heap, behind earlier late ones.
func (s *Scheduler) takeTurn(e *entry, now time.Time) {
	if s.turn.Before(now) {
		s.turn = now
	}
	e.due, e.why = s.at(s.turn), inTurn
	s.due.push(e)
	s.turn = s.turn.Add(time.Duration(float64(time.Second) / s.rate))
	s.stats.Deferred++
}

// wakeFor wakes the wheel if the entry is now the first.
func (s *Scheduler) wakeFor(e *entry) {
	if s.due.first() != e {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (p *peer) find(collector string) int {
	return slices.IndexFunc(p.entries, func(e *entry) bool { return e.collector == collector })
}

func (p *peer) leave() {
	p.running--
	p.closeIfEnded()
}

func (p *peer) closeIfEnded() {
	if p.removed && p.running == 0 {
		close(p.done)
	}
}
