package pmtu

import (
	"net/netip"
	"slices"
	"time"
)

// The pace of a search. RFC 8899, section 5.1.1, wants probe timers of at least 1 s for transports with live data: a
// monitor has none to disturb, caps its packets instead, and takes answers that come late for proof all the same.
const (
	// firstTimeout is how long to wait while no round trip is known.
	firstTimeout = time.Second
	// minTimeout and maxTimeout bound the wait of four round trips afterwards.
	minTimeout, maxTimeout = 200 * time.Millisecond, 2 * time.Second
	// burstSpacing is the pace of a burst.
	burstSpacing = 3 * time.Millisecond
	// minPairSpacing and maxPairSpacing bound the pace of matched pairs, which is the round trip, so that an ack
	// can end a run early and a burst of loss does not swallow it.
	minPairSpacing, maxPairSpacing = 20 * time.Millisecond, 100 * time.Millisecond
	// politePause is longer than the pause that common PTB and ICMP rate limits want (Cisco IOS: 500 ms, Linux: 1 s).
	politePause = 1100 * time.Millisecond
)

// Limits of a search.
const (
	// defaultPackets and defaultSlow are the limits where none are configured.
	defaultPackets, defaultSlow = 150, 45 * time.Second
	// controlRounds is how often a control is tried before a path counts as unreachable.
	controlRounds = 5
	// maxHints bounds how many sizes named by PTBs are followed: more than any real chain of falling MTUs has.
	maxHints = 8
	// quietProbes is how many oversize probes, politePause apart, must stay without a PTB before a path counts as
	// a black hole, spokenQuietProbes how many if it used to send PTBs.
	quietProbes, spokenQuietProbes = 2, 3
	// unheardPTB is the accepted probability that loss alone kept all of their PTBs away, as far as that takes no
	// more probes than a loss of maxUnheard wants.
	unheardPTB, maxUnheard = 1e-3, 0.36
	// maxLocal bounds how often this host may refuse a size.
	maxLocal = 32
)

// Outcome is what became of one probe, as far as a search cares.
type Outcome uint8

// The outcomes. The zero value is Silent.
const (
	// Silent means that nothing was heard of the probe yet.
	Silent Outcome = iota
	// Acked means that the peer answered it.
	Acked
	// TooBig means that a valid PTB refused it.
	TooBig
	// TooBigLocally means that this host refused to send it.
	TooBigLocally
)

// An Observation is what became of one probe.
type Observation struct {
	Size    int
	Outcome Outcome
	// MTU is the size that a PTB, or this host, named; 0 if none.
	MTU int
	// From is who sent the PTB.
	From netip.Addr
	// At is when the probe was sent, since the beginning of the search.
	At time.Duration
	// RoundTrip is set for Acked.
	RoundTrip time.Duration
	// Late means that the probe was reported as Silent before.
	Late bool
}

// A Round is the next batch of probes.
type Round struct {
	// Sizes are the sizes to send, in this order.
	Sizes []int
	// Delay is the pause before the first, Spacing that between them, Timeout the wait after the last.
	Delay, Spacing, Timeout time.Duration
	// Until ends the round as soon as a size of at least Until is acked or refused; 0: never.
	Until int
}

// Patience is how long answers are waited for when the longest round trip so far was rtt.
func Patience(rtt time.Duration) time.Duration {
	if rtt <= 0 {
		return firstTimeout
	}
	return min(max(4*rtt, minTimeout), maxTimeout)
}

// Config says what a search starts from.
type Config struct {
	// Control is the smallest size that can be probed, Link the largest.
	Control, Link int
	// Minimum is the smallest size that a PTB may name: 68 on IPv4 (RFC 1191, section 3), 1280 on IPv6 (RFC 8201, section 4).
	Minimum int
	// Known and KnownBytes are the last conclusive verdict on this path, if any.
	Known      State
	KnownBytes int
	// Spoken means that usable PTBs were received on this path before.
	Spoken bool
	// Raise makes a search with a reduced Known try the link's MTU again at once.
	Raise bool
	// Hints are sizes worth a try, such as those found by other methods.
	Hints []int
	// RoundTrip is the longest round trip of the last search, 0 if unknown.
	RoundTrip time.Duration
	// Controls is how many rounds a control is tried, 0 for the default.
	Controls int
	// Packets is the most that may be sent, Slow the most time spent in slow mode; 0 for the defaults.
	Packets int
	Slow    time.Duration
	// Seed makes the order of matched pairs, so that it is another one in every search.
	Seed uint64
}

