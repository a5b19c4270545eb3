// Package silence bounds what is sent to an address that does not answer. Hosts ban a source that
// opens connections too often, and every further packet prolongs the ban:
//
//	iptables -m state --state NEW -m recent --update --seconds 300 --hitcount 60 -j DROP
//
// So fewer than 60 packets are sent to one address in any 300 s of silence, by all collectors and
// all peers of that address together:
//
//	up to 47 in bursts: rounds of IKE, searches, ladders     refused beyond that (ErrBudget)
//	up to 12 more as single probes in turn, Pace apart       so that a return is noticed soon
//
// Three counts of the packets of the last 300 s have that bound each. The first answer ends its
// counts:
//
//	to the address            since it last answered anything
//	by one way to it          since it last answered anything by that way (source, interface, mark)
//	of one kind, by any way   since it last answered that kind, to any port, by the packet's way: a
//	                          host may answer echo requests and ban UDP
//
// A packet that a router reports did not reach the address, nor does one whose TTL is known to run
// out on the path: neither counts. For the first 4 s after an answer the next one may be under way,
// and nothing is refused, although it counts.
//
// A Record decides by the times that it is given. It has no clock, and sends nothing.
package silence

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/internal/enum"
)

// ErrBudget means that a probe was not sent, because its address stays silent and has been sent
// enough.
var ErrBudget = errors.New("the address does not answer, and is asked less often")

const (
	// Window is the time in which packets are counted.
	Window = 300 * time.Second
	// Most is the number of packets in a Window of silence.
	Most = 59
	// Burst is the number of packets among them that may be sent out of turn.
	Burst = 47
	// Pace is the time between single probes to an address.
	Pace = 15 * time.Second
	// SlowPace is the time between them while many packets are counted, so that single probes fit
	// until the Window has passed.
	SlowPace = 30 * time.Second
	// crowded is the number of packets from which on that is so.
	crowded = 39
	// comparison is the time for a comparison of flows to an address that answers nothing.
	comparison = 10 * time.Second
	// RoundGap is the least time between two rounds of IKE probes to an address.
	RoundGap = 10 * time.Second
	// muteProbes plain ones in a row without an answer make a kind of packet mute, each older than settled: a
	// round trip may take that long.
	muteProbes = 5
	settled    = 4 * time.Second
	// showing is the number of plain probes without an answer that show again that a lane is mute.
	showing = 3
)

// Kind is a kind of packet that a host may ban or ignore by itself.
type Kind uint8

// The kinds.
const (
	Echo Kind = iota
	UDP
	// IPsec is ESP and AH, which a gateway answers only with an SA.
	IPsec
	kinds
)

// String returns the name of the kind.
func (k Kind) String() string { return enum.Name(k, "icmp", "udp", "ipsec") }

// A Lane is one kind of packet, to one port, by one way to an address.
type Lane struct {
	Dst, Src  netip.Addr
	Interface string
	Mark      uint32
	Kind      Kind
	Port      uint16
}

// A Record remembers what was sent to addresses since they last answered. It is safe for concurrent
// use.
type Record struct {
	mu        sync.Mutex
	addresses map[netip.Addr]*address
	sweep     int // the number of addresses at which idle ones are dropped
	burst     int // Burst, or Most
	withheld  uint64
	entered   uint64 // the number of probes
	// news is the number of addresses with news.
	news atomic.Int32
}

// An address is what is known of one destination. It has few lanes and ways.
type address struct {
	lanes []*lane
	ways  []*way
	// turns are the times that single probes have been given, rounds the times of rounds of IKE.
	turns, rounds calendar
	// granted counts the turns that have come, by kind, and are not used yet.
	granted [kinds]int8
	// woke is when a mute lane last answered; news means that Woken has not reported it.
	woke time.Time
	news bool
	used time.Time
	// gone means that the Record has dropped it.
	gone bool
}

type lane struct {
	way  *way
	kind Kind
	port uint16
	// earlier is the number of unanswered plain probes that no longer count.
	earlier         int32
	open            []entry
	asked, answered time.Time
}

// A way is what is known of one way to an address, whatever the kind of packet.
type way struct {
	src    netip.Addr
	device string
	mark   uint32
	// short is a TTL that is known to run out before the address, until shortEnd.
	short    uint8
	shortEnd time.Time
	// comparing is until when flows by it are being compared.
	comparing time.Time
}

// is reports whether a lane goes this way.
func (w *way) is(of *Lane) bool {
	return w.mark == of.Mark && w.src == of.Src && w.device == of.Interface
}

// An entry is a probe without an answer so far.
type entry struct {
	number uint64
	at     time.Time
	Probe
}

