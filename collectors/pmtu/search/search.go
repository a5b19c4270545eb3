package search

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Limits of a search.
const (
	// DefaultPackets is the most that is sent where no limit is configured.
	DefaultPackets = 150
	// defaultSlow is the most time in slow mode where no limit is configured.
	defaultSlow = 45 * time.Second
	// defaultControls is the number of control rounds before a path counts as unreachable.
	defaultControls = 5
	// maxHints bounds the sizes named by PTBs that are tried. A chain of falling MTUs has fewer.
	maxHints = 8
	// maxLocal bounds how often this host may refuse a size.
	maxLocal = 32
	// minSamples is the number of controls whose loss says something. A search with more than
	// mostLoss percent of them lost is slowed down, or ended.
	minSamples, mostLoss = 10, 70
)

// Outcome is the outcome of one probe, as far as a search needs it.
type Outcome uint8

// The outcomes. The zero value is Silent.
const (
	// Silent means that there is no answer yet.
	Silent Outcome = iota
	// Acked means that the peer answered the probe.
	Acked
	// TooBig means that a valid PTB refused the probe.
	TooBig
	// TooBigLocally means that this host refused to send the probe.
	TooBigLocally
)

// An Observation is the outcome of one probe.
type Observation struct {
	Size    int
	Outcome Outcome
	// MTU is the size that a PTB, or this host, named; 0 if none.
	MTU int
	// From is the sender of the PTB.
	From netip.Addr
	// At is when the probe was sent, since the beginning of the search.
	At time.Duration
	// RoundTrip is set for Acked.
	RoundTrip time.Duration
	// Late means that the probe was reported as Silent before.
	Late bool
	// Inexact means that the PTB quotes no probe exactly, but may be about this one. The probe
	// has an outcome of its own.
	Inexact bool
}

// A Round is a batch of probes of Sizes, to be sent in this order.
type Round struct {
	Sizes []int
	// Delay is the pause before the first probe, Spacing between two, Timeout the wait after the
	// last.
	Delay, Spacing, Timeout time.Duration
	// Until ends the round as soon as a size of at least Until is acked or refused; 0 means never.
	Until int
}

// Config is what a search starts from.
type Config struct {
	// Control is the smallest size that can be probed, Link the largest.
	Control, Link int
	// Minimum is the smallest size that a PTB may name: 68 on IPv4 (RFC 1191, section 3), 1280 on
	// IPv6 (RFC 8201, section 4).
	Minimum int
	// Known and KnownBytes are the last conclusive verdict on this path, if any.
	Known      State
	KnownBytes int
	// SendsPTBs means that usable PTBs were received on this path before.
	SendsPTBs bool
	// Raise makes a search with a reduced Known try the link's MTU again at once.
	Raise bool
	// Hints are sizes that may be the MTU, such as the results of other methods.
	Hints []int
	// RoundTrip is the longest round trip of the last search, 0 if unknown.
	RoundTrip time.Duration
	// Controls is the number of control rounds before the path counts as unreachable, 0 for 5.
	Controls int
	// Packets is the most that may be sent, Slow the most time spent in slow mode; 0 for the
	// defaults.
	Packets int
	Slow    time.Duration
	// Seed makes the order within matched pairs. It should differ in every search.
	Seed uint64
}

// normalized sets defaults, and drops a last verdict that cannot be true of this link.
func (c Config) normalized() Config {
	c.Control = max(c.Control, 1)
	c.Link = max(c.Link, c.Control)
	c.Packets = cmp.Or(max(c.Packets, 0), DefaultPackets)
	c.Slow = cmp.Or(max(c.Slow, 0), defaultSlow)
	c.Controls = cmp.Or(max(c.Controls, 0), defaultControls)
	if !c.Known.Conclusive() || c.KnownBytes < c.Control || c.KnownBytes > c.Link ||
		(c.Known == Clean) != (c.KnownBytes == c.Link) {
		c.Known, c.KnownBytes = Unknown, 0
	}
	return c
}

// A Search finds the largest size that passes a path.
type Search struct {
	cfg     Config
	ev      evidence
	verdict Verdict
	kind    kind
	packets int
	rounds  int
	local   int // refusals by this host
	now     time.Duration

	opened     bool // the opening was sent
	hinted     bool // the hints of others were tried
	swept      bool // the plateaus were tried
	followed   int  // hints of PTBs that were tried
	controls   int  // control rounds without an ack
	deadSweeps int  // sweeps in a row without any answer
	lone       bool // a lone control is due, to tell a dead path from a rate limit
	restarts   int
	resumes    int
	run        pairRun
	slow       slowMode
}

