// Package schedule decides when to measure. It knows nothing about what is measured.
//
// There are two kinds of work. An event is short: it runs on the one goroutine of the wheel and returns at once, usually
// after it has handed a packet to somebody. A task blocks: it runs in a bounded pool, never twice at the same time,
// and never beside another task of the same peer, since two of them would disturb each other's measurement.
//
//	               due, in order                    ┌─ peer busy: waits for it ─┐
//	┌────────────┐   event: run here, now           │                           ▼
//	│ heap of    │──────────────────────┐    task ──┴──▶ ready, first come ──▶ worker (at most Workers)
//	│ due times  │──────────────────────┼──────▶              first served       │
//	└────────────┘                      │                                        │
//	      ▲                             ▼                                        ▼
//	      └──── the next phase of its interval, or the time that the event asked for
//
// Every key has a phase of its own, the hash of peer and collector modulo the interval, counted from the Unix epoch. So
// the load is even, and a restart does not move anything. Only the first run comes earlier where the interval is long.
//
// Nothing is ever queued twice: a phase that passed meanwhile is lost. A round that is late by more than a hundredth of its
// interval takes its turn in a queue that moves as fast as the whole schedule does on average, so that no burst
// follows a stall. The next round then comes a whole interval later instead of catching up, and returns to its
// phase once it is in time again, so that overload stretches everything evenly.
package schedule

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"
)

// The defaults of Config.
const (
	DefaultWorkers  = 256
	DefaultMaxFirst = 30 * time.Second
	DefaultSlack    = 5 * time.Millisecond
)

// A Key names one thing to run: one collector for one peer.
type Key struct{ Peer, Collector string }

// Config says how a Scheduler works. The zero value of a field stands for its default.
type Config struct {
	// Log gets the panics of tasks and events. The default discards them.
	Log *slog.Logger
	// Workers is how many tasks may run at the same time.
	Workers int
	// MaxFirst is the longest that anything waits for its first run.
	MaxFirst time.Duration
	// Slack is how late an event may be, so that events close to each other share one wake-up.
	Slack time.Duration
}

// A Scheduler runs events and tasks when they are due. Its methods may be called at any time and from anywhere, also
// before and during Run, and from events and tasks.
type Scheduler struct {
	cfg  Config
	now  func() time.Time
	wake chan struct{}
	pool sync.WaitGroup

	mu      sync.Mutex
	started bool
	peers   map[string]*peer
	due     dueHeap
	ready   []*entry
	workers int
	// rate is how many rounds begin per second when all goes well, turn when the next of the late ones may.
	rate  float64
	turn  time.Time
	lag   lag
	stats Stats
}

// A peer holds what belongs to one peer. A peer that was removed and added again is a new one.
type peer struct {
	entries []*entry
	// busy is set while one of its tasks is ready or running; waiting are those that are due meanwhile.
	busy    bool
	waiting []*entry
	// running counts its tasks and events that run now. When removed and none does, done is closed.
	running int
	removed bool
	done    chan struct{}
}

// reason says why an entry is due.
type reason uint8

const (
	// inTime is a round that is due by its interval. Takes its turn if it comes too late.
	inTime reason = iota
	// inTurn is a late round whose turn has come.
	inTurn
	// ownTime is a time that the event asked for.
	ownTime
	// asked is a call of Now.
	asked
)

// An entry is one key in the schedule: an event if tick is set, a task if run is.
type entry struct {
	key      Key
	peer     *peer
	interval time.Duration
	phase    time.Duration
	tick     func(now time.Time) time.Time
	run      func(ctx context.Context) (again bool)
	timeout  time.Duration

	// due, why and index are its place in the heap; index is -1 outside it.
	due   time.Time
	why   reason
	index int
	// planned is when a round should have begun: due, unless it had to take its turn or to wait for its own peer.
	planned time.Time
	// active is set while it runs, gone once it was removed, rerun if Now was called meanwhile.
	active, gone, rerun bool
	cancel              context.CancelFunc
	// began is when its round began, the last run that was not at a time of its own, and late how late that was.
	began time.Time
	late  time.Duration
	// ended is when it last ended, expected when it should next have done so at the latest.
	ended, expected time.Time
}

// New makes a Scheduler. Nothing runs until Run is called.
func New(cfg Config) *Scheduler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.MaxFirst <= 0 {
		cfg.MaxFirst = DefaultMaxFirst
	}
	if cfg.Slack <= 0 {
		cfg.Slack = DefaultSlack
	}
	return &Scheduler{cfg: cfg, now: time.Now, wake: make(chan struct{}, 1), peers: make(map[string]*peer)}
}

