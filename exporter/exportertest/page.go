package exportertest

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
)

// A Page is text that may be written and read at the same time.
type Page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (p *Page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

// String returns what was written.
func (p *Page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Count returns how often the page contains a text.
func (p *Page) Count(text string) int { return strings.Count(p.String(), text) }

// Names is a resolver that knows the addresses a test sets.
type Names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	err     error
}

// Set sets the addresses of a name.
func (n *Names) Set(host string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == nil {
		n.answers = make(map[string][]netip.Addr)
	}
	n.answers[host] = addrs
}

// Fail makes every look-up fail, or succeed again if err is nil.
func (n *Names) Fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// LookupNetIP implements resolve.Resolver.
func (n *Names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answers[host], n.err
}
