package crowd

import (
	"context"
	"sync"
	"time"
)

const (
	// tick is the resolution of delays.
	tick = time.Millisecond
	// wheelSlots is the number of ticks in one turn; a longer delay is shortened to it.
	wheelSlots = 8192
)

// A held packet waits in the wheel for its time.
type held struct {
	packet []byte
	read   time.Time // when the packet was read that it answers
}

// A wheel sends packets after a delay, all packets of one tick at once.
type wheel struct {
	wake chan struct{} // receives a signal when the wheel is no longer empty

	mu      sync.Mutex
	start   time.Time
	slots   [wheelSlots][]held
	done    int64 // the last tick whose packets were sent
	waiting int
	free    [][]byte
}

func newWheel() *wheel { return &wheel{start: time.Now(), wake: make(chan struct{}, 1)} }

// hold keeps a copy of a packet until its time has come.
func (w *wheel) hold(packet []byte, read time.Time, delay time.Duration) {
	at := int64((read.Sub(w.start) + delay) / tick)
	w.mu.Lock()
	var b []byte
	if n := len(w.free); n > 0 {
		b, w.free = w.free[n-1], w.free[:n-1]
	}
	at = min(max(at, w.done+1), w.done+wheelSlots-1)
	slot := &w.slots[at%wheelSlots]
	*slot = append(*slot, held{append(b[:0], packet...), read})
	w.waiting++
	first := w.waiting == 1
	w.mu.Unlock()
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// run calls send for each packet when its time has come, until ctx ends.
func (w *wheel) run(ctx context.Context, send func(held)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var batch []held
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		}
		now := time.Now()
		var left int
		batch, left = w.due(batch[:0], int64(now.Sub(w.start)/tick))
		for _, h := range batch {
			send(h)
		}
		w.release(batch)
		if left > 0 {
			timer.Reset(tick - time.Since(w.start)%tick)
		}
	}
}

// due moves the packets of all ticks up to now to batch and returns how many are left.
func (w *wheel) due(batch []held, now int64) ([]held, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == 0 {
		w.done = max(w.done, now)
		return batch, 0
	}
	for ; w.done < now; w.done++ {
		slot := &w.slots[(w.done+1)%wheelSlots]
		batch = append(batch, *slot...)
		w.waiting -= len(*slot)
		*slot = (*slot)[:0]
	}
	return batch, w.waiting
}

// release gives the buffers of a batch back.
func (w *wheel) release(batch []held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range batch {
		w.free = append(w.free, h.packet)
	}
}
