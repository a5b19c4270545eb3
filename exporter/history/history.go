package history

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How often the history is tidied, and states are stored in which only times have changed.
const (
	housekeeping = time.Hour
	refreshSeen  = 24 * time.Hour
	refreshTimes = 10 * time.Minute
)

// A Baseline is what the path to a peer was like when it was last healthy.
type Baseline struct {
	At time.Time `json:"at"`
	// Bytes are the largest packets that passed, by method.
	Bytes map[string]int `json:"bytes,omitempty"`
	// Hops are the routers in order; the zero Addr is a router that did not answer.
	Hops      []netip.Addr  `json:"hops,omitempty"`
	RoundTrip time.Duration `json:"round_trip_nanoseconds,omitempty"`
}

// A Change is a diagnosis that was raised or cleared.
type Change struct {
	At        time.Time `json:"at"`
	Diagnosis string    `json:"diagnosis"`
	On        bool      `json:"on"`
	Summary   string    `json:"summary,omitempty"`
	Evidence  []string  `json:"evidence,omitempty"`
}

// A History keeps the baselines of peers and the changes of their diagnoses. It is safe for
// concurrent use, and only Close waits for a disk.
type History struct {
	writer *writer

	mu    sync.Mutex
	peers map[string]*past
	// last is the number of the newest change, size the memory of everything.
	last uint64
	size int

	stop chan struct{}
	done sync.WaitGroup
}

// past is what is known of one peer. Baselines and changes are never modified, only replaced.
type past struct {
	// seen is when the peer was last configured or written to, current whether it is configured.
	seen     time.Time
	current  bool
	baseline *Baseline
	// stored is when the state was last queued for the storage, unstored if the baseline is newer.
	stored   time.Time
	unstored bool
	changes  []record
}

// Open opens the history in a directory, which is created if it is missing; an empty dir keeps the
// history in memory only. A damaged journal is logged, and its intact records are used. Open
// returns ErrInUse if another process uses the directory, ErrNewer if a newer version of this
// program has written it, and an error if the directory is not writable.
func Open(dir string, log *slog.Logger) (*History, error) {
	if dir == "" {
		h := newHistory(memory{}, log)
		h.done.Go(h.run)
		return h, nil
	}
	j, err := openJournal(dir, log)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	h := newHistory(j, log)
	damaged, err := j.load(h.restore)
	if err != nil {
		_ = j.close() // the first error counts
		return nil, fmt.Errorf("history: %w", err)
	}
	if damaged {
		h.writer.replaceAll()
	}
	h.done.Go(h.run)
	return h, nil
}

// newHistory returns an empty History that does not write yet.
func newHistory(s storage, log *slog.Logger) *History {
	return &History{
		writer: &writer{storage: s, log: log, wake: make(chan struct{}, 1)},
		peers:  make(map[string]*past), stop: make(chan struct{}),
	}
}

// Close writes what has not been written yet, and unlocks the directory.
func (h *History) Close() error {
	close(h.stop)
	h.done.Wait()
	return h.writer.close(h)
}

func (h *History) run() {
	tidy := time.NewTicker(housekeeping)
	defer tidy.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tidy.C:
			h.tidy(time.Now())
		case <-h.writer.wake:
			if !h.writer.pause(h.stop) {
				return
			}
			_ = h.writer.flush(h) // it is logged, and tried again
		}
	}
}

// restore adds a record of the journal to a History that is being opened.
func (h *History) restore(r record) {
	if r.Change != nil {
		p, ok := h.peers[r.Peer]
		if !ok {
			p = h.peer(r.Peer, r.Change.At)
		}
		h.insert(p, r)
	} else {
		p := h.peer(r.Peer, r.State.Seen)
		h.size += r.State.Baseline.bytes() - p.baseline.bytes()
		p.baseline, p.stored = r.State.Baseline, r.State.Seen
	}
	h.shrink()
}

// records returns all records; numbers give the order of changes. Under the lock.
func (h *History) records() []record {
	var all []record
	for name, p := range h.peers {
		all = append(all, record{Peer: name, State: &state{p.seen.Round(0).UTC(), p.baseline}})
		all = append(all, p.changes...)
	}
	return all
}

// peer returns what is known of a peer, which is seen now. Under the lock.
func (h *History) peer(name string, now time.Time) *past {
	p, ok := h.peers[name]
	if !ok {
		p = &past{}
		h.peers[name] = p
		h.size += peerOverhead + len(name)
	}
	p.seen = now
	return p
}

// SetPeers names the peers that are configured now. What is known of others is kept for 30 days.
func (h *History) SetPeers(names []string) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		if wanted[name] || len(name) > maxName {
			continue
		}
		wanted[name] = true
		p := h.peer(name, now)
		p.current = true
		h.store(name, p, now)
	}
	for name, p := range h.peers {
		if p.current && !wanted[name] { // seen for the last time
			p.seen, p.current = now, false
			h.store(name, p, now)
		}
	}
	h.shrink()
}

// SetBaseline replaces the baseline of a peer.
func (h *History) SetBaseline(peer string, b Baseline) {
	if len(peer) > maxName {
		return
	}
	b = b.clip()
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peer(peer, now)
	changed := p.baseline == nil || !maps.Equal(p.baseline.Bytes, b.Bytes) || !slices.Equal(p.baseline.Hops, b.Hops)
	h.size += b.bytes() - p.baseline.bytes()
	p.baseline, p.unstored = &b, true
	if changed || now.Sub(p.stored) >= refreshTimes {
		h.store(peer, p, now)
	}
	h.shrink()
}

// Baseline returns the baseline of a peer, if there is one.
func (h *History) Baseline(peer string) (Baseline, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.peers[peer]
	if !ok || p.baseline == nil {
		return Baseline{}, false
	}
	return p.baseline.clip(), true
}

// Add adds a change of a diagnosis.
func (h *History) Add(peer string, c Change) {
	if len(peer) > maxName {
		return
	}
	c = c.clip()
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peer(peer, now)
	if p.unstored { // the baseline that the change is compared with survives with it
		h.store(peer, p, now)
	}
	r := record{Peer: peer, Change: &c}
	h.writer.put(r)
	h.insert(p, r)
	h.shrink()
}

// insert appends a change, which is newer than all others. Under the lock.
func (h *History) insert(p *past, r record) {
	h.last++
	r.Number = h.last
	p.changes = append(p.changes, r)
	h.size += r.bytes()
	if len(p.changes) > maxChanges {
		h.forget(p, len(p.changes)-maxChanges)
	}
}

// Changes returns the changes of a peer, the oldest first.
func (h *History) Changes(peer string) []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.peers[peer]
	if !ok {
		return nil
	}
	all := make([]Change, 0, len(p.changes))
	for i := range p.changes {
		all = append(all, p.changes[i].Change.clip())
	}
	return all
}

// store queues the state of a peer. Under the lock.
func (h *History) store(name string, p *past, now time.Time) {
	p.stored, p.unstored = now, false
	h.writer.put(record{Peer: name, State: &state{p.seen.Round(0).UTC(), p.baseline}})
}