// SetMaxFirst changes Config.MaxFirst for what is added from now on.
func (s *Scheduler) SetMaxFirst(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.MaxFirst = max(d, 0)
}

// AddEvent adds an event, or replaces what had this key. The interval must be positive.
//
// tick runs on the goroutine of the wheel, so that it must not block. It returns when it wants to go on with its round:
// such a time is kept however late it gets. The zero time, or one that is not after now, ends the round.
func (s *Scheduler) AddEvent(key Key, interval time.Duration, tick func(now time.Time) (next time.Time)) {
	s.add(&entry{key: key, interval: interval, tick: tick})
}

// AddTask adds a task, or replaces what had this key. The interval must be positive.
//
// run is called in the pool with a context that ends after timeout, which is cut to nine tenths of the interval. If it
// returns again, it is called once more at once, with a new timeout, for a second opinion; what that one
// returns is ignored. A replaced task is cancelled, and its successor starts after it has ended.
func (s *Scheduler) AddTask(key Key, interval, timeout time.Duration, run func(ctx context.Context) (again bool)) {
	limit := max(interval/10*9, 1)
	if timeout <= 0 || timeout > limit {
		timeout = limit
	}
	s.add(&entry{key: key, interval: interval, timeout: timeout, run: run})
}

func (s *Scheduler) add(e *entry) {
	if e.interval <= 0 {
		panic("schedule: interval of " + e.key.Peer + " " + e.key.Collector + " is not positive")
	}
	e.phase = phase(e.key, e.interval)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[e.key.Peer]
	if p == nil {
		p = &peer{done: make(chan struct{})}
		s.peers[e.key.Peer] = p
	}
	e.peer = p
	if i := p.find(e.key.Collector); i >= 0 {
		e.ended = p.entries[i].ended
		s.forget(p.entries[i])
		p.entries[i] = e
	} else {
		p.entries = append(p.entries, e)
	}
	now := s.now()
	e.expected = now.Add(firstWait(now, e.interval, e.phase, s.cfg.MaxFirst))
	s.rate += 1 / e.interval.Seconds()
	s.arm(e, e.expected, inTime)
	s.wakeFor(e)
}

// Remove forgets everything of a peer and cancels its running tasks. Nothing of it starts any more once Remove has
// returned; done is closed when what was running has ended. Who adds the peer again before that risks that its
// old and new tasks overlap.
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
	p.removed = true
	p.closeIfEnded()
	return p.done
}

// Now makes a key due at once, whatever its interval; a task that is running runs once more afterwards. It reports
// whether there is such a key.
func (s *Scheduler) Now(key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key)
	switch {
	case e == nil:
		return false
	case e.active:
		e.rerun = true
	case e.index >= 0:
		if now := s.now(); e.due.After(now) {
			e.due, e.planned = now, now
		}
		e.why = asked
		heap.Fix(&s.due, e.index)
		s.wakeFor(e)
	}
	return true
}

// find returns the entry of a key, or nil.
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

// forget takes an entry out. A task that waits for a worker is dropped when its turn comes.
func (s *Scheduler) forget(e *entry) {
	e.gone = true
	s.rate -= 1 / e.interval.Seconds()
	if e.index >= 0 {
		heap.Remove(&s.due, e.index)
	}
	if e.cancel != nil {
		e.cancel()
	}
}

// arm puts an entry into the heap.
func (s *Scheduler) arm(e *entry, due time.Time, why reason) {
	e.due, e.planned, e.why = due, due, why
	heap.Push(&s.due, e)
}

// takeTurn puts an entry that is late back into the heap, behind those that were late before it.
func (s *Scheduler) takeTurn(e *entry, now time.Time) {
	if s.turn.Before(now) {
		s.turn = now
	}
	e.due, e.why = s.turn, inTurn
	heap.Push(&s.due, e)
	s.turn = s.turn.Add(time.Duration(float64(time.Second) / s.rate))
	s.stats.Deferred++
}

// wakeFor wakes the wheel if the entry is now what it should wait for.
func (s *Scheduler) wakeFor(e *entry) {
	if e.index != 0 {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (p *peer) find(collector string) int {
	for i, e := range p.entries {
		if e.key.Collector == collector {
			return i
		}
	}
	return -1
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