// A Search finds the largest size that passes a path. It has no clock, no socket and no randomness: Next says what to
// send, Observe takes what became of it, until Next has nothing more to say and Verdict has.
//
//	       opening {link}, or {V,V+1} of the last verdict
//	          |      \__ link acked ------------------------------------> clean
//	          |       \_ V acked, V+1 failed as last time --------------> as last time
//	 nothing acked     \_ PTB names m --> hint {m,m+1} -- m acked,
//	          v                             |             m+1 refused --> reduced
//	control {control,link} <----------------+ none acked
//	          |  \__ 5 times nothing -----------------------------------> unreachable
//	          v
//	 hints of others {h,h+1}...   (an open bracket: proven < MTU < ceiling)
//	          v
//	       sweep of plateaus -- twice nothing, but a lone control acked --> slow mode: one
//	          v                                                            probe each 1.1 s,
//	   +-> narrow {F+1 ... F} --.                                          bisection, a control
//	   |      v bracket closed  | > 70 % of controls lost ---------------> after each silence
//	   |   watch for PTBs, where the path used to send them                  |   \__ out of time
//	   |      v                                                              v        |
//	   +-- pairs F+1 F, F F+1 ... <---------------------------------------- pairs      v
//	 F+1 acked |    \__ F+1 refused by a usable PTB --> reduced                inconclusive,
//	           v                                                               at least F
//	  n misses in a row, a second time if that is news
//	           |    \__ any usable PTB for more than F --> reduced
//	           v
//	       black hole
//
// Two rules keep it honest. A size is only ever named because it was acked, and a boundary only because F+1 failed
// under the very conditions under which F did not. The order of a pair's two halves follows the Thue-Morse
// sequence: under a strict alternation a rate limiter that passes every second packet would look like an MTU.
type Search struct {
	cfg     Config
	ev      evidence
	verdict Verdict
	kind    kind
	packets int
	rounds  int
	local   int
	now     time.Duration

	opened   bool // the opening was sent
	hinted   bool // the hints of others were tried
	swept    bool // the plateaus were tried
	followed int  // hints of PTBs that were tried
	controls int  // control rounds without an ack
	dead     int  // sweeps in a row that nothing was heard of
	lone     bool // a lone control is due, to tell a dead path from a limiter
	restarts int
	resumes  int
	run      pairRun
	slow     slowMode
}

// kind is what a round was sent for.
type kind uint8

// The kinds of rounds.
const (
	opening kind = iota
	control
	lone
	hint
	sweep
	narrow
	watch
	pair
	slowly
)

// NewSearch makes a search.
func NewSearch(cfg Config) *Search {
	cfg.Control = max(cfg.Control, 1)
	cfg.Link = max(cfg.Link, cfg.Control)
	if cfg.Packets <= 0 {
		cfg.Packets = defaultPackets
	}
	if cfg.Slow <= 0 {
		cfg.Slow = defaultSlow
	}
	if cfg.Controls <= 0 {
		cfg.Controls = controlRounds
	}
	if !cfg.Known.conclusive() || cfg.KnownBytes < cfg.Control || cfg.KnownBytes > cfg.Link ||
		(cfg.Known == Clean) != (cfg.KnownBytes == cfg.Link) {
		cfg.Known, cfg.KnownBytes = Unknown, 0
	}
	return &Search{cfg: cfg, run: pairRun{seed: cfg.Seed}, ev: evidence{link: cfg.Link, minimum: cfg.Minimum, control: cfg.Control, maxRTT: cfg.RoundTrip}}
}

// Verdict returns what was found. Its State is Unknown while the search goes on.
func (s *Search) Verdict() Verdict {
	v := s.verdict
	v.Link, v.Packets, v.PTBs, v.Rejected = s.ev.link, s.packets, s.ev.received, s.ev.rejected
	v.RoundTrip = s.ev.maxRTT
	lost, samples := s.ev.loss()
	if v.Samples = samples; samples > 0 {
		v.Loss = float64(lost) / float64(samples)
	}
	if v.Bytes > 0 {
		v.PTB = s.ev.lastPTB()
	}
	return v
}

// Next returns the next round, or false when the search is over.
func (s *Search) Next() (Round, bool) {
	if s.verdict.State != Unknown {
		return Round{}, false
	}
	r := s.plan()
	if s.packets+len(r.Sizes) > s.cfg.Packets || s.rounds >= s.cfg.Packets {
		s.finish(Inconclusive, "out of packets")
		return Round{}, false
	}
	s.packets += len(r.Sizes)
	s.rounds++
	return r, true
}

