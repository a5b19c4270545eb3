//go:build linux

package netio

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/internal/silence"
)

// A flight is one probe that was sent and is not forgotten yet.
//
//	sent ──answer──▶ decided ──second reply──▶ duplicate
//	  │                                            │
//	  └─deadline──▶ silent ──answer──▶ late        ▼
//	                   └────────────── forgotten after the grace time
//
// The time of an answer is when the kernel received it. That it is read later makes no difference:
// the engine reads all that has come before it looks for deadlines.
type flight struct {
	set  *sockets // that it was sent on; answers come back to it
	flow *flow
	way  followed
	dst  netip.Addr
	port uint16
	// sourcePort is the fixed source port, 0 for that of the flow.
	sourcePort uint16
	protocol   Protocol
	seq        uint16 // of an echo
	token      Token
	offset     int // of the token in a UDP payload
	size       int // of the whole IP packet
	ipID       uint16
	checksum   uint16 // of the UDP header, 0 if the kernel made it
	// cacheWasClean: this host had no path MTU for the destination when the probe left.
	cacheWasClean bool
	entered, sent time.Time
	deadline      time.Time
	drops         uint64 // answers that this host had lost by then
	forget        time.Time
	decided       Outcome
	answer        func(Answer)
	// charge is its entry in the record of silence, queue counts it where it leaves.
	charge silence.Charge
	queue  *queueCount
	// hint is Packet.Hint, hints is how often it was called.
	hint  func(Hint)
	hints int
	// recorder keeps the echo as evidence, which is entry there.
	recorder     Recorder
	entry        Entry
	purpose      string
	dontFragment bool
	// observed: the answer is wanted as it was on the wire, which takes our own address.
	observed bool
	// patient: nobody waits for the answer (Packet.Deferred).
	patient bool
	src     netip.Addr

	at            time.Time // the next thing that time does to it
	slot          int64     // of the wheel, where it is in a list
	before, after *flight
	next          *flight // the next younger one with the same token

	// sending: its sender still uses it. gone: it was forgotten meanwhile.
	sending, gone bool
}

// A target is a destination with probes under way, apart from echoes without a hint, the oldest
// first.
type target struct {
	dst netip.Addr
	all []*flight
}

// quoteKey finds the probe that an ICMPv4 error quotes with 8 bytes of transport header.
type quoteKey struct {
	dst  netip.Addr
	ipID uint16
}

// tokenKey finds the probe that a reply answers, or an error quotes. The token alone is not enough:
// its maker may use one for several destinations.
type tokenKey struct {
	token Token
	dst   netip.Addr
}

// arrived reports whether the probe is known to have reached the peer.
func (f *flight) arrived() bool { return f.decided == Delivered || f.decided == Refused }

func (f *flight) isEcho() bool { return f.protocol == Echo }

func (f *flight) key() tokenKey { return tokenKey{f.token, f.dst} }

// flights are all probes under way, found by the contents of an answer.
type flights struct {
	mu     sync.Mutex
	echoes map[uint16]*echoTable // by the identifiers of the flows
	recent struct {              // the table that was used last
		id    uint16
		table *echoTable
	}
	tokens  map[tokenKey]*flight // of all but echoes: the oldest; younger ones follow by next
	quotes  map[quoteKey]*flight // of all but echoes
	targets map[netip.Addr]*target
	wheel   wheel
	n       int
	awaited int // those whose answers somebody waits for
	random  *rand.ChaCha8
	// until is when expire is called again at the latest, unless wake is called.
	until time.Time
	wake  func()
	// dozing: who reads answers is in no hurry, unless wake is called.
	dozing bool
	// drops returns how many answers this host has lost.
	drops *dropCounts
	// record takes what an answer shows of the silence of its destination.
	record *silence.Record
	unused sync.Pool // of flights
	ended  []*flight // room for expire
	// recording is for expire and settle.
	recording recordRoom
}

func newFlights(drops *dropCounts, record *silence.Record, wake func()) *flights {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand)
	return &flights{
		echoes:  make(map[uint16]*echoTable),
		tokens:  make(map[tokenKey]*flight),
		quotes:  make(map[quoteKey]*flight),
		targets: make(map[netip.Addr]*target),
		wheel:   wheel{origin: time.Now()},
		random:  rand.NewChaCha8(seed),
		wake:    wake,
		drops:   drops,
		record:  record,
		unused:  sync.Pool{New: func() any { return &flight{} }},
	}
}

