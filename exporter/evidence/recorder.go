package evidence

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// DefaultBytes is the budget of a Recorder that was given none.
	DefaultBytes = 64 << 20
	// leastShare and mostShare bound what one ring gets of it.
	leastShare, mostShare = 4 << 10, 1 << 20
	// overhead is what a ring costs beside its queues: itself and its place in the recorder's table.
	overhead = 256
)

// A Recorder divides the memory for evidence among the rings of all peers. It may be used concurrently.
type Recorder struct {
	total int

	mu    sync.Mutex
	rings map[*Ring]struct{}
	share share
}

// A share is what the queues of one ring may take.
type share struct{ faults, routine int }

// shareOf divides so many bytes: three quarters for what shows a fault.
func shareOf(bytes int) share {
	return share{faults: roundDown(bytes / 4 * 3), routine: roundDown(bytes / 4)}
}

// NewRecorder returns a Recorder with a budget in bytes; 0 means DefaultBytes.
func NewRecorder(bytes int) *Recorder {
	if bytes <= 0 {
		bytes = DefaultBytes
	}
	return &Recorder{total: bytes, rings: make(map[*Ring]struct{})}
}

// Open returns an empty ring, for which the others make room.
func (r *Recorder) Open() *Ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &Ring{recorder: r, snapped: true}
	g.resize(r.share)
	r.rings[g] = struct{}{}
	r.divide()
	return g
}

// divide gives every ring its share. Shares are rounded so coarsely that adding thousands of rings changes them a few dozen times.
func (r *Recorder) divide() {
	s := shareOf(min(max(r.total/max(len(r.rings), 1)-overhead, leastShare), mostShare))
	if s == r.share {
		return
	}
	r.share = s
	for g := range r.rings {
		g.resize(s)
	}
}

// Bytes is the memory that the rings take now, with all that belongs to them.
func (r *Recorder) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for g := range r.rings {
		n += overhead + g.Bytes()
	}
	return n
}

// A Ring keeps the newest exchanges with one peer. It may be used concurrently.
type Ring struct {
	recorder *Recorder // nil for a trace
	snapped  bool

	// next is the number of the next exchange.
	next atomic.Uint64

	mu sync.Mutex
	// faults hold exchanges that can show a fault, routine all others.
	faults, routine queue
}

// NewTrace returns a ring that belongs to no Recorder, keeps packets whole and takes at most so many bytes, for any number of peers.
func NewTrace(bytes int) *Ring {
	g := &Ring{}
	g.resize(shareOf(bytes))
	return g
}

// Close empties the ring, and gives its share to the others. What comes later is not kept.
func (g *Ring) Close() {
	r := g.recorder
	if r == nil {
		g.resize(share{})
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rings, g)
	g.resize(share{})
	r.divide()
}

func (g *Ring) resize(s share) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults.resize(s.faults)
	g.routine.resize(s.routine)
}

// Bytes is the memory that the stored exchanges take now.
func (g *Ring) Bytes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return cap(g.faults.b) + cap(g.routine.b)
}

// Exchanges returns what the ring holds in the order of sending. Probes that nothing is known of yet are not among it.
func (g *Ring) Exchanges() []Exchange {
	g.mu.Lock()
	faults, routine := bytes.Clone(g.faults.b), bytes.Clone(g.routine.b)
	g.mu.Unlock()
	all := append(decode(faults), decode(routine)...)
	for i := range all {
		all[i].order()
	}
	slices.SortStableFunc(all, func(a, b Exchange) int { return cmp.Compare(nanoseconds(a.Sent), nanoseconds(b.Sent)) })
	return all
}

// store appends records of one exchange.
func (g *Ring) store(fault bool, records ...[]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := &g.routine
	if fault {
		q = &g.faults
	}
	for _, r := range records {
		q.push(r)
	}
}
