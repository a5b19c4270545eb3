package search

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// A tally counts the outcomes of the probes of one size.
type tally struct {
	size int
	// sent and acked count probes; refused counts probes answered by a PTB, neither lost nor acked.
	sent, acked, refused int
	// missed is the number of silent probes since silences were last forgotten.
	missed int
}

// A refusal is one valid PTB for a probe of size bytes.
type refusal struct {
	size int
	ptb  PTB
}

// An inexact is one PTB that may be about the probe of size bytes that was sent at this time.
type inexact struct {
	refusal
	at time.Duration
}

func (p inexact) sameProbe(other inexact) bool { return p.at == other.at && p.size == other.size }

// A silence is one probe without an answer.
type silence struct {
	size int
	at   time.Duration
}

// leastInexact is the least number of PTBs that quote no probe exactly and are taken for a report.
const leastInexact = 3

type evidence struct {
	// tallies are sorted by size.
	tallies []tally
	// proven is the largest acked size, 0 before any; link is the largest size that can be tried.
	proven, link int
	// minimum is the smallest size that a PTB may name, control the smallest that can be tried.
	minimum, control int
	refusals         []refusal
	received         int
	rejected         Rejected
	// inexact are the PTBs that quote no probe exactly, forgeries possibly among them.
	inexact []inexact
	// hint is the size that a PTB of the last round named and that is worth a try, 0 if none.
	hint int
	// silences are in the order of sending.
	silences []silence
	maxRTT   time.Duration
}

// find returns the place of a size among the tallies, and reports whether the size was ever sent.
func (e *evidence) find(size int) (int, bool) {
	return slices.BinarySearchFunc(e.tallies, size, func(t tally, s int) int { return cmp.Compare(t.size, s) })
}

func (e *evidence) at(size int) *tally {
	i, found := e.find(size)
	if !found {
		e.tallies = slices.Insert(e.tallies, i, tally{size: size})
	}
	return &e.tallies[i]
}

func (e *evidence) tried(size int) bool {
	_, found := e.find(size)
	return found
}

// failed reports whether a size was refused, or missed since silences were last forgotten.
func (e *evidence) failed(size int) bool {
	return e.tried(size) && (e.at(size).missed > 0 || e.at(size).refused > 0)
}

// record records the outcomes of one round, acks first: they decide whether the PTBs are of use.
func (e *evidence) record(seen []Observation) {
	e.hint = 0
	for _, o := range seen {
		switch {
		case o.Inexact, o.Late && !e.tried(o.Size):
		case o.Outcome == Acked:
			e.ack(o)
		case o.Outcome == Silent && !o.Late:
			t := e.at(o.Size)
			t.sent++
			t.missed++
			e.silences = append(e.silences, silence{o.Size, o.At})
		}
	}
	for _, o := range seen {
		switch {
		case o.Inexact:
			e.suspect(o)
		case o.Outcome == TooBig && (!o.Late || e.tried(o.Size)):
			e.refuse(o)
		}
	}
}

// ack records the proof that a size passes. A late ack takes back a loss that was counted.
func (e *evidence) ack(o Observation) {
	t := e.at(o.Size)
	if !o.Late {
		t.sent++
	}
	t.acked = min(t.acked+1, t.sent-t.refused)
	e.proven = max(e.proven, o.Size)
	// This host may have refused the size between the probe and its late ack.
	e.link = max(e.link, e.proven)
	e.maxRTT = max(e.maxRTT, o.RoundTrip)
}

// refuse records a valid PTB. It keeps the size that the PTB names if that is worth a try: larger
// than the proven size, smaller than the refused one, and not failed before. So no number of PTBs
// can cause more than one round for each size, nor more than maxHints rounds in all.
func (e *evidence) refuse(o Observation) {
	t := e.at(o.Size)
	if !o.Late {
		t.sent++
	}
	t.refused = min(t.refused+1, t.sent-t.acked)
	e.received++
	e.refusals = append(e.refusals, refusal{o.Size, PTB{From: o.From, MTU: o.MTU}})
	e.consider(o)
}

