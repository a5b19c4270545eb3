// Package libreswan reads the SAs of a Libreswan daemon (pluto) through its control program, whack,
// because pluto's control socket uses a private structure that depends on the version.
//
// `whack --status` has connections and states in one answer, `--trafficstatus` the bytes of each
// child, `--globalstatus` counters. None of them changes anything or shows a secret. The formats
// are the ones of versions 3.12 to 5.4 and of the main branch. An SA that only other lines name was
// not understood.
//
// Pluto counts no packets, and does not show since when an IKE SA is established.
package libreswan

import (
	"cmp"
	"context"
	"fmt"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "libreswan"

// DefaultSocket is the socket on which pluto listens by default.
const DefaultSocket = "/run/pluto/pluto.ctl"

// Config locates the daemon.
type Config struct {
	// Socket is pluto's control socket, DefaultSocket if empty.
	Socket string
	// Whack is the program, where packages have it if empty.
	Whack string
	// PathMTU may be nil.
	PathMTU gateways.PathMTU
}

// A Source is one daemon.
type Source struct {
	whack   gateways.Command
	pathMTU gateways.PathMTU
}

var (
	_ gateways.Source     = (*Source)(nil)
	_ gateways.Discoverer = (*Source)(nil)
)

// Programs returns where packages have whack.
func Programs() []string {
	return []string{"/usr/libexec/ipsec/whack", "/usr/local/libexec/ipsec/whack", "/usr/lib/ipsec/whack"}
}

// New makes a Source.
func New(c Config) *Source {
	s := &Source{pathMTU: c.PathMTU}
	s.whack.Paths = Programs()
	if c.Whack != "" {
		s.whack.Paths = []string{c.Whack}
	}
	s.whack.Args = []string{"--ctlsocket", cmp.Or(c.Socket, DefaultSocket)}
	return s
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	st, err := s.status(ctx)
	if err != nil {
		return gateways.Table{}, err
	}
	traffic, err := s.whack.Run(ctx, "--trafficstatus")
	if err != nil {
		return gateways.Table{}, err
	}
	global, err := s.whack.Run(ctx, "--globalstatus")
	if err != nil {
		return gateways.Table{}, err
	}
	table := st.assemble(ctx, parseTraffic(ctx, traffic), s.pathMTU)
	table.Counters = parseGlobal(ctx, global)
	if err := ctx.Err(); err != nil {
		return gateways.Table{}, fmt.Errorf("the answers of pluto take too long to parse: %w", err)
	}
	return table.Checked()
}

func (s *Source) status(ctx context.Context) (*status, error) {
	out, err := s.whack.Run(ctx, "--status")
	if err != nil {
		return nil, err
	}
	st := parseStatus(ctx, out)
	switch {
	case ctx.Err() != nil: // it may have ended before the line with the version
		return nil, fmt.Errorf("whack --status takes too long to parse: %w", ctx.Err())
	case st.full():
		return nil, fmt.Errorf("whack --status: %w", gateways.ErrTooMany)
	case st.version == "":
		return nil, errNotStatus
	}
	return st, nil
}

// Discover implements gateways.Discoverer. It lists peers that are configured by address or name,
// and whether they are connected.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	return st.found(), nil
}

// Close implements gateways.Source. Nothing is kept open.
func (s *Source) Close() error { return nil }
