package netio

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what the whole process puts on the wire.
type Limits struct {
	PacketsPerSecond float64
	BytesPerSecond   float64
}

// DefaultLimits are far below what any uplink or gateway notices and enough for 10,000 peers echoed every five seconds.
var DefaultLimits = Limits{PacketsPerSecond: 2000, BytesPerSecond: 2e6}

// maxPacket is the largest IPv4 packet (RFC 791, section 3.1); the byte budget must be able to hold one.
const maxPacket = 65535

// A pacer spends the packet budget in the order in which it is asked, so that over budget everything stretches evenly.
type pacer struct {
	packets, bytes *rate.Limiter
	delayed        atomic.Int64 // nanoseconds
}

func newPacer(l Limits) *pacer {
	p := &pacer{packets: rate.NewLimiter(0, 1), bytes: rate.NewLimiter(0, maxPacket)}
	p.set(l)
	return p
}

// set changes the budget. A twentieth of a second's worth may leave at once: a burst of a search fits,
// a flood that overruns a router's queue does not.
func (p *pacer) set(l Limits) {
	p.packets.SetLimit(rate.Limit(l.PacketsPerSecond))
	p.packets.SetBurst(max(1, int(l.PacketsPerSecond/20)))
	p.bytes.SetLimit(rate.Limit(l.BytesPerSecond))
	p.bytes.SetBurst(max(maxPacket, int(l.BytesPerSecond/20)))
}

// wait returns when so many packets of size bytes together may leave.
func (p *pacer) wait(ctx context.Context, packets, size int) error {
	now := time.Now()
	rp, rb := p.packets.ReserveN(now, min(packets, p.packets.Burst())), p.bytes.ReserveN(now, min(size, maxPacket))
	delay := max(rp.DelayFrom(now), rb.DelayFrom(now))
	if delay <= 0 {
		return nil
	}
	p.delayed.Add(int64(delay))
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		rp.Cancel()
		rb.Cancel()
		return fmt.Errorf("waiting for the packet budget: %w", ctx.Err())
	}
}
