package exporter

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/discovery"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/exporter/peerfiles"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/internal/sandbox"
)

// A reloader reads the configuration again. One reload runs at a time.
type reloader struct {
	app     *app
	log     *slog.Logger
	options ServeOptions
	life    context.Context //nolint:containedctx // peers live as long as the program, not as long as the request that adds them
	hup     <-chan os.Signal
	turn    *semaphore.Weighted // one change of the configuration at a time
	// reloaded gets a value when the patterns of peer files may have changed.
	reloaded chan struct{}

	discovery *discovery.Discovery
	files     *peerfiles.Files
	shard     shard.Shard
	// base is the configuration as it was read, without the peers of other shards; cfg is the one that
	// runs, whose peers may have been discovered or come from files. left are the gateways that other
	// shards read. All belong to the holder of turn.
	base, cfg *config.Config
	left      []string
	// stamp is that of the configuration file when it was read last. It belongs to the holder of turn.
	stamp stamp
	// rules are the files that the program may use since its start, nil if it may use all; named are
	// those that the configuration named then. They do not change.
	rules *sandbox.Rules
	named map[string]bool
	// waiting means that there is nothing to measure yet.
	waiting atomic.Bool
}

// newReloader makes a reloader that has read nothing.
func newReloader(log *slog.Logger, of shard.Shard) *reloader {
	return &reloader{
		log: log, turn: semaphore.NewWeighted(1), reloaded: make(chan struct{}, 1),
		discovery: discovery.New(log), files: peerfiles.New(log, of.Has), shard: of,
	}
}

// read reads the configuration and leaves the peers of this shard.
func (r *reloader) read() (*config.Config, error) {
	base, err := r.options.read()
	if err == nil {
		base.Divide(r.shard.Has)
	}
	return base, err
}

// discovers reports whether the peers of a configuration are those of gateways: it names none.
func discovers(base *config.Config) bool {
	return len(base.Peers)+len(base.Others)+len(base.PeerFiles) == 0
}

// complete adds the peers that a configuration does not name itself: those of its files, or those that
// gateways have reported.
func (r *reloader) complete(base *config.Config) (cfg *config.Config, err error) {
	cfg, _, err = r.files.Complete(base)
	if err != nil || !discovers(base) {
		return cfg, err
	}
	cfg = r.discovery.Known(base)
	cfg.Divide(r.shard.Has)
	return cfg, nil
}

// narrow leaves the gateways that this shard reads, and logs a change of the others.
func (r *reloader) narrow(cfg *config.Config) {
	left := cfg.KeepGateways()
	if !slices.Equal(left, r.left) {
		r.log.Info("gateways that only peers of other shards name are not read", "gateways", left)
	}
	r.left = left
}

// hangups reloads at every SIGHUP.
func (r *reloader) hangups(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.hup:
			_ = r.reload(ctx) // it was logged
		}
	}
}

// warn logs the warnings of a configuration.
func (r *reloader) warn(cfg *config.Config) {
	for _, line := range warnings(cfg, r.files) {
		r.log.Warn("check the configuration", "problem", line)
	}
}

// warnings returns what is valid in a configuration and probably not meant.
func warnings(cfg *config.Config, files *peerfiles.Files) []string {
	all := slices.Concat(cfg.Warnings(), readers.FileProblems(cfg.Gateways...), partners.Problems(cfg))
	for _, pattern := range files.Unmatched() {
		all = append(all, "peer_files: no file matches "+pattern)
	}
	return all
}

// reload validates everything before it changes anything. Its error is logged here; an HTTP client
// gets it too.
func (r *reloader) reload(ctx context.Context) error {
	// Before the turn, because a gateway may hang: ask the gateways that the new configuration
	// needs, unless they were asked recently.
	if base, err := r.read(); err == nil && discovers(base) {
		r.discovery.Look(ctx, base, discovery.Every+discovery.Timeout)
	}
	if err := r.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turn.Release(1)
	r.stamp = stampOf(r.options.ConfigFile)
	base, err := r.read()
	cfg := base
	if err == nil {
		cfg, err = r.complete(base)
	}
	if err == nil {
		err = r.reachable(base)
	}
	if err == nil && !discovers(r.base) && discovers(base) && len(cfg.Gateways) == 0 {
		// Rather a file that was cut off than the wish to measure nothing.
		err = fmt.Errorf("%w; %w", config.ErrNoPeers(r.options.ConfigFile), r.discovery.NotFound(base))
	}
	if err != nil {
		r.app.metrics.loaded(false)
		r.log.Error("reload failed; keeping the current configuration", "err", err)
		return err
	}
	r.narrow(cfg)
	r.take(base, cfg)
	r.app.apply(r.life, cfg)
	r.app.metrics.loaded(true)
	select {
	case r.reloaded <- struct{}{}:
	default: // it is known already
	}
	r.log.Info("configuration reloaded", "peers", len(cfg.Peers))
	r.warn(cfg)
	return nil
}

// discover looks for peers again where the configuration names none. The gateways are asked outside
// the turn: one that hangs delays no reload.
func (r *reloader) discover(ctx context.Context) {
	if r.turn.Acquire(ctx, 1) != nil {
		return
	}
	base, edited := r.base, r.waiting.Load() && r.stamp != stampOf(r.options.ConfigFile)
	r.turn.Release(1)
	if edited {
		_ = r.reload(ctx) // it was logged
		return
	}
	if !discovers(base) {
		return
	}
	r.discovery.Look(ctx, base, 0)
	if r.turn.Acquire(ctx, 1) != nil {
		return
	}
	defer r.turn.Release(1)
	if !discovers(r.base) || ctx.Err() != nil {
		return
	}
	cfg, err := r.complete(r.base)
	if err == nil {
		r.narrow(cfg)
	}
	if err != nil || slices.EqualFunc(cfg.Peers, r.cfg.Peers, config.Peer.Equal) && slices.Equal(cfg.Gateways, r.cfg.Gateways) {
		return
	}
	r.take(r.base, cfg)
	r.app.apply(r.life, cfg)
	r.log.Info("discovered peers changed", "peers", len(cfg.Peers))
}

// followFiles follows the peer files.
func (r *reloader) followFiles(ctx context.Context) error {
	w := peerfiles.NewWatcher(r.log)
	defer w.Close()
	for ctx.Err() == nil {
		// They are read after the watch has begun, so that no change falls between.
		w.Watch(r.patterns(ctx))
		r.readFiles(ctx)
		w.Wait(ctx, r.reloaded)
	}
	return nil
}

// patterns returns the patterns of the peer files.
func (r *reloader) patterns(ctx context.Context) []string {
	if r.turn.Acquire(ctx, 1) != nil {
		return nil
	}
	defer r.turn.Release(1)
	return r.base.PeerFiles
}

// readFiles reads the peer files again. Where a peer is started again, its alerts have to know that
// nothing is known of it yet, as after a reload.
func (r *reloader) readFiles(ctx context.Context) {
	if r.turn.Acquire(ctx, 1) != nil {
		return
	}
	defer r.turn.Release(1)
	if len(r.base.PeerFiles) == 0 || ctx.Err() != nil {
		return
	}
	cfg, changed, err := r.files.Complete(r.base)
	if err != nil {
		r.log.Error("reading the peer files failed; keeping the current peers", "err", err)
	}
	if err != nil || !changed {
		return
	}
	r.narrow(cfg)
	r.cfg = cfg
	if r.app.apply(r.life, cfg) {
		r.app.metrics.loadedPeers()
	}
	r.log.Info("peer files changed", "peers", len(cfg.Peers))
}
