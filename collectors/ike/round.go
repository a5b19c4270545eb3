package ike

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
)

const (
	// walkTries are the tries of each form while none is known, walkFirst and walkAgain how long they wait for a reply.
	walkTries = 2
	walkFirst = time.Second
	walkAgain = 800 * time.Millisecond
	// knownTries are the tries of the form that is known to be answered, knownFirst and knownAgain how long they wait.
	knownTries = 3
	knownFirst = time.Second
	knownAgain = 2 * time.Second
	// otherWait is how long the one try of each other form waits.
	otherWait = time.Second
	// stagger is how much later the second method begins.
	stagger = 500 * time.Millisecond
	// stickyRounds is after how many rounds in which it was silent a form is no longer tried first.
	stickyRounds = 3
	// maxUnsent ends a round after as many probes in a row that did not leave this host.
	maxUnsent = 2
	// forms is how many there are.
	forms = ikeprobe.V1Minor + 1
	// nonceSize is what ikeprobe.Build wants.
	nonceSize = 32
)

// Reasons for not knowing.
var (
	// errNoRound is that before the first round has ended.
	errNoRound = errors.New("no round has ended yet")
	// errAccepted is that where there is no probe left that may be sent.
	errAccepted = errors.New("the peer accepts whatever is offered: every further probe would leave a half-open SA there")
)

// A walk is one method of one peer: its newest result, and the round under way. Under the lock of its Collector.
type walk struct {
	method  collectors.Method
	port    uint16
	auth    ikeprobe.Auth
	dialect *ikeprobe.Dialect
	result  Result
	fault   error  // why the result is unknown
	misses  int    // rounds in a row in which the known form was silent
	offered bool   // v2-badke was answered once
	number  uint64 // of the round
	began   time.Time

	// These are about the round under way.
	active  bool
	known   bool          // whether it begins with a form that is known
	first   ikeprobe.Form // that form
	ladder  []ikeprobe.Form
	step    int           // the next one of the plan
	due     time.Time     // when that is
	sent    [forms]int    // how many probes of each form left this host
	unsent  int           // probes in a row that did not
	message []byte        // the last one built, for identical tries
	form    ikeprobe.Form // its form
	spi     [8]byte       // its initiator SPI

	// These belong to the peer and survive a change of its address.
	requests, responses uint64
}

// setup begins anew for another way of speaking to the peer.
func (w *walk) setup(s collectors.IKESettings) {
	w.port, w.auth = s.Port, s.Auth
	if w.method == collectors.NATT {
		w.port = s.NATTPort
	}
	w.dialect = ikeprobe.NewDialect(s.Version, s.Auth)
	w.forget()
}

// forget drops what is known about the path.
func (w *walk) forget() {
	w.dialect.Reset()
	w.misses, w.offered, w.result, w.fault = 0, false, Result{}, errNoRound
	w.end()
}

// begin starts a round.
func (w *walk) begin(now, due time.Time) {
	w.number++
	w.began = now
	w.active, w.due = true, due
	w.known, w.first, w.ladder = w.dialect.Answered(), w.dialect.Form(), w.dialect.Ladder()
	if w.offered && w.result.BadKESilent && w.dialect.Allows(ikeprobe.V2BadKE) {
		w.first = ikeprobe.V2BadKE // has the peer let this address in again?
	}
	w.step, w.unsent, w.sent = 0, 0, [forms]int{}
}

// plan gives the form of step i of the round and how long it waits for a reply; ok is false behind the last.
func (w *walk) plan(i int) (f ikeprobe.Form, wait time.Duration, ok bool) {
	if !w.known {
		if i >= walkTries*len(w.ladder) {
			return 0, 0, false
		}
		if i%walkTries == 0 {
			return w.ladder[i/walkTries], walkFirst, true
		}
		return w.ladder[i/walkTries], walkAgain, true
	}
	if i == 0 {
		return w.first, knownFirst, true
	}
	if i < knownTries {
		return w.first, knownAgain, true
	}
	i -= knownTries
	if at := slices.Index(w.ladder, w.first); at >= 0 && i >= at {
		i++ // the known form had its turn
	}
	if i >= len(w.ladder) {
		return 0, 0, false
	}
	return w.ladder[i], otherWait, true
}

// build makes the message of a form, unless it is the one that was built last.
func (w *walk) build(f ikeprobe.Form, keys *ikeprobe.Keyring, peer string) error {
	if w.message != nil && w.form == f {
		return nil
	}
	var nonce [nonceSize]byte
	keys.Nonce(nonce[:])
	spi := keys.SPI(peer, w.method.String(), f, 0)
	message, err := ikeprobe.Build(f, w.auth, spi, w.marker(), 0, nonce[:])
	if err != nil {
		return fmt.Errorf("build %s: %w", f, err)
	}
	w.message, w.form, w.spi = message, f, spi
	return nil
}

// marker tells whether messages go behind the non-ESP marker (RFC 3948, section 2.2).
func (w *walk) marker() bool { return w.method == collectors.NATT }

// kept books that a probe did not leave this host.
func (w *walk) kept(err error) {
	w.fault = err
	if w.unsent++; w.unsent >= maxUnsent {
		w.unknown(err)
	}
}

// replied ends the round: the peer is there. roundTrip is 0 if it could not be told.
func (w *walk) replied(f ikeprobe.Form, r ikeprobe.Reply, roundTrip time.Duration) {
	w.settle(Responding)
	w.result.Form, w.result.Version, w.result.Reply, w.result.Detail = f, r.Version, r.Name, r.Detail
	if roundTrip > 0 {
		w.result.RoundTrip = roundTrip
	}
	switch f {
	case ikeprobe.V2BadKE:
		w.result.BadKESilent, w.offered = false, true
	case ikeprobe.V2Major3:
		if w.sent[ikeprobe.V2BadKE] > 0 {
			w.result.BadKESilent = true
		}
	case ikeprobe.V2NoProp, ikeprobe.V1Main, ikeprobe.V1Minor:
	}
	if w.known && f != w.first {
		if w.misses++; w.misses < stickyRounds {
			return
		}
	}
	w.misses = 0
	w.dialect.Confirm(f) // unless it was dropped
}

// refused ends the round: the peer itself says that nobody listens.
func (w *walk) refused() { w.settle(Refused) }

// exhausted ends a round whose plan got no reply.
func (w *walk) exhausted() {
	for _, f := range w.ladder {
		if w.sent[f] == 0 && w.dialect.Allows(f) { // then an error was kept
			w.unknown(w.fault)
			return
		}
	}
	w.settle(Silent)
	if w.known {
		w.misses++
	}
	if w.misses >= stickyRounds {
		w.misses = 0
		w.dialect.Reset()
	}
}

// unknown ends a round that could not be made.
func (w *walk) unknown(err error) {
	w.settle(Unknown)
	w.fault = err
}

func (w *walk) settle(s State) {
	w.result.State, w.result.At, w.fault = s, w.began, nil
	w.result.Sent = 0
	for _, n := range w.sent {
		w.result.Sent += n
	}
	w.end()
}

func (w *walk) end() {
	w.active, w.message = false, nil
}

// snapshot is the result as it is at the time now, given after which age it says nothing any more.
func (w *walk) snapshot(now time.Time, maxAge time.Duration) Result {
	r := w.result
	r.Port = w.port
	switch {
	case w.fault != nil && r.State == Unknown:
		r.Reason = w.fault.Error()
	case now.Sub(r.At) > maxAge:
		r.State, r.Reason = Unknown, "no round has ended for three intervals"
	}
	return r
}
