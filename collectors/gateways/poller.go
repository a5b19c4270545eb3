package gateways

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"sync"
	"time"
)

// maxPause bounds how long a gateway that cannot be read is left alone, unless its interval is longer.
const maxPause = 5 * time.Minute

// PollerConfig says how one gateway is read.
type PollerConfig struct {
	// Name is the label value.
	Name   string
	Source Source
	// Interval is from the beginning of one reading to that of the next; Timeout is for one reading, and shorter.
	Interval, Timeout time.Duration
	// UnmatchedEach lists SAs that belong to no configured peer by address.
	UnmatchedEach bool
	Log           *slog.Logger
	// Done is called after each attempt to read, from the goroutine of Run; it may be nil.
	Done func()
}

// A Poller reads one gateway again and again and keeps what it found. Its methods may be called from any goroutine; none of
// them but Run and Poll waits for the gateway.
type Poller struct {
	config PollerConfig

	mu          sync.Mutex
	peers       *Attribution
	table       *Table // the last one that was read
	reading     Reading
	accumulator *Accumulator
	tunnels     tunnels
	established map[string]time.Time
	last        attempt
	failures    int // in a row
	changes     uint64

	// told is for what verdicts and scrapes ask of each peer. It is held for moments only, and taken last.
	told      sync.Mutex
	histories map[string]*History
	good      time.Time // when the last reading that could be made ended
	attempted bool
}

// A revision changes whenever a Snapshot may.
type revision struct {
	changes uint64
	fresh   bool
}

func (p *Poller) revision() revision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return revision{p.changes, p.fresh()}
}

// An attempt is one try to read the gateway.
type attempt struct {
	began, ended time.Time
	err          error
}

// NewPoller makes a Poller that knows no peers yet.
func NewPoller(c PollerConfig) *Poller {
	return &Poller{
		config: c, peers: NewAttribution(nil), accumulator: NewAccumulator(), tunnels: tunnels{of: map[string]*tunnel{}},
		histories: map[string]*History{}, established: map[string]time.Time{},
	}
}

// Name is the gateway's name.
func (p *Poller) Name() string { return p.config.Name }

// SetPeers says which peers there are now. It takes effect at once: what was read last is counted again.
func (p *Poller) SetPeers(peers []Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes++
	p.peers = NewAttribution(peers)
	if p.table == nil {
		return
	}
	p.reading = NewReading(p.table, p.peers, p.config.UnmatchedEach)
	p.accumulator.Add(&p.reading, p.last.ended)
	maps.DeleteFunc(p.established, func(name string, _ time.Time) bool { return !p.peers.has(name) })
	p.told.Lock()
	defer p.told.Unlock()
	for name, h := range p.histories {
		if i, ok := p.peers.byName[name]; ok {
			h.Expected, h.OnDemand = peers[i].Expected, peers[i].OnDemand
		} else {
			delete(p.histories, name)
		}
	}
}

// Run reads the gateway on its interval, and hears its events, until the context ends. Then it closes the source.
func (p *Poller) Run(ctx context.Context) {
	var watching sync.WaitGroup
	if w, ok := p.config.Source.(Watcher); ok {
		watching.Go(func() { p.watch(ctx, w) })
	}
	for ctx.Err() == nil {
		began := time.Now()
		p.Poll(ctx)
		pause(ctx, time.Until(began.Add(p.wait())))
	}
	if err := p.config.Source.Close(); err != nil {
		p.config.Log.Debug("closing a gateway's source failed", "gateway", p.config.Name, "error", err)
	}
	watching.Wait()
}

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// wait is from the beginning of the last reading to that of the next: longer, the more often it failed.
func (p *Poller) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.config.Interval
	for range p.failures - 1 {
		if d >= maxPause {
			break
		}
		d = min(2*d, maxPause)
	}
	return d
}

// Poll reads the gateway once.
func (p *Poller) Poll(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	a := attempt{began: time.Now()}
	var table Table
	table, a.err = p.read(limited)
	a.ended = time.Now()
	if ctx.Err() != nil {
		return // Shutting down says nothing about the gateway.
	}
	failed := p.ended(&table, a)
	switch log := p.config.Log.With("gateway", p.config.Name); {
	case a.err != nil && failed:
		log.Debug("gateway still cannot be read", "error", a.err)
	case a.err != nil:
		log.Warn("gateway cannot be read", "error", a.err)
	case failed:
		log.Info("gateway can be read again")
	}
	if p.config.Done != nil {
		p.config.Done()
	}
}

