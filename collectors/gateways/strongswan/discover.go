package strongswan

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// Discover implements gateways.Discoverer: who is configured, and who is connected.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	var found finder
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
		err = c.list(ctx, l.command, l.add)
		c.close()
		if err != nil {
			return nil, err
		}
	}
	return gateways.Merge(found), nil
}

// A finder collects peers.
type finder []gateways.Found

// connection takes a list-conn message: {name {remote_addrs=[192.0.2.1 vpn.example.net 198.51.100.0/24 %any] ...}}.
func (f *finder) connection(m *vici.Message) {
	sections(m, func(name string, conn *vici.Message) {
		for _, s := range words(conn, "remote_addrs") {
			if host, ok := single(s); ok {
				host.Name = name
				*f = append(*f, host)
			}
		}
	})
}

// single reads what may stand in remote_addrs. What is not one host is nobody to measure: anybody, a network, a range.
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

// sa takes a list-sa message.
func (f *finder) sa(m *vici.Message) {
	sections(m, func(conn string, sa *vici.Message) {
		if id := identity(conn, sa); id.Address.IsValid() {
			*f = append(*f, gateways.Found{Address: id.Address, Name: id.Name, Active: true})
		}
	})
}
