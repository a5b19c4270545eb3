//go:build linux

package netio

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// packetBuffer holds the part of an answer that is read: a token, an IKE reply, an ICMP error.
	packetBuffer = 4096
	// controlBuffer holds a timestamp, and on an error queue the error and its offender.
	controlBuffer = 256
	// breather is how long the engine waits between reads while packets come less than that apart:
	// the kernel has stamped what comes meanwhile, and reading it in one go costs half of waking
	// for each.
	breather = 5 * time.Millisecond
	// few is how many packets of a pass are no reason to come back so soon while nobody waits for
	// an answer. Then the engine dozes: sockets wake it no more. Flush reads them on its way, and
	// the engine itself every leisure.
	few, leisure = batchSize / 2, 250 * time.Millisecond
	// maxBatches bounds what is read from one socket in a pass. A socket that has more is read on
	// in the next pass; until then no probe is silent.
	maxBatches = 256
	// maxBacklog is the age of packets in a socket from which on there is no hope to catch up.
	maxBacklog = 2 * time.Second
	// longestRest is how long the engine sleeps at most while probes are remembered.
	longestRest = time.Second
	// standstill is how much too late the engine wakes, or how long it takes for a pass, when the
	// program has stood still: it was stopped, or the host gave it no processor. What takes less is
	// no reason to doubt a silence: answers wait in the sockets, with the time of their arrival.
	standstill = time.Second
	// errorPause keeps a persistent read error from spinning.
	errorPause = 100 * time.Millisecond
	// clockStep is a change of the wall clock against the monotonic one that is no adjustment.
	clockStep = 50 * time.Millisecond
)

// An engine reads all sockets of a Stack, and ends probes whose time is over:
//
//	wait until something has come, or time is over ──▶ read all that has come ──▶ end probes
//	        ▲                                          (by the kernel's time)         │
//	        └────────────────────────────────────────────────────────────────────────┘
//
// It has a goroutine of its own. With few packets, most of the cost is waking that up for each. So
// while nobody waits for an answer it dozes, and the sender of the next echo requests reads the
// answers to the last ones. Turn says whose it is.
//
// A probe is silent only if all sockets were found empty after its deadline, so an answer that
// waits in a socket is never late. After a standstill of the program, nothing is concluded from
// silence during that time (LocalDrops).
type engine struct {
	stack *Stack
	bell  bell // ends a wait
	batch batch
	// stops counts standstills.
	stops atomic.Uint64

	mu        sync.Mutex
	receivers []*receiver

	// turn guards all that follows. The goroutine of the engine holds it, unless it dozes.
	turn   sync.Mutex
	polled []unix.PollFd
	ready  []*receiver
	came   time.Time     // when a pass last found packets
	pause  time.Duration // until the next pass, if packets come less than that apart; else 0
	wall   time.Duration // the wall clock against the monotonic one
	awake  time.Time     // when watch was called last
	// stepped means that the wall clock was set since the last pass: the kernel's times say
	// nothing.
	stepped bool
}

func (e *engine) open(s *Stack) error {
	e.stack, e.wall = s, wallOffset(time.Now())
	return e.bell.open()
}

// ring ends a wait. It may be called from any goroutine.
func (e *engine) ring() { e.bell.ring() }

// listen has the engine read sockets until they are closed.
func (e *engine) listen(to receivers) {
	e.mu.Lock()
	e.receivers = append(e.receivers, to...)
	e.mu.Unlock()
	for _, r := range to {
		if err := e.bell.watch(r.conn); err != nil { // it is read late, with all others
			e.stack.cfg.Log.Warn("socket does not wake its reader", "socket", r.name, "err", err)
		}
	}
	e.ring()
}

// start is the time base that wallOffset compares with.
var start = time.Now()

func wallOffset(now time.Time) time.Duration {
	return time.Duration(now.UnixNano()-start.UnixNano()) - now.Sub(start)
}

// run reads until the Stack is closed.
func (e *engine) run() {
	defer e.bell.close()
	e.turn.Lock() // for good in the end: there is nothing left to read
	for {
		until, doze := e.stack.flights.next(time.Now(), longestRest, e.pause == 0)
		planned := e.rest(until, doze)
		if e.stack.ctx.Err() != nil {
			return
		}
		e.stack.depart(mostDeferred)
		now := time.Now()
		e.watch(now, planned)
		e.pass(now)
		e.watch(time.Now(), now)
	}
}

// rest waits until a socket has something to read, the bell rings, or a time has come. It returns
// when it should have ended at the latest. While it dozes, no socket wakes it.
func (e *engine) rest(until time.Time, doze bool) (planned time.Time) {
	now := time.Now()
	wait := max(until.Sub(now), 0)
	switch {
	case e.pause > 0:
		wait = e.pause
		time.Sleep(wait)
	case doze:
		wait = min(wait, leisure)
		e.bell.set(now.Add(wait))
		e.turn.Unlock()
		e.bell.doze()
		e.turn.Lock()
	case wait > 0:
		e.bell.wait(wait)
	}
	if e.poll() {
		e.bell.quiet()
	}
	return now.Add(wait)
}