// kind is the purpose of a round.
type kind uint8

// The kinds, in the order of the drawing.
const (
	opening kind = iota // the expected size, and one byte more
	control             // the smallest size, while nothing was acked
	hint                // a size that a PTB, another method or the last verdict named
	sweep               // common path MTUs, between two controls
	lone                // a control after a pause, because a whole sweep was lost
	narrow              // sizes inside the bracket
	watch               // F+1 after a pause, to let a rate-limited PTB come
	pair                // matched pairs of F and F+1
	slowly              // one probe at a time
)

// New returns a Search.
func New(cfg Config) *Search {
	cfg = cfg.normalized()
	return &Search{
		cfg: cfg, run: pairRun{seed: cfg.Seed},
		ev: evidence{link: cfg.Link, minimum: cfg.Minimum, control: cfg.Control, maxRTT: cfg.RoundTrip},
	}
}

// Verdict returns the result. Its State is Unknown while the search goes on.
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
	if v.Inexact = len(s.ev.inexact); v.Inexact > 0 {
		v.InexactPTB = s.ev.inexact[v.Inexact-1].ptb
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
		s.finish(Inconclusive, fmt.Sprintf("limit of %d packets reached", s.cfg.Packets))
		return Round{}, false
	}
	s.packets += len(r.Sizes)
	s.rounds++
	return r, true
}

// Observe takes the outcomes of the last round, at the time now since the beginning of the search,
// and late answers to earlier rounds. Probes of a round that ended early are left out.
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

// Unsent gives back n packets of the last round that were not sent.
func (s *Search) Unsent(n int) { s.packets = max(0, s.packets-n) }

// refusedLocally lowers the link's MTU to what this host reports. Nothing was sent or charged.
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

// note updates the state of the kind of round that was sent last.
func (s *Search) note(seen []Observation) {
	heard := slices.ContainsFunc(seen, func(o Observation) bool { return !o.Inexact && (o.Outcome == Acked || o.Outcome == TooBig) })
	switch s.kind {
	case control:
		s.controls++
	case lone:
		s.controls++
		s.lone = !heard
	case sweep:
		if heard {
			s.deadSweeps = 0
			return
		}
		// Not even the controls were answered: the path died, or a limiter dropped the burst.
		s.deadSweeps++
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

func (s *Search) judge() {
	e := &s.ev
	known := s.cfg.Known
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
	case known == s.boundary() && e.proven == s.cfg.KnownBytes && e.failed(e.proven+1) && !s.slow.on &&
		(known == Reduced || len(e.inexact) == 0):
		s.finish(known, "")
	case !s.slow.on && (s.deadSweeps >= 2 && !s.lone || tooLossy(e.loss())):
		s.enterSlow()
	case s.run.complete(e):
		s.confirm()
	case s.run.stalled():
		s.restart()
	case s.slow.on:
		s.judgeSlow()
	}
}

// tooLossy reports whether so many controls are lost that a burst shows nothing.
func tooLossy(lost, controls int) bool {
	return controls >= minSamples && lost*100 > controls*mostLoss
}

// boundary returns the state of a path whose boundary is known.
func (s *Search) boundary() State {
	if slices.ContainsFunc(s.ev.refusals, s.ev.usable) || s.ev.credible() {
		return Reduced
	}
	return BlackHole
}

// confirm ends the search at a boundary shown by matched pairs, after a second run if it is news.
func (s *Search) confirm() {
	state := s.boundary()
	news := state != s.cfg.Known || s.ev.proven != s.cfg.KnownBytes
	if s.run.again(); news && s.run.runs < 2 {
		return
	}
	s.finish(state, "")
}

// restart starts the search again, once, because the proven size stopped passing.
func (s *Search) restart() {
	if s.restarts++; s.restarts > 1 {
		s.finish(Inconclusive, "the peer stopped answering during the search")
		return
	}
	s.ev.tallies, s.ev.proven = nil, 0 // the path has changed since
	s.run = s.run.moved(0)
	s.slow = slowMode{}
	s.controls, s.deadSweeps, s.lone = 0, 0, false
	s.hinted, s.swept = false, false
}

func (s *Search) finish(state State, reason string) {
	s.verdict = Verdict{State: state, Bytes: s.ev.proven, Reason: reason}
	if state == Unreachable {
		s.verdict.Bytes = 0
	}
}
