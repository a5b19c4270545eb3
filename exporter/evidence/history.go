package evidence

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How often what is known is looked through, and stored although nothing but times has changed.
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
	// Hops are the routers in their order; the zero Addr is one that did not answer.
	Hops      []netip.Addr  `json:"hops,omitempty"`
	RoundTrip time.Duration `json:"round_trip_nanoseconds,omitempty"`
}

// A Change is a diagnosis that began or ceased to hold.
type Change struct {
	At        time.Time `json:"at"`
	Diagnosis string    `json:"diagnosis"`
	On        bool      `json:"on"`
	Summary   string    `json:"summary,omitempty"`
	Evidence  []string  `json:"evidence,omitempty"`
}

// A History keeps the baselines of peers and the changes of what is said of them. It may be used concurrently, and no call but Close waits
// for a disk: a goroutine writes what has changed, a second later.
type History struct {
	log *slog.Logger

	mu    sync.Mutex
	peers map[string]*past
	// next is the number of the next change, size the memory of everything.
	next uint64
	size int
	// journal is what the file does not have yet; nil without a file.
	journal *journal

	stop chan struct{}
	done sync.WaitGroup
}

// past is what is known of one peer.
type past struct {
	// seen is when it was last configured or written to, current whether it is configured.
	seen     time.Time
	current  bool
	baseline *Baseline
	// stored is when the peer was last handed to the journal.
	stored  time.Time
	changes []numbered
}

// numbered is a Change with its number, which grows with time.
type numbered struct {
	id uint64
	Change
}

// OpenHistory opens the history in a directory, which is made if it is missing; an empty dir keeps it in memory only. A file that is damaged
// is moved aside. It is an error if another process uses the directory, if it cannot be written to, and if a newer version of this
// program has written it.
func OpenHistory(dir string, log *slog.Logger) (*History, error) {
	h := &History{log: log, peers: make(map[string]*past), stop: make(chan struct{})}
	if dir != "" {
		d, err := openDisk(dir, log)
		if err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		h.journal = newJournal(d)
		if err := d.load(h); err != nil {
			_ = d.close() // the first error counts
			return nil, fmt.Errorf("history: %w", err)
		}
	}
	h.done.Go(h.run)
	return h, nil
}

// Close writes what has not been written yet, and frees the directory.
func (h *History) Close() error {
	close(h.stop)
	h.done.Wait()
	if h.journal == nil {
		return nil
	}
	return h.journal.close(h)
}

// Failures is how often the file could not be written.
func (h *History) Failures() uint64 {
	if h.journal == nil {
		return 0
	}
	return h.journal.failures.Load()
}

// run writes and tidies up until the history is closed.
func (h *History) run() {
	tidy := time.NewTicker(housekeeping)
	defer tidy.Stop()
	var wake <-chan struct{}
	if h.journal != nil {
		wake = h.journal.wake
	}
	for {
		select {
		case <-h.stop:
			return
		case <-tidy.C:
			h.tidy(time.Now())
		case <-wake:
			if !h.journal.pause(h.stop) {
				return
			}
			_ = h.journal.flush(h) // it is logged and tried again
		}
	}
}

// peer returns what is known of a peer, who is seen now. Under the lock.
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
		h.storePeer(name, p, now)
	}
	for name, p := range h.peers {
		if p.current && !wanted[name] { // it is seen for the last time
			p.seen, p.current = now, false
			h.storePeer(name, p, now)
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
	p.baseline = &b
	if changed || now.Sub(p.stored) >= refreshTimes {
		h.storePeer(peer, p, now)
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

// Add adds a change.
func (h *History) Add(peer string, c Change) {
	if len(peer) > maxName {
		return
	}
	c = c.clip()
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peer(peer, now)
	// The baseline that the change is compared with is to survive with it.
	h.storePeer(peer, p, now)
	if h.journal != nil {
		h.journal.put(bucketChanges, changeKey(h.next), encodeChange(peer, &c))
	}
	h.insert(p, numbered{h.next, c})
	h.shrink()
}

// insert appends a change that is newer than all others of the peer. Under the lock.
func (h *History) insert(p *past, c numbered) {
	p.changes = append(p.changes, c)
	h.size += c.bytes()
	if len(p.changes) > maxChanges {
		h.forget(p, len(p.changes)-maxChanges)
	}
	h.next = max(h.next, c.id+1)
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
		all = append(all, p.changes[i].clip())
	}
	return all
}

// storePeer hands what is known of a peer to the journal. Under the lock.
func (h *History) storePeer(name string, p *past, now time.Time) {
	p.stored = now
	if h.journal == nil {
		return
	}
	h.journal.put(bucketPeers, []byte(name), encodePeer(p))
}