// consider keeps the size that a PTB names as a hint, or counts why it is of no use.
func (e *evidence) consider(o Observation) {
	switch {
	case o.MTU <= 0:
		e.rejected[NoSize]++
	case o.MTU < e.minimum:
		e.rejected[BelowMinimum]++
	case o.MTU >= o.Size:
		e.rejected[NotSmaller]++
	case o.MTU < e.proven, e.failed(o.MTU):
		e.rejected[NoProgress]++
	case o.MTU > e.proven && o.MTU >= e.control && (e.hint == 0 || o.MTU < e.hint):
		e.hint = o.MTU
	}
}

// suspect records a PTB that quotes no probe exactly. The size that it names is worth a try if it
// would be one of a valid PTB.
func (e *evidence) suspect(o Observation) {
	e.inexact = append(e.inexact, inexact{refusal{o.Size, PTB{From: o.From, MTU: o.MTU}}, o.At})
	if o.MTU >= e.minimum && o.MTU < o.Size && o.MTU > e.proven && o.MTU >= e.control && !e.failed(o.MTU) && (e.hint == 0 || o.MTU < e.hint) {
		e.hint = o.MTU
	}
}

// ceiling returns the smallest failed size above the proven one, or one more than the link carries.
func (e *evidence) ceiling() int {
	for _, t := range e.tallies {
		if t.size > e.proven && t.size <= e.link && (t.missed > 0 || t.refused > 0) {
			return t.size
		}
	}
	return e.link + 1
}

// forget drops the silences above the proven size, because a burst was lost. Refusals stay.
func (e *evidence) forget() {
	for i := range e.tallies {
		if e.tallies[i].size > e.proven {
			e.tallies[i].missed = 0
		}
	}
}

// usable reports whether a PTB refused more than the proven size and named a size that passes,
// none, or one too small: a sender that obeys it gets through.
func (e *evidence) usable(r refusal) bool { return r.size > e.proven && r.ptb.MTU <= e.proven }

// refused reports whether a usable PTB refused this very size.
func (e *evidence) refused(size int) bool {
	return slices.ContainsFunc(e.refusals, func(r refusal) bool { return r.size == size && e.usable(r) })
}

// refusedMore reports whether any PTB, usable or not, refused more than the proven size.
func (e *evidence) refusedMore() bool {
	return slices.ContainsFunc(e.refusals, func(r refusal) bool { return r.size > e.proven })
}

// credible reports whether the inexact PTBs come from a router whose limit is the proven size. A host
// that does not see the probes cannot imitate such PTBs: there is one for each larger probe and no
// more, for at least leastInexact probes and half of all larger ones, from one address, and they name
// the proven size or none. A PTB that names a size between may come from another router.
func (e *evidence) credible() bool {
	from, probes, larger := netip.Addr{}, 0, 0
	for i, p := range e.inexact {
		named, again := p.ptb.MTU, slices.ContainsFunc(e.inexact[:i], p.sameProbe)
		switch {
		case again, p.size <= e.proven, named >= p.size:
			return false
		case named > e.proven:
			continue
		case named != 0 && named != e.proven, probes > 0 && p.ptb.From != from:
			return false
		}
		from = p.ptb.From
		probes++
	}
	for _, t := range e.tallies {
		if t.size > e.proven {
			larger += t.sent
		}
	}
	return probes >= leastInexact && 2*probes >= larger
}

// lastPTB returns the last PTB for more than the proven size, a usable one if there is any.
func (e *evidence) lastPTB() (last PTB) {
	found := false
	for _, r := range e.refusals {
		if usable := e.usable(r); usable || !found && r.size > e.proven {
			last, found = r.ptb, usable
		}
	}
	return last
}

// quiet counts the silent probes larger than the proven size that were sent at least gap apart, and
// returns when the last of them was sent.
func (e *evidence) quiet(gap time.Duration) (count int, last time.Duration) {
	for _, s := range e.silences {
		if s.size > e.proven && (count == 0 || s.at >= last+gap) {
			count++
			last = s.at
		}
	}
	return count, last
}

// loss counts the probes of sizes that fit, all of which are controls, and the lost ones.
func (e *evidence) loss() (lost, controls int) {
	for _, t := range e.tallies {
		if t.size > e.proven {
			break
		}
		controls += t.sent - t.refused
		lost += t.sent - t.refused - t.acked
	}
	return lost, controls
}
