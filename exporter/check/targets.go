package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/discovery"
	"ipsec_path_exporter/exporter/peerfiles"
)

// peers returns the configured or discovered peers that were asked for, or addresses with the default
// settings.
func (o *Options) peers(ctx context.Context) (*config.Config, error) {
	if o.ConfigFile == "" && len(o.Targets) > 0 {
		return config.FromArguments(o.Targets)
	}
	cfg, err := config.ReadAny(o.ConfigFile, nil)
	if err != nil {
		return nil, err
	}
	if len(cfg.Peers)+len(cfg.PeerFiles) == 0 {
		cfg, err = o.discover(ctx, cfg)
	} else if cfg, err = peerfiles.Read(cfg); err == nil && len(cfg.Peers) == 0 {
		err = config.ErrNoPeers(o.ConfigFile)
	}
	if err != nil || len(o.Targets) == 0 {
		return cfg, err
	}
	var unknown []error
	for _, name := range o.Targets {
		if !slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool { return p.Named(name) }) {
			unknown = append(unknown, fmt.Errorf("%s has no peer named %q", o.ConfigFile, name))
		}
	}
	cfg.Known = cfg.Peers
	cfg.Peers = slices.DeleteFunc(slices.Clone(cfg.Peers), func(p config.Peer) bool {
		return !slices.ContainsFunc(o.Targets, p.Named)
	})
	return cfg, errors.Join(unknown...)
}

// discover returns a configuration without peers with the peers of this host's gateways, and prints
// which gateway gave which.
func (o *Options) discover(ctx context.Context, base *config.Config) (*config.Config, error) {
	d := discovery.New(slog.New(slog.DiscardHandler))
	cfg, err := d.Complete(ctx, base)
	if err == nil && len(cfg.Peers) == 0 {
		err = d.NotFound(base)
	}
	switch {
	case err == nil:
	case o.ConfigFile == "":
		return nil, fmt.Errorf("nothing to check: give an address, or --config.file; %w", err)
	default:
		return nil, fmt.Errorf("%w; %w", config.ErrNoPeers(o.ConfigFile), err)
	}
	listed := d.Listed()
	for _, gateway := range slices.Sorted(maps.Keys(listed)) {
		fmt.Fprintf(o.Stderr, "note: gateway %s lists %d peers: %s\n", gateway, len(listed[gateway]), discovery.Names(listed[gateway]))
	}
	return cfg, nil
}
