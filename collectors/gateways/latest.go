package gateways

import (
	"maps"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
)

// A Snapshot is what is known about a gateway now.
type Snapshot struct {
	Gateway string
	// Attempted is false until the first reading has ended, successful or not.
	Attempted bool
	// Up reports whether the last reading succeeded and is current; if not, no more is known.
	Up bool
	// At is the end of the last attempt, Duration its length, and Err its error.
	At       time.Time
	Duration time.Duration
	Err      error
	Info     Info
	Unparsed int
	// Device holds the device's own counters by kind.
	Device map[string]uint64
	// Sessions holds the device's own counts of active sessions by kind.
	Sessions map[string]int
	Peers    []PeerSnapshot
}

// A PeerSnapshot is what is known about one peer at one gateway.
type PeerSnapshot struct {
	PeerReading
	In, Out Traffic
	// Lost and Errors are as in ChildSA, of all SAs since the gateway is read.
	Lost   Count
	Errors Errors
	// Flaps reports whether Ups and Downs are counted.
	Flaps      bool
	Ups, Downs uint64
}

func (s *PeerSnapshot) counts() bool {
	return s.In != Traffic{} || s.Out != Traffic{} || s.Lost.Known || s.Errors != Errors{} || s.Flaps
}

// latest is the newest reading of a gateway, and what is counted from reading to reading.
type latest struct {
	gateway string
	each    bool          // PollerConfig.UnmatchedEach
	maxAge  time.Duration // of a reading that still describes the present

	mu          sync.Mutex
	peers       *Attribution
	table       *Table // the last one that was read
	reading     Reading
	accumulator *Accumulator
	tunnels     tunnels
	established map[string]time.Time
	last        attempt
	unparsed    bool // The newest table had lines that were not understood.
	failures    int  // in a row
	changes     uint64

	// histories has a lock of its own, held for moments only and taken after mu, so that diagnoses
	// do not wait while a large table is counted.
	histories histories
}

func newLatest(c *PollerConfig) *latest {
	maxAge := collectors.FreshIntervals * c.Interval
	return &latest{
		gateway: c.Name, each: c.UnmatchedEach, maxAge: maxAge, peers: NewAttribution(nil), accumulator: NewAccumulator(),
		tunnels: tunnels{of: map[string]*tunnel{}}, established: map[string]time.Time{},
		histories: histories{maxAge: maxAge, of: map[string]*History{}},
	}
}

// A revision changes whenever a Snapshot may.
type revision struct {
	changes uint64
	fresh   bool
}

func (l *latest) revision() revision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return revision{l.changes, l.fresh()}
}

func (l *latest) failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

func (l *latest) setPeers(peers []Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.peers = NewAttribution(peers)
	if l.table == nil {
		return
	}
	l.reading = NewReading(l.table, l.peers, l.each)
	l.accumulator.Add(&l.reading, l.last.ended)
	maps.DeleteFunc(l.established, func(name string, _ time.Time) bool { return !l.peers.has(name) })
	l.histories.setPeers(l.peers, &l.reading, l.accumulator)
}

// add keeps the outcome of an attempt. It returns the number of failures in a row before it, and
// whether the table is the first since a good one that was not wholly understood.
func (l *latest) add(table *Table, a attempt) (failures int, unparsed bool) {
	var counted Reading
	var with *Attribution
	if a.err == nil { // without the lock, because counting a large table takes long
		l.mu.Lock()
		with = l.peers
		l.mu.Unlock()
		counted = NewReading(table, with, l.each)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.last = a
	failures, l.failures = l.failures, l.failures+1
	if a.err != nil {
		l.histories.fail()
		return failures, false
	}
	l.failures = 0
	unparsed = table.Unparsed > 0 && !l.unparsed
	l.unparsed = table.Unparsed > 0
	if with != l.peers { // the peers have changed meanwhile
		counted = NewReading(table, l.peers, l.each)
	}
	l.table, l.reading = table, counted
	l.accumulator.Add(&l.reading, a.ended)
	l.tunnels.read(&l.reading, a.began)
	for i := range l.reading.Peers {
		l.settle(&l.reading.Peers[i])
	}
	l.histories.add(&l.reading, l.accumulator, a.ended)
	return failures, unparsed
}

func (l *latest) event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.tunnels.event(&e, l.peers)
}

// jitter bounds how far the start of an SA moves where the device shows an age in seconds.
const jitter = 3 * time.Second

func (l *latest) settle(r *PeerReading) {
	before := l.established[r.Peer]
	if r.Established.IsZero() || r.Of == nil {
		return
	}
	if d := r.Established.Sub(before); d >= -jitter && d <= jitter {
		r.Established = before
	}
	l.established[r.Peer] = r.Established
}

// fresh reports whether the last reading succeeded and is current. The lock is held.
func (l *latest) fresh() bool {
	return l.last.err == nil && !l.last.ended.IsZero() && time.Since(l.last.ended) <= l.maxAge
}

func (l *latest) snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.head()
	if !s.Up {
		return s
	}
	s.Info, s.Unparsed, s.Device, s.Sessions = l.reading.Info, l.reading.Unparsed, l.accumulator.Device(), l.reading.Sessions
	for i := range l.reading.Peers {
		s.Peers = append(s.Peers, l.peer(&l.reading.Peers[i]))
	}
	for i := range l.peers.peers { // the counters of a peer remain when its SAs have gone
		of := &l.peers.peers[i]
		if of.Foreign || l.reading.Find(of.Name) != nil {
			continue
		}
		if l.reading.elsewhere[of.Name] {
			without := *of
			without.Expected = false
			of = &without
		}
		if gone := l.peer(&PeerReading{Peer: of.Name, Of: of}); gone.counts() {
			s.Peers = append(s.Peers, gone)
		}
	}
	if gone := l.peer(&PeerReading{Peer: Unmatched}); l.reading.Find(Unmatched) == nil && gone.counts() {
		s.Peers = append(s.Peers, gone)
	}
	return s
}

func (l *latest) about(peer string) (Snapshot, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.head()
	i, configured := l.peers.byName[peer]
	if !configured || !s.Attempted {
		return s, false
	}
	if !s.Up {
		return s, l.peers.peers[i].Expected
	}
	r := l.reading.Find(peer)
	if r == nil {
		return s, false
	}
	s.Info, s.Peers = l.reading.Info, []PeerSnapshot{l.peer(r)}
	return s, true
}

// head returns the part of a Snapshot that needs no reading. The lock is held.
func (l *latest) head() Snapshot {
	return Snapshot{
		Gateway: l.gateway, Attempted: !l.last.ended.IsZero(), Up: l.fresh(),
		At: l.last.ended, Duration: l.last.ended.Sub(l.last.began), Err: l.last.err,
	}
}

// peer adds the counters to what was read about a peer. The lock is held.
func (l *latest) peer(r *PeerReading) PeerSnapshot {
	s := PeerSnapshot{PeerReading: *r}
	s.In, s.Out = l.accumulator.Traffic(r.Peer)
	s.Lost, s.Errors = l.accumulator.Losses(r.Peer)
	if t := l.tunnels.of[r.Peer]; t != nil && r.Of != nil && t.known {
		s.Ups, s.Downs = t.ups, t.downs
		s.Flaps = r.Of.Expected || r.IKESAs+r.ChildSAs > 0 || t.ups+t.downs > 0
	}
	return s
}
