package exporter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/strongswan"
	"ipsec_path_exporter/exporter/config"
)

const (
	// discoverEvery is how often the gateways of this host are asked for their peers.
	discoverEvery   = 30 * time.Second
	discoverTimeout = 10 * time.Second
)

// A discovery takes the peers from the gateways of this host, for a configuration that names none. It is used by one goroutine at a time.
type discovery struct {
	log *slog.Logger
	// local are the gateways to look for where none is configured.
	local []config.Gateway
	// last is what each gateway showed last: one that cannot be asked just now keeps its peers.
	last map[string][]gateways.Found
}

func newDiscovery(log *slog.Logger) *discovery {
	d := &discovery{log: log, last: make(map[string][]gateways.Found)}
	for _, g := range []config.Gateway{
		{Type: config.StrongSwan, Socket: strongswan.DefaultSocket},
		{Type: config.Libreswan, Socket: libreswan.DefaultSocket},
		{Type: config.XFRM},
	} {
		g.Name, g.Interval, g.Timeout = g.Type.String(), config.DefaultGatewayInterval, discoverTimeout
		d.local = append(d.local, g)
	}
	return d
}

// discovers tells whether a gateway of this type can tell its peers.
func discovers(t config.GatewayType) bool {
	return t == config.StrongSwan || t == config.Libreswan || t == config.XFRM
}

// complete adds to a configuration without peers those of the gateways: of the configured ones, or else of those that are found on this host.
// It fails where there is neither. file is that of the configuration, for the error.
func (d *discovery) complete(ctx context.Context, cfg *config.Config, file string) (*config.Config, error) {
	if len(cfg.Peers) > 0 {
		return cfg, nil
	}
	out := *cfg
	configured := slices.ContainsFunc(cfg.Gateways, func(g config.Gateway) bool { return discovers(g.Type) })
	candidates := cfg.Gateways
	if !configured {
		candidates = d.local
	}
	where := make(map[string][]string) // gateways, by address or name of the peer
	var problems []error
	some := configured
	for i := range candidates {
		g := &candidates[i]
		if !discovers(g.Type) {
			continue
		}
		found, err := d.ask(ctx, g)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !configured:
			continue
		case err != nil && !configured:
			problems = append(problems, err)
			continue
		case err != nil:
			d.log.Debug("a gateway cannot be asked for its peers", "gateway", g.Name, "err", err)
		case !configured && g.Type == config.XFRM && len(found) == 0:
			continue // every Linux has it
		}
		if some = true; !configured {
			out.Gateways = append(slices.Clip(out.Gateways), *g)
		}
		for _, f := range found {
			address := f.Host
			if f.Address.IsValid() {
				address = f.Address.String()
			}
			where[address] = append(where[address], g.Name)
		}
	}
	if !some {
		return nil, notFound(file, problems)
	}
	for _, address := range slices.Sorted(maps.Keys(where)) {
		if err := out.Discovered(address, where[address]); err != nil {
			d.log.Debug("a peer of a gateway cannot be measured", "err", err)
		}
	}
	return &out, nil
}

// notFound is the error of a configuration without peers on a host without gateways.
func notFound(file string, problems []error) error {
	hint := "on a VPN gateway neither is needed: the peers of strongSwan, Libreswan or the kernel are taken, but none was found here"
	if len(problems) > 0 {
		hint += fmt.Sprintf(" (%s)", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
	}
	return fmt.Errorf("%w; %s", config.ErrNoPeers(file), hint)
}

// ask asks one gateway for its peers.
func (d *discovery) ask(ctx context.Context, g *config.Gateway) ([]gateways.Found, error) {
	found, err := discover(ctx, g)
	if err == nil {
		d.last[g.Name] = found
		return found, nil
	}
	if last, known := d.last[g.Name]; known {
		d.log.Debug("a gateway cannot be asked for its peers, those of before stay", "gateway", g.Name, "err", err)
		return last, nil
	}
	return nil, fmt.Errorf("%s: %w", g.Name, err)
}

func discover(ctx context.Context, g *config.Gateway) ([]gateways.Found, error) {
	if path := strings.TrimPrefix(g.Socket, "unix://"); strings.HasPrefix(path, "/") {
		if _, err := os.Stat(path); err != nil {
			return nil, err // before a program is started to find that out
		}
	}
	source, err := newSource(g, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	d, ok := source.(gateways.Discoverer)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a gateway of type %s does not tell its peers", g.Type), source.Close())
	}
	found, err := d.Discover(ctx)
	return found, errors.Join(err, source.Close())
}