// A Charge is a probe that was entered, for its answer. The zero Charge is of no Record.
type Charge struct {
	to     *address
	lane   *lane
	number uint64
	ttl    uint8
}

// A Probe is what is known of a probe that is about to be sent.
type Probe struct {
	// Packets is the number of IP packets, TTL their TTL, 0 for the usual one.
	Packets int
	TTL     uint8
	// Plain means that only a peer that answers nothing would not answer it: it is small, and not in
	// fragments.
	Plain bool
	// Flow is the number of its flow.
	Flow uint16
}

// sweepAt is the least number of addresses at which idle ones are dropped.
const sweepAt = 1024

// New returns an empty Record.
func New() *Record {
	return &Record{addresses: make(map[netip.Addr]*address), sweep: sweepAt, burst: Burst}
}

// Once says that the program measures once and takes no turns, so that bursts may be of Most packets.
func (r *Record) Once() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.burst = Most
}

// at returns the record of an address. The caller holds the lock.
func (r *Record) at(dst netip.Addr, now time.Time) *address {
	dst = dst.Unmap()
	a := r.addresses[dst]
	if a == nil {
		if len(r.addresses) >= r.sweep {
			for other, b := range r.addresses {
				if now.Sub(b.used) > Window {
					if b.news {
						r.news.Add(-1)
					}
					b.gone = true
					delete(r.addresses, other)
				}
			}
			r.sweep = max(sweepAt, 2*len(r.addresses))
		}
		a = &address{}
		r.addresses[dst] = a
	}
	a.used = now
	return a
}

func (a *address) lane(of *Lane) *lane {
	for _, l := range a.lanes {
		if l.kind == of.Kind && l.port == of.Port && l.way.is(of) {
			return l
		}
	}
	l := &lane{way: a.way(of), kind: of.Kind, port: of.Port}
	a.lanes = append(a.lanes, l)
	return l
}

func (a *address) way(of *Lane) *way {
	for _, w := range a.ways {
		if w.is(of) {
			return w
		}
	}
	w := &way{src: of.Src, device: of.Interface, mark: of.Mark}
	a.ways = append(a.ways, w)
	return w
}

// reaches reports whether a probe that was sent at a time may have reached the address.
func (w *way) reaches(p *Probe, at time.Time) bool {
	return p.TTL == 0 || p.TTL > w.short || at.After(w.shortEnd)
}

// prune drops probes that no longer count.
func (l *lane) prune(now time.Time) {
	if len(l.open) == 0 || now.Sub(l.open[0].at) < Window {
		return
	}
	l.open = slices.DeleteFunc(l.open, func(e entry) bool {
		old := now.Sub(e.at) >= Window
		if old && e.Plain && l.way.reaches(&e.Probe, e.at) {
			l.earlier++
		}
		return old
	})
}

// count returns the largest of the three counts for a lane. The caller holds the lock.
func (a *address) count(of *lane, now time.Time) int {
	var byAny, byWay time.Time
	open := 0
	for _, l := range a.lanes {
		l.prune(now)
		open += len(l.open)
		byAny = later(byAny, l.answered)
		if l.way == of.way {
			byWay = later(byWay, l.answered)
		}
	}
	if open == 0 {
		return 0
	}
	var all, way, kind int
	for _, l := range a.lanes {
		byKind := a.answeredKind(l)
		for i := range l.open {
			e := &l.open[i]
			if !l.way.reaches(&e.Probe, e.at) {
				continue
			}
			if e.at.After(byAny) {
				all += e.Packets
			}
			if l.way == of.way && e.at.After(byWay) {
				way += e.Packets
			}
			if l.kind == of.kind && e.at.After(byKind) {
				kind += e.Packets
			}
		}
	}
	return max(all, way, kind)
}