// readAlong makes a pass on the goroutine of a caller if the engine dozes, and lets it doze on.
func (e *engine) readAlong() {
	if !e.turn.TryLock() {
		return
	}
	defer e.turn.Unlock()
	now := time.Now()
	if e.pause > 0 || e.stack.ctx.Err() != nil {
		return // it is awake, or about to be
	}
	if e.poll() {
		return // it is about to wake
	}
	e.watch(now, e.bell.due)
	e.pass(now)
	if e.pause > 0 {
		e.ring() // too much has come for a nap
	}
}

// poll finds the sockets that have something to read, and reports whether the bell has rung.
func (e *engine) poll() (rung bool) {
	e.polled, e.ready = e.polled[:0], e.ready[:0]
	e.mu.Lock()
	e.receivers = slices.DeleteFunc(e.receivers, func(r *receiver) bool { return !e.await(r.conn) })
	e.ready = append(e.ready, e.receivers...)
	e.mu.Unlock()
	e.await(e.bell.rope)
	if polling(e.polled) != 0 { // all are tried
		return false
	}
	all := e.ready
	e.ready = e.ready[:0]
	for i, r := range all {
		if events := e.polled[i].Revents; events != 0 {
			r.queued = r.queue && events&unix.POLLERR != 0
			e.ready = append(e.ready, r)
		}
	}
	return e.polled[len(e.polled)-1].Revents != 0
}

// await adds a socket to those that are polled, and reports whether it is open.
func (e *engine) await(c *conn) (open bool) {
	return c.use(func(fd int) error {
		e.polled = append(e.polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		return nil
	}) == nil
}

// watch notices a standstill: the time is later than it should be. It also notices that the wall
// clock was set, or that the host was suspended.
func (e *engine) watch(now, planned time.Time) {
	wall := wallOffset(now)
	e.stepped = max(wall-e.wall, e.wall-wall) > clockStep
	e.wall = wall
	late := now.Sub(planned)
	if !e.awake.IsZero() { // what readAlong has noticed is not another standstill
		late = min(late, now.Sub(e.awake))
	}
	e.awake = now
	if e.stepped || late > standstill {
		e.stops.Add(1)
		e.stack.drops.disturb()
	}
}

// pass reads all that has come, and ends probes whose time was over before.
func (e *engine) pass(now time.Time) {
	all, packets := true, 0
	for _, r := range e.ready {
		n, drained := e.drain(r, now)
		packets, all = packets+n, all && drained
	}
	e.pace(packets, now)
	if all {
		e.stack.flights.expire(now)
	}
}

// pace finds out how long the next pass can wait, from the packets of this one.
func (e *engine) pace(packets int, now time.Time) {
	e.pause = breather
	if packets == 0 || packets == 1 && now.Sub(e.came) >= breather || packets < few && e.stack.flights.hasTime() {
		e.pause = 0
	}
	if packets > 0 {
		e.came = now
	}
}

// drain reads a socket until it is empty, and returns how many packets that were. Of what is not
// ours at first sight, one batch is enough: it may be a flood, and nothing is concluded from what
// its socket loses.
func (e *engine) drain(r *receiver, now time.Time) (packets int, drained bool) {
	for range maxBatches {
		n, err := e.read(r)
		packets += n
		if err != nil && !errors.Is(err, net.ErrClosed) {
			e.stack.cfg.Log.Debug("socket cannot be read", "socket", r.name, "err", err)
			pause(e.stack.ctx, errorPause)
		}
		if err != nil || n < batchSize || r.suspects {
			return packets, true
		}
	}
	if _, oob, _ := e.batch.packet(batchSize - 1); !e.stepped {
		if rx := arrival(oob); !rx.at.IsZero() && now.Round(0).Sub(rx.at) > maxBacklog {
			e.discard(r)
		}
	}
	return packets, false
}

// read reads one batch of packets, and the error queue if there is something in it.
func (e *engine) read(r *receiver) (n int, err error) {
	err = r.conn.use(func(fd int) error {
		for {
			var err error
			if n, err = e.batch.receive(fd); err == nil || !isPending(err) {
				return err
			}
		}
	})
	for i := range n {
		packet, oob, from := e.batch.packet(i)
		rx := arrival(oob)
		if e.stepped {
			rx.at = time.Time{}
		}
		e.stack.dispatch(r, from, packet, rx)
	}
	if r.queued {
		r.queued = false
		err = errors.Join(err, r.conn.use(func(fd int) error {
			e.stack.drainErrors(fd, e.batch.packets[0][:], e.batch.controls[0][:], r.errors)
			return nil
		}))
	}
	return n, err
}

// discard empties a socket of packets that nobody waits for any more, and counts them.
func (e *engine) discard(r *receiver) {
	for range maxBatches {
		n := 0
		_ = r.conn.use(func(fd int) (err error) {
			n, err = e.batch.receive(fd)
			return err
		})
		e.stack.drops.shed(r.lost, n)
		if n < batchSize {
			return
		}
	}
}