// ended keeps what came of an attempt, and tells whether the one before had failed.
func (p *Poller) ended(table *Table, a attempt) (failed bool) {
	var counted Reading
	var with *Attribution
	if a.err == nil { // a large table takes its time: nobody has to wait for that
		p.mu.Lock()
		with = p.peers
		p.mu.Unlock()
		counted = NewReading(table, with, p.config.UnmatchedEach)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes++
	failed = p.failures > 0
	p.last = a
	defer p.attempt()
	if a.err != nil {
		p.failures++
		return failed
	}
	p.failures = 0
	if with != p.peers { // they changed meanwhile
		counted = NewReading(table, p.peers, p.config.UnmatchedEach)
	}
	p.table, p.reading = table, counted
	p.take(a)
	return failed
}

// attempt notes that a reading has ended. The lock is held.
func (p *Poller) attempt() {
	p.told.Lock()
	defer p.told.Unlock()
	p.attempted = true
}

// read contains a panic: a parser that fails on one device must not end the measurements of all others. The stack is for the log: errors
// are shown to others too.
func (p *Poller) read(ctx context.Context) (t Table, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("reading panicked: %v", v)
			p.config.Log.Error("reading a gateway panicked: please report this", "gateway", p.config.Name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	return p.config.Source.Read(ctx)
}

// take draws from a new reading what is remembered longer. The lock is held.
func (p *Poller) take(a attempt) {
	p.accumulator.Add(&p.reading, a.ended)
	p.tunnels.read(&p.reading, a.began)
	p.told.Lock()
	defer p.told.Unlock()
	if a.ended.Sub(p.good) > p.old() { // what was before is not known to have gone on
		for _, h := range p.histories {
			h.forget()
		}
	}
	p.good = a.ended
	for i := range p.reading.Peers {
		r := &p.reading.Peers[i]
		p.settle(r)
		if r.Of != nil && p.histories[r.Peer] == nil {
			p.histories[r.Peer] = &History{Expected: r.Of.Expected, OnDemand: r.Of.OnDemand}
		}
	}
	for name, h := range p.histories {
		r := p.reading.Find(name)
		if r == nil { // Not expected here, and gone.
			r = &PeerReading{Peer: name}
			r.Up = r.up(p.reading.NoIKE)
		}
		o := observe(r, p.accumulator, a.ended)
		o.NoIKE = p.reading.NoIKE
		if h.Add(&o); !h.Expected && h.quiet() {
			delete(p.histories, name)
		}
	}
}

// old is from when on a reading says nothing about now.
func (p *Poller) old() time.Duration { return 3 * p.config.Interval }

// jitter is by how much the beginning of an SA moves from reading to reading where the device shows an age in seconds.
const jitter = 3 * time.Second

// settle keeps the time since when an SA is established from trembling.
func (p *Poller) settle(r *PeerReading) {
	before := p.established[r.Peer]
	if r.Established.IsZero() || r.Of == nil {
		return
	}
	if d := r.Established.Sub(before); d >= -jitter && d <= jitter {
		r.Established = before
	}
	p.established[r.Peer] = r.Established
}

// watch hears the gateway's events until the context ends.
func (p *Poller) watch(ctx context.Context, w Watcher) {
	for ctx.Err() == nil {
		if err := p.listen(ctx, w); err != nil && ctx.Err() == nil {
			p.config.Log.Debug("gateway's events cannot be heard", "gateway", p.config.Name, "error", err)
		}
		pause(ctx, p.config.Interval)
	}
}

func (p *Poller) listen(ctx context.Context, w Watcher) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("watching panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return w.Watch(ctx, func(e Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changes++
		p.tunnels.hear(&e, p.peers)
	})
}

// Attempted tells whether a reading has ended, well or not.
func (p *Poller) Attempted() bool {
	p.told.Lock()
	defer p.told.Unlock()
	return p.attempted
}

