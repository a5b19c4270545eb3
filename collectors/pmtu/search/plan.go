package search

import (
	"slices"
	"time"

	"ipsec_path_exporter/internal/matched"
)

// The pace of a search. RFC 8899, section 5.1.1, wants probe timers of at least 1 s for transports
// with live data. A monitor has none to disturb: it caps its packets instead, and counts a late
// answer as proof all the same.
const (
	// burstSpacing is the pace of a burst.
	burstSpacing = 3 * time.Millisecond
	// minPairSpacing and maxPairSpacing bound the pace of matched pairs. It is the round trip, so
	// that an ack can end a run early and a burst of loss does not hit the whole run.
	minPairSpacing, maxPairSpacing = 20 * time.Millisecond, 100 * time.Millisecond
)

const (
	// slowest is the longest round trip that a search takes into account.
	slowest = 4 * time.Second
	// quietProbes is the number of oversize probes, PolitePause apart, that must stay without a PTB
	// before a path counts as a black hole; quietProbesPTB that of a path that used to send PTBs.
	quietProbes, quietProbesPTB = 2, 3
	// unheardPTB is the accepted probability that loss alone kept the PTBs for all of them away. A
	// loss above maxUnheard is counted as maxUnheard, because it would take too many probes.
	unheardPTB, maxUnheard = 1e-3, 0.36
	// maxSharedHints bounds how many hints of each source are tried.
	maxSharedHints = 3
)

func (s *Search) plan() Round {
	e := &s.ev
	ceiling := e.ceiling()
	switch {
	case !s.opened:
		s.opened = true
		return s.burst(opening, s.openingSizes()...)
	case s.slow.on:
		return s.planSlow()
	case s.lone:
		r := s.burst(lone, s.cfg.Control)
		r.Delay = matched.PolitePause
		return r
	case e.hint > e.proven && e.hint < ceiling && s.followed < maxHints:
		s.followed++
		return s.burst(hint, s.around(e.hint)...)
	case e.proven == 0:
		r := s.burst(control, s.controlSizes()...)
		if s.controls == s.cfg.Controls-1 {
			r.Timeout = max(r.Timeout, slowest-s.now) // an answer to the first probes may be under way
		}
		return r
	case ceiling == e.proven+1:
		return s.planBoundary()
	case !e.tried(e.link):
		return s.burst(opening, e.link)
	case !s.hinted:
		s.hinted = true
		if sizes := s.hintSizes(ceiling); len(sizes) > 0 {
			return s.burst(hint, sizes...)
		}
		return s.plan()
	case !s.swept:
		s.swept = true
		return s.burst(sweep, s.sweepSizes(ceiling)...)
	}
	return s.burst(narrow, s.narrowSizes(ceiling)...)
}

func (s *Search) burst(k kind, sizes ...int) Round {
	s.kind = k
	return Round{Sizes: sizes, Spacing: burstSpacing, Timeout: s.patience()}
}

// patience is how long to wait after the last probe of a round.
func (s *Search) patience() time.Duration {
	return matched.Patience(s.ev.maxRTT, matched.LeastPatience)
}

// openingSizes returns the expected size, and the size that is expected to fail.
func (s *Search) openingSizes() []int {
	known := s.cfg.KnownBytes
	if known == 0 || known >= s.ev.link {
		return []int{s.ev.link}
	}
	sizes := []int{known, known + 1}
	if s.cfg.Raise && known+1 < s.ev.link {
		sizes = append(sizes, s.ev.link)
	}
	return sizes
}

// around returns a size that may be the MTU and the next larger one, which then must fail. A size
// that was refused before is left out.
func (s *Search) around(size int) []int {
	if size >= s.ev.link || !s.mayPass(size+1) || s.ev.refused(size+1) {
		return []int{size}
	}
	return []int{size, size + 1}
}

// controlSizes returns a control and, unless it was refused, the expected size once more.
func (s *Search) controlSizes() []int {
	expected := s.openingSizes()[0]
	if expected == s.cfg.Control || !s.mayPass(expected) {
		return []int{s.cfg.Control}
	}
	return []int{s.cfg.Control, expected}
}

