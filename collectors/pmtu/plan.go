package pmtu

import (
	"math"
	"slices"
)

// plan chooses the next round.
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
		r.Delay = politePause
		return r
	case e.hint > e.proven && e.hint < ceiling && s.followed < maxHints:
		s.followed++
		return s.burst(hint, s.around(e.hint)...)
	case e.proven == 0:
		return s.burst(control, s.controlSizes()...)
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

// burst makes a paced round.
func (s *Search) burst(k kind, sizes ...int) Round {
	s.kind = k
	return Round{Sizes: sizes, Spacing: burstSpacing, Timeout: Patience(s.ev.maxRTT)}
}

// openingSizes are the expected size, and the one that is expected to fail.
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

// around are a size that may be the MTU and the next larger one, which then must fail. What was refused
// already needs no second refusal.
func (s *Search) around(size int) []int {
	if size >= s.ev.link || s.ev.refused(size+1) || (s.ev.tried(size+1) && s.ev.at(size+1).refused > 0) {
		return []int{size}
	}
	return []int{size, size + 1}
}

// controlSizes are a control and, unless it was refused, the expected size once more.
func (s *Search) controlSizes() []int {
	expected := s.openingSizes()[0]
	if expected == s.cfg.Control || (s.ev.tried(expected) && s.ev.at(expected).refused > 0) {
		return []int{s.cfg.Control}
	}
	return []int{s.cfg.Control, expected}
}

// hintSizes are the expected sizes inside the bracket, its upper end included while that may be loss.
func (s *Search) hintSizes(ceiling int) []int {
	var sizes []int
	for _, h := range s.expected() {
		if h > s.ev.proven && (h < ceiling || h == ceiling && s.mayBeLoss(h)) && !slices.Contains(sizes, h) && len(sizes) < 2*maxSharedHints {
			sizes = append(sizes, s.around(h)...)
		}
	}
	return sizes
}

// expected are sizes that may well be the MTU: those named by PTBs, newest first, those found before, and by others.
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

// maxSharedHints bounds how many sizes of each source are tried.
const maxSharedHints = 3

// sweepSizes are a control, the plateaus inside the bracket from the largest down, and a control. The order
// matters: a limiter that lets the first packets of a burst pass then lets the large ones pass, which is
// proof, where the other order would make a limit look like an MTU. A ceiling that was only missed is tried again.
func (s *Search) sweepSizes(ceiling int) []int {
	sizes := []int{s.cfg.Control}
	if s.mayBeLoss(ceiling) {
		sizes = append(sizes, ceiling)
	}
	sizes = append(sizes, between(s.ev.proven, ceiling)...)
	return append(sizes, s.cfg.Control)
}

// narrowSizes are sizes inside the bracket, from the largest down to F+1, and F itself as a control. Once anything was
// lost, a ceiling that was only missed is tried again every time: that is what leads a search on that has stumbled over
// a loss, and it keeps what is known of larger sizes.
func (s *Search) narrowSizes(ceiling int) []int {
	var sizes []int
	lost, _ := s.ev.loss()
	if lost > 0 && s.mayBeLoss(ceiling) {
		sizes = append(sizes, ceiling)
	}
	sizes = append(sizes, spread(s.ev.proven, ceiling)...)
	return append(sizes, s.ev.proven)
}

// mayBeLoss tells whether the ceiling is a size that was only missed.
func (s *Search) mayBeLoss(ceiling int) bool {
	return ceiling <= s.ev.link && s.ev.at(ceiling).refused == 0
}

// planBoundary tests a bracket that is closed.
func (s *Search) planBoundary() Round {
	e := &s.ev
	if s.owesSilence() {
		_, last := e.quiet(politePause)
		r := s.burst(watch, e.proven+1)
		r.Delay = max(0, last+politePause-s.now)
		return r
	}
	s.kind = pair
	if s.run.lower != e.proven {
		s.run = s.run.moved(e.proven)
	}
	spacing := min(max(e.maxRTT, minPairSpacing), maxPairSpacing)
	return Round{
		Sizes:   s.run.next(e),
		Spacing: spacing,
		Timeout: Patience(e.maxRTT),
		Until:   e.proven + 1,
	}
}

// owesSilence tells whether the path was not yet given the time that a rate limiter of PTBs may want to speak up. One that
// used to send PTBs gets more of it, and so does one that loses packets, for it may lose PTBs as well. Where a PTB came for
// more than the proven size, there is nothing to wait for.
func (s *Search) owesSilence() bool {
	proven := s.ev.proven
	if s.cfg.Known == BlackHole && s.cfg.KnownBytes == proven ||
		slices.ContainsFunc(s.ev.refusals, func(r refusal) bool { return r.size > proven }) {
		return false
	}
	wanted := quietProbes
	if s.cfg.Known == Reduced || s.cfg.Spoken {
		wanted = spokenQuietProbes
	}
	if lost, controls := s.ev.loss(); lost > 0 {
		unheard := math.Log(unheardPTB) / math.Log(min(float64(lost)/float64(controls), maxUnheard))
		wanted = max(wanted, int(math.Ceil(unheard)))
	}
	count, _ := s.ev.quiet(politePause)
	return count < wanted
}
