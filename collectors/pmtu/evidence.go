package pmtu

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// The confirmation of a boundary by matched pairs.
const (
	// alpha is the accepted probability that a boundary is the work of loss alone, for each run of pairs.
	alpha = 1e-4
	// minPairs bounds the length of a run, maxPairs what is sent at once. That many do for a loss of a half; a run
	// that is not convincing after twice as many never will be.
	minPairs, maxPairs = 3, 14
)

// A tally is what became of the probes of one size.
type tally struct {
	size int
	// sent and acked count probes; refused counts those that were answered by a PTB, and neither lost nor acked.
	sent, acked, refused int
	// missed is the number of silent probes since failures were last forgotten.
	missed int
}

// A refusal is one valid PTB.
type refusal struct {
	size int
	ptb  PTB
}

// Evidence is everything that was seen, and what follows from it. An ack is proof, silence is only a likelihood, and
// a PTB is a hint at where to look and a sign of whether the path speaks up.
type evidence struct {
	// tallies are sorted by size.
	tallies []tally
	// proven is the largest acknowledged size, 0 before any; link is the most that can be tried.
	proven, link int
	// minimum is the smallest size that a PTB may name, control the smallest that can be tried.
	minimum, control int
	refusals         []refusal
	received         int
	rejected         [rejections]int
	// hint is the size that a PTB of the last round named and that is worth a try, 0 if none.
	hint int
	// silences are the sending times of silent probes of any size, in order.
	silences []silence
	maxRTT   time.Duration
}

// A silence is one probe that nothing was heard of.
type silence struct {
	size int
	at   time.Duration
}

// at returns the tally of a size, making it if needed.
func (e *evidence) at(size int) *tally {
	i, found := slices.BinarySearchFunc(e.tallies, size, func(t tally, s int) int { return cmp.Compare(t.size, s) })
	if !found {
		e.tallies = slices.Insert(e.tallies, i, tally{size: size})
	}
	return &e.tallies[i]
}

// tried tells whether a size was ever sent.
func (e *evidence) tried(size int) bool {
	_, found := slices.BinarySearchFunc(e.tallies, size, func(t tally, s int) int { return cmp.Compare(t.size, s) })
	return found
}

// failed tells whether a size was refused, or missed since failures were last forgotten.
func (e *evidence) failed(size int) bool {
	return e.tried(size) && (e.at(size).missed > 0 || e.at(size).refused > 0)
}

// record takes in the observations of one round: acks first, because they say what the PTBs are worth.
func (e *evidence) record(seen []Observation) {
	e.hint = 0
	for _, o := range seen {
		switch {
		case o.Late && !e.tried(o.Size):
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
		if o.Outcome == TooBig && (!o.Late || e.tried(o.Size)) {
			e.refuse(o)
		}
	}
}

// ack records the proof that a size passes. A late one turns a loss that was counted into none.
func (e *evidence) ack(o Observation) {
	t := e.at(o.Size)
	if !o.Late {
		t.sent++
	}
	t.acked = min(t.acked+1, t.sent-t.refused)
	e.proven = max(e.proven, o.Size)
	e.link = max(e.link, e.proven) // this host may have refused the size between the probe and its late ack
	e.maxRTT = max(e.maxRTT, o.RoundTrip)
}

// refuse records a valid PTB and keeps the size it names if that is worth a try: larger than what is proven, smaller
// than what was refused, and not tried in vain before. So no PTB can cause more than one round, however many come.
func (e *evidence) refuse(o Observation) {
	t := e.at(o.Size)
	if !o.Late {
		t.sent++
	}
	t.refused = min(t.refused+1, t.sent-t.acked)
	e.received++
	e.refusals = append(e.refusals, refusal{o.Size, PTB{From: o.From, MTU: o.MTU}})
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

// ceiling is the smallest size above the proven one that failed, or one more than the link carries.
func (e *evidence) ceiling() int {
	for _, t := range e.tallies {
		if t.size > e.proven && t.size <= e.link && (t.missed > 0 || t.refused > 0) {
			return t.size
		}
	}
	return e.link + 1
}

// forget drops the silences above the proven size, because a burst lost them. Refusals stay.
func (e *evidence) forget() {
	for i := range e.tallies {
		if e.tallies[i].size > e.proven {
			e.tallies[i].missed = 0
		}
	}
}

// restart drops every tally: the path is not what it was when they were taken.
func (e *evidence) restart(proven int) {
	e.tallies = e.tallies[:0]
	e.proven = proven
}

// usable tells whether a PTB named a size that passes, or none, or one too small: whoever listens to it gets through.
func (e *evidence) usable(r refusal) bool { return r.size > e.proven && r.ptb.MTU <= e.proven }

// spoken tells whether any usable PTB came for more than the proven size, and which was the last.
func (e *evidence) spoken() (PTB, bool) {
	for _, r := range slices.Backward(e.refusals) {
		if e.usable(r) {
			return r.ptb, true
		}
	}
	return PTB{}, false
}

// refused tells whether a usable PTB refused this very size.
func (e *evidence) refused(size int) bool {
	return slices.ContainsFunc(e.refusals, func(r refusal) bool { return r.size == size && e.usable(r) })
}

// lastPTB is the last PTB for more than the proven size, usable or not.
func (e *evidence) lastPTB() PTB {
	if p, ok := e.spoken(); ok {
		return p
	}
	for _, r := range slices.Backward(e.refusals) {
		if r.size > e.proven {
			return r.ptb
		}
	}
	return PTB{}
}

// quiet counts the silent probes larger than the proven size that were sent at least gap apart.
func (e *evidence) quiet(gap time.Duration) (count int, last time.Duration) {
	for _, s := range e.silences {
		if s.size > e.proven && (count == 0 || s.at >= last+gap) {
			count++
			last = s.at
		}
	}
	return count, last
}

// loss counts the probes of sizes that fit, and those of them that were lost: every one of them is a control.
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

// pairs is how often the size above the boundary must fail in a row before independent loss is no explanation any more:
// loss^n is at most alpha. atLeast is a loss seen elsewhere that must not be undercut.
func (e *evidence) pairs(atLeast float64) int {
	lost, controls := e.loss()
	loss := max(float64(lost+1)/float64(controls+5), atLeast)
	if loss >= 1 {
		return math.MaxInt32
	}
	return max(int(math.Ceil(math.Log(alpha)/math.Log(loss))), minPairs)
}
