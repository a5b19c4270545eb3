package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// deviceAddress parses a host name or IP address, with or without a port.
func deviceAddress(s string) (_, why string) {
	_, why = filled(s)
	return s, cmp.Or(why, badEndpoint(s))
}

// badEndpoint returns why a string is neither a host nor a host and a port.
func badEndpoint(s string) string {
	host := s
	if h, port, ok := cutPort(s); ok {
		if why := badPort(port); why != "" {
			return fmt.Sprintf("%q %s", s, why)
		}
		host = h
	}
	if a, err := netip.ParseAddr(host); err == nil && (a.Zone() != "" || a.IsLinkLocalUnicast()) {
		return fmt.Sprintf("%q is a link-local address: use a routed address of the gateway", s)
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
		return fmt.Sprintf("has the port %q: must be a whole number from 1 to 65535", s)
	}
	return ""
}

// contextName parses the name of a context, which is an argument of a command.
func contextName(s string) (_, why string) {
	if strings.ContainsAny(s, " \t") {
		why = fmt.Sprintf("%q is not a context name: remove the spaces", s)
	}
	_, empty := filled(s)
	return s, cmp.Or(empty, why)
}

// socket parses the socket of a daemon: unix:///path, tcp://address:port, or a path.
func (d *decoder) socket(s string) (_, why string) {
	if _, why := filled(s); why != "" {
		return "", why
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	switch {
	case !isURL:
		return d.path(s)
	case scheme == "unix" && strings.HasPrefix(rest, "/"):
		return s, ""
	case scheme == "unix":
		return "", fmt.Sprintf("%q must have the form unix:///path", s)
	case scheme != "tcp":
		return "", fmt.Sprintf("%q must have the form unix:///path or tcp://address:port, or be a path", s)
	}
	if _, _, ok := cutPort(rest); !ok {
		return "", fmt.Sprintf("%q must have the form tcp://address:port", s)
	}
	return s, badEndpoint(rest)
}

// path parses a path, which is relative to the directory of the configuration file.
func (d *decoder) path(s string) (_, why string) {
	_, why = filled(s)
	if d.file != "" && !filepath.IsAbs(s) {
		s = filepath.Join(filepath.Dir(d.file), s)
	}
	return s, why
}
