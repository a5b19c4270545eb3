// Package strongswan reads the SAs of a strongSwan daemon through its VICI socket: list-sas for the
// table, child-updown and child-rekey for events between two readings, list-conns for the
// configured peers.
//
// It changes nothing at the daemon and asks for no secrets; VICI shows none in these answers. It
// does not read the older stroke socket.
//
// Two faults of the VICI library shape its use here. A streamed call silently drops an answer while
// 128 of them wait for the caller, so a large table would be short; therefore list-sa is subscribed
// to, and no more is read than fits. And subscribing to a second event blocks forever if the first
// event arrives meanwhile; therefore each session subscribes to one.
package strongswan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "strongswan"

// DefaultSocket is where charon listens by default.
const DefaultSocket = "unix:///var/run/charon.vici"

// Config locates the daemon.
type Config struct {
	// Socket is unix:///path or tcp://address:port, DefaultSocket if empty.
	Socket string
	// PathMTU is nil where it cannot be known, for instance for a daemon on another host.
	PathMTU gateways.PathMTU
}

// A Source is one daemon.
type Source struct {
	network, address string
	pathMTU          gateways.PathMTU

	mu      sync.Mutex // for session and closed: Close may be called while Read runs
	session *session
	closed  bool
}

var (
	_ gateways.Watcher    = (*Source)(nil)
	_ gateways.Discoverer = (*Source)(nil)
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the source is closed")

// New makes a Source. It connects when it reads.
func New(c Config) (*Source, error) {
	network, address, err := parseSocket(c.Socket)
	if err != nil {
		return nil, err
	}
	return &Source{network: network, address: address, pathMTU: c.PathMTU}, nil
}

// parseSocket splits a socket's address in the form of swanctl and charon, or a bare path.
func parseSocket(s string) (network, address string, err error) {
	s = cmp.Or(s, DefaultSocket)
	network, address, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return "unix", s, nil
	case network == "unix" && strings.HasPrefix(address, "/"), network == "tcp" && address != "":
		return network, address, nil
	}
	return "", "", fmt.Errorf("VICI socket %q is neither unix:///path nor tcp://address:port", s)
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	var table gateways.Table
	err := s.query(ctx, "list-sa", func(c *session) error {
		t := tableBuilder{now: time.Now(), pathMTU: s.pathMTU, userspace: c.userspace}
		add := func(m *vici.Message) error {
			if t.add(m); t.Full() {
				return gateways.ErrTooMany
			}
			return nil
		}
		if err := c.list(ctx, "list-sas", add); err != nil {
			return err
		}
		table = t.Table
		table.Info, table.Counters = gateways.Info{Type: Type, Version: c.version}, c.counters(ctx)
		return nil
	})
	if err != nil {
		return gateways.Table{}, err
	}
	return table.Checked()
}

// query calls ask with the session that is kept open, or with a new one. A session that the daemon
// has closed since, because it was restarted, is replaced once.
func (s *Source) query(ctx context.Context, event string, ask func(*session) error) error {
	s.mu.Lock()
	kept, closed := s.session, s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if kept != nil {
		err := s.ask(kept, ask)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
	c, err := open(ctx, s.network, s.address, event)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.close()
		return ErrClosed
	}
	s.session = c
	s.mu.Unlock()
	return s.ask(c, ask)
}

// ask asks in a session, and drops the session after an error or a panic.
func (s *Source) ask(c *session, ask func(*session) error) error {
	done := false
	defer func() {
		if done {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.session == c {
			s.session = nil
		}
		c.close()
	}()
	err := ask(c)
	done = err == nil
	return err
}

// Close implements gateways.Source.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.session != nil {
		s.session.close()
		s.session = nil
	}
	return nil
}
