package netio

import (
	"cmp"
	"container/heap"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// A flight is one probe that was sent and is not forgotten yet.
//
//	sent ──answer──▶ decided ──second reply──▶ duplicate
//	  │                                            │
//	  └─deadline──▶ silent ──answer──▶ late        ▼
//	                   └────────────── forgotten after the grace time
type flight struct {
	set      *sockets // that it was sent on; answers come back to it
	dst      netip.Addr
	port     uint16
	protocol Protocol
	seq      uint16 // of an echo
	token    Token
	offset   int // of the token in a UDP payload
	size     int // of the whole IP packet
	ipID     uint16
	checksum uint16 // of the UDP header, 0 if the kernel made it
	// cacheWasClean: this host had no path MTU for the destination when the probe left.
	cacheWasClean bool
	sent          time.Time
	drops         uint64 // answers that this host had lost by then
	forget        time.Time
	decided       Outcome
	answer        func(Answer)
	// observed: whoever waits for the answer wants to see it as it was on the wire, which takes our own address.
	observed bool
	src      netip.Addr

	at    time.Time // the next thing that time does to it
	index int       // in the heap
	next  *flight   // the next younger one with the same token
}

// echoKey finds the echo that a reply answers. All have the same identifier.
type echoKey struct {
	dst netip.Addr
	seq uint16
}

// quoteKey finds the probe that an ICMPv4 error quotes with only 8 bytes of transport header (RFC 792).
type quoteKey struct {
	dst  netip.Addr
	ipID uint16
}

// tokenKey finds the probe that a reply answers, or an error quotes. The token alone is not enough: whoever makes tokens may use one for
// several destinations.
type tokenKey struct {
	token Token
	dst   netip.Addr
}

func (f *flight) isEcho() bool { return f.protocol == Echo }

func (f *flight) key() tokenKey { return tokenKey{f.token, f.dst} }

// flights are all probes that are under way, found by what an answer tells.
type flights struct {
	mu      sync.Mutex
	echoID  uint16 // of all echoes: the sockets' filters know it
	echoes  map[echoKey]*flight
	tokens  map[tokenKey]*flight // of all but echoes: the oldest; younger ones follow by next
	quotes  map[quoteKey]*flight
	targets map[netip.Addr]int // how many of them go there
	queue   flightQueue
	random  *rand.ChaCha8
	wake    chan struct{}
	// drops tells how many answers this host has lost.
	drops *dropCounts
}

func newFlights(drops *dropCounts) *flights {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand)
	random := rand.NewChaCha8(seed)
	return &flights{
		echoID:  uint16(random.Uint64()) | 1,
		echoes:  make(map[echoKey]*flight),
		tokens:  make(map[tokenKey]*flight),
		quotes:  make(map[quoteKey]*flight),
		targets: make(map[netip.Addr]int),
		random:  random,
		wake:    make(chan struct{}, 1),
		drops:   drops,
	}
}

func (t *flights) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue)
}

// add enters a probe that is about to be sent. An echo gets its sequence number and, if it has none, its
// token here; every probe gets an IP identification that no other probe to the same address has.
func (t *flights) add(f *flight, timeout, grace time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	f.sent, f.at, f.drops = now, now.Add(timeout), t.drops.family(f.dst.Is6()).Load()
	f.forget = f.at.Add(grace)
	f.ipID = t.freeIPID(f.dst)
	t.quotes[quoteKey{f.dst, f.ipID}] = f
	if f.isEcho() {
		if f.token == (Token{}) {
			binary.BigEndian.PutUint64(f.token[:], t.random.Uint64())
		}
		f.seq = t.freeSeq(f.dst)
		t.echoes[echoKey{f.dst, f.seq}] = f
	} else {
		t.link(f)
	}
	t.targets[f.dst]++
	heap.Push(&t.queue, f)
	if f.index == 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// freeSeq picks a random sequence number. Where all are taken one is used twice, and the older echo is lost.
func (t *flights) freeSeq(dst netip.Addr) uint16 {
	for range 64 {
		seq := uint16(t.random.Uint64())
		if _, taken := t.echoes[echoKey{dst, seq}]; !taken {
			return seq
		}
	}
	return uint16(t.random.Uint64())
}

// freeIPID picks a random identification: not 0, which asks the kernel to choose one (raw(7)). Where all are taken,
// one is used twice: the other checks of a quote still hold.
func (t *flights) freeIPID(dst netip.Addr) uint16 {
	for range 64 {
		id := uint16(t.random.Uint64())
		if _, taken := t.quotes[quoteKey{dst, id}]; !taken && id != 0 {
			return id
		}
	}
	return uint16(t.random.Uint64()) | 1
}

func (t *flights) link(f *flight) {
	head, ok := t.tokens[f.key()]
	if !ok {
		t.tokens[f.key()] = f
		return
	}
	for head.next != nil {
		head = head.next
	}
	head.next = f
}

func (t *flights) unlink(f *flight) {
	head := t.tokens[f.key()]
	if head == f {
		if f.next == nil {
			delete(t.tokens, f.key())
		} else {
			t.tokens[f.key()] = f.next
		}
		return
	}
	for ; head != nil; head = head.next {
		if head.next == f {
			head.next = f.next
			return
		}
	}
}

// remove forgets a probe.
func (t *flights) remove(f *flight) {
	if f.isEcho() {
		if k := (echoKey{f.dst, f.seq}); t.echoes[k] == f {
			delete(t.echoes, k)
		}
	} else {
		t.unlink(f)
	}
	if k := (quoteKey{f.dst, f.ipID}); t.quotes[k] == f {
		delete(t.quotes, k)
	}
	if t.targets[f.dst]--; t.targets[f.dst] <= 0 {
		delete(t.targets, f.dst)
	}
	heap.Remove(&t.queue, f.index)
}

// cancel forgets a probe that was not sent after all.
func (t *flights) cancel(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(f)
}

// departed corrects the time of sending: a probe is entered before the kernel takes it, so that no answer finds it missing.
func (t *flights) departed(f *flight, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.decided == 0 {
		f.sent = at
	}
}

// judge says what an answer means for a probe that may have had one already. Under the lock.
func (f *flight) judge(a *Answer) (tell bool) {
	arrived := a.Arrived()
	switch f.decided {
	case 0:
	case Silent:
		a.Late = true
	case Delivered:
		if a.Outcome != Delivered {
			return false
		}
		a.Duplicate = true
		return true
	default:
		if !arrived || f.decided == Refused {
			return false
		}
		a.Late = true
	}
	f.decided = a.Outcome
	return true
}

// settle hands an answer to the probe's owner, unless it says nothing new.
func (t *flights) settle(f *flight, a Answer, rx reception) (told bool) {
	if f.observed {
		a.Wire = rx.wire(f)
	}
	a.FragmentSize = rx.fragment
	t.mu.Lock()
	a.Sent, a.Received = f.sent, received(rx.at)
	a.RoundTrip = max(0, a.Received.Sub(a.Sent))
	tell := f.judge(&a)
	t.mu.Unlock()
	if tell {
		f.answer(a)
	}
	return tell
}

// findEcho returns the echo to an address with this identifier and sequence number.
func (t *flights) findEcho(dst netip.Addr, id, seq uint16) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id != t.echoID {
		return nil
	}
	return t.echoes[echoKey{dst, seq}]
}

