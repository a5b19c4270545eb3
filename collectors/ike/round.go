package ike

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

const (
	// walkTries is the number of tries of each form while none is known; walkFirst and walkAgain
	// are the timeouts of the first try and of the next.
	walkTries = 2
	walkFirst = time.Second
	walkAgain = 800 * time.Millisecond
	// knownTries is the number of tries of the form that is known to be answered; knownFirst and
	// knownAgain are the timeouts of the first try and of the next.
	knownTries = 3
	knownFirst = time.Second
	knownAgain = 2 * time.Second
	// otherWait is the timeout of the one try of each other form.
	otherWait = time.Second
	// briefKnown is the number of tries of the known form in a brief round; other forms have one.
	briefKnown = 2
	// stagger is the delay of the second method.
	stagger = 500 * time.Millisecond
	// stickyRounds is the number of rounds without a reply to a known form until it is forgotten.
	stickyRounds = 3
	// maxUnsent is the number of consecutive probes not sent that ends a round.
	maxUnsent = 2
	// forms is the number of forms.
	forms = ikeprobe.V1Minor + 1
	// sampleSize is the number of requests whose loss is one figure: five minutes by DefaultInterval.
	sampleSize = 10
)

// Why a result is Unknown.
var (
	errNoRound  = errors.New("no round has ended yet")
	errAccepted = errors.New("the peer accepts every offer: another probe would leave a half-open SA there")
)

// A walk is one method of one peer: its newest result and the current round. The lock of its
// Collector guards it.
type walk struct {
	method  collectors.Method
	port    uint16
	dialect *ikeprobe.Dialect
	result  outcome
	fault   error // why the result is unknown
	misses  int   // consecutive rounds without a reply to the known form
	offered bool  // v2-badke was answered once
	// last is the form that was answered last, if answered is set.
	last     ikeprobe.Form
	answered bool
	loss     collectors.Sampler
	number   uint64 // of the round
	began    time.Time

	// These belong to the current round.
	active bool
	// brief has fewer tries; crawling means that the round is stretched, and not active.
	brief, crawling bool
	// alone means that only the known form is tried, if there is one: nothing answers at all.
	alone bool

	known  bool // it starts with the known form, first
	first  ikeprobe.Form
	ladder []ikeprobe.Form
	step   int           // the next step of the plan
	due    time.Time     // of the next step
	sent   [forms]uint8  // probes sent, by form
	unsent int           // consecutive probes not sent
	packet *netio.Packet // the newest one, for identical tries
	form   ikeprobe.Form // of packet
	// refusal is the newest ICMP error, nil if none came.
	refusal *collectors.PathError

	// These belong to the peer and survive a change of its address.
	requests, responses uint64
}

// An outcome is what the newest round has shown: the part of a Result that takes room in every peer.
type outcome struct {
	State                State
	Form                 ikeprobe.Form
	Version              ikeprobe.Version
	BadKESilent, NotSent bool
	At                   time.Time
	Sent, BadKESent      int
	Reply, Detail        string
	RoundTrip            time.Duration
	Error                *collectors.PathError // nil if none came
}

// public returns the result without what only the walk knows.
func (o *outcome) public() Result {
	r := Result{
		State: o.State, At: o.At, Sent: o.Sent, Form: o.Form, Version: o.Version, Reply: o.Reply, Detail: o.Detail, RoundTrip: o.RoundTrip,
		BadKESilent: o.BadKESilent, BadKESent: o.BadKESent, NotSent: o.NotSent,
	}
	if o.Error != nil {
		r.Error = *o.Error
	}
	return r
}

// setup starts again with other settings.
func (w *walk) setup(s collectors.IKESettings) {
	w.port = s.UDPPort(w.method)
	w.dialect = ikeprobe.NewDialect(s.Version, s.Auth)
	w.forget()
}

// forget discards what is known about the path.
func (w *walk) forget() {
	w.dialect.Reset()
	w.misses, w.offered, w.answered, w.result, w.fault = 0, false, false, outcome{}, errNoRound
	w.loss = collectors.Sampler{Size: sampleSize}
	w.end()
}

func (w *walk) begin(now, due time.Time, brief, alone bool) {
	w.number++
	w.brief, w.alone = brief, alone
	w.began = now
	w.active, w.due = true, due
	w.known, w.first, w.ladder = w.dialect.Answered(), w.dialect.Form(), w.dialect.Ladder()
	if w.offered && w.result.BadKESilent && w.dialect.Allows(ikeprobe.V2BadKE) {
		w.first = ikeprobe.V2BadKE // the lockout may have ended
	}
	w.step, w.unsent, w.sent, w.refusal = 0, 0, [forms]uint8{}, nil
}

// plan returns the form and the timeout of step i of the round; ok is false after the last step.
func (w *walk) plan(i int) (f ikeprobe.Form, wait time.Duration, ok bool) {
	ofEach, ofKnown := walkTries, knownTries
	if w.brief {
		ofEach = 1
	}
	if w.brief && !w.alone {
		ofKnown = briefKnown
	}
	if !w.known {
		if i >= ofEach*len(w.ladder) {
			return 0, 0, false
		}
		if i%ofEach == 0 {
			return w.ladder[i/ofEach], walkFirst, true
		}
		return w.ladder[i/ofEach], walkAgain, true
	}
	if i == 0 {
		return w.first, knownFirst, true
	}
	if i < ofKnown {
		return w.first, knownAgain, true
	}
	if w.alone {
		return 0, 0, false
	}
	i -= ofKnown
	if at := slices.Index(w.ladder, w.first); at >= 0 && i >= at {
		i++ // the known form was tried
	}
	if i >= len(w.ladder) {
		return 0, 0, false
	}
	return w.ladder[i], otherWait, true
}

