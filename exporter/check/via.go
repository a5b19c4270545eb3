package check

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"ipsec_path_exporter/exporter/config"
)

// A way is a way out of this host, as the command line names it.
type way struct {
	name string
	// source is valid if the name is that of an address, else the name is that of an interface.
	source netip.Addr
}

// ways reads the --via flags and returns all that is wrong with them.
func ways(flags []string) ([]way, error) {
	var all []way
	var problems []error
	for i, flag := range flags {
		w, err := parseWay(flag)
		if err == nil && slices.Contains(flags[:i], flag) {
			err = errors.New("listed twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("--via=%s: %w", flag, err))
			continue
		}
		all = append(all, w)
	}
	return all, errors.Join(problems...)
}

// parseWay reads one --via flag. Only the kernel checks that an address is one of this host's.
func parseWay(flag string) (way, error) {
	source, err := netip.ParseAddr(flag)
	switch {
	case err != nil:
		if _, err := net.InterfaceByName(flag); err != nil {
			return way{}, errors.New("neither an interface of this host nor an IP address")
		}
		return way{name: flag}, nil
	case source.Zone() != "":
		return way{}, fmt.Errorf("an address with a zone is not unique: give the interface alone, --via=%s", source.Zone())
	case source.IsUnspecified(), source.IsMulticast():
		return way{}, errors.New("not the address of one host")
	}
	return way{name: flag, source: source.Unmap()}, nil
}

// expandVia replaces every peer by one peer for each way out, which takes the place of what is
// configured about the way out.
func expandVia(peers []config.Peer, all []way) ([]config.Peer, error) {
	if len(all) == 0 {
		return peers, nil
	}
	out := make([]config.Peer, 0, len(peers)*len(all))
	var problems []error
	for _, p := range peers {
		for _, w := range all {
			one, err := w.of(p)
			if err != nil {
				problems = append(problems, fmt.Errorf("--via=%s: %w", w.name, err))
				continue
			}
			out = append(out, one)
		}
	}
	return out, errors.Join(problems...)
}

// of returns a peer over this way. A peer given by name needs an address of the source's family.
func (w way) of(p config.Peer) (config.Peer, error) {
	p.SourceAddress, p.Interface = w.source, ""
	if !w.source.IsValid() {
		p.Interface = w.name
		return p, nil
	}
	if p.Addr.IsValid() && p.Addr.Is4() != w.source.Is4() || !p.Family.Allows(w.source) {
		return p, fmt.Errorf("peer %q is not of this address family", p.Name)
	}
	p.Family = config.FamilyIP6
	if w.source.Is4() {
		p.Family = config.FamilyIP4
	}
	return p, nil
}
