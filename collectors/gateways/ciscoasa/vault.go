package ciscoasa

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"ipsec_path_exporter/internal/devicelogin"
)

// Refusals remember which logins were refused, for as long as they are not to be tried again.
// Sources share the knowledge by sharing the Refusals, so it outlives a source that a reload
// replaces. The zero value is ready; any goroutine may use it.
type Refusals struct {
	mu sync.Mutex
	of map[login]refusedLogin
}

// A login is everything that a device judges: any change makes it another attempt.
type login struct {
	transport, address, username string
	level                        int
	again                        bool // enabled by `login`
	secrets                      secrets
}

// A refusedLogin counts refusals in a row; until then the login is not tried again.
type refusedLogin struct {
	times int
	until time.Time
}

// refusedDay bounds how long a refused login waits, and how long it is remembered after that.
const refusedDay = 24 * time.Hour

// until returns the time until when a login is not tried again, zero if it was not refused.
func (r *Refusals) until(l *login) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[*l].until
}

// add registers a refusal and returns how long the login waits.
func (r *Refusals) add(l *login, wait time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(r.of, func(_ login, known refusedLogin) bool { return now.Sub(known.until) > refusedDay })
	known := r.of[*l]
	longest := max(refusedDay, wait)
	for range known.times {
		wait = min(2*wait, longest)
	}
	if r.of == nil {
		r.of = map[login]refusedLogin{}
	}
	r.of[*l] = refusedLogin{times: known.times + 1, until: now.Add(wait)}
	return wait
}

func (r *Refusals) remove(l *login) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, *l)
}

// A vault reads secrets, removes them from errors, and prevents that refused ones are tried again.
type vault struct {
	config   *Config
	refusals *Refusals

	mu                sync.Mutex
	current, previous secrets
}

type secrets struct{ password, enable string }

func (v *vault) login(s secrets) *login {
	c := v.config
	port := "22"
	if c.Transport == HTTPS {
		port = "443"
	}
	return &login{
		transport: c.Transport, address: hostPort(c.Address, port), username: c.Username, level: c.EnableLevel, again: c.EnableLogin, secrets: s,
	}
}

// open reads the secrets. It fails while they are known to be refused.
func (v *vault) open() (secrets, error) {
	var s secrets
	var err error
	if s.password, err = v.config.password(); err != nil {
		return s, fmt.Errorf("password file: %w", err)
	}
	if v.config.EnablePasswordFile != "" {
		if s.enable, err = devicelogin.Secret(v.config.EnablePasswordFile); err != nil {
			return s, fmt.Errorf("enable password file: %w", err)
		}
	}
	v.mu.Lock()
	if s != v.current {
		v.previous, v.current = v.current, s
	}
	v.mu.Unlock()
	if until := v.refusals.until(v.login(s)); time.Now().Before(until) {
		return s, fmt.Errorf("%w before; not tried again until %s or until the secrets change", ErrLogin, until.UTC().Format(time.RFC3339))
	}
	return s, nil
}

func (v *vault) refuse(s secrets, what string) error {
	wait := v.refusals.add(v.login(s), v.config.LoginRetry)
	return fmt.Errorf("%w: %s; not tried again for %s, because devices lock accounts", ErrLogin, what, wait)
}

func (v *vault) accept(s secrets) { v.refusals.remove(v.login(s)) }

func (v *vault) known() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, s := range []secrets{v.current, v.previous} {
		if s.password != "" { // also in the form that HTTPS sends
			out = append(out, base64.StdEncoding.EncodeToString([]byte(v.config.Username+":"+s.password)), s.password)
		}
		if s.enable != "" {
			out = append(out, s.enable)
		}
	}
	return out
}

// clean removes secrets from a text, because a device may repeat what it was sent.
func (v *vault) clean(text string) string {
	for _, s := range v.known() {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}

// scrub removes secrets from an error.
func (v *vault) scrub(err error) error {
	text := err.Error()
	clean := v.clean(text)
	if clean == text {
		return err
	}
	if errors.Is(err, ErrLogin) {
		return fmt.Errorf("%w: %s", ErrLogin, clean)
	}
	return errors.New(clean)
}