// findToken returns the probe to an address that an answer with this token is for, which is no echo: of several the youngest that waits for one, since an
// older one may belong to a measurement that has ended.
func (t *flights) findToken(token Token, dst netip.Addr) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	var waiting, silent, last *flight
	for f := t.tokens[tokenKey{token, dst}]; f != nil; f = f.next {
		if f.decided == 0 {
			waiting = f
		}
		if f.decided == Silent {
			silent = f
		}
		last = f
	}
	return cmp.Or(waiting, silent, last)
}

// findQuote returns the IPv4 probe with this destination and IP identification.
func (t *flights) findQuote(dst netip.Addr, ipID uint16) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.quotes[quoteKey{dst, ipID}]
}

// findLargest returns the undecided UDP probe with DF of the largest size to an address and port, for error queues whose
// quote was too short to hold the token.
func (t *flights) findLargest(dst netip.AddrPort) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *flight
	for _, f := range t.queue {
		if f.protocol == UDP && f.decided == 0 && f.dst == dst.Addr() && f.port == dst.Port() && (best == nil || f.size > best.size) {
			best = f
		}
	}
	return best
}

// probed tells whether any probe to this address is under way.
func (t *flights) probed(dst netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets[dst] > 0
}

// expire ends the probes whose time is over and returns when to look again; ok is false if none is under way.
func (t *flights) expire(now time.Time) (next time.Time, ok bool) {
	var ended []*flight
	t.mu.Lock()
	for len(t.queue) > 0 && !t.queue[0].at.After(now) {
		f := t.queue[0]
		if f.at.Equal(f.forget) {
			t.remove(f)
			continue
		}
		if f.decided == 0 {
			f.decided = Silent
			ended = append(ended, f)
		}
		f.at = f.forget
		heap.Fix(&t.queue, 0)
	}
	if len(t.queue) > 0 {
		next, ok = t.queue[0].at, true
	}
	t.mu.Unlock()
	if len(ended) == 0 {
		return next, ok
	}
	drops4, drops6 := t.drops.answers(false), t.drops.answers(true)
	for _, f := range ended {
		drops := drops4
		if f.dst.Is6() {
			drops = drops6
		}
		f.answer(Answer{Outcome: Silent, Sent: f.sent, LocalDrops: drops != f.drops})
	}
	return next, ok
}

// deadlineGrain is how coarsely deadlines are kept: one wake-up ends all probes that are due within it.
const deadlineGrain = 20 * time.Millisecond

// run ends probes when their time is over, until ctx ends.
func (t *flights) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, ok := t.expire(time.Now())
		wait := time.Hour
		if ok {
			wait = max(time.Until(next), deadlineGrain)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-t.wake:
		case <-ctx.Done():
			return
		}
	}
}

// flightQueue orders flights by the next thing that time does to them (container/heap).
type flightQueue []*flight

func (q flightQueue) Len() int           { return len(q) }
func (q flightQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q flightQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push appends a flight.
func (q *flightQueue) Push(x any) {
	f, ok := x.(*flight)
	if !ok {
		return
	}
	f.index = len(*q)
	*q = append(*q, f)
}

// Pop takes the last flight.
func (q *flightQueue) Pop() any {
	old := *q
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return f
}