// make returns an empty flight.
func (t *flights) make() *flight {
	f, ok := t.unused.Get().(*flight)
	if !ok {
		f = &flight{}
	}
	*f = flight{}
	return f
}

// newEchoID draws the identifier of the echoes of a flow.
func (t *flights) newEchoID() uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint16(t.random.Uint64()) | 1
}

// echoesOf returns the table of a flow, nil if there is no echo of this identifier. The caller
// holds the lock.
func (t *flights) echoesOf(id uint16) *echoTable {
	if last := t.recent; last.table != nil && last.id == id {
		return last.table
	}
	table := t.echoes[id]
	if table != nil {
		t.recent.id, t.recent.table = id, table
	}
	return table
}

// dropEchoes forgets the table of a flow that is closed.
func (t *flights) dropEchoes(id uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.echoes, id)
	t.recent.table = nil
}

func (t *flights) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// add enters a probe that is about to be sent. An echo gets its sequence number and, if it has
// none, its token; every probe gets an IP identification, which is unique for the address of all
// but echoes. departed or cancel must follow.
func (t *flights) add(f *flight, now time.Time, timeout, grace time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.entered, f.sent, f.deadline, f.drops = now, now, now.Add(timeout), t.drops.family(f.dst.Is6()).Load()
	f.at, f.forget = f.deadline, f.deadline.Add(grace)
	f.sending = true
	if f.isEcho() {
		if f.token == (Token{}) {
			binary.BigEndian.PutUint64(f.token[:], t.random.Uint64())
		}
		f.ipID = uint16(t.random.Uint64()) | 1
		id := f.flow.echoID
		if t.echoes[id] == nil {
			t.echoes[id] = newEchoTable(t.random)
		}
		t.echoesOf(id).add(f)
	} else {
		f.ipID = t.freeIPID(f.dst)
		t.quotes[quoteKey{f.dst, f.ipID}] = f
		t.link(f)
	}
	t.aim(f)
	t.n++
	t.wheel.put(f)
	if !f.patient {
		t.awaited++
	}
	if f.deadline.Before(t.until) || t.dozing && !f.patient {
		t.dozing = false
		t.until = f.deadline
		t.wake()
	}
}

// aimed reports whether a flight is listed at its destination: PTBs without its identifiers may be
// about it.
func (f *flight) aimed() bool { return !f.isEcho() || f.hint != nil }

// aim lists a flight at its destination.
func (t *flights) aim(f *flight) {
	if !f.aimed() {
		return
	}
	to := t.targets[f.dst]
	if to == nil {
		to = &target{dst: f.dst}
		t.targets[f.dst] = to
	}
	to.all = append(to.all, f)
}

// freeIPID picks a random identification; 0 would ask the kernel to choose one (raw(7)). Where all
// are taken, one is used twice: the other checks of a quote still hold.
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

// remove forgets a flight, which is not in the wheel any more.
func (t *flights) remove(f *flight) {
	if f.isEcho() {
		if table := t.echoesOf(f.flow.echoID); table != nil {
			table.remove(f)
		}
	} else {
		t.unlink(f)
		if k := (quoteKey{f.dst, f.ipID}); t.quotes[k] == f {
			delete(t.quotes, k)
		}
	}
	if to := t.targets[f.dst]; to != nil && f.aimed() {
		to.all = slices.DeleteFunc(to.all, func(other *flight) bool { return other == f })
		if len(to.all) == 0 {
			delete(t.targets, to.dst)
		}
	}
	t.n--
	if f.gone = true; !f.sending {
		t.unused.Put(f)
	}
}

// cancel forgets a probe that was not sent after all, and returns how it was decided before: time
// may be over, or the kernel may also have sent an ICMP error. The engine may have found the flight
// just before, so it is not used again, and accepts no answer any more.
func (t *flights) cancel(f *flight) (before Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.decided == 0 {
		t.over(f)
	}
	if !f.gone {
		t.wheel.take(f)
		t.remove(f)
	}
	before, f.decided = f.decided, Refused
	return before
}

