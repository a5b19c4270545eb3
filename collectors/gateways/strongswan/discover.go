package strongswan

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// Discover implements gateways.Discoverer: configured peers, and whether they are connected.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	found := finder{connections: map[string]*connection{}}
	for _, l := range []struct {
		event, command string
		add            func(*vici.Message)
	}{
		{"list-conn", "list-conns", found.connection},
		{"list-sa", "list-sas", found.sa},
	} {
		c, err := open(ctx, s.network, s.address, l.event)
		if err != nil {
			return nil, err
		}
		err = c.list(ctx, l.command, func(m *vici.Message) error {
			if l.add(m); len(found.found)+len(found.connections) > gateways.MaxSAs {
				return gateways.ErrTooMany
			}
			return nil
		})
		c.close()
		if err != nil {
			return nil, err
		}
	}
	return gateways.Merge(found.found), nil
}

// A finder collects peers. It reads the connections before the SAs.
type finder struct {
	found       []gateways.Found
	connections map[string]*connection
}

// A connection is what the configuration says about the other end.
type connection struct {
	hosts     []string
	addresses []netip.Addr
	// anyHost means that any host may connect, also where others are listed.
	anyHost bool
}

// connection takes a list-conn message: {name {remote_addrs=[192.0.2.1 vpn.example.net
// 198.51.100.0/24 %any] ...}}.
func (f *finder) connection(m *vici.Message) {
	sections(m, func(name string, conn *vici.Message) {
		c := &connection{}
		f.connections[name] = c
		remote := words(conn, "remote_addrs")
		c.anyHost = len(remote) == 0
		for _, s := range remote {
			host, ok := single(s)
			if !ok || strings.HasPrefix(s, "%") {
				c.anyHost = true
			}
			switch {
			case !ok:
				continue
			case host.Host != "":
				c.hosts = append(c.hosts, host.Host)
			default:
				c.addresses = append(c.addresses, host.Address)
			}
			host.Name, host.Local = name, configuredLocal(words(conn, "local_addrs"))
			f.found = append(f.found, host)
		}
	})
}

// configuredLocal is the one address that a connection is made from, not valid if it may be any.
func configuredLocal(addrs []string) netip.Addr {
	if len(addrs) != 1 {
		return netip.Addr{}
	}
	host, _ := single(addrs[0])
	return host.Address
}

// single reads a value of remote_addrs. Anything but one host names no peer.
func single(s string) (gateways.Found, bool) {
	s = strings.TrimPrefix(s, "%") // %name is a name that need not be the one that connects.
	first, _, _ := strings.Cut(s, "-")
	a, err := netip.ParseAddr(first)
	switch {
	case slices.Contains([]string{"", "any", "any4", "any6"}, s), strings.Contains(s, "/"):
		return gateways.Found{}, false
	case err != nil:
		return gateways.Found{Host: s}, true
	case first != s, a.IsUnspecified():
		return gateways.Found{}, false
	}
	return gateways.Found{Address: a}, true
}

// sa takes a list-sa message. Only established SAs of connections for known hosts count. The
// initiator does not matter: it changes with a rekey, so a gateway also initiates SAs with its road
// warriors.
func (f *finder) sa(m *vici.Message) {
	sections(m, func(name string, sa *vici.Message) {
		id, c := identity(name, sa), f.connections[name]
		if c == nil || name == unnamed || !id.Address.IsValid() || !ikeState(text(sa, "state")).Up() {
			return
		}
		found := gateways.Found{Address: id.Address, Name: id.Name, Active: true}
		switch configured := slices.Contains(c.addresses, id.Address); {
		case c.anyHost && !configured:
			return
		case !configured && len(c.hosts) > 0:
			found.Host = c.hosts[0]
		}
		if local, err := netip.ParseAddr(text(sa, "local-host")); err == nil && !local.IsUnspecified() {
			found.Local = local
		}
		f.found = append(f.found, found)
	})
}