// build returns a packet of a form: the bytes of the previous packet if that has the same form.
func (w *walk) build(f ikeprobe.Form, keys *ikeprobe.Keyring, t collectors.Target) (netio.Packet, error) {
	if w.packet == nil || w.form != f {
		probes := collectors.IKEProbes{Keys: keys, Dialect: w.dialect, Form: f, Method: w.method, Target: t}
		packet, err := probes.Packet(w.method.String(), 0)
		if err != nil {
			return netio.Packet{}, fmt.Errorf("build %s: %w", f, err)
		}
		w.packet, w.form = packet, f
	}
	return *w.packet, nil
}

// notSent records that a probe did not leave this host.
func (w *walk) notSent(err error) {
	w.fault = err
	if w.unsent++; w.unsent >= maxUnsent {
		w.unknown(err)
		w.result.NotSent = true
	}
}

// replied ends the round with a reply. roundTrip is 0 if it is ambiguous.
func (w *walk) replied(f ikeprobe.Form, r ikeprobe.Reply, roundTrip time.Duration) {
	if w.active {
		w.sample(int(w.sent[f]), int(w.sent[f])-1)
	} else if w.known && f == w.first {
		w.loss.Answered(w.began)
	}
	w.settle(Responding)
	w.last, w.answered = f, true
	w.result.Form, w.result.Version, w.result.Reply, w.result.Detail = f, r.Version, r.Name, r.Detail
	if roundTrip > 0 {
		w.result.RoundTrip = roundTrip
	}
	switch f {
	case ikeprobe.V2BadKE:
		w.result.BadKESilent, w.result.BadKESent, w.offered = false, 0, true
	case ikeprobe.V2Major3:
		if w.sent[ikeprobe.V2BadKE] > 0 {
			w.result.BadKESilent, w.result.BadKESent = true, int(w.sent[ikeprobe.V2BadKE])
		}
	case ikeprobe.V2NoProp, ikeprobe.V1Main, ikeprobe.V1Minor:
	}
	if w.known && f != w.first {
		if w.misses++; w.misses < stickyRounds {
			return
		}
	}
	w.misses = 0
	w.dialect.Confirm(f) // no effect if the form was dropped
}

// sample counts the requests of a round in one form, which is answered. What an ICMP error refuses is
// not lost.
func (w *walk) sample(sent, lost int) {
	if w.refusal != nil && w.refusal.From.IsValid() {
		return
	}
	for i := range sent {
		w.loss.Add(w.began, i < lost)
	}
}

// exhausted ends a round without a reply after the last step of the plan.
func (w *walk) exhausted() {
	for _, f := range w.ladder {
		tried := w.sent[f] > 0 || w.alone && w.known && f != w.first
		if !tried && w.dialect.Allows(f) { // not sent: fault says why
			w.unknown(w.fault)
			w.result.NotSent = true
			return
		}
	}
	w.settle(Silent)
	if w.known {
		w.sample(int(w.sent[w.first]), int(w.sent[w.first]))
		w.misses++
	}
	if w.misses >= stickyRounds {
		w.misses = 0
		w.dialect.Reset()
	}
}

// unknown ends a round that was not measured.
func (w *walk) unknown(err error) {
	w.settle(Unknown)
	w.fault = err
}

// adopt ends a round with the silence that the requests of all peers show since a time.
func (w *walk) adopt(since time.Time) {
	w.settle(Silent)
	w.result.At, w.result.Sent = since, max(w.result.Sent, freshRequests)
}

func (w *walk) settle(s State) {
	w.result.State, w.result.At, w.result.Error, w.fault = s, w.began, w.refusal, nil
	w.result.Sent, w.result.NotSent = 0, false
	for _, n := range w.sent {
		w.result.Sent += int(n)
	}
	w.end()
}

func (w *walk) end() {
	w.active, w.crawling, w.packet = false, false, nil
}

// snapshot returns the result of a walk at the time now. Silence holds on while a stretched round
// goes on without an answer. The caller holds the lock.
func (c *Collector) snapshot(i int, now time.Time) Result {
	w := &c.walks[i]
	r := w.result.public()
	r.Port, r.Loss = w.port, w.loss.Last
	at := r.At
	if r.State == Silent && c.crawled.After(at) {
		at = c.crawled
	}
	if again := c.crawl.silentAt(now); r.State == Silent && again.After(r.At) {
		r.At = again
	}
	if r.State == Silent || c.crawl != nil && w.crawling {
		if shown := c.shown(now); shown.After(r.At) {
			r.State, r.At, r.Sent, r.NotSent = Silent, shown, max(r.Sent, freshRequests), false
			return r
		}
	}
	switch {
	case w.fault != nil && r.State == Unknown:
		r.Reason = w.fault.Error()
	case !collectors.Fresh(at, now, c.every(r.State)):
		r.State, r.Reason = Unknown, "no round has ended for three intervals"
	}
	return r
}