// departed corrects the time of sending: a probe is entered before the kernel takes it, so that no
// answer finds it missing. The sender does not use the flight any more.
func (t *flights) departed(f *flight, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.decided == 0 {
		f.sent = at
	}
	if f.sending = false; f.gone {
		t.unused.Put(f)
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

// duplicates is how long an answered echo is remembered, to know a second reply. Other probes are
// remembered for the grace time: what came may be the probe itself, sent back by a device on the
// path, and the reply comes after it.
const duplicates = time.Second

// settle hands an answer to the probe's owner, unless it says nothing new.
func (t *flights) settle(f *flight, a Answer, rx reception) (answered bool) {
	if f.observed {
		a.Wire = rx.wire(f)
	}
	a.FragmentSize = rx.fragment
	t.mu.Lock()
	a.Sent, a.Received = f.sent, received(rx.at)
	a.RoundTrip = max(0, a.Received.Sub(a.Sent))
	undecided := f.decided == 0
	late := undecided && a.Received.After(f.deadline)
	if late {
		f.decided = Silent
	}
	tell := f.judge(&a)
	if undecided {
		t.decided(f, &a)
	}
	t.mu.Unlock()
	if late {
		t.tell(f, t.silent(f))
	}
	if tell {
		t.tell(f, a)
	}
	return tell
}

// over takes note that an answer is not awaited any more. The caller holds the lock.
func (t *flights) over(f *flight) {
	if !f.patient {
		t.awaited--
	}
}

// hasTime reports whether nobody waits for an answer.
func (t *flights) hasTime() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.awaited == 0
}

// decided takes note of the first answer to a flight. The caller holds the lock.
func (t *flights) decided(f *flight, a *Answer) {
	t.over(f)
	t.wheel.settled(f)
	if a.Outcome == Delivered {
		t.wheel.take(f)
		rest := grace
		if f.isEcho() {
			rest = duplicates
		}
		if end := a.Received.Add(rest); end.Before(f.forget) {
			f.forget = end
		}
		f.at = f.forget
		t.wheel.put(f)
	}
}

// tell passes an answer on.
func (t *flights) tell(f *flight, a Answer) {
	if f.recorder != nil {
		f.record(&a, &t.recording)
	}
	Learn(t.record, f.charge, f.dst, &a, time.Now())
	f.answer(a)
}

// silent is the answer for a probe whose time is over.
func (t *flights) silent(f *flight) Answer {
	return Answer{Outcome: Silent, Sent: f.sent, LocalDrops: t.drops.answers(f.dst.Is6()) != f.drops}
}

// expire ends probes whose time was over at a time up to which all answers were read. Only one
// goroutine may call it and settle.
func (t *flights) expire(now time.Time) {
	t.mu.Lock()
	t.ended = t.wheel.due(now, t.ended[:0])
	silent := t.ended[:0]
	for _, f := range t.ended {
		switch {
		case f.decided == 0 && f.sending: // it has not left: its sender will say so
			f.at = now.Add(wheelGrain)
			t.wheel.put(f)
			continue
		case f.decided == 0:
			t.over(f)
			f.decided = Silent
			silent = append(silent, f)
		case !f.forget.After(now):
			t.remove(f)
			continue
		}
		f.at = f.forget
		t.wheel.put(f)
	}
	t.mu.Unlock()
	if len(silent) == 0 {
		return
	}
	drops := map[bool]uint64{false: t.drops.answers(false), true: t.drops.answers(true)} // by IPv6
	for _, f := range silent {
		t.tell(f, Answer{Outcome: Silent, Sent: f.sent, LocalDrops: drops[f.dst.Is6()] != f.drops})
	}
}

// next returns when expire is to be called again. While no probe waits for its answer, that is
// after a while, and without any probe much later. Where the caller would doze, next reports
// whether it can: there are probes, and nobody waits for their answers.
func (t *flights) next(now time.Time, while time.Duration, would bool) (at time.Time, doze bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.wheel.next(while)
	switch {
	case ok:
	case t.n > 0:
		at = now.Add(while)
	default:
		at = now.Add(time.Hour)
	}
	t.until, t.dozing = at, would && t.n > 0 && t.awaited == 0
	return at, t.dozing
}