// A Snapshot is what is known about a gateway now.
type Snapshot struct {
	Gateway string
	// Attempted is false until the first reading has ended, well or not.
	Attempted bool
	// Up is whether the last reading was made, and lately. If not, nothing else of the gateway is known.
	Up bool
	// At is when the last attempt ended, Duration how long it took, Err why it failed.
	At       time.Time
	Duration time.Duration
	Err      error
	Info     Info
	Unparsed int
	// Device are the device's own counters by kind.
	Device map[string]uint64
	// Sessions are the device's own counts of active sessions by kind.
	Sessions map[string]int
	Peers    []PeerSnapshot
}

// A PeerSnapshot is what is known about one peer at one gateway.
type PeerSnapshot struct {
	PeerReading
	In, Out Traffic
	// Flaps says that Ups and Downs are counted.
	Flaps      bool
	Ups, Downs uint64
}

// Snapshot returns what is known now. It does not wait for the gateway.
func (p *Poller) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.head()
	if !s.Up {
		return s
	}
	s.Info, s.Unparsed, s.Device, s.Sessions = p.reading.Info, p.reading.Unparsed, p.accumulator.Device(), p.reading.Sessions
	for i := range p.reading.Peers {
		s.Peers = append(s.Peers, p.snapshot(&p.reading.Peers[i]))
	}
	for i := range p.peers.peers { // Counters of those who are gone stay.
		of := &p.peers.peers[i]
		if p.reading.Find(of.Name) != nil {
			continue
		}
		if gone := p.snapshot(&PeerReading{Peer: of.Name, Of: of}); gone.counts() {
			s.Peers = append(s.Peers, gone)
		}
	}
	if gone := p.snapshot(&PeerReading{Peer: Unmatched}); p.reading.Find(Unmatched) == nil && gone.counts() {
		s.Peers = append(s.Peers, gone)
	}
	return s
}

// About returns what is known about one peer now: a Snapshot with that peer alone. It is false where the gateway shows nothing about the peer
// and nothing is expected, or was not read yet. Where it cannot be read, the Snapshot is not Up and has no peer.
func (p *Poller) About(peer string) (Snapshot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.head()
	i, configured := p.peers.byName[peer]
	if !configured || !s.Attempted {
		return s, false
	}
	if !s.Up {
		return s, p.peers.peers[i].Expected
	}
	r := p.reading.Find(peer)
	if r == nil {
		return s, false
	}
	s.Info, s.Peers = p.reading.Info, []PeerSnapshot{p.snapshot(r)}
	return s, true
}

// head is what a Snapshot says whether or not the gateway could be read. The lock is held.
func (p *Poller) head() Snapshot {
	return Snapshot{
		Gateway: p.config.Name, Attempted: !p.last.ended.IsZero(), Up: p.fresh(),
		At: p.last.ended, Duration: p.last.ended.Sub(p.last.began), Err: p.last.err,
	}
}

// snapshot joins the counters to what was read about a peer. The lock is held.
func (p *Poller) snapshot(r *PeerReading) PeerSnapshot {
	s := PeerSnapshot{PeerReading: *r}
	s.In, s.Out = p.accumulator.Traffic(r.Peer)
	if t := p.tunnels.of[r.Peer]; t != nil && r.Of != nil && t.known {
		s.Ups, s.Downs = t.ups, t.downs
		s.Flaps = r.Of.Expected || r.IKESAs+r.ChildSAs > 0 || t.ups+t.downs > 0
	}
	return s
}

// counts tells whether any counter of the peer is known.
func (s *PeerSnapshot) counts() bool {
	return s.In != Traffic{} || s.Out != Traffic{} || s.Flaps
}

// fresh tells whether the last reading was made, and lately. The lock is held.
func (p *Poller) fresh() bool {
	return p.last.err == nil && !p.last.ended.IsZero() && time.Since(p.last.ended) <= p.old()
}

// History returns the last readings about a peer, false if the gateway shows nothing about it and nothing is expected. The observations
// are read-only. While the gateway cannot be read, those of before stand for as long as a reading does; then there are none.
func (p *Poller) History(peer string) (History, bool) {
	p.told.Lock()
	defer p.told.Unlock()
	h := p.histories[peer]
	if h == nil {
		return History{}, false
	}
	if time.Since(p.good) > p.old() {
		return History{Expected: h.Expected, OnDemand: h.OnDemand}, true
	}
	return *h, true
}
