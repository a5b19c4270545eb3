package ikeprobe

import (
	"slices"
	"sync"
)

// A Dialect remembers which form a peer answers by one method (port 500 or 4500). The search probes
// with Form, then calls Confirm or Advance. It may be used concurrently.
type Dialect struct {
	auth Auth

	mu       sync.Mutex
	ladder   []Form // never empty
	at       int
	answered bool
	spent    bool // the last form on the ladder was dropped as well
}

// NewDialect makes a Dialect that starts at the top of the version's ladder.
func NewDialect(v Version, a Auth) *Dialect { return &Dialect{auth: a, ladder: Ladder(v)} }

// Auth is the authentication method that was given to NewDialect.
func (d *Dialect) Auth() Auth { return d.auth }

// Form is the form that was answered, or else the one to try now.
func (d *Dialect) Form() Form {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ladder[d.at]
}

// Answered reports whether Form was answered.
func (d *Dialect) Answered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered
}

// Confirm registers that a form was answered, at any time and in any order: a late answer to an
// earlier form counts as well. A form that is not on the ladder is ignored.
func (d *Dialect) Confirm(f Form) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.ladder, f); i >= 0 && !d.spent {
		d.at, d.answered = i, true
	}
}

// Drop takes a form off the ladder whose offer the peer accepted (NameSA): sent again, it would
// leave one half-open SA after another there, until the peer locks out this address. Form still
// names the last one, but it is not allowed.
func (d *Dialect) Drop(f Form) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.ladder, f)
	if i < 0 {
		return
	}
	if len(d.ladder) == 1 {
		d.spent, d.answered = true, false
		return
	}
	d.ladder = slices.Delete(d.ladder, i, i+1)
	if i == d.at {
		d.answered = false
	}
	if i < d.at || d.at == len(d.ladder) {
		d.at--
	}
}

// Allows reports whether a form is on the ladder. If Form is not allowed, no form is.
func (d *Dialect) Allows(f Form) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.spent && slices.Contains(d.ladder, f)
}

// Ladder returns the forms that may be sent, in their order.
func (d *Dialect) Ladder() []Form {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spent {
		return nil
	}
	return slices.Clone(d.ladder)
}

// Advance moves to the next form, from the last one to the first. Earlier answers are forgotten.
func (d *Dialect) Advance() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.answered = (d.at+1)%len(d.ladder), false
}

// Reset forgets what was answered and goes back to the top of the ladder.
func (d *Dialect) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.answered = 0, false
}