// Observe takes what became of the probes of the last round, by the time now since the beginning of the search, and
// late news of earlier ones. Probes of a round that ended early are left out: they were not sent.
func (s *Search) Observe(now time.Duration, seen []Observation) {
	if s.verdict.State != Unknown {
		return
	}
	s.now = max(s.now, now)
	s.ev.record(seen)
	s.refusedLocally(seen)
	s.note(seen)
	s.judge()
}

// Unsent gives back the packets of the last round that were never put on the wire.
func (s *Search) Unsent(n int) { s.packets = max(0, s.packets-n) }

// refusedLocally lowers the link's MTU to what this host says it is. Nothing was sent, so nothing is spent.
func (s *Search) refusedLocally(seen []Observation) {
	for _, o := range seen {
		if o.Outcome != TooBigLocally || o.Late || o.Size > s.ev.link {
			continue
		}
		s.Unsent(1)
		s.local++
		limit := o.Size - 1
		if o.MTU > 0 {
			limit = min(limit, o.MTU)
		}
		s.ev.link = max(limit, s.cfg.Control, s.ev.proven)
		if s.kind == opening {
			s.opened = false
		}
		if o.Size <= s.cfg.Control {
			s.local = maxLocal + 1
		}
	}
	if s.cfg.KnownBytes > s.ev.link {
		s.cfg.Known, s.cfg.KnownBytes = Unknown, 0
	}
}

// note keeps what the kind of the last round makes of it, beyond the evidence itself.
func (s *Search) note(seen []Observation) {
	heard := slices.ContainsFunc(seen, func(o Observation) bool { return o.Outcome == Acked || o.Outcome == TooBig })
	switch s.kind {
	case control:
		s.controls++
	case lone:
		s.controls++
		s.lone = !heard
	case sweep:
		if heard {
			s.dead = 0
			return
		}
		// Not even the controls: either the path died, or the burst was too much for somebody.
		s.dead++
		s.controls = 0
		s.lone, s.swept = true, false
		s.ev.forget()
	case pair:
		s.run.add(seen)
	case slowly:
		s.slow.note(s, seen)
	case opening, hint, narrow, watch:
	}
}

// judge ends the search if the evidence allows it.
func (s *Search) judge() {
	e := &s.ev
	known := s.cfg.Known
	lost, samples := e.loss()
	switch {
	case s.local > maxLocal:
		s.finish(Inconclusive, "this host refuses to send probes")
	case e.proven >= e.link:
		s.finish(Clean, "")
	case (e.proven == 0 || s.lone) && s.controls >= s.cfg.Controls:
		s.finish(Unreachable, "small packets were not answered either")
	case e.proven == 0:
	case e.refused(e.proven + 1):
		s.finish(Reduced, "")
	case known == s.boundary() && e.proven == s.cfg.KnownBytes && e.failed(e.proven+1) && !s.slow.on:
		s.finish(known, "")
	case !s.slow.on && (s.dead >= 2 && !s.lone || samples >= 10 && lost*10 > samples*7):
		s.enterSlow()
	case s.run.complete(e):
		s.confirm()
	case s.run.stalled():
		s.restart()
	case s.slow.on:
		s.judgeSlow()
	}
}

// boundary is what a path whose boundary is known is called.
func (s *Search) boundary() State {
	if _, ok := s.ev.spoken(); ok {
		return Reduced
	}
	return BlackHole
}

// confirm ends the search at a boundary that matched pairs have shown, after a second run of them if it is news.
func (s *Search) confirm() {
	state := s.boundary()
	news := state != s.cfg.Known || s.ev.proven != s.cfg.KnownBytes
	if s.run.again(); news && s.run.runs < 2 {
		return
	}
	s.finish(state, "")
}

// restart begins anew, once: the size that was proven stopped passing while the search went on.
func (s *Search) restart() {
	if s.restarts++; s.restarts > 1 {
		s.finish(Inconclusive, "answers stopped while searching")
		return
	}
	s.ev.restart(0)
	s.run = s.run.moved(0)
	s.slow = slowMode{}
	s.controls, s.dead, s.lone = 0, 0, false
	s.hinted, s.swept = false, false
}

// finish ends the search.
func (s *Search) finish(state State, reason string) {
	s.verdict = Verdict{State: state, Bytes: s.ev.proven, Reason: reason}
	if state == Unreachable {
		s.verdict.Bytes = 0
	}
}
