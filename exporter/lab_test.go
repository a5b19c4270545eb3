package exporter

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

// A lab is a provider with a gateway behind it.
type lab struct {
	*netlab.Provider
	gateway *responder.Responder
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	netlab.Need(tb)
	l := &lab{Provider: netlab.NewProvider(tb)}
	l.Server.Do(tb, func() {
		var err error
		if l.gateway, err = responder.Start(tb.Context(), responder.Config{}); err != nil {
			tb.Fatal(err)
		}
	})
	return l
}

// address is that of the gateway, as it is configured.
func (l *lab) address(v6 bool) string { return l.ServerAddr(v6).String() }

// dead is an address in the gateway's network that nobody has.
func (l *lab) dead() string { return l.ServerAddr(false).Next().Next().String() }

// app is the program in the client's place. It lives as long as the test.
func (l *lab) app(tb testing.TB, cfg *config.Config, log *slog.Logger, unprivileged bool) *app {
	tb.Helper()
	var a *app
	l.Client.Do(tb, func() {
		stack, err := netio.Open(netio.Config{Limits: limits(cfg), Log: log, Unprivileged: unprivileged})
		if err != nil {
			tb.Fatal(err)
		}
		if a, err = newApp(stack, cfg, icmp.BothBuckets, "", log); err != nil {
			tb.Fatal(err)
		}
	})
	tb.Cleanup(a.close)
	return a
}

// names is a resolver that knows what a test tells it.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	err     error
}

func (n *names) set(host string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == nil {
		n.answers = make(map[string][]netip.Addr)
	}
	n.answers[host] = addrs
}

func (n *names) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// LookupNetIP implements resolver.
func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answers[host], n.err
}

// A page is text that may be written to and read at the same time.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// count is how often it says something.
func (p *page) count(text string) int { return strings.Count(p.String(), text) }

// eventually waits until a condition holds.
func eventually(tb testing.TB, limit time.Duration, what string, holds func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); !holds(); <-tick.C {
		if time.Since(began) > limit {
			tb.Fatalf("%s: not within %v", what, limit)
		}
	}
	return time.Since(began)
}
