package ciscoasa

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Refusals remember which logins were refused, for as long as they are not to be tried again. Sources that are handed the same
// ones share the knowledge, so it outlives a source that is made anew. The zero value is ready, for any goroutines.
type Refusals struct {
	mu sync.Mutex
	of map[login]refusedLogin
}

// A login is all that a device judges: with any of it changed, it is another attempt.
type login struct {
	transport, address, username string
	level                        int
	again                        bool // enabled by `login`
	secrets                      secrets
}

// A refusedLogin is how often one was refused in a row, and until when it is not tried again.
type refusedLogin struct {
	times int
	until time.Time
}

// refusedDay bounds how long a refused login waits, and how long it is remembered after that.
const refusedDay = 24 * time.Hour

// until is until when a login is not tried again; it is over where none is known.
func (r *Refusals) until(l *login) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[*l].until
}

// add notes that a login was refused, and returns how long it waits.
func (r *Refusals) add(l *login, wait time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for other, known := range r.of {
		if now.Sub(known.until) > refusedDay {
			delete(r.of, other)
		}
	}
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

// remove notes that a login was taken.
func (r *Refusals) remove(l *login) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, *l)
}

// A vault reads secrets, keeps them out of errors, and keeps refused ones from being tried again.
type vault struct {
	config   *Config
	refusals *Refusals

	mu                sync.Mutex
	current, previous secrets
}

// secrets are what is sent to log in.
type secrets struct{ password, enable string }

// login is the one with these secrets.
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
	if s.password, err = readSecret(v.config.PasswordFile); err != nil {
		return s, err
	}
	if v.config.EnablePasswordFile != "" {
		if s.enable, err = readSecret(v.config.EnablePasswordFile); err != nil {
			return s, err
		}
	}
	v.mu.Lock()
	if s != v.current {
		v.previous, v.current = v.current, s
	}
	v.mu.Unlock()
	if until := v.refusals.until(v.login(s)); time.Now().Before(until) {
		return s, fmt.Errorf("%w before; not tried again until %s, or until the secrets change", ErrLogin, until.UTC().Format(time.RFC3339))
	}
	return s, nil
}

// readSecret reads a file with one secret in it.
func readSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%s has more than one line", file)
	}
	return s, nil
}

// refuse notes that the device refused s, and returns the error that says so.
func (v *vault) refuse(s secrets, what string) error {
	wait := v.refusals.add(v.login(s), v.config.LoginRetry)
	return fmt.Errorf("%w: %s; not tried again for %s, because devices lock accounts", ErrLogin, what, wait)
}

// accept notes that the device took the secrets.
func (v *vault) accept(s secrets) { v.refusals.remove(v.login(s)) }

// known are the secrets that must not be shown.
func (v *vault) known() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, s := range []secrets{v.current, v.previous} {
		if s.password != "" { // as it is sent by HTTPS, too
			out = append(out, base64.StdEncoding.EncodeToString([]byte(v.config.Username+":"+s.password)), s.password)
		}
		if s.enable != "" {
			out = append(out, s.enable)
		}
	}
	return out
}

// scrub keeps secrets out of an error, wherever the text comes from: a device may repeat what it was sent.
func (v *vault) scrub(err error) error {
	text := err.Error()
	clean := text
	for _, s := range v.known() {
		clean = strings.ReplaceAll(clean, s, "***")
	}
	if clean == text {
		return err
	}
	if errors.Is(err, ErrLogin) {
		return fmt.Errorf("%w: %s", ErrLogin, clean)
	}
	return errors.New(clean)
}