// hintSizes returns the expected sizes inside the bracket, and its upper end if that may be loss.
func (s *Search) hintSizes(ceiling int) []int {
	var sizes []int
	for _, h := range s.expected() {
		if h > s.ev.proven && (h < ceiling || h == ceiling && s.mayBeLoss(h)) && !slices.Contains(sizes, h) && len(sizes) < 2*maxSharedHints {
			sizes = append(sizes, s.around(h)...)
		}
	}
	return sizes
}

// expected returns likely MTUs: sizes named by PTBs, newest first, the last verdict, the hints.
func (s *Search) expected() []int {
	var sizes []int
	for _, r := range slices.Backward(s.ev.refusals) {
		if m := r.ptb.MTU; m >= max(s.ev.minimum, s.cfg.Control) && m < r.size && !slices.Contains(sizes, m) && len(sizes) < maxSharedHints {
			sizes = append(sizes, m)
		}
	}
	if s.cfg.KnownBytes > 0 {
		sizes = append(sizes, s.cfg.KnownBytes)
	}
	return append(sizes, s.cfg.Hints[:min(len(s.cfg.Hints), maxSharedHints)]...)
}

// sweepSizes returns a control, the plateaus inside the bracket in falling order, and a control.
// The order matters: a limiter that passes the first packets of a burst then passes the large ones,
// which is proof; in rising order its limit would look like an MTU. A ceiling that was only missed
// is tried again.
func (s *Search) sweepSizes(ceiling int) []int {
	sizes := []int{s.cfg.Control}
	if s.mayBeLoss(ceiling) {
		sizes = append(sizes, ceiling)
	}
	sizes = append(sizes, between(s.ev.proven, ceiling)...)
	return append(sizes, s.cfg.Control)
}

// narrowSizes returns sizes inside the bracket, from the largest down to F+1, and F as a control.
// Once anything was lost, a ceiling that was only missed is tried again every time: otherwise one
// lost probe would lead the search below the MTU for good.
func (s *Search) narrowSizes(ceiling int) []int {
	var sizes []int
	lost, _ := s.ev.loss()
	if lost > 0 && s.mayBeLoss(ceiling) {
		sizes = append(sizes, ceiling)
	}
	sizes = append(sizes, spread(s.ev.proven, ceiling)...)
	return append(sizes, s.ev.proven)
}

// mayPass reports whether no probe of this size was refused.
func (s *Search) mayPass(size int) bool { return !s.ev.tried(size) || s.ev.at(size).refused == 0 }

// mayBeLoss reports whether the ceiling is a size that was only missed.
func (s *Search) mayBeLoss(ceiling int) bool { return ceiling <= s.ev.link && s.mayPass(ceiling) }

// planBoundary tests a bracket that is closed.
func (s *Search) planBoundary() Round {
	e := &s.ev
	if s.awaitsPTB() {
		_, last := e.quiet(matched.PolitePause)
		r := s.burst(watch, e.proven+1)
		r.Delay = max(0, last+matched.PolitePause-s.now)
		return r
	}
	s.kind = pair
	return Round{
		Sizes:   s.pairs().next(e),
		Spacing: min(max(e.maxRTT, minPairSpacing), maxPairSpacing),
		Timeout: s.patience(),
		Until:   e.proven + 1,
	}
}

// awaitsPTB reports whether a rate limiter of PTBs has not yet had the time to send one. A path
// that used to send PTBs gets more of it, and so does one that loses packets, because it may lose
// PTBs as well. Where a PTB came for more than the proven size, there is nothing to wait for.
func (s *Search) awaitsPTB() bool {
	if s.cfg.Known == BlackHole && s.cfg.KnownBytes == s.ev.proven || s.ev.refusedMore() {
		return false
	}
	wanted := quietProbes
	if s.cfg.Known == Reduced || s.cfg.SendsPTBs {
		wanted = quietProbesPTB
	}
	if lost, controls := s.ev.loss(); lost > 0 {
		rule := matched.Rule{Alpha: unheardPTB, Least: wanted}
		wanted = rule.Pairs(min(rule.Loss(lost, controls), maxUnheard))
	}
	count, _ := s.ev.quiet(matched.PolitePause)
	return count < wanted
}
