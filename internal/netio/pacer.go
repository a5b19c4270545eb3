//go:build linux

package netio

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxPacket is the largest IPv4 packet (RFC 791, section 3.1). The byte budget must hold one.
const maxPacket = 65535

// burstTime is the time whose budget may leave at once: a burst of a search fits, a flood that
// overruns a router's queue does not.
const burstTime = time.Second / 20

// leastWait is how long a packet over the budget waits at least, so that those after it leave
// together and not one by one.
const leastWait = 5 * time.Millisecond

// A pacer spends the packet budget in the order of requests, up to leastWait: overload delays all
// evenly.
type pacer struct {
	delayed atomic.Int64 // nanoseconds

	mu             sync.Mutex
	packets, bytes bucket
}

// A bucket is one budget (the generic cell rate algorithm, ITU-T I.371): each unit takes cost, and
// may be up to tolerance early. free is when all units so far are paid for.
type bucket struct {
	free            time.Time
	cost, tolerance time.Duration
}

func newPacer(l Limits) *pacer {
	p := &pacer{}
	p.set(l)
	return p
}

// set changes the budget.
func (p *pacer) set(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets.set(l.PacketsPerSecond, 1)
	p.bytes.set(l.BytesPerSecond, maxPacket)
}

// set changes the rate. So many units may leave at once in any case.
func (b *bucket) set(perSecond float64, least int) {
	b.cost = time.Duration(float64(time.Second) / perSecond)
	b.tolerance = max(burstTime, time.Duration(least)*b.cost)
}

// reserve takes n units and returns how long they have to wait.
func (b *bucket) reserve(now time.Time, n int) time.Duration {
	if b.free.Before(now) {
		b.free = now
	}
	b.free = b.free.Add(time.Duration(n) * b.cost)
	return b.free.Sub(now) - b.tolerance
}

// reserve returns how long n packets of size bytes together have to wait until they may leave.
func (p *pacer) reserve(now time.Time, packets, size int) (delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delay = max(p.packets.reserve(now, packets), p.bytes.reserve(now, size))
	if delay <= 0 {
		return 0
	}
	delay = max(delay, leastWait)
	p.delayed.Add(int64(delay))
	return delay
}
