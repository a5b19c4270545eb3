// Package strongswan reads the SAs of a strongSwan daemon through its VICI socket: list-sas for the table, child-updown and
// child-rekey for what happens between two readings, list-conns for the peers that it is configured for.
//
// It changes nothing at the daemon and asks for no secrets; VICI shows none in these answers. It does not read the older stroke
// socket.
//
// Two faults of the VICI library shape its use here. A streamed call drops an answer when 128 of them wait for the caller, and
// says nothing: a large table would be short. So list-sa is subscribed to, with a buffer that is watched. And subscribing to a
// second event blocks for ever if the first one happens meanwhile: so each session subscribes to one.
package strongswan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "strongswan"

// DefaultSocket is where charon listens unless its configuration says otherwise.
const DefaultSocket = "unix:///var/run/charon.vici"

// Config says where the daemon is.
type Config struct {
	// Socket is unix:///path or tcp://address:port, DefaultSocket if empty.
	Socket string
	// PathMTU returns the path MTU that the daemon's kernel believes between two of its addresses, 0 if it does not know; nil if
	// nobody can tell, as where the daemon runs on another host.
	PathMTU func(local, remote netip.Addr) int
}

// A Source is one daemon.
type Source struct {
	network, address string
	pathMTU          func(local, remote netip.Addr) int

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

// parseSocket splits the address of a socket, as swanctl and charon write it; a bare path is one too.
func parseSocket(s string) (network, address string, err error) {
	if s == "" {
		s = DefaultSocket
	}
	network, address, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return "unix", s, nil
	case ok && network == "unix" && strings.HasPrefix(address, "/"), ok && network == "tcp" && address != "":
		return network, address, nil
	}
	return "", "", fmt.Errorf("VICI socket %q is neither unix:///path nor tcp://address:port", s)
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	var table gateways.Table
	err := s.query(ctx, "list-sa", func(c *session) error {
		t := tableBuilder{now: time.Now(), pathMTU: s.pathMTU, userspace: c.userspace}
		if err := c.list(ctx, "list-sas", t.add); err != nil {
			return err
		}
		table = gateways.Table{
			Info: gateways.Info{Type: Type, Version: c.version},
			IKE:  t.ike, Children: t.children, Unparsed: t.unparsed, Counters: c.counters(ctx),
		}
		return nil
	})
	return table, err
}

// query calls ask with the session that is kept open, or with a new one. A session that the daemon has closed since, because it
// was restarted, is replaced once.
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

// ask asks in a session, and drops the session where that does not come to its end.
func (s *Source) ask(c *session, ask func(*session) error) error {
	done := false
	defer func() {
		if !done {
			s.drop(c)
		}
	}()
	err := ask(c)
	done = err == nil
	return err
}

// drop closes a session that did not work.
func (s *Source) drop(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == c {
		s.session = nil
	}
	c.close()
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
