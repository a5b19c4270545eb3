// Package libreswan reads the SAs of a Libreswan daemon (pluto) through its control program, whack. Pluto's control socket speaks
// a private structure of the very version, so there is no other door.
//
// `whack --status` has connections and states in one answer, `--trafficstatus` the bytes of each child, `--globalstatus` counters.
// None of them changes anything or shows a secret. The words differ between versions: 4.x says STATE_V2_ESTABLISHED_IKE_SA, 5.x
// ESTABLISHED_IKE_SA; what no rule knows is counted as the daemon's own word only.
//
// Pluto counts no packets, and does not say since when an IKE SA is established.
package libreswan

import (
	"context"
	"net/netip"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "libreswan"

// DefaultSocket is where pluto listens unless told otherwise.
const DefaultSocket = "/run/pluto/pluto.ctl"

// Config says where the daemon is.
type Config struct {
	// Socket is pluto's control socket, DefaultSocket if empty.
	Socket string
	// Whack is the program, where packages have it if empty.
	Whack string
	// PathMTU returns the path MTU that the kernel believes between an address of this host and a peer, 0 if it does not know; it
	// may be nil.
	PathMTU func(local, remote netip.Addr) int
}

// A Source is one daemon.
type Source struct {
	whack   gateways.Command
	pathMTU func(local, remote netip.Addr) int
}

var (
	_ gateways.Source     = (*Source)(nil)
	_ gateways.Discoverer = (*Source)(nil)
)

// New makes a Source.
func New(c Config) *Source {
	s := &Source{pathMTU: c.PathMTU}
	s.whack.Paths = []string{"/usr/libexec/ipsec/whack", "/usr/local/libexec/ipsec/whack", "/usr/lib/ipsec/whack"}
	if c.Whack != "" {
		s.whack.Paths = []string{c.Whack}
	}
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	s.whack.Args = []string{"--ctlsocket", c.Socket}
	return s
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	answers := map[string]string{}
	for _, command := range []string{"--status", "--trafficstatus", "--globalstatus"} {
		out, err := s.whack.Run(ctx, command)
		if err != nil {
			return gateways.Table{}, err
		}
		answers[command] = out
	}
	st := parseStatus(answers["--status"])
	if st.version == "" {
		return gateways.Table{}, errNotStatus
	}
	table := st.table(parseTraffic(answers["--trafficstatus"]), s.pathMTU)
	table.Counters = parseGlobal(answers["--globalstatus"])
	return table, nil
}

// Discover implements gateways.Discoverer: who is configured by address or name, and who is connected.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	out, err := s.whack.Run(ctx, "--status")
	if err != nil {
		return nil, err
	}
	st := parseStatus(out)
	if st.version == "" {
		return nil, errNotStatus
	}
	return st.found(), nil
}

// Close implements gateways.Source. Nothing is kept open.
func (s *Source) Close() error { return nil }
