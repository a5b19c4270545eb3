package trace

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxPackets is the number of fragments of a probe that a snapped ring keeps.
	maxPackets = 16
	// maxAnswers answers to a probe are kept: duplicates must not push out other exchanges.
	maxAnswers = 8
)

// A Ring keeps the newest exchanges with one peer. It is safe for concurrent use.
type Ring struct {
	recorder *Recorder
	snapped  bool
	// most is the largest number of chunks, of which each chain has a share; 0 once it is closed.
	most int32
	// exchanges is the number of exchanges so far.
	exchanges uint32
	// home is the destination of the first exchange, which most others share.
	home   netip.Addr
	chains [kinds]*chain
}

// NewRing returns a ring that belongs to no Recorder, for any number of peers. It keeps packets
// whole and takes at most this number of bytes.
func NewRing(bytes int) *Ring {
	r := NewRecorder(bytes)
	g := r.Open()
	g.snapped, g.most = false, int32(r.arena.most)
	return g
}

// Close empties the ring. Later exchanges are not kept.
func (g *Ring) Close() {
	r := g.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.closed() {
		return
	}
	for i, c := range g.chains {
		if c != nil {
			r.arena.clear(c)
			g.chains[i] = nil
		}
	}
	g.most = 0
	r.rings--
}

func (g *Ring) closed() bool { return g.most == 0 }

// chain returns the chain of a kind, and its share of the ring. The caller holds the lock.
func (g *Ring) chain(k kind) (c *chain, most int) {
	if g.chains[k] == nil {
		g.chains[k] = &chain{kind: k}
	}
	return g.chains[k], int(g.most) * shares[k] / wholeShare
}

// An Entry names an exchange that is stored, for further answers to it.
type Entry struct {
	number uint32
	kind   kind
	sent   time.Time
}

// Record stores an exchange, with the answers so far. Its packets are not changed and not kept. The
// result is for Further. It allocates nothing, apart from the memory of the budget.
func (g *Ring) Record(e *Exchange) Entry {
	r := g.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	g.exchanges++
	entry := Entry{g.exchanges, kindOf(e), e.Sent}
	if g.closed() {
		return entry
	}
	if !g.home.IsValid() {
		g.home = e.Dst
	}
	c := layout{number: entry.number, purpose: r.bases.purpose(e.Purpose), home: g.home, snapped: g.snapped}
	body := c.appendExchange(r.body[:0], e)
	var outcome Answer
	if len(e.Answers) > 0 {
		outcome = e.Answers[0]
	}
	chain, most := g.chain(entry.kind)
	r.store(chain, most, keyOf(len(body), e.Protocol, e.Port, c.purpose, outcome.Outcome, false), body)
	return entry
}

// Further stores one more answer to an exchange, which is dropped with the exchange.
func (g *Ring) Further(to Entry, a *Answer) {
	r := g.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.closed() {
		return
	}
	c := layout{number: to.number, home: g.home, snapped: g.snapped}
	body := c.appendFurther(r.body[:0], to.sent, a)
	chain, most := g.chain(to.kind)
	r.store(chain, most, keyOf(len(body), 0, 0, 0, a.Outcome, true), body)
}

// Exchanges returns the stored exchanges in the order of sending, not probes without an outcome.
func (g *Ring) Exchanges() []Exchange {
	var records [kinds][]byte
	r := g.recorder
	r.mu.Lock()
	for i, c := range g.chains {
		if c != nil {
			records[i] = r.arena.read(make([]byte, 0, int(c.chunks)*chunkBody), c)
		}
	}
	known, home := r.bases, g.home
	r.mu.Unlock()
	var all []Exchange
	for _, of := range records {
		all = append(all, known.decode(of, home)...)
	}
	for i := range all {
		all[i].order()
	}
	slices.SortStableFunc(all, func(a, b Exchange) int {
		return cmp.Compare(nanoseconds(a.Sent), nanoseconds(b.Sent))
	})
	return all
}

// decode decodes the records of a chain, and drops answers whose exchange has been evicted.
func (b *bases) decode(records []byte, home netip.Addr) []Exchange {
	var all []Exchange
	places := make(map[uint32]int)
	b.records(records, func(body []byte, further bool) bool {
		r := reader{b: body}
		if further {
			number, a := r.further(home)
			if i, ok := places[number]; ok && !r.bad {
				all[i].Answers = append(all[i].Answers, a)
			}
			return !r.bad
		}
		number, e := r.exchange(b.purposes, home)
		if !r.bad {
			places[number] = len(all)
			all = append(all, e)
		}
		return !r.bad
	})
	return all
}
