package ikeprobe

import (
	"slices"
	"sync"
)

// A Dialect remembers which form a peer answers by one method (port 500 or 4500). Whoever looks for it walks down the ladder:
// probe with Form, then Confirm the form that was answered, or Advance. Others speak Form meanwhile. It may be used concurrently.
type Dialect struct {
	auth   Auth
	ladder []Form // never changed

	mu       sync.Mutex
	at       int
	answered bool
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

// Answered tells whether Form was answered.
func (d *Dialect) Answered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered
}

// Confirm notes that a form was answered, at any time and in any order: a late answer to an earlier form counts as well.
// A form that is not on the ladder is ignored.
func (d *Dialect) Confirm(f Form) {
	i := slices.Index(d.ladder, f)
	if i < 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.answered = i, true
}

// Advance moves to the next form, behind the last one to the first. The new form is not answered yet, whatever was
// answered before is forgotten: whoever sticks to an answered form does not call it.
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
