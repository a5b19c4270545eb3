//go:build linux

package netio

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// counters is a closed set of named counters.
type counters struct {
	names []string
	n     []atomic.Uint64
}

func newCounters(names []string) *counters {
	return &counters{names: names, n: make([]atomic.Uint64, len(names))}
}

func (c *counters) add(name string) {
	if i := slices.Index(c.names, name); i >= 0 {
		c.n[i].Add(1)
	}
}

func (c *counters) snapshot() map[string]uint64 {
	m := make(map[string]uint64, len(c.names))
	for i, name := range c.names {
		m[name] = c.n[i].Load()
	}
	return m
}

// dropCounts counts, by the names of sockets, the packets that the kernel dropped because a buffer
// was full. The kernel keeps a 32-bit total for each socket, which is read when it is needed
// (SO_MEMINFO, socket(7)).
type dropCounts struct {
	mu      sync.Mutex
	sockets []*dropSocket
	// disturbances counts when any answer may have been lost.
	disturbances uint64
	// known is the last result of answers for IPv4 and IPv6.
	known [2]atomic.Uint64
}

// A dropSocket is one socket. Losses of suspects (filter.go) are most likely not answers.
type dropSocket struct {
	name     string
	v6       bool
	suspects bool
	read     func() (uint32, error)
	last     uint32
	sum      uint64
}

// disturb takes note that answers may have been lost without a trace.
func (d *dropCounts) disturb() {
	d.mu.Lock()
	d.disturbances++
	d.mu.Unlock()
	for _, v6 := range [...]bool{false, true} {
		d.answers(v6)
	}
}

// shed counts packets that were thrown away unread.
func (d *dropCounts) shed(s *dropSocket, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.sum += uint64(n)
}

func (d *dropCounts) register(s *dropSocket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sockets = append(d.sockets, s)
}

// forget drops sockets that are about to be closed, but not their counts.
func (d *dropCounts) forget(closed []*dropSocket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	d.sockets = slices.DeleteFunc(d.sockets, func(s *dropSocket) bool { return slices.Contains(closed, s) })
	for _, s := range closed {
		at := slices.IndexFunc(d.sockets, func(o *dropSocket) bool {
			return o.name == s.name && o.v6 == s.v6 && o.suspects == s.suspects
		})
		if at >= 0 { // one of the first flow stays open
			d.sockets[at].sum += s.sum
		}
	}
}

func (d *dropCounts) refresh() {
	for _, s := range d.sockets {
		if total, err := s.read(); err == nil {
			s.sum += uint64(total - s.last)
			s.last = total
		}
	}
}

// answers returns how many answers of a family were lost, or may have been. The kernel's counter also grows, on each
// raw socket, with every ICMPv6 message of a wrong checksum, which any host can send: losses that
// the suspects' socket shares do not mean a full buffer.
func (d *dropCounts) answers(v6 bool) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	var answers, junk uint64
	for _, s := range d.sockets {
		switch {
		case s.v6 != v6, s.suspects && !v6:
		case s.suspects:
			junk += s.sum
		default:
			answers += s.sum
		}
	}
	n := answers - min(answers, junk) + d.disturbances
	family := d.family(v6)
	family.Store(max(n, family.Load())) // it only grows
	return family.Load()
}

func (d *dropCounts) family(v6 bool) *atomic.Uint64 {
	if v6 {
		return &d.known[1]
	}
	return &d.known[0]
}

func (d *dropCounts) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	m := make(map[string]uint64, len(d.sockets))
	for _, s := range d.sockets {
		m[s.name] += s.sum
	}
	return m
}

// Stats returns the counters as they are now.
func (s *Stack) Stats() Stats {
	return Stats{
		Errors:      s.errors.snapshot(),
		Rejected:    s.rejected.snapshot(),
		Drops:       s.drops.snapshot(),
		Standstills: s.engine.stops.Load(),
		QueueDrops:  s.queues.dropped(),
		Stray:       s.stray.Load(),
		Delayed:     time.Duration(s.pacer.delayed.Load()),
		UnderWay:    s.flights.len(),
	}
}