// answeredKind returns when the address last answered the kind of a lane by its way.
func (a *address) answeredKind(of *lane) (at time.Time) {
	for _, l := range a.lanes {
		if l.kind == of.kind && l.way == of.way {
			at = later(at, l.answered)
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// A Place remembers where in a Record a lane is, for one who asks for the same one again and again.
// The zero Place knows nothing.
type Place struct {
	to   *address
	lane *lane
}

// Admit enters a probe that is about to be sent. It fails with ErrBudget if the address was sent
// enough.
func (r *Record) Admit(of Lane, now time.Time, p Probe) (Charge, error) {
	return r.AdmitAt(&Place{}, of, now, p)
}

// AdmitAt does what Admit does. The Place must have been used for this lane only.
func (r *Record) AdmitAt(at *Place, of Lane, now time.Time, p Probe) (Charge, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.to == nil || at.to.gone {
		at.to = r.at(of.Dst, now)
		at.lane = at.to.lane(&of)
	}
	a, l := at.to, at.lane
	a.used = now
	if now.Sub(l.answered) >= settled && l.way.reaches(&p, now) {
		limit := r.burst
		if a.granted[of.Kind] > 0 {
			limit = Most
			a.granted[of.Kind]--
		}
		if n := a.count(l, now); n+p.Packets > limit {
			r.withheld++
			return Charge{}, fmt.Errorf("%w: %d packets in the last %v", ErrBudget, n, Window)
		}
	}
	r.entered++
	l.open = append(l.open, entry{number: r.entered, at: now, Probe: p})
	l.asked = now
	return Charge{to: a, lane: l, number: r.entered, ttl: p.TTL}, nil
}

// roomy is the number of entries from which on a lane gives back the room for them.
const roomy = 8

// Answered takes an answer of the address itself to a probe: the count of its kind begins again.
func (r *Record) Answered(c Charge, now time.Time) {
	if c.lane == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a, l := c.to, c.lane
	if l.mute(now) {
		if !a.news {
			r.news.Add(1)
		}
		a.woke, a.news = now, true
	}
	l.earlier, l.answered = 0, now
	if l.open = l.open[:0]; cap(l.open) >= roomy {
		l.open = nil
	}
	if c.ttl > 0 && c.ttl <= l.way.short {
		l.way.short = 0 // the route is shorter than it was
	}
}

// Refund takes back a probe that did not reach the address. expired means that its TTL ran out.
func (r *Record) Refund(c Charge, now time.Time, expired bool) {
	if c.lane == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, w := c.lane, c.lane.way
	l.open = slices.DeleteFunc(l.open, func(e entry) bool { return e.number == c.number })
	if expired && c.ttl > 0 && (c.ttl >= w.short || now.After(w.shortEnd)) {
		w.short, w.shortEnd = c.ttl, now.Add(Window)
	}
}

// Turn reserves the next time, not before from, at which a single probe may be sent to an address
// that stays silent. All of its peers share the turns.
func (r *Record) Turn(dst netip.Addr, now, from time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.at(dst, now)
	pace := Pace
	for _, l := range a.lanes {
		if a.count(l, now) >= crowded {
			pace = SlowPace
		}
	}
	return a.turns.reserve(now, from, pace)
}

// Take uses a turn that has come: the next probe of the kind is one. It reports false if there is no
// room for it, because a burst followed when turns were a short Pace apart.
func (r *Record) Take(of Lane, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.at(of.Dst, now)
	room := a.count(a.lane(&of), now) < Most
	if room {
		a.granted[of.Kind] = 1
	}
	return room
}

// Round reserves the next time, not before from, at which a round of IKE probes to an address may
// begin. Without a Record that is any time.
func (r *Record) Round(dst netip.Addr, now, from time.Time) time.Time {
	if r == nil {
		return from
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at(dst, now).rounds.reserve(now, from, RoundGap)
}

// Compare reserves some time for a comparison of flows by the way of a lane, and returns 0; or how long
// another one may take that goes on.
func (r *Record) Compare(of Lane, now time.Time) (wait time.Duration) {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.at(of.Dst, now).way(&of)
	if w.comparing.After(now) {
		return w.comparing.Sub(now)
	}
	w.comparing = now.Add(comparison)
	return 0
}

// News reports whether Woken has something to report about any address.
func (r *Record) News() bool { return r.news.Load() != 0 }

// Woken reports, once, that a mute lane of an address has answered.
func (r *Record) Woken(dst netip.Addr) bool {
	if r.news.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.addresses[dst.Unmap()]
	if a == nil || !a.news {
		return false
	}
	a.news = false
	r.news.Add(-1)
	return true
}

// Asked reports whether probes were entered for an address within some minutes.
func (r *Record) Asked(dst netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addresses[dst.Unmap()] != nil
}

// Withheld returns the number of probes that were refused with ErrBudget.
func (r *Record) Withheld() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.withheld
}

// A calendar holds the times that were given, sorted.
type calendar []time.Time

// reserve gives the earliest time, not before from, that is pace away from all others.
func (c *calendar) reserve(now, from time.Time, pace time.Duration) time.Time {
	*c = slices.DeleteFunc(*c, func(t time.Time) bool { return now.Sub(t) >= SlowPace })
	for _, t := range *c {
		if from.Sub(t) < pace && t.Sub(from) < pace {
			from = t.Add(pace)
		}
	}
	i, _ := slices.BinarySearchFunc(*c, from, time.Time.Compare)
	*c = slices.Insert(*c, i, from)
	return from
}
