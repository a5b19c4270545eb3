package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// deviceAddress reads a host name or address, with or without a port.
func (d *decoder) deviceAddress(n *yaml.Node, at place) (string, bool) {
	s, ok := d.filled(n, at)
	if !ok {
		return "", false
	}
	if why := badEndpoint(s); why != "" {
		d.problem(n, at, why)
		return "", false
	}
	return s, true
}

// badEndpoint says why something is not a host, nor a host and a port.
func badEndpoint(s string) string {
	host := s
	if h, port, ok := cutPort(s); ok {
		if why := badPort(port); why != "" {
			return fmt.Sprintf("%q %s", s, why)
		}
		host = h
	}
	if a, err := netip.ParseAddr(host); err == nil && (a.Zone() != "" || a.IsLinkLocalUnicast()) {
		return fmt.Sprintf("%q is a link-local address, which means something on one network only: a gateway is read by an address that is routed", s)
	}
	_, why := parseAddress(host)
	return why
}

// cutPort splits host:port and [address]:port. An IPv6 address without brackets has no port.
func cutPort(s string) (host, port string, ok bool) {
	if rest, bracket := strings.CutPrefix(s, "["); bracket {
		return strings.Cut(rest, "]:")
	}
	if strings.Count(s, ":") == 1 && !strings.Contains(s, "/") {
		return strings.Cut(s, ":")
	}
	return "", "", false
}

func badPort(s string) string {
	if v, err := strconv.ParseUint(s, 10, 16); err != nil || v == 0 {
		return fmt.Sprintf("has the port %q, which is not a number from 1 to 65535", s)
	}
	return ""
}

// contextName reads the name of a context, which is typed at a prompt.
func (d *decoder) contextName(n *yaml.Node, at place) (string, bool) {
	s, ok := d.filled(n, at)
	if ok && strings.ContainsAny(s, " \t") {
		d.problem(n, at, fmt.Sprintf("%q is not the name of a context: there are no blanks in one", s))
		return "", false
	}
	return s, ok
}

// socket reads where a daemon listens: unix:///path, tcp://address:port, or the name of a file.
func (d *decoder) socket(n *yaml.Node, at place) (string, bool) {
	s, ok := d.filled(n, at)
	if !ok {
		return "", false
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	why := ""
	switch {
	case !isURL:
		return d.path(n, at)
	case scheme == "unix" && strings.HasPrefix(rest, "/"):
	case scheme == "unix":
		why = fmt.Sprintf("%q is not unix:///path: the path has to begin with /", s)
	case scheme == "tcp":
		if _, _, ok := cutPort(rest); !ok {
			why = fmt.Sprintf("%q is not tcp://address:port", s)
		} else {
			why = badEndpoint(rest)
		}
	default:
		why = fmt.Sprintf("%q is neither unix:///path nor tcp://address:port, nor the path of a socket", s)
	}
	if why != "" {
		d.problem(n, at, why)
		return "", false
	}
	return s, true
}

// path reads the name of a file, which is relative to that of the configuration.
func (d *decoder) path(n *yaml.Node, at place) (string, bool) {
	s, ok := d.filled(n, at)
	if ok && d.file != "" && !filepath.IsAbs(s) {
		s = filepath.Join(filepath.Dir(d.file), s)
	}
	return s, ok
}
