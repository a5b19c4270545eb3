package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/silence"
)

// shareFor is how long a result is shared with further requests for the same target, and the least
// time between measurements of one address: that between rounds of IKE.
const shareFor = silence.RoundGap

// Why a measurement is not made.
var (
	errBusy  = errors.New("too many measurements at the same time")
	errRate  = errors.New("too many measurements a second")
	errTaken = errors.New("the address is being measured for another request")
)

// A gate bounds the measurements.
type gate struct {
	mu    sync.Mutex
	rate  *rate.Limiter
	slots *semaphore.Weighted
	size  int // of slots
	turns map[netip.Addr]*turn
	swept time.Time
}

// A turn is one address: one measurement at a time.
type turn struct {
	busy  *semaphore.Weighted
	users int // requests that have or want it; the gate's lock guards it
	// began and ended are about the last measurement; results are the last ones, by peer and
	// module. The holder of busy has them.
	began, ended time.Time
	results      map[string]*result
}

func newGate() *gate {
	return &gate{rate: &rate.Limiter{}, turns: make(map[netip.Addr]*turn)}
}

// enter returns the turn of an address, to be left again, once no other request has it.
func (g *gate) enter(ctx context.Context, addr netip.Addr) (*turn, error) {
	g.mu.Lock()
	g.sweep()
	t := g.turns[addr]
	if t == nil {
		t = &turn{busy: semaphore.NewWeighted(1), results: make(map[string]*result)}
		g.turns[addr] = t
	}
	t.users++
	g.mu.Unlock()
	if err := t.busy.Acquire(ctx, 1); err != nil {
		g.leave(t, false)
		return nil, fmt.Errorf("%w (%s)", errTaken, addr)
	}
	return t, nil
}

// leave ends the use of a turn; held means that it was entered.
func (g *gate) leave(t *turn, held bool) {
	if held {
		t.busy.Release(1)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.users--
}

// sweep forgets, from time to time, the addresses whose results are too old to be shared. The lock
// is held.
func (g *gate) sweep() {
	now := time.Now()
	if now.Sub(g.swept) < shareFor {
		return
	}
	g.swept = now
	for addr, t := range g.turns {
		if t.users > 0 {
			continue
		}
		maps.DeleteFunc(t.results, func(_ string, r *result) bool { return !r.lasts(now) })
		if len(t.results) == 0 && now.Sub(t.began) >= shareFor {
			delete(g.turns, addr)
		}
	}
}

// slot waits for one of the measurements that may run at the same time, and for the rate. It waits
// no longer than until a time, so that what is left suffices to measure.
func (g *gate) slot(ctx context.Context, l config.Limits, until time.Time) (release func(), err error) {
	g.mu.Lock()
	if g.size != l.Probes { // a measurement under way has a slot of the former number
		g.slots, g.size = semaphore.NewWeighted(int64(l.Probes)), l.Probes
	}
	if g.rate.Burst() != l.ProbesPerSecond {
		g.rate = rate.NewLimiter(rate.Limit(l.ProbesPerSecond), l.ProbesPerSecond)
	}
	slots, pace := g.slots, g.rate
	g.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := pace.Wait(ctx); err != nil {
		return nil, fmt.Errorf("%w (limits.probes_per_second: %d)", errRate, l.ProbesPerSecond)
	}
	if !slots.TryAcquire(1) && slots.Acquire(ctx, 1) != nil {
		return nil, fmt.Errorf("%w (limits.probes: %d)", errBusy, l.Probes)
	}
	return func() { slots.Release(1) }, nil
}

// measure measures a peer, or shares the result of a request before. An address that was found
// silent is not measured again while its packets count, unless it has answered since: a measurement
// would not be allowed to send enough.
func (h *Handler) measure(ctx context.Context, peer config.Peer, module string) (r *result, how string, err error) {
	asked := time.Now()
	if peer.Addr, err = h.Source.Address(ctx, peer); err != nil {
		return nil, "", err
	}
	t, err := h.gate.enter(ctx, peer.Addr)
	if err != nil {
		return nil, "", err
	}
	defer h.gate.leave(t, true)
	key := peer.Name + "\x00" + module
	// Who has waited for a measurement gets its result, however long it took: two Prometheus
	// servers ask at the same time.
	if last := t.results[key]; last != nil && (asked.Before(t.ended) || last.shared(h.Source, peer)) {
		return last, resultShared, nil
	}
	deadline, _ := ctx.Deadline()
	half := time.Now().Add(time.Until(deadline) / 2)
	at := t.began.Add(shareFor)
	if at.After(half) {
		return nil, "", fmt.Errorf("%w: it is measured at most every %v", errTaken, shareFor)
	}
	if err := sleep(ctx, at); err != nil {
		return nil, "", err
	}
	release, err := h.gate.slot(ctx, h.Limits(), half)
	if err != nil {
		return nil, "", err
	}
	defer release()
	t.began = time.Now()
	r, err = h.render(peer, h.Source.Measure(ctx, peer), t.began)
	t.ended = time.Now()
	clear(t.results) // they are older
	if err == nil && !errors.Is(ctx.Err(), context.Canceled) {
		t.results[key] = r
	}
	return r, resultMeasured, err
}

// lasts reports whether the result may still be shared.
func (r *result) lasts(now time.Time) bool {
	age := now.Sub(r.began)
	return age < shareFor || r.silent && age < silence.Window
}

// shared reports whether a further request gets the result.
func (r *result) shared(s Source, peer config.Peer) bool {
	now := time.Now()
	return r.lasts(now) && (now.Sub(r.began) < shareFor || !s.Answered(peer, r.began))
}

// sleep waits until a time.
func sleep(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
